#!/usr/bin/env python3
"""Writes tiny random models and their truth by the reference library into tests/golden/models/.

    make_golden.py [--out DIR] [--only NAME]     write
    make_golden.py --check                       write elsewhere and compare with what is stored
    make_golden.py --config FILE --name NAME     write one more case from a config.json of a tiny shape

Llama-shaped models are made here, with a second opinion in float64; those of other families by `golden_families.py`.
Each case is a folder: config.json and model.safetensors (Hugging Face layout), model.gguf, tokens.npy int32
[tokens], logits.npy float32 [tokens, vocabulary], hidden.npy float32 [layers + 1, tokens, hidden] (the embedding's
output, then the residual stream after each layer, before the final norm) and truth.json. See docs/references.md.
"""

import copy
import json
import sys
import zlib
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from golden_cases import CASES
from golden_families import make_family_case
from golden_family_cases import FAMILY_CASES, FamilyCase
from golden_main import golden_main, golden_parser
from golden_tokenizer import make_tokenizer
from golden_weights import SUPER_LAYOUT, Draw, draw_parameter, draw_super_blocks, round_to_bf16
from gguf_names import from_pairs, gguf_name, rotary_heads, to_pairs
from llama_float64 import forward_float64

STORE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "models"


def build_model(config):
    """The reference library's model, float32, eager attention, weights not yet set."""
    # The library writes into nested dictionaries that it is given.
    kept = copy.deepcopy({key: value for key, value in config.items() if value is not None})
    settings = transformers.LlamaConfig.from_dict(kept)
    settings._attn_implementation = "eager"
    return transformers.LlamaForCausalLM(settings).to(torch.float32).eval()


def parameter_names(model):
    """Names of all stored parameters, sorted; a tied head is not one of them."""
    return sorted(name for name, _ in model.named_parameters())


def draw_weights(case, model):
    """Returns (weights by Hugging Face name as float32, GGUF tensors by name as (array, storage type))."""
    draw = Draw(case.seed)
    config, weights, stored = case.config, {}, {}
    for name in parameter_names(model):
        shape = tuple(model.get_parameter(name).shape)
        target = gguf_name(name)
        codec = gguf.GGMLQuantizationType[case.codecs.get(target, "F32")]
        heads = rotary_heads(name, config)
        if codec.name in SUPER_LAYOUT:
            gain = 2.0 if name.startswith("lm_head") else 1.0
            rows = draw_super_blocks(draw, shape, codec.name, gain / shape[1] ** 0.5)
        else:
            values = draw_parameter(draw, name, shape, config["rms_norm_eps"])
            if case.safetensors == "BF16":
                values = round_to_bf16(values)
            rows = gguf.quants.quantize(to_pairs(values, heads) if heads else values, codec)
        values = gguf.quants.dequantize(rows, codec)
        weights[name] = from_pairs(values, heads) if heads else values
        stored[target] = (rows, codec)
    return weights, stored


def load_weights(model, weights):
    with torch.no_grad():
        for name, values in weights.items():
            model.get_parameter(name).copy_(torch.from_numpy(np.array(values)))


