#!/usr/bin/env python3
"""Converts models there and back with `lamina compress` and compares every tensor's bits, as the gguf and safetensors
packages read them.

    check_round_trips.py MODEL[=RECIPE]... [--lamina build/lamina] [--json F]

Each MODEL (GGUF file or folder; with a RECIPE it is first written in its own container by it) goes through the other
container and back, and on to the other one again: both GGUF files, and both folders, must hold the same tensors: names,
shapes, types and bytes. Tensors that only the MODEL as given has, as no layer reads them, are counted apart. Ends with 1
when anything differs.

With --json FILE (- for standard output) the result is one object:

    date, lamina, gguf, safetensors      day and versions
    models[]                             one row per model and container
      model, recipe, trip                as given; the containers in order
      tensors, bytes, types              of the first of the two files: how many, and how many of each type
      left_out                           names that the model as given has and no layer reads
      differing                          names that are missing, new, or of other type, shape or bytes, with what differs
    failed                               rows that differ
"""

import argparse
import collections
import datetime
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile

import safetensors
from gguf import GGUFReader

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNREAD = "not read by any layer, so not written: "


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command[:3]))}: status {done.returncode}\n{done.stderr[-1500:]}")
    return done.stdout


def read_gguf(path):
    """Name to type, shape (innermost dimension first) and bytes."""
    return {t.name: (t.tensor_type.name, [int(d) for d in t.shape], t.data.tobytes()) for t in GGUFReader(str(path)).tensors}


def read_folder(path):
    out = {}
    for file in sorted(path.glob("*.safetensors")):
        for name, tensor in safetensors.deserialize(file.read_bytes()):
            out[name] = (tensor["dtype"], list(tensor["shape"]), bytes(tensor["data"]))
    return out


def read(path):
    return read_folder(path) if path.is_dir() else read_gguf(path)


def difference(first, second):
    """What differs between two tensors, or nothing."""
    for what, a, b in zip(("type", "shape"), first, second):
        if a != b:
            return f"{what} {a}, then {b}"
    if first[2] == second[2]:
        return None
    count = sum(a != b for a, b in zip(first[2], second[2]))
    return f"{count} of {len(first[2])} bytes"


def compare(first, second, unread):
    """`unread`: names that may be missing in the second, because no layer reads them."""
    before, after = read(first), read(second)
    missing = sorted(set(before) - set(after))
    differing = {name: "is missing" for name in missing if name not in unread}
    differing |= {name: "is new" for name in sorted(set(after) - set(before))}
    for name in sorted(set(before) & set(after)):
        if told := difference(before[name], after[name]):
            differing[name] = told
    return {"tensors": len(before), "bytes": sum(len(tensor[2]) for tensor in before.values()),
            "types": dict(collections.Counter(tensor[0] for tensor in before.values())),
            "left_out": [name for name in missing if name in unread], "differing": differing}  # fmt: skip


def name_of(container, number, folder):
    return folder / (f"{number}.gguf" if container == "GGUF" else f"{number}")


def compress(lamina, source, out, recipe=""):
    """What Lamina wrote, and the names of tensors that its note says no layer reads."""
    report = json.loads(run(lamina, "compress", source, "--recipe", recipe, "-o", out, "--json"))
    said = [note.removeprefix(UNREAD) for note in report["notes"] if note.startswith(UNREAD)]
    return out, [name for names in said for name in names.split(", ")]


def check(lamina, model, recipe):
    rows = []
    own = "folder" if model.is_dir() else "GGUF"
    other = "GGUF" if own == "folder" else "folder"
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        first = compress(lamina, model, name_of(own, 0, folder), recipe)[0] if recipe else model
        second, unread = compress(lamina, first, name_of(other, 1, folder))
        third, _ = compress(lamina, second, name_of(own, 2, folder))
        rows.append({"trip": f"{own}, {other}, {own}"} | compare(first, third, unread))
        fourth, _ = compress(lamina, third, name_of(other, 3, folder))
        rows.append({"trip": f"{other}, {own}, {other}"} | compare(second, fourth, []))
    for row in rows:
        row |= {"model": model.name if model.is_dir() else model.parent.name, "recipe": recipe}
        print(row["model"], recipe, row["trip"], row["types"], f"{len(row['differing'])} differ, {len(row['left_out'])} left out", flush=True)
        for name, told in list(row["differing"].items())[:10]:
            print(f"  {name}: {told}")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--lamina", type=pathlib.Path, default=ROOT / "build/lamina")
    parser.add_argument("--json")
    options = parser.parse_args()
    report = {"date": datetime.date.today().isoformat(), "lamina": run(options.lamina, "--version").strip(),
              "gguf": importlib.metadata.version("gguf"), "safetensors": importlib.metadata.version("safetensors"),
              "models": [], "failed": 0}  # fmt: skip
    for given in options.models:
        path, _, recipe = given.partition("=")
        try:
            report["models"] += check(options.lamina, pathlib.Path(path), recipe)
        except RuntimeError as error:
            report["models"].append({"model": pathlib.Path(path).name, "recipe": recipe, "error": str(error).split("\n")[-2]})
            print(error, file=sys.stderr)
    report["failed"] = sum("error" in row or bool(row["differing"]) for row in report["models"])
    text = json.dumps(report, indent=1) + "\n"
    if options.json == "-":
        print(text)
    elif options.json:
        pathlib.Path(options.json).write_text(text)
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
