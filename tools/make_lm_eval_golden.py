#!/usr/bin/env python3
"""The scores that lm-eval's own backend gives for a folder in the Hugging Face layout, in float32, on the questions of
tests/e2e/lm_eval, into tests/e2e/lm_eval/expected.json. Needs torch, transformers and lm-eval. The folder holds the weights that
the test's model has, written out:

    build/lamina compress smollm2-135m --recipe "L*:f32 embed:f32" -o FOLDER
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from lm_eval_task import EXPECTED, evaluate  # noqa: E402


def main():
    if len(sys.argv) != 2:
        sys.exit("make_lm_eval_golden.py FOLDER")
    told = evaluate("hf", {"pretrained": sys.argv[1], "dtype": "float32", "device": "cpu"}, 8)
    told["log_probabilities"] = [[round(value, 6) for value in choices] for choices in told["log_probabilities"]]
    EXPECTED.write_text(json.dumps(told) + "\n")
    print(f"acc {told['acc']:.4f}, acc_norm {told['acc_norm']:.4f}")


if __name__ == "__main__":
    main()
