#!/usr/bin/env python3
"""Writes tests/golden/format: files made by the `gguf`, `safetensors` and `numpy` packages, for tests/format to read
and to write again, byte for byte. Run: python3 tools/make_format_golden.py
"""

import pathlib

import gguf
import numpy as np
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "format"


def write_gguf():
    writer = gguf.GGUFWriter(str(OUT / "package.gguf"), "tiny")
    writer.add_uint8("t.uint8", 200)
    writer.add_int8("t.int8", -100)
    writer.add_uint16("t.uint16", 60000)
    writer.add_int16("t.int16", -30000)
    writer.add_uint32("t.uint32", 4000000000)
    writer.add_int32("t.int32", -2000000000)
    writer.add_float32("t.float32", 0.1)
    writer.add_uint64("t.uint64", 2**64 - 1)
    writer.add_int64("t.int64", -(2**63))
    writer.add_float64("t.float64", 0.1)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "zwölf €")
    writer.add_array("t.strings", ["a", "", "ccc"])
    writer.add_array("t.ints", [1, -2, 3])
    writer.add_array("t.floats", [0.5, -0.25])
    writer.add_array("t.bools", [True, False])
    writer.add_tensor("token_embd.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("blk.0.half", np.arange(24, dtype=np.float16).reshape(2, 3, 4))
    rows = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)
    blocks = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.q8", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors():
    tensors = {
        "wide": np.arange(6, dtype=np.float32).reshape(2, 3),
        "half": np.arange(8, dtype=np.float16).reshape(2, 2, 2),
        "bytes": np.arange(5, dtype=np.uint8),
    }
    save_file(tensors, OUT / "package.safetensors", metadata={"format": "pt"})
    (OUT / "package.safetensors").chmod(0o644)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write_gguf()
    write_safetensors()
    np.save(OUT / "package.npy", np.arange(12, dtype=np.float32).reshape(3, 4) / 8)


if __name__ == "__main__":
    main()
