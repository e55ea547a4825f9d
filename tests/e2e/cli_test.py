#!/usr/bin/env python3
"""The command line as a user meets it: help, JSON, exit statuses, one-line errors, no half-written files."""

import json
import os
import pathlib
import resource
import struct
import subprocess
import time
import unittest
import xml.dom.minidom

from command_line import GOLDEN, LAMINA, CommandLineTest
from gguf_file import ARRAY, STRING, Gguf

GQA = GOLDEN / "gqa" / "model.gguf"
COMMANDS = ["run", "tokenize", "template", "logits", "show", "pull", "doctor", "techniques", "architectures", "codecs", "compress", "pack", "serve", "routes", "eval", "stats"]
MODEL = GOLDEN / "qwen2" / "model.gguf"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


class Help(CommandLineTest):
    def test_every_command_has_examples(self):
        listed = self.succeed("--help")
        for command in COMMANDS:
            self.assertRegex(listed, rf"(?m)^  {command} +\S")
            text = self.succeed(command, "--help")
            self.assertRegex(text, rf"Examples:\n(.*\n)*?.*lamina {command}", command)

    def test_version(self):
        self.assertRegex(self.succeed("--version"), r"\Alamina \d+\.\d+\.\d+\n\Z")

    def test_wrong_calls(self):
        self.refuse(2, "lamina --help")
        self.refuse(2, ['"answer" is not a command', "run"], "answer")
        self.refuse(2, ["--frobnicate", "lamina run --help"], "run", GQA, "hi", "--frobnicate")
        for command in ["run", "tokenize", "template", "logits", "show"]:
            self.refuse(2, "MODEL is required", command)
        self.refuse(2, "--messages is required", "template", GQA)
        self.refuse(2, "--out is required", "logits", GQA, "--text", "hi")


class Lists(CommandLineTest):
    def test_tables_as_json(self):
        for command, field in [("techniques", "effect"), ("architectures", "summary"), ("codecs", "bits_per_weight")]:
            rows = self.succeed_json(command)[command]
            self.assertGreater(len(rows), 0)
            for row in rows:
                self.assertTrue(row["name"] and row[field], row)

    def test_routes(self):
        routes = self.succeed_json("routes")["routes"]
        chat = next(route for route in routes if route["path"] == "/v1/chat/completions")
        self.assertIn("messages", [field["name"] for field in chat["fields"] if field["required"]])
        self.assertIn("max_tokens", self.succeed("routes", "/v1/chat/completions"))
        self.refuse(2, ["/none", "lamina routes"], "routes", "/none")

    def test_serving_refuses_before_it_loads(self):
        self.refuse(2, ["0.0.0.0", "--api-key"], "serve", GQA, "--host", "0.0.0.0")
        self.refuse(2, "two models of this name", "serve", GQA, GQA, "--ctx", "64", "--parallel", "1")
        self.refuse(2, "empty", "serve", GQA, "--api-key=")
        self.refuse(1, ["127.0.0.0.1", "listened on"], "serve", GQA, "--ctx", "64", "--parallel", "1", "--host", "127.0.0.0.1")

    def test_tables_fit_a_terminal(self):
        for command in ["techniques", "architectures", "codecs", "routes"]:
            lines = self.succeed(command).splitlines()
            self.assertLessEqual(max(map(len, lines)), 100, command)
        self.refuse(2, ["frob", "drop"], "techniques", "frob")

    def test_codec_sizes_follow_from_the_blocks(self):
        for row in self.succeed_json("codecs")["codecs"]:
            self.assertAlmostEqual(row["bits_per_weight"], 8 * row["block_bytes"] / row["block_elements"])

    def test_doctor(self):
        begin = time.monotonic()
        told = self.succeed_json("doctor")
        self.assertLess(time.monotonic() - begin, 30)
        self.assertLessEqual(told["threads"], len(os.sched_getaffinity(0)))
        self.assertEqual({row["operation"] for row in told["kernels"]} >= {"linear", "attention", "norm"}, True)
        used = {row["name"] for row in told["isas"] if row["used"]}
        self.assertTrue({row["isa"] for row in told["kernels"]} <= used)
        for peaks in told["peaks"].values():
            tiles = [value for name, value in peaks.items() if "tiles" in name and value]
            plain = [value for name, value in peaks.items() if "tiles" not in name and value is not None]
            self.assertTrue(all(value > 1e6 for value in plain + [v for tile in tiles for v in tile.values()]), peaks)
        self.assertEqual({1, told["threads"]} - {row["threads"] for row in told["bandwidth"]}, set())
        for row in told["isas"]:
            self.assertEqual(row["used"], row["reason"] == "", row)
        for kernel in told["kernels"]:
            self.assertTrue(all(stronger["reason"] for stronger in kernel["stronger"]), kernel)

    def test_doctor_obeys_the_limit(self):
        told = json.loads(self.succeed("doctor", "--json", env={**os.environ, "LAMINA_ISA": "scalar"}))
        self.assertEqual({row["isa"] for row in told["kernels"]}, {"scalar"})
        self.refuse(2, ["LAMINA_ISA", "mmx", "scalar"], "doctor", env={**os.environ, "LAMINA_ISA": "mmx"})


