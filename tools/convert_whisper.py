#!/usr/bin/env python3
"""Turns a Whisper model in the CTranslate2 format (version 6, 16-bit floats) into a folder in the Hugging Face layout.

    convert_whisper.py model.bin FOLDER

Writes config.json, model.safetensors and tokenizer_config.json; the model's tokenizer.json belongs beside them. Needs the
standard library only.
"""

import argparse
import json
import math
import struct
import sys
from pathlib import Path

from safetensors_file import write_safetensors

# Values of CTranslate2's activation numbers that speech models use.
ACTIVATIONS = {0: "relu", 1: "gelu_new", 3: "gelu"}
# Numbers of types: struct's letter, bytes.
TYPES = {1: ("b", 1), 2: ("h", 2), 4: ("e", 2)}
HALF = 4


class Variable:
    """A tensor of the file, or rows of one."""

    def __init__(self, kind, shape, data):
        self.kind, self.shape, self.data = kind, shape, data

    def split(self, count):
        """Its rows in `count` equal parts."""
        if self.shape[0] % count:
            raise ValueError(f"{self.shape[0]} rows do not part into {count}")
        rows, size = self.shape[0] // count, len(self.data) // count
        return [Variable(self.kind, [rows, *self.shape[1:]], self.data[i * size : (i + 1) * size]) for i in range(count)]

    def number(self):
        """The value of a scalar."""
        return int(struct.unpack("<" + TYPES[self.kind][0], self.data)[0])

    def is_zero(self):
        return not any(number for (number,) in struct.iter_unpack("<" + TYPES[self.kind][0], self.data))


class Reader:
    """Little-endian fields of the file, in order."""

    def __init__(self, data):
        self.data, self.at = memoryview(data), 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise ValueError(f"the file ends within {size} bytes at {self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form):
        (value,) = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return value

    def text(self):
        return bytes(self.take(self.number("H"))[:-1]).decode()

    def variable(self):
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        if kind not in TYPES or size != math.prod(shape) * TYPES[kind][1]:
            raise ValueError(f"{size} bytes of type {kind} for shape {shape}")
        return Variable(kind, shape, self.take(size))


def read_variables(data):
    reader = Reader(data)
    version, spec = reader.number("I"), reader.text()
    reader.number("I")
    if version != 6 or spec != "WhisperSpec":
        raise ValueError(f"version {version} of {spec}; version 6 of WhisperSpec expected")
    return {reader.text(): reader.variable() for _ in range(reader.number("I"))}


def take_norm(out, variables, source, target):
    out[f"{target}.weight"] = variables[f"{source}/layer_norm/gamma"]
    out[f"{target}.bias"] = variables[f"{source}/layer_norm/beta"]


def take_linear(out, variables, source, targets):
    """Splits a fused product by rows; keys have no bias in the other layout, so theirs must be zero here."""
    weights = variables[f"{source}/weight"].split(len(targets))
    biases = variables[f"{source}/bias"].split(len(targets))
    for target, weight, bias in zip(targets, weights, biases):
        out[f"{target}.weight"] = weight
        if not target.endswith("k_proj"):
            out[f"{target}.bias"] = bias
        elif not bias.is_zero():
            raise ValueError(f"{source}: the keys have a bias")


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


def tensors_of(variables):
    """The tensors under their names in the Hugging Face layout."""
    out = {"model.decoder.embed_tokens.weight": variables["decoder/embeddings/weight"]}
    for conv in ("conv1", "conv2"):
        take_linear(out, variables, f"encoder/{conv}", [f"model.encoder.{conv}"])
    for stack in ("encoder", "decoder"):
        out[f"model.{stack}.embed_positions.weight"] = variables[f"{stack}/position_encodings/encodings"]
        take_norm(out, variables, stack, f"model.{stack}.layer_norm")
        for layer in range(count_layers(variables, stack)):
            take_layer(out, variables, f"{stack}/layer_{layer}", f"model.{stack}.layers.{layer}")
    return out


def config_of(variables):
    vocabulary, hidden = variables["decoder/embeddings/weight"].shape
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "vocab_size": vocabulary,
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
        "d_model": hidden,
        "activation_function": ACTIVATIONS[variables["decoder/activation"].number()],
        "scale_embedding": bool(variables["decoder/scale_embeddings"].number()),
        "max_source_positions": variables["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": variables["decoder/position_encodings/encodings"].shape[0],
        "decoder_start_token_id": 50258,
        "bos_token_id": 50257,
        "eos_token_id": 50257,
        "pad_token_id": 50257,
        "is_encoder_decoder": True,
        "torch_dtype": "float16",
    }
    for stack in ("encoder", "decoder"):
        config[f"{stack}_layers"] = count_layers(variables, stack)
        config[f"{stack}_attention_heads"] = variables[f"{stack}/num_heads"].number()
        config[f"{stack}_ffn_dim"] = variables[f"{stack}/layer_0/ffn/linear_0/weight"].shape[0]
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    try:
        variables = read_variables(options.source.read_bytes())
        tensors, config = tensors_of(variables), config_of(variables)
        if any(tensor.kind != HALF for tensor in tensors.values()):
            raise ValueError("a tensor that is not of 16-bit floats")
    except (ValueError, KeyError, struct.error) as error:
        print(f"{options.source}: {error}", file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(options.folder / "model.safetensors", [(name, "F16", t.shape, [t.data]) for name, t in sorted(tensors.items())])
    (options.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tokens = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (options.folder / "tokenizer_config.json").write_text(json.dumps(tokens, indent=1) + "\n")
    print(f"{options.folder}: {len(tensors)} tensors, {config['encoder_layers']} + {config['decoder_layers']} layers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
