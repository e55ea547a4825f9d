"""Writes merge_reference.json: what numpy makes of small models by the rules in src/compress/merge_rules.h.

python3 tests/compress/make_merge_reference.py > tests/compress/merge_reference.json
"""

import json

import numpy as np

MASK = (1 << 64) - 1


def mixed(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def chances(seed, name, model, count):
    """The fractions that dare compares with its density."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    base = mixed((mixed(seed ^ value) + model) & MASK)
    return np.array([(mixed((base + (i + 1) * 0x9E3779B97F4A7C15) & MASK) >> 11) / 2.0**53 for i in range(count)])


def slerp(a, b, t):
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if np.sin(angle) <= 1e-4:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def ties(base, models, weights, density, scale):
    kept = []
    for model in models:
        difference = model - base
        count = max(1, int(np.floor(density * difference.size + 0.5)))
        least = np.sort(np.abs(difference))[-count]
        kept.append(np.where(np.abs(difference) >= least, difference, 0))
    kept = np.array(kept)
    weights = np.array(weights)[:, None]
    sign = np.sign((weights * kept).sum(axis=0))
    agree = (np.sign(kept) == sign) & (kept != 0)
    total = (weights * agree).sum(axis=0)
    mean = np.divide((weights * kept * agree).sum(axis=0), total, out=np.zeros_like(base), where=total != 0)
    return base + scale * mean


def dare(base, models, weights, density, scale, seed, name):
    total = np.zeros_like(base)
    for index, (model, weight) in enumerate(zip(models, weights)):
        kept = chances(seed, name, index, base.size) < density
        total += weight * np.where(kept, model - base, 0) / density
    return base + scale * total


def main():
    rng = np.random.default_rng(11)
    size = 64
    base = rng.standard_normal(size).astype(np.float32)
    models = [(base + 0.3 * rng.standard_normal(size)).astype(np.float32) for _ in range(3)]
    wide = base.astype(np.float64)
    two = [model.astype(np.float64) for model in models]
    weights = [0.5, 0.2, 0.3]
    cases = [
        {"kind": "linear", "weights": weights, "result": sum(w * m for w, m in zip(weights, two))},
        {"kind": "slerp", "t": 0.25, "models": 2, "result": slerp(two[0], two[1], 0.25)},
        {"kind": "slerp", "t": 0.25, "models": 2, "same": True, "result": two[0]},
        {"kind": "arithmetic", "weights": [1, 1, 1], "scale": 0.7, "result": wide + 0.7 * sum(m - wide for m in two)},
        {"kind": "ties", "weights": weights, "density": 0.2, "scale": 1.5, "result": ties(wide, two, weights, 0.2, 1.5)},
        {"kind": "ties", "weights": [1, 1, 1], "density": 1, "scale": 1, "result": ties(wide, two, [1, 1, 1], 1, 1)},
        {"kind": "dare", "weights": weights, "density": 0.4, "scale": 1, "seed": 7, "name": "3.mlp.up.0",
         "result": dare(wide, two, weights, 0.4, 1, 7, "3.mlp.up.0")},
    ]
    for case in cases:
        case["result"] = [float(x) for x in case["result"]]
    print(json.dumps({"base": [float(x) for x in base], "models": [[float(x) for x in m] for m in models], "cases": cases}, indent=1))


main()
