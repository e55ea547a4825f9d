#!/usr/bin/env python3
"""How long models take from the start of the program until they are loaded, and how much memory that takes.

    bench/loading.py MODEL... [--rounds 5] [--lamina build/lamina]

MODEL is a file, a folder, or a name in the store. Per model and round: the file is read in sequence by `cat` (cold,
then warm), and `lamina run MODEL -n 1 --raw x` is run (cold, then warm); then the same with the weights that `lamina
pack` made, in a store of its own. Cold means that the pages of all files were dropped before (`posix_fadvise`; they
must be clean). Loading is what the program reports: from its start until the model can take tokens; "first token" is
the whole process. The table goes to standard output and, unless --no-write is given, between the markers in
docs/performance.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- loading:begin -->", "<!-- loading:end -->"


def find(model):
    """A path as it is, or the store's file or folder of that name."""
    if Path(model).exists():
        return Path(model)
    store = Path(os.environ.get("LAMINA_HOME") or Path.home() / ".cache" / "lamina")
    folder = store / "models" / model
    files = sorted(folder.glob("*.gguf"))
    if not folder.is_dir():
        sys.exit(f"{model}: neither a path nor in {store}")
    return files[0] if files else folder


def files_of(path):
    return [path] if path.is_file() else sorted(path.glob("*.safetensors")) + sorted(path.glob("*.gguf"))


def drop(paths):
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_seconds(paths):
    start = time.monotonic()
    subprocess.run(["cat", *paths], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


def load(lamina, model, home=None):
    """(seconds of loading, seconds of the process, peak resident bytes) of one run; with the packed weights of `home`."""
    command = [lamina, "run", model, "x", "-n", "1", "--raw", "--temperature", "0", "--json"]
    environment = os.environ | ({"LAMINA_HOME": home} if home else {"LAMINA_PACKED": "off"})
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        out, errors = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    if process.returncode != 0 or errors:
        sys.exit(f"{' '.join(map(str, command))}: {errors.strip()}")
    return json.loads(out)["timings"]["load_ms"] / 1000, seconds, usage.ru_maxrss * 1024


def span(values, form):
    return f"{form.format(statistics.median(values))} [{form.format(min(values))}–{form.format(max(values))}]"


def measure(lamina, name, rounds):
    model = find(name)
    paths = files_of(model)
    size = sum(path.stat().st_size for path in paths)
    rows = {key: [] for key in ["read cold", "read warm", "cold", "warm", "first", "peak", "packed cold", "packed", "packed first"]}
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as home:
        environment = os.environ | {"LAMINA_HOME": home}
        told = subprocess.run([lamina, "pack", model, "--json"], env=environment, capture_output=True, text=True, check=True)
        packed = Path(json.loads(told.stdout)["file"])
        for _ in range(rounds):
            drop(paths)
            rows["read cold"].append(read_seconds(paths))
            rows["read warm"].append(read_seconds(paths))
            drop(paths)
            rows["cold"].append(load(lamina, model)[0])
            seconds, process, bytes_ = load(lamina, model)
            rows["warm"].append(seconds)
            rows["first"].append(process)
            rows["peak"].append(bytes_ / size)
            drop([*paths, packed])
            rows["packed cold"].append(load(lamina, model, home)[0])
            seconds, process, _ = load(lamina, model, home)
            rows["packed"].append(seconds)
            rows["packed first"].append(process)
    rows["ratio"] = [mine / plain for mine, plain in zip(rows["cold"], rows["read cold"])]
    return {"model": model.name, "bytes": size} | rows


def cells(row):
    forms = {"read cold": 2, "cold": 2, "ratio": 2, "read warm": 3, "warm": 3, "first": 3, "peak": 2, "packed cold": 3, "packed": 3,
             "packed first": 3}
    return [row["model"], f"{row['bytes'] / 1e6:.1f}", *(span(row[key], f"{{:.{digits}f}}") for key, digits in forms.items())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lamina", default=str(ROOT / "build/lamina"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures of every round there")
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/performance.md")
    arguments = parser.parse_args()
    titles = ["model", "MB", "read cold, s", "load cold, s", "ratio", "read warm, s", "load warm, s", "first token, s", "peak / file",
              "packed: load cold, s", "load warm, s", "first token, s"]
    lines = ["| " + " | ".join(titles) + " |", "| --- |" + " ---: |" * (len(titles) - 1)]
    rows = []
    for model in arguments.models:
        rows.append(measure(arguments.lamina, model, arguments.rounds))
        lines.append("| " + " | ".join(cells(rows[-1])) + " |")
        print(lines[-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"models": rows}, indent=1) + "\n")
    if not arguments.no_write:
        text = arguments.page.read_text()
        before, rest = text.split(BEGIN, 1)
        arguments.page.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
