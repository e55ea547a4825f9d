"""The tiny llama-shaped models that `make_golden.py` writes: one row a case, shapes and rope settings as data."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One tiny model. `config` holds Hugging Face keys; `codecs` maps GGUF tensor names to storage types."""

    name: str
    seed: int
    config: dict
    tokens: int = 40
    safetensors: str = "F32"  # storage of the folder form: F32, BF16, or "" for none
    codecs: dict = field(default_factory=dict)


def _shape(hidden, layers, heads, kv_heads, mlp, vocabulary=104, **more):
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": mlp,
        "vocab_size": vocabulary,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": vocabulary - 1,
        "eos_token_id": vocabulary - 1,
    }
    config.update(more)
    return config


_CODECS = {
    "token_embd.weight": "Q8_0",
    "output.weight": "Q6_K",
    "blk.0.attn_q.weight": "Q4_0",
    "blk.0.attn_k.weight": "Q8_0",
    "blk.0.attn_v.weight": "Q4_1",
    "blk.0.attn_output.weight": "Q5_0",
    "blk.0.ffn_gate.weight": "Q4_K",
    "blk.0.ffn_up.weight": "Q5_K",
    "blk.0.ffn_down.weight": "Q6_K",
    "blk.1.attn_q.weight": "Q5_1",
    "blk.1.attn_k.weight": "F16",
    "blk.1.attn_v.weight": "BF16",
    "blk.1.attn_output.weight": "Q8_0",
    "blk.1.ffn_gate.weight": "Q3_K",
    "blk.1.ffn_up.weight": "Q4_1",
    "blk.1.ffn_down.weight": "Q2_K",
}

_POINT_CODECS = {
    "token_embd.weight": "IQ3_S",
    "output.weight": "IQ4_XS",
    "blk.0.attn_q.weight": "IQ2_XXS",
    "blk.0.attn_k.weight": "IQ3_XXS",
    "blk.0.attn_v.weight": "IQ2_S",
    "blk.0.attn_output.weight": "IQ2_XS",
    "blk.0.ffn_gate.weight": "IQ3_S",
    "blk.0.ffn_up.weight": "IQ3_XXS",
    "blk.0.ffn_down.weight": "IQ2_S",
    "blk.1.attn_q.weight": "IQ3_S",
    "blk.1.attn_k.weight": "IQ2_XS",
    "blk.1.attn_v.weight": "IQ4_XS",
    "blk.1.attn_output.weight": "IQ3_XXS",
    "blk.1.ffn_gate.weight": "IQ2_XXS",
    "blk.1.ffn_up.weight": "IQ2_XS",
    "blk.1.ffn_down.weight": "IQ3_S",
}

# Original contexts are shorter than the token sequence, so that wrong rope scaling changes every later row.
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# The three cases state their scaling in the three ways in which published configurations do.
_LINEAR = {"type": "linear", "factor": 4.0}
_YARN = {
    "rope_theta": None,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}

CASES = [
    Case("gqa", 101, _shape(96, 2, 6, 2, 40), safetensors="BF16"),
    Case("mha_tied", 102, _shape(48, 2, 4, 4, 40, vocabulary=264, rms_norm_eps=1e-6), safetensors="BF16"),
    Case("untied", 103, _shape(48, 2, 3, 1, 56, rms_norm_eps=1e-6, tie_word_embeddings=False), safetensors="BF16"),
    Case("head_dim", 104, _shape(48, 2, 4, 2, 40, head_dim=8), safetensors="BF16"),
    Case("rope_llama3", 105, _shape(48, 2, 2, 1, 24, head_dim=32, rope_theta=500000.0, rope_scaling=_LLAMA3)),
    Case("rope_linear", 106, _shape(48, 2, 3, 1, 40, rope_scaling=_LINEAR), safetensors="BF16"),
    Case("rope_yarn", 107, _shape(48, 2, 2, 1, 24, head_dim=32, max_position_embeddings=128, **_YARN)),
    Case(
        "biases",
        108,
        _shape(48, 2, 3, 1, 40, attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
        safetensors="BF16",
    ),
    Case(
        "codec",
        109,
        _shape(256, 2, 4, 1, 256, head_dim=32, tie_word_embeddings=False),
        tokens=24,
        safetensors="",
        codecs=_CODECS,
    ),
    Case(
        "codec_points",
        110,
        _shape(256, 2, 8, 1, 256, head_dim=32, tie_word_embeddings=False),
        tokens=24,
        safetensors="",
        codecs=_POINT_CODECS,
    ),
]
