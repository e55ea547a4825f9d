#!/usr/bin/env python3
"""The table of quantizers: what a model's predictions lose in each format, by each way of rounding, beside llama.cpp's
quantizer with the same importance matrix at equal bytes.

Run: python3 bench/quantizers.py MODEL.gguf --calibration TEXT --text HELD_OUT [--llama-quantize PROGRAM]
         [--codecs q4_k,q3_k,q2_k,iq4_xs] [--windows 16] [--work FOLDER] [--json OUT]

MODEL.gguf has float16 matrices. Every file keeps the embedding in q8_0. "bits" has as many bytes as the plain file of
the format beside it. Where "rotate" gives a tied head a matrix of its own, that is stored in q8_0 too, and a row of
"bits" with as many bytes follows. The divergence is the mean of KL(MODEL || file) in nats per token, both with float32
activations, over windows of 512 tokens of a text that calibration never saw; rows are printed as they come, those that
lose too.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

LAMINA = pathlib.Path(__file__).resolve().parent.parent / "build" / "lamina"
LLAMA_TYPES = {"q4_k": "Q4_K", "q3_k": "Q3_K", "q2_k": "Q2_K", "iq4_xs": "IQ4_XS", "q4_0": "Q4_0", "q5_k": "Q5_K",
               "q6_k": "Q6_K", "iq3_s": "IQ3_S", "iq3_xxs": "IQ3_XXS", "iq2_s": "IQ2_S"}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(part) for part in command)}\n{done.stderr[-2000:]}")
    return done.stdout


def lamina(*arguments):
    return json.loads(run(LAMINA, *arguments, "--json"))


# Ways that change the weights before they are rounded.
FOLDED = {"awq": "awq", "smooth": "smooth", "values": "rotate(at=values)", "rotate": "rotate",
          "rotate-awq": "rotate+awq"}


class Table:
    def __init__(self, options):
        self.options = options
        self.work = pathlib.Path(options.work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.rows = []
        self.statistics = self.work / "stats.safetensors"
        self.imatrix = self.work / "imatrix.gguf"
        self.tied = lamina("show", options.model)["head"]["kind"].startswith("tied")

    def prepare(self):
        model, text = self.options.model, self.options.calibration
        if not self.statistics.exists():
            lamina("stats", model, "--calibration", text, "--tokens", self.options.tokens, "--gram", "--sensitivity",
                   "-o", self.statistics)
        if self.options.llama_quantize and not self.imatrix.exists():
            lamina("stats", model, "--calibration", text, "--tokens", self.options.tokens, "-o", self.imatrix)

    def measure(self, codec, way, path, seconds, estimate=None):
        found = lamina("eval", path, "--text", self.options.text, "--windows", self.options.windows, "--reference",
                       self.options.model, "--activations", "f32", "--reference-activations", "f32")
        row = {"codec": codec, "way": way, "bytes": path.stat().st_size, "kl": found["kl_mean"],
               "kl_ci95": found["kl_mean_ci95"], "kl_p99": found["kl_p99"], "top1": found["top1_agreement"],
               "ln_ppl_ratio": found["ln_ppl_ratio"], "seconds": seconds, "estimate": estimate}
        self.rows.append(row)
        low, high = row["kl_ci95"]
        print(f"| {codec} | {way} | {row['bytes']:,} | {row['kl']:.5f} [{low:.5f}, {high:.5f}] | {row['top1']:.4f} | "
              f"{row['ln_ppl_ratio']:+.4f} | {seconds:.1f} |", flush=True)
        path.unlink()

    def compress(self, codec, way, recipe, *more):
        out = self.work / "out.gguf"
        begin = time.monotonic()
        report = lamina("compress", self.options.model, "--recipe", f"{recipe} embed:q8_0", "-o", out, "--force", *more)
        estimate = report["bits"][0]["error"] if report.get("bits") else None
        self.measure(codec, way, out, time.monotonic() - begin, estimate)
        return report["bytes"]

    def peer(self, codec, *more):
        out = self.work / "peer.gguf"
        begin = time.monotonic()
        run(self.options.llama_quantize, "--imatrix", self.imatrix, "--pure", "--token-embedding-type", "q8_0", *more,
            self.options.model, out, LLAMA_TYPES[codec], 2)
        self.measure(codec, "llama.cpp, imatrix", out, time.monotonic() - begin)

    def codec_rows(self, codec):
        ways = self.options.ways.split(",")
        known = ("--stats", self.statistics)
        size = None
        if "plain" in ways:
            size = self.compress(codec, "without statistics", f"L*:{codec}")
        if "stats" in ways:
            size = self.compress(codec, "weighed", f"L*:{codec}", *known)
        for order in [way for way in ways if way.startswith("gptq")]:
            name = order.partition("-")[2] or "act"
            size = self.compress(codec, f"gptq, {name}", f"L*:gptq(order={name})+{codec}", *known)
        for way in [way for way in ways if way.split("+")[0] in FOLDED]:
            name, _, more = way.partition("+")
            table = " head:q8_0" if name.startswith("rotate") and self.tied else ""
            recipe = f"L*:{FOLDED[name]}+{more + '+' if more else ''}{codec}{table}"
            found = self.compress(codec, way.replace("+", ", "), recipe, *known)
            if table and not more:
                self.compress(codec, "bits, as many bytes", "L*:bits", "--target-bytes", found, *known)
        if "bits" in ways and size is not None:
            self.compress(codec, "bits", "L*:bits", "--target-bytes", size, *known)
        if "bits+gptq" in ways and size is not None:
            self.compress(codec, "bits, gptq", "L*:gptq+bits", "--target-bytes", size, *known)
        if self.options.llama_quantize and codec in LLAMA_TYPES:
            self.peer(codec)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--llama-quantize")
    parser.add_argument("--codecs", default="q4_k,q3_k,q2_k,iq4_xs")
    parser.add_argument("--ways", default="plain,stats,gptq,bits,bits+gptq",
                        help="also gptq-block, gptq-none, and awq, smooth, values, rotate, rotate-awq, each alone or "
                             "as in awq+gptq")
    parser.add_argument("--tokens", default="60000", help="of the calibration text at most")
    parser.add_argument("--windows", default="16")
    parser.add_argument("--work", required=True, help="a folder for what is written; statistics that lie there are used again")
    parser.add_argument("--json")
    options = parser.parse_args()
    table = Table(options)
    table.prepare()
    print("| Format | Way | File bytes | KL, nats per token | Same first choice | ln(PPL ratio) | Seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for codec in options.codecs.split(","):
        table.codec_rows(codec)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(table.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
