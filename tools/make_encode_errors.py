#!/usr/bin/env python3
"""Writes tests/golden/codec/rows.f32 and errors.json: rows of several kinds, and how well ggml's own quantizers (without
importance weights) store them, for tests/codec to beat. cb2, which ggml does not have, is learned here by plain turns.

rows.f32     float32 [kinds, 1024]
errors.json  {"kinds": [...], "columns": 1024, "rmse": {codec: [one per kind]}}

Run: python3 tools/make_encode_errors.py LIBGGML_BASE_SO   (needs numpy and gguf)
"""

import ctypes
import json
import pathlib
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "codec"
COLUMNS = 1024
CODECS = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4", "nvfp4", "iq3_s", "iq3_xxs", "iq2_s"]


def rows():
    random = np.random.default_rng(20240607)
    steps = np.arange(COLUMNS)
    return {
        "gaussian": random.normal(0, 0.02, COLUMNS),
        "gaussian large": random.normal(0, 3, COLUMNS),
        "heavy tails": random.standard_t(3, COLUMNS) * 0.02,
        "uniform": random.uniform(-1, 1, COLUMNS),
        "positive": np.abs(random.normal(0.5, 0.2, COLUMNS)),
        "one outlier a block": np.where(steps % 256 == 17, 8.0, random.normal(0, 0.05, COLUMNS)),
        "groups of unlike size": random.normal(0, 1, COLUMNS) * np.repeat(2.0 ** -(np.arange(COLUMNS // 32) % 10), 32),
        "constant": np.full(COLUMNS, 0.7),
        "constant negative": np.full(COLUMNS, -0.3),
        "zeros": np.zeros(COLUMNS),
        "tiny": random.normal(0, 1e-5, COLUMNS),
        "huge": random.normal(0, 1e4, COLUMNS),
    }


def quantize(library, kind, row):
    block, size = GGML_QUANT_SIZES[kind]
    out = np.zeros(row.size // block * size, dtype=np.uint8)
    library.ggml_quantize_init(ctypes.c_int(kind.value))
    library.ggml_quantize_chunk(
        ctypes.c_int(kind.value), row.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0), ctypes.c_int64(1), ctypes.c_int64(row.size), ctypes.c_void_p(0))
    return out


def nearest(numbers, scales, book):
    """Indices into each block's ascending book [blocks, 4] for numbers [blocks, 16, 16] in units of their scales."""
    units = numbers / np.where(scales == 0, 1, scales)[:, :, None]
    middles = (book[:, 1:] + book[:, :-1]) / 2
    return np.sum(units[..., None] > middles[:, None, None, :], axis=3)


def learned(row):
    """Blocks of 256 as d * scale * book[code]: 16 scales from -8 to 7, four whole values, by turns in float64."""
    numbers = row.astype(np.float64).reshape(-1, 16, 16)
    book = np.tile(np.array([-127.0, -38.0, 40.0, 110.0]), (len(numbers), 1))
    at = np.abs(numbers).argmax(axis=2)[..., None]
    scales = np.take_along_axis(numbers, at, axis=2)[..., 0] / -127.0
    best, lowest = np.zeros_like(numbers), np.full(len(numbers), np.inf)
    for _ in range(12):
        d = (np.abs(scales).max(axis=1, keepdims=True) * 1024 / 7.5).astype(np.float16).astype(np.float64) / 1024
        whole = np.clip(np.round(scales / np.where(d == 0, 1, d)), -8, 7)
        codes = nearest(numbers, d * whole, book)
        values = np.take_along_axis(book[:, None, :].repeat(16, axis=1), codes, axis=2)
        made = (d * whole)[..., None] * values
        error = np.sum((made - numbers) ** 2, axis=(1, 2))
        better = error < lowest
        best[better], lowest[better] = made[better], error[better]
        factor = np.broadcast_to((d * whole)[..., None], numbers.shape)
        for k in range(4):
            mine = np.where(codes == k, factor, 0)
            square = np.sum(mine * mine, axis=(1, 2))
            book[:, k] = np.where(square > 0, np.sum(mine * numbers, axis=(1, 2)) / np.where(square > 0, square, 1),
                                  book[:, k])
        stretch = np.maximum(np.abs(book).max(axis=1, keepdims=True), 1e-30) / 127
        book = np.sort(np.round(book / stretch), axis=1)
        values = np.take_along_axis(book[:, None, :].repeat(16, axis=1), nearest(numbers, d * whole * stretch, book),
                                    axis=2)
        square = np.sum(values * values, axis=2)
        scales = np.sum(values * numbers, axis=2) / np.where(square > 0, square, 1)
    return best.ravel()


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    kinds = {name: np.ascontiguousarray(row, dtype=np.float32) for name, row in rows().items()}
    errors = {}
    for name in CODECS:
        kind = GGMLQuantizationType[name.upper()]
        size = GGML_QUANT_SIZES[kind][1]
        errors[name] = []
        for row in kinds.values():
            values = dequantize(quantize(library, kind, row).reshape(-1, size), kind).ravel().astype(np.float64)
            errors[name].append(float(f"{np.sqrt(np.mean((values - row.astype(np.float64)) ** 2)):.6g}"))
    errors["cb2"] = [float(f"{np.sqrt(np.mean((learned(row) - row.astype(np.float64)) ** 2)):.6g}")
                     for row in kinds.values()]
    (OUT / "rows.f32").write_bytes(np.stack(list(kinds.values())).tobytes())
    text = {"kinds": list(kinds), "columns": COLUMNS, "rmse": errors}
    (OUT / "errors.json").write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
