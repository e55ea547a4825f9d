#!/usr/bin/env python3
"""Writes what the reference library computes with small trained models, float32, into tests/golden/real/NAME/.

    make_trained_golden.py MODELS [--only NAME] [--out DIR]

MODELS is a folder of folders in the Hugging Face layout. `greedy.json` has texts, their ids and 32 greedy ids each with
the margin between the two best logits at every step; `tokens.npy` is a passage, `top_ids.npy` and `top_logits.npy`
[tokens, 64] its largest logits, `logsumexp.npy` the log of the sum over all; `hidden.npy` [layers + 1, 4, hidden] the
stream into each layer and out of the last at the positions of `positions.npy`.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import transformers

from golden_families import run_model
from reference import describe, file_sha256, flatten_numbers, greedy
from reference_gguf import load_model
from reference_text import encode, load_text_tools

STORE = Path(__file__).resolve().parent.parent / "tests" / "golden"
NAMES = ("dense", "moe", "mla", "gpt2")
TOKENS, TOP, NEW = 64, 64, 32
POSITIONS = (0, 21, 42, 63)
PROMPTS = {
    "prose": "Anne found Captain Wentworth in the drawing-room, and",
    "code": "The function returns the number of bytes in the string. If the argument is",
    "needle": "<|endoftext|>It rained all morning. The code of Sarah is 3690. She was glad of the fire.\nThe code of Sarah is",
    "sum": "<|endoftext|>12 + 25 =",
    "chat": "<|im_start|>user\nThe cat of Tom is called Misty.\nWhat is the cat of Tom called?<|im_end|>\n<|im_start|>assistant\n",
    "unicode": "Le café était fermé — à six heures. 🍞",
}


def make(path, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model, _ = load_model(path)
    model.config._experts_implementation = "eager"
    tools = load_text_tools(path, None)
    cases = []
    for name, text in PROMPTS.items():
        tokens = encode(tools, text)
        ids, margins = greedy(model, tokens, NEW)
        written = tools.tokenizer.decode(ids, skip_special_tokens=False)
        cases.append(
            {"name": name, "prompt": text, "prompt_tokens": tokens, "tokens": ids, "margins": margins, "text": written}
        )
    report = describe(path) | {"sha256": file_sha256(path / "model.safetensors"), "cases": cases}
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (folder / "greedy.json").write_text(flatten_numbers(text) + "\n")

    tokens = np.array(encode(tools, (STORE / "smollm2" / "austen.txt").read_text())[:TOKENS], dtype=np.int32)
    logits, hidden = run_model(model, tokens)
    logits = torch.from_numpy(logits)
    best = torch.topk(logits, TOP, dim=1)
    np.save(folder / "tokens.npy", tokens)
    np.save(folder / "top_ids.npy", best.indices.numpy().astype(np.int32))
    np.save(folder / "top_logits.npy", best.values.numpy().astype(np.float32))
    np.save(folder / "logsumexp.npy", torch.logsumexp(logits.double(), dim=1).numpy())
    np.save(folder / "positions.npy", np.array(POSITIONS, dtype=np.int32))
    np.save(folder / "hidden.npy", hidden[:, list(POSITIONS)].astype(np.float32))
    print(f"{path.name}: least margin {min(min(case['margins']) for case in cases):.5f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--out", type=Path, default=STORE / "real")
    options = parser.parse_args()
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    for name in NAMES:
        if options.only in (None, name):
            make(options.models / name, options.out / name)


if __name__ == "__main__":
    main()
