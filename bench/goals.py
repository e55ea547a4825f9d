#!/usr/bin/env python3
"""Holds the measured figures against Lamina's goals and writes the table of docs/performance.md.

    bench/goals.py --peers FILE [--embed FILE] [--loading FILE] [--no-write]

FILEs are what peers.py, embed_peers.py and loading.py keep with --json. A row says the goal, the worst and the best
figure of the models that it holds for, and which models miss it. Goals for AMX hold where the processor has it.
"""

import argparse
import json
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- goals:begin -->", "<!-- goals:end -->"


@dataclass
class Goal:
    """A lower bound on one figure of the tests and models whose names match."""

    text: str
    test: str
    field: str  # ratio (to llama.cpp, within rounds), bandwidth or peak
    least: float
    least_amx: float | None = None
    models: str = ""


GOALS = [
    Goal("generate, one sequence: never below llama.cpp", r"tg\d+", "ratio", 1.0),
    Goal("generate, one sequence, 0.27B and larger: share of read bandwidth", r"tg\d+", "bandwidth", 0.9, models="^(?!SmolLM2-135M|Experts)"),
    Goal("generate, one sequence, 0.135B: share of read bandwidth", r"tg\d+", "bandwidth", 0.8, models="SmolLM2-135M"),
    Goal("experts, generate: share of read bandwidth, active experts counted", r"tg\d+", "bandwidth", 0.8, models="Experts"),
    Goal("read 512 and 2048, block formats: beside llama.cpp", r"pp(512|2048)", "ratio", 2.0, 2.5, models="^(?!.*[Ff]16)"),
    Goal("read 512, q8_0, AVX2 on both sides: beside llama.cpp", r"pp512, avx2 on both sides", "ratio", 1.5, models="[qQ]8_0"),
    Goal("read 512, 4-bit formats, AVX2 on both sides: beside llama.cpp", r"pp512, avx2 on both sides", "ratio", 2.0, models="[qQ]4"),
    Goal("read 512 and 2048, f16: beside llama.cpp", r"pp(512|2048)", "ratio", 1.5, 4.0, models="F16"),
    Goal("read 512, 0.5B: share of int8 peak", r"pp512", "peak", 0.6, 0.5, models="Qwen|qwen"),
    Goal("generate after 2048: beside llama.cpp's better setting", r"tg\d+ at 2048", "ratio", 2.0),
    Goal("generate after 2048 and 7168: share of read bandwidth, cache counted", r"tg\d+ at (2048|7168)", "bandwidth", 0.85),
    Goal("read 512 after 7168: beside llama.cpp", r"pp512 at 7168", "ratio", 3.0),
    Goal("4 sequences at once: beside llama.cpp", r".*, 4 sequences", "ratio", 2.0),
    Goal("16 sequences at once: beside llama.cpp", r".*, 16 sequences", "ratio", 3.0),
]


def median_of(row, field):
    """The row's figure; none when it was not measured."""
    if field == "ratio":
        return statistics.median(ours / theirs for ours, theirs in zip(row["lamina"], row["peer"]))
    values = [value for value in row[field] if value is not None]
    return statistics.median(values) if values else None


def format_figure(value, field):
    return f"{value:.2f}x" if field == "ratio" else f"{value:.0%}" if field in ("bandwidth", "peak") else f"{value:.2f} {field}"


def peer_rows(report):
    amx = "amx_int8" in report["machine"]
    for goal in GOALS:
        least = goal.least_amx if amx and goal.least_amx else goal.least
        found = []
        for row in report["rows"]:
            if re.fullmatch(goal.test, row["test"]) and re.search(goal.models, row["model"]):
                value = median_of(row, goal.field)
                if value is not None:
                    found.append((value, f"{row['model'].removesuffix('.gguf')} {row['test']}"))
        yield make_row(goal.text, least, goal.field, found)


def make_row(text, bound, field, found, most=False):
    """One row; `most` makes the bound an upper one."""
    sign = "≤" if most else "≥"
    want = f"{sign} {format_figure(bound, field)}"
    if not found:
        return [text, want, "not measured", ""]
    found.sort()
    missed = [(value, name) for value, name in found if (value > bound if most else value < bound)]
    span = format_figure(found[0][0], field)
    if len(found) > 1:
        span += f" to {format_figure(found[-1][0], field)}"
    told = "met" if not missed else f"{len(missed)} of {len(found)} miss: " + "; ".join(
        f"{name} {format_figure(value, field)}" for value, name in (missed[::-1] if most else missed))
    return [text, want, span, told]


def embed_rows(report):
    """Texts in the order they came against the best peer's sorted figure of like precision, and one query."""
    rates = {engine: {what: [report["tokens"] / t for t in times[what]] for what in ("arrival", "sorted")} for engine, times in report["seconds"].items()}
    query = {engine: statistics.median(times["query"]) * 1e3 for engine, times in report["seconds"].items()}
    for text, own, kinds, least in [("float32", "lamina-f32", ("f32",), 1.3), ("8-bit integers and bf16", "lamina-q8_0", ("int8", "bf16"), 2.0)]:
        peers = [engine for engine in rates if not engine.startswith("lamina") and engine.rsplit("-", 1)[1] in kinds]
        if own not in rates or not peers:
            continue
        best = max(peers, key=lambda engine: statistics.median(rates[engine]["sorted"]))
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rates[own]["arrival"], rates[best]["sorted"]))
        yield make_row(f"512 texts as they come, {text}: beside the best peer's sorted figure ({best})", least, "ratio", [(ratio, own)])
        quick = min(peers, key=query.get)
        yield make_row(f"one short query, {text}: beside the quickest peer ({quick})", query[quick], "ms", [(query[own], own)], most=True)


def loading_rows(report):
    small = [row for row in report["models"] if "SmolLM2" in row["model"] and "F16" not in row["model"]]
    yield make_row("start to first token, packed, in the page cache, 0.135B", 0.2, "s", [(statistics.median(row["packed first"]), row["model"]) for row in small], most=True)
    names = [row["model"].removesuffix(".gguf") for row in report["models"]]

    def of(key):
        return [(statistics.median(row[key]), name) for row, name in zip(report["models"], names)]

    yield make_row("load, cold: beside reading the file", 1.2, "ratio", of("ratio"), most=True)
    yield make_row("load, warm", 0.3, "s", of("warm"), most=True)
    yield make_row("highest memory while loading, beside the file", 1.1, "ratio", of("peak"), most=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("peers", "embed", "loading"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/performance.md")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    for path, make in ((options.peers, peer_rows), (options.embed, embed_rows), (options.loading, loading_rows)):
        if path and path.exists():
            rows += make(json.loads(path.read_text()))
    text = "\n".join(["| goal | bound | measured | |", "| --- | ---: | ---: | --- |"] + [f"| {' | '.join(row)} |" for row in rows])
    print(text)
    if not options.no_write:
        page = options.page.read_text()
        if page.count(BEGIN) != 1 or page.count(END) != 1:
            print(f"goals: {options.page}: needs one line {BEGIN} and after it one line {END}", file=sys.stderr)
            return 1
        head, tail = page.split(BEGIN)[0], page.split(END)[1]
        options.page.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
