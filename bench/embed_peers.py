#!/usr/bin/env python3
"""Embeds texts of mixed length with Lamina and with the libraries that people use, in turn, and writes a table.

    bench/embed_peers.py MODEL_FOLDER [--texts F...] [--rounds 5] [--threads 2] [--engines lamina,onnxruntime-f32,...]

MODEL_FOLDER is a BERT-like sentence encoder in the Hugging Face layout with mean pooling (all-MiniLM-L6-v2 of the store).
512 texts are cut from the files (sentences, paragraphs, runs of paragraphs; seeded), at most 256 tokens each. "arrival":
in the given order, peers in padded batches of 32; "sorted": the same batches after sorting by length, which peers need
and Lamina does not (its batches are flat). Times include tokenization. "query": one text of about 11 tokens, median.
Each engine is a process of its own that stays loaded; a round asks each once. The Python that runs this needs the
peers' packages (torch, transformers, sentence-transformers, onnx, onnxruntime, openvino, ctranslate2); those that are missing
are named and left out. The table replaces the one between the markers in docs/performance.md unless --no-write.
"""

import argparse
import datetime
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- embed:begin -->", "<!-- embed:end -->"
COUNT, LIMIT, BATCH = 512, 256, 32
QUERY = "how do I sort a list of numbers in place"
QUERY_REPEATS = 50
ENGINES = [
    "lamina-f32",
    "lamina-q8_0",
    "sentence-transformers-f32",
    "sentence-transformers-bf16",
    "onnxruntime-f32",
    "onnxruntime-int8",
    "openvino-f32",
    "openvino-bf16",
    "ctranslate2-f32",
    "ctranslate2-int8",
]


def cut_texts(paths):
    """512 one-line texts: half sentences, a third paragraphs, the rest runs of up to four paragraphs."""
    rng = random.Random(7)
    paragraphs = []
    for path in paths:
        for block in pathlib.Path(path).read_text(encoding="utf-8", errors="ignore").split("\n\n"):
            line = " ".join(block.split())
            if len(line) > 20:
                paragraphs.append(line)
    if len(paragraphs) < 100:
        sys.exit(f"embed_peers.py: {len(paragraphs)} paragraphs in the texts; at least 100 expected")
    texts = []
    while len(texts) < COUNT:
        start, draw = rng.randrange(len(paragraphs) - 4), rng.random()
        if draw < 0.5:
            sentences = [s for s in paragraphs[start].split(". ") if len(s) > 15]
            if sentences:
                texts.append(rng.choice(sentences)[:400])
        elif draw < 0.83:
            texts.append(paragraphs[start][:1500])
        else:
            texts.append(" ".join(paragraphs[start : start + rng.randint(2, 4)])[:2500])
    return texts


# Engines: each makes embed(texts) -> float32 [texts, size]; the worker measures them.


def tokenizer_of(folder):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LIMIT)
    tokenizer.no_padding()
    return tokenizer


def padded(tokenizer, texts):
    import numpy as np

    rows = [e.ids for e in tokenizer.encode_batch(texts)]
    width = max(map(len, rows))
    ids, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return ids, mask


def mean_pool(hidden, mask):
    import numpy as np

    weights = mask[..., None].astype(np.float32)
    sums = (hidden * weights).sum(1) / weights.sum(1)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def sentence_transformers_engine(folder, kind, options):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(options.threads)
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = LIMIT
    if kind == "bf16":
        model = model.to(torch.bfloat16)
    return lambda texts: model.encode(texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)


def onnx_file(folder, work):
    path = work / "model.onnx"
    if not path.exists():
        import torch
        from transformers import AutoModel

        class Encoder(torch.nn.Module):
            """The exporter hands inputs over by place; the model wants them by name."""

            def __init__(self):
                super().__init__()
                self.model = AutoModel.from_pretrained(folder, attn_implementation="eager")

            def forward(self, ids, mask, types):
                return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types, use_cache=False).last_hidden_state

        model = Encoder().eval()
        ids = torch.ones(2, 16, dtype=torch.int64)
        names = ["input_ids", "attention_mask", "token_type_ids"]
        axes = {name: {0: "batch", 1: "tokens"} for name in [*names, "hidden"]}
        torch.onnx.export(model, (ids, ids, ids * 0), str(path) + ".part", input_names=names, output_names=["hidden"],
                          dynamic_axes=axes, opset_version=17, dynamo=False)  # fmt: skip
        os.replace(str(path) + ".part", path)
    return path


