#!/usr/bin/env python3
"""The server as an unchanged client of OpenAI's sees it: chat, streams, completions, embeddings, errors, the end."""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

from command_line import LAMINA

HOME = pathlib.Path(os.environ.get("LAMINA_HOME", pathlib.Path.home() / ".cache" / "lamina"))
CHAT, EMBEDDER = "smollm2-135m", "minilm-l6"
KEY = "a-secret-of-this-test"

try:
    import jsonschema
    import openai
except ImportError:
    print("not run: the openai or the jsonschema package is not there; ./dev test installs them")
    sys.exit(77)
if not all((HOME / "models" / name).is_dir() for name in (CHAT, EMBEDDER)):
    print(f"not run: {CHAT} or {EMBEDDER} is not in the store")
    sys.exit(77)


class Server:
    """`lamina serve` on a free port."""

    def __init__(self, *arguments):
        command = [str(LAMINA), "serve", *arguments, "--port", "0", "--json", "--api-key", KEY, "--log", "json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.communicate()[1])
        self.start = json.loads(line)
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()
        self.client = openai.OpenAI(base_url=self.start["address"] + "/v1", api_key=KEY, max_retries=0, timeout=300)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(120)
        self.reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def metrics(self):
        request = urllib.request.Request(self.start["address"] + "/metrics", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"(?m)^([^#\s]\S*) (\S+)$", text)}


