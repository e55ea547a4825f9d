#!/usr/bin/env python3
"""What each of several recipes of `lamina compress` costs and saves, as a table.

    bench/passes.py MODEL --text HELD_OUT --calibration TEXT RECIPE... [--windows 8] [--ctx 512] [--rounds 3]

Statistics are read once, over the calibration text. For each recipe the model is written to a GGUF file; `lamina eval`
compares it with MODEL on the held-out text, and `lamina bench`, unless --rounds is 0, reads 256 tokens and generates 64.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def call(*command):
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {found.stderr.strip()}")
    return json.loads(found.stdout)


def measure(options, recipe, statistics, out):
    report = call(options.lamina, "compress", options.model, "--recipe", recipe, "--stats", statistics, "-o", out, "--force", "--json")
    scores = call(options.lamina, "eval", out, "--text", options.text, "--reference", options.model, "--ctx", str(options.ctx),
                  "--windows", str(options.windows), "--json")
    speed = {}
    if options.rounds:
        rows = call(options.lamina, "bench", out, "-p", "256", "-n", "64", "-r", str(options.rounds), "--json")["rows"]
        speed = {row["test"][:2]: row["median_tps"] for row in rows}
    return report, scores, speed


def line(recipe, report, scores, speed):
    low, high = scores["kl_mean_ci95"] or (scores["kl_mean"],) * 2
    cells = [f"`{recipe}`" if recipe else "the model itself", f"{report['bytes'] / 1e6:.2f} MB", f"{scores['kl_mean']:.4f} [{low:.4f}, {high:.4f}]",
             f"{scores['ppl']:.2f}", f"{100 * scores['top1_agreement']:.1f} %"] + [f"{tps:,.0f}" for tps in speed.values()]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--text", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--tokens", type=int, default=32768, help="of the calibration text, at most")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--lamina", default=str(ROOT / "build/lamina"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        statistics = str(Path(folder) / "model.stats.safetensors")
        call(options.lamina, "stats", options.model, "--calibration", options.calibration, "--tokens", str(options.tokens), "-o", statistics, "--json")
        print("| Recipe | Tensors | KL from the model, nats | Perplexity | Same first choice |" + (" Reading | Generating |" if options.rounds else ""))
        print("| --- |" + " ---: |" * (6 if options.rounds else 4))
        for recipe in options.recipes:
            report, scores, speed = measure(options, recipe, statistics, str(Path(folder) / "out.gguf"))
            print(line(recipe, report, scores, speed), flush=True)
            for one in report["passes"]:
                print(f"{one['clause']}: {one['summary']}", file=sys.stderr)


if __name__ == "__main__":
    main()
