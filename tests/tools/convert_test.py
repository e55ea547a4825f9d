"""Files in foreign containers, made by hand, turned into safetensors files."""

import collections
import json
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
PROGRAM = TOOLS / "convert_torch_legacy.py"


class Named:
    """Pickles as a class or function of some module."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Stored:
    """Pickles as a reference to a storage."""

    def __init__(self, kind, key, count):
        self.id = ("storage", Named("torch", kind), key, "cpu", count, None)


class Called:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Writer(pickle._Pickler):
    """Writes the three kinds above; the C pickler would insist that the functions exist."""

    def persistent_id(self, value):
        return value.id if isinstance(value, Stored) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Named):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Called):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def tensor(kind, key, count, offset, shape, stride):
    rebuild = Named("torch._utils", "_rebuild_tensor_v2")
    return Called(rebuild, Stored(kind, key, count), offset, shape, stride, False, collections.OrderedDict())


def write_stream(path, state, storages, magic=0x1950A86A20F9469CFC6C):
    with open(path, "wb") as file:
        for value in (magic, 1001, {"little_endian": True}, state, list(storages)):
            Writer(file, protocol=2).dump(value)
        for count, data in storages.values():
            file.write(struct.pack("<q", count) + data)


class ConvertTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.source = pathlib.Path(folder.name) / "in.bin"
        self.target = pathlib.Path(folder.name) / "out.safetensors"

    def convert(self):
        command = [sys.executable, str(PROGRAM), str(self.source), str(self.target)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def refuse(self, words):
        done = self.convert()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertFalse(self.target.exists())

    def test_tensors_come_out_as_they_were(self):
        numbers = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
        state = {
            "whole": tensor("FloatStorage", "a", 6, 0, (2, 3), (3, 1)),
            "part": tensor("FloatStorage", "a", 6, 3, (3,), (1,)),
            "ids": tensor("LongStorage", "b", 2, 0, (1, 2), (2, 1)),
        }
        write_stream(self.source, state, {"a": (6, numbers), "b": (2, struct.pack("<2q", 7, 8))})
        done = self.convert()
        self.assertEqual(done.returncode, 0, done.stderr)
        data = self.target.read_bytes()
        (size,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + size])

        def read(name):
            begin, end = header[name]["data_offsets"]
            return header[name]["dtype"], header[name]["shape"], data[8 + size + begin : 8 + size + end]

        self.assertEqual(read("whole"), ("F32", [2, 3], numbers))
        self.assertEqual(read("part"), ("F32", [3], numbers[12:]))
        self.assertEqual(read("ids"), ("I64", [1, 2], struct.pack("<2q", 7, 8)))

    def test_nothing_else_is_called(self):
        ran = self.source.with_suffix(".ran")
        write_stream(self.source, {"x": Called(Named("os", "system"), f"touch {ran}")}, {})
        self.refuse("names os.system")
        self.assertFalse(ran.exists())

    def test_damaged_files(self):
        state = {"x": tensor("FloatStorage", "a", 2, 0, (2,), (1,))}
        write_stream(self.source, state, {"a": (2, bytes(8))}, magic=5)
        self.refuse("5 in the head")
        write_stream(self.source, state, {"a": (3, bytes(12))})
        self.refuse("storage a has 3 numbers; 2 expected")
        write_stream(self.source, state, {"a": (2, bytes(4))})
        self.refuse("does not fit")
        write_stream(self.source, {"x": tensor("FloatStorage", "a", 4, 0, (2, 2), (1, 2))}, {"a": (4, bytes(16))})
        self.refuse("contiguous rows expected")
        self.source.write_bytes(b"PK\x03\x04")
        self.assertEqual(self.convert().returncode, 1)


def read_tensors(path):
    """The tensors of a safetensors file: name to (type, shape, bytes)."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__")
    return {
        name: (row["dtype"], row["shape"], data[8 + size + row["data_offsets"][0] : 8 + size + row["data_offsets"][1]])
        for name, row in header.items()
    }


class E5s1Test(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def convert(self, tensors, size=None):
        head = b"E5S1" + struct.pack("<I7if6iQ", 1, 32, 1, 2, 64, 2, 8, 1, 1e-12, 32, 0, 0, 2, 1, 3, 0) + struct.pack("<I", 0)
        head += struct.pack("<iI", 0, 0) + struct.pack("<i", len(tensors))
        rows = sum(2 + len(name) + 21 for name, *_ in tensors)
        table, blob = b"", b""
        for name, kind, count, data in tensors:
            offset = len(head) + rows + len(blob)
            table += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, offset, size or len(data))
            blob += data
        source = self.folder / "in.bin"
        source.write_bytes(head + table + blob)
        command = [sys.executable, str(TOOLS / "convert_e5s1.py"), str(source), str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def test_blocks_become_their_numbers(self):
        words = struct.pack("<e", 0.5) + bytes(range(16)) + struct.pack("<e", -2.0) + bytes([0xF0] * 16)
        norm = struct.pack("<32f", *range(32))
        done = self.convert([("emb.word", 1, 64, words), ("emb.ln.w", 0, 32, norm), ("l0.fo.w", 1, 64, words)])
        self.assertEqual(done.returncode, 0, done.stderr)
        found = read_tensors(self.folder / "model.safetensors")
        wanted = [0.5 * (i - 8) for i in range(16)] + [-4.0] * 16 + [16.0] * 16 + [-14.0] * 16
        self.assertEqual(found["embeddings.word_embeddings.weight"], ("F32", [2, 32], struct.pack("<64f", *wanted)))
        self.assertEqual(found["embeddings.LayerNorm.weight"], ("F32", [32], norm))
        self.assertEqual(found["encoder.layer.0.output.dense.weight"][1], [1, 64])
        self.assertEqual(json.loads((self.folder / "config.json").read_text())["hidden_size"], 32)

    def test_a_tensor_outside_of_the_file_is_refused(self):
        done = self.convert([("emb.ln.w", 0, 32, bytes(128))], size=4096)
        self.assertEqual(done.returncode, 1)
        self.assertIn("embeddings.LayerNorm.weight: 4096 bytes", done.stderr)


class WhisperTest(unittest.TestCase):
    def test_other_files_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "model.bin"
            for data, words in ((b"", "ends within"), (struct.pack("<IH", 5, 12) + b"WhisperSpec\0" + bytes(8), "version 6")):
                source.write_bytes(data)
                command = [sys.executable, str(TOOLS / "convert_whisper.py"), str(source), folder]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 1)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
