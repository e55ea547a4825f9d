#!/usr/bin/env python3
"""How `lamina serve` is set up and run: the file of --config, what SIGHUP changes, HTTPS, request ids, the limits, and what
packaging/ holds. With a tiny model, so that nothing of the store is needed."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from command_line import GOLDEN, LAMINA, ROOT, CommandLineTest
from served import Server

MODEL = GOLDEN / "qwen2" / "model.gguf"
CERTIFICATES = ROOT / "tests" / "e2e" / "tls"
PACKAGING = ROOT / "packaging"


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


class ServeTest(CommandLineTest):
    def config(self, **fields):
        path = self.folder / "serve.json"
        path.write_text(json.dumps(fields))
        return path

    def start(self, *arguments, key=None):
        server = Server(*map(str, arguments), key=key)
        self.addCleanup(server.close)
        return server

    def status(self, server, path="/v1/models", **headers):
        """The answer's status and headers."""
        try:
            with urllib.request.urlopen(urllib.request.Request(server.address + path, headers=headers), timeout=10) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers

    def refused(self, message, **fields):
        self.assertIn(message, self.fail_with(2, "serve", "--config", self.config(**fields)))

    def fail_with(self, status, *arguments):
        done = self.call(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def test_a_file_holds_every_option(self):
        names = re.findall(r"(?m)^  (?:-\w,)?--([a-z-]+)", self.succeed("serve", "--help"))
        told = self.fail_with(2, "serve", "--config", self.config(frobnicate=1))
        self.assertIn('serve.json: "frobnicate" is no option of this command', told)
        listed = re.search(r"its fields are (.*)", told)[1].strip().split(", ")
        self.assertEqual(sorted(listed), sorted(["models"] + [name.replace("-", "_") for name in names if name not in ("help", "config")]))

    def test_a_file_starts_a_server(self):
        path = self.config(models=[f"one={MODEL}", f"two={MODEL}"], ctx=64, parallel=2, queue=3, api_key=["first", "second"],
                           cache_tokens=256, watch_every=4, threads=1)
        server = self.start("--config", path, "--parallel", "3")
        self.assertEqual([(model["name"], model["context"], model["parallel"]) for model in server.start["models"]],
                         [("one", 64, 3), ("two", 64, 3)])  # the command line goes before the file
        self.assertEqual(self.status(server)[0], 401)
        self.assertEqual(self.status(server, Authorization="Bearer second")[0], 200)
        self.assertEqual(server.end(), 0)

    def test_what_a_file_gets_wrong(self):
        self.refused("serve.json: port: ", models=[str(MODEL)], port=70000)
        self.refused("serve.json: log: ", models=[str(MODEL)], log="loud")
        self.refused("serve.json: host: holds a list; one value expected", models=[str(MODEL)], host=["a"])
        self.refused("serve.json: host: holds object", models=[str(MODEL)], host={})
        self.refused("MODEL: none is named", port=0)
        self.refused("--host: 0.0.0.0 can be reached by others", models=[str(MODEL)], host="0.0.0.0")
        self.refused("--tls-cert: it goes with --tls-key", models=[str(MODEL)], tls_cert="x")
        path = self.folder / "broken.json"
        for text, message in (("{", "is not JSON"), ("[]", "an object expected"), ('{"port": 1, "port": 2}', 'has the field "port" twice')):
            path.write_text(text)
            self.assertIn(message, self.fail_with(2, "serve", "--config", path))
        self.assertIn("cannot be opened", self.fail_with(1, "serve", "--config", self.folder / "none.json"))

    def test_reload(self):
        keys = self.folder / "keys"
        keys.write_text("old\n")
        fields = {"models": [str(MODEL)], "api_key_file": str(keys), "ctx": 64}
        server = self.start("--config", self.config(**fields))
        self.assertEqual(self.status(server, Authorization="Bearer old")[0], 200)
        keys.write_text("new\n")
        self.config(**fields, parallel=2, queue=1, cors=["https://friend.example"])
        server.process.send_signal(signal.SIGHUP)
        self.assertTrue(until(lambda: any("read again" in line for line in server.log)))
        self.assertIn("these wait for the next start: parallel\n", next(line for line in server.log if "read again" in line))
        self.assertEqual(self.status(server, Authorization="Bearer old")[0], 401)
        status, headers = self.status(server, Authorization="Bearer new", Origin="https://friend.example")
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, "https://friend.example"))
        with urllib.request.urlopen(urllib.request.Request(server.address + "/v1/models", headers={"Authorization": "Bearer new"})) as answer:
            self.assertEqual(json.load(answer)["data"][0]["queue"], 1)
        keys.write_text("")
        server.process.send_signal(signal.SIGHUP)
        self.assertTrue(until(lambda: any("nothing has changed" in line for line in server.log)))
        self.assertEqual(self.status(server, Authorization="Bearer new")[0], 200)
        self.assertEqual(server.end(), 0)

    def test_https(self):
        server = self.start(MODEL, "--tls-cert", CERTIFICATES / "certificate.pem", "--tls-key", CERTIFICATES / "key.pem", key="secret")
        self.assertTrue(server.address.startswith("https://127.0.0.1:"))
        context = ssl.create_default_context(cafile=CERTIFICATES / "certificate.pem")
        request = urllib.request.Request(server.address + "/v1/models", headers={"Authorization": "Bearer secret"})
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            self.assertEqual(answer.status, 200)
        server.process.send_signal(signal.SIGHUP)
        self.assertTrue(until(lambda: any("read again" in line for line in server.log)))
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            self.assertEqual(answer.status, 200)
        self.assertEqual(server.end(), 0)
        self.assertIn("other_key.pem", self.fail_with(
            2, "serve", MODEL, "--tls-cert", CERTIFICATES / "certificate.pem", "--tls-key", CERTIFICATES / "other_key.pem"))

    def test_request_ids(self):
        server = self.start(MODEL)
        _, headers = self.status(server, **{"X-Request-Id": "mine-1"})
        self.assertEqual(headers["X-Request-Id"], "mine-1")
        for strange in ("with space", "x" * 200, 'quo"te'):
            told = self.status(server, **{"X-Request-Id": strange})[1]["X-Request-Id"]
            self.assertRegex(told, r"^[0-9a-f]{16}-\d+$")
        self.assertEqual(self.status(server, "/nowhere", **{"X-Request-Id": "mine-2"})[1]["X-Request-Id"], "mine-2")
        self.assertEqual(server.end(), 0)
        ids = [json.loads(line)["id"] for line in server.log if line.startswith("{")]
        self.assertEqual((ids[0], ids[-1], len(ids)), ("mine-1", "mine-2", 5))

    def test_limits(self):
        server = self.start(MODEL, "--body-bytes", 2048, "--header-bytes", 2048, "--connections", 2, "--idle-seconds", 1,
                            "--request-seconds", 1)
        body = json.dumps({"content": "a" * 4000})
        request = urllib.request.Request(server.address + "/tokenize", body.encode(), {"Content-Type": "application/json"})
        with self.assertRaises(urllib.error.HTTPError) as found:
            urllib.request.urlopen(request, timeout=10)
        self.assertEqual(found.exception.code, 413)
        self.assertEqual(self.status(server, "/health", **{"X-Long": "a" * 3000})[0], 431)
        host, port = server.address.removeprefix("http://").split(":")
        idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(2)]
        self.assertTrue(until(lambda: self.status(server, "/health")[0] == 503))
        for one in idle:
            self.assertTrue(one.recv(1) in (b"", b"H"))  # the time for a request is over
            one.close()
        self.assertTrue(until(lambda: self.status(server, "/health")[0] == 200))
        self.assertEqual(server.end(), 0)

    def test_a_full_queue_says_when_to_come_again(self):
        server = self.start(MODEL, "--ctx", 256, "--parallel", 1, "--queue", 1)
        host, port = server.address.removeprefix("http://").split(":")
        body = json.dumps({"prompt": "a", "max_tokens": 250, "ignore_eos": True, "stream": True})
        held, refused = [], None
        for _ in range(8):
            connection = http.client.HTTPConnection(host, int(port), timeout=30)
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            held.append(connection)
            if answer.status == 429:
                refused = answer
                break
        for connection in held:
            connection.close()
        self.assertIsNotNone(refused)
        self.assertEqual(refused.headers["Retry-After"], "1")

    def test_vectors_are_those_of_sentence_transformers(self):
        """Goldens that the library wrote (tools/make_embed_golden.py)."""
        compared = 0
        for name, recipe in (("dense", ""), ("pooling", ""), ("decoder", "kv:f32")):
            folder = GOLDEN.parent / "embed" / name
            server = self.start(folder, "--activations", "f32", "--recipe", recipe)
            for case in json.loads((folder / "expected.json").read_text()):
                if case["pooling"]:
                    continue  # the server pools as the model's own files say
                body = {"input": case["texts"], "truncate": True, "dimensions": case["dimensions"] or None, "prompt_name": case["prompt_name"] or None}
                request = urllib.request.Request(server.address + "/v1/embeddings", json.dumps(body).encode(), {"Content-Type": "application/json"})
                try:
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        told = [entry["embedding"] for entry in json.load(answer)["data"]]
                except urllib.error.HTTPError as error:
                    self.assertIn("dimensions", error.read().decode())  # the model was not trained for cut vectors
                    continue
                for mine, theirs in zip(told, case["vectors"], strict=True):
                    scale = max(map(abs, theirs))
                    self.assertLess(max(abs(a - b) for a, b in zip(mine, theirs, strict=True)), 2e-5 * scale, (name, case["texts"]))
                    compared += 1
            self.assertEqual(server.end(), 0)
        self.assertGreater(compared, 10)

    def test_hang_up_ends_a_server_without_files(self):
        server = self.start(MODEL)
        server.process.send_signal(signal.SIGHUP)
        self.assertEqual(server.wait(), -signal.SIGHUP)


