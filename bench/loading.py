#!/usr/bin/env python3
"""How long models take from the start of the program until they are loaded, and how much memory that takes.

    bench/loading.py MODEL... [--rounds 5] [--lamina build/lamina]

Per model and round: the file is read in sequence by `cat` (cold, then warm), and `lamina run MODEL -n 1 --raw x` is run
(cold, then warm). Cold means that the file's pages were dropped before (`posix_fadvise`; they must be clean). Loading
is what the program reports: from its start until the model can take tokens. The table goes to standard output and,
unless --no-write is given, between the markers in docs/performance.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- loading:begin -->", "<!-- loading:end -->"


def files_of(model):
    path = Path(model)
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


def load(lamina, model):
    """(seconds of loading, peak resident bytes) of one run in a process of its own."""
    command = [lamina, "run", model, "x", "-n", "1", "--raw", "--temperature", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, errors = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: {errors.strip()}")
    return json.loads(out)["timings"]["load_ms"] / 1000, usage.ru_maxrss * 1024


def span(values, form):
    return f"{form.format(statistics.median(values))} [{form.format(min(values))}–{form.format(max(values))}]"


def measure(lamina, model, rounds):
    paths = files_of(model)
    size = sum(path.stat().st_size for path in paths)
    read_cold, read_warm, cold, warm, peak = [], [], [], [], []
    for _ in range(rounds):
        drop(paths)
        read_cold.append(read_seconds(paths))
        read_warm.append(read_seconds(paths))
        drop(paths)
        cold.append(load(lamina, model)[0])
        seconds, bytes_ = load(lamina, model)
        warm.append(seconds)
        peak.append(bytes_ / size)
    ratio = [mine / plain for mine, plain in zip(cold, read_cold)]
    return [Path(model).name, f"{size / 1e6:.1f}", span(read_cold, "{:.2f}"), span(cold, "{:.2f}"), span(ratio, "{:.2f}"),
            span(read_warm, "{:.3f}"), span(warm, "{:.3f}"), span(peak, "{:.2f}")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lamina", default=str(ROOT / "build/lamina"))
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/performance.md")
    arguments = parser.parse_args()
    titles = ["model", "MB", "read cold, s", "load cold, s", "ratio", "read warm, s", "load warm, s", "peak / file"]
    lines = ["| " + " | ".join(titles) + " |", "| --- |" + " ---: |" * (len(titles) - 1)]
    for model in arguments.models:
        lines.append("| " + " | ".join(measure(arguments.lamina, model, arguments.rounds)) + " |")
        print(lines[-1], flush=True)
    if not arguments.no_write:
        text = arguments.page.read_text()
        before, rest = text.split(BEGIN, 1)
        arguments.page.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
