#!/usr/bin/env python3
"""Reads files that `lamina compress` wrote with other readers: the gguf and safetensors packages, and llama.cpp.

    check_written.py MODEL[=RECIPE]... [--lamina build/lamina] [--llama FOLDER_OF_LLAMA_PROGRAMS] [--passes TEXT] [--json F]

Each MODEL is written as a GGUF file, with RECIPE where one is given, and that file as a folder; both packages read every
tensor. With --llama, llama.cpp reads the file too: greedy continuations of four prompts are compared, or, of an encoder,
the vectors of four texts. Lamina computes in float32 (--activations f32, kv:f32), llama.cpp keeps keys and values in
float32 too; its products round activations where weights are bf16, f16 or in blocks, so that texts part where two tokens are about as
likely; then llama.cpp decodes the file into float32, and texts of that one must be equal. Ends with 1 when a reader fails.

--passes TEXT writes each MODEL by every recipe of PASSES instead, with statistics of TEXT: what drops parts, changes
numbers, chooses or rounds into formats. What only Lamina can read llama.cpp must refuse, not misread.

With --json FILE (- for standard output) the result is one object:

    date, lamina, llama            day and versions
    models[]                       one row per model
      model, recipe                as given
      refused                      llama.cpp refuses the file, as it must
      tensors, bytes               what Lamina wrote as GGUF
      gguf_tensors                 read by the gguf package
      folder_tensors               read by the safetensors package
      texts, equal                 greedy continuations compared, and how many are the same to the last token
      tokens, agreed               tokens of all continuations, and those before the first difference
      decoded                      the same four with a file that llama.cpp decoded into float32, where texts differ
      worst_cosine                 encoders: between the vectors
    failed                         models that a reader refused, vectors that differ, and texts that differ when decoded
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import safe_open

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPTS = ["The capital of France is", "Once upon a time there was a", "def fibonacci(n):\n    ", "One, two, three, four,"]
TOKENS = 32

F32 = "L*:f32 embed:f32"
# Recipes of --passes for dense models of eight layers or more, and whether other programs can read the file.
PASSES = [
    (F32, True),
    (f"L4,7.attn:drop {F32}", True),
    (f"L1-.attn:drop(count=3) {F32}", True),
    (f"L5:drop {F32}", True),
    (f"L*:drop(count=2,order=run) {F32}", True),
    (f"L5.mlp:drop {F32}", False),
    (f"L*.mlp:svd(rank=64) {F32}", False),
    (f"L6-7.mlp:tie {F32}", False),
    (f"L*.mlp:wanda(0.3) {F32}", True),
    (f"L*:magnitude(0.2) {F32}", True),
    (f"L*:clip(deviations=3) {F32}", True),
    *((f"L*:{codec} embed:q8_0", True) for codec in
      ("q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0", "q3_k", "q2_k", "iq4_xs", "iq4_nl", "iq3_s", "iq3_xxs", "iq2_s", "mxfp4")),
    ("L*:gptq+q4_k embed:q8_0", True),
    ("L*:bits(avg=4.5) embed:q8_0", True),
    ("L1-.attn:drop(count=2) L*.mlp:wanda(0.1) L*:gptq+bits(avg=5) embed:q8_0", True),
]


def run(*command, text=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, input=text, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command[:3]))}: status {done.returncode}\n{done.stderr[-1500:]}")
    return done.stdout


def read_gguf(path):
    """How many tensors the package reads; each is decoded, and its numbers must be finite."""
    tensors = GGUFReader(str(path)).tensors
    for tensor in tensors:
        if not np.isfinite(dequantize(tensor.data, tensor.tensor_type)).all():
            raise RuntimeError(f"{tensor.name}: numbers that are not finite")
    return len(tensors)


def read_folder(path):
    count = 0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(str(file), framework="numpy") as tensors:
            for name in tensors.keys():
                if not tensors.get_slice(name).get_shape():
                    raise RuntimeError(f"{name}: no shape")
                count += 1
    return count


def greedy_lamina(options, path, prompt):
    said = run(options.lamina, "run", path, prompt, "--raw", "--temperature", "0", "-n", TOKENS, "--recipe", "kv:f32",
               "--activations", "f32", "--json")
    return json.loads(said)["text"]


def greedy_llama(options, path, prompt):
    # It can end before its last piece is printed: some more tokens are asked for, and the text is cut below.
    said = run(options.llama / "llama-completion", "-m", path, "-p", prompt, "-n", TOKENS + 4, "--temp", "0", "-ctk", "f32",
               "-ctv", "f32", "-fa", "off", "--no-display-prompt", "-no-cnv", "-t", "1", "--no-warmup", "--simple-io")
    return re.sub(r"\s*\[end of text\]\s*$", "", said)


def tokens_of(options, path, text):
    return json.loads(run(options.lamina, "tokenize", path, "--json", text))["tokens"] if text else []


def compare_texts(options, path, row, peer_path=None):
    """Sets the row's counts; how many texts differ. `peer_path`: what llama.cpp reads, if not the same."""
    row |= {"texts": len(PROMPTS), "equal": 0, "tokens": 0, "agreed": 0}
    for prompt in PROMPTS:
        own, peer = greedy_lamina(options, path, prompt), greedy_llama(options, peer_path or path, prompt)
        own = own.strip()
        peer = peer.strip()[: len(own)]
        first, second = tokens_of(options, path, own), tokens_of(options, path, peer)
        agreed = next((i for i, pair in enumerate(zip(first, second)) if pair[0] != pair[1]), min(len(first), len(second)))
        row["equal"] += own == peer
        row["tokens"] += max(len(first), len(second))
        row["agreed"] += agreed
        if own != peer:
            print(f"  {prompt!r} parts after {agreed} tokens\n    lamina:    {own!r}\n    llama.cpp: {peer!r}")
    return row["texts"] - row["equal"]


