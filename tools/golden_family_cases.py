"""The tiny models of decoder families that `make_golden.py` writes beside the llama-shaped ones: one row a case."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FamilyCase:
    """One tiny model. `config` is config.json as published models of the family write it."""

    name: str
    seed: int
    config: dict
    arch: str = ""  # GGUF's general.architecture, or "" when that form cannot say what the configuration does
    keys: dict = field(default_factory=dict)  # further GGUF keys without "{arch}."; None leaves out a common one
    extra: dict = field(default_factory=dict)  # tensors that only the GGUF file has
    pairs: bool = False  # rows of q and k are stored as interleaved pairs in the GGUF file
    norm_offset: float = 0.0  # what the reference adds to the weights of norms; the GGUF file has it added
    input_first: str = ""  # names of matrices that the folder stores transposed
    tokens: int = 40


def _shape(model_class, model_type, hidden, layers, heads, kv_heads, mlp, **more):
    config = {
        "architectures": [model_class],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": mlp,
        "vocab_size": 104,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 103,
        "eos_token_id": 103,
        "pad_token_id": None,
    }
    config.update(more)
    return {key: value for key, value in config.items() if value is not None}


_GEMMA = {
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_act": None,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
}

FAMILY_CASES = [
    FamilyCase(
        "qwen2",
        201,
        _shape("Qwen2ForCausalLM", "qwen2", 40, 3, 5, 1, 36, use_sliding_window=False, sliding_window=8),
        arch="qwen2",
    ),
    FamilyCase(
        "qwen2_window",
        202,
        _shape(
            "Qwen2ForCausalLM",
            "qwen2",
            40,
            3,
            5,
            1,
            36,
            use_sliding_window=True,
            sliding_window=6,
            max_window_layers=1,
            tie_word_embeddings=True,
        ),
    ),
    FamilyCase(
        "qwen3",
        203,
        _shape("Qwen3ForCausalLM", "qwen3", 40, 2, 3, 1, 36, head_dim=16, rope_theta=1000000.0),
        arch="qwen3",
    ),
    FamilyCase("mistral", 204, _shape("MistralForCausalLM", "mistral", 48, 2, 6, 2, 40, sliding_window=7, head_dim=12)),
    FamilyCase(
        "gemma2",
        206,
        _shape(
            "Gemma2ForCausalLM",
            "gemma2",
            40,
            3,
            4,
            2,
            36,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=9,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=5.0,
            **_GEMMA,
        ),
        arch="gemma2",
        keys={
            "rope.freq_base": None,
            "attention.sliding_window": 9,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 5.0,
        },
        norm_offset=1.0,
    ),
    FamilyCase(
        "gemma2_scalar",
        205,
        _shape(
            "Gemma2ForCausalLM",
            "gemma2",
            40,
            2,
            4,
            2,
            36,
            head_dim=8,
            query_pre_attn_scalar=12,
            sliding_window=9,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=5.0,
            **_GEMMA,
        ),
        norm_offset=1.0,
    ),
    FamilyCase(
        "gemma3",
        207,
        _shape(
            "Gemma3ForCausalLM",
            "gemma3_text",
            24,
            7,
            3,
            1,
            20,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=9,
            sliding_window_pattern=6,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
            **_GEMMA,
        ),
        arch="gemma3",
        keys={"attention.sliding_window": 9, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
        norm_offset=1.0,
    ),
]
