"""Writes metrics_reference.json: figures by numpy and scipy for the tests of eval (pip install numpy scipy)."""

import json
import pathlib

import numpy
import scipy.special
import scipy.stats

MASK = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011)."""
    a, b, c, d = counter
    k, l = key
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k, q & MASK, (p >> 32) ^ d ^ l, p & MASK
        k, l = (k + 0x9E3779B9) & MASK, (l + 0xBB67AE85) & MASK
    return a, b, c, d


def unit(seed, step):
    words = philox((step & MASK, step >> 32, 0, 0), (seed & MASK, seed >> 32))
    return ((words[1] << 32 | words[0]) >> 11) * 2.0**-53


def resample_indices(seed, resamples, windows):
    return [[int(unit(seed, r * windows + k) * windows) for k in range(windows)] for r in range(resamples)]


def bootstrap(windows, indices, statistic):
    results = [statistic(numpy.concatenate([windows[i] for i in drawn])) for drawn in indices]
    return [float(x) for x in numpy.percentile(results, [2.5, 97.5])]


def rows(random):
    cases = []
    for scale in (0.1, 3.0, 30.0, 300.0):
        reference = (random.standard_normal(40) * scale).astype(numpy.float32)
        model = (reference + random.standard_normal(40) * 0.3 * scale).astype(numpy.float32)
        target = int(random.integers(40))
        p = scipy.special.softmax(reference.astype(numpy.float64))
        log_q = scipy.special.log_softmax(model.astype(numpy.float64))
        log_p = scipy.special.log_softmax(reference.astype(numpy.float64))
        cases.append({
            "reference": [float(x) for x in reference],
            "model": [float(x) for x in model],
            "target": target,
            "nll": float(-log_q[target]),
            "kl": float(numpy.sum(numpy.where(p > 0, p * (log_p - log_q), 0.0))),
            "same": bool(reference.argmax() == model.argmax()),
        })
    return cases


def summary(random):
    seed, resamples = 2**40 + 12345, 400
    lengths = [5, 9, 1, 12, 7, 7, 30, 2, 11, 16]
    windows = [random.gamma(2.0, 1.0, n) + random.normal(0, 0.3) for n in lengths]
    other = [w + random.normal(0.1, 0.2, len(w)) for w in windows]
    indices = resample_indices(seed, resamples, len(windows))
    flat = numpy.concatenate(windows)
    differences = [o - w for o, w in zip(other, windows)]
    independent = scipy.stats.bootstrap(
        ([w.sum() for w in windows], lengths), lambda s, n: numpy.sum(s) / numpy.sum(n), paired=True,
        vectorized=False, method="percentile", n_resamples=9999, random_state=1).confidence_interval
    return {
        "seed": seed,
        "resamples": resamples,
        "windows": [[float(x) for x in w] for w in windows],
        "other": [[float(x) for x in w] for w in other],
        "mean": float(flat.mean()),
        "mean_interval": bootstrap(windows, indices, numpy.mean),
        "mean_interval_scipy": [float(independent.low), float(independent.high)],
        "p99": float(numpy.quantile(flat, 0.99)),
        "p99_interval": bootstrap(windows, indices, lambda x: numpy.quantile(x, 0.99)),
        "p30": float(numpy.quantile(flat, 0.3)),
        "p30_interval": bootstrap(windows, indices, lambda x: numpy.quantile(x, 0.3)),
        "perplexity": float(numpy.exp(flat.mean())),
        "perplexity_interval": [float(numpy.exp(x)) for x in bootstrap(windows, indices, numpy.mean)],
        "difference": float(numpy.concatenate(differences).mean()),
        "difference_interval": bootstrap(differences, indices, numpy.mean),
    }


def main():
    random = numpy.random.default_rng(5)
    data = {"rows": rows(random), "summary": summary(random)}
    path = pathlib.Path(__file__).with_name("metrics_reference.json")
    path.write_text(json.dumps(data, indent=1) + "\n")


main()
