"""The tiny models of decoder families that `make_golden.py` writes beside the llama-shaped ones: one row a case."""

from dataclasses import dataclass, field
from math import inf, log


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
    split_heads: bool = False  # the GGUF file has the parts of kv_b as two tensors
    input_first: str = ""  # names of matrices that the folder stores transposed
    mxfp4: bool = False  # matrices of experts are stored as MXFP4 in both forms
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
        "pad_token_id": 103,
    }
    config.update(more)
    return {key: value for key, value in config.items() if value is not None}


_GEMMA = {
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_act": None,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
}

def _factors(pairs):
    """Rotary divisors for short and for long texts."""
    return [1.0 + 0.25 * i for i in range(pairs)], [1.5 + 2.0 * i for i in range(pairs)]


def _longrope(original, context, pairs):
    short, long = _factors(pairs)
    return {
        "original_max_position_embeddings": original,
        "max_position_embeddings": context,
        "rope_scaling": {"type": "longrope", "short_factor": short, "long_factor": long},
    }


def _longrope_tensors(pairs):
    short, long = _factors(pairs)
    return {"rope_factors_long.weight": long, "rope_factors_short.weight": short}


_FACTORS = {
    "attention_multiplier": 0.25,
    "embedding_multiplier": 3.5,
    "residual_multiplier": 0.375,
    "logits_scaling": 1.75,
}
_STARCODER2 = {
    "rms_norm_eps": None,
    "norm_epsilon": 1e-5,
    "hidden_act": "gelu_pytorch_tanh",
    "use_bias": True,
    "tie_word_embeddings": True,
}
_GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_inner": 96,
    "n_positions": 128,
    "n_ctx": 128,
    "vocab_size": 104,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 103,
    "eos_token_id": 103,
}
_GPT2_TURNED = r"\.(c_attn|c_proj|c_fc)\.weight$"


def _deepseek(version, heads, nope, rope, value, latent, **more):
    config = _shape(
        f"DeepseekV{version}ForCausalLM",
        f"deepseek_v{version}",
        8 * heads,
        3,
        heads,
        heads,
        20,
        **(
            {
                "rms_norm_eps": 1e-6,
                "qk_nope_head_dim": nope,
                "qk_rope_head_dim": rope,
                "v_head_dim": value,
                "kv_lora_rank": latent,
                "moe_intermediate_size": 10,
                "n_routed_experts": 6,
                "n_shared_experts": 1,
                "num_experts_per_tok": 2,
                "first_k_dense_replace": 1,
                "attention_bias": False,
            }
            | more
        ),
    )
    return {"q_lora_rank": None} | config  # without it, the library takes the rank of the largest model


