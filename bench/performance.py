#!/usr/bin/env python3
"""Measures all that docs/performance.md shows and writes it: one command, in parts that can be repeated alone.

    LLAMA_CPP=FOLDER [LLAMA_CPP_AVX2=FOLDER] bench/performance.py [--only PART,...] [--rounds 5]

Parts: files (the models in other formats, by lamina compress, into build/bench-files), peers (reading and generating),
long (reading 2048 tokens), depth (after 2048 and 7168 tokens), sequences (4 and 16 at once), experts (a model of random ones,
larger than caches), avx2 (both sides without AVX-512: LLAMA_CPP_AVX2 is a llama.cpp built so), embed (bench/embed_peers.py),
loading (bench/loading.py), serving (bench/serving.py beside llama.cpp's server), goals (the table of goals, from what the
others kept in build/bench-files). The models smollm2-135m, gemma3-270m, qwen2.5-coder-0.5b and minilm-l6 must be in the store. The tables of single kernels are made by the programs that they name.
It wants a machine with nothing else to do. Real-time priority is no way out: llama.cpp's threads wait by spinning, and generate less than half as fast with it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build/bench-files"
LAMINA = ROOT / "build/lamina"
# Files that are made: name, model of the store, recipe.
MADE = [
    ("SmolLM2-135M-F16", "smollm2-135m", "L*:f16 embed:f16"),
    ("SmolLM2-135M-Q8_0", "smollm2-135m", "L*:q8_0 embed:q8_0"),
    ("SmolLM2-135M-Q4_0", "smollm2-135m", "L*:q4_0 embed:q8_0"),
    ("SmolLM2-135M-Q4_K", "smollm2-135m", "L*:q4_k embed:q8_0"),
    ("Qwen2.5-Coder-0.5B-Q8_0", "qwen2.5-coder-0.5b", "L*:q8_0 embed:q8_0"),
]
EXPERTS = WORK / "Experts-8x64-Q8_0.gguf"
SHIPPED = ["smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b"]


def stored(name):
    """The model's GGUF file in the store, else its folder."""
    home = Path(os.environ.get("LAMINA_HOME", Path.home() / ".cache/lamina"))
    folder = home / "models" / name
    if not folder.is_dir():
        sys.exit(f"performance: {name} is not in the store; `./dev model {name}` fetches it")
    return next(folder.glob("*.gguf"), folder)


def run(*command):
    print("+", *command, file=sys.stderr, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)


def make_files(_options):
    WORK.mkdir(parents=True, exist_ok=True)
    for name, model, recipe in MADE:
        path = WORK / f"{name}.gguf"
        if not path.exists():
            run(LAMINA, "compress", stored(model), "--recipe", recipe, "-o", path)


def peers(options, models, *tests):
    run(sys.executable, "bench/peers.py", *models, "--rounds", options.rounds, "--json", WORK / "peers.json", *tests)


def make_experts():
    """The file of experts; what it is made of takes 2 GB more, and goes again."""
    if EXPERTS.exists():
        return
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        run(LAMINA, "compress", stored("smollm2-135m"), "-o", f"{folder}/words")
        run(sys.executable, "bench/random_experts.py", f"{folder}/words", f"{folder}/experts")
        run(LAMINA, "compress", f"{folder}/experts", "--recipe", "L*:q8_0 embed:q8_0", "-o", EXPERTS)


def made(*names):
    return [WORK / f"{name}.gguf" for name in names]


def read_and_generate(options):
    peers(options, [*made(*(name for name, _, _ in MADE)), *map(stored, SHIPPED)], "--prompt", "512", "--generate", "64")


def read_long(options):
    models = [*made("SmolLM2-135M-F16", "SmolLM2-135M-Q8_0", "SmolLM2-135M-Q4_K"), stored("qwen2.5-coder-0.5b")]
    peers(options, models, "--prompt", "2048", "--generate", "0")


def depth(options):
    models = [*made("SmolLM2-135M-Q8_0"), stored("qwen2.5-coder-0.5b")]
    # SmolLM2 has 8192 positions in all.
    peers(options, models, "--prompt", "512", "--generate", "32", "--depth", "2048,7168")


def sequences(options):
    models = [*made("SmolLM2-135M-Q8_0", "Qwen2.5-Coder-0.5B-Q8_0"), stored("qwen2.5-coder-0.5b")]
    peers(options, models, "--prompt", "0", "--generate", "0", "--batch", "4,16")


def experts(options):
    make_experts()
    peers(options, [EXPERTS], "--prompt", "512", "--generate", "64")


def avx2(options):
    folder = os.environ.get("LLAMA_CPP_AVX2")
    if not folder:
        sys.exit("performance: avx2: LLAMA_CPP_AVX2 must name a llama.cpp that was built without AVX-512")
    os.environ["LLAMA_CPP"] = folder
    models = [*made("SmolLM2-135M-Q8_0", "SmolLM2-135M-Q4_0", "SmolLM2-135M-Q4_K"), stored("qwen2.5-coder-0.5b")]
    peers(options, models, "--isa", "avx2", "--prompt", "512", "--generate", "0")


def embed(options):
    run(sys.executable, "bench/embed_peers.py", stored("minilm-l6"), "--rounds", options.rounds, "--json", WORK / "embed.json")


def loading(options):
    models = [*map(stored, SHIPPED), *made("SmolLM2-135M-F16")]
    run(sys.executable, "bench/loading.py", *models, "--rounds", options.rounds, "--json", WORK / "loading.json")


def serving(options):
    embedder = WORK / "all-MiniLM-L6-v2-Q8_0.gguf"
    if not embedder.exists():
        run(LAMINA, "compress", stored("minilm-l6"), "--recipe", "L*:q8_0 embed:q8_0", "-o", embedder)
    run(sys.executable, "bench/serving.py", *made("SmolLM2-135M-Q8_0"), "--embedder", embedder, "--rounds", options.rounds, "--json", WORK / "serving.json")


def goals(_options):
    run(sys.executable, "bench/goals.py", "--peers", WORK / "peers.json", "--embed", WORK / "embed.json", "--loading", WORK / "loading.json")


PARTS = {"files": make_files, "peers": read_and_generate, "long": read_long, "depth": depth, "sequences": sequences, "experts": experts, "embed": embed,
         "loading": loading, "avx2": avx2, "serving": serving, "goals": goals}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, in the order given")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    unknown = [name for name in options.only.split(",") if name not in PARTS]
    if unknown:
        sys.exit(f"performance: unknown part {unknown[0]}; known: {', '.join(PARTS)}")
    for name in options.only.split(","):
        PARTS[name](options)


if __name__ == "__main__":
    main()
