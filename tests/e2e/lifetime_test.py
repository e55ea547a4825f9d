#!/usr/bin/env python3
"""`lamina serve` and `lamina load` with a tiny model: what a process must stand, and what is measured of it."""

import json
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from command_line import LAMINA

MODEL = pathlib.Path(__file__).resolve().parents[1] / "golden/models/qwen2/model.gguf"
PROMPT = [(7 * i) % 101 for i in range(150)]


class Server:
    def __init__(self, *arguments):
        command = [str(LAMINA), "serve", f"tiny={MODEL}", "--port", "0", "--json", "--log", "off", "--ctx", "256", "--threads", "1", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.communicate()[1])
        self.url = json.loads(line)["address"]

    def ask(self, path, body=None):
        """(status, answer)"""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def complete(self, prompt=None, tokens=8):
        status, answer = self.ask("/v1/completions", {"prompt": prompt or PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True})
        assert status == 200, answer
        return answer["choices"][0]["text"]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


class ServeTest(unittest.TestCase):
    def serve(self, *arguments):
        server = Server(*arguments)
        self.addCleanup(lambda: server.process.poll() is None and server.end())
        return server

    def test_killed_while_it_saves(self):
        draw = random.Random(3)
        with tempfile.TemporaryDirectory() as folder:
            wanted = None
            for _ in range(6):
                server = self.serve("--sessions", folder)
                for file in pathlib.Path(folder).glob("*.session"):  # each is whole, whenever the one before it was killed
                    status, answer = server.ask("/admin/sessions", {"action": "restore", "name": file.stem})
                    self.assertEqual((status, answer.get("tokens")), (200, 150), answer)
                said = server.complete()
                wanted = wanted or said
                self.assertEqual(said, wanted)

                def save(server=server):
                    try:
                        for i in range(10000):
                            server.ask("/admin/sessions", {"action": "save", "name": f"s{i % 2}", "prompt": PROMPT})
                    except OSError:
                        pass

                thread = threading.Thread(target=save)
                thread.start()
                time.sleep(0.05 + draw.random() * 0.1)
                self.assertEqual(server.end(signal.SIGKILL), -signal.SIGKILL)
                thread.join()
            self.assertTrue(list(pathlib.Path(folder).glob("*.session")))

    def test_an_idle_model_leaves_and_comes_back(self):
        server = self.serve("--unload-idle", 1)
        wanted = server.complete()
        for _ in range(2):
            end = time.monotonic() + 20
            while server.ask("/v1/models")[1]["data"][0]["loaded"] and time.monotonic() < end:
                time.sleep(0.1)
            self.assertFalse(server.ask("/v1/models")[1]["data"][0]["loaded"])
            self.assertEqual(server.complete(), wanted)
            self.assertTrue(server.ask("/v1/models")[1]["data"][0]["loaded"])

    def test_an_idle_server_uses_no_processor(self):
        server = self.serve()
        server.complete()
        time.sleep(0.3)

        def used():
            fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])  # hundredths of a second

        before = used()
        time.sleep(2)
        self.assertLessEqual(used() - before, 1)


class LoadTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--parallel", "4")

    @classmethod
    def tearDownClass(cls):
        assert cls.server.end() == 0

    def load(self, *arguments, status=0, url=None):
        done = subprocess.run([str(LAMINA), "load", url or self.server.url, "--json", *map(str, arguments)], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def test_closed_loop(self):
        report = self.load("--route", "completions", "--requests", 12, "--concurrency", 4, "--words", 8, "--tokens", 10, "--each")
        self.assertEqual((report["requests"], report["answered"], report["errors"]), (12, 12, {}))
        self.assertEqual(report["output_tokens"], 120)
        self.assertEqual(len(report["each"]), 12)
        self.assertEqual(report["good"], 12)
        for name in ("first_token", "token_gap", "end_to_end"):
            values = [report[name][key] for key in ("p50", "p90", "p95", "p99", "max")]
            self.assertEqual(values, sorted(values))
            self.assertGreater(values[0], 0)
        self.assertAlmostEqual(report["output_tokens_per_second"], 120 / report["seconds"], places=3)
        for row in report["each"]:
            self.assertLess(row["first_token"], row["end_to_end"])

    def test_open_loop_counts_from_when_a_request_was_due(self):
        report = self.load("--route", "completions", "--requests", 20, "--rate", 40, "--arrivals", "even", "--words", 4, "--tokens", 4, "--each")
        due = [row["due"] for row in report["each"]]
        for i, at in enumerate(due):
            self.assertAlmostEqual(at, i / 40, places=6)
        self.assertGreaterEqual(report["seconds"], 19 / 40)

    def test_goodput_under_limits(self):
        none = self.load("--route", "completions", "--requests", 3, "--words", 4, "--tokens", 4, "--end-ms", 0.1)
        self.assertEqual((none["good"], none["goodput"], none["answered"]), (0, 0, 3))
        every = self.load("--route", "completions", "--requests", 3, "--words", 4, "--tokens", 4, "--first-ms", 60000, "--gap-ms", 60000)
        self.assertEqual(every["good"], 3)

    def test_requests_of_a_file_and_errors(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            for body in ({"prompt": "the cat", "max_tokens": 3}, {"prompt": "the cat", "max_tokens": 3, "stream": False}, {"prompt": "x", "frobnicate": 1}):
                file.write(json.dumps(body) + "\n")
            file.flush()
            report = self.load("--file", file.name, url=self.server.url + "/v1/completions")
        self.assertEqual((report["requests"], report["answered"]), (3, 2))
        self.assertIn("frobnicate", " ".join(report["errors"]))

    def test_nobody_there(self):
        done = subprocess.run([str(LAMINA), "load", "http://127.0.0.1:9", "--requests", "2"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no request was answered", done.stderr)


if __name__ == "__main__":
    unittest.main()
