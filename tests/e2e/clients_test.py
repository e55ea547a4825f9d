#!/usr/bin/env python3
"""Other unchanged clients of the server: Anthropic's, LangChain's, Prometheus' parser of figures, and schemathesis, which asks
what /openapi.json allows and what it does not."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

from command_line import GOLDEN, ROOT
from served import CHAT, EMBEDDER, KEY, Server, need

need(["anthropic", "langchain_openai", "prometheus_client", "schemathesis"], [CHAT, EMBEDDER])

import anthropic  # noqa: E402
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

BRIEF = "Be brief. These numbers mean nothing: " + " ".join(map(str, range(100)))


class ClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"chat={CHAT}", EMBEDDER, "--ctx", "1024", "--parallel", "4")

    @classmethod
    def tearDownClass(cls):
        assert cls.server.end() == 0

    def ask(self, path, **fields):
        """The plain answer, to hold clients against."""
        done = subprocess.run(["curl", "-sS", "--fail-with-body", self.server.address + path, "-H", f"Authorization: Bearer {KEY}",
                               "-H", "Content-Type: application/json", "-d", json.dumps(fields)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        return json.loads(done.stdout)

    def chat(self, *messages, tokens=16):
        answer = self.ask("/v1/chat/completions", model="chat", messages=list(messages), temperature=0, max_tokens=tokens)
        return answer["choices"][0]["message"]["content"]

    def test_anthropic(self):
        client = anthropic.Anthropic(base_url=self.server.address, api_key=KEY, max_retries=0)
        asked = {"model": "chat", "max_tokens": 16, "extra_body": {"temperature": 0}, "system": BRIEF,
                 "messages": [{"role": "user", "content": "Name a colour."}]}
        told = self.chat({"role": "system", "content": BRIEF}, {"role": "user", "content": "Name a colour."})
        message = client.messages.create(**asked)
        self.assertEqual(message.content[0].text, told)
        self.assertIn(message.stop_reason, ("end_turn", "max_tokens"))
        with client.messages.stream(**asked) as stream:
            self.assertEqual("".join(stream.text_stream), told)
            last = stream.get_final_message()
        self.assertEqual((last.stop_reason, last.usage.output_tokens), (message.stop_reason, message.usage.output_tokens))
        count = client.messages.count_tokens(model="chat", system=BRIEF, messages=asked["messages"]).input_tokens
        for usage in (message.usage, last.usage):
            self.assertEqual(usage.input_tokens + usage.cache_read_input_tokens, count)
        self.assertGreater(last.usage.cache_read_input_tokens, 0)
        parts = [{"role": "user", "content": [{"type": "text", "text": "Name a colour."}]}]
        self.assertEqual(client.messages.create(**asked | {"messages": parts}).content[0].text, told)
        word = told.split()[1]
        cut = client.messages.create(**asked, stop_sequences=[word])
        self.assertEqual((cut.stop_reason, cut.stop_sequence), ("stop_sequence", word))
        with self.assertRaises(anthropic.NotFoundError):
            client.messages.create(**asked | {"model": "claude"})
        with self.assertRaises(anthropic.BadRequestError):
            client.messages.create(**asked | {"max_tokens": 5000})
        with self.assertRaises(anthropic.AuthenticationError):
            anthropic.Anthropic(base_url=self.server.address, api_key="wrong", max_retries=0).messages.create(**asked)

    def test_langchain(self):
        model = ChatOpenAI(base_url=self.server.address + "/v1", api_key=KEY, model="chat", temperature=0, max_tokens=16, max_retries=0)
        told = self.chat({"role": "system", "content": BRIEF}, {"role": "user", "content": "Name an animal."})
        messages = [("system", BRIEF), ("human", "Name an animal.")]
        answer = model.invoke(messages)
        self.assertEqual(answer.content, told)
        self.assertGreater(answer.usage_metadata["input_tokens"], 0)
        self.assertEqual("".join(chunk.content for chunk in model.stream(messages)), told)
        # Its own tokenizer, which it would cut long texts by, is that of other models.
        embedder = OpenAIEmbeddings(base_url=self.server.address + "/v1", api_key=KEY, model=EMBEDDER, check_embedding_ctx_length=False)
        texts = ["A man is eating food.", "A girl is carrying a baby."]
        plain = [entry["embedding"] for entry in self.ask("/v1/embeddings", model=EMBEDDER, input=texts)["data"]]
        for mine, theirs in zip(embedder.embed_documents(texts), plain):
            self.assertLess(max(abs(a - b) for a, b in zip(mine, theirs)), 1e-6)

    def test_prometheus(self):
        self.chat({"role": "user", "content": "Name a tool."}, tokens=8)
        families = {family.name: family for family in text_string_to_metric_families(self.server.get("/metrics"))}
        self.assertTrue(all(name.startswith("lamina_") and family.documentation and family.type != "unknown" for name, family in families.items()))
        gaps = [sample for sample in families["lamina_token_gap_seconds"].samples if sample.labels["model"] == "chat"]
        buckets = [sample.value for sample in gaps if sample.name.endswith("_bucket")]
        self.assertEqual(buckets, sorted(buckets))
        count = next(sample.value for sample in gaps if sample.name.endswith("_count"))
        self.assertEqual(buckets[-1], count)
        self.assertGreaterEqual(count, 4)


class SchemaTest(unittest.TestCase):
    def test_openapi(self):
        """No 5xx, no answer that the page does not describe; a tiny model of each task, so that answers come at once."""
        models = GOLDEN.parent / "embed"
        server = Server(f"chat={GOLDEN / 'qwen2' / 'model.gguf'}", f"embed={models / 'pooling'}", f"rank={models / 'rerank'}", "--ctx", "64",
                        "--threads", "1")
        self.addCleanup(server.close)
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        command = [str(pathlib.Path(sys.executable).parent / "schemathesis"), "run", server.address + "/openapi.json", "--checks", checks,
                   "--header", f"Authorization: Bearer {KEY}", "--max-examples", "12", "--phases", "examples,coverage,fuzzing",
                   "--generation-deterministic", "--request-timeout", "20", "--no-color"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": "build/hypothesis"})
        self.assertEqual(done.returncode, 0, done.stdout[-8000:])
        self.assertEqual(server.end(), 0)


if __name__ == "__main__":
    unittest.main()