def run_model(model, tokens):
    """Returns (logits [tokens, vocabulary], hidden [layers + 1, tokens, hidden]); hooks take the stream at each border."""
    borders = []
    modules = [model.model.embed_tokens, *model.model.layers]
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output: borders.append(output[0] if isinstance(output, tuple) else output)
        )
        for module in modules
    ]
    with torch.inference_mode():
        logits = model(torch.from_numpy(tokens.astype(np.int64))[None], use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    hidden = torch.stack([border.reshape(len(tokens), -1) for border in borders])
    return logits.numpy().astype(np.float32), hidden.numpy().astype(np.float32)


def rope_settings(config):
    """Returns (theta, scaling dict or {}) from either of the two ways in which config.json states them."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return config.get("rope_theta") or scaling["rope_theta"], scaling


def rope_factors(theta, scaling, size):
    """Divisors of the rotary frequencies under llama3 scaling, float32 [size / 2]; the tensor `rope_freqs.weight`."""
    frequencies = 1.0 / theta ** (np.arange(0, size, 2, dtype=np.float64) / size)
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / scaling["factor"] + smooth)).astype(np.float32)


def write_metadata(writer, case):
    config = case.config
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    theta, scaling = rope_settings(config)
    writer.add_name(f"golden {case.name}")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_freq_base(theta)
    writer.add_rope_dimension_count(head)
    if "head_dim" in config:
        writer.add_key_length(head)
        writer.add_value_length(head)
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(scaling["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(theta, scaling, head))


def write_tokenizer(writer, size):
    tokens, merges = make_tokenizer(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (size - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(size - 1)
    writer.add_eos_token_id(size - 1)
    writer.add_add_bos_token(False)


def write_gguf(path, case, stored):
    writer = gguf.GGUFWriter(path, "llama")
    write_metadata(writer, case)
    write_tokenizer(writer, case.config["vocab_size"])
    for name, (rows, codec) in stored.items():
        writer.add_tensor(name, rows, raw_dtype=codec)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_folder(folder, case, weights):
    kept = {key: value for key, value in case.config.items() if value is not None}
    kept["torch_dtype"] = {"F32": "float32", "BF16": "bfloat16"}[case.safetensors]
    (folder / "config.json").write_text(json.dumps(kept, indent=1) + "\n")
    kind = {"F32": torch.float32, "BF16": torch.bfloat16}[case.safetensors]
    tensors = {name: torch.from_numpy(np.array(values)).to(kind) for name, values in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def reload_folder(folder):
    """The model as the reference library itself reads the written folder: proves that config.json says the same."""
    return transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def describe(case, logits, hidden, exact_logits, exact_hidden):
    """truth.json: how far the float32 truth itself is from a float64 forward pass, and the scale to compare with."""
    ranked = np.sort(exact_logits, axis=1)
    return {
        "case": case.name,
        "made_by": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager",
        "logits_rms": float(np.sqrt(np.mean(exact_logits**2))),
        "logits_error_max": float(np.abs(logits - exact_logits).max()),
        "hidden_rms": [float(value) for value in np.sqrt(np.mean(exact_hidden**2, axis=(1, 2)))],
        "hidden_error_max": [float(value) for value in np.abs(hidden - exact_hidden).max(axis=(1, 2))],
        "top_margin_min": float((ranked[:, -1] - ranked[:, -2]).min()),
    }


def make_case(case, root):
    folder = root / case.name
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(case.config)
    weights, stored = draw_weights(case, model)
    load_weights(model, weights)
    write_gguf(folder / "model.gguf", case, stored)
    if case.safetensors:
        write_folder(folder, case, weights)
        model = reload_folder(folder)
    tokens = Draw(case.seed + 1000).integers(case.tokens, case.config["vocab_size"]).astype(np.int32)
    logits, hidden = run_model(model, tokens)
    rope = model.model.rotary_emb
    exact = forward_float64(weights, case.config, tokens, rope.inv_freq.numpy(), rope.attention_scaling)
    report = describe(case, logits, hidden, *exact)
    if report["logits_error_max"] > 1e-4 * report["logits_rms"]:
        raise SystemExit(f"{case.name}: reference and float64 forward differ by {report['logits_error_max']:.3g}")
    np.save(folder / "tokens.npy", tokens)
    np.save(folder / "logits.npy", logits)
    np.save(folder / "hidden.npy", hidden)
    (folder / "truth.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def case_of(name, path):
    """A case that a config.json alone describes."""
    config = json.loads(path.read_text())
    config.pop("torch_dtype", None)
    return FamilyCase(name, zlib.crc32(name.encode()) % 100000, config)


def stored_cases(known):
    """The cases that --config once made."""
    folders = sorted(path.parent for path in STORE.glob("*/config.json") if path.parent.name not in known)
    return [case_of(folder.name, folder / "config.json") for folder in folders]


def make_and_report(case, root):
    report = (make_family_case if isinstance(case, FamilyCase) else make_case)(case, root)
    return f"{case.name:12} logits rms {report['logits_rms']:.3g}, float32 error {report['logits_error_max']:.2g}"


def main():
    parser = golden_parser(__doc__, STORE)
    parser.add_argument("--config", type=Path, help="config.json of a tiny model, of any family that the library knows")
    parser.add_argument("--name", help="the folder that --config makes")
    options = parser.parse_args()
    if (options.config is None) != (options.name is None):
        parser.error("--config and --name go together")
    cases = [*CASES, *FAMILY_CASES]
    cases += stored_cases({case.name for case in cases})
    if options.config:
        cases = [case_of(options.name, options.config)]
    return golden_main(parser, options, cases, make_and_report)


if __name__ == "__main__":
    sys.exit(main())
