#!/usr/bin/env python3
"""Runs `lamina serve` and llama.cpp's `llama-server` by turns on the same files and writes a table of both.

    LLAMA_CPP=FOLDER bench/serving.py MODEL.gguf [--embedder MODEL.gguf] [--rounds 3] [--only chats,long,turn,embed,idle]
        [--embed-python PYTHON --embed-folder MODEL_FOLDER]

Both servers are there all the time, and one is asked at a time, by `lamina load`, which runs on the same machine; which
one comes first changes from round to round. Rows:

  chats   16 chats at once: tokens written per second, time to the first token, memory after them
  long    a prompt of some 3,800 tokens arrives while 4 others stream: their worst gap meanwhile, its own first token
  turn    the second turn of a chat whose first turn has been answered: time to the first token
  embed   512 texts of mixed lengths in requests of 16, four at once: tokens per second; also beside Python servers of the
          same model (bench/embed_http.py), where a Python that has their packages is given
  idle    processor time of a server that has nothing to do; memory after all of it

The table goes to standard output and, unless --no-write is given, between the markers in docs/performance.md.
--json FILE keeps the samples there. Best on a machine with nothing else to do.
"""

import argparse
import datetime
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAMINA = ROOT / "build/lamina"
BEGIN, END = "<!-- serving:begin -->", "<!-- serving:end -->"
PARTS = ("chats", "long", "turn", "embed", "idle")
EMBEDDED = "512 texts of mixed lengths embedded"
PYTHON_PEERS = ("sentence-transformers-f32", "sentence-transformers-bf16", "onnxruntime-f32", "onnxruntime-int8")
CONTEXT, CACHE, CHATS = 4096, 32768, 16
ROWS = {  # name: (unit, whether more is better, bound on Lamina's figure beside the peer's)
    "16 chats at once, written": ("tokens/s", True, ("ratio", 2.0)),
    "16 chats at once, first token (median)": ("ms", False, ("ratio", 1 / 3)),
    "16 chats at once, first token (worst)": ("ms", False, None),
    "resident memory after 16 chats": ("MB", False, ("ratio", 0.5)),
    "4 streams while a long prompt is read, worst gap": ("ms", False, ("value", 150.0)),
    "the long prompt's own first token": ("ms", False, ("ratio", 1.0)),
    "second turn of a chat, first token": ("ms", False, ("ratio", 1.0)),
    EMBEDDED: ("tokens/s", True, ("ratio", 1.3)),
    "resident memory of the chat server at its end": ("MB", False, None),
    "processor time of an idle server": ("% of a core", False, ("value", 0.5)),
    "one stream: share of a token's time outside the model": ("%", False, ("value", 2.0)),
}


