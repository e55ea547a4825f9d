#!/usr/bin/env python3
"""Compares `lamina embed` and `lamina rerank` with sentence-transformers on real models.

    parity_embed.py [--lamina build/lamina] [--models DIR] [--only NAME] [--json F] [--least 0.9999]

Run it with a Python that has sentence-transformers. Models that are not there are left out and named. Texts are short,
long (cut by both), empty, of many scripts and of mixed lengths, in shuffled batches; Lamina gets all of them in one
call with float32 activations and once more with its own (8-bit) ones, the library one text at a time, so that no padding
takes part. Ends with 1 when a float32 cosine is below --least or a score differs by more than --most.

With --json FILE (- for standard output) the result is one object:

    date, library, torch, lamina   versions and day
    models[]                       one row per model and kind of activation
      model                        name
      task                         "embed", "sparse" (activations of a masked-LM head, largest per token), "rerank", or
                                   "hidden" (the stream after the layers, beside transformers; float32 only), "refuse"
      activations                  "f32" (exact) or "default"
      texts                        texts or pairs compared
      longest                      tokens of the longest one, after cutting
      worst_cosine, mean_cosine    embed and sparse: between Lamina's vector and the library's
      worst_difference             largest absolute difference of a number (embed, sparse, hidden) or score (rerank)
      largest                      hidden: the largest number of the stream
      refused                      refuse: whether Lamina says what is wrong, with the numbers
      mean_difference              rerank: mean absolute difference of the scores
      order_kept                   rerank: share of queries whose documents come in the same order
      worst_text                   the beginning of the text that is worst
    missing[]                      names of models that were not there
    failed                         rows that miss what is asked
"""

import argparse
import datetime
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
STORE = Path(os.environ.get("LAMINA_HOME", Path.home() / ".cache" / "lamina")) / "models"
TRAINED = Path(os.environ.get("LAMINA_TEST_MODELS", ROOT.parent / "shared" / "models"))
SHORT = [
    "A man is eating food.",
    "query: how much protein should a female eat",
    "x",
    "  leading and trailing spaces  ",
    "Tabs\tand\nno break\u00a0spaces",
    "UPPER lower MiXeD 1234567890 3.14159 $99.95 50%",
    "e-mail: someone@example.com, https://example.com/a?b=c&d=e#f",
    "def f(x): return {k: v for k, v in x.items() if v is not None}  # code",
    "control tokens written out are the one difference that is meant: Lamina reads them as plain text",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
]
UNICODE = [
    "Größe, naïve café, Ångström, Œuvre, ß and ẞ",
    "Cafe\u0301 with a combining accent",
    "Москва — столица России.",
    "東京は日本の首都です。",
    "서울은 대한민국의 수도이다.",
    "القاهرة هي عاصمة مصر",
    "नई दिल्ली भारत की राजधानी है",
    "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "emoji 🙂👩‍👩‍👧‍👦🏳️‍🌈 and flags 🇫🇷🇯🇵",
    "math ∑∫√∞ ≠ ≤ ½ ² ℝ and ﬁ ligatures ＦＵＬＬ width",
    "zero\u200bwidth\u200djoiners and soft\u00adhyphens\ufeff",
]
PASSAGE = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a "
    "wife. However little known the feelings or views of such a man may be on his first entering a neighbourhood, this "
    "truth is so well fixed in the minds of the surrounding families, that he is considered the rightful property of "
    "some one or other of their daughters. "
)


def texts():
    """Short, of many scripts, empty, and of all lengths up to more than any model takes; shuffled."""
    words = (PASSAGE * 12).split()
    lengths = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 120, 126, 127, 144, 233, 377, 610]
    all_texts = SHORT + UNICODE + ["", " "] + [" ".join(words[i : i + n]) for i, n in enumerate(lengths)]
    random.Random(7).shuffle(all_texts)
    return all_texts


