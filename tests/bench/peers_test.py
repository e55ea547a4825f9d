#!/usr/bin/env python3
"""Tests of bench/peers.py with stand-ins for both programs that print the documented JSON."""

import json
import os
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import peers  # noqa: E402


def lamina_rows(prompt_speed, decode_speed, depth=0):
    common = {"depth": depth, "batch": 1, "threads": 2, "min_tps": 1.0, "max_tps": 999.0}
    common |= {"bandwidth_share": 0.5, "peak_share": 0.1, "isa": "avx512-vnni", "recipe": ""}
    return {
        "rows": [
            common | {"test": "pp512", "tokens": 512, "median_tps": prompt_speed},
            common | {"test": "tg128", "tokens": 128, "median_tps": decode_speed},
        ]
    }


def peer_rows(prompt_speed, decode_speed, depth=0):
    return [
        {"n_prompt": 512, "n_gen": 0, "n_depth": depth, "samples_ts": [prompt_speed]},
        {"n_prompt": 0, "n_gen": 128, "n_depth": depth, "samples_ts": [decode_speed]},
    ]


class Peers(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.page = self.folder / "page.md"
        self.page.write_text(f"# Speed\n\n{peers.BEGIN}\nold\n{peers.END}\n\nafter\n")

    def program(self, name, reports, status=0):
        """A program that prints one report a call, in order, and writes its arguments down."""
        for number, report in enumerate(reports):
            (self.folder / f"{name}.{number}").write_text(json.dumps(report))
        path = self.folder / name
        path.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = --version ]; then echo "version: {name} 9"; exit 0; fi\n'
            f'echo "{name} $@" >> {self.folder}/calls\n'
            f"n=$(grep -c '^{name} ' {self.folder}/calls)\n"
            f"cat {self.folder}/{name}.$((n - 1))\n"
            f'echo "{name} says why" >&2\nexit {status}\n'
        )
        path.chmod(0o755)
        return path

    def run_main(self, lamina, peer, *more):
        arguments = ["m.gguf", "--lamina", str(lamina), "--llama-bench", str(peer), "--page", str(self.page)]
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = peers.main([*arguments, "--threads", "2", "--busy", "2", "--flash", "on", *more])
        return status, out.getvalue(), err.getvalue()

    def test_the_better_flash_setting_counts(self):
        lamina = self.program("lamina", [lamina_rows(100, 10)])
        peer = self.program("llama-bench", [peer_rows(50, 20), peer_rows(80, 5)])
        status, out, _ = self.run_main(lamina, peer, "--rounds", "1", "--flash", "on,off")
        self.assertEqual(status, 0)
        self.assertIn("| pp512 | 2 | 100.0 [100.0–100.0] | 80.0 [80.0–80.0] |", out)
        self.assertIn("| tg128 | 2 | 10.0 [10.0–10.0] | 20.0 [20.0–20.0] |", out)

    def test_several_sequences_at_once(self):
        batched = {"rows": [lamina_rows(1, 1)["rows"][1] | {"tokens": 64, "test": "tg64", "depth": 64, "batch": 4, "median_tps": 90.0}]}
        lamina = self.program("lamina", [lamina_rows(100, 10), batched])
        peer = self.program("llama-bench", [peer_rows(50, 20)])
        self.program("llama-batched-bench", [{"pp": 64, "tg": 64, "pl": 4, "speed_tg": 30.0}])
        status, out, err = self.run_main(lamina, peer, "--rounds", "1", "--batch", "4")
        self.assertEqual(status, 0, err)
        self.assertIn("| tg64 at 64, 4 sequences | 2 | 90.0 [90.0–90.0] | 30.0 [30.0–30.0] | 3.00", out)

    def test_sequences_alone(self):
        batched = {"rows": [lamina_rows(1, 1)["rows"][1] | {"tokens": 64, "test": "tg64", "depth": 64, "batch": 4, "median_tps": 90.0}]}
        lamina, peer = self.program("lamina", [batched]), self.program("llama-bench", [])
        self.program("llama-batched-bench", [{"pp": 64, "tg": 64, "pl": 4, "speed_tg": 30.0}])
        status, out, err = self.run_main(lamina, peer, "--rounds", "1", "--batch", "4", "--prompt", "0", "--generate", "0")
        self.assertEqual(status, 0, err)
        self.assertIn("| tg64 at 64, 4 sequences |", out)
        self.assertNotIn("pp512", out)

    def test_medians_ranges_and_ratios_within_rounds(self):
        lamina = self.program("lamina", [lamina_rows(100, 10), lamina_rows(300, 30), lamina_rows(200, 50)])
        peer = self.program("llama-bench", [peer_rows(50, 20), peer_rows(100, 10), peer_rows(200, 25)])
        status, out, _ = self.run_main(lamina, peer, "--rounds", "3")
        self.assertEqual(status, 0)
        self.assertIn("| pp512 | 2 | 200.0 [100.0–300.0] | 100.0 [50.0–200.0] | 2.00 [1.00–3.00] |", out)
        self.assertIn("| tg128 | 2 | 30.0 [10.0–50.0] | 20.0 [10.0–25.0] | 2.00 [0.50–3.00] |", out)
        self.assertIn("avx512-vnni", out)
        self.assertIn("llama.cpp llama-bench 9", out)
        self.assertNotIn("(busy)", out)

    def test_order_alternates(self):
        lamina = self.program("lamina", [lamina_rows(1, 1)] * 2)
        peer = self.program("llama-bench", [peer_rows(1, 1)] * 2)
        self.run_main(lamina, peer, "--rounds", "2")
        calls = [line.split()[0] for line in (self.folder / "calls").read_text().splitlines()]
        self.assertEqual(calls, ["lamina", "llama-bench", "llama-bench", "lamina"])

    def test_page_keeps_what_is_around_the_markers(self):
        lamina, peer = self.program("lamina", [lamina_rows(1, 1)]), self.program("llama-bench", [peer_rows(1, 1)])
        status, out, _ = self.run_main(lamina, peer, "--rounds", "1")
        self.assertEqual(status, 0)
        self.assertEqual(self.page.read_text(), f"# Speed\n\n{peers.BEGIN}\n{out}{peers.END}\n\nafter\n")

    def test_page_without_markers_is_refused_and_kept(self):
        self.page.write_text("mine\n")
        lamina, peer = self.program("lamina", [lamina_rows(1, 1)]), self.program("llama-bench", [peer_rows(1, 1)])
        status, _, err = self.run_main(lamina, peer, "--rounds", "1")
        self.assertEqual(status, 1)
        self.assertIn(peers.BEGIN, err)
        self.assertEqual(self.page.read_text(), "mine\n")

    def test_samples_are_kept_and_a_later_part_adds_to_them(self):
        kept = self.folder / "kept.json"
        lamina = self.program("lamina", [lamina_rows(100, 10), lamina_rows(30, 3, depth=64)])
        peer = self.program("llama-bench", [peer_rows(50, 20), peer_rows(10, 2, depth=64)])
        self.run_main(lamina, peer, "--rounds", "1", "--json", str(kept))
        status, out, err = self.run_main(lamina, peer, "--rounds", "1", "--depth", "64", "--json", str(kept))
        self.assertEqual(status, 0, err)
        rows = {row["test"]: row for row in json.loads(kept.read_text())["rows"]}
        self.assertEqual(sorted(rows), ["pp512", "pp512 at 64", "tg128", "tg128 at 64"])
        self.assertEqual((rows["pp512"]["lamina"], rows["pp512"]["peer"], rows["tg128"]["bandwidth"]), ([100.0], [50.0], [0.5]))
        self.assertIn("| tg128 | 2 | 10.0 [10.0–10.0] | 20.0 [20.0–20.0] | 0.50 [0.50–0.50] | 50% of read |", out)
        self.assertIn("| pp512 at 64 | 2 | 30.0 [30.0–30.0] | 10.0 [10.0–10.0] | 3.00 [3.00–3.00] | 10% of peak |", out)

    def test_depth_is_part_of_the_test_name(self):
        lamina = self.program("lamina", [lamina_rows(1, 1, depth=64)])
        peer = self.program("llama-bench", [peer_rows(1, 1, depth=64)])
        status, out, _ = self.run_main(lamina, peer, "--rounds", "1", "--depth", "64")
        self.assertEqual(status, 0)
        self.assertIn("| tg128 at 64 |", out)

    def test_different_tests_are_refused(self):
        lamina = self.program("lamina", [lamina_rows(1, 1, depth=64)])
        peer = self.program("llama-bench", [peer_rows(1, 1)])
        status, _, err = self.run_main(lamina, peer, "--rounds", "1")
        self.assertEqual(status, 1)
        self.assertIn("different tests", err)

    def test_failure_of_a_program_is_told(self):
        lamina = self.program("lamina", [lamina_rows(1, 1)], status=3)
        peer = self.program("llama-bench", [peer_rows(1, 1)])
        status, _, err = self.run_main(lamina, peer, "--rounds", "1")
        self.assertEqual(status, 1)
        self.assertIn("exit status 3: lamina says why", err)

    def test_missing_program_and_field(self):
        peer = self.program("llama-bench", [peer_rows(1, 1)])
        status, _, err = self.run_main(self.folder / "nothing", peer, "--rounds", "1")
        self.assertEqual(status, 1)
        self.assertIn("cannot be run", err)
        broken = self.program("lamina", [{"rows": [{"test": "pp512"}]}])
        status, _, err = self.run_main(broken, peer, "--rounds", "1")
        self.assertEqual(status, 1)
        self.assertIn("lacks", err)

    def test_llama_bench_is_found_under_the_variable(self):
        folder = self.folder / "build" / "bin"
        folder.mkdir(parents=True)
        (folder / "llama-bench").write_text("")
        os.environ["LLAMA_CPP"] = str(self.folder)
        self.addCleanup(os.environ.pop, "LLAMA_CPP")
        self.assertEqual(peers.find_llama_bench(None), folder / "llama-bench")

    def test_busy_rows_are_marked(self):
        samples = peers.Samples(lamina=[1.0], peer=[1.0], foreign=[0.5], isa="scalar")
        self.assertIn("50%, most 50% (busy)", peers.format_row(("m", 1, "pp1"), samples, 0.05))
        self.assertNotIn("busy", peers.format_row(("m", 1, "pp1"), samples, 0.6))

    def test_own_time_is_not_foreign(self):
        spin = self.folder / "spin"
        spin.write_text("#!/bin/sh\ni=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo '{}'\n")
        spin.chmod(0o755)
        busy, total = peers.read_jiffies()
        _, share = peers.run_json([str(spin)], 60)
        after_busy, after_total = peers.read_jiffies()
        self.assertLess(share, (after_busy - busy) / max(1, after_total - total))


if __name__ == "__main__":
    unittest.main()
