#!/usr/bin/env python3
"""Runs `lamina bench` and llama.cpp's `llama-bench` in turn on the same files and writes a table of both.

    bench/peers.py MODEL.gguf... [--threads 1,2] [--prompt 512,2048] [--generate 128] [--depth 0,2048] [--batch 4,16]
                   [--rounds 5] [--isa avx2]

A round runs both programs once per model and thread count, in alternating order; ratios are taken within a round.
llama.cpp runs with flash attention on and off, and the better figure of each test counts. --batch: so many sequences
generate at once (llama-batched-bench, which lies beside llama-bench), each after a prompt of 64 tokens; with
--prompt 0 --generate 0 nothing else is run.
--isa: Lamina may use no stronger instructions; the llama-bench that is given should have been built likewise.
The path of llama-bench is --llama-bench, or is looked for under $LLAMA_CPP. The table goes to standard output and,
unless --no-write is given, between the markers in docs/performance.md. CPU time that other processes took while a
program ran is in every row: rows above --busy are marked, and are lower bounds.

--json FILE keeps the samples there, those of other models and tests beside them, so that a long table can be measured in
parts; the table printed is that of the whole file. bench/goals.py reads it.
"""

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"
BATCH_TOKENS = 64  # of the prompt and of the answer of each sequence, where several generate at once
LAMINA_KEYS = ("median_tps", "bandwidth_share", "peak_share", "isa")


class BenchError(Exception):
    """One line for the user: what ran, and what is wrong with it."""


@dataclass
class Samples:
    """Tokens per second of one test on both sides, one entry a round, Lamina's shares of the machine's limits in the
    round, and others' share of the CPU meanwhile."""

    lamina: list = field(default_factory=list)
    peer: list = field(default_factory=list)
    bandwidth: list = field(default_factory=list)
    peak: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    isa: str = ""


def read_jiffies():
    """Returns (busy, total) jiffies of all processors since boot; time stolen by the host counts as busy."""
    fields = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def run_json(command, timeout, lines=False):
    """Runs a program; returns (its JSON, the share of all CPU time that others took while it ran). With `lines`, the
    JSON is a list of those lines of the output that are objects."""
    busy, total = read_jiffies()
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except OSError as error:
        raise BenchError(f"{command[0]}: cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(command)}: no answer within {timeout} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchError(f"{' '.join(command)}: exit status {done.returncode}: {last}")
    after_busy, after_total = read_jiffies()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime
    foreign = after_busy - busy - seconds * os.sysconf("SC_CLK_TCK")
    share = max(0.0, foreign / max(1, after_total - total))
    try:
        if lines:
            return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], share
        return json.loads(done.stdout), share
    except json.JSONDecodeError as error:
        raise BenchError(f"{' '.join(command)}: its output is not JSON: {error}") from error


def test_name(prompt, generate, depth, batch=1):
    name = f"pp{prompt}" if prompt else f"tg{generate}"
    name += f" at {depth}" if depth else ""
    return name + (f", {batch} sequences" if batch > 1 else "")


def forced_name(test, isa):
    return f"{test}, {isa} on both sides" if isa else test


def parse_lamina(report):
    """`lamina bench --json` -> {test: its row}."""
    rows = {}
    try:
        for row in report["rows"]:
            count = row["tokens"]
            prompt, generate = (count, 0) if row["test"].startswith("pp") else (0, count)
            rows[test_name(prompt, generate, row["depth"], row["batch"])] = {key: row[key] for key in LAMINA_KEYS}
    except (KeyError, TypeError) as error:
        raise BenchError(f"lamina bench: its JSON lacks {error}; rows[] with test, tokens, depth, batch, {', '.join(LAMINA_KEYS)} expected")
    return rows


def parse_llama_bench(report):
    """`llama-bench -o json` -> {test: median tokens per second}."""
    try:
        return {
            test_name(row["n_prompt"], row["n_gen"], row["n_depth"]): statistics.median(row["samples_ts"])
            for row in report
        }
    except (KeyError, TypeError) as error:
        raise BenchError(f"llama-bench: its JSON lacks {error}; a list with n_prompt, n_gen, n_depth, samples_ts expected")


def parse_batched_bench(rows):
    """`llama-batched-bench --output-format jsonl` -> {test: tokens per second of all sequences}."""
    try:
        return {test_name(0, row["tg"], row["pp"], row["pl"]): float(row["speed_tg"]) for row in rows}
    except (KeyError, TypeError) as error:
        raise BenchError(f"llama-batched-bench: its JSON lacks {error}; lines with pp, tg, pl, speed_tg expected")


