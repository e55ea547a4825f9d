"""Writes a safetensors file: a header of names, types, shapes and places, then the bytes of all tensors."""

import json
import struct


def write_safetensors(path, tensors):
    """`tensors` lists (name, type as safetensors names it, shape, bytes or an object with a buffer)."""
    header = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, kind, shape, data in tensors:
        size = memoryview(data).nbytes
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, _, data in tensors:
            file.write(data)
