#!/usr/bin/env python3
"""Runs the commands of the numbered examples and writes what they print into their pages: one command.

    examples/measure.py [--only 1,3] [--lamina build/lamina] [--work build/examples]
    examples/measure.py --texts          only writes the texts, into the current folder

An example is a page whose ```sh fence is run line by line in a folder of its own (comments are left out); `lamina` is the
program of --lamina, to which --json is added where it measures. A line that ends in " &" starts a server, which is ended
after the page. Texts are the help that comes with Python, in two parts of which no paragraph is in both, and requests with
pieces of the second. --model MODEL takes another model than smollm2-135m, --target N other budgets of bytes, --quick short
texts and one round, and then the pages are left as they are: so the tests run them.
"""

import argparse
import json
import os
import pathlib
import pydoc_data.topics
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "smollm2-135m"
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"
# What --quick makes of options that say how much is read.
QUICK = {"--tokens": 512, "--window": 128, "--windows": 1, "-p": 16, "-n": 4, "-d": 32, "-r": 1, "--requests": 1}
REQUESTS = {"plain": None, "guessed": "draft:ngram", "shorter": "route:skip(unified,speedup=1.1)"}


def pages():
    return sorted(ROOT.glob("examples/[0-9]-*.md"))


def commands(page):
    """The lines of the page's fence, continued ones joined."""
    fence = re.search(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S)
    if fence is None:
        sys.exit(f"examples: {page}: a fence marked sh expected")
    lines = re.sub(r"\\\n\s*", "", fence[1]).splitlines()
    return [line for line in (re.sub(r"\s+#.*", "", line).strip() for line in lines) if line and not line.startswith("#")]


def write_texts(folder):
    """calibration.txt, held-out.txt, and a file of requests for each row of REQUESTS."""
    topics = pydoc_data.topics.topics
    parts, seen = [], set()
    for first in (0, 1):
        paragraphs = [part for name in sorted(topics)[first::2] for part in topics[name].split("\n\n")]
        parts.append("\n\n".join(part for part in paragraphs if part not in seen))
        seen |= set(paragraphs)
    for name, text in zip(("calibration.txt", "held-out.txt"), parts):
        (folder / name).write_text(text)
    for name, recipe in REQUESTS.items():
        prompts = [parts[1][at : at + 1500] for at in range(10000, 90000, 10000)]
        bodies = [{"prompt": prompt, "max_tokens": 96, "temperature": 0} for prompt in prompts]
        rows = [json.dumps(body | ({"recipe": recipe} if recipe else {})) for body in bodies]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")


def shorten(words, values):
    for i, word in enumerate(words[:-1]):
        if word in values:
            words[i + 1] = str(values[word])
    return words