def one_sequence(options):
    return (options.prompt, options.generate) != ("0", "0")


def run_lamina(options, model, threads):
    """{test: its row}, and the share of others."""
    command = [str(options.lamina), "bench", str(model), "-r", "1", "--threads", str(threads), "--json"]
    found, foreign = {}, 0.0
    if one_sequence(options):
        tests = ["-p", options.prompt, "-n", options.generate, "-d", options.depth, "-b", "1"]
        report, foreign = run_json(command + tests, options.timeout)
        found = parse_lamina(report)
    if options.batch:
        tests = ["-p", "0", "-n", str(BATCH_TOKENS), "-d", str(BATCH_TOKENS), "-b", options.batch]
        report, share = run_json(command + tests, options.timeout)
        found, foreign = found | parse_lamina(report), max(foreign, share)
    return found, foreign


def run_peer(options, model, threads):
    """{test: tokens per second} with the better of both settings of flash attention, and the share of others."""
    best, foreign = {}, 0.0
    for flash in options.flash.split(","):
        common = ["-m", str(model), "-t", str(threads), "-ngl", "0", "-fa", flash]
        found = {}
        if one_sequence(options):
            tests = ["-p", options.prompt, "-n", options.generate, "-d", options.depth, "-r", "1", "-o", "json"]
            report, share = run_json([str(options.llama_bench), *common, *tests], options.timeout)
            found, foreign = parse_llama_bench(report), max(foreign, share)
        if options.batch:
            context = 2 * BATCH_TOKENS * max(int(part) for part in options.batch.split(","))
            tests = ["-npp", str(BATCH_TOKENS), "-ntg", str(BATCH_TOKENS), "-npl", options.batch, "-c", str(context)]
            program = Path(options.llama_bench).with_name("llama-batched-bench")
            rows, share = run_json([str(program), *common, *tests, "--output-format", "jsonl"], options.timeout, lines=True)
            found, foreign = found | parse_batched_bench(rows), max(foreign, share)
        best = {test: max(speed, best.get(test, 0.0)) for test, speed in found.items()}
    return best, foreign


def run_pair(options, model, threads, peer_first, table):
    """Runs both programs once and files their figures under (model, threads, test)."""
    reports = {}
    for side in ("peer", "lamina") if peer_first else ("lamina", "peer"):
        reports[side] = (run_lamina if side == "lamina" else run_peer)(options, model, threads)
    (ours, own_share), (theirs, peer_share) = reports["lamina"], reports["peer"]
    if set(ours) != set(theirs):
        raise BenchError(f"the two ran different tests: lamina {sorted(ours)}, llama-bench {sorted(theirs)}")
    for test, row in ours.items():
        samples = table.setdefault((model.name, threads, forced_name(test, options.isa)), Samples())
        samples.lamina.append(float(row["median_tps"]))
        samples.peer.append(theirs[test])
        samples.bandwidth.append(row["bandwidth_share"])
        samples.peak.append(row["peak_share"])
        samples.foreign.append(max(own_share, peer_share))
        samples.isa = row["isa"]


def spread(values, digits):
    """`median [least–most]`."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}–{high:.{digits}f}]"


def format_row(key, samples, busy):
    model, threads, test = key
    ratios = [ours / theirs for ours, theirs in zip(samples.lamina, samples.peer)]
    foreign = statistics.median(samples.foreign)
    mark = " (busy)" if foreign > busy else ""
    # Generating one sequence is bound by reading; anything else by multiplying.
    one = test.startswith("tg") and "sequences" not in test
    share = [value for value in (samples.bandwidth if one else samples.peak) if value is not None]
    limit = f"{statistics.median(share):.0%} of {'read' if one else 'peak'}" if share else ""
    cells = [model, test, str(threads), spread(samples.lamina, 1), spread(samples.peer, 1)]
    cells += [spread(ratios, 2), limit, f"{foreign:.0%}, most {max(samples.foreign):.0%}{mark}", samples.isa]
    return "| " + " | ".join(cells) + " |"


def describe_machine():
    """One line: processor, how many of it, the instruction sets that matter here, memory, kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()

    def first(key):
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")

    known = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"]
    flags = [flag for flag in known if flag in first("flags").split()]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    isa = ", ".join(flags) or "no listed instruction set"
    return f"{first('model name')}, {os.cpu_count()} processors ({isa}), {memory:.0f} GiB, Linux {os.uname().release}"