def compare_decoded(options, path, row):
    """The same with the file that llama.cpp's own decoders make of it: it then computes with the very numbers."""
    floats = path.with_name("floats.gguf")
    run(options.llama / "llama-quantize", "--allow-requantize", path, floats, "f32")
    row["decoded"] = {}
    return compare_texts(options, path, row["decoded"], floats)


def compare_vectors(options, path, row):
    own = np.array([vector["embedding"] if isinstance(vector, dict) else vector
                    for vector in json.loads(run(options.lamina, "embed", path, "--activations", "f32", "--json", *PROMPTS))["embeddings"]])
    said = json.loads(run(options.llama / "llama-embedding", "-m", path, "-p", "<#sep#>".join(PROMPTS), "--embd-separator",
                          "<#sep#>", "--embd-output-format", "array", "--embd-normalize", "2", "-t", "1", "-fa", "off"))
    peer = np.array(said)
    cosines = (own * peer).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(peer, axis=1)
    row["worst_cosine"] = float(cosines.min())
    return int(row["worst_cosine"] < 0.999)


def refused(options, path):
    """Whether llama.cpp ends with an error of its own."""
    try:
        greedy_llama(options, path, PROMPTS[0])
    except RuntimeError:
        return True
    return False


def write_folder(options, path, made_by):
    """The file as a folder; of a file in the words of a family that folders lack, the model that it was made of."""
    folder = path.with_name("folder")
    try:
        run(options.lamina, "compress", path, "-o", folder)
    except RuntimeError as error:
        if "cannot be written as a Hugging Face folder" not in str(error):
            raise
        run(options.lamina, "compress", *made_by, "-o", folder)


def check(options, model, recipe, statistics=None, foreign=True):
    """The row of one file. `foreign`: other programs than Lamina can read it."""
    row, failed = {"model": model.name, "recipe": recipe}, 0
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "model.gguf"
        stats = ["--stats", statistics] if statistics else []
        report = json.loads(run(options.lamina, "compress", model, "--recipe", recipe, *stats, "-o", out, "--json"))
        row |= {"tensors": len(report["tensors"]), "bytes": report["bytes"], "gguf_tensors": read_gguf(out)}
        write_folder(options, out, [model, "--recipe", recipe, *stats])
        row["folder_tensors"] = read_folder(out.with_name("folder"))
        failed += row["gguf_tensors"] != row["tensors"]
        if options.llama and not foreign:
            row["refused"] = refused(options, out)
            failed += not row["refused"]
        elif options.llama:
            encoder = (model / "modules.json").exists() if model.is_dir() else False
            differ = (compare_vectors if encoder else compare_texts)(options, out, row)
            failed += compare_decoded(options, out, row) if differ and not encoder else differ
    print(json.dumps(row))
    return row, failed


def jobs(options):
    """What check() is given: each model with its recipe, or with all of PASSES."""
    for given in options.models:
        path, _, recipe = given.partition("=")
        path = pathlib.Path(path)
        if not options.passes:
            yield path, recipe
            continue
        with tempfile.TemporaryDirectory() as folder:
            statistics = pathlib.Path(folder) / "model.stats.safetensors"
            run(options.lamina, "stats", path, "--calibration", options.passes, "--gram", "-o", statistics)
            for recipe, foreign in PASSES:
                yield path, recipe, statistics, foreign


def version(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().split("\n")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--lamina", type=pathlib.Path, default=ROOT / "build/lamina")
    parser.add_argument("--llama", type=pathlib.Path)
    parser.add_argument("--passes", type=pathlib.Path, metavar="TEXT")
    parser.add_argument("--json")
    options = parser.parse_args()
    report = {"date": datetime.date.today().isoformat(), "lamina": version(options.lamina, "--version"), "llama": None,
              "models": [], "failed": 0}
    if options.llama:
        os.environ["LD_LIBRARY_PATH"] = f"{options.llama}:{os.environ.get('LD_LIBRARY_PATH', '')}"
        report["llama"] = version(options.llama / "llama-completion", "--version")
    for job in jobs(options):
        try:
            row, failed = check(options, *job)
        except RuntimeError as error:
            row, failed = {"model": job[0].name, "recipe": job[1], "error": str(error).split("\n")[0]}, 1
            print(error, file=sys.stderr)
        report["models"].append(row)
        report["failed"] += failed
    text = json.dumps(report, indent=1) + "\n"
    if options.json == "-":
        print(text)
    elif options.json:
        pathlib.Path(options.json).write_text(text)
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
