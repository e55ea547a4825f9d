"""Seeded random weights that do not depend on a library's version.

Only the raw 64-bit words of PCG64 are used (their stream is fixed by the algorithm); everything after that is
exact arithmetic. Parameters are filled in sorted order of their names.
"""

import re

import gguf
import numpy as np

_K_BLOCK = 256


class Draw:
    """Uniform numbers and bytes from the raw stream of PCG64."""

    def __init__(self, seed):
        self.bits = np.random.PCG64(seed)

    def uniform(self, shape, low, high):
        """float32 numbers in [low, high)."""
        count = int(np.prod(shape))
        unit = (self.bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return (low + (high - low) * unit).astype(np.float32).reshape(shape)

    def spread(self, shape, deviation):
        """float32 numbers, uniform around 0 with the given standard deviation."""
        half = deviation * 3.0**0.5
        return self.uniform(shape, -half, half)

    def integers(self, count, bound):
        return (self.bits.random_raw(count) >> np.uint64(32)).astype(np.int64) % bound

    def bytes(self, count):
        return np.frombuffer(self.bits.random_raw((count + 7) // 8).astype("<u8").tobytes(), np.uint8)[:count].copy()


def draw_parameter(draw, name, shape, eps):
    """One parameter by its Hugging Face name.

    q and k are strong enough that scores spread over several units; every fourth embedding row is so small that
    the norm's epsilon is a visible share of its mean square; biases stay away from 0.
    """
    if name.endswith("norm.weight"):
        return draw.uniform(shape, 0.5, 1.5)
    if name.endswith(".bias"):
        sign = np.where(draw.uniform(shape, -1.0, 1.0) < 0, np.float32(-1), np.float32(1))
        return sign * draw.uniform(shape, 0.2, 0.8)
    if name.endswith("embed_tokens.weight"):
        rows = draw.spread(shape, 1.0)
        rows[1::4] *= np.float32(3.0 * eps**0.5)
        return rows
    gains = {"q_proj": 1.7, "k_proj": 1.7, "o_proj": 0.7, "gate_proj": 1.5, "down_proj": 0.7, "lm_head": 2.0}
    gain = next((value for part, value in gains.items() if part in name), 1.0)
    return draw.spread(shape, gain / shape[1] ** 0.5)


def round_to_bf16(array):
    """float32 values rounded to the nearest bfloat16 (ties to even), as float32."""
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


# Per format of 256: bytes a block, offset of d, offset of dmin, dmin as a multiple of d that centres the values.
SUPER_LAYOUT = {
    "Q2_K": (84, 80, 82, 1.5),
    "Q3_K": (110, 108, None, 0.0),
    "Q4_K": (144, 0, 2, 7.5),
    "Q5_K": (176, 0, 2, 15.5),
    "Q6_K": (210, 208, None, 0.0),
    "IQ4_XS": (136, 0, None, 0.0),
    "IQ3_S": (110, 0, None, 0.0),
    "IQ3_XXS": (98, 0, None, 0.0),
    "IQ2_S": (82, 0, None, 0.0),
    "IQ2_XS": (74, 0, None, 0.0),
    "IQ2_XXS": (66, 0, None, 0.0),
}


def draw_super_blocks(draw, shape, codec, deviation):
    """Random valid rows of blocks of 256, uint8 [rows, bytes]: every scale and quant bit is random, only d and dmin are chosen.

    Values have about the given standard deviation; d differs from block to block and, where the format has signed
    scales, may be negative.
    """
    size, at_d, at_min, ratio = SUPER_LAYOUT[codec]
    rows, columns = shape
    count = rows * columns // _K_BLOCK
    blocks = draw.bytes(count * size).reshape(count, size)
    factor = draw.uniform((count,), 0.7, 1.3)
    if at_min is None:
        factor *= np.where(draw.integers(count, 2) == 0, np.float32(1), np.float32(-1))

    def set_scales(unit):
        blocks[:, at_d : at_d + 2] = (factor * unit).astype("<f2").view(np.uint8).reshape(count, 2)
        if at_min is not None:
            blocks[:, at_min : at_min + 2] = (factor * unit * ratio).astype("<f2").view(np.uint8).reshape(count, 2)

    kind = gguf.GGMLQuantizationType[codec]
    set_scales(np.float32(0.01))
    measured = float(gguf.quants.dequantize(blocks, kind).std(dtype=np.float64))
    # A power of two keeps the choice independent of the last bits of the measured deviation.
    set_scales(np.float32(0.01 * 2.0 ** round(np.log2(deviation / measured))))
    return blocks.reshape(rows, columns // _K_BLOCK * size)


# Gains of matrices by a part of their names, first match wins; 1 for the rest. Strong queries, keys and routers spread
# scores over several units; the last product of a sublayer keeps the stream from exploding.
_GAINS = (
    (r"\.(q_proj|k_proj|q_b_proj)\.", 1.7),
    (r"qkv_proj|query_key_value|c_attn", 1.5),
    (r"\.(o_proj|down_proj|w2|c_proj|dense|dense_4h_to_h)\.", 0.7),
    (r"(mlp|block_sparse_moe)\.gate\.weight", 3.0),
    (r"\.(gate_proj|w1|gate_up_proj)\.", 1.5),
    (r"lm_head|embed_out", 2.0),
    (r"mlp\.router\.", 3.0),
    (r"gate_up_proj$|mixer\.in_proj|conv\.in_proj", 1.5),
    (r"experts\.down_proj$|\.out_proj\.", 0.7),
)
_NORM = re.compile(r"norm(_f)?\.weight$|layernorm\.weight$|\.ln_\w+\.weight$")


def draw_named(draw, name, shape, norm_offset, input_first):
    """A parameter of any family by its name; norm_offset is what the model itself adds to norm weights."""
    if _NORM.search(name):
        return draw.uniform(shape, 0.5, 1.5) - np.float32(norm_offset)
    if name.endswith(".bias"):
        sign = np.where(draw.uniform(shape, -1.0, 1.0) < 0, np.float32(-1), np.float32(1))
        return sign * draw.uniform(shape, 0.1, 0.4)
    if name.endswith("correction_bias"):
        return draw.uniform(shape, -0.5, 0.5)
    if name.endswith("_proj_bias") or name.endswith("conv1d.bias"):
        return draw.uniform(shape, -0.4, 0.4)
    if name.endswith(".sinks"):
        return draw.uniform(shape, -1.0, 3.0)
    if re.search(r"\.(A_log|D|dt_bias)$", name):
        return draw.uniform(shape, -1.5, 1.5)
    if re.search(r"embed_tokens|embed_in|wte|wpe|embeddings", name):
        return draw.spread(shape, 1.0)
    gain = next((value for pattern, value in _GAINS if re.search(pattern, name)), 1.0)
    inputs = shape[-2] if input_first and re.search(input_first, name) else shape[-1]
    return draw.spread(shape, gain / inputs**0.5)