def fused_onnx_file(folder, work):
    """The same with attention and norms as single operators, as ONNX Runtime's own tool fuses them."""
    path = work / "fused.onnx"
    if not path.exists():
        from onnxruntime.transformers import optimizer

        config = json.loads((folder / "config.json").read_text())
        optimizer.optimize_model(str(onnx_file(folder, work)), model_type="bert", num_heads=config["num_attention_heads"],
                                 hidden_size=config["hidden_size"], opt_level=1).save_model_to_file(str(path))  # fmt: skip
    return path


def onnxruntime_engine(folder, kind, options):
    import onnxruntime

    path = fused_onnx_file(folder, options.work)
    if kind == "int8":
        from onnx import TensorProto
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantized = options.work / "model.int8.onnx"
        if not quantized.exists():
            quantize_dynamic(str(path), str(quantized), weight_type=QuantType.QInt8,
                             extra_options={"DefaultTensorType": TensorProto.FLOAT})  # fmt: skip
        path = quantized
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    tokenizer = tokenizer_of(folder)

    def embed(texts):
        ids, mask = padded(tokenizer, texts)
        hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0})[0]
        return mean_pool(hidden, mask)

    return embed


def openvino_engine(folder, kind, options):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": options.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": kind}
    model = core.compile_model(str(onnx_file(folder, options.work)), "CPU", settings)
    tokenizer = tokenizer_of(folder)

    def embed(texts):
        ids, mask = padded(tokenizer, texts)
        hidden = model({"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0})[0]
        return mean_pool(hidden, mask)

    return embed


def ctranslate2_engine(folder, kind, options):
    import ctranslate2
    import numpy as np

    target = options.work / "ctranslate2"
    if not target.exists():
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(target))
    encoder = ctranslate2.Encoder(str(target), intra_threads=options.threads,
                                  compute_type={"f32": "float32", "int8": "int8"}[kind])  # fmt: skip
    tokenizer = tokenizer_of(folder)

    def embed(texts):
        rows = [e.ids for e in tokenizer.encode_batch(texts)]
        hidden = np.array(encoder.forward_batch(rows).last_hidden_state)
        mask = np.zeros(hidden.shape[:2], np.int64)
        for i, row in enumerate(rows):
            mask[i, : len(row)] = 1
        return mean_pool(hidden, mask)

    return embed


PEERS = {
    "sentence-transformers": sentence_transformers_engine,
    "onnxruntime": onnxruntime_engine,
    "openvino": openvino_engine,
    "ctranslate2": ctranslate2_engine,
}


def serve_engine(options):
    """A peer's process: loads, then answers each line "arrival", "sorted" or "query" with seconds."""
    import numpy as np

    name, kind = options.serve.rsplit("-", 1)
    embed = PEERS[name](options.folder, kind, options)
    texts = json.loads((options.work / "texts.json").read_text())
    ordered = sorted(texts, key=len)
    embed(ordered[:BATCH])
    print("ready", flush=True)
    for line in sys.stdin:
        what = line.strip()
        if what == "query":
            times = []
            for _ in range(QUERY_REPEATS):
                start = time.perf_counter()
                embed([QUERY])
                times.append(time.perf_counter() - start)
            print(statistics.median(times), flush=True)
            continue
        if what == "vectors":
            np.save(options.work / f"{options.serve}.npy", np.concatenate([embed(texts[i : i + BATCH]) for i in range(0, COUNT, BATCH)]))
            print(0, flush=True)
            continue
        chosen = ordered if what == "sorted" else texts
        start = time.perf_counter()
        for i in range(0, COUNT, BATCH):
            embed(chosen[i : i + BATCH])
        print(time.perf_counter() - start, flush=True)


class Peer:
    def __init__(self, engine, options):
        command = [sys.executable, __file__, str(options.folder), "--serve", engine, "--threads", str(options.threads)]
        self.process = subprocess.Popen([*command, "--work", str(options.work)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=open(options.work / f"{engine}.log", "w"), text=True)  # fmt: skip
        if self.process.stdout.readline().strip() != "ready":
            last = (options.work / f"{engine}.log").read_text().strip().splitlines()
            raise RuntimeError(last[-1] if last else "no answer")

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


class Lamina:
    """A process for each question; it tells the time that embedding took, without loading."""

    def __init__(self, engine, options):
        self.options = options
        self.recipe = [] if engine == "lamina-f32" else ["--recipe", f"L*:{engine.split('-')[1]}"]
        self.ask("query")

    def ask(self, what):
        texts, repeat = self.options.work / ("query.txt" if what == "query" else "texts.txt"), 1
        if what == "sorted":
            texts = self.options.work / "sorted.txt"
        command = [str(self.options.lamina), "embed", str(self.options.folder), "--file", str(texts), "--truncate", *self.recipe]
        if what == "query":
            repeat = QUERY_REPEATS
        command += ["--repeat", str(repeat), "--ctx", str(LIMIT), "--threads", str(self.options.threads), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        report = json.loads(done.stdout)
        self.tokens = report["timings"]["tokens"]
        if what == "vectors":
            import numpy as np

            name = "lamina-f32" if not self.recipe else "lamina-" + self.recipe[1].split(":")[1]
            np.save(self.options.work / f"{name}.npy", np.array(report["embeddings"], np.float32))
        return statistics.median(report["timings"]["embed_ms"]) / 1e3


def versions():
    import importlib.metadata

    known = ["sentence-transformers", "torch", "onnxruntime", "openvino", "ctranslate2"]
    found = []
    for name in known:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    return ", ".join(found)


def write_table(options, samples, tokens, cosines):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    head = [
        f"Machine: {cpu}, {options.threads} threads. Lamina {commit}; {versions()}. {datetime.date.today()}, {options.rounds} interleaved rounds. "
        f"{COUNT} texts, {tokens} tokens. Tokens per second: median [least–most]; query: milliseconds.",
        "",
        "| engine | arrival | sorted | query | least cosine to float32 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    rows = []
    for engine, times in samples.items():
        cells = []
        for what in ("arrival", "sorted"):
            rates = sorted(tokens / t for t in times[what])
            cells.append(f"{statistics.median(rates):.0f} [{rates[0]:.0f}–{rates[-1]:.0f}]")
        query = [1e3 * t for t in times["query"]]
        cells.append(f"{statistics.median(query):.2f} [{min(query):.2f}–{max(query):.2f}]")
        cells.append(f"{cosines[engine]:.5f}" if engine in cosines else "")
        rows.append("| " + " | ".join([engine, *cells]) + " |")
    table = "\n".join(head + rows)
    print(table)
    if options.no_write:
        return
    page = ROOT / "docs/performance.md"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


def measure(options):
    texts = cut_texts(options.texts)
    (options.work / "texts.json").write_text(json.dumps(texts))
    (options.work / "texts.txt").write_text("\n".join(texts) + "\n")
    (options.work / "sorted.txt").write_text("\n".join(sorted(texts, key=len)) + "\n")
    (options.work / "query.txt").write_text(QUERY + "\n")
    running = {}
    for engine in options.engines.split(","):
        try:
            running[engine] = (Lamina if engine.startswith("lamina") else Peer)(engine, options)
        except (RuntimeError, OSError) as error:
            print(f"left out: {engine}: {error}", file=sys.stderr)
    samples = {engine: {"arrival": [], "sorted": [], "query": []} for engine in running}
    for round_ in range(options.rounds):
        order = list(running) if round_ % 2 == 0 else list(running)[::-1]
        for what in ("arrival", "sorted", "query"):
            for engine in order:
                samples[engine][what].append(running[engine].ask(what))
    tokens, cosines = 0, {}
    for engine, one in running.items():
        one.ask("vectors")
        if engine.startswith("lamina"):
            tokens = one.tokens
    try:
        import numpy as np

        vectors = {engine: np.load(options.work / f"{engine}.npy") for engine in running}
        reference = vectors.get("sentence-transformers-f32")
        if reference is not None:
            for engine, own in vectors.items():
                own = own / np.linalg.norm(own, axis=1, keepdims=True)
                cosines[engine] = float((own * reference).sum(1).min())
    except ImportError:
        pass
    if options.json:
        options.json.write_text(json.dumps({"tokens": tokens, "seconds": samples, "cosines": cosines}, indent=1) + "\n")
    write_table(options, samples, tokens, cosines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--texts", nargs="*", default=[str(p) for p in sorted((ROOT / "docs").glob("*.md"))])
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lamina", type=pathlib.Path, default=ROOT / "build/lamina")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="keep the seconds and the cosines there")
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_engine(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.work = options.work or pathlib.Path(folder)
        measure(options)


if __name__ == "__main__":
    main()
