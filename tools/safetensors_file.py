"""Writes a safetensors file: a header of names, types, shapes and places, then the bytes of all tensors."""

import json
import math
import struct

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def write_safetensors(path, tensors):
    """`tensors` lists (name, type as safetensors names it, shape, pieces): the pieces of bytes are joined in order, and
    may be made while they are written."""
    header = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, kind, shape, _ in tensors:
        size = math.prod(shape) * WIDTHS[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, _, _, pieces in tensors:
            written = sum(file.write(piece) for piece in pieces)
            begin, end = header[name]["data_offsets"]
            if written != end - begin:
                raise ValueError(f"{name}: {written} bytes; {end - begin} expected by type and shape")
