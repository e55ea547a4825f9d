"""Reads a small GGUF file into plain Python values and writes it back, so that tests can break one thing at a time."""

import struct

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
# Type number: elements and bytes of a block.
BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210)}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self):
        size = self.take("<Q")
        self.at += size
        return bytes(self.data[self.at - size:self.at])

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element = self.take("<I")
            return element, [self.value(element) for _ in range(self.take("<Q"))]
        return self.take(SCALARS[kind])


def pack_string(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<Q", len(data)) + data


def pack_value(kind, value):
    if kind == STRING:
        return pack_string(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(pack_value(element, item) for item in items)
    return struct.pack(SCALARS[kind], value)


class Gguf:
    """`keys`: name to (kind, value); `tensors`: name to [dimensions innermost first, type number, bytes]."""

    def __init__(self, path):
        reader = Reader(path.read_bytes())
        self.magic, self.version = reader.take("<4s"), reader.take("<I")
        tensors, keys = reader.take("<Q"), reader.take("<Q")
        self.keys, self.tensors = {}, {}
        for _ in range(keys):
            name = reader.string().decode()
            kind = reader.take("<I")
            self.keys[name] = (kind, reader.value(kind))
        places = []
        for _ in range(tensors):
            name = reader.string().decode()
            dimensions = [reader.take("<Q") for _ in range(reader.take("<I"))]
            places.append((name, dimensions, reader.take("<I"), reader.take("<Q")))
        start = -(-reader.at // 32) * 32
        for name, dimensions, kind, offset in places:
            elements, size = BLOCKS[kind]
            count = size
            for dimension in dimensions:
                count *= dimension
            data = reader.data[start + offset:start + offset + count // elements]
            self.tensors[name] = [dimensions, kind, data]

    def header(self):
        """Everything before the data, padded, with the tensors' offsets."""
        out = self.magic + struct.pack("<IQQ", self.version, len(self.tensors), len(self.keys))
        for name, (kind, value) in self.keys.items():
            out += pack_string(name) + struct.pack("<I", kind) + pack_value(kind, value)
        offset = 0
        for name, (dimensions, kind, data) in self.tensors.items():
            out += pack_string(name) + struct.pack("<I", len(dimensions)) + b"".join(struct.pack("<Q", d) for d in dimensions)
            out += struct.pack("<IQ", kind, offset)
            offset += -(-len(data) // 32) * 32
        return out + bytes(-len(out) % 32)

    def to_bytes(self):
        return self.header() + b"".join(data + bytes(-len(data) % 32) for _, _, data in self.tensors.values())

    def write(self, path):
        path.write_bytes(self.to_bytes())
        return path