def _deepseek_keys(config, split):
    """GGUF keys as conversions write them: newer files, with the parts of kv_b, give sizes of both forms."""
    nope, rope, value = (config[f"{key}_head_dim"] for key in ("qk_nope", "qk_rope", "v"))
    latent = config["kv_lora_rank"]
    keys = {
        "attention.head_count_kv": 1 if split else config["num_attention_heads"],
        "attention.key_length": latent + rope if split else nope + rope,
        "attention.value_length": latent if split else value,
        "attention.kv_lora_rank": latent,
        "attention.q_lora_rank": config.get("q_lora_rank"),
        "attention.key_length_mla": nope + rope if split else None,
        "attention.value_length_mla": value if split else None,
        "rope.dimension_count": rope,
        "leading_dense_block_count": config["first_k_dense_replace"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_shared_count": config["n_shared_experts"],
        "expert_group_count": config.get("n_group"),
        "expert_group_used_count": config.get("topk_group"),
        "expert_weights_scale": config["routed_scaling_factor"],
    }
    if config.get("norm_topk_prob"):
        keys["expert_weights_norm"] = True
    if config.get("scoring_func") == "sigmoid":
        keys["expert_gating_func"] = 2
    if scaling := config.get("rope_scaling"):
        keys["rope.scaling.type"] = "yarn"
        keys["rope.scaling.factor"] = scaling["factor"]
        keys["rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
        keys["rope.scaling.yarn_log_multiplier"] = 0.1 * scaling["mscale_all_dim"]
    return keys


def _yarn(mscale, mscale_all_dim):
    return {
        "type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": 32,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": mscale,
        "mscale_all_dim": mscale_all_dim,
    }


_DEEPSEEK_V2 = _deepseek(
    2,
    3,
    6,
    4,
    5,
    20,
    q_lora_rank=12,
    n_shared_experts=2,
    num_experts_per_tok=3,
    n_group=3,
    topk_group=2,
    topk_method="group_limited_greedy",
    scoring_func="softmax",
    norm_topk_prob=False,
    routed_scaling_factor=3.0,
    rope_scaling=_yarn(0.707, 0.707),
)
_DEEPSEEK_V2_LITE = _deepseek(
    2,
    5,
    8,
    6,
    4,
    16,
    n_group=1,
    topk_group=1,
    topk_method="greedy",
    scoring_func="softmax",
    norm_topk_prob=False,
    routed_scaling_factor=1.0,
)
_DEEPSEEK_V3 = _deepseek(
    3,
    3,
    5,
    8,
    7,
    18,
    q_lora_rank=14,
    n_routed_experts=9,
    num_experts_per_tok=3,
    n_group=3,
    topk_group=2,
    topk_method="noaux_tc",
    scoring_func="sigmoid",
    norm_topk_prob=True,
    routed_scaling_factor=2.5,
    rope_scaling=_yarn(1.0, 1.0),
)
_DEEPSEEK_V3_HALF = _deepseek(
    3,
    3,
    4,
    6,
    9,
    12,
    n_group=1,
    topk_group=1,
    topk_method="noaux_tc",
    scoring_func="sigmoid",
    norm_topk_prob=False,
    routed_scaling_factor=1.5,
    n_shared_experts=2,
    rms_norm_eps=1e-4,
    rope_interleave=False,
    attention_bias=True,
    tie_word_embeddings=True,
    rope_scaling=_yarn(1.0, 0.5),
)
_NEOX = {
    "rms_norm_eps": None,
    "rope_theta": None,
    "num_key_value_heads": None,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
}
_MAMBA2 = {
    "architectures": ["Mamba2ForCausalLM"],
    "model_type": "mamba2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_heads": 8,
    "head_dim": 8,
    "state_size": 12,
    "n_groups": 2,
    "expand": 2,
    "conv_kernel": 4,
    "use_bias": False,
    "use_conv_bias": True,
    "hidden_act": "silu",
    "layer_norm_epsilon": 1e-5,
    "chunk_size": 16,
    "time_step_limit": [0.0, inf],
    "vocab_size": 104,
    "tie_word_embeddings": False,
    "bos_token_id": 103,
    "eos_token_id": 103,
    "pad_token_id": 103,
}


def _oss_rope(truncate):
    return {
        "rope_theta": 150000.0,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "beta_fast": 4.0 if truncate else 32.0,
            "beta_slow": 1.0,
            "truncate": truncate,
            "original_max_position_embeddings": 32,
        },
    }


FAMILY_CASES = [
    FamilyCase(
        "qwen2",
        201,
        _shape("Qwen2ForCausalLM", "qwen2", 40, 2, 5, 1, 36, use_sliding_window=False, sliding_window=8),
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
        _shape("Qwen3ForCausalLM", "qwen3", 40, 2, 3, 1, 28, head_dim=12, rope_theta=1000000.0),
        arch="qwen3",
    ),
    FamilyCase("mistral", 204, _shape("MistralForCausalLM", "mistral", 48, 2, 6, 2, 40, sliding_window=7, head_dim=12)),
    FamilyCase(
        "gemma2",
        206,
        _shape(
            "Gemma2ForCausalLM",
            "gemma2",
            24,
            3,
            4,
            2,
            28,
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
            12,
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
        tokens=32,
    ),
    FamilyCase(
        "phi3",
        210,
        _shape("Phi3ForCausalLM", "phi3", 40, 2, 5, 1, 36, **_longrope(256, 512, 4), sliding_window=11),
        arch="phi3",
        keys={
            "attention.sliding_window": 11,
            "rope.dimension_count": 8,
            "rope.scaling.original_context_length": 256,
            "rope.scaling.attn_factor": (1 + log(2) / log(256)) ** 0.5,
        },
        extra=_longrope_tensors(4),
    ),
    FamilyCase(
        "phi3_long",
        211,
        _shape("Phi3ForCausalLM", "phi3", 32, 2, 2, 1, 36, **_longrope(32, 128, 4), partial_rotary_factor=0.5),
        arch="phi3",
        keys={
            "rope.dimension_count": 8,
            "rope.scaling.original_context_length": 32,
            "rope.scaling.attn_factor": (1 + log(4) / log(32)) ** 0.5,
        },
        extra=_longrope_tensors(4),
    ),
    FamilyCase("olmo2", 212, _shape("Olmo2ForCausalLM", "olmo2", 40, 2, 5, 1, 36), arch="olmo2"),
    FamilyCase(
        "granite",
        213,
        _shape("GraniteForCausalLM", "granite", 40, 2, 5, 1, 36, attention_bias=True, mlp_bias=True, **_FACTORS),
        arch="granite",
        keys={
            "attention.scale": _FACTORS["attention_multiplier"],
            "embedding_scale": _FACTORS["embedding_multiplier"],
            "residual_scale": _FACTORS["residual_multiplier"],
            "logit_scale": _FACTORS["logits_scaling"],
            "rope.dimension_count": 8,
        },
        pairs=True,
    ),
    FamilyCase(
        "smollm3",
        214,
        _shape("SmolLM3ForCausalLM", "smollm3", 24, 5, 3, 1, 20, rope_theta=50000.0, tie_word_embeddings=True),
        arch="smollm3",
        keys={"rope.dimension_count": 8},
        pairs=True,
    ),
    FamilyCase(
        "smollm3_window",
        215,
        _shape(
            "SmolLM3ForCausalLM",
            "smollm3",
            24,
            3,
            3,
            1,
            20,
            no_rope_layers=[0, 1, 0],
            use_sliding_window=True,
            sliding_window=7,
            layer_types=["sliding_attention", "full_attention", "full_attention"],
        ),
    ),
    FamilyCase("starcoder2", 216, _shape("Starcoder2ForCausalLM", "starcoder2", 40, 2, 5, 1, 36, **_STARCODER2), arch="starcoder2"),
    FamilyCase(
        "starcoder2_window",
        217,
        _shape("Starcoder2ForCausalLM", "starcoder2", 24, 2, 3, 1, 20, **(_STARCODER2 | {"sliding_window": 6, "use_bias": False})),
    ),
    FamilyCase("gpt2", 218, _GPT2, arch="gpt2", input_first=_GPT2_TURNED),
    FamilyCase(
        "gpt2_scaled",
        219,
        _GPT2 | {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False, "n_inner": 36, "activation_function": "gelu"},
        input_first=_GPT2_TURNED,
    ),
    FamilyCase(
        "gptneox",
        220,
        _shape("GPTNeoXForCausalLM", "gpt_neox", 36, 2, 3, 3, 40, rotary_pct=0.34, rotary_emb_base=10000, **_NEOX),
        arch="gptneox",
        keys={"use_parallel_residual": True, "rope.dimension_count": 4},
    ),
    FamilyCase(
        "gptneox_sequential",
        221,
        _shape(
            "GPTNeoXForCausalLM", "gpt_neox", 24, 2, 3, 3, 20, rotary_pct=0.5, use_parallel_residual=False, **_NEOX
        ),
        arch="gptneox",
        keys={"use_parallel_residual": False, "rope.dimension_count": 4},
    ),
    FamilyCase(
        "mixtral",
        230,
        _shape(
            "MixtralForCausalLM", "mixtral", 24, 2, 3, 1, 20, num_local_experts=5, num_experts_per_tok=2, head_dim=8
        ),
        arch="llama",
        keys={"rope.dimension_count": 8},
        pairs=True,
    ),
    FamilyCase(
        "qwen2moe",
        231,
        _shape(
            "Qwen2MoeForCausalLM",
            "qwen2_moe",
            24,
            2,
            3,
            1,
            20,
            num_experts=5,
            num_experts_per_tok=3,
            moe_intermediate_size=12,
            shared_expert_intermediate_size=28,
            norm_topk_prob=False,
        ),
        arch="qwen2moe",
        keys={"expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 28},
    ),
    FamilyCase(
        "qwen2moe_mixed",
        232,
        _shape(
            "Qwen2MoeForCausalLM",
            "qwen2_moe",
            24,
            4,
            3,
            1,
            20,
            num_experts=3,
            num_experts_per_tok=1,
            moe_intermediate_size=12,
            shared_expert_intermediate_size=12,
            norm_topk_prob=True,
            decoder_sparse_step=2,
            mlp_only_layers=[3],
            use_sliding_window=True,
            sliding_window=6,
            max_window_layers=2,
        ),
    ),
    FamilyCase(
        "qwen3moe",
        233,
        _shape(
            "Qwen3MoeForCausalLM",
            "qwen3_moe",
            24,
            2,
            3,
            1,
            20,
            head_dim=12,
            num_experts=7,
            num_experts_per_tok=2,
            moe_intermediate_size=12,
            norm_topk_prob=True,
        ),
        arch="qwen3moe",
        keys={"expert_feed_forward_length": 12},
    ),
    FamilyCase(
        "deepseek_v2", 240, _DEEPSEEK_V2, arch="deepseek2", keys=_deepseek_keys(_DEEPSEEK_V2, True), split_heads=True
    ),
    FamilyCase("deepseek_v2_lite", 241, _DEEPSEEK_V2_LITE, arch="deepseek2", keys=_deepseek_keys(_DEEPSEEK_V2_LITE, False)),
    FamilyCase(
        "deepseek_v3", 242, _DEEPSEEK_V3, arch="deepseek2", keys=_deepseek_keys(_DEEPSEEK_V3, True), split_heads=True
    ),
    FamilyCase("deepseek_v3_half", 243, _DEEPSEEK_V3_HALF),
    FamilyCase(
        "gpt_oss",
        240,
        _shape(
            "GptOssForCausalLM",
            "gpt_oss",
            40,
            3,
            5,
            1,
            24,
            head_dim=8,
            num_local_experts=5,
            num_experts_per_tok=2,
            sliding_window=9,
            swiglu_limit=1.25,
            attention_bias=True,
            **_oss_rope(True),
        ),
        input_first=r"experts\.(gate_up|down)_proj$",
    ),
    FamilyCase(
        "gpt_oss_mxfp4",
        241,
        _shape(
            "GptOssForCausalLM",
            "gpt_oss",
            32,
            2,
            4,
            2,
            32,
            head_dim=16,
            num_local_experts=6,
            num_experts_per_tok=4,
            sliding_window=8,
            swiglu_limit=7.0,
            attention_bias=True,
            layer_types=["sliding_attention", "full_attention"],
            **_oss_rope(False),
        ),
        arch="gpt-oss",
        keys={
            "attention.sliding_window": 8,
            "expert_feed_forward_length": 32,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
        },
        input_first=r"experts\.(gate_up|down)_proj$",
        mxfp4=True,
    ),
    FamilyCase(
        "lfm2",
        242,
        _shape(
            "Lfm2ForCausalLM",
            "lfm2",
            40,
            4,
            5,
            1,
            36,
            rms_norm_eps=None,
            norm_eps=1e-5,
            rope_theta=1000000.0,
            conv_L_cache=3,
            block_auto_adjust_ff_dim=False,
            tie_word_embeddings=True,
            layer_types=["conv", "conv", "full_attention", "conv"],
        ),
        arch="lfm2",
        keys={"attention.head_count_kv": [0, 0, 1, 0], "shortconv.l_cache": 3},
    ),
    FamilyCase(
        "lfm2_adjusted",
        243,
        _shape(
            "Lfm2ForCausalLM",
            "lfm2",
            24,
            3,
            4,
            2,
            None,
            rms_norm_eps=None,
            norm_eps=1e-5,
            rope_theta=1000000.0,
            conv_L_cache=5,
            conv_bias=True,
            block_ff_dim=40,
            block_ffn_dim_multiplier=1.3,
            block_multiple_of=8,
            tie_word_embeddings=None,
            tie_embedding=False,
            full_attn_idxs=[1],
        ),
    ),
    FamilyCase(
        "mamba2",
        244,
        _MAMBA2,
        arch="mamba2",
        keys={
            "context_length": 1048576,
            "attention.head_count": 0,
            "feed_forward_length": 0,
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 64,
            "ssm.state_size": 12,
            "ssm.time_step_rank": 8,
            "ssm.group_count": 2,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": None,
        },
    ),
    FamilyCase(
        "mamba2_limits",
        245,
        _MAMBA2
        | {
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "expand": 3,
            "num_heads": 4,
            "head_dim": 18,
            "state_size": 20,
            "n_groups": 1,
            "conv_kernel": 3,
            "use_bias": True,
            "chunk_size": 8,
            "time_step_limit": [0.3, 1.1],
            "tie_word_embeddings": True,
        },
    ),
]