class Show(CommandLineTest):
    def test_counts_agree_with_the_file(self):
        for name in ["gqa", "codec", "mha_tied"]:
            path = GOLDEN / name / "model.gguf"
            file = Gguf(path)
            told = self.succeed_json("show", path)
            parts = [told["embedding"], told["head"], *told["layers"]]
            elements = 0
            for dimensions, _, _ in file.tensors.values():
                count = 1
                for dimension in dimensions:
                    count *= dimension
                elements += count
            self.assertEqual(told["parameters"], elements)
            self.assertEqual(sum(part["parameters"] for part in parts), elements)
            self.assertEqual(sum(part["bytes"] for part in parts), sum(len(t[2]) for t in file.tensors.values()))
            self.assertEqual(told["bytes"], path.stat().st_size)
            self.assertEqual([layer["index"] for layer in told["layers"]], [0, 1])
            self.assertEqual((told["architecture"], told["context"], told["vocabulary"]), ("llama", 256, file.tensors["token_embd.weight"][0][1]))

    def test_a_layer_counts_its_own_tensors(self):
        file = Gguf(GQA)
        own = sum(len(t[2]) for name, t in file.tensors.items() if name.startswith("blk.1."))
        self.assertEqual(self.succeed_json("show", GQA)["layers"][1]["bytes"], own)

    def test_licence(self):
        file = Gguf(GQA)
        file.keys["general.license"] = (STRING, "cc0-1.0")
        self.assertEqual(self.succeed_json("show", file.write(self.folder / "m.gguf"))["licence"], "cc0-1.0")

    def test_plan_grows_with_the_context(self):
        plans = [self.succeed_json("show", GQA, "--plan", "--ctx", n)["plan"] for n in (64, 256)]
        self.assertEqual(plans[1]["cache"], 4 * plans[0]["cache"])
        self.assertEqual(plans[1]["total"], sum(plans[1][part] for part in ("weights", "cache", "workspace")))
        self.refuse(2, ["--ctx", "256"], "show", GQA, "--plan", "--ctx", 257)

    def test_weights_are_not_read(self):
        """A file of 40 GB, nearly all of it a hole, is listed at once in little memory."""
        file = Gguf(GQA)
        rows = 100_000_000
        file.keys["llama.vocab_size"] = (4, rows)
        del file.tensors["token_embd.weight"]
        file.tensors["token_embd.weight"] = [[96, rows], 0, b""]  # at the end, as the hole
        path = file.write(self.folder / "huge.gguf")
        os.truncate(path, path.stat().st_size + rows * 96 * 4)
        begin = time.monotonic()
        told = self.succeed_json("show", path)
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(told["vocabulary"], rows)
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 2_000_000)


