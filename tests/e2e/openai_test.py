#!/usr/bin/env python3
"""The server as an unchanged client of OpenAI's sees it: chat, streams, completions, embeddings, errors, the end."""

import json
import signal
import struct
import subprocess
import threading
import time
import unittest

from command_line import LAMINA
from served import CHAT, EMBEDDER, KEY, Server, need

need(["openai", "jsonschema"], [CHAT, EMBEDDER])

import jsonschema  # noqa: E402
import openai  # noqa: E402


def client_of(server, key=KEY):
    return openai.OpenAI(base_url=server.address + "/v1", api_key=key, max_retries=0, timeout=300)


def ask(text, **options):
    return {"model": "chat", "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24, **options}


class OpenAiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"chat={CHAT}", EMBEDDER, "--ctx", "1024", "--parallel", "4")
        cls.client = client_of(cls.server)

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

    def test_embeddings_in_other_forms(self):
        plain = self.client.embeddings.create(model=EMBEDDER, input="rain", encoding_format="float").data[0].embedding
        coded = self.client.embeddings.create(model=EMBEDDER, input="rain", encoding_format="int8").data[0]
        scale = coded.model_extra["scale"]
        self.assertLessEqual(max(abs(a - scale * b) for a, b in zip(plain, coded.embedding)), 0.51 * scale)
        signs = self.client.embeddings.create(model=EMBEDDER, input="rain", encoding_format="ubinary").data[0].embedding
        self.assertEqual("".join(f"{int(byte):08b}" for byte in signs), "".join("1" if value > 0 else "0" for value in plain))
        less = self.client.embeddings.create(model=EMBEDDER, input="rain", encoding_format="binary").data[0].embedding
        self.assertEqual([byte + 128 for byte in less], signs)

    def test_cached_tokens(self):
        text = "Tell me of the river " + " ".join(str(i) for i in range(60))
        first = self.chat(text, max_tokens=4)
        second = self.chat(text + " and its bank.", max_tokens=4)
        self.assertGreater(second.usage.prompt_tokens_details.cached_tokens, first.usage.prompt_tokens_details.cached_tokens + 100)
        self.assertLess(second.usage.prompt_tokens_details.cached_tokens, second.usage.prompt_tokens)

    def respond(self, text, **options):
        return self.client.responses.create(**{"model": "chat", "input": text, "temperature": 0, "max_output_tokens": 16, **options})

    def test_responses(self):
        first = self.respond("Name a colour.", instructions="Be brief.")
        told = self.client.chat.completions.create(
            model="chat", temperature=0, max_tokens=16,
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}])
        self.assertEqual(first.output_text, told.choices[0].message.content)
        self.assertEqual((first.usage.input_tokens, first.usage.output_tokens),
                         (told.usage.prompt_tokens, told.usage.completion_tokens))
        if first.usage.output_tokens == 16:
            self.assertEqual((first.status, first.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(self.client.responses.retrieve(first.id), first)
        again = self.respond("Another one.", previous_response_id=first.id)
        told = self.client.chat.completions.create(
            model="chat", temperature=0, max_tokens=16,
            messages=[{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": first.output_text},
                      {"role": "user", "content": "Another one."}])
        self.assertEqual(again.output_text, told.choices[0].message.content)
        items = self.respond([{"role": "user", "content": [{"type": "input_text", "text": "Name a colour."}]},
                              {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": first.output_text}]},
                              {"role": "user", "content": "Another one."}], store=False)
        self.assertEqual(items.output_text, again.output_text)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(items.id)
        self.client.responses.delete(first.id)
        with self.assertRaises(openai.BadRequestError) as found:
            self.respond("Another one.", previous_response_id=first.id)
        self.assertEqual(found.exception.code, "previous_response_not_found")

    def test_a_stream_of_responses(self):
        whole = self.respond("Tell me about cats.")
        events = list(self.respond("Tell me about cats.", stream=True))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        kinds = [event.type for event in events if event.type != "response.output_text.delta"]
        self.assertEqual(kinds, ["response.created", "response.in_progress", "response.output_item.added",
                                 "response.content_part.added", "response.output_text.done", "response.content_part.done",
                                 "response.output_item.done", f"response.{whole.status}"])
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(text, whole.output_text)
        last = events[-1].response
        self.assertEqual(last.output_text, text)
        self.assertEqual(last.usage.output_tokens, whole.usage.output_tokens)
        self.assertEqual(self.client.responses.retrieve(last.id).output_text, text)
        # Its helper knows answers alone that come to their end.
        word = text.split()[2]
        with self.client.responses.stream(model="chat", input="Tell me about cats.", temperature=0, max_output_tokens=16,
                                          extra_body={"stop": word}) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().output_text, text[:text.index(word)])
        gone = self.respond("Count to a thousand.", stream=True, max_output_tokens=900)
        next(iter(gone))
        gone.close()
        self.until_idle()

    def test_tools_of_responses(self):
        schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"], "additionalProperties": False}
        tools = [{"type": "function", "name": "weather", "description": "Tells the weather.", "parameters": schema, "strict": True}]
        asked = {"tools": tools, "tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": False, "max_output_tokens": 60}
        first = self.respond("How is the weather in Rome?", **asked)
        call = first.output[-1]
        self.assertEqual((call.type, call.name), ("function_call", "weather"))
        self.assertIn(json.loads(call.arguments)["city"], ["Rome", "Oslo"])
        second = self.respond([{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}], previous_response_id=first.id, tools=tools)
        self.assertTrue(second.output_text)
        with self.client.responses.stream(**{"model": "chat", "input": "How is the weather in Rome?", "temperature": 0, **asked}) as stream:
            told = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
            self.assertEqual(stream.get_final_response().output[-1].arguments, told)
        self.assertEqual(told, call.arguments)
        with self.assertRaises(openai.BadRequestError) as found:
            self.respond("x", tools=[{"type": "web_search"}])
        self.assertEqual(found.exception.param, "tools[0].type")

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
        with self.assertRaises(openai.AuthenticationError):
            client_of(self.server, "wrong").models.list()

    def test_a_closed_stream_frees_its_place(self):
        stream = self.chat("Count to a thousand.", stream=True, max_tokens=900, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        self.until_idle()
        self.assertEqual(self.server.metrics()['lamina_cache_blocks_used{model="chat"}'], 0)

    def until_idle(self):
        running = 'lamina_requests_running{model="chat"}'
        for _ in range(100):
            if self.server.metrics()[running] == 0:
                break
            time.sleep(0.05)
        self.assertEqual(self.server.metrics()[running], 0)


class EndTest(unittest.TestCase):
    def test_what_runs_is_finished(self):
        server = Server(f"chat={CHAT}", "--ctx", "512", "--drain", "600")
        self.addCleanup(server.close)
        stream = client_of(server).chat.completions.create(**ask("Tell a story.", stream=True, max_tokens=30,
                                                             extra_body={"ignore_eos": True}))
        events = iter(stream)
        next(events)
        server.process.send_signal(signal.SIGTERM)
        finish = [event.choices[0].finish_reason for event in events][-1]
        self.assertEqual(finish, "length")
        self.assertEqual(server.wait(), 0)


if __name__ == "__main__":
    unittest.main()
