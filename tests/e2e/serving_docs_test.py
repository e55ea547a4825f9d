#!/usr/bin/env python3
"""Runs every example of docs/serving.md: `sh start` fences line by line (each starts a server, which SIGTERM ends), `json config`
as a server's file, `sh server` and `python server` against one server; docs_test.py runs `sh` and `sh model`. A fence without a
mark is an error."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

from command_line import LAMINA, ROOT
from docs_test import fences
from served import CHAT, EMBEDDER, Server, need

need(["openai"], [CHAT, EMBEDDER])

PAGE = (ROOT / "docs" / "serving.md").read_text()
MARKS = ("sh", "sh model", "sh start", "sh server", "python server", "json config")
ADDRESS = "http://127.0.0.1:8080"


def of_mark(mark):
    return list(fences(PAGE, mark))


class ServingDocsTest(unittest.TestCase):
    def test_every_fence_has_a_mark(self):
        self.assertEqual(PAGE.count("\n```"), 2 * sum(len(of_mark(mark)) for mark in MARKS))

    def test_starts(self):
        commands = [line for _, script in of_mark("sh start") for line in script.splitlines()]
        self.assertTrue(commands)
        for command in commands:
            words = command.split("#")[0].split()
            self.assertEqual(words[:2], ["build/lamina", "serve"])
            self.assertEqual(Server(*words[2:], key=None).end(), 0)

    def test_config(self):
        for _, text in of_mark("json config"):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "serve.json"
                path.write_text(text)
                server = Server("--config", str(path), key=None)
                self.assertEqual([model["name"] for model in server.start["models"]],
                                 [name.split("=")[0] for name in json.loads(text)["models"]])
                server.process.send_signal(signal.SIGHUP)
                self.assertEqual(json.loads(server.get("/v1/models"))["data"][0]["queue"], json.loads(text)["queue"])
                self.assertEqual(server.end(), 0)

    def test_requests(self):
        server = Server(CHAT, EMBEDDER, key=None)
        self.addCleanup(server.close)
        scripts = [(line, ["bash", "-eu", "-o", "pipefail", "-c", script.replace("curl -s", "curl -sS --fail-with-body")])
                   for line, script in of_mark("sh server")]
        scripts += [(line, [sys.executable, "-c", script]) for line, script in of_mark("python server")]
        self.assertGreater(len(scripts), 3)
        for line, command in scripts:
            self.assertIn(ADDRESS, command[-1], line)
            command[-1] = command[-1].replace(ADDRESS, server.address)
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env={**os.environ, "LAMINA": str(LAMINA)})
            self.assertEqual(done.returncode, 0, f"docs/serving.md:{line}: {done.stdout}{done.stderr}")
            self.assertTrue(done.stdout.strip(), line)
        self.assertEqual(server.end(), 0)


if __name__ == "__main__":
    unittest.main()
