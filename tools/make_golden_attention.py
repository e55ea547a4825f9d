#!/usr/bin/env python3
"""Writes how the reference library's heads spread their attention over tests/golden/models/<case>/tokens.npy.

    make_golden_attention.py [--out DIR] [--only NAME]     write
    make_golden_attention.py --check                       write elsewhere and compare with what is stored

attention.npy, float64 [layers, heads, 2 + 2 * tokens], means over the tokens: the entropy in nats (of the shares of all
keys, and of the rest where a sink takes one), that rest, the share of each position, the share of each distance.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import transformers

from golden_main import golden_main, golden_parser

STORE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "models"
# Grouped heads; one matrix for all three; capped scores and windows; sinks; latents; windows with layers that see all.
CASES = ["gqa", "gpt2", "gemma2", "gpt_oss", "deepseek_v2", "smollm3_window"]


def spread(shares):
    """Of float64 shares [tokens, keys], the row of attention.npy."""
    rest = np.clip(1 - shares.sum(axis=1), 0, None)
    rest[rest < 1e-6] = 0
    parts = np.concatenate([shares, rest[:, None]], axis=1)
    logs = np.log(parts, where=parts > 0, out=np.zeros_like(parts))
    entropy = -(parts * logs).sum(axis=1)
    count = len(shares)
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    distances = [shares[distance == d].sum() / count for d in range(count)]
    return np.concatenate([[entropy.mean(), rest.mean()], shares.mean(axis=0), distances])


def make_case(case, root):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        STORE / case.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    model.config._experts_implementation = "eager"  # the grouped products want sizes of whole 16 bytes
    tokens = np.load(STORE / case.name / "tokens.npy").astype(np.int64)
    with torch.inference_mode():
        layers = model(torch.from_numpy(tokens)[None], use_cache=False, output_attentions=True).attentions
    shares = torch.stack(layers)[:, 0].numpy().astype(np.float64)
    found = np.stack([np.stack([spread(head) for head in layer]) for layer in shares])
    folder = root / case.name
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "attention.npy", found)
    return f"{case.name:16} entropies {found[:, :, 0].min():.3f} to {found[:, :, 0].max():.3f}"


if __name__ == "__main__":
    parser = golden_parser(__doc__, STORE)
    sys.exit(golden_main(parser, parser.parse_args(), [SimpleNamespace(name=name) for name in CASES], make_case))
