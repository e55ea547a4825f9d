"""Writes a tiny random model of any decoder family and its truth; `golden_family_cases.py` says which families.

Names of weights are those that the reference library itself saves; names in the GGUF file come from the `gguf`
package's table for that architecture, its keys from the case.
"""

import copy
import dataclasses
import json
import math
import re
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

from golden_forms import folder_mxfp4, gguf_kind, gguf_parts, is_expert_matrix, round_to_mxfp4
from golden_tokenizer import make_tokenizer
from golden_weights import Draw, draw_named, round_to_bf16
from gguf_names import rotary_heads, to_pairs

# GGUF key (after "{arch}.") and the configuration keys that it is written from, as llama.cpp's conversion does.
_KEYS = {
    "context_length": ("max_position_embeddings", "n_positions"),
    "embedding_length": ("hidden_size", "n_embd"),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "rope.freq_base": ("rope_theta",),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
}
_LAYERS = ("num_hidden_layers", "n_layer")
_STACKS = ("model.layers", "transformer.h", "gpt_neox.layers", "backbone.layers")
_EXPERT = re.compile(r"model\.layers\.(\d+)\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight")


def _first(config, keys):
    return next((config[key] for key in keys if config.get(key) is not None), None)


def saved_shapes(config):
    """Shapes of the tensors that the reference library saves for this configuration, by name."""
    kept = {key: value for key, value in config.items() if key != "architectures"}
    settings = transformers.AutoConfig.for_model(**copy.deepcopy(kept))
    kind = getattr(transformers, config["architectures"][0])
    with tempfile.TemporaryDirectory() as scratch:
        kind(settings).save_pretrained(scratch)
        return {name: tuple(tensor.shape) for name, tensor in load_file(Path(scratch) / "model.safetensors").items()}


def draw_weights(case):
    """Weights by the reference library's names: float32 numbers that bfloat16 holds exactly."""
    draw = Draw(case.seed)
    shapes = saved_shapes(case.config)
    weights = {
        name: round_to_bf16(draw_named(draw, name, shapes[name], case.norm_offset, case.input_first))
        for name in sorted(shapes)
    }
    if case.mxfp4:
        weights |= {name: round_to_mxfp4(values) for name, values in weights.items() if is_expert_matrix(name)}
    return weights


def load_reference(folder, config):
    kind = getattr(transformers, config["architectures"][0])
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model.config._experts_implementation = "eager"  # the grouped products know no float64
    return model


