#!/usr/bin/env python3
"""lm-eval through its `local-completions` client, unchanged, against the scores that its own backend gives for the same weights
(tools/make_lm_eval_golden.py): prompts as tokens, echoed with their log probabilities."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from command_line import LAMINA
from served import CHAT, KEY, Server, need

need(["lm_eval", "transformers", "aiohttp"], [CHAT])

from lm_eval_task import EXPECTED, evaluate  # noqa: E402


class LmEvalTest(unittest.TestCase):
    def test_scores(self):
        with tempfile.TemporaryDirectory() as folder:
            # The tokenizer, as the client wants it; the recipe keeps the folder small.
            subprocess.run([str(LAMINA), "compress", CHAT, "-o", f"{folder}/model"], check=True, capture_output=True)
            for name in pathlib.Path(folder, "model").glob("*.safetensors"):
                name.unlink()
            server = Server(f"chat={CHAT}", "--ctx", "512", "--activations", "f32", "--recipe", "kv:f32")
            self.addCleanup(server.close)
            os.environ["OPENAI_API_KEY"] = KEY
            told = evaluate("local-completions", {"model": "chat", "base_url": server.address + "/v1/completions", "tokenizer": f"{folder}/model",
                                                  "num_concurrent": 8, "max_length": 512, "max_retries": 1}, 1)
            self.assertEqual(server.end(), 0)
        expected = json.loads(EXPECTED.read_text())
        worst = max(abs(a - b) for mine, theirs in zip(told["log_probabilities"], expected["log_probabilities"]) for a, b in zip(mine, theirs))
        print(f"acc {told['acc']:.4f} for {expected['acc']:.4f}, acc_norm {told['acc_norm']:.4f} for {expected['acc_norm']:.4f}, "
              f"largest difference of a log probability {worst:.2g}")
        self.assertLess(abs(told["acc"] - expected["acc"]), 0.001)
        self.assertLess(abs(told["acc_norm"] - expected["acc_norm"]), 0.001)
        self.assertLess(worst, 0.002)


if __name__ == "__main__":
    unittest.main()
