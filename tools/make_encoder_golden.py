#!/usr/bin/env python3
"""Writes tiny random encoders and their truth by the reference library into tests/golden/encoders/.

    make_encoder_golden.py [--out DIR] [--only NAME]     write
    make_encoder_golden.py --check                       write elsewhere and compare with what is stored

Each case is a folder: config.json and model.safetensors (Hugging Face layout), for some model.gguf too, texts.json
(tokens and token types of some texts of different lengths), hidden.npy float32 [visits + 1, tokens of all texts, hidden]
(the stream before and after every visit of a layer) and, where the model has a head, logits.npy float32 [rows, outputs]:
a row for each token, or for each text of a classifier. Each text runs alone, without padding. See docs/references.md.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from encoder_cases import CASES
from encoder_gguf import write_gguf
from golden_main import golden_main, golden_parser
from golden_weights import Draw, round_to_bf16

STORE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "encoders"
LENGTHS = (7, 1, 13, 2, 17)


def draw_parameter(draw, name, shape):
    """One parameter by its name: scores spread over several units, norm weights in 0.5..1.5, biases away from 0."""
    if re.search(r"norm\.weight$", name, re.IGNORECASE):
        return draw.uniform(shape, 0.5, 1.5)
    if len(shape) == 1:
        sign = np.where(draw.uniform(shape, -1.0, 1.0) < 0, np.float32(-1), np.float32(1))
        return sign * draw.uniform(shape, 0.1, 0.5)
    if "embeddings" in name:
        return draw.spread(shape, 0.5)
    gain = 1.7 if re.search(r"query|key|q_lin|k_lin|q_proj|k_proj|\.[qk]\.weight|Wqkv", name) else 1.2
    return draw.spread(shape, gain / shape[1] ** 0.5)


def draw_texts(draw, config):
    """Texts of different lengths; token types, where the model knows more than one, change in the middle."""
    texts = []
    for length in LENGTHS:
        tokens = 2 + draw.integers(length, config["vocab_size"] - 2)
        types = np.arange(length) * 2 // length if config.get("type_vocab_size", 1) > 1 else np.zeros(length, int)
        texts.append({"tokens": tokens.tolist(), "types": types.tolist()})
    return texts


def run_text(case, model, text):
    """Returns (logits or None, hidden [visits + 1, tokens, hidden]); hooks take the stream at each border."""
    borders = []
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output: borders.append(output[0] if isinstance(output, tuple) else output)
        )
        for name, module in model.named_modules()
        if name == case.embedding or re.fullmatch(case.layer, name)
    ]
    inputs = {"input_ids": torch.tensor([text["tokens"]])}
    if case.config.get("type_vocab_size", 1) > 1:
        inputs["token_type_ids"] = torch.tensor([text["types"]])
    with torch.inference_mode():
        result = model(**inputs)
    for handle in handles:
        handle.remove()
    logits = result.logits.reshape(-1, result.logits.shape[-1]).numpy() if "logits" in result else None
    return logits, np.stack([border.reshape(len(text["tokens"]), -1).numpy() for border in borders])


def write_folder(folder, case, weights):
    config = {key: value for key, value in (case.stored_config or case.config).items() if key != "num_labels"}
    if "num_labels" in case.config:
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(case.config["num_labels"])}
    config |= {"architectures": [case.model], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {name: torch.from_numpy(np.array(values)).to(torch.bfloat16) for name, values in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def make_case(case, root):
    folder = root / case.name
    folder.mkdir(parents=True, exist_ok=True)
    kind = getattr(transformers, case.model)
    settings = kind.config_class.from_dict(case.config | {"attn_implementation": "eager"})
    settings._attn_implementation = "eager"
    model = kind(settings).to(torch.float32).eval()
    draw = Draw(case.seed)
    weights = {}
    for name, parameter in sorted(model.named_parameters()):
        weights[name] = round_to_bf16(draw_parameter(draw, name, tuple(parameter.shape)))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.array(weights[name])))
    stored = case.stored(weights)
    write_folder(folder, case, stored)
    if case.arch:
        write_gguf(folder / "model.gguf", case, stored)
    if not case.rename:
        model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    texts = draw_texts(draw, case.config)
    (folder / "texts.json").write_text(json.dumps(texts) + "\n")
    results = [run_text(case, model, text) for text in texts]
    np.save(folder / "hidden.npy", np.concatenate([hidden for _, hidden in results], axis=1).astype(np.float32))
    if results[0][0] is not None:
        np.save(folder / "logits.npy", np.concatenate([logits for logits, _ in results]).astype(np.float32))


def main():
    parser = golden_parser(__doc__, STORE)
    return golden_main(parser, parser.parse_args(), CASES, make_case)


if __name__ == "__main__":
    sys.exit(main())
