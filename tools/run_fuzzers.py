#!/usr/bin/env python3
"""Runs every fuzzer of a folder for some seconds from a copy of its kept corpus; any crash, leak or timeout fails."""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys


def run(program, corpus, seconds):
    """Returns (name, exit status, last lines of its log). New inputs and crashes stay beside the program."""
    name = program.name
    place = program.parent / "runs" / name
    shutil.rmtree(place, ignore_errors=True)
    work = place / "corpus"
    kept = corpus / name.removeprefix("fuzz_")
    if kept.is_dir():
        shutil.copytree(kept, work)
    else:
        work.mkdir(parents=True)
    command = [program.resolve(), "corpus", f"-max_total_time={seconds}", "-timeout=25", "-rss_limit_mb=2048",
               "-artifact_prefix=./", "-print_final_stats=1"]
    environment = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")
    log = place / "log"
    with open(log, "wb") as out:
        status = subprocess.run(command, cwd=place, stdout=out, stderr=subprocess.STDOUT, env=environment).returncode
    return name, status, log.read_text(errors="replace").splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()

    programs = sorted(p for p in arguments.programs.glob("fuzz_*") if p.is_file() and os.access(p, os.X_OK))
    if not programs:
        print(f"not run: no fuzzer in {arguments.programs}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, arguments.jobs)) as pool:
        for name, status, log in pool.map(lambda p: run(p, arguments.corpus, arguments.seconds), programs):
            runs = next((line.split()[-1] for line in log if "number_of_executed_units" in line), "?")
            if status == 0:
                print(f"{name}: {runs} runs")
                continue
            failures += 1
            print(f"failed: {name}: exit status {status}")
            print("\n".join(log[-60:]))
    print(f"{len(programs) - failures} passed, {failures} failed, 0 skipped")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
