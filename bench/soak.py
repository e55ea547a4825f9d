#!/usr/bin/env python3
"""Keeps a server busy for a long time with clients that behave in all ways, and watches its memory and its answers.

    bench/soak.py MODEL [--minutes 30] [--clients 32] [-- further options of lamina serve]

Each client has a secret of its own and repeats a few requests of several kinds: greedy ones whose answers must be the same
each time, however busy the server is; streams, several choices, log probabilities, embeddings of tokens; some leave in the
middle, some read slowly, some send what is no request. A secret in another client's answer, a 5xx answer, an answer that has
changed, a server that has ended or whose memory grows in the second half of the time, the cache being full, ends the run
with status 1. What texts leave in the cache fills it; with `-- --cache-tokens 8192` that takes about a minute.
"""

import argparse
import http.client
import json
import random
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAMINA = ROOT / "build/lamina"
MOST_GROWTH = 0.01  # of the resident memory in the second half of the time
WORDS = "amber birch cedar delta ember fjord grove haven inlet jewel karst lotus maple north ocean pearl quartz raven stone tulip".split()


class Soak:
    def __init__(self, options):
        self.options = options
        self.failures, self.counts = [], {}
        self.lock = threading.Lock()
        command = [LAMINA, "serve", options.model, "--port", "0", "--json", "--log", "off", *options.more]
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit("soak: the server did not start")
        start = json.loads(line)
        self.address = urllib.parse.urlparse(start["address"]).netloc
        self.end = time.monotonic() + 60 * options.minutes
        self.secrets = [f"{WORDS[i % len(WORDS)]}{i:03}{random.Random(i).randrange(10**9):09}" for i in range(options.clients)]

    def fail(self, text):
        with self.lock:
            self.failures.append(text)

    def count(self, name):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1

    def going(self):
        return time.monotonic() < self.end and not self.failures and self.process.poll() is None

    def resident(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def ask(self, path, body, read=None):
        """(status, text); read: so many bytes and no more."""
        connection = http.client.HTTPConnection(self.address, timeout=600)
        try:
            connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read() if read is None else answer.read(read)
            return answer.status, data.decode("utf-8", "replace")
        finally:
            connection.close()

    def cache_is_full(self):
        connection = http.client.HTTPConnection(self.address, timeout=600)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return any(line.startswith("lamina_prefix_evicted_total{") and float(line.rsplit(" ", 1)[1]) > 0 for line in lines)

    def checked(self, client, path, body):
        status, text = self.ask(path, body)
        if status >= 500:
            self.fail(f"status {status}: {text[:300]}")
        for i, secret in enumerate(self.secrets):
            if i != client and secret in text:
                self.fail(f"client {client} saw the secret of client {i}: {text[:300]}")
        return status, text

    def client(self, number):
        draw = random.Random(1000 + number)
        shared = "You are a helpful assistant who keeps secrets. " * 8
        fixed = {}
        while self.going():
            kind = draw.choice(["greedy", "greedy", "stream", "scored", "choices", "leaves", "slow", "nonsense"])
            question = draw.randrange(3)
            body = {"messages": [{"role": "system", "content": shared}, {"role": "user", "content": f"My secret is {self.secrets[number]}. Repeat it. {question}"}],
                    "max_tokens": 24, "temperature": 0}
            try:
                self.one(number, kind, question, body, fixed, draw)
                self.count(kind)
            except OSError as error:
                if self.process.poll() is not None:
                    self.fail("the server has ended")
                elif kind not in ("leaves", "slow", "nonsense"):
                    self.fail(f"{kind}: {error!r}")

    def one(self, number, kind, question, body, fixed, draw):
        chat = "/v1/chat/completions"
        if kind == "greedy":
            status, text = self.checked(number, chat, body)
            if status == 200:
                said = json.loads(text)["choices"][0]["message"]["content"]
                if fixed.setdefault(question, said) != said:
                    self.fail(f"client {number}: another answer than before: {said!r}, {fixed[question]!r}")
            elif status != 429:
                self.fail(f"status {status}: {text[:300]}")
        elif kind == "stream":
            self.checked(number, chat, body | {"stream": True, "temperature": 1, "seed": draw.randrange(1 << 30), "stream_options": {"include_usage": True}})
        elif kind == "scored":
            self.checked(number, "/v1/completions", {"prompt": self.secrets[number] * 3, "max_tokens": 1, "echo": True, "logprobs": 2})
        elif kind == "choices":
            self.checked(number, chat, body | {"n": 3, "temperature": 0.8, "stop": ["\n\n"]})
        elif kind == "leaves":
            self.ask(chat, body | {"stream": True, "max_tokens": 400}, read=draw.randrange(1, 2000))
        elif kind == "slow":
            connection = http.client.HTTPConnection(self.address, timeout=60)
            connection.request("POST", chat, json.dumps(body | {"stream": True}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            while answer.read(200):
                time.sleep(0.1)
            connection.close()
        else:
            junk = draw.choice([b"{", b'{"messages": "\xff"}', b"[" * 100000, b"{}", json.dumps({"messages": []}).encode(), draw.randbytes(300)])
            status, _ = self.ask(chat, junk)
            if status != 400:
                self.fail(f"nonsense was answered with {status}: {junk[:40]!r}")

    def run(self):
        threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(self.options.clients)]
        for thread in threads:
            thread.start()
        begin, settled = time.monotonic(), None
        while self.going():
            time.sleep(min(10, max(0.1, self.end - time.monotonic())))
            if self.process.poll() is not None:
                break
            now = self.resident()
            share = (time.monotonic() - begin) / (60 * self.options.minutes)
            if settled is None and share >= 0.5 and self.cache_is_full():
                settled = now
            print(f"{time.monotonic() - begin:6.0f} s  {now / 1e6:8.1f} MB  {self.counts}", flush=True)
        for thread in threads:
            thread.join(120)
        if self.process.poll() is not None:
            self.fail(f"the server has ended with status {self.process.returncode}")
        else:
            last = self.resident()
            if settled is None:
                self.fail("the cache has not been full, so nothing can be said of memory: more time or fewer --cache-tokens expected")
            elif last > settled * (1 + MOST_GROWTH):
                self.fail(f"memory has grown from {settled / 1e6:.1f} to {last / 1e6:.1f} MB")
            self.process.terminate()
            if self.process.wait(60) != 0:
                self.fail(f"the server ended with status {self.process.returncode}")
        for failure in self.failures:
            print("failed:", failure)
        print(f"{sum(self.counts.values())} requests, {len(self.failures)} failures")
        return 1 if self.failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=32)
    arguments = sys.argv[1:]
    more = arguments[arguments.index("--") + 1:] if "--" in arguments else []
    options = parser.parse_args(arguments[:arguments.index("--")] if "--" in arguments else arguments)
    options.more = more
    return Soak(options).run()


if __name__ == "__main__":
    sys.exit(main())
