"""The tiny encoders of make_encoder_golden.py: classes of the reference library, configurations, and how files spell
the names of their tensors."""

import re
from dataclasses import dataclass

import numpy as np

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
_MPNET = _BERT | {"model_type": "mpnet", "pad_token_id": 1, "max_position_embeddings": 26}
_MPNET.pop("type_vocab_size")
_MPNET_WIDE = _MPNET | {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40, "num_hidden_layers": 3}
_NOMIC = {
    "model_type": "nomic_bert",
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "hidden_act": "silu",
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-3,
    "pad_token_id": 0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
}
_NOMIC_WIDE = _NOMIC | {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40}
_NOMIC_HUB = {
    "model_type": "nomic_bert",
    "vocab_size": 80,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_inner": 40,
    "activation_function": "swiglu",
    "n_positions": 24,
    "max_trained_positions": 24,
    "type_vocab_size": 2,
    "layer_norm_epsilon": 1e-3,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "causal": False,
    "qkv_proj_bias": False,
}
_MODERN = {
    "model_type": "modernbert",
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "hidden_activation": "gelu",
    "max_position_embeddings": 24,
    "norm_eps": 1e-3,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "cls_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "global_attn_every_n_layers": 3,
    "local_attention": 8,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 100.0,
}
_MODERN_SMALL = _MODERN | {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3}
_MODERN_BIASED = _MODERN | {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 3,
    "norm_bias": True,
    "attention_bias": True,
    "mlp_bias": True,
    "classifier_bias": True,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "hidden_activation": "silu",
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
    rename: tuple = ()  # (pattern, replacement) in the names of the stored file, as older files spell them
    fuse: tuple = ()  # endings of names whose tensors are stored as one, and the ending of that one
    stored_config: dict | None = None  # what config.json says, where older files spell it differently

    def stored(self, weights):
        """The tensors as the file has them."""
        tensors = {}
        for name, values in weights.items():
            for old, new in self.rename:
                name = re.sub(old, new, name)
            tensors[name] = values
        if self.fuse:
            *parts, whole = self.fuse
            for name in [name for name in tensors if name.endswith(parts[0])]:
                stem = name.removesuffix(parts[0])
                tensors[stem + whole] = np.concatenate([tensors.pop(stem + part) for part in parts])
        return tensors


_LAYER = r"(.*\.)?layers\.\d+"
# As the files of the model's authors spell the names.
_NOMIC_NAMES = (
    (r"^layers\.", "encoder.layers."),
    (r"^embeddings\.LayerNorm", "emb_ln"),
    (r"self_attn\.o_proj", "attn.out_proj"),
    (r"self_attn", "attn"),
    (r"up_proj", "fc11"),
    (r"gate_proj", "fc12"),
    (r"down_proj", "fc2"),
    (r"post_attention_layernorm", "norm1"),
    (r"post_mlp_layernorm", "norm2"),
)
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
        rename=((r"LayerNorm\.weight", "LayerNorm.gamma"), (r"LayerNorm\.bias", "LayerNorm.beta")),
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
    Case("mpnet", 312, "MPNetModel", _MPNET, "embeddings", _BERT_LAYER),
    Case("mpnet_masked_lm", 313, "MPNetForMaskedLM", _MPNET_WIDE, "mpnet.embeddings", _BERT_LAYER),
    Case(
        "mpnet_classifier",
        314,
        "MPNetForSequenceClassification",
        _MPNET | _LABELS,
        "mpnet.embeddings",
        _BERT_LAYER,
    ),
    Case("nomic_bert", 315, "NomicBertModel", _NOMIC, "embeddings", _LAYER, arch="nomic-bert"),
    Case(
        "nomic_bert_hub",
        316,
        "NomicBertModel",
        _NOMIC_WIDE,
        "embeddings",
        _LAYER,
        arch="nomic-bert",
        rename=_NOMIC_NAMES,
        fuse=(".attn.q_proj.weight", ".attn.k_proj.weight", ".attn.v_proj.weight", ".attn.Wqkv.weight"),
        stored_config=_NOMIC_HUB,
    ),
    Case("nomic_bert_masked_lm", 317, "NomicBertForMaskedLM", _NOMIC_WIDE, "nomic_bert.embeddings", _LAYER),
    Case(
        "nomic_bert_classifier",
        318,
        "NomicBertForSequenceClassification",
        _NOMIC | _LABELS,
        "nomic_bert.embeddings",
        _LAYER,
    ),
    Case("modernbert", 319, "ModernBertModel", _MODERN, "embeddings", _LAYER, arch="modern-bert"),
    Case("modernbert_biased", 320, "ModernBertModel", _MODERN_BIASED, "embeddings", _LAYER),
    Case("modernbert_masked_lm", 321, "ModernBertForMaskedLM", _MODERN_SMALL, "model.embeddings", _LAYER),
    Case(
        "modernbert_classifier",
        322,
        "ModernBertForSequenceClassification",
        _MODERN_SMALL | _LABELS | {"classifier_pooling": "mean"},
        "model.embeddings",
        _LAYER,
        arch="modern-bert",
    ),
    Case(
        "modernbert_classifier_cls",
        323,
        "ModernBertForSequenceClassification",
        _MODERN_BIASED | _LABELS | {"classifier_pooling": "cls", "classifier_activation": "relu"},
        "model.embeddings",
        _LAYER,
    ),
    Case("t5_encoder", 312, "T5EncoderModel", _T5, "encoder.embed_tokens", r"encoder\.block\.\d+"),
]
