"""Calls the program as a user does, and says what a good answer looks like."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "models"
LAMINA = pathlib.Path(os.environ.get("LAMINA", ROOT / "build" / "lamina"))


class CommandLineTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def call(self, *arguments, stdin="", timeout=120, **options):
        """The finished process; text is decoded, standard input is never the terminal."""
        command = [str(LAMINA), *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, **options)

    def succeed(self, *arguments, **options):
        done = self.call(*arguments, **options)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        return done.stdout

    def succeed_json(self, *arguments, **options):
        """The one object that --json prints."""
        text = self.succeed(*arguments, "--json", **options)
        self.assertEqual(text.count("\n"), 1, f"{arguments}: more than one line")
        value = json.loads(text)
        self.assertIsInstance(value, dict)
        return value

    def refuse(self, status, words, *arguments, **options):
        """Fails with `status` and one line `lamina: <where>: ...` that has all of `words`; prints nothing else."""
        done = self.call(*arguments, **options)
        said = f"{arguments}: status {done.returncode}, {done.stderr!r}"
        self.assertEqual(done.returncode, status, said)
        self.assertRegex(done.stderr, r"\Alamina: [^\n]+: [^\n]+\n\Z", said)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, done.stderr, said)
        self.assertEqual(done.stdout, "", said)
