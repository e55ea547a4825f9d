#!/usr/bin/env python3
"""Encoder-decoders from the command line: logits, runs without a chat, and what does not apply to them."""

import ast
import json
import shutil
import struct
import unittest
from array import array

from command_line import GOLDEN, ROOT, CommandLineTest

ENCDEC = ROOT / "tests" / "golden" / "encdec"
EXACT = ("--activations", "f32", "--recipe", "kv:f32")
LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:."


def read_npy(path):
    """(shape, numbers) of a float32 file, version 1."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    header = ast.literal_eval(data[10 : 10 + length].decode())
    numbers = array("f")
    numbers.frombytes(data[10 + length :])
    return header["shape"], numbers


def write_npy(path, shape, numbers):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + numbers.tobytes())


def numbers_text(values):
    return ",".join(map(str, values))


class EncoderDecoder(CommandLineTest):
    def first_pair(self, case):
        return json.loads((ENCDEC / case / "texts.json").read_text())[0]

    def expect_logits(self, case, *source):
        """The logits of the case's first pair are the reference's."""
        tokens = self.first_pair(case)["decoder_input_ids"]
        out = self.folder / "l.npy"
        call = ("logits", ENCDEC / case, *source, "--tokens", numbers_text(tokens), "--out", out, *EXACT)
        told = self.succeed_json(*call)
        shape, found = read_npy(out)
        self.assertEqual(shape, (told["tokens"], told["vocabulary"]))
        _, wanted = read_npy(ENCDEC / case / "logits.npy")
        most = max(map(abs, wanted))
        self.assertLess(max(abs(a - b) for a, b in zip(found, wanted)), 1e-4 * most)
        self.assertEqual(len(found), len(tokens) * told["vocabulary"])

    def frames(self, case):
        shape, numbers = read_npy(ENCDEC / case / "frames.npy")
        path = self.folder / "mel.npy"
        write_npy(path, shape[1:], numbers[: shape[1] * shape[2]])
        return path

    def with_tokenizer(self):
        """The tiny T5 with a tokenizer of letters."""
        folder = self.folder / "t5"
        shutil.copytree(ENCDEC / "t5_gated", folder)
        pieces = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]] + [[letter, -3.0] for letter in LETTERS]
        pieces += [[f"<extra_{i}>", -9.0] for i in range(len(pieces), 80)]
        special = [{"id": i, "content": pieces[i][0], "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False} for i in range(3)]
        space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
        post = {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        }
        data = {
            "version": "1.0",
            "added_tokens": special,
            "normalizer": None,
            "pre_tokenizer": space,
            "post_processor": post,
            "decoder": space,
            "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": False},
        }
        (folder / "tokenizer.json").write_text(json.dumps(data))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}))
        return folder

    def test_logits(self):
        for case in ["t5", "t5_gated", "t5_near"]:
            self.expect_logits(case, "--encoder-tokens", numbers_text(self.first_pair(case)["input_ids"]))
        self.expect_logits("whisper", "--mel", self.frames("whisper"))

    def test_a_run_reads_the_prompt_with_the_encoder(self):
        model = self.with_tokenizer()
        out = self.succeed_json("run", model, "translate: Good day.", "--raw", "-n", 8, "--temperature", 0)
        self.assertEqual(out["prompt_tokens"], len(self.succeed_json("tokenize", model, "translate: Good day.")["tokens"]))
        self.assertLessEqual(out["completion_tokens"], 8)
        written = []
        for text in ("Good day.", "Bad night"):
            self.succeed("logits", model, "--tokens", "0", "--out", self.folder / "l.npy", "--encoder-text", text)
            written.append((self.folder / "l.npy").read_bytes())
        self.assertNotEqual(*written)
        self.refuse(1, "--raw", "run", model, "hi")
        self.refuse(2, "--system", "run", model, "hi", "--raw", "--system", "be short")
        self.refuse(2, "--mel", "run", model, "--mel", self.frames("whisper"))
        self.refuse(1, "64", "run", model, "a" * 80, "--raw")

    def test_inputs_that_do_not_fit(self):
        logits = ("--tokens", "0,1", "--out", self.folder / "l.npy")
        self.refuse(2, "--encoder-tokens", "logits", ENCDEC / "t5", *logits)
        self.refuse(2, "--encoder-tokens", "logits", ENCDEC / "t5", *logits, "--mel", self.frames("whisper"))
        self.refuse(2, "--encoder-tokens", "logits", self.with_tokenizer(), *logits, "--encoder-tokens", "1", "--encoder-text", "x")
        self.refuse(2, "--mel", "logits", ENCDEC / "whisper", *logits, "--encoder-tokens", "1")
        self.refuse(2, "[10, frames]", "logits", ENCDEC / "whisper", *logits, "--mel", self.frames("whisper_wide"))
        self.refuse(2, "no encoder", "logits", GOLDEN / "gqa", *logits, "--encoder-tokens", "1")
        self.refuse(2, "80", "logits", ENCDEC / "t5", *logits, "--encoder-tokens", "80")
        self.assertFalse((self.folder / "l.npy").exists())

    def test_commands_for_other_models(self):
        text = self.folder / "text.txt"
        text.write_text("a b c " * 40)
        model = self.with_tokenizer()
        self.refuse(1, "an encoder-decoder", "bench", model, "-p", 8, "-n", 0)
        self.refuse(1, "an encoder-decoder", "embed", model, "hello")
        self.refuse(1, "an encoder-decoder", "eval", model, "--text", text, "--ctx", 16)

    def test_show(self):
        out = self.succeed_json("show", ENCDEC / "t5_gated", "--plan")
        self.assertEqual((len(out["encoder"]), len(out["layers"])), (1, 2))
        self.assertEqual([part["role"] for part in out["layers"][0]["parts"]], ["attn", "cross", "mlp"])
        parts = [out["embedding"], *out["encoder"], *out["layers"], out["head"]]
        self.assertEqual(sum(part["parameters"] for part in parts), out["parameters"])
        self.assertIn("encoder 0", self.succeed("show", ENCDEC / "t5_gated"))

    def test_recipes(self):
        pair = self.first_pair("t5")
        call = ("logits", ENCDEC / "t5", "--encoder-tokens", numbers_text(pair["input_ids"]), "--tokens", "0,5", "--out", self.folder / "l.npy")
        self.succeed(*call, "--recipe", "L*.cross:drop")
        self.refuse(2, "found 'E0'", *call, "--recipe", "E0.attn:drop")
        self.refuse(2, "removes nothing", "logits", GOLDEN / "gqa", "--tokens", "1", "--out", self.folder / "l.npy", "--recipe", "L0.cross:drop")


if __name__ == "__main__":
    unittest.main()