def run_model(model, tokens):
    """Returns (logits [tokens, vocabulary], hidden [layers + 1, tokens, hidden]): the stream into each layer and out."""
    borders = []

    def take(_module, arguments, keywords):
        borders.append(arguments[0] if arguments else keywords["hidden_states"])

    def take_output(_module, _arguments, output):
        borders.append(output[0] if isinstance(output, tuple) else output)

    stack = next(model.get_submodule(path) for path in _STACKS if _has(model, path))
    handles = [layer.register_forward_pre_hook(take, with_kwargs=True) for layer in stack]
    handles.append(stack[-1].register_forward_hook(take_output))
    with torch.inference_mode():
        logits = model(torch.from_numpy(tokens.astype(np.int64))[None], use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    hidden = torch.stack([border.reshape(len(tokens), -1) for border in borders])
    return logits.numpy(), hidden.numpy()


def _has(model, path):
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def _neox_rows(values, heads):
    """Rows of a fused product from (head, part, row) to (part, head, row)."""
    split = values.reshape(heads, 3, values.shape[0] // heads // 3, *values.shape[1:])
    return np.ascontiguousarray(split.swapaxes(0, 1)).reshape(values.shape)


def _split_heads(name, values, config):
    """`kv_b_proj` as newer GGUF files have it: keys [heads, latent, nope] and values [heads, value, latent]."""
    heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
    rows = values.reshape(heads, -1, values.shape[-1])
    keys = np.ascontiguousarray(rows[:, :nope].swapaxes(1, 2))
    return [(name.replace("kv_b_proj", "k_b_proj"), keys), (name.replace("kv_b_proj", "v_b_proj"), rows[:, nope:])]


def gguf_tensors(case, weights):
    """(name, array) of the GGUF file: experts stacked, q and k rows in pairs, fused rows by part, matrices output first."""
    layers = _first(case.config, _LAYERS)
    names = gguf.get_tensor_name_map(
        next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == case.arch), layers
    )
    stacks, tensors = {}, []
    for name, values in weights.items():
        expert = _EXPERT.fullmatch(name)
        if expert:
            merged = f"layers.{expert[1]}.feed_forward.experts.{expert[3]}.weight"
            if not expert[3].startswith("w"):
                merged = f"model.layers.{expert[1]}.mlp.experts.{expert[3]}.weight"
            stacks.setdefault(merged, {})[int(expert[2])] = values
            continue
        if case.split_heads and "kv_b_proj" in name:
            tensors += _split_heads(name, values, case.config)
            continue
        name = name.replace("correction_bias", "correction.bias")
        heads = rotary_heads(name, case.config) if case.pairs else 0
        if heads:
            values = to_pairs(values, heads)
        if "query_key_value" in name:
            values = _neox_rows(values, case.config["num_attention_heads"])
        if values.ndim == 2 and case.input_first and re.search(case.input_first, name):
            values = np.ascontiguousarray(values.T)
        if name.endswith("norm.weight"):
            values = values + np.float32(case.norm_offset)
        values = values.squeeze() if values.shape[0] == 1 else values
        tensors += gguf_parts(name, values, case.config)
    tensors += [(name, np.stack([experts[i] for i in sorted(experts)])) for name, experts in stacks.items()]
    found = [(names.get_name(name, try_suffixes=(".weight", ".bias")), values) for name, values in tensors]
    return found + [(name, np.array(values, np.float32)) for name, values in case.extra.items()]


def _add_key(writer, key, value):
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    else:
        writer.add_float32(key, value)


def write_gguf(path, case, weights):
    writer = gguf.GGUFWriter(path, case.arch)
    writer.add_name(f"golden {case.name}")
    writer.add_block_count(_first(case.config, _LAYERS))
    keys = {key: _first(case.config, sources) for key, sources in _KEYS.items()} | case.keys
    for key, value in keys.items():
        if value is not None:
            _add_key(writer, f"{case.arch}.{key}", value)
    size = case.config["vocab_size"]
    tokens, merges = make_tokenizer(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (size - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(size - 1)
    writer.add_eos_token_id(size - 1)
    for name, values in gguf_tensors(case, weights):
        kind = gguf_kind(name, values, case.mxfp4)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _strict(value):
    """With infinities as the reference library writes them, since JSON has none."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return {"__float__": "Infinity"} if value == math.inf else value


def write_folder(folder, case, weights):
    config = case.config | {"torch_dtype": "bfloat16"}
    if case.mxfp4:
        config["quantization_config"] = {"quant_method": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(_strict(config), indent=1) + "\n")
    tensors = {}
    for name, values in weights.items():
        if case.mxfp4 and is_expert_matrix(name):
            tensors |= {part: torch.from_numpy(bytes) for part, bytes in folder_mxfp4(name, values).items()}
        else:
            tensors[name] = torch.from_numpy(values.copy()).to(torch.bfloat16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def make_family_case(case, root):
    """Writes one case; returns what truth.json says. Fails when float32 and float64 runs of the reference disagree."""
    folder = root / case.name
    folder.mkdir(parents=True, exist_ok=True)
    weights = draw_weights(case)
    write_folder(folder, case, weights)
    if case.arch:
        write_gguf(folder / "model.gguf", case, weights)
    with tempfile.TemporaryDirectory() as scratch:
        # The reference widens MXFP4 to bfloat16 only where it finds kernels for it.
        if case.mxfp4:
            write_folder(Path(scratch), dataclasses.replace(case, mxfp4=False), weights)
        model = load_reference(scratch if case.mxfp4 else folder, case.config)
    tokens = Draw(case.seed + 1000).integers(case.tokens, case.config["vocab_size"]).astype(np.int32)
    logits, hidden = run_model(model, tokens)
    exact_logits, exact_hidden = run_model(model.double(), tokens)
    ranked = np.sort(exact_logits, axis=1)
    report = {
        "case": case.name,
        "made_by": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager",
        "logits_rms": float(np.sqrt(np.mean(exact_logits**2))),
        "logits_error_max": float(np.abs(logits - exact_logits).max()),
        "hidden_rms": [float(value) for value in np.sqrt(np.mean(exact_hidden**2, axis=(1, 2)))],
        "top_margin_min": float((ranked[:, -1] - ranked[:, -2]).min()),
    }
    if report["logits_error_max"] > 3e-5 * np.abs(exact_logits).max():
        raise SystemExit(f"{case.name}: float32 and float64 reference differ by {report['logits_error_max']:.3g}")
    np.save(folder / "tokens.npy", tokens)
    np.save(folder / "logits.npy", logits.astype(np.float32))
    np.save(folder / "hidden.npy", hidden.astype(np.float32))
    (folder / "truth.json").write_text(json.dumps(report, indent=1) + "\n")
    return report