class PackagingTest(CommandLineTest):
    def test_configs_are_of_this_program(self):
        for name in ("serve.json", "container.json"):
            fields = json.loads((PACKAGING / name).read_text())
            self.assertTrue(fields.pop("models"))
            keys = self.folder / "keys"
            keys.write_text("secret\n")
            fields |= {"models": [str(MODEL)], "port": 0}
            if "api_key_file" in fields:
                fields["api_key_file"] = str(keys)
            path = self.folder / name
            path.write_text(json.dumps(fields))
            process = subprocess.Popen([str(LAMINA), "serve", "--config", str(path)], stdout=subprocess.PIPE, text=True)
            self.addCleanup(process.kill)
            for line in process.stdout:
                if "listening on" in line:
                    break
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 0)
            process.stdout.close()

    def test_the_unit(self):
        text = (PACKAGING / "lamina.service").read_text()
        command = re.search(r"(?m)^ExecStart=(.*)$", text)[1].split()
        self.assertEqual(command[:2], ["/usr/local/bin/lamina", "serve"])
        known = self.succeed("serve", "--help")
        for option in (word for word in command if word.startswith("--")):
            self.assertIn(f"  {option} ", known)
        if shutil.which("systemd-analyze") is None:
            self.skipTest("this machine has no systemd-analyze")
        unit = self.folder / "lamina.service"
        unit.write_text(text.replace("/usr/local/bin/lamina", str(LAMINA)))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)], capture_output=True, text=True,
                              env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_container_file(self):
        text = (PACKAGING / "Containerfile").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        known = {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
        self.assertLessEqual({line.split()[0] for line in lines}, known)
        for line in lines:
            found = re.search(r"(\[.*\])$", line)
            if found:
                self.assertIsInstance(json.loads(found[1]), list)
        build, run = (line for line in lines if "apt-get install" in line)
        setup = (ROOT / "dev").read_text()
        wanted = set(re.search(r"BUILD_PACKAGES=\((.*?)\)", setup, re.S)[1].split())
        self.assertLessEqual(set(re.search(r"recommends (.*)$", build)[1].split()), wanted)
        if shutil.which("dpkg-query") is None:
            self.skipTest("this machine has no packages of Debian")
        packages = set(re.search(r"recommends (.*?) &&", run)[1].split())
        linked = re.findall(r"(lib(?:fmt|spdlog|cpp-httplib|ssl|pcre2-8|utf8proc|edit)[\w.-]*\.so\S*) => (\S+)",
                            subprocess.run(["ldd", str(LAMINA)], capture_output=True, text=True, check=True).stdout)
        self.assertEqual(len(linked), 7)
        for _, path in linked:
            real = pathlib.Path(path).resolve()
            owner = subprocess.run(["dpkg-query", "-S", str(real), str(real).removeprefix("/usr")], capture_output=True, text=True).stdout
            self.assertIn(owner.split(":")[0], packages, path)


if __name__ == "__main__":
    unittest.main()
