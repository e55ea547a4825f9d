"""The GGUF form of an encoder of make_encoder_golden.py: names by the reference converter's own table."""

import gguf
import numpy as np

_ARCHS = {"bert": gguf.MODEL_ARCH.BERT, "nomic-bert": gguf.MODEL_ARCH.NOMIC_BERT, "modern-bert": gguf.MODEL_ARCH.MODERN_BERT}
# Names that the table knows by another spelling only; types have no place in it under theirs.
_RESPELLED = {
    "classifier.weight": "classifier.out_proj.weight",
    "classifier.bias": "classifier.out_proj.bias",
}
_SPLIT = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}


def _nomic_name(name):
    """Names of the reference library that the table, which knows those of the authors, lacks."""
    parts = name.split(".")
    if parts[0] != "layers":
        return name.replace("embeddings.LayerNorm", "emb_ln")
    known = {
        "post_attention_layernorm": "norm1",
        "post_mlp_layernorm": "norm2",
        "up_proj": "mlp.fc11",
        "gate_proj": "mlp.fc12",
        "down_proj": "mlp.fc2",
        "o_proj": "attn.out_proj",
    }
    if parts[-2] in known:
        return f"encoder.layers.{parts[1]}.{known[parts[-2]]}.{parts[-1]}"
    return f"blk.{parts[1]}.{_SPLIT[parts[-2]]}.{parts[-1]}"


def _add_rotary(writer, config, arch):
    if arch == "nomic-bert":
        writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
        writer.add_pooling_type(gguf.PoolingType.CLS)
    if arch != "modern-bert":
        return
    writer.add_rope_freq_base(config["global_rope_theta"])
    writer.add_float32(f"{arch}.rope.freq_base_swa", config["local_rope_theta"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    writer.add_sliding_window(config["local_attention"])
    writer.add_uint32(f"{arch}.attention.sliding_window_pattern", config["global_attn_every_n_layers"])
    writer.add_string(f"{arch}.hidden_activation", config["hidden_activation"])
    if "classifier_pooling" in config:
        writer.add_uint32(f"{arch}.classifier.pooling_type", {"mean": 1, "cls": 2}[config["classifier_pooling"]])


def write_gguf(path, case, weights):
    """RoBERTa's leading positions are cut off, as converters do."""
    config = case.config
    names = gguf.get_tensor_name_map(_ARCHS[case.arch], config["num_hidden_layers"])
    offset = config["pad_token_id"] + 1 if "roberta" in config["model_type"] else 0
    writer = gguf.GGUFWriter(path, case.arch)
    writer.add_name(f"golden {case.name}")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"] - offset)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config.get("layer_norm_eps", config.get("norm_eps")))
    writer.add_causal_attention(False)
    writer.add_vocab_size(config["vocab_size"])
    _add_rotary(writer, config, case.arch)
    for name, values in weights.items():
        name = name.removeprefix("model.")
        if name.startswith("pooler."):
            continue
        rows = values[offset:] if "position_embeddings" in name else values
        known = _RESPELLED.get(name, _nomic_name(name) if case.arch == "nomic-bert" else name)
        # Older readers look for the table of types under this name.
        target = names.get_name(known, try_suffixes=(".weight", ".bias")) or known
        writer.add_tensor(target, np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