def first_line(command):
    """First line that a program prints, or an empty string if it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else ""


def describe_versions(options):
    ours = first_line(["git", "describe", "--always", "--dirty"]) or "unknown"
    theirs = options.peer_version or first_line([str(options.llama_bench), "--version"]) or "version unknown"
    return f"Lamina {ours}; llama.cpp {theirs.removeprefix('version: ')}"


def describe_rounds(table):
    rounds = sorted({len(samples.lamina) for samples in table.values()})
    return f"{'–'.join(str(count) for count in sorted({rounds[0], rounds[-1]}))} interleaved rounds"


def load_samples(path):
    """The table that an earlier part kept; empty where there is none."""
    if not path or not path.exists():
        return {}
    rows = json.loads(path.read_text())["rows"]
    return {(row.pop("model"), row.pop("threads"), row.pop("test")): Samples(**row) for row in rows}


def keep_samples(path, table, options):
    rows = [{"model": key[0], "threads": key[1], "test": key[2]} | vars(samples) for key, samples in table.items()]
    report = {"machine": describe_machine(), "versions": describe_versions(options), "date": datetime.date.today().isoformat(), "rows": rows}
    path.write_text(json.dumps(report, indent=1) + "\n")


FLASH_WORDS = {"on,off": "the better of on and off, test by test"}


def format_table(table, options):
    lines = [
        f"Machine: {describe_machine()}. {describe_versions(options)}. {datetime.date.today().isoformat()}, "
        f"{describe_rounds(table)}, flash attention of llama.cpp: {FLASH_WORDS.get(options.flash, options.flash)}.",
        "Tokens per second and ratio: median [least–most]. Limit: the share of the bandwidth or of the int8 (float32 "
        "for float weights) peak that Lamina measured in the same run, reading around each round. Foreign CPU: share of all processors that other "
        "processes took during the run.",
        "",
        "| model | test | threads | Lamina | llama.cpp | ratio | limit | foreign CPU | Lamina ISA |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    return "\n".join(lines + [format_row(key, table[key], options.busy) for key in table])


def write_between_markers(path, text):
    """Replaces what stands between the markers of a page."""
    page = path.read_text() if path.exists() else ""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise BenchError(f"{path}: needs one line {BEGIN} and after it one line {END}")
    head, tail = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
    path.write_text(f"{head}\n{text}\n{tail}")


def find_llama_bench(given):
    if given:
        return given
    base = os.environ.get("LLAMA_CPP")
    if not base:
        raise BenchError("where is llama-bench? Give --llama-bench PATH or set LLAMA_CPP to llama.cpp's folder")
    for part in ("llama-bench", "bin/llama-bench", "build/bin/llama-bench"):
        if (Path(base) / part).is_file():
            return Path(base) / part
    raise BenchError(f"LLAMA_CPP={base}: no llama-bench in it, in bin/ or in build/bin/")


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--threads", default=str(os.cpu_count()), help="thread counts, as in 1,2")
    parser.add_argument("--prompt", default="512", help="lengths, as in 512,2048")
    parser.add_argument("--generate", default="128")
    parser.add_argument("--depth", default="0")
    parser.add_argument("--batch", default="", help="numbers of sequences that generate at once, as in 4,16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=float, default=0.05, help="foreign CPU share above which a row is marked")
    parser.add_argument("--flash", choices=["on,off", "on", "off", "auto"], default="on,off", help="llama.cpp's flash attention")
    parser.add_argument("--lamina", type=Path, default=ROOT / "build" / "lamina")
    parser.add_argument("--isa", choices=["avx2", "avx512"], help="Lamina's strongest instructions")
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--peer-version", help="text that names the peer's version if its program does not know it")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one run of one program")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the samples there")
    parser.add_argument("--no-write", action="store_true")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    table = {}
    try:
        options.llama_bench = find_llama_bench(options.llama_bench)
        if options.isa:
            os.environ["LAMINA_ISA"] = options.isa
        for number in range(options.rounds):
            for model in options.models:
                for threads in (int(part) for part in options.threads.split(",")):
                    print(f"round {number + 1} of {options.rounds}: {model.name}, {threads} threads", file=sys.stderr)
                    run_pair(options, model, threads, number % 2 == 1, table)
        table = load_samples(options.json) | table
        if options.json:
            keep_samples(options.json, table, options)
        text = format_table(table, options)
        print(text)
        if not options.no_write:
            write_between_markers(options.page, text)
    except BenchError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
