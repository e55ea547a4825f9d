#!/usr/bin/env python3
"""Runs a GGUF file in the reference library: weights dequantized to float32, eager attention, one sequence at a time.

    reference.py greedy MODEL.gguf PROMPTS.json --out OUT.json [-n 64]
    reference.py logits MODEL.gguf (--tokens 1,2,3 | --text T | --file F [--limit N]) --out F.npy
    reference.py passage MODEL.gguf FILE --tokens 128 --top 128 --out PREFIX
    reference.py perplexity MODEL FILE [--ctx 512] [--windows 16]

MODEL may also be a folder in the Hugging Face layout. Architectures: llama, qwen2, gemma3 (see reference_gguf.py).
Where the reference has no tokenizer for the file, prompts may have "tokens", and FILE may be a JSON list of ids.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

# Threads that spin while they wait are ruinous on a machine that is shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import transformers

from reference_gguf import load_model
from reference_text import encode, load_text_tools, render_chat


def file_sha256(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def logits_of(model, tokens):
    """float32 [tokens, vocabulary] of one sequence."""
    with torch.inference_mode():
        return model(torch.tensor([list(tokens)]), use_cache=False).logits[0].float()


def greedy(model, tokens, count):
    """Returns (`count` ids, the top-2 logit margin of each); an end token does not stop it."""
    ids, margins, cache, fed = [], [], None, torch.tensor([list(tokens)])
    with torch.inference_mode():
        for _ in range(count):
            result = model(fed, past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            best = torch.topk(result.logits[0, -1].float(), 2)
            ids.append(int(best.indices[0]))
            margins.append(round(float(best.values[0] - best.values[1]), 5))
            fed = best.indices[:1].reshape(1, 1)
    return ids, margins


def run_greedy(model, text_tools, options):
    """Prompts: a list of {name, messages}, {name, text} or {name, tokens}. Writes ids, margins and where the first end token stands."""
    cases = []
    for prompt in json.loads(options.prompts.read_text()):
        chat = "messages" in prompt
        text = render_chat(text_tools, prompt["messages"]) if chat else prompt.get("text", "")
        tokens = prompt.get("tokens") or encode(text_tools, text)
        ids, margins = greedy(model, tokens, options.n)
        end = text_tools.eos
        cases.append(
            {
                "name": prompt["name"],
                "kind": "chat" if chat else "raw",
                "prompt": text,
                "prompt_tokens": tokens,
                "tokens": ids,
                "margins": margins,
                "first_end": ids.index(end) if end in ids else None,
                "text": text_tools.tokenizer.decode(ids, skip_special_tokens=False) if text_tools.tokenizer else "",
            }
        )
        print(f"{prompt['name']}: least margin {min(margins):.4f}: {cases[-1]['text'][:60]!r}", file=sys.stderr)
    report = describe(options.model) | {"end_token": text_tools.eos, "cases": cases}
    lines = json.dumps(report, indent=1, ensure_ascii=False)
    options.out.write_text(flatten_numbers(lines) + "\n")


def flatten_numbers(text):
    """Puts each list of numbers of an indented JSON text on one line."""
    lines, kept = [], None
    for line in text.split("\n"):
        if kept is not None:
            kept += line.strip() + (" " if line.rstrip().endswith(",") else "")
            if line.strip() in ("]", "],"):
                lines.append(kept)
                kept = None
        elif line.endswith("["):
            kept = line
            if '"cases"' in line:
                lines.append(kept)
                kept = None
        else:
            lines.append(line)
    return "\n".join(lines)


def describe(path):
    return {
        "model": Path(path).name,
        "sha256": file_sha256(path) if Path(path).is_file() else None,
        "made_by": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager",
    }


def chosen_tokens(text_tools, options):
    if options.tokens:
        return [int(part) for part in options.tokens.split(",")]
    text = options.text if options.text is not None else options.file.read_text()
    return encode(text_tools, text)[: options.limit]


def run_logits(model, text_tools, options):
    np.save(options.out, logits_of(model, chosen_tokens(text_tools, options)).numpy())


def run_passage(model, text_tools, options):
    """The sparse truth of a passage: at each position the largest logits with their ids, and the log of the sum of all."""
    text = options.file.read_text()
    tokens = (json.loads(text) if options.file.suffix == ".json" else encode(text_tools, text))[: options.tokens]
    logits = logits_of(model, tokens)
    best = torch.topk(logits, options.top, dim=1)
    normalizer = torch.logsumexp(logits.double(), dim=1)
    kept = torch.exp(best.values.double() - normalizer[:, None]).sum(dim=1)
    stem = str(options.out)
    np.save(stem + "tokens.npy", np.array(tokens, dtype=np.int32))
    np.save(stem + "top_ids.npy", best.indices.numpy().astype(np.int32))
    np.save(stem + "top_logits.npy", best.values.numpy().astype(np.float32))
    np.save(stem + "logsumexp.npy", normalizer.numpy().astype(np.float64))
    target = logits[:-1].double().gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    report = describe(options.model) | {
        "text": options.file.name,
        "tokens": len(tokens),
        "top": options.top,
        "mass_min": float(kept.min()),
        "mass_mean": float(kept.mean()),
        "nll_mean": float((normalizer[:-1] - target).mean()),
    }
    Path(stem + "passage.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


def run_perplexity(model, text_tools, options):
    """Windows of `ctx` tokens, one after the other, each run alone from position 0.

    The file is tokenized as one string without special tokens. `second_half`: the tokens ctx/2 .. ctx-1 of each
    window are predicted (ctx/2 a window). `second_half_but_first`: without the first of them, which is what
    llama.cpp's perplexity tool counts. `all`: the tokens 1 .. ctx-1.
    """
    tokens = encode(text_tools, options.file.read_text(), begin=False)
    count = min(options.windows, len(tokens) // options.ctx)
    losses = []
    for index in range(count):
        window = tokens[index * options.ctx : (index + 1) * options.ctx]
        scores = torch.log_softmax(logits_of(model, window).double(), dim=1)
        losses.append(-scores[:-1].gather(1, torch.tensor(window[1:])[:, None])[:, 0].numpy())
    losses, half = np.stack(losses), options.ctx // 2

    def summary(part):
        return {"tokens": int(part.size), "nll": float(part.mean()), "ppl": float(np.exp(part.mean()))}

    report = describe(options.model) | {
        "text": options.file.name,
        "text_sha256": file_sha256(options.file),
        "ctx": options.ctx,
        "windows": count,
        "second_half": summary(losses[:, half - 1 :]),
        "second_half_but_first": summary(losses[:, half:]),
        "all": summary(losses),
    }
    text = json.dumps(report, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(dest="command", required=True)
    made = {}
    for name, run in {
        "greedy": run_greedy,
        "logits": run_logits,
        "passage": run_passage,
        "perplexity": run_perplexity,
    }.items():
        made[name] = commands.add_parser(name)
        made[name].add_argument("model", type=Path)
        made[name].set_defaults(run=run)
    made["greedy"].add_argument("prompts", type=Path)
    made["greedy"].add_argument("-n", type=int, default=64)
    source = made["logits"].add_mutually_exclusive_group(required=True)
    source.add_argument("--tokens")
    source.add_argument("--text")
    source.add_argument("--file", type=Path)
    made["logits"].add_argument("--limit", type=int)
    made["passage"].add_argument("file", type=Path)
    made["passage"].add_argument("--tokens", type=int, default=128)
    made["passage"].add_argument("--top", type=int, default=128)
    made["perplexity"].add_argument("file", type=Path)
    made["perplexity"].add_argument("--ctx", type=int, default=512)
    made["perplexity"].add_argument("--windows", type=int, default=16)
    for name, command in made.items():
        command.add_argument("--out", type=Path, required=name != "perplexity")
    return parser.parse_args()


def main():
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    model, metadata = load_model(options.model)
    options.run(model, load_text_tools(options.model, metadata), options)


if __name__ == "__main__":
    main()