class Pack(CommandLineTest):
    """Packed weights are used when they fit; when they do not, a note says why and the answer is the same."""

    def setUp(self):
        super().setUp()
        self.home = self.folder / "home"
        self.model = self.folder / "model.gguf"
        self.model.write_bytes(GQA.read_bytes())

    def environment(self, **more):
        return os.environ | {"LAMINA_HOME": str(self.home)} | more

    def answer(self, **more):
        """The greedy text, and what was said on standard error."""
        done = self.call("run", self.model, "ab", "--raw", "-n", 8, "--temperature", 0, env=self.environment(**more))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr

    def pack(self, *arguments):
        return self.succeed_json("pack", self.model, *arguments, env=self.environment())

    def test_the_life_of_a_packed_file(self):
        text, said = self.answer()
        self.assertEqual(said, "")
        self.assertIn("nothing is packed", self.succeed("pack", env=self.environment()))
        told = self.pack()
        self.assertEqual(told["done"], "written")
        path = pathlib.Path(told["file"])
        self.assertEqual(path.stat().st_size, told["bytes"])
        self.assertEqual(self.pack()["done"], "is up to date")
        self.assertEqual(self.pack("--verify")["done"], "verified")
        self.assertEqual(self.answer(), (text, ""))
        listed = self.succeed_json("pack", env=self.environment())["packed"]
        self.assertEqual(listed, [{"model": str(self.model), "bytes": told["bytes"], "file": str(path)}])
        self.assertEqual(self.pack("--remove")["done"], "removed")
        self.assertFalse(path.exists())
        self.refuse(1, "is not there", "pack", self.model, "--remove", env=self.environment())

    def test_each_recipe_has_its_own(self):
        paths = {self.pack(*recipe)["file"] for recipe in ([], ["--recipe", "L*:q8_0"], ["--activations", "f32"])}
        self.assertEqual(len(paths), 3)
        # What does not touch the weights does not count.
        self.assertIn(self.pack("--recipe", "kv:f32 L1.mlp:drop")["file"], paths)

    def test_what_does_not_fit_is_not_used(self):
        text, _ = self.answer()
        path = pathlib.Path(self.pack()["file"])
        whole = path.read_bytes()
        for bytes_, reason in [(whole[: len(whole) // 2], "bytes"), (b"x" + whole[1:], "not a file of packed weights"),
                               (whole[:20] + b"x" + whole[21:], "damaged"), (b"", "not a file of packed weights")]:
            path.write_bytes(bytes_)
            found, said = self.answer()
            self.assertEqual(found, text)
            self.assertIn("packed weights are not used", said)
            self.assertIn(reason, said)
            self.assertEqual(self.answer(LAMINA_PACKED="off"), (text, ""))
        self.assertEqual(self.pack()["done"], "written")
        os.utime(self.model, (1, 1))
        found, said = self.answer()
        self.assertEqual(found, text)
        self.assertIn("was made from", said)
        self.refuse(2, "was made from", "pack", self.model, "--verify", env=self.environment())
        self.assertEqual(self.pack()["done"], "written")
        self.assertEqual(self.answer(), (text, ""))

    def test_removal_needs_no_model(self):
        paths = {self.pack(*recipe)["file"] for recipe in ([], ["--recipe", "L*:q8_0"])}
        whole = self.model.read_bytes()
        self.model.write_bytes(b"no model")
        self.refuse(1, "model", "pack", self.model, "--remove", "--recipe", "L*:q8_0", env=self.environment())
        self.assertEqual(set(self.pack("--remove")["files"]), paths)
        self.refuse(1, "model", "pack", self.model, "--remove", env=self.environment())
        self.model.write_bytes(whole)
        path = pathlib.Path(self.pack()["file"])
        self.model.unlink()
        self.assertEqual(self.pack("--remove")["files"], [str(path)])
        self.model.write_bytes(whole)
        path = pathlib.Path(self.pack()["file"])
        path.write_bytes(b"damaged")
        self.assertEqual(self.succeed_json("pack", path, "--remove", env=self.environment())["files"], [str(path)])
        self.assertFalse(path.exists())

    def test_changed_weights_are_found_on_demand(self):
        path = pathlib.Path(self.pack()["file"])
        whole = bytearray(path.read_bytes())
        whole[1000] ^= 1
        path.write_bytes(whole)
        self.refuse(1, "damaged", "pack", self.model, "--verify", env=self.environment())
        self.refuse(2, "MODEL", "pack", "--verify", env=self.environment())


class Vectors(CommandLineTest):
    """Tiny encoders as sentence-transformers saves them, and the vectors and scores that it makes."""

    FOLDER = GOLDEN.parent / "embed"

    def expected(self, name):
        return json.loads((self.FOLDER / name / "expected.json").read_text(encoding="utf-8"))

    def embed(self, name, texts, *options, **more):
        return self.succeed_json("embed", self.FOLDER / name, *texts, "--activations", "f32", "--truncate", *options, **more)["embeddings"]

    def close(self, found, wanted):
        self.assertEqual([len(row) for row in found], [len(row) for row in wanted])
        for row, other in zip(found, wanted):
            self.assertLess(max(abs(a - b) for a, b in zip(row, other)), 2e-5)

    def test_prompts_and_dimensions(self):
        for row in self.expected("dense"):
            options = ["--prompt-name", row["prompt_name"]] if row["prompt_name"] else []
            self.close(self.embed("dense", row["texts"], "--dimensions", row["dimensions"], *options), row["vectors"])
        self.assertEqual(len(self.embed("dense", ["x"])[0]), 16)  # what the folder asks for
        self.assertEqual(len(self.embed("dense", ["x"], "--dimensions", 5, "--force")[0]), 5)

    def test_poolings(self):
        for row in self.expected("pooling"):
            options = ["--prompt-name", row["prompt_name"]] if row["prompt_name"] else []
            self.close(self.embed("pooling", row["texts"], "--pooling", row["pooling"], *options), row["vectors"])

    def test_a_decoder(self):
        for row in self.expected("decoder"):
            options = ["--prompt-name", row["prompt_name"]] if row["prompt_name"] else []
            self.close(self.embed("decoder", row["texts"], "--recipe", "kv:f32", *options), row["vectors"])

    def test_lines_of_a_file(self):
        wanted = self.embed("decoder", ["a", "", "b c"])
        self.assertEqual(self.embed("decoder", [], "--file", "-", stdin="a\n\nb c\n"), wanted)
        lines = self.folder / "lines.txt"
        lines.write_text("\nb c")
        self.assertEqual(self.embed("decoder", ["a"], "--file", lines), wanted)

    def test_refusals(self):
        model = self.FOLDER / "dense"
        long = "the cat " * 30
        self.refuse(1, ["text 1", "64 tokens", "at most 20", "--truncate"], "embed", model, "x", long)
        self.refuse(2, ["8; the model does not say", "24 numbers", "--force"], "embed", model, "x", "--dimensions", 8)
        self.refuse(2, ["25; the vectors have 24"], "embed", model, "x", "--dimensions", 25, "--force")
        self.refuse(2, ['"title" is unknown', "document, none, passage, query"], "embed", model, "x", "--prompt-name", "title")
        self.refuse(2, ['"median" is unknown', "weighted_mean"], "embed", model, "x", "--pooling", "median")
        self.refuse(2, ["no text", "--file"], "embed", model)
        self.refuse(1, ["no sequence-classification head"], "rerank", model, "--query", "x", "y")

    def test_scores(self):
        row = self.expected("rerank")[0]
        query = row["pairs"][0][0]
        documents = [document for asked, document in row["pairs"] if asked == query]
        options = ["--query", query, "--ctx", row["limit"], "--activations", "f32"]
        told = self.succeed_json("rerank", self.FOLDER / "rerank", *documents, *options, "--truncate")
        self.close([told["scores"]], [row["scores"][: len(documents)]])
        empty = self.succeed_json("rerank", self.FOLDER / "rerank", "mat", "--query", "")
        self.assertEqual(self.succeed_json("rerank", self.FOLDER / "rerank", "mat", "--query="), empty)
        self.refuse(1, ["text 2", "at most 20", "--truncate"], "rerank", self.FOLDER / "rerank", *documents, *options)


class BrokenFiles(CommandLineTest):
    """Each command that opens a model must say what is wrong with it."""

    def refuse_all(self, words, path, status=1):
        for call in [("show", path), ("run", path, "hi", "--raw"), ("logits", path, "--tokens", "1", "--out", self.folder / "x.npy")]:
            self.refuse(status, words, *call)
        self.assertFalse((self.folder / "x.npy").exists())

    def edited(self, change, name="gqa"):
        file = Gguf(GOLDEN / name / "model.gguf")
        change(file)
        return file.write(self.folder / "model.gguf")

    def test_missing(self):
        self.refuse_all("no such file", self.folder / "none.gguf")
        self.refuse_all(["none-such", "lamina pull"], "none-such")

    def test_folder_without_model(self):
        self.refuse_all("holds no model", self.folder)

    def test_truncated(self):
        data = GQA.read_bytes()
        path = self.folder / "cut.gguf"
        for size in [0, 3, 4, 12, 24, 40, 1000, 4000, len(data) // 2, len(data) - 1]:
            path.write_bytes(data[:size])
            self.refuse_all("cut.gguf", path)

    def test_wrong_magic(self):
        def change(file):
            file.magic = b"GGML"
        self.refuse_all("GGUF", self.edited(change))

    def test_unknown_version(self):
        def change(file):
            file.version = 9
        self.refuse_all("9", self.edited(change))

    def test_unknown_codec(self):
        path = self.edited(lambda file: None)
        data = path.read_bytes()
        name = b"blk.0.attn_q.weight"
        at = data.index(name) + len(name) + 4 + 16
        path.write_bytes(data[:at] + struct.pack("<I", 999) + data[at + 4:])
        self.refuse_all(["attn_q", "999"], path)

    def test_unknown_architecture(self):
        def change(file):
            file.keys["general.architecture"] = (STRING, "unheard")
        self.refuse_all(["unheard", "llama"], self.edited(change))

    def test_no_architecture(self):
        self.refuse_all("architecture", self.edited(lambda file: file.keys.pop("general.architecture")))

    def test_missing_setting(self):
        self.refuse_all("llama.block_count", self.edited(lambda file: file.keys.pop("llama.block_count")))

    def test_missing_tensor(self):
        for name in ["blk.1.ffn_up.weight", "token_embd.weight", "output_norm.weight"]:
            self.refuse_all(name, self.edited(lambda file, name=name: file.tensors.pop(name)))

    def test_misshaped_tensor(self):
        def change(file):
            file.tensors["blk.0.attn_q.weight"][0] = [48, 192]
        self.refuse_all(["blk.0.attn_q.weight", "192", "48", "96"], self.edited(change))

    def test_tensor_without_place(self):
        def change(file):
            file.tensors["blk.0.extra.weight"] = [[8], 0, bytes(32)]
        self.refuse_all("blk.0.extra.weight", self.edited(change))

    def test_more_layers_than_tensors(self):
        def change(file):
            file.keys["llama.block_count"] = (4, 3)
        self.refuse_all("blk.2.", self.edited(change))

    def test_absurd_settings(self):
        for key, value in [("llama.block_count", 0), ("llama.block_count", 4294967295), ("llama.attention.head_count", 0),
                           ("llama.attention.head_count", 7), ("llama.attention.head_count_kv", 5), ("llama.context_length", 0),
                           ("llama.embedding_length", 0)]:
            def change(file, key=key, value=value):
                file.keys[key] = (4, value)
            self.refuse_all("model.gguf", self.edited(change))

    def test_more_tokens_than_rows(self):
        def change(file):
            element, tokens = file.keys["tokenizer.ggml.tokens"][1]
            file.keys["tokenizer.ggml.tokens"] = (ARRAY, (element, tokens + [b"<extra>"]))
            kind, types = file.keys["tokenizer.ggml.token_type"][1]
            file.keys["tokenizer.ggml.token_type"] = (ARRAY, (kind, types + [1]))
        path = self.edited(change)
        self.refuse_all(["105 tokens", "104 rows"], path)
        self.refuse(1, ["105 tokens", "104 rows"], "compress", path, "-o", self.folder / "out")

    def test_rows_without_tokens_are_padding(self):
        def change(file):
            element, tokens = file.keys["tokenizer.ggml.tokens"][1]
            kind, types = file.keys["tokenizer.ggml.token_type"][1]
            element_of_merges, merges = file.keys["tokenizer.ggml.merges"][1]
            kept = tokens[:103]  # the last one is the beginning of texts
            merges = [merge for merge in merges if merge.replace(b" ", b"") in kept]
            file.keys["tokenizer.ggml.tokens"] = (ARRAY, (element, kept))
            file.keys["tokenizer.ggml.token_type"] = (ARRAY, (kind, types[:103]))
            file.keys["tokenizer.ggml.merges"] = (ARRAY, (element_of_merges, merges))
            for name in ("bos_token_id", "eos_token_id"):
                file.keys[f"tokenizer.ggml.{name}"] = (4, 0)
        path = self.edited(change)
        whole = self.succeed_json("run", GQA, "l", "--raw", "-n", "1")
        self.assertEqual(self.succeed_json("run", path, "l", "--raw", "-n", "1")["tokens"], whole["tokens"])

    def test_no_tokenizer(self):
        def change(file):
            for key in [key for key in file.keys if key.startswith("tokenizer.")]:
                file.keys.pop(key)
        path = self.edited(change)
        self.refuse(1, "tokenizer", "run", path, "hi", "--raw")
        self.refuse(1, "tokenizer", "tokenize", path, "hi")

    def test_broken_config(self):
        (self.folder / "config.json").write_text('{"architectures": [')
        self.refuse_all("config.json", self.folder)


class BrokenFolders(CommandLineTest):
    """The same for folders: configurations that contradict the tensors, and JSON that is hostile."""

    def refuse_config(self, words, name, change):
        """Folder `name` of the golden models with a changed config.json: `change` edits the object or gives the text."""
        folder = GOLDEN / name
        config = json.loads((folder / "config.json").read_text())
        text = change(config) or json.dumps(config)
        (self.folder / "config.json").write_text(text)
        weights = self.folder / "model.safetensors"
        if not weights.exists():
            weights.symlink_to(folder / "model.safetensors")
        self.refuse(1, words, "logits", self.folder, "--tokens", "1", "--out", self.folder / "x.npy")
        self.assertFalse((self.folder / "x.npy").exists())

    def test_config_against_tensors(self):
        for key, value, words in [("hidden_size", 64, "64"), ("num_hidden_layers", 1, "layers.1."), ("num_hidden_layers", 7, "layers."),
                                  ("vocab_size", 5, ""), ("num_attention_heads", -6, "sqrt of"), ("intermediate_size", 2**31, ""),
                                  ("hidden_size", 1e300, "hidden"), ("hidden_size", "48", "hidden"), ("num_hidden_layers", [2], "")]:
            with self.subTest(key=key, value=value):
                self.refuse_config(words, "qwen2", lambda config, key=key, value=value: config.update({key: value}))

    def test_expert_counts(self):
        for value in (0, 2**31, 2**63, -1, 7):
            with self.subTest(value=value):
                self.refuse_config("", "mixtral", lambda config, value=value: config.update({"num_local_experts": value}))

    def test_tokens_against_rows(self):
        folder = GOLDEN.parent / "embed" / "decoder"
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (self.folder / name).write_bytes((folder / name).read_bytes())
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        rows = json.loads((folder / "config.json").read_text())["vocab_size"]
        calls = [("embed", self.folder, "hi"), ("run", self.folder, "hi", "--raw", "-n", "1"), ("eval", self.folder, "--text", __file__)]
        tokenizer["added_tokens"].append({"id": rows, "content": "<extra>", "special": True})
        self.succeed(*calls[0])
        (self.folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        for call in calls:
            self.refuse(1, [f"{rows + 1} tokens", f"{rows} rows"], *call)

    def test_hostile_json(self):
        self.refuse_config("deeper than", "qwen2", lambda config: "[" * 100_000)
        self.refuse_config("hidden_size", "qwen2", lambda config: json.dumps(config)[:-1] + ', "hidden_size": 40}')
        self.refuse_config("must be a JSON object", "qwen2", lambda config: "[]")

    def test_tensors_of_odd_shapes(self):
        for shape in ([1] * 10, [0, 40], [2**40, 2**40], [40, 40, 1]):
            with self.subTest(shape=shape):
                self.rewrite_header("model.layers.0.self_attn.o_proj.weight", lambda entry, shape=shape: entry.update(shape=shape))

    def test_odd_types(self):
        for dtype in ("BOOL", "I32", "F4", "C64", 7):
            with self.subTest(dtype=dtype):
                self.rewrite_header("model.layers.0.self_attn.o_proj.weight", lambda entry, dtype=dtype: entry.update(dtype=dtype))

    def rewrite_header(self, name, change):
        data = (GOLDEN / "qwen2" / "model.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + size])
        change(header[name])
        text = json.dumps(header).encode()
        (self.folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])
        (self.folder / "config.json").write_text((GOLDEN / "qwen2" / "config.json").read_text())
        self.refuse(1, "o_proj", "logits", self.folder, "--tokens", "1", "--out", self.folder / "x.npy")


class Running(CommandLineTest):
    def with_template(self, source):
        file = Gguf(GQA)
        file.keys["tokenizer.chat_template"] = (STRING, source)
        return file.write(self.folder / "chat.gguf")

    def test_json_of_a_run(self):
        out = self.succeed_json("run", GQA, "the layer", "--raw", "-n", 5, "--temperature", 0)
        self.assertEqual(len(out["tokens"]), out["completion_tokens"])
        self.assertLessEqual(out["completion_tokens"], 5)
        self.assertIn(out["finish_reason"], ["stop", "length"])
        self.assertEqual(set(out["timings"]), {"load_ms", "ttft_ms", "prompt_tps", "decode_tps"})

    def test_text_is_that_of_the_json(self):
        call = ("run", GQA, "the layer", "--raw", "-n", 8, "--temperature", 0)
        self.assertEqual(self.succeed(*call), self.succeed_json(*call)["text"] + "\n")

    def test_standard_input_is_a_prompt(self):
        call = ("--raw", "-n", 4, "--temperature", 0)
        self.assertEqual(self.succeed("run", GQA, *call, stdin="the layer"), self.succeed("run", GQA, "the layer", *call))

    def test_impossible_values(self):
        for option, value in [("--temperature", -1), ("--temperature", "hot"), ("--top-p", 2), ("--top-p", "nan"), ("--top-k", -1),
                              ("--min-p", 1.5), ("--repeat-penalty", -1), ("--threads", 0), ("--threads", 100000), ("--ctx", 0),
                              ("-n", -2), ("--seed", -1), ("--activations", "int4")]:
            self.refuse(2, "", "run", GQA, "hi", "--raw", option, value)

    def test_context(self):
        self.refuse(2, ["--ctx", "257", "256"], "run", GQA, "hi", "--raw", "--ctx", 257)
        self.refuse(1, "context of 256", "run", GQA, "hello " * 300, "--raw")
        self.refuse(1, "context of 4", "run", GQA, "hello there", "--raw", "--ctx", 4)
        self.refuse(2, "empty", "run", GQA, "", "--raw")

    def test_impossible_recipes(self):
        for recipe, word in [("L9:drop", "0 to 1"), ("L0:frob", "frob"), ("L0:", "character"), ("L0.tail:drop", "tail"),
                             ("route:0,7", "7"), ("kv:f16+f32", "one number format"), ("kv:f16 kv:f16", "kv"), ("L0-1:drop", "layer"),
                             ("route:1-0", "1-0"), ("nowhere:drop", "nowhere"), ("L0:drop(", "character"), ("kv:f16(3)", "3"),
                             ("L1-0:drop", "character")]:
            self.refuse(2, ["recipe", word], "run", GQA, "hi", "--raw", "--recipe", recipe)
            self.refuse(2, "recipe", "logits", GQA, "--tokens", "1", "--out", self.folder / "x.npy", "--recipe", recipe)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_templates(self):
        self.refuse(1, "--raw", "run", GQA, "hi")
        self.refuse(2, "roles must alternate", "run", self.with_template("{{ raise_exception('roles must alternate') }}"), "hi")
        self.refuse(1, "template", "run", self.with_template("{% for %}"), "hi")
        path = self.with_template(TEMPLATE)
        chat = self.folder / "chat.json"
        for text in ['[{"role": "user"', '{"messages": 3}', '[3]']:
            chat.write_text(text)
            self.refuse(2, "chat.json", "template", path, "--messages", chat)
        chat.write_text('[{"role": "user", "content": "hello"}]')
        self.assertEqual(self.succeed_json("template", path, "--messages", chat)["text"], "hello")
        self.assertEqual(self.succeed_json("run", path, "hello", "-n", 1)["completion_tokens"], 1)

    def test_tokens_round_trip(self):
        out = self.succeed_json("tokenize", GQA, "the layer")
        self.assertEqual("".join(out["pieces"]), "the layer")
        ids = ",".join(map(str, out["tokens"]))
        self.assertEqual(self.succeed_json("tokenize", GQA, "--decode", ids)["text"], "the layer")
        self.refuse(2, ["-1", "104"], "tokenize", GQA, "--decode", "1,-1")
        self.refuse(2, "", "tokenize", GQA, "--decode", "1,x")
        self.refuse(1, "none.txt", "tokenize", GQA, "--file", self.folder / "none.txt")


class Drafts(CommandLineTest):
    """Guessed tokens change the time and the report, never a text."""

    DRAFTS = ["draft:ngram(match=1,when=always)", "draft:route(skip=1,confidence=0,when=always)",
              f'draft:model("{GQA}",confidence=0,when=always)']

    def test_run_writes_the_same(self):
        for options in [["--temperature", 0], ["--temperature", 1.3, "--seed", 7]]:
            call = ["run", GQA, "the layer the layer", "--raw", "-n", 40, *options]
            plain = self.succeed_json(*call)
            self.assertNotIn("draft", plain)
            for draft in self.DRAFTS:
                out = self.succeed_json(*call, "--recipe", draft)
                self.assertEqual((out["text"], out["tokens"], out["finish_reason"]), (plain["text"], plain["tokens"], plain["finish_reason"]))
                counts = out["draft"]
                self.assertLessEqual(counts["accepted"], counts["drafted"])
                self.assertAlmostEqual(counts["tokens_per_step"], 1 + counts["accepted"] / max(1, counts["steps"]))
                self.assertEqual(self.succeed(*call, "--recipe", draft), self.succeed(*call))

    def test_bench_and_eval_tell_what_was_right(self):
        text = self.folder / "text.txt"
        text.write_text("the layer the layer the layer the layer")
        rows = self.succeed_json("bench", GQA, "-p", 8, "-n", 12, "-d", 0, "-r", 2, "-b", "1,2", "--recipe", self.DRAFTS[0])["rows"]
        self.assertEqual(["draft" in row for row in rows], [False, True, False, True])
        rows = self.succeed_json("bench", GQA, "-p", 0, "-n", 12, "-d", 5, "-r", 1, "--text", text, "--recipe", self.DRAFTS[2])["rows"]
        self.assertGreater(rows[0]["draft"]["acceptance"], 0.9)
        self.assertIn("bandwidth_share", self.succeed_json("bench", GQA, "-p", 0, "-n", 8, "-d", 5, "-r", 1, "--text", text)["rows"][0])
        self.refuse(2, ["text.txt", "wanted by -d"], "bench", GQA, "-p", 0, "-n", 8, "-d", 200, "--text", text)
        tasks = self.folder / "tasks.jsonl"
        tokens = self.succeed_json("run", GQA, "the layer", "--raw", "--temperature", 0, "-n", 4)["text"]
        tasks.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n"
                                 for p, a in [("the layer", tokens), ("the", "x"), ("the layer", "the"), ("a", "b")]))
        plain = self.succeed_json("eval", GQA, "--tasks", tasks)
        for draft in self.DRAFTS:
            out = self.succeed_json("eval", GQA, "--tasks", tasks, "--recipe", draft)
            self.assertEqual(out["tasks"], plain["tasks"])
            self.assertIn("drafted", out["draft"])

    def test_what_cannot_be_is_refused(self):
        for recipe, words, status in [
                ("draft:model(\"none\")", "none", 1), ("draft:route(skip=0-1)", "no layer is left to guess with", 2),
                (f'draft:model("{GOLDEN / "lfm2" / "model.gguf"}")', "recurrent states", 1)]:
            self.refuse(status, words, "run", GQA, "hi", "--raw", "--recipe", recipe)
        self.refuse(1, "recurrent states", "run", GOLDEN / "lfm2" / "model.gguf", "hi", "--raw", "--recipe", "draft:ngram")
        self.refuse(1, "writes no text", "logits", GQA, "--tokens", "1", "--out", self.folder / "x.npy", "--recipe", "draft:ngram")
        self.refuse(1, "writes no text", "eval", GQA, "--text", __file__, "--recipe", "draft:ngram")

    def test_show_tells_the_route(self):
        out = self.succeed_json("show", GQA, "--recipe", "route:0,(1|0),1 draft:route(attn=0)")
        self.assertEqual(out["route"], {"text": "0,(1|0),1", "visits": [0, 1, 0, 1], "draft": "0.mlp,(1|0.mlp),1"})
        self.assertIn("0 (1 in all)", self.succeed("show", GQA, "--recipe", "route:skip(unified,speedup=2)"))
        self.assertNotIn("route", self.succeed_json("show", GQA))


class Profile(CommandLineTest):
    def test_bench_explains_the_time_by_layer_and_operation(self):
        trace = self.folder / "trace.json"
        model = GQA
        rows = self.succeed_json("bench", model, "-p", 16, "-n", 4, "-r", 2, "--profile", "--trace", trace)["rows"]
        self.assertEqual([row["test"] for row in rows], ["pp16", "tg4"])
        for row, steps in zip(rows, [2, 8]):
            profile = row["profile"]
            self.assertEqual(profile["steps"], steps)
            self.assertGreater(profile["explained"], 0.5)
            self.assertAlmostEqual(sum(o["ms"] for o in profile["operations"]), profile["step_ms"], places=6)
            self.assertAlmostEqual(sum(o["share"] for o in profile["operations"]), 1, places=6)
            parts = {(o["layer"], o["part"]) for o in profile["operations"]}
            self.assertLessEqual({(None, "embedding"), (0, "attn"), (0, "mlp"), (None, "head")}, parts)
        names = {event["name"] for event in json.loads(trace.read_text())["traceEvents"]}
        self.assertLessEqual({"attention", "norm", "ffn_down", "attn_q+attn_k+attn_v"}, names)

    def test_run_prints_it_beside_the_answer(self):
        model = GQA
        call = ["run", model, "the layer", "--raw", "--temperature", 0, "-n", 4]
        done = self.call(*call, "--profile")
        self.assertEqual((done.returncode, done.stdout), (0, self.succeed(*call)))
        self.assertIn("writing: 3 steps", done.stderr)
        self.assertIn("writing", self.succeed_json(*call, "--profile")["profile"])

    def test_a_trace_that_cannot_be_written_is_an_error(self):
        model = GQA
        where = self.folder / "none" / "trace.json"
        self.refuse(1, [str(where), "cannot be written"], "bench", model, "-p", 8, "-n", 0, "-r", 1, "--json", "--trace", where)


class Comparison(CommandLineTest):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text("The quick brown fox jumps over the lazy dog. " * 12)
        self.tasks = self.folder / "sums.jsonl"
        self.tasks.write_text("".join(json.dumps({"prompt": f"{i}+1=", "answer": str(i + 1)}) + "\n" for i in range(8)))
        self.options = ["--text", self.text, "--ctx", "32", "--tasks", self.tasks, "--reference", MODEL]

    def test_recipes_and_kept_rows_make_one_table(self):
        rows = self.succeed_json("eval", MODEL, "--recipe", "", "--recipe", "L0.attn:drop", *self.options)["rows"]
        self.assertEqual([row["recipe"] for row in rows], ["", "L0.attn:drop"])
        self.assertEqual(rows[0]["kl_mean"], 0)
        self.assertGreater(rows[1]["kl_mean"], 0)
        self.assertLess(rows[1]["bytes_per_token"], rows[0]["bytes_per_token"])
        self.assertEqual(len(rows[1]["tasks"]["sums"]["matches"]), 8)
        self.assertIn("difference", rows[1]["tasks"]["sums"])
        self.assertEqual(self.succeed_json("eval", MODEL, "--recipe", "L0.attn:drop", *self.options)["kl_mean"], rows[1]["kl_mean"])
        kept = self.folder / "rows.json"
        kept.write_text(json.dumps({"rows": rows}))
        speed = self.folder / "speed.json"
        speed.write_text(self.succeed("bench", MODEL, "--recipe", "L0.attn:drop", "-p", "8", "-n", "4", "-r", "1", "--json"))
        plot = self.folder / "plot.svg"
        table = self.succeed("eval", kept, speed, MODEL, "--recipe", "L1.mlp:drop", *self.options, "--plot", plot)
        for word in ["L0.attn:drop", "L1.mlp:drop", "writes/s", "KL", "sums"]:
            self.assertIn(word, table)
        xml.dom.minidom.parse(str(plot))

    def test_what_cannot_be_compared_is_refused(self):
        kept = self.folder / "rows.json"
        kept.write_text(self.succeed("eval", MODEL, *self.options, "--json"))
        other = self.folder / "other.txt"
        other.write_text("Something else is told here. " * 20)
        self.refuse(2, ["text", "different"], "eval", kept, MODEL, "--recipe", "L0.attn:drop", "--text", other, "--ctx", "32")
        kept.write_text("{}")
        self.refuse(1, ["rows.json", "no report"], "eval", kept)


class Files(CommandLineTest):
    """What a run writes is whole or not there."""

    def logits(self, *more):
        return ("logits", GQA, "--tokens", "1,2,3", *more)

    def test_unwritable(self):
        self.refuse(1, "none/x.npy", *self.logits("--out", self.folder / "none" / "x.npy"))
        self.refuse(1, "regular file", *self.logits("--out", self.folder))
        self.refuse(1, "none/h.npy", *self.logits("--out", self.folder / "x.npy", "--hidden", "all", "--hidden-out", self.folder / "none/h.npy"))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_pipe_is_not_replaced(self):
        os.mkfifo(self.folder / "pipe")
        self.refuse(1, "regular file", *self.logits("--out", self.folder / "pipe"))

    def test_wrong_tokens(self):
        self.refuse(2, "104", *self.logits()[:2], "--tokens", "1,104", "--out", self.folder / "x.npy")
        self.refuse(2, "--hidden", *self.logits("--out", self.folder / "x.npy", "--hidden", "9", "--hidden-out", self.folder / "h.npy"))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_full_disk(self):
        """A file size limit acts as a full disk: writing fails midway."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        tokens = ",".join(["5"] * 200)
        self.refuse(1, "x.npy", "logits", GQA, "--tokens", tokens, "--out", self.folder / "x.npy", preexec_fn=limit, restore_signals=False)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_an_older_file_survives_a_failure(self):
        out = self.folder / "x.npy"
        out.write_text("before")
        self.refuse(2, "104", *self.logits()[:2], "--tokens", "1,104", "--out", out)
        self.assertEqual(out.read_text(), "before")

    def test_full_standard_output(self):
        with open("/dev/full", "w") as full:
            for call in [("codecs",), ("show", GQA), ("run", GQA, "hi", "--raw", "-n", "3"), ("codecs", "--json")]:
                done = subprocess.run([LAMINA, *call], stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), f"{call}: {done.stderr}")


class Compress(CommandLineTest):
    def test_report(self):
        out = self.folder / "out.gguf"
        report = self.succeed_json("compress", GQA, "--recipe", "L*:q8_0", "-o", out)
        self.assertEqual(report["files"], [str(out)])
        self.assertEqual(report["recipe"], "L*:q8_0")
        self.assertEqual(report["bytes"], sum(row["bytes"] for row in report["tensors"]))
        self.assertLess(report["bytes"], report["bytes_before"])
        row = next(row for row in report["tensors"] if row["name"] == "blk.0.ffn_up.weight")
        self.assertEqual(row["after"], "q8_0")
        self.assertGreater(row["rmse"], 0)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["out.gguf"])
        text = self.succeed("compress", GQA, "-o", self.folder / "folder")
        self.assertIn("tensors", text)
        self.assertIn("q8_0", self.succeed("show", out))

    def test_wrong_calls(self):
        self.refuse(2, "--output is required", "compress", GQA)
        self.refuse(2, ["q9_9", "character 4"], "compress", GQA, "-o", self.folder / "x.gguf", "--recipe", "L*:q9_9")
        self.refuse(2, "is the model itself", "compress", GQA, "-o", GQA, "--force")
        self.refuse(1, "No such file", "compress", GQA, "-o", self.folder / "none" / "x.gguf")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        for name in ["x.gguf", "x"]:
            self.refuse(1, "File too large", "compress", GQA, "-o", self.folder / name, preexec_fn=limit, restore_signals=False)
            self.assertEqual(list(self.folder.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
