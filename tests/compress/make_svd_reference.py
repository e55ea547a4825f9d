"""Writes svd_reference.json: singular values of weighed matrices and the errors of their best products, by numpy (LAPACK).

python3 tests/compress/make_svd_reference.py > tests/compress/svd_reference.json
"""

import json

import numpy as np


ROWS = 40


def gram_case(rng, outputs, inputs, rank):
    """Inputs that correlate: the root is that of their mean products, a ten thousandth of the mean diagonal added."""
    matrix = rng.standard_normal((outputs, inputs)).astype(np.float32)
    rows = rng.standard_normal((ROWS, inputs)) @ rng.standard_normal((inputs, inputs))
    gram = rows.T @ rows
    root = np.linalg.cholesky(gram / ROWS + 1e-4 * np.trace(gram / ROWS) / inputs * np.eye(inputs))
    u, s, vt = np.linalg.svd(matrix.astype(np.float64) @ root, full_matrices=False)
    product = np.linalg.solve(root.T, ((u[:, :rank] * s[:rank]) @ vt[:rank]).T).T
    return {
        "outputs": outputs, "inputs": inputs, "rank": rank, "weights": [],
        "matrix": [float(x) for x in matrix.ravel()],
        "gram": [float(gram[i, j]) for i in range(inputs) for j in range(i + 1)], "rows": ROWS,
        "singular": [float(x) for x in s],
        "product": [float(x) for x in product.ravel()],
    }


def case(rng, outputs, inputs, rank, weighed, noise=0.1):
    matrix = rng.standard_normal((outputs, 3)) @ rng.standard_normal((3, inputs)) + noise * rng.standard_normal((outputs, inputs))
    matrix = matrix.astype(np.float32)
    weights = np.exp(rng.standard_normal(inputs)) if weighed else np.ones(inputs)
    wide = matrix.astype(np.float64) * weights
    u, s, vt = np.linalg.svd(wide, full_matrices=False)
    product = (u[:, :rank] * s[:rank]) @ vt[:rank] / weights
    return {
        "outputs": outputs, "inputs": inputs, "rank": rank,
        "matrix": [float(x) for x in matrix.ravel()],
        "weights": [float(x) for x in weights] if weighed else [],
        "singular": [float(x) for x in s],
        "product": [float(x) for x in product.ravel()],
        "error": float(np.sqrt((s[rank:] ** 2).sum())),
    }


def main():
    rng = np.random.default_rng(5)
    cases = [case(rng, 6, 10, 3, False), case(rng, 10, 6, 4, True), case(rng, 7, 7, 2, True), case(rng, 5, 12, 5, True), case(rng, 12, 5, 3, True, 0)]
    cases += [gram_case(rng, 6, 9, 3), gram_case(rng, 9, 6, 4), gram_case(rng, 8, 8, 1)]
    print(json.dumps(cases, indent=1))


main()
