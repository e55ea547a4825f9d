#!/usr/bin/env python3
"""Writes tests/golden/codec: what the `gguf` Python package, or torch, decodes and encodes, for tests/codec to compare
with.

<codec>.decode   uint32 blocks, the blocks, their float32 values: hand-picked extreme scales and a few random blocks
<codec>.encode   the encoded form of encode_input.f32
hashes.json      hashes of many more blocks, generated alike here and in the test (see `words` and `digest`)

Run: python3 tools/make_codec_golden.py   (needs numpy, torch and gguf)
"""

import json
import pathlib
import warnings

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "codec"
GOLDEN = 0x9E3779B97F4A7C15
RANDOM_BLOCKS = 2048
RANDOM_NUMBERS = 1 << 17

# Where a block keeps its float16 scales, as byte offsets.
HALF_SCALES = {
    "f16": [0], "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q2_k": [80, 82],
    "q3_k": [108], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq4_nl": [0], "iq4_xs": [0], "iq3_s": [0],
    "iq3_xxs": [0], "iq2_s": [0], "iq2_xs": [0], "iq2_xxs": [0], "iq1_s": [0], "tq1_0": [52], "tq2_0": [64],
    "bf16": [], "iq1_m": [], "mxfp4": [], "f32": [], "nvfp4": [], "cb2": [0],
}
# Formats that the package does not decode; torch or numpy does.
FLOATS = {"f8_e4m3": (1, torch.float8_e4m3fn), "f8_e5m2": (1, torch.float8_e5m2), "f64": (8, torch.float64)}
# Formats of this project: bytes of a block, decoded below.
OWN = {"cb2": 78}
ENCODED = ["f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
# 0, -0, largest, smallest, smallest and largest subnormal, one, minus one: all finite.
EXTREME_HALVES = [0x0000, 0x8000, 0x7BFF, 0xFBFF, 0x0001, 0x03FF, 0x3C00, 0x8001]


def mix(values):
    """The finalizer of splitmix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def words(seed, count):
    """Word k is mix(seed + (k + 1) * GOLDEN)."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return mix(steps + np.uint64(seed))


def digest(values):
    """Order-sensitive hash: the sum of mix(word k + (k + 1) * GOLDEN), modulo 2^64."""
    values = values.astype(np.uint64)
    steps = np.arange(1, values.size + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return f"{int(np.sum(mix(values + steps), dtype=np.uint64)):016x}"


def float_digest(values):
    """Every NaN counts as the same one."""
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    return digest(bits)


def decode_floats(name, blocks):
    return torch.from_numpy(blocks.reshape(-1)).view(FLOATS[name][1]).float().numpy()


def encode_floats(name, values):
    return torch.from_numpy(values).to(FLOATS[name][1]).view(torch.uint8).numpy()


def type_of(name):
    return GGMLQuantizationType[name.upper()]


def decode_cb2(blocks):
    """float16 d, four int8 values, 16 signed nibbles as scales, 2-bit codes as in q2_k: d / 1024 * scale * value."""
    d = blocks[:, :2].copy().view(np.float16).astype(np.float32) * np.float32(2.0 ** -10)
    book = blocks[:, 2:6].view(np.int8).astype(np.float32)
    nibbles = np.stack([blocks[:, 6:14] & 15, blocks[:, 6:14] >> 4], axis=2).reshape(-1, 16).astype(np.int32)
    scales = np.where(nibbles < 8, nibbles, nibbles - 16).astype(np.float32)
    quarters = blocks[:, 14:].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    codes = (quarters & 3).reshape(-1, 256).astype(np.intp)
    return np.repeat(d * scales, 16, axis=1) * np.take_along_axis(book, codes, axis=1)


def decode(name, blocks):
    return decode_cb2(blocks) if name in OWN else dequantize(blocks, type_of(name))


def random_blocks(name, count, seed):
    size = FLOATS[name][0] if name in FLOATS else OWN.get(name) or GGML_QUANT_SIZES[type_of(name)][1]
    return words(seed, (count * size + 7) // 8).view(np.uint8)[: count * size].reshape(count, size).copy()


def plain_blocks(name, seed):
    """Random blocks whose scales are ordinary, then one block for each extreme scale."""
    blocks = random_blocks(name, 4 + len(EXTREME_HALVES) if HALF_SCALES[name] else 6, seed)
    halves = [0x2E66, 0xA8F5, 0x211F, 0x1C03] + EXTREME_HALVES
    for offset in HALF_SCALES[name]:
        for block, half in zip(blocks, halves):
            block[offset] = half & 0xFF
            block[offset + 1] = half >> 8
    return blocks


def random_floats(count, seed):
    """Random sign and mantissa, exponents 2^-20 to 2^11."""
    bits = words(seed, count)
    exponent = np.uint64(107) + (bits >> np.uint64(32)) % np.uint64(32)
    return ((bits & np.uint64(0x807FFFFF)) | exponent << np.uint64(23)).astype(np.uint32).view(np.float32)


def encode_input():
    rows = [np.zeros(32), np.full(32, -0.0), np.full(32, 3.25), np.full(32, -7.5), np.arange(32) - 16.0,
            np.arange(32) - 15.5, np.linspace(-1, 1, 32), np.linspace(0, 65504, 32), np.linspace(-65504, 0, 32),
            np.linspace(-1e30, 1e30, 32), np.linspace(1e-30, 1e-29, 32), np.where(np.arange(32) == 7, 127.0, 0.5),
            np.where(np.arange(32) == 31, -127.0, np.arange(32) + 0.5), np.where(np.arange(32) % 2, 8.0, -8.0)]
    return np.concatenate([np.array(rows, dtype=np.float32).ravel(), random_floats(32 * 18, 77)])


def main():
    warnings.simplefilter("ignore")
    OUT.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name in HALF_SCALES:
        blocks = plain_blocks(name, 1)
        values = decode(name, blocks).astype(np.float32)
        (OUT / f"{name}.decode").write_bytes(np.uint32(len(blocks)).tobytes() + blocks.tobytes() + values.tobytes())
        many = random_blocks(name, RANDOM_BLOCKS, 2)
        decoded = np.ascontiguousarray(decode(name, many), dtype=np.float32)
        hashes[name] = {"decode": float_digest(decoded.ravel())}
    for name in FLOATS:
        blocks = random_blocks(name, 64, 1)
        if name == "f64":
            blocks = random_floats(64, 9).astype(np.float64)[:, None].view(np.uint8)
        values = decode_floats(name, blocks)
        keep = np.isfinite(values)
        (OUT / f"{name}.decode").write_bytes(
            np.uint32(keep.sum()).tobytes() + blocks[keep].tobytes() + values[keep].tobytes())
        hashes[name] = {"decode": float_digest(decode_floats(name, random_blocks(name, RANDOM_BLOCKS, 2)))}
    every_half = np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(65536, 2)
    hashes["f16"]["every_half"] = float_digest(dequantize(every_half, type_of("f16")).ravel())
    any_float = words(3, RANDOM_NUMBERS).astype(np.uint32).view(np.float32)
    halves = quantize(any_float, type_of("f16"))
    hashes["f16"]["any_float"] = digest(np.where(np.isnan(halves), np.uint16(0x7E00), halves.view(np.uint16)))
    bfloats = quantize(any_float, type_of("bf16")).view(np.uint16)
    hashes["bf16"]["any_float"] = digest(bfloats)
    picked = encode_input()
    (OUT / "encode_input.f32").write_bytes(picked.tobytes())
    floats = random_floats(RANDOM_NUMBERS, 4)
    for name in ENCODED:
        (OUT / f"{name}.encode").write_bytes(quantize(picked, type_of(name)).tobytes())
        hashes[name]["encode"] = digest(np.ascontiguousarray(quantize(floats, type_of(name))).view(np.uint8))
    for name in ["f8_e4m3", "f8_e5m2"]:
        (OUT / f"{name}.encode").write_bytes(encode_floats(name, picked).tobytes())
        hashes[name]["encode"] = digest(encode_floats(name, floats))
    (OUT / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
