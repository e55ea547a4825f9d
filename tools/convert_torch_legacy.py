#!/usr/bin/env python3
"""Turns a PyTorch state dictionary in the stream form (before version 1.6) into a safetensors file, without PyTorch.

    convert_torch_legacy.py pytorch_model.bin model.safetensors

The stream is a row of pickles (magic number, version, machine, state dictionary, keys of the storages), then for each
storage an int64 count and its numbers. A pickle may name any function to call, so only what state dictionaries need is
admitted; a file that names anything else is refused. Needs the standard library only.
"""

import argparse
import collections
import pickle
import struct
import sys

from safetensors_file import write_safetensors

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
# Class of the storage: type of safetensors, bytes of a number.
STORAGES = {
    "FloatStorage": ("F32", 4),
    "DoubleStorage": ("F64", 8),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}


class Storage:
    """Numbers of one kind, filled once the pickles are read."""

    def __init__(self, kind, count):
        self.type, self.width = STORAGES[kind]
        self.count = count
        self.data = b""


class Tensor:
    """A view of a storage."""

    def __init__(self, storage, offset, shape, stride):
        self.storage, self.offset, self.shape, self.stride = storage, offset, tuple(shape), tuple(stride)

    def numbers(self):
        """The bytes of the numbers in row-major order."""
        expected = 1
        for size, step in zip(reversed(self.shape), reversed(self.stride)):
            if size != 1 and step != expected:
                raise ValueError(f"strides {self.stride} of shape {self.shape}; contiguous rows expected")
            expected *= size
        width = self.storage.width
        data = self.storage.data[self.offset * width : (self.offset + expected) * width]
        if len(data) != expected * width:
            raise ValueError(f"shape {self.shape} from {self.offset} on does not fit into {self.storage.count} numbers")
        return data


class Unpickler(pickle.Unpickler):
    """Admits what state dictionaries need and nothing else."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: Tensor(storage, offset, shape, stride)
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"the file names {module}.{name}, which a state dictionary does not need")

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) != 6 or pid[0] != "storage" or pid[5] is not None:
            raise pickle.UnpicklingError(f"reference {pid!r}; a storage that is no view expected")
        _, kind, key, _, count, _ = pid
        return self.storages.setdefault(key, Storage(kind, count))


def read_state(file):
    """The tensors of a state dictionary by name."""
    for wanted in (MAGIC, VERSION):
        found = Unpickler(file).load()
        if found != wanted:
            raise ValueError(f"{found!r} in the head; {wanted} of the stream form expected")
    Unpickler(file).load()
    unpickler = Unpickler(file)
    state = unpickler.load()
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("the file does not hold a dictionary of tensors")
    for key in Unpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise ValueError(f"storage {key} has {count} numbers; {storage.count} expected")
        storage.data = file.read(count * storage.width)
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    options = parser.parse_args()
    try:
        with open(options.source, "rb") as file:
            state = read_state(file)
        tensors = [(name, tensor.storage.type, tensor.shape, [tensor.numbers()]) for name, tensor in state.items()]
    except (ValueError, KeyError, pickle.UnpicklingError, EOFError, struct.error) as error:
        print(f"{options.source}: {error}", file=sys.stderr)
        return 1
    write_safetensors(options.target, tensors)
    print(f"{options.target}: {len(tensors)} tensors, {sum(len(t[3][0]) for t in tensors)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
