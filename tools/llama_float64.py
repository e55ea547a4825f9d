"""A llama forward pass in float64, written from the formulas, to tell how exact the float32 reference is."""

import numpy as np


def _norm(stream, weight, eps):
    return stream / np.sqrt(np.mean(stream**2, axis=-1, keepdims=True) + eps) * weight


def _rotate(heads, angles, scale):
    """Half-split rotation. heads: [heads, tokens, size]; angles: [tokens, size / 2]."""
    first, second = np.split(heads, 2, axis=-1)
    cos, sin = np.cos(angles) * scale, np.sin(angles) * scale
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _attention(stream, linear, config, angles, scale):
    tokens = stream.shape[0]
    size = angles.shape[1] * 2

    def split(name, heads):
        return linear(name, stream).reshape(tokens, heads, size).swapaxes(0, 1)

    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    query = _rotate(split("self_attn.q_proj", heads), angles, scale)
    key = np.repeat(_rotate(split("self_attn.k_proj", kv_heads), angles, scale), heads // kv_heads, axis=0)
    value = np.repeat(split("self_attn.v_proj", kv_heads), heads // kv_heads, axis=0)
    scores = query @ key.swapaxes(1, 2) / np.sqrt(size)
    scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return linear("self_attn.o_proj", (weights @ value).swapaxes(0, 1).reshape(tokens, heads * size))


def forward_float64(weights, config, tokens, inv_freq, rope_scale):
    """Returns (logits [tokens, vocabulary], hidden [layers + 1, tokens, hidden]) from Hugging Face named weights.

    inv_freq [head size / 2] and rope_scale are the reference's: the rope formulas are not judged here.
    """
    exact = {name: np.asarray(values, dtype=np.float64) for name, values in weights.items()}
    angles = np.arange(len(tokens))[:, None] * np.asarray(inv_freq, dtype=np.float64)
    stream = exact["model.embed_tokens.weight"][tokens]
    hidden = [stream]
    for index in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{index}."

        def linear(name, rows, prefix=prefix):
            return rows @ exact[f"{prefix}{name}.weight"].T + exact.get(f"{prefix}{name}.bias", 0.0)

        def norm(name, rows, prefix=prefix):
            return _norm(rows, exact[f"{prefix}{name}.weight"], config["rms_norm_eps"])

        stream = stream + _attention(norm("input_layernorm", stream), linear, config, angles, rope_scale)
        inner = norm("post_attention_layernorm", stream)
        gate = linear("mlp.gate_proj", inner)
        stream = stream + linear("mlp.down_proj", gate / (1.0 + np.exp(-gate)) * linear("mlp.up_proj", inner))
        hidden.append(stream)
    final = _norm(stream, exact["model.norm.weight"], config["rms_norm_eps"])
    head = exact.get("lm_head.weight", exact["model.embed_tokens.weight"])
    return final @ head.T, np.stack(hidden)
