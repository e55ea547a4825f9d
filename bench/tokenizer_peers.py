#!/usr/bin/env python3
"""Tokenizers beside the `tokenizers` package, on one thread: megabytes of text per second, and the time to make one.

    bench/tokenizer_peers.py NAME=MODEL[=JSON]... --english FOLDER... --mixed FOLDER... [--rounds 5] [--bench PROGRAM]

MODEL is a GGUF file or a folder with tokenizer.json, as Lamina reads it; the package reads its tokenizer.json or, of a
GGUF file, the one that is made of its vocabulary (tools/parity_gguf.py) or that JSON names. The texts are pieces of
3,000 characters, taken evenly from all files of the folders; both sides must give the same ids. Each round measures
Lamina (bench/tokenizer_bench.cpp, built with -DLAMINA_BENCH=ON) and the package (encode_batch_fast, which gives no
offsets) in turn. The table goes to standard output and, unless --no-write is given, into docs/performance.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import parity_families  # noqa: E402
import parity_gguf  # noqa: E402
import parity_tokenizers  # noqa: E402
import tokenizers  # noqa: E402

BEGIN, END = "<!-- tokenizers:begin -->", "<!-- tokenizers:end -->"


def reference_file(model, json_path, folder):
    """The tokenizer.json that the package reads."""
    if json_path:
        return Path(json_path)
    if Path(model).is_dir():
        return Path(model) / "tokenizer.json"
    path = Path(folder) / "tokenizer.json"
    parity_gguf.read(model, parity_families.byte_level).save(str(path))
    return path


def package_load(path):
    start = time.perf_counter()
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    return tokenizer, (time.perf_counter() - start) * 1000


def package_encode(tokenizer, texts):
    start = time.perf_counter()
    found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    milliseconds = (time.perf_counter() - start) * 1000
    return milliseconds, [e.ids for e in found]


def ours(program, model, file, rounds):
    done = subprocess.run([program, model, file, str(rounds)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip())
    return done.stdout


def span(values, form="{:.1f}"):
    return f"{form.format(statistics.median(values))} [{form.format(min(values))}–{form.format(max(values))}]"


def measure(options, name, model, json_path, kind, texts):
    with tempfile.TemporaryDirectory() as folder:
        path = reference_file(model, json_path, folder)
        file = Path(folder) / "texts"
        file.write_text("".join(text + "\0" for text in texts))
        tokenizer, _ = package_load(path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        _, wanted = package_encode(tokenizer, texts)
        found = [json.loads(line) for line in ours(options.bench, model, file, 0).splitlines()]
        if found != wanted:
            sys.exit(f"{name}: other ids than the package's")
        size = sum(len(text.encode()) for text in texts) / 1e6
        speed, peer_speed, load, peer_load = [], [], [], []
        for _ in range(options.rounds):
            row = json.loads(ours(options.bench, model, file, 1))
            speed.append(size * 1000 / row["encode_ms"][0])
            load.append(row["load_ms"][0])
            peer_speed.append(size * 1000 / package_encode(tokenizer, texts)[0])
            peer_load.append(package_load(path)[1])
    ratio = [a / b for a, b in zip(speed, peer_speed)]
    return [name, kind, f"{size:.1f}", span(speed), span(peer_speed), span(ratio, "{:.2f}"), span(load, "{:.0f}"),
            span(peer_load, "{:.0f}")]  # fmt: skip


def machine(options):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    version = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return (f"Machine: {cpu}, Linux {platform.release()}. Lamina {version}; tokenizers {tokenizers.__version__}, "
            f"`TOKENIZERS_PARALLELISM=false RAYON_NUM_THREADS=1`. {time.strftime('%Y-%m-%d')}, {options.rounds} rounds, "
            "median [least–most].")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL[=JSON]")
    parser.add_argument("--english", nargs="+", required=True)
    parser.add_argument("--mixed", nargs="+", required=True)
    parser.add_argument("--megabytes", type=float, default=5.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bench", default=str(ROOT / "build/bench/tokenizer_bench"))
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/performance.md")
    options = parser.parse_args()
    titles = ["tokenizer", "text", "MB", "Lamina, MB/s", "tokenizers, MB/s", "ratio", "Lamina, ms to make",
              "tokenizers, ms to make"]  # fmt: skip
    lines = [machine(options), "", "| " + " | ".join(titles) + " |", "| --- | --- |" + " ---: |" * (len(titles) - 2)]
    texts = {kind: parity_tokenizers.documents(getattr(options, kind), int(options.megabytes * 1e6), emoji=False)
             for kind in ("english", "mixed")}  # fmt: skip
    for entry in options.models:
        name, model, *json_path = entry.split("=")
        for kind, part in texts.items():
            row = measure(options, name, model, json_path[0] if json_path else None, kind, part)
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
    if not options.no_write:
        page = options.page.read_text()
        before, rest = page.split(BEGIN, 1)
        options.page.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()
