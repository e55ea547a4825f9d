#!/usr/bin/env python3
"""The chat model of the store: sensible text, recipes, options, and a chat on a terminal. Status 77 without the model."""

import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import unittest

from command_line import LAMINA, CommandLineTest

MODEL = "smollm2-135m"
ASK = "What are the three primary colours?"
LLAMA = os.environ.get("LLAMA_COMPLETION") or shutil.which("llama-completion")


class Written(CommandLineTest):
    """Files that `compress` wrote."""

    def test_a_codec_at_load_gives_the_text_of_the_written_file(self):
        recipe = "L*:q6_k"
        out = self.folder / "model.gguf"
        self.succeed("compress", MODEL, "--recipe", recipe, "-o", out)
        call = [ASK, "--temperature", "0", "-n", "16"]
        stored = self.succeed_json("run", out, *call)["tokens"]
        self.assertEqual(self.succeed_json("run", MODEL, *call, "--recipe", recipe)["tokens"], stored)

    @unittest.skipUnless(LLAMA, "no llama-completion: name it in LLAMA_COMPLETION to compare with llama.cpp")
    def test_another_engine_reads_the_file_and_says_the_same(self):
        out = self.folder / "model.gguf"
        self.succeed("compress", MODEL, "--recipe", "L*:f16 embed:f16", "-o", self.folder / "folder")
        self.succeed("compress", self.folder / "folder", "-o", out)
        prompt = "The capital of France is"
        own = self.succeed_json("run", out, prompt, "--raw", "--temperature", "0", "-n", "16", "--activations", "f32")["text"]
        peer = subprocess.run([LLAMA, "-m", out, "-p", prompt, "-n", "16", "--temp", "0", "--no-display-prompt", "-no-cnv"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
        self.assertEqual(own.strip(), peer.strip())


class Answers(CommandLineTest):
    def ask(self, *options, prompt=ASK, **more):
        return self.succeed_json("run", MODEL, prompt, "--temperature", 0, "-n", 48, *options, **more)

    def test_a_sensible_answer(self):
        text = self.ask()["text"].lower()
        self.assertIn("red", text)
        self.assertIn("blue", text)

    def test_recipes_run(self):
        plain = self.ask()["tokens"]
        for recipe in ["L9.attn:drop", "route:0-11,12,12,13-29"]:
            out = self.ask("--recipe", recipe)
            self.assertGreater(out["completion_tokens"], 0)
            self.assertNotEqual(out["tokens"], plain, recipe)
        self.assertEqual(self.ask("--recipe", "route:0-29")["tokens"], plain)

    def test_standard_input(self):
        piped = self.succeed("run", MODEL, "--temperature", 0, "-n", 48, stdin=ASK)
        self.assertEqual(piped, self.ask()["text"] + "\n")

    def test_stop_and_length(self):
        whole = self.ask()["text"]
        word = whole.split()[4]
        cut = self.ask("--stop", word)
        self.assertEqual(cut["text"], whole[:whole.index(word)])
        self.assertEqual(cut["finish_reason"], "stop")
        short = self.succeed_json("run", MODEL, ASK, "--temperature", 0, "-n", 3)
        self.assertEqual((short["completion_tokens"], short["finish_reason"]), (3, "length"))

    def test_a_seed_gives_one_text_on_any_threads(self):
        def draw(seed, threads):
            return self.succeed_json("run", MODEL, ASK, "--temperature", 1, "-n", 24, "--seed", seed, "--threads", threads)["tokens"]
        first = draw(7, 1)
        self.assertEqual(first, draw(7, 1))
        self.assertEqual(first, draw(7, 2))
        self.assertNotEqual(first, draw(8, 2))


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments):
        self.child, self.master = pty.fork()
        if self.child == 0:
            os.environ["TERM"] = "dumb"
            os.execv(LAMINA, [str(LAMINA), *arguments])
        self.seen = ""

    def read_until(self, text, seconds=60):
        """What came up to `text`, which is then forgotten."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {text!r} within {seconds} s; seen: {self.seen!r}")
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"ended before {text!r}; seen: {self.seen!r}") from None
        before, self.seen = self.seen.split(text, 1)
        return before

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self, seconds=20):
        """The exit status; the rest of the output is read."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ready, _, _ = select.select([self.master], [], [], 0.1)
            try:
                if ready:
                    os.read(self.master, 65536)
            except OSError:
                pass
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        raise AssertionError("it does not end")


class Chat(CommandLineTest):
    def start(self, *options):
        terminal = Terminal("run", MODEL, "--temperature", "0", *options)
        self.addCleanup(os.close, terminal.master)
        terminal.read_until("/quit ends")
        terminal.read_until("> ")
        return terminal

    def say(self, terminal, text):
        terminal.type(text + "\n")
        answer = terminal.read_until(" positions used]", seconds=120)
        terminal.read_until("> ")
        return answer

    def test_two_turns(self):
        terminal = self.start("-n", "40")
        self.assertIn("red", self.say(terminal, ASK).lower())
        self.assertGreater(len(self.say(terminal, "Which of them is the colour of the sky?")), 40)
        terminal.type("/quit\n")
        self.assertEqual(terminal.end(), 0)

    def test_control_c_stops_the_answer_only(self):
        terminal = self.start("-n", "400")
        terminal.type("Write a very long story about a dragon.\n")
        terminal.read_until("dragon.")
        terminal.read_until("a")  # the answer has begun
        time.sleep(0.3)
        terminal.type("\x03")
        told = terminal.read_until(" positions used]", seconds=10)
        self.assertLess(int(re.search(r"\[(\d+) tokens", told)[1]), 400)
        terminal.read_until("> ")
        self.assertGreater(len(self.say(terminal, "Hello!")), 0)
        time.sleep(0.5)  # the prompt is there before keys are read one by one
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0)

    def test_control_c_at_the_prompt(self):
        terminal = self.start("-n", "24")
        terminal.type("\x03")
        time.sleep(0.2)
        self.assertGreater(len(self.say(terminal, "Hello!")), 0)
        terminal.type("/quit\n")
        self.assertEqual(terminal.end(), 0)


if __name__ == "__main__":
    home = pathlib.Path(os.environ.get("LAMINA_HOME", pathlib.Path.home() / ".cache" / "lamina"))
    if not (home / "models" / MODEL).is_dir():
        print(f"skipped: the store has no {MODEL}; `lamina pull {MODEL}` fetches it")
        sys.exit(77)
    unittest.main()
