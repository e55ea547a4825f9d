#!/usr/bin/env python3
"""The numbered examples: their commands run, on the first layers of the store's chat model and short texts. Status 77 without it."""

import os
import pathlib
import signal
import subprocess
import sys
import unittest

from command_line import LAMINA, ROOT, CommandLineTest

MODEL = "smollm2-135m"
PAGES = sorted((ROOT / "examples").glob("[0-9]-*.md"))


class Examples(CommandLineTest):
    def measure(self, *arguments):
        command = [sys.executable, ROOT / "examples/measure.py", "--lamina", LAMINA, "--work", self.folder / "work", *arguments]
        # A group of its own: a page's server does not outlive a test that takes too long.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   start_new_session=True)
        try:
            out, error = process.communicate(timeout=580)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, error)

    def test_commands_run_and_pages_stay(self):
        small = self.folder / "small.gguf"
        self.succeed("compress", MODEL, "--recipe", "L0-5,10-:drop", "-o", small)
        before = [page.read_text() for page in PAGES]
        done = self.measure("--model", small, "--target", "37600K", "--quick")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([page.read_text() for page in PAGES], before)
        for word in ["preset.gguf", "chosen-rounded.gguf", "three-less.gguf", "guessed.jsonl"]:
            self.assertIn(word, done.stdout)

    def test_every_page_has_a_place_for_its_figures(self):
        self.assertEqual([page.name[0] for page in PAGES], ["1", "2", "3"])
        for page in PAGES:
            self.assertRegex(page.read_text(), r"(?s)\n<!-- figures -->\n.+\n<!-- /figures -->\n\Z")

    def test_figures_of_another_model_are_not_written(self):
        done = self.measure("--model", "other")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--quick", done.stderr)


if __name__ == "__main__":
    home = pathlib.Path(os.environ.get("LAMINA_HOME", pathlib.Path.home() / ".cache" / "lamina"))
    if not (home / "models" / MODEL).is_dir():
        print(f"skipped: the store has no {MODEL}; `lamina pull {MODEL}` fetches it")
        sys.exit(77)
    unittest.main()
