#!/usr/bin/env python3
"""Turns a Whisper model in the CTranslate2 format (version 6) into a folder in the Hugging Face layout, and makes its truth.

    convert_whisper.py convert FOLDER OUT     FOLDER holds model.bin and tokenizer.json
    convert_whisper.py truth OUT              runs the reference library on a synthetic sound

`truth` writes into OUT/truth: mel.npy float32 [mel bands, frames], encoder.npy float32 [positions, hidden] (every 50th
row of what the encoder hands to the decoder), hidden.npy float32 [layers + 1, tokens, hidden] and logits.npy float32
[tokens, 256] (the first 256 of the vocabulary) of the decoder over `tokens`, and truth.json: those tokens, the prompt
and start token in front, each chosen greedily, and the margin between the two best logits at each choice.
"""

import argparse
import json
import shutil
import struct
import sys
from pathlib import Path

import numpy as np

# Values of CTranslate2's activation numbers that speech models use.
_ACTIVATIONS = {0: "relu", 1: "gelu_new", 3: "gelu"}
_TYPES = {1: np.int8, 2: np.int16, 4: np.float16}
_MEL_BANDS = 80
_HOP = 160
_RATE = 16000


class Reader:
    """Little-endian fields of the file, in order."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        length = self.number("H")
        self.at += length
        return self.data[self.at - length : self.at - 1].decode()

    def array(self):
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind = _TYPES[self.number("B")]
        size = self.number("I")
        self.at += size
        return np.frombuffer(self.data, kind, size // np.dtype(kind).itemsize, self.at - size).reshape(shape)


def read_variables(path):
    reader = Reader(path.read_bytes())
    version, spec = reader.number("I"), reader.text()
    reader.number("I")
    if version != 6 or spec != "WhisperSpec":
        raise SystemExit(f"{path}: version {version} of {spec}; version 6 of WhisperSpec expected")
    return {reader.text(): reader.array() for _ in range(reader.number("I"))}


def take_norm(out, variables, source, target):
    out[f"{target}.weight"] = variables[f"{source}/layer_norm/gamma"]
    out[f"{target}.bias"] = variables[f"{source}/layer_norm/beta"]


def take_linear(out, variables, source, targets):
    """Splits a fused product by rows; keys have no bias in the other layout, so theirs must be zero here."""
    weights = np.split(variables[f"{source}/weight"], len(targets))
    biases = np.split(variables[f"{source}/bias"], len(targets))
    for target, weight, bias in zip(targets, weights, biases):
        out[f"{target}.weight"] = weight
        if not target.endswith("k_proj"):
            out[f"{target}.bias"] = bias
        elif bias.any():
            raise SystemExit(f"{source}: the keys have a bias")


def take_layer(out, variables, source, target):
    attention = f"{target}.self_attn"
    take_norm(out, variables, f"{source}/self_attention", f"{target}.self_attn_layer_norm")
    take_linear(out, variables, f"{source}/self_attention/linear_0", [f"{attention}.{part}_proj" for part in "qkv"])
    take_linear(out, variables, f"{source}/self_attention/linear_1", [f"{attention}.out_proj"])
    if f"{source}/attention/linear_0/weight" in variables:
        cross = f"{target}.encoder_attn"
        take_norm(out, variables, f"{source}/attention", f"{target}.encoder_attn_layer_norm")
        take_linear(out, variables, f"{source}/attention/linear_0", [f"{cross}.q_proj"])
        take_linear(out, variables, f"{source}/attention/linear_1", [f"{cross}.k_proj", f"{cross}.v_proj"])
        take_linear(out, variables, f"{source}/attention/linear_2", [f"{cross}.out_proj"])
    take_norm(out, variables, f"{source}/ffn", f"{target}.final_layer_norm")
    take_linear(out, variables, f"{source}/ffn/linear_0", [f"{target}.fc1"])
    take_linear(out, variables, f"{source}/ffn/linear_1", [f"{target}.fc2"])


def count_layers(variables, stack):
    return sum(name.startswith(f"{stack}/layer_") and name.endswith("/ffn/linear_0/weight") for name in variables)


def convert(options):
    from safetensors.numpy import save_file

    variables = read_variables(options.folder / "model.bin")
    out = {"model.decoder.embed_tokens.weight": variables["decoder/embeddings/weight"]}
    for conv in ("conv1", "conv2"):
        take_linear(out, variables, f"encoder/{conv}", [f"model.encoder.{conv}"])
    layers = {}
    for stack in ("encoder", "decoder"):
        out[f"model.{stack}.embed_positions.weight"] = variables[f"{stack}/position_encodings/encodings"]
        take_norm(out, variables, stack, f"model.{stack}.layer_norm")
        layers[stack] = count_layers(variables, stack)
        for layer in range(layers[stack]):
            take_layer(out, variables, f"{stack}/layer_{layer}", f"model.{stack}.layers.{layer}")
    vocabulary, hidden = variables["decoder/embeddings/weight"].shape
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "vocab_size": vocabulary,
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
        "d_model": hidden,
        "activation_function": _ACTIVATIONS[int(variables["decoder/activation"])],
        "scale_embedding": bool(variables["decoder/scale_embeddings"]),
        "max_source_positions": variables["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": variables["decoder/position_encodings/encodings"].shape[0],
        "decoder_start_token_id": 50258,
        "bos_token_id": 50257,
        "eos_token_id": 50257,
        "pad_token_id": 50257,
        "is_encoder_decoder": True,
        "torch_dtype": "float16",
    }
    for stack in layers:
        config[f"{stack}_layers"] = layers[stack]
        config[f"{stack}_attention_heads"] = int(variables[f"{stack}/num_heads"])
        config[f"{stack}_ffn_dim"] = variables[f"{stack}/layer_0/ffn/linear_0/weight"].shape[0]
    options.out.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(values) for name, values in out.items()}, options.out / "model.safetensors")
    (options.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    shutil.copy(options.folder / "tokenizer.json", options.out / "tokenizer.json")
    tokens = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (options.out / "tokenizer_config.json").write_text(json.dumps(tokens, indent=1) + "\n")
    print(f"{options.out}: {len(out)} tensors, {layers['encoder']} + {layers['decoder']} layers")


def synthetic_sound(seconds=30):
    """Gliding tones that swell like syllables, three a second, and silence in the last third."""
    time = np.arange(seconds * _RATE) / _RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / _RATE
    voice = sum(np.sin(n * phase) / n for n in range(1, 12))
    return (0.2 * voice * np.maximum(0, np.sin(2 * np.pi * 3 * time)) * (time < seconds * 2 / 3)).astype(np.float32)


def truth(options):
    import torch
    import transformers

    from make_encdec_golden import Borders

    model = transformers.WhisperForConditionalGeneration.from_pretrained(
        options.out, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    extractor = transformers.WhisperFeatureExtractor(feature_size=_MEL_BANDS, sampling_rate=_RATE, hop_length=_HOP)
    features = extractor(synthetic_sound(), sampling_rate=_RATE, return_tensors="pt").input_features
    tokens, margins = [50258, 50259, 50359, 50363], []
    with torch.inference_mode():
        encoded = model.model.encoder(features)
        for _ in range(options.count):
            logits = model(
                encoder_outputs=encoded, decoder_input_ids=torch.tensor([tokens]), use_cache=False
            ).logits[0, -1]
            best = torch.topk(logits, 2)
            margins.append(float(best.values[0] - best.values[1]))
            tokens.append(int(best.indices[0]))
        borders = Borders(model.model.decoder.layers)
        result = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([tokens]), use_cache=False)
    folder = options.out / "truth"
    folder.mkdir(exist_ok=True)
    np.save(folder / "mel.npy", features[0].numpy())
    np.save(folder / "encoder.npy", encoded.last_hidden_state[0, ::50].numpy())
    np.save(folder / "hidden.npy", borders.close())
    np.save(folder / "logits.npy", result.logits[0, :, :256].numpy())
    report = {
        "made_by": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager",
        "tokens": tokens,
        "margins": margins,
    }
    (folder / "truth.json").write_text(json.dumps(report) + "\n")
    print(f"{folder}: {len(tokens)} tokens, least margin {min(margins):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("convert")
    command.add_argument("folder", type=Path)
    command.add_argument("out", type=Path)
    command.set_defaults(run=convert)
    command = commands.add_parser("truth")
    command.add_argument("out", type=Path)
    command.add_argument("--count", type=int, default=24)
    command.set_defaults(run=truth)
    options = parser.parse_args()
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
