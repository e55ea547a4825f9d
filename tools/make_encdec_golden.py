#!/usr/bin/env python3
"""Writes tiny random encoder-decoders and their truth by the reference library into tests/golden/encdec/.

    make_encdec_golden.py [--out DIR] [--only NAME]     write
    make_encdec_golden.py --check                       write elsewhere and compare with what is stored

Each case is a folder: config.json and model.safetensors (Hugging Face layout), for some model.gguf too, texts.json
(pairs of what the encoder reads and what the decoder reads, and the tokens that greedy choice makes of the former),
for encoders that read spectrograms frames.npy float32 [texts, features, frames] in place of the former,
encoder_hidden.npy and hidden.npy float32 [layers + 1, tokens of all texts, hidden] (the streams before and after each
layer) and logits.npy float32 [decoder tokens of all texts, vocabulary]. Each pair runs alone. See docs/references.md.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from golden_main import golden_main, golden_parser
from golden_weights import Draw, round_to_bf16

STORE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "encdec"
LENGTHS = ((39, 27), (1, 5), (12, 9))
GREEDY = 10

_T5 = {
    "model_type": "t5",
    "vocab_size": 80,
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 3,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "n_positions": 64,
    "layer_norm_epsilon": 1e-3,
    "feed_forward_proj": "relu",
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_WHISPER = {
    "model_type": "whisper",
    "vocab_size": 80,
    "num_mel_bins": 10,
    "d_model": 24,
    "encoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_layers": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 56,
    "max_source_positions": 33,
    "max_target_positions": 40,
    "activation_function": "gelu",
    "scale_embedding": False,
    "decoder_start_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


@dataclass(frozen=True)
class Case:
    """One tiny model: a class of the reference library and the configuration for it."""

    name: str
    seed: int
    model: str
    config: dict
    stacks: tuple  # the modules whose children are the encoder's and the decoder's layers
    arch: str = ""  # of the GGUF file; "" for none
    own: dict = field(default_factory=dict)  # weights that the reference ties and the file has: name -> shape


_T5_STACKS = ("encoder.block", "decoder.block")
_WHISPER_STACKS = ("model.encoder.layers", "model.decoder.layers")
CASES = [
    Case("t5", 401, "T5ForConditionalGeneration", _T5, _T5_STACKS, arch="t5"),
    Case(
        "t5_gated",
        402,
        "T5ForConditionalGeneration",
        _T5
        | {
            "d_model": 32,
            "d_kv": 12,
            "num_heads": 2,
            "num_layers": 1,
            "num_decoder_layers": 2,
            "relative_attention_num_buckets": 8,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
        _T5_STACKS,
        arch="t5",
        own={"lm_head.weight": (80, 32)},
    ),
    Case(
        "t5_near",
        403,
        "T5ForConditionalGeneration",
        _T5 | {"relative_attention_num_buckets": 12, "relative_attention_max_distance": 17},
        _T5_STACKS,
    ),
    Case("whisper", 404, "WhisperForConditionalGeneration", _WHISPER, _WHISPER_STACKS),
    Case(
        "whisper_wide",
        405,
        "WhisperForConditionalGeneration",
        _WHISPER
        | {"d_model": 32, "encoder_attention_heads": 4, "num_mel_bins": 6, "encoder_layers": 1, "max_source_positions": 70},
        _WHISPER_STACKS,
    ),
]


def draw_parameter(draw, name, shape):
    """One parameter by its name: scores spread over several units, norm weights in 0.5..1.5, biases away from 0."""
    if re.search(r"norm\.weight$", name):
        return draw.uniform(shape, 0.5, 1.5)
    if len(shape) == 1:
        sign = np.where(draw.uniform(shape, -1.0, 1.0) < 0, np.float32(-1), np.float32(1))
        return sign * draw.uniform(shape, 0.1, 0.5)
    if re.search(r"shared|embed|relative_attention_bias", name):
        return draw.spread(shape, 1.0)
    gains = {r"\.[qk]\.weight": 0.9, r"[qk]_proj": 1.7}  # the former's scores are not scaled
    gain = next((gain for pattern, gain in gains.items() if re.search(pattern, name)), 1.2)
    return draw.spread(shape, gain / np.prod(shape[1:]) ** 0.5)


def draw_weights(case, model):
    """Values by name, those that the reference ties drawn once."""
    draw = Draw(case.seed)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()} | case.own
    return {name: round_to_bf16(draw_parameter(draw, name, shapes[name])) for name in sorted(shapes)}


def write_folder(folder, case, weights):
    config = case.config | {"architectures": [case.model], "torch_dtype": "bfloat16", "is_encoder_decoder": True}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {name: torch.from_numpy(np.array(values)).to(torch.bfloat16) for name, values in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_gguf(path, case, weights):
    """Names by the reference converter's own table, keys as it writes them."""
    config = case.config
    layers = max(config["num_layers"], config["num_decoder_layers"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5, layers)
    writer = gguf.GGUFWriter(path, case.arch)
    writer.add_name(f"golden {case.name}")
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["d_model"])
    writer.add_feed_forward_length(config["d_ff"])
    writer.add_block_count(config["num_layers"])
    writer.add_decoder_block_count(config["num_decoder_layers"])
    writer.add_head_count(config["num_heads"])
    writer.add_key_length(config["d_kv"])
    writer.add_value_length(config["d_kv"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_relative_attn_buckets_count(config["relative_attention_num_buckets"])
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_decoder_start_token_id(config["decoder_start_token_id"])
    for name, values in weights.items():
        kind = gguf.GGMLQuantizationType.BF16 if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(target, gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Borders:
    """Collects the stream before and after each layer of a stack while it is open."""

    def __init__(self, layers):
        self.streams = []
        self.handles = [layers[0].register_forward_pre_hook(self.before, with_kwargs=True)]
        self.handles += [layer.register_forward_hook(self.after) for layer in layers]

    def before(self, _module, arguments, keywords):
        self.streams.append(arguments[0] if arguments else keywords["hidden_states"])

    def after(self, _module, _arguments, output):
        self.streams.append(output[0] if isinstance(output, tuple) else output)

    def close(self):
        for handle in self.handles:
            handle.remove()
        return np.stack([stream[0].numpy() for stream in self.streams])


def run_pair(case, model, source, target):
    """Returns (logits, hidden, encoder's hidden) of one pair."""
    encoder, decoder = (Borders(model.get_submodule(stack)) for stack in case.stacks)
    with torch.inference_mode():
        logits = model(**source, decoder_input_ids=torch.tensor([target]), use_cache=False).logits[0].numpy()
    return logits, decoder.close(), encoder.close()


def choose_greedily(model, source, start):
    tokens = [start]
    with torch.inference_mode():
        for _ in range(GREEDY):
            logits = model(**source, decoder_input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
            tokens.append(int(logits.argmax()))
    return tokens[1:]


def draw_source(draw, config, length):
    """What the encoder reads: tokens, or a spectrogram as long as it takes."""
    if "num_mel_bins" not in config:
        return {"input_ids": torch.from_numpy(draw.integers(length, config["vocab_size"]))[None]}
    shape = (1, config["num_mel_bins"], 2 * config["max_source_positions"])
    return {"input_features": torch.from_numpy(draw.uniform(shape, -1.0, 1.5))}


def make_case(case, root):
    folder = root / case.name
    folder.mkdir(parents=True, exist_ok=True)
    kind = getattr(transformers, case.model)
    settings = kind.config_class.from_dict(dict(case.config))
    settings._attn_implementation = "eager"
    weights = draw_weights(case, kind(settings))
    write_folder(folder, case, weights)
    if case.arch:
        write_gguf(folder / "model.gguf", case, weights)
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    for name, values in weights.items():
        if not np.array_equal(model.get_parameter(name).detach().numpy(), values):
            raise SystemExit(f"{case.name}: the reference does not use {name} of the file")
    draw = Draw(case.seed + 1000)
    start = case.config["decoder_start_token_id"]
    pairs, frames, results = [], [], []
    for source_length, target_length in LENGTHS:
        source = draw_source(draw, case.config, source_length)
        target = [start] + draw.integers(target_length - 1, case.config["vocab_size"]).tolist()
        pair = {"decoder_input_ids": target, "greedy": choose_greedily(model, source, start)}
        if "input_ids" in source:
            pair["input_ids"] = source["input_ids"][0].tolist()
        else:
            frames.append(source["input_features"][0].numpy())
        pairs.append(pair)
        results.append(run_pair(case, model, source, target))
    if frames:
        np.save(folder / "frames.npy", np.stack(frames).astype(np.float32))
    (folder / "texts.json").write_text(json.dumps(pairs) + "\n")
    logits, hidden, encoder_hidden = zip(*results)
    np.save(folder / "logits.npy", np.concatenate(logits).astype(np.float32))
    np.save(folder / "hidden.npy", np.concatenate(hidden, axis=1).astype(np.float32))
    np.save(folder / "encoder_hidden.npy", np.concatenate(encoder_hidden, axis=1).astype(np.float32))


def main():
    parser = golden_parser(__doc__, STORE)
    return golden_main(parser, parser.parse_args(), CASES, make_case)


if __name__ == "__main__":
    sys.exit(main())