def fail(text):
    sys.exit(f"serving: {text}")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A server in a process of its own, until the end."""

    def __init__(self, name, command, port):
        self.name, self.url = name, f"http://127.0.0.1:{port}"
        self.log = open(ROOT / f"build/serving-{name}.log", "w")
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=self.log)
        for _ in range(600):
            if self.process.poll() is not None:
                fail(f"{' '.join(map(str, command))}: exit status {self.process.returncode}; see {self.log.name}")
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.1)
        fail(f"{command[0]}: not ready after 60 s; see {self.log.name}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def metric(self, name):
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name):
                    return float(line.rsplit(" ", 1)[1])
        fail(f"/metrics lacks {name}")


def load_command(server, *options):
    return [str(LAMINA), "load", server.url, "--json", *map(str, options)]


def load(server, *options):
    done = subprocess.run(load_command(server, *options), capture_output=True, text=True, timeout=1200, check=False)
    return report_of(server, done.stdout, done.stderr)


def report_of(server, output, errors):
    try:
        report = json.loads(output)
    except json.JSONDecodeError:
        fail(f"lamina load against {server.name}: {errors.strip() or output[:200]}")
    if report["errors"]:
        fail(f"{server.name} answered with errors: {report['errors']}")
    return report


def chats(server, round_):
    report = load(server, "--concurrency", CHATS, "--requests", CHATS, "--words", 48, "--tokens", 64, "--seed", 100 + round_)
    return {
        "16 chats at once, written": report["output_tokens_per_second"],
        "16 chats at once, first token (median)": 1e3 * report["first_token"]["p50"],
        "16 chats at once, first token (worst)": 1e3 * report["first_token"]["max"],
        "resident memory after 16 chats": server.resident_bytes() / 1e6,
    }


def long_prompt(server, round_):
    """Four streams that go on throughout; the gaps before the long prompt comes are as short as they are after it."""
    streams = subprocess.Popen(load_command(server, "--concurrency", 4, "--requests", 4, "--words", 16, "--tokens", 900, "--seed", 200 + round_),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    report = load(server, "--requests", 1, "--words", 3700, "--tokens", 4, "--seed", 300 + round_)
    running = streams.poll() is None
    others = report_of(server, *streams.communicate(timeout=1200))
    if not running:
        fail(f"{server.name}: the four streams ended before the long prompt was answered")
    return {
        "4 streams while a long prompt is read, worst gap": 1e3 * others["token_gap"]["max"],
        "the long prompt's own first token": 1e3 * report["first_token"]["p50"],
    }


def second_turn(server, round_):
    words = " ".join(f"fact {round_} {i}" for i in range(300))
    messages = [{"role": "system", "content": f"You know this: {words}."}, {"role": "user", "content": "Tell me one fact."}]
    body = {"messages": messages, "max_tokens": 48, "temperature": 0}
    answer = server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
    body["messages"] = messages + [{"role": "assistant", "content": answer}, {"role": "user", "content": "And another?"}]
    file = ROOT / "build/serving-turn.jsonl"
    file.write_text(json.dumps(body) + "\n")
    return {"second turn of a chat, first token": 1e3 * load(server, "--file", file)["first_token"]["p50"]}


def embed(server, round_):
    report = load(server, "--route", "embeddings", "--batch", 16, "--requests", 32, "--concurrency", 4, "--least-words", 4,
                  "--words", 180, "--seed", 400 + round_)
    return {EMBEDDED: report["prompt_tokens_per_second"]}


def idle(server, _round):
    before = server.cpu_seconds()
    time.sleep(5)
    found = {"processor time of an idle server": 100 * (server.cpu_seconds() - before) / 5}
    if server.name == "lamina":
        steps, seconds = server.metric("lamina_steps_total"), server.metric("lamina_step_seconds_total")
        gap = load(server, "--requests", 1, "--words", 16, "--tokens", 400)["token_gap"]["mean"]
        step = (server.metric("lamina_step_seconds_total") - seconds) / (server.metric("lamina_steps_total") - steps)
        found["one stream: share of a token's time outside the model"] = 100 * (gap - step) / step
    return found


MEASURES = {"chats": chats, "long": long_prompt, "turn": second_turn, "embed": embed, "idle": idle}


def start(options, name, model, embeds):
    port = free_port()
    threads = options.threads
    if name in PYTHON_PEERS:
        script = ROOT / "bench/embed_http.py"
        return Server(name, [options.embed_python, script, options.embed_folder, name, "--port", port, "--threads", threads], port)
    if name == "lamina":
        extra = [] if embeds else ["--ctx", CONTEXT, "--parallel", CHATS, "--cache-tokens", CACHE]
        return Server(name, [LAMINA, "serve", model, "--port", port, "--threads", threads, "--log", "off", *extra], port)
    peer = [options.llama_server, "-m", model, "--host", "127.0.0.1", "--port", port, "-t", threads, "-tb", threads]
    if embeds:
        peer += ["--embeddings", "--pooling", "mean", "-c", 2048, "-np", 4, "-b", 2048, "-ub", 2048]
    else:
        peer += ["-c", CACHE, "-np", CHATS, "--kv-unified"]
    return Server(name, peer + options.peer_options.split(), port)


def measure(options, parts, model, embeds, samples):
    names = ["lamina"] + (["llama.cpp"] if options.llama_server else [])
    names += PYTHON_PEERS if embeds and options.embed_python else ()
    servers = [start(options, name, model, embeds) for name in names]
    try:
        for server in servers:  # a first request that counts for nothing
            load(server, *(["--route", "embeddings"] if embeds else ["--tokens", 4]), "--requests", 2)
        for round_ in range(options.rounds):
            for part in parts:
                for server in servers if round_ % 2 == 0 else servers[::-1]:
                    found = MEASURES[part](server, round_)
                    print(f"round {round_ + 1}, {part}, {server.name}:", json.dumps(found), file=sys.stderr, flush=True)
                    for row, value in found.items():
                        samples.setdefault(row, {}).setdefault(server.name, []).append(value)
        if not embeds:
            for server in servers:
                samples["resident memory of the chat server at its end"] = samples.get("resident memory of the chat server at its end", {})
                samples["resident memory of the chat server at its end"][server.name] = [server.resident_bytes() / 1e6]
    finally:
        for server in servers:
            server.end()


def figure(values):
    if not values:
        return "not measured"
    digits = 0 if statistics.median(values) >= 100 else 1
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


def verdict(row, ours, theirs):
    more, bound = ROWS[row][1], ROWS[row][2]
    ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}x" if theirs and statistics.median(theirs) else ""
    if bound is None:
        return ratio, ""
    kind, limit = bound
    if kind == "ratio" and not ratio:
        return ratio, "no peer"
    value = statistics.median(ours) / statistics.median(theirs) if kind == "ratio" else statistics.median(ours)
    sign, met = ("≥", value >= limit) if more else ("≤", value <= limit)
    shown = f"{limit:.2f}x" if kind == "ratio" else f"{limit:g}"
    return ratio, f"{sign} {shown}: {'met' if met else 'missed'}"


def table(report):
    lines = [f"{report['date']}, {report['machine']}, {report['threads']} threads, {report['model']}"
             + (f" and {report['embedder']}" if report["embedder"] else "") + "; median [range] of rounds.", "",
             "| what | unit | lamina | peer (llama.cpp) | ratio | goal |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for row, (unit, _, _) in ROWS.items():
        found = report["samples"].get(row)
        if not found:
            continue
        ours, theirs = found.get("lamina", []), found.get("llama.cpp", [])
        ratio, goal = verdict(row, ours, theirs)
        lines.append(f"| {row} | {unit} | {figure(ours)} | {figure(theirs) if theirs else ''} | {ratio} | {goal} |")
        for name in PYTHON_PEERS:
            if others := found.get(name):
                ratio, goal = verdict(row, ours, others)
                lines.append(f"| … beside {name} | {unit} | {figure(ours)} | {figure(others)} | {ratio} | {goal} |")
    return "\n".join(lines)


def machine():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "an unknown processor"


def write_page(page, text):
    old = page.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        fail(f"{page}: needs one line {BEGIN} and after it one line {END}")
    page.write_text(f"{old.split(BEGIN)[0]}{BEGIN}\n{text}\n{END}{old.split(END)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--embedder", type=Path, help="an embedder as GGUF, which both can read")
    parser.add_argument("--embed-python", type=Path, help="a Python with the packages that bench/embed_http.py names")
    parser.add_argument("--embed-folder", type=Path, help="the embedder in the Hugging Face layout, for it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--llama-server", help="looked for under $LLAMA_CPP; without it Lamina is measured alone")
    parser.add_argument("--peer-options", default="", help="further options of llama-server")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        fail(f"unknown part {unknown[0]}; known: {', '.join(PARTS)}")
    if options.llama_server is None and os.environ.get("LLAMA_CPP"):
        options.llama_server = next(iter(sorted(Path(os.environ["LLAMA_CPP"]).glob("**/llama-server"))), None)
    samples = {}
    if chat_parts := [part for part in parts if part != "embed"]:
        measure(options, chat_parts, options.model, False, samples)
    if "embed" in parts and options.embedder:
        measure(options, ["embed"], options.embedder, True, samples)
    report = {"date": datetime.date.today().isoformat(), "machine": machine(), "threads": options.threads, "model": options.model.name,
              "embedder": options.embedder.name if options.embedder else "", "samples": samples}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    if not options.no_write:
        write_page(ROOT / "docs/performance.md", table(report))


if __name__ == "__main__":
    main()
