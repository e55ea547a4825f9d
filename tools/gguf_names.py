"""Tensor names and row orders of GGUF files against those of the Hugging Face layout."""

import numpy as np

_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# Which norm is called `ffn_norm` depends on whether sublayers are followed by norms too.
_NORMS = {"post_attention_layernorm": "ffn_norm"}
_SANDWICH_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name, sandwich=False):
    """`model.layers.3.mlp.up_proj.weight` -> `blk.3.ffn_up.weight`. Raises KeyError for an unknown name."""
    stem, suffix = name.rsplit(".", 1)
    if stem in _TOP:
        return f"{_TOP[stem]}.{suffix}"
    _, _, index, part = stem.split(".", 3)
    norms = _SANDWICH_NORMS if sandwich else _NORMS
    return f"blk.{index}.{(_LAYER | norms)[part]}.{suffix}"


def to_pairs(rows, heads):
    """Rows of q or k from half-split rotary order to interleaved pairs, per head. rows: [heads * head size, ...]."""
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(rows.shape)


def from_pairs(rows, heads):
    """The inverse of to_pairs."""
    split = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(rows.shape)


def rotary_heads(name, config):
    """How many heads the rows of this tensor hold if rope acts on them (q and k), else 0."""
    if ".q_proj." in name:
        return config["num_attention_heads"]
    if ".k_proj." in name:
        return config["num_key_value_heads"]
    return 0
