"""Builds the reference library's model from a GGUF file, all weights dequantized to float32."""

from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

from gguf_names import from_pairs, gguf_name, rotary_heads


def read_metadata(path):
    """Returns (metadata by key, tensors by name) of a GGUF file."""
    reader = gguf.GGUFReader(path)
    metadata = {key: field.contents() for key, field in reader.fields.items()}
    return metadata, {tensor.name: tensor for tensor in reader.tensors}


def _common(get, tensors):
    heads = get("attention.head_count")
    return {
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "hidden_size": get("embedding_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "head_dim": get("attention.key_length", get("embedding_length") // heads),
        "intermediate_size": get("feed_forward_length"),
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in tensors,
    }


def _rope(get):
    rope = {"rope_theta": get("rope.freq_base", 10000.0), "rope_type": get("rope.scaling.type", "default")}
    if rope["rope_type"] == "none":
        rope["rope_type"] = "default"
    if rope["rope_type"] not in ("default", "linear", "yarn"):
        raise SystemExit(f"rope scaling {rope['rope_type']} is not one of: none, linear, yarn")
    if rope["rope_type"] != "default":
        rope["factor"] = get("rope.scaling.factor")
    if rope["rope_type"] == "yarn":
        rope["original_max_position_embeddings"] = get("rope.scaling.original_context_length")
    return rope


def _llama(get, tensors):
    config = _common(get, tensors) | {
        "rope_parameters": _rope(get),
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(**config)


def _qwen2(get, tensors):
    return transformers.Qwen2ForCausalLM, transformers.Qwen2Config(
        **_common(get, tensors), rope_parameters=_rope(get), use_sliding_window=False
    )


def _gemma3(get, tensors):
    """The file says neither which layers are local (five of six) nor their rope base (10000)."""
    config = _common(get, tensors)
    kinds = [
        "full_attention" if index % 6 == 5 else "sliding_attention" for index in range(config["num_hidden_layers"])
    ]
    rope = {
        "full_attention": _rope(get),
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    config |= {"layer_types": kinds, "sliding_window": get("attention.sliding_window"), "rope_parameters": rope}
    config |= {"query_pre_attn_scalar": config["head_dim"], "hidden_activation": "gelu_pytorch_tanh"}
    return transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig(**config)


# Per architecture: maker of the configuration, q and k rows interleaved, norms after sublayers, norm weights hold +1.
_ARCHITECTURES = {
    "llama": (_llama, True, False, False),
    "qwen2": (_qwen2, False, False, False),
    "gemma3": (_gemma3, False, True, True),
}


def _fill(model, tensors, interleaved, sandwich, shifted_norms):
    config, used = model.config.to_dict(), set()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            source = gguf_name(name, sandwich)
            values = gguf.quants.dequantize(tensors[source].data, tensors[source].tensor_type)
            values = values.reshape(tuple(parameter.shape)).astype(np.float32)
            heads = rotary_heads(name, config)
            if interleaved and heads:
                values = from_pairs(values, heads)
            if shifted_norms and name.endswith("norm.weight"):
                values = values - np.float32(1)
            parameter.copy_(torch.from_numpy(np.array(values)))
            used.add(source)
    return used


def load_gguf(path):
    """Returns (model, metadata). Fails if a tensor of the file was not used."""
    metadata, tensors = read_metadata(path)
    architecture = metadata["general.architecture"]
    if architecture not in _ARCHITECTURES:
        raise SystemExit(f"{path}: architecture {architecture} is not one of: {', '.join(_ARCHITECTURES)}")
    make, *traits = _ARCHITECTURES[architecture]

    def get(key, default=None):
        return metadata.get(f"{architecture}.{key}", default)

    kind, config = make(get, tensors)
    config._attn_implementation = "eager"
    model = kind(config).to(torch.float32).eval()
    used = _fill(model, tensors, *traits)
    if "rope_freqs.weight" in tensors:
        divisors = torch.from_numpy(np.array(tensors["rope_freqs.weight"].data, dtype=np.float32))
        model.model.rotary_emb.inv_freq /= divisors
        used.add("rope_freqs.weight")
    if left := sorted(set(tensors) - used):
        raise SystemExit(f"{path}: tensors not understood: {', '.join(left)}")
    return model, metadata


def load_model(path):
    """A GGUF file, or a folder in the Hugging Face layout (metadata None)."""
    if Path(path).is_dir():
        kind = transformers.AutoModelForCausalLM
        return kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval(), None
    return load_gguf(path)