def ask(text, **options):
    return {"model": "chat", "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24, **options}


class OpenAiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"chat={CHAT}", EMBEDDER, "--ctx", "1024", "--parallel", "4")
        cls.client = cls.server.client

    @classmethod
    def tearDownClass(cls):
        assert cls.server.end() == 0
        ids = [json.loads(line)["id"] for line in cls.server.log if line.startswith("{")]
        assert len(ids) == len(set(ids)) > 0

    def chat(self, text, **options):
        return self.client.chat.completions.create(**ask(text, **options))

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["chat", EMBEDDER])
        self.assertEqual({model["task"] for model in self.server.start["models"]}, {"generate", "embed"})

    def test_chat_is_what_the_command_line_answers(self):
        question = "Name three primary colours."
        answer = self.chat(question)
        told = json.loads(subprocess.run([str(LAMINA), "run", CHAT, question, "-n", "24", "--temperature", "0", "--json"],
                                         capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout)
        self.assertEqual(answer.choices[0].message.content, told["text"])
        self.assertEqual(answer.usage.prompt_tokens, told["prompt_tokens"])

    def test_stream(self):
        whole = self.chat("Tell me about cats.")
        text, finish, usage = "", None, None
        for event in self.chat("Tell me about cats.", stream=True, stream_options={"include_usage": True}):
            for choice in event.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            usage = event.usage or usage
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(finish, "length")
        self.assertEqual(usage, whole.usage)

    def test_alone_and_together(self):
        questions = [f"What is {i} plus {i}?" for i in range(8)]
        alone = [self.chat(question).choices[0].message.content for question in questions]
        together = [None] * len(questions)

        def answer(i):
            together[i] = self.chat(questions[i]).choices[0].message.content

        threads = [threading.Thread(target=answer, args=(i,)) for i in range(len(questions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)

    def test_logprobs_n_and_stop(self):
        answer = self.chat("Say yes.", logprobs=True, top_logprobs=2, max_tokens=4)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), answer.usage.completion_tokens)
        self.assertEqual(content[0].token, content[0].top_logprobs[0].token)
        several = self.chat("Tell a story.", n=3, temperature=1, seed=5)
        self.assertEqual(len({choice.message.content for choice in several.choices}), 3)
        again = self.chat("Tell a story.", n=3, temperature=1, seed=5)
        self.assertEqual([c.message.content for c in several.choices], [c.message.content for c in again.choices])
        whole = self.chat("Tell me about cats.").choices[0].message.content
        word = whole.split()[3]
        cut = self.chat("Tell me about cats.", stop=[word]).choices[0]
        self.assertEqual(cut.message.content, whole[:whole.index(word)])
        self.assertEqual(cut.finish_reason, "stop")

    def test_completions_with_echo(self):
        done = self.client.completions.create(model="chat", prompt="The capital of France is", max_tokens=1, temperature=0,
                                              echo=True, logprobs=1)
        lists = done.choices[0].logprobs
        self.assertEqual(len(lists.tokens), done.usage.total_tokens)
        self.assertIsNone(lists.token_logprobs[0])
        self.assertTrue(all(value <= 0 for value in lists.token_logprobs[1:]))
        self.assertTrue(done.choices[0].text.startswith("The capital of France is"))
        batch = self.client.completions.create(model="chat", prompt=["One, two,", "A, b,"], max_tokens=4, temperature=0)
        self.assertEqual([choice.index for choice in batch.choices], [0, 1])

    def test_embeddings(self):
        texts = ["A man is eating food.", "A girl is carrying a baby.", "A man eats a meal."]
        packed = self.client.embeddings.create(model=EMBEDDER, input=texts)  # the client asks for base64 by itself
        plain = self.client.embeddings.create(model=EMBEDDER, input=texts, encoding_format="float")
        self.assertEqual([entry.embedding for entry in packed.data],
                         [list(struct.unpack("<384f", struct.pack("<384f", *entry.embedding))) for entry in plain.data])
        told = json.loads(subprocess.run([str(LAMINA), "embed", EMBEDDER, *texts, "--json"], capture_output=True, text=True,
                                         check=True).stdout)["embeddings"]
        for mine, theirs in zip(plain.data, told):
            self.assertEqual(mine.embedding, theirs)

        def cosine(a, b):
            return sum(x * y for x, y in zip(plain.data[a].embedding, plain.data[b].embedding))

        self.assertGreater(cosine(0, 2), cosine(0, 1))
        with self.assertRaises(openai.BadRequestError):
            self.client.embeddings.create(model=EMBEDDER, input="x", dimensions=64)

    def test_structured_answers(self):
        schema = {"type": "object", "additionalProperties": False, "required": ["name", "age"], "properties": {
            "name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 1, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}}}
        wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
        answer = self.chat("Describe a person as JSON.", response_format=wanted, max_tokens=120, temperature=1, seed=3, n=4)
        for choice in answer.choices:
            self.assertEqual(choice.finish_reason, "stop")
            jsonschema.validate(json.loads(choice.message.content), schema)
        text = "".join(event.choices[0].delta.content or "" for event in self.chat(
            "Describe a person as JSON.", response_format=wanted, max_tokens=120, stream=True))
        jsonschema.validate(json.loads(text), schema)
        free = self.chat("Say something as JSON.", response_format={"type": "json_object"}, max_tokens=400, temperature=0.7, seed=1)
        if free.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(free.choices[0].message.content), dict)
        year = self.chat("When?", extra_body={"structured_outputs": {"regex": "(19|20)[0-9]{2}"}}).choices[0].message.content
        self.assertRegex(year, "^(19|20)[0-9]{2}$")
        with self.assertRaises(openai.BadRequestError) as found:
            self.chat("x", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"items": {"not": {}}}}})
        self.assertEqual(found.exception.param, "response_format.json_schema.schema#/items/not")

    def test_tools(self):
        weather = {"type": "function", "function": {"name": "get_weather", "description": "the weather of a city", "parameters": {
            "type": "object", "additionalProperties": False, "required": ["city"],
            "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["C", "F"]}}}}}
        ask_weather = {"tools": [weather], "tool_choice": "required", "max_tokens": 100, "parallel_tool_calls": False}
        answer = self.chat("How is the weather in Paris?", **ask_weather).choices[0]
        self.assertEqual(answer.finish_reason, "tool_calls")
        call = answer.message.tool_calls[0]
        self.assertEqual(call.function.name, "get_weather")
        jsonschema.validate(json.loads(call.function.arguments), weather["function"]["parameters"])
        name, arguments, finish = "", "", None
        for event in self.chat("How is the weather in Paris?", **ask_weather, stream=True):
            choice = event.choices[0]
            for piece in choice.delta.tool_calls or []:
                name += piece.function.name or ""
                arguments += piece.function.arguments or ""
            finish = choice.finish_reason or finish
        self.assertEqual((name, arguments, finish), ("get_weather", call.function.arguments, "tool_calls"))
        history = [{"role": "user", "content": "How is the weather in Paris?"}, answer.message,
                   {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        told = self.client.chat.completions.create(model="chat", messages=history, tools=[weather], tool_choice="none", max_tokens=8)
        self.assertIsNone(told.choices[0].message.tool_calls)
        free = self.chat("Say hello.", tools=[weather]).choices[0]
        self.assertIn(free.finish_reason, ("stop", "length", "tool_calls"))

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError) as found:
            self.client.chat.completions.create(**{**ask("x"), "model": "gpt-4"})
        self.assertEqual(found.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as found:
            self.chat("x", extra_body={"frobnicate": 1})
        self.assertEqual(found.exception.param, "frobnicate")
        with self.assertRaises(openai.BadRequestError) as found:
            self.chat("word " * 2000)
        self.assertEqual(found.exception.code, "context_length_exceeded")
        self.assertIn("1024", found.exception.message)
        stranger = openai.OpenAI(base_url=self.server.start["address"] + "/v1", api_key="wrong", max_retries=0)
        with self.assertRaises(openai.AuthenticationError):
            stranger.models.list()

    def test_a_closed_stream_frees_its_place(self):
        stream = self.chat("Count to a thousand.", stream=True, max_tokens=900, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        running = 'lamina_requests_running{model="chat"}'
        for _ in range(100):
            if self.server.metrics()[running] == 0:
                break
            time.sleep(0.05)
        self.assertEqual(self.server.metrics()[running], 0)
        self.assertEqual(self.server.metrics()['lamina_cache_blocks_used{model="chat"}'], 0)


class EndTest(unittest.TestCase):
    def test_what_runs_is_finished(self):
        server = Server(f"chat={CHAT}", "--ctx", "512", "--drain", "600")
        self.addCleanup(server.process.kill)
        stream = server.client.chat.completions.create(**ask("Tell a story.", stream=True, max_tokens=30,
                                                             extra_body={"ignore_eos": True}))
        events = iter(stream)
        next(events)
        server.process.send_signal(signal.SIGTERM)
        finish = [event.choices[0].finish_reason for event in events][-1]
        self.assertEqual(finish, "length")
        self.assertEqual(server.process.wait(120), 0)
        server.process.stdout.close()
        server.reader.join(10)
        server.process.stderr.close()


if __name__ == "__main__":
    unittest.main()
