#!/usr/bin/env python3
"""Writes tiny random encoders and their truth by the reference library into tests/golden/encoders/.

    make_encoder_golden.py [--out DIR] [--only NAME]     write
    make_encoder_golden.py --check                       write elsewhere and compare with what is stored

Each case is a folder: config.json and model.safetensors (Hugging Face layout), for some model.gguf too, texts.json
(tokens and token types of some texts of different lengths), hidden.npy float32 [visits + 1, tokens of all texts, hidden]
(the stream before and after every visit of a layer) and, where the model has a head, logits.npy float32 [rows, outputs]:
a row for each token, or for each text of a classifier. Each text runs alone, without padding. See docs/references.md.
"""

import argparse
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from golden_weights import Draw, round_to_bf16
from make_golden import compare

STORE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "encoders"
LENGTHS = (7, 1, 13, 2, 17)

_BERT = {
    "model_type": "bert",
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "hidden_act": "gelu",
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-3,
    "pad_token_id": 0,
}
_ROBERTA = _BERT | {"model_type": "roberta", "type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 26}
_DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": 80,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "activation": "gelu",
    "max_position_embeddings": 24,
    "pad_token_id": 0,
}
_ALBERT = _BERT | {
    "model_type": "albert",
    "embedding_size": 16,
    "num_hidden_layers": 4,
    "num_hidden_groups": 2,
    "inner_group_num": 1,
    "hidden_act": "gelu_new",
}
_T5 = {
    "model_type": "t5",
    "vocab_size": 80,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "n_positions": 24,
    "layer_norm_epsilon": 1e-3,
    "feed_forward_proj": "gated-gelu",
    "pad_token_id": 0,
}
_LABELS = {"num_labels": 3}


@dataclass(frozen=True)
class Case:
    """One tiny model: a class of the reference library and the configuration for it."""

    name: str
    seed: int
    model: str
    config: dict
    embedding: str  # the module whose output is the first stream
    layer: str  # pattern of the modules whose outputs are the others
    arch: str = ""  # of the GGUF file; "" for none
    rename: tuple = ()  # (from, to) in the names of the stored file, as older files spell them


_BERT_LAYER = r"(.*\.)?encoder\.layer\.\d+"
CASES = [
    Case("bert", 301, "BertModel", _BERT, "embeddings", _BERT_LAYER, arch="bert"),
    Case(
        "bert_masked_lm",
        302,
        "BertForMaskedLM",
        _BERT,
        "bert.embeddings",
        _BERT_LAYER,
        rename=(("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")),
    ),
    Case("bert_classifier", 303, "BertForSequenceClassification", _BERT | _LABELS, "bert.embeddings", _BERT_LAYER),
    Case("roberta", 304, "RobertaModel", _ROBERTA, "embeddings", _BERT_LAYER, arch="bert"),
    Case("roberta_masked_lm", 305, "RobertaForMaskedLM", _ROBERTA, "roberta.embeddings", _BERT_LAYER),
    Case(
        "xlm_roberta_classifier",
        306,
        "XLMRobertaForSequenceClassification",
        _ROBERTA | _LABELS | {"model_type": "xlm-roberta"},
        "roberta.embeddings",
        _BERT_LAYER,
    ),
    Case("distilbert", 307, "DistilBertModel", _DISTILBERT, "embeddings", r"transformer\.layer\.\d+"),
    Case(
        "distilbert_classifier",
        308,
        "DistilBertForSequenceClassification",
        _DISTILBERT | _LABELS,
        "distilbert.embeddings",
        r".*\.transformer\.layer\.\d+",
    ),
    Case(
        "distilbert_masked_lm",
        309,
        "DistilBertForMaskedLM",
        _DISTILBERT,
        "distilbert.embeddings",
        r".*\.transformer\.layer\.\d+",
    ),
    Case(
        "albert_masked_lm",
        310,
        "AlbertForMaskedLM",
        _ALBERT,
        "albert.encoder.embedding_hidden_mapping_in",
        r".*\.albert_layers\.\d+",
    ),
    Case(
        "albert_classifier",
        311,
        "AlbertForSequenceClassification",
        _ALBERT | _LABELS,
        "albert.encoder.embedding_hidden_mapping_in",
        r".*\.albert_layers\.\d+",
    ),
    Case("t5_encoder", 312, "T5EncoderModel", _T5, "encoder.embed_tokens", r"encoder\.block\.\d+"),
]


def draw_parameter(draw, name, shape):
    """One parameter by its name: scores spread over several units, norm weights in 0.5..1.5, biases away from 0."""
    if re.search(r"norm\.weight$", name, re.IGNORECASE):
        return draw.uniform(shape, 0.5, 1.5)
    if len(shape) == 1:
        sign = np.where(draw.uniform(shape, -1.0, 1.0) < 0, np.float32(-1), np.float32(1))
        return sign * draw.uniform(shape, 0.1, 0.5)
    if "embeddings" in name:
        return draw.spread(shape, 0.5)
    gain = 1.7 if re.search(r"query|key|q_lin|k_lin", name) else 1.2
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


def write_gguf(path, case, weights):
    """The names are those that the reference converter's own table gives; roberta's leading positions are cut off."""
    config = case.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    offset = config["pad_token_id"] + 1 if "roberta" in config["model_type"] else 0
    writer = gguf.GGUFWriter(path, case.arch)
    writer.add_name(f"golden {case.name}")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"] - offset)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_vocab_size(config["vocab_size"])
    for name, values in weights.items():
        if name.startswith("pooler."):
            continue
        rows = values[offset:] if "position_embeddings" in name else values
        # Older readers look for the table of types under this name.
        target = names.get_name(name, try_suffixes=(".weight", ".bias")) or name
        writer.add_tensor(target, np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_folder(folder, case, weights):
    config = {key: value for key, value in case.config.items() if key != "num_labels"}
    if "num_labels" in case.config:
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(case.config["num_labels"])}
    config |= {"architectures": [case.model], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {}
    for name, values in weights.items():
        for old, new in case.rename:
            name = name.replace(old, new)
        tensors[name] = torch.from_numpy(np.array(values)).to(torch.bfloat16)
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
    write_folder(folder, case, weights)
    if case.arch:
        write_gguf(folder / "model.gguf", case, weights)
    if not case.rename:
        model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    texts = draw_texts(draw, case.config)
    (folder / "texts.json").write_text(json.dumps(texts) + "\n")
    results = [run_text(case, model, text) for text in texts]
    np.save(folder / "hidden.npy", np.concatenate([hidden for _, hidden in results], axis=1).astype(np.float32))
    if results[0][0] is not None:
        np.save(folder / "logits.npy", np.concatenate([logits for logits, _ in results]).astype(np.float32))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=STORE)
    parser.add_argument("--only", help="name of one case")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    chosen = [case for case in CASES if options.only in (None, case.name)]
    if not chosen:
        parser.error(f"no case named {options.only}; there are: {', '.join(case.name for case in CASES)}")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) if options.check else options.out
        for case in chosen:
            make_case(case, root)
            print(case.name)
        problems = compare(options.out, root) if options.check else []
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
