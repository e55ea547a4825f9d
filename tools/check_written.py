#!/usr/bin/env python3
"""Checks files that `lamina compress` wrote against other readers: the gguf and safetensors Python packages, and llama.cpp.

Run: python3 tools/check_written.py LAMINA MODEL [--llama FOLDER_OF_LLAMA_PROGRAMS] [--recipe R] [--prompt TEXT]

MODEL is converted to GGUF (and from there to a folder); prints what each reader found. With --llama the greedy
continuation of the prompt by llama-completion is compared with Lamina's. Needs numpy, gguf and safetensors.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from gguf import GGUFReader
from safetensors import safe_open


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command}: status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def check_gguf(path):
    reader = GGUFReader(str(path))
    total = sum(int(tensor.n_bytes) for tensor in reader.tensors)
    print(f"gguf package: {len(reader.tensors)} tensors, {total} bytes, {len(reader.fields)} fields")


def check_folder(path):
    count = 0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(str(file), framework="np") as tensors:
            count += len(tensors.keys())
    print(f"safetensors package: {count} tensors; config {json.loads((path / 'config.json').read_text())['architectures']}")


def greedy(lamina, llama, path, prompt, tokens):
    own = json.loads(run(lamina, "run", path, prompt, "--raw", "--temperature", "0", "-n", tokens, "--json"))["text"]
    peer = run(pathlib.Path(llama) / "llama-completion", "-m", path, "-p", prompt, "-n", tokens, "--temp", "0",
               "--no-display-prompt", "-no-cnv", "-t", "2")
    same = own.strip() == peer.strip().removesuffix("[end of text]").strip()
    print(f"greedy text, {tokens} tokens: {'the same' if same else 'DIFFERS'}\n  lamina: {own!r}\n  llama.cpp: {peer!r}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lamina")
    parser.add_argument("model")
    parser.add_argument("--llama")
    parser.add_argument("--recipe", default="")
    parser.add_argument("--prompt", default="The capital of France is")
    parser.add_argument("--tokens", default="24")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        report = json.loads(run(options.lamina, "compress", options.model, "--recipe", options.recipe, "-o",
                                out / "model.gguf", "--json"))
        print(f"lamina: {len(report['tensors'])} tensors, {report['bytes']} bytes, {report['seconds']:.2f} s")
        check_gguf(out / "model.gguf")
        run(options.lamina, "compress", out / "model.gguf", "-o", out / "folder")
        check_folder(out / "folder")
        if options.llama and not greedy(options.lamina, options.llama, out / "model.gguf", options.prompt, options.tokens):
            sys.exit(1)


if __name__ == "__main__":
    main()
