#!/usr/bin/env python3
"""Writes a model of experts with random weights that no cache holds, to measure how fast active experts are read.

    bench/random_experts.py TOKENIZER_FOLDER OUT_FOLDER

OUT_FOLDER gets config.json (Qwen3's experts: 8 layers of 64, 8 for each token), model.safetensors (bf16, 1.7 GB) and
the tokenizer.json of TOKENIZER_FOLDER. The numbers are 2^-7 to 2^-6 with either sign: what they say is noise, which
spreads tokens evenly over the experts.
"""

import json
import random
import shutil
import struct
import sys
from pathlib import Path

LAYERS, HIDDEN, EXPERTS, INNER, HEADS, HEAD, KV_HEADS = 8, 1024, 64, 512, 16, 64, 4
CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "torch_dtype": "bfloat16", "hidden_act": "silu",
    "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "moe_intermediate_size": INNER, "num_experts": EXPERTS,
    "num_experts_per_tok": 8, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "max_position_embeddings": 8192, "tie_word_embeddings": True,
    "attention_bias": False, "use_sliding_window": False, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SIGNS = bytes(0x3C | (value & 1) << 7 for value in range(256))


def tensors(vocabulary):
    """(name, shape) of all that the family reads."""
    yield "model.embed_tokens.weight", (vocabulary, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    for layer in range(LAYERS):
        start = f"model.layers.{layer}."
        for norm, width in (("input_layernorm", HIDDEN), ("post_attention_layernorm", HIDDEN), ("self_attn.q_norm", HEAD), ("self_attn.k_norm", HEAD)):
            yield f"{start}{norm}.weight", (width,)
        for name, rows in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            yield f"{start}self_attn.{name}_proj.weight", (rows * HEAD, HIDDEN)
        yield f"{start}self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD)
        yield f"{start}mlp.gate.weight", (EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            for name, shape in (("gate", (INNER, HIDDEN)), ("up", (INNER, HIDDEN)), ("down", (HIDDEN, INNER))):
                yield f"{start}mlp.experts.{expert}.{name}_proj.weight", shape


def numbers(shape, source):
    """bf16 numbers of a matrix; ones of a norm."""
    if len(shape) == 1:
        return b"\x80\x3f" * shape[0]
    data = bytearray(source.randbytes(2 * shape[0] * shape[1]))
    data[1::2] = data[1::2].translate(SIGNS)
    return bytes(data)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tokenizer, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(tokenizer / "tokenizer.json", out)
    words = json.loads((out / "tokenizer.json").read_text())
    vocabulary = len(words["model"]["vocab"]) + sum(1 for token in words["added_tokens"] if token["content"] not in words["model"]["vocab"])
    (out / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": vocabulary}, indent=1))
    header, at = {}, 0
    for name, shape in tensors(vocabulary):
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    source = random.Random(7)
    with open(out / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors(vocabulary):
            file.write(numbers(shape, source))


if __name__ == "__main__":
    main()
