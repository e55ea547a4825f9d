#!/usr/bin/env python3
"""Tests of bench/goals.py on small reports in the form that the other benches keep."""

import json
import sys
import tempfile
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import goals  # noqa: E402


def peer_row(model, test, ours, theirs, bandwidth=None, peak=None):
    return {"model": model, "test": test, "threads": 2, "lamina": ours, "peer": theirs, "bandwidth": [bandwidth], "peak": [peak]}


class Goals(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.page = self.folder / "page.md"
        self.page.write_text(f"before\n{goals.BEGIN}\nold\n{goals.END}\nafter\n")

    def table(self, name, report):
        """{goal: its other cells} of the page that a run over the report writes."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(report))
        with redirect_stdout(StringIO()):
            self.assertEqual(goals.main([f"--{name}", str(path), "--page", str(self.page)]), 0)
        text = self.page.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
        rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
        return {row[0]: row[1:] for row in rows[2:]}

    def test_ratios_within_rounds_and_who_misses(self):
        rows = [peer_row("SmolLM2-135M-Q8_0.gguf", "pp512", [300, 100, 500], [100, 50, 100], peak=0.3),
                peer_row("Qwen-Q8_0.gguf", "pp512", [150], [100], peak=0.7), peer_row("x-F16.gguf", "pp512", [160], [100])]  # fmt: skip
        table = self.table("peers", {"machine": "cpu (avx2)", "rows": rows})
        self.assertEqual(table["read 512 and 2048, block formats: beside llama.cpp"],
                         ["≥ 2.00x", "1.50x to 3.00x", "1 of 2 miss: Qwen-Q8_0 pp512 1.50x"])  # fmt: skip
        self.assertEqual(table["read 512 and 2048, f16: beside llama.cpp"][:3], ["≥ 1.50x", "1.60x", "met"])
        self.assertEqual(table["read 512, 0.5B: share of int8 peak"], ["≥ 60%", "70%", "met"])
        self.assertEqual(table["16 sequences at once: beside llama.cpp"][1].strip(), "not measured")

    def test_amx_has_its_own_bounds(self):
        rows = [peer_row("Q-Q8_0.gguf", "pp512", [220], [100])]
        table = self.table("peers", {"machine": "cpu (avx2, amx_int8)", "rows": rows})
        self.assertEqual(table["read 512 and 2048, block formats: beside llama.cpp"][0], "≥ 2.50x")

    def test_embeddings_against_the_best_sorted_peer(self):
        def times(arrival, ordered, query):
            return {"arrival": [arrival], "sorted": [ordered], "query": [query]}

        seconds = {"lamina-f32": times(5, 4, 0.002), "openvino-f32": times(20, 10, 0.003), "ctranslate2-f32": times(15, 12, 0.001)}
        table = self.table("embed", {"tokens": 100, "seconds": seconds, "cosines": {}})
        name = "512 texts as they come, float32: beside the best peer's sorted figure (openvino-f32)"
        self.assertEqual(table[name], ["≥ 1.30x", "2.00x", "met"])
        query = table["one short query, float32: beside the quickest peer (ctranslate2-f32)"]
        self.assertEqual(query, ["≤ 1.00 ms", "2.00 ms", "1 of 1 miss: lamina-f32 2.00 ms"])

    def test_loading_bounds_are_upper_ones(self):
        model = {"model": "SmolLM2-135M-Q4_1.gguf", "packed first": [0.1], "ratio": [1.5], "warm": [0.2], "peak": [1.0]}
        table = self.table("loading", {"models": [model]})
        self.assertEqual(table["load, cold: beside reading the file"], ["≤ 1.20x", "1.50x", "1 of 1 miss: SmolLM2-135M-Q4_1 1.50x"])
        self.assertEqual(table["load, warm"], ["≤ 0.30 s", "0.20 s", "met"])


if __name__ == "__main__":
    unittest.main()