class Page:
    """One run of a page's commands."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.servers, self.address = [], None
        self.rows = {"eval": [], "bench": [], "load": []}

    def run(self, line):
        words = shlex.split(line)
        background = words[-1] == "&"
        words = words[:-1] if background else words
        if words[0] != "lamina":
            sys.exit(f"examples: {line}: a command of lamina expected")
        kind = words[1]
        words = [self.options.model if word == MODEL else word for word in words[1:]]
        if self.options.quick:
            words = shorten(words, QUICK | ({"--target-bytes": self.options.target} if self.options.target else {}))
        if kind == "pull" and self.options.model != MODEL:
            return
        if kind == "load" and self.address:
            words = [word.replace(re.match(r"https?://[^/]*", word)[0], self.address) if "://" in word else word for word in words]
        print("+ lamina", *words, file=sys.stderr, flush=True)
        command = [self.options.lamina, *words, *(["--json"] if kind in (*self.rows, "serve") else [])]
        if background:
            self.serve(command)
            return
        done = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{line}: status {done.returncode}: {done.stderr.strip()}")
        if kind in self.rows:
            self.keep(kind, json.loads(done.stdout), words)

    def serve(self, command):
        port = command.index("--port") + 1 if "--port" in command else None
        command = command[:port] + ["0"] + command[port + 1 :] if port else [*command, "--port", "0"]
        server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.servers.append(server)
        first = server.stdout.readline()
        if not first:
            raise RuntimeError(f"{' '.join(map(str, command))}: the server did not start")
        self.address = json.loads(first)["address"]

    def keep(self, kind, said, words):
        if kind == "eval":
            self.rows[kind] += said.get("rows", [said])
        elif kind == "bench":
            self.rows[kind] += [row | {"model": said["model"]} for row in said["rows"]]
        else:
            if said["answered"] != said["requests"]:
                raise RuntimeError(f"{' '.join(words)}: {said['errors']}")
            self.rows[kind].append(said | {"file": words[words.index("--file") + 1]})

    def end(self):
        for server in self.servers:
            server.terminate()
            server.wait(60)
            server.stdout.close()


def table(titles, rows):
    rule = "| --- |" + " ---: |" * (len(titles) - 1)
    return "\n".join(["| " + " | ".join(titles) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)])


def interval(row, name, form):
    value, bounds = row[name], row.get(f"{name}_ci95")
    return f"{value:{form}}" + (f" [{bounds[0]:{form}}, {bounds[1]:{form}}]" if bounds else "")


def named(row):
    return f"`{row['model']}`" + (f" `{row['recipe']}`" if row.get("recipe") else "")


def figures(rows):
    """What the commands printed, as markdown."""
    parts = []
    if rows["eval"]:
        parts.append(table(["file", "bytes", "read for a token", "KL, nats a token [95 %]", "ln(PPL ratio)", "same first choice"],
                           [[named(row), f"{row['file_bytes']:,}", f"{row['bytes_per_token']:,.0f}", interval(row, "kl_mean", ".4f"),
                             f"{row['ln_ppl_ratio']:+.4f}", f"{row['top1_agreement']:.1%}"] for row in rows["eval"]]))
    if rows["bench"]:
        parts.append(table(["file", "test", "after tokens", "tokens/s [range]"],
                           [[named(row), row["test"], str(row["depth"]), f"{row['median_tps']:.0f} [{row['min_tps']:.0f}, {row['max_tps']:.0f}]"]
                            for row in rows["bench"]]))
    if rows["load"]:
        parts.append(table(["requests", "answered", "tokens written", "tokens/s", "first token, ms, half of them within", "gap, ms, half within"],
                           [[f"`{row['file']}`", str(row["answered"]), str(row["output_tokens"]), f"{row['output_tokens_per_second']:.1f}",
                             f"{1000 * row['first_token']['p50']:.0f}", f"{1000 * row['token_gap']['p50']:.1f}"] for row in rows["load"]]))
    return "\n\n".join(parts)


def measure(page, options):
    folder = options.work / page.stem
    folder.mkdir(parents=True, exist_ok=True)
    write_texts(folder)
    run = Page(options, folder)
    try:
        for line in commands(page):
            run.run(line)
    finally:
        run.end()
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"examples: {page}: {BEGIN.strip()} and {END} expected")
    said = figures(run.rows)
    if options.quick:
        print(said)
        return
    page.write_text(text.split(BEGIN)[0] + BEGIN + said + "\n" + END + text.split(END)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="numbers of examples")
    parser.add_argument("--lamina", type=pathlib.Path, default=ROOT / "build/lamina")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/examples")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--target")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--texts", action="store_true")
    options = parser.parse_args()
    if options.texts:
        write_texts(pathlib.Path.cwd())
        return 0
    options.lamina, options.work = options.lamina.resolve(), options.work.resolve()
    if os.sep in options.model:
        options.model = str(pathlib.Path(options.model).resolve())
    if (options.model != MODEL or options.target) and not options.quick:
        sys.exit("examples: the pages tell of smollm2-135m and its budgets; --model and --target go with --quick")
    chosen = [page for page in pages() if not options.only or page.name[0] in options.only.split(",")]
    for page in chosen:
        measure(page, options)
    return 0 if chosen else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"examples: {error}")
