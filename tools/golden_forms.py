"""What tensors of the Hugging Face layout become in a GGUF file where more than the name changes, and MXFP4 in both."""

import re

import gguf
import numpy as np

_FUSED = re.compile(r"(.*\.experts\.)(gate_up_proj|down_proj)(_bias)?")
MXFP4 = gguf.GGMLQuantizationType.MXFP4


def is_expert_matrix(name):
    """Whether the tensor stacks the matrices of experts, inputs first."""
    fused = _FUSED.fullmatch(name)
    return bool(fused) and not fused[3]


def gguf_parts(name, values, config):
    """[(name in the style of the Hugging Face layout, array)]: one tensor may become two."""
    fused = _FUSED.fullmatch(name)
    if fused:
        suffix = ".bias" if fused[3] else ".weight"
        rows = values if fused[3] else values.swapaxes(1, 2)
        if fused[2] == "down_proj":
            return [(fused[1] + "down_proj" + suffix, np.ascontiguousarray(rows))]
        return [(fused[1] + part + suffix, np.ascontiguousarray(rows[:, i::2])) for i, part in enumerate(("gate_proj", "up_proj"))]
    if name.endswith(".sinks"):
        return [(name + ".weight", values)]
    if name.endswith("conv1d.weight") or name.endswith("conv.conv.weight"):
        return [(name, values.squeeze(1))]
    if name.endswith(".A_log"):
        return [(name, -np.exp(values).reshape(-1, 1))]
    if name.endswith("mixer.D"):
        return [(name, values.reshape(-1, 1))]
    if name.endswith("mixer.norm.weight"):
        return [(name, values.reshape(config["n_groups"], -1))]
    if name.endswith(".dt_bias"):
        return [(name.replace(".dt_bias", ".dt_proj.bias"), values)]
    return [(name, values)]


def gguf_kind(name, values, mxfp4):
    """How a tensor of the GGUF file is stored: matrices as bfloat16, experts perhaps as MXFP4, the rest as float32."""
    if mxfp4 and name.endswith("_exps.weight"):
        return MXFP4
    plain = values.ndim == 1 or name.endswith(".bias") or re.search(r"ssm_(conv1d|a|d|norm)|shortconv\.conv", name)
    return gguf.GGMLQuantizationType.F32 if plain else gguf.GGMLQuantizationType.BF16


def round_to_mxfp4(values):
    """Experts' matrices, inputs first, rounded to numbers that MXFP4 holds in blocks along the inputs."""
    rows = np.ascontiguousarray(values.swapaxes(-1, -2))
    return np.ascontiguousarray(gguf.quants.dequantize(gguf.quants.quantize(rows, MXFP4), MXFP4).swapaxes(-1, -2))


def folder_mxfp4(name, values):
    """The two tensors that a folder keeps a stack of such matrices in: pairs of numbers, and exponents of 32 each."""
    rows = np.ascontiguousarray(values.swapaxes(1, 2))
    blocks = gguf.quants.quantize(rows, MXFP4).reshape(*rows.shape[:2], rows.shape[2] // 32, 17)
    numbers = np.concatenate([blocks[..., 1:] & 15, blocks[..., 1:] >> 4], axis=-1)
    pairs = numbers[..., 0::2] | (numbers[..., 1::2] << 4)
    return {name + "_blocks": np.ascontiguousarray(pairs), name + "_scales": np.ascontiguousarray(blocks[..., 0])}