def run_lamina(options, arguments):
    command = [str(options.lamina), arguments[0], "--json", *map(str, arguments[1:])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def activation_options(activations):
    return ["--activations", "f32"] if activations == "f32" else []


def exact():
    """How the library loads a model: float32 whatever the file's type, which it would compute in otherwise."""
    import torch

    return {"device": "cpu", "model_kwargs": {"dtype": torch.float32}}


def cosine_row(found, wanted, names):
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosines = (found * wanted).sum(1) / np.where(norms == 0, 1, norms)
    cosines = np.where((np.abs(found).max(1) == 0) & (np.abs(wanted).max(1) == 0), 1, cosines)
    return {
        "worst_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "worst_difference": float(np.abs(found - wanted).max()),
        "worst_text": names[int(cosines.argmin())][:60],
    }


def embed_rows(options, name, path):
    """Sentence vectors, of texts as they are: both sides put the model's own default prompt before them, if any."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(path), **exact())
    all_texts = texts()
    wanted = np.stack([model.encode([text], show_progress_bar=False)[0] for text in all_texts]).astype(np.float64)
    longest = max(len(model.tokenizer(text, truncation=True)["input_ids"]) for text in all_texts)
    for activations in ("f32", "default"):
        arguments = ["embed", path, *activation_options(activations), "--truncate", "--", *all_texts]
        found = np.array(run_lamina(options, arguments)["embeddings"])
        row = {"model": name, "task": "embed", "activations": activations, "texts": len(all_texts), "longest": longest}
        yield row | cosine_row(found, wanted, all_texts)


POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean sqrt": "pooling_mode_mean_sqrt_len_tokens",
    "weighted mean": "pooling_mode_weightedmean_tokens",
    "last": "pooling_mode_lasttoken",
}


def write_form(folder, path, pooling, dense):
    """The model's files with other modules: a pooling, perhaps two dense layers of random weights, no norm, and prompts."""
    from safetensors.numpy import save_file

    for file in path.iterdir():
        if file.is_file() and not file.name.startswith(".") and file.suffix != ".md":
            (folder / file.name).unlink(missing_ok=True)
            (folder / file.name).symlink_to(file)
    hidden = json.loads((path / "config.json").read_text())["hidden_size"]
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    settings = {"1_Pooling": {"word_embedding_dimension": hidden, **{key: key == POOLINGS[pooling] for key in POOLINGS.values()}}}
    draw = np.random.default_rng(5)
    for number, (inputs, outputs, activation) in enumerate([(hidden, 96, "Tanh"), (96, 200, "GELU")] if dense else [], 2):
        name = f"{number}_Dense"
        kinds.append((name, "Dense"))
        settings[name] = {"in_features": inputs, "out_features": outputs, "bias": True, "activation_function": f"torch.nn.modules.activation.{activation}"}
        (folder / name).mkdir()
        weight = draw.normal(0, 0.2, (outputs, inputs)).astype(np.float32)
        save_file({"linear.weight": weight, "linear.bias": weight[:, 0].copy()}, folder / name / "model.safetensors")
    files = {f"{name}/config.json": value for name, value in settings.items()}
    files["modules.json"] = [
        {"idx": i, "name": str(i), "path": name, "type": f"sentence_transformers.models.{kind}"} for i, (name, kind) in enumerate(kinds)
    ]
    files["config_sentence_transformers.json"] = {"prompts": {"query": "query: ", "other": "Ort : "}, "default_prompt_name": None}
    for name, value in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(json.dumps(value))


def form_rows(options, name, path):
    """The same weights under every pooling, dense layers, prompts by name and cut vectors."""
    from sentence_transformers import SentenceTransformer

    forms = [(pooling, False, "", 0) for pooling in POOLINGS]
    forms += [("mean", True, "", 0), ("mean", True, "other", 0), ("cls", False, "query", 0), ("mean", False, "", 100), ("mean", True, "query", 7)]
    some = texts()[::3] + [""]
    for pooling, dense, prompt, cut in forms:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_form(folder, path, pooling, dense)
            model = SentenceTransformer(str(folder), truncate_dim=cut or None, **exact())
            prompts = {"prompt_name": prompt} if prompt else {}
            wanted = np.stack([model.encode([text], show_progress_bar=False, **prompts)[0] for text in some]).astype(np.float64)
            arguments = ["embed", folder, "--activations", "f32", "--truncate"]
            arguments += [f"--prompt-name={prompt}"] if prompt else []
            arguments += [f"--dimensions={cut}", "--force"] if cut else []
            found = np.array(run_lamina(options, [*arguments, "--", *some])["embeddings"])
        told = ", ".join([pooling] + ["dense"] * dense + [f"prompt {prompt}"] * bool(prompt) + [f"{cut} numbers"] * bool(cut))
        longest = max(len(model.tokenizer(text, truncation=True)["input_ids"]) for text in some)
        row = {"model": f"{name}: {told}", "task": "embed", "activations": "f32", "texts": len(some), "longest": longest}
        yield row | cosine_row(found, wanted, some)


def refusal_rows(options, name, path):
    """What must be an error: a text that is too long, with both numbers, and cut vectors of a model not trained for them."""
    from transformers import AutoTokenizer

    long_text = PASSAGE * 12
    count = len(AutoTokenizer.from_pretrained(path)(long_text)["input_ids"])
    limit = json.loads((path / "sentence_bert_config.json").read_text())["max_seq_length"]
    for arguments, words in (([long_text], [str(count), str(limit)]), (["--dimensions=64", "x"], ["--force"])):
        command = [str(options.lamina), "embed", str(path), *arguments[:-1], "--", arguments[-1]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        kept = done.returncode != 0 and all(word in done.stderr for word in words)
        yield {"model": name, "task": "refuse", "activations": "f32", "texts": 1, "longest": count, "refused": kept,
               "worst_text": done.stderr.strip()[:200]}  # fmt: skip


def sparse_rows(options, name, path):
    """log(1 + relu(logits)), the largest of each token: Lamina's logits of the library's ids."""
    import torch
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(path), **exact())
    all_texts = texts()
    wanted = [model.encode([text], show_progress_bar=False, convert_to_sparse_tensor=False)[0] for text in all_texts]
    wanted = np.stack([torch.as_tensor(vector).numpy() for vector in wanted]).astype(np.float64)
    ids = [model.tokenizer(text, truncation=True)["input_ids"] for text in all_texts]
    for activations in ("f32", "default"):
        found = []
        for tokens in ids:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "logits.npy"
                listed = ",".join(map(str, tokens))
                run_lamina(options, ["logits", path, *activation_options(activations), "--tokens", listed, "--out", out])
                found.append(np.log1p(np.maximum(np.load(out), 0)).max(0))
        row = {"model": name, "task": "sparse", "activations": activations, "texts": len(ids), "longest": max(map(len, ids))}
        yield row | cosine_row(np.stack(found).astype(np.float64), wanted, all_texts)


def hidden_rows(options, name, path):
    """The stream after every layer for texts of the tokenizer, or for ids where the folder has none."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    if (path / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(path)
        longest = min(model.config.max_position_embeddings, 128)
        inputs = [tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in texts()[::4]]
    else:
        draw = random.Random(3)
        inputs = [[draw.randrange(model.config.vocab_size) for _ in range(n)] for n in (1, 2, 17, 64, 200, 512)]
    worst = largest = 0.0
    for ids in inputs:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            out = Path(folder) / "hidden.npy"
            listed = ",".join(map(str, ids))
            arguments = ["logits", path, "--activations", "f32", "--tokens", listed, "--hidden", "all", "--hidden-out", out]
            layers = run_lamina(options, arguments)["hidden"]["layers"]
            found = np.load(out)
            streams = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[1:]
        # A model that visits its layers many times tells the last visit.
        wanted = np.stack([streams[layer if len(layers) == len(streams) else -1][0].numpy() for layer in layers])
        worst = max(worst, float(np.abs(found - wanted).max()))
        largest = max(largest, float(np.abs(wanted).max()))
    yield {
        "model": name,
        "task": "hidden",
        "activations": "f32",
        "texts": len(inputs),
        "longest": max(map(len, inputs)),
        "worst_difference": worst,
        "largest": largest,
    }


def queries(path):
    """The queries of the trained reranker's own set, then awkward ones."""
    sets = []
    with open(path.parent / "eval" / "rerank.jsonl", encoding="utf-8") as file:
        for line in list(file)[:: 250 // 20][:20]:
            item = json.loads(line)
            query = item.get("query", item.get("prompt"))
            sets.append((query, item.get("passages", item.get("documents"))))
    sets.append(("capital of Japan", UNICODE + SHORT))
    sets.append(("", ["", "x", PASSAGE]))
    sets.append((PASSAGE * 9, ["short", PASSAGE * 9, ""]))
    return sets


def rerank_rows(options, name, path):
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(path), **exact(), activation_fn=torch.nn.Identity())
    sets = queries(path)
    wanted = [[float(model.predict([(query, text)], show_progress_bar=False)[0]) for text in texts] for query, texts in sets]
    pairs = [(query, text) for query, texts in sets for text in texts]
    longest = max(len(model.tokenizer(*pair, truncation=True)["input_ids"]) for pair in pairs)
    for activations in ("f32", "default"):
        common = ["rerank", path, *activation_options(activations), "--truncate"]
        found = [run_lamina(options, [*common, f"--query={query}", "--", *texts])["scores"] for query, texts in sets]
        kept = [np.array_equal(np.argsort(a, kind="stable"), np.argsort(b, kind="stable")) for a, b in zip(found, wanted)]
        differences = np.abs(np.concatenate(found) - np.concatenate(wanted))
        yield {
            "model": name,
            "task": "rerank",
            "activations": activations,
            "texts": len(pairs),
            "longest": longest,
            "worst_difference": float(differences.max()),
            "mean_difference": float(differences.mean()),
            "order_kept": float(np.mean(kept)),
            "worst_text": pairs[int(differences.argmax())][1][:60],
        }


TASKS = [
    ("minilm-l6", STORE, [embed_rows, hidden_rows, form_rows, refusal_rows]),
    ("e5-small-multi", STORE, [embed_rows, hidden_rows, refusal_rows]),
    ("splade-tiny", STORE, [sparse_rows, hidden_rows]),
    ("albert-rxn", STORE, [hidden_rows]),
    ("rerank", TRAINED, [rerank_rows, hidden_rows]),
]


def print_row(row):
    figures = ["refused", "worst_cosine", "mean_cosine", "worst_difference", "largest", "mean_difference", "order_kept"]
    told = [f"{key} {row[key]:.7g}" for key in figures if key in row]
    print(f"{row['model']:32} {row['task']:7} {row['activations']:8} {row['texts']:4} texts  {'  '.join(told)}", file=sys.stderr)


def misses(row, options):
    """Whether a row of float32 activations misses what is asked."""
    if row["task"] == "rerank":
        return row["worst_difference"] > options.most
    if row["task"] == "refuse":
        return not row["refused"]
    if row["task"] == "hidden":
        return row["worst_difference"] > 1e-4 * max(1, row["largest"])
    return row["worst_cosine"] < options.least


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lamina", type=Path, default=ROOT / "build" / "lamina")
    parser.add_argument("--models", type=Path, help="where the models lie, instead of the store and the trained ones")
    parser.add_argument("--only", help="name of one model")
    parser.add_argument("--least", type=float, default=0.9999, help="cosine that float32 activations must reach")
    parser.add_argument("--most", type=float, default=1e-3, help="difference of scores that they may have")
    parser.add_argument("--json", help="file for the result, - for standard output")
    options = parser.parse_args()
    import sentence_transformers
    import torch

    torch.set_num_threads(2)
    version = subprocess.run([str(options.lamina), "--version"], capture_output=True, text=True, check=True).stdout
    result = {
        "date": datetime.date.today().isoformat(),
        "library": f"sentence-transformers {sentence_transformers.__version__}",
        "torch": torch.__version__,
        "lamina": version.split()[-1],
        "models": [],
        "missing": [],
        "failed": 0,
    }
    for name, home, makers in TASKS:
        path = (options.models or home) / name
        if options.only not in (None, name):
            continue
        if not (path / "model.safetensors").exists():
            print(f"{name}: no model.safetensors in {path}, left out", file=sys.stderr)
            result["missing"].append(name)
            continue
        for row in (row for rows in makers for row in rows(options, name, path)):
            print_row(row)
            result["models"].append(row)
            result["failed"] += row["activations"] == "f32" and misses(row, options)
    if options.json == "-":
        print(json.dumps(result, ensure_ascii=False, indent=1))
    elif options.json:
        Path(options.json).write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 1 if result["failed"] or not result["models"] else 0


if __name__ == "__main__":
    sys.exit(main())
