#!/usr/bin/env python3
"""Compares `lamina tokenize` with the `tokenizers` package, family by family, on long texts and on hard random strings.

Families: the models of the store and of $LAMINA_TEST_MODELS, and those given by --model NAME=PATH (a GGUF file or a
folder with tokenizer.json); one BPE trained here for each published way of cutting text into words, SentencePiece BPE,
WordPiece and Unigram of several kinds, each read by the engine from tokenizer.json and, where it can say the same, from
GGUF; and one for each normalizer and pre-tokenizer that sees every code point. Prints per family the bytes compared, the
differing texts and the worst case; exits with 1 if any text differs. With --json FILE the rows are also kept there, new
ones in place of old ones of the same name, so that a long run can be done in parts (--only) and
tools/correctness.py --tokenizers FILE can write them into the docs.
"""

import argparse
import functools
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import parity_families
import tokenizers
from tokenizers import Tokenizer

CHUNK = 3000
HARD = (
    "\0|\t|\n|\r\n|\x0b|\x0c|\x1f|\x7f|\x85|\xa0|\u1680|\u180e|\u2003|\u200b|\u200d|\u2028|\u202f|\u3000|\ufeff|\ufffd|\ufffe|\ud7ff|"
    "\ue000|\uf8ff|\U000f0000|\U0010ffff|\u0378|\u05ff|\u0301|\u0327|\u0345|\u1dfa|\u0f71\u0f72|e\u0301|\u1100\u1161\u11a8|\u1112|"
    "\ud55c\uad6d|\u6f22\u5b57|\u30ab\u309a|\uff76\uff9e|\U0001f469\u200d\U0001f467|\U0001f1eb\U0001f1f7|\U0001f44d\U0001f3fd|\u2764\ufe0f|\u0e20\u0e32|"
    "\u0939\u093f\u0928\u094d\u0926\u0940|\u0627\u0644\u0639|\u05e2\u05d1|\u00df|\u1e9e|\u0130|\u0131|\ufb01|\u212b|\u212a|\u017f|\u03a3\u03c2|\u01c5|\u2460|\u0663|\u096a|"
    "\U0001d4b3|\U00020000|\U0001e4ec|\u1c89|\ua7cb|\U00011938|\U000105c0|\u2ffc|\u0c3c|'s|'S|'\u017f|'LL|'re|1234|007|3.14|   |\n\n|  \n|\t\t|the|The|"
    " hello|HTTPServer|fooBar|naive|don't|<s>|</s>|<unk>|<pad>|[CLS]|[SEP]|[MASK]|<|im_start|>|<|im_end|>|<|endoftext|>|<start_of_turn>|<0x41>|"
    "\u2581|\u2581\u2581|\u0120|##|##ing|_|-|--|...|!?|\u2014|\u201d|\u20ac|$|+=|<|>|{|}|\\|^|`|~|@|http://x.y/?q=1"
).split("|")


def documents(roots, size, emoji=True):
    """At least `size` bytes of text in pieces, where there are so many, taken evenly from all files below the roots."""
    files = sorted(p for root in roots for p in pathlib.Path(root).rglob("*") if p.is_file())
    wanted = [p for p in files if p.name.endswith((".txt", ".rst.gz", ".txt.gz", ".rst", ".md", ".py", ".1.gz", ".7.gz", ".8.gz"))]
    rng = random.Random(5)
    rng.shuffle(wanted)
    out, total, share = [], 0, max(20_000, size // max(1, min(len(wanted), 400)))
    for path in wanted:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data[:share].decode("utf-8", errors="ignore").replace("\0", "")
        out += [text[i : i + CHUNK] for i in range(0, len(text), CHUNK)]
        total += len(text.encode())
        if total >= size:
            break
    if emoji:
        signs = [chr(c) for c in range(0x1F300, 0x1FAFF)]
        for _ in range(60):
            out.append("".join(rng.choice(signs) + rng.choice(["", " ", "\u200d", "\ufe0f", "a", "\x07"]) for _ in range(200)))
    return out


@functools.cache
def hard_parts(count):
    """The parts of random strings; a number stands for one of a family's own tokens."""
    rng = random.Random(17)
    out = []
    while len(out) < count:
        parts = []
        for _ in range(rng.choice([1, 2, 3, 5, 8, 13])):
            draw = rng.random()
            if draw < 0.55:
                parts.append(rng.choice(HARD))
            elif draw < 0.65:
                parts.append(rng.randrange(1 << 20))
            elif draw < 0.85:
                point = rng.choice([0x250, 0x800, 0x3100, 0xFFFF, 0x1FFFF, 0x10FFFF])
                points = [rng.randrange(1, point) for _ in range(rng.randrange(1, 4))]
                # Lone surrogates are no text.
                parts.append("".join(chr(c) for c in points if not 0xD800 <= c < 0xE000))
            else:
                parts.append(rng.choice(HARD) * rng.randrange(2, 40))
        out.append(parts)
    return out


def hard_strings(count, tokens):
    """Random strings of hard characters and of the family's own special tokens, and some long ones."""
    tokens = [t for t in tokens if t] or ["<s>"]
    out = ["", " ", "\n", "a" * 30000, " " * 20000, "\u00e9" * 9000, "1" * 9000, "\U0001f600" * 4000, "e\u0301\u0327" * 3000, "=" * 8192]
    for parts in hard_parts(count - len(out)):
        out.append("".join(p if isinstance(p, str) else tokens[p % len(tokens)] for p in parts))
    return out


def run_engine(lamina, model, texts, special):
    """The engine's ids of each text: those without line ends by --lines, the others by --null."""
    out = [None] * len(texts)
    for flag, end, wanted in (("--null", "\0", lambda t: "\0" not in t), ("--lines", "\n", lambda t: "\n" not in t)):
        places = [i for i, text in enumerate(texts) if out[i] is None and wanted(text)]
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            file.write("".join(texts[i] + end for i in places).encode())
            file.flush()
            command = [lamina, "tokenize", str(model), "--file", file.name, flag, "--parse-special"]
            if not special:
                command.append("--no-special")
            done = subprocess.run(command, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace").strip())
        lines = done.stdout.splitlines()
        assert len(lines) == len(places), (len(lines), len(places))
        for place, line in zip(places, lines):
            out[place] = json.loads(line)
    return out


def compare(lamina, family, texts):
    """One row of the result."""
    reference = family.tokenizer
    reference.no_truncation()
    reference.no_padding()
    # A text with both a zero byte and a line end cannot be handed over.
    texts = [t if "\0" not in t else t.replace("\n", "\r") for t in texts]
    wanted = [e.ids for e in reference.encode_batch_fast(texts, add_special_tokens=family.special)]
    row = {"family": family.name, "kind": family.kind, "texts": len(texts), "bytes": sum(len(t.encode()) for t in texts),
           "differing": 0, "forms": []}  # fmt: skip
    for form, path in family.paths.items():
        got = run_engine(lamina, path, texts, family.special)
        bad = [i for i in range(len(texts)) if got[i] != wanted[i]]
        row["forms"].append(form)
        row["differing"] += len(bad)
        if bad and "worst" not in row:
            # The shortest text says most.
            i = min(bad, key=lambda i: len(texts[i]))
            at = next((k for k, (a, b) in enumerate(zip(got[i], wanted[i])) if a != b), min(len(got[i]), len(wanted[i])))
            row["worst"] = {"form": form, "text": ascii(texts[i][:160]), "at": at,
                            "got": got[i][at : at + 6], "wanted": wanted[i][at : at + 6]}  # fmt: skip
    return row


def keep(path, row):
    """Puts the row into the file, in place of an older one of its family."""
    found = json.loads(path.read_text()) if path.exists() else {"families": []}
    found["tokenizers"] = tokenizers.__version__
    found["families"] = [old for old in found["families"] if old["family"] != row["family"]] + [row]
    path.write_text(json.dumps(found, indent=1) + "\n")


def compare_family(options, family, corpus):
    if family.points:
        texts, hard = parity_families.code_point_texts(), 0
    else:
        added = [t.content for t in Tokenizer.get_added_tokens_decoder(family.tokenizer).values()]
        strings = hard_strings(options.random, added)
        texts, hard = corpus + strings, len(strings)
    try:
        return compare(options.lamina, family, texts) | {"hard": hard}
    except RuntimeError as error:
        return {"family": family.name, "kind": family.kind, "texts": 0, "bytes": 0, "hard": 0, "differing": 1, "forms": [],
                "worst": {"error": str(error)}}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lamina", default="build/lamina")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH", help="a GGUF file or a folder; repeatable")
    parser.add_argument("--texts", action="append", default=[], metavar="FOLDER", help="where texts lie; repeatable")
    parser.add_argument("--megabytes", type=float, default=10, help="of text for each family")
    parser.add_argument("--random", type=int, default=100_000, help="hard random strings for each family")
    parser.add_argument("--only", default="", help="families whose name holds this, or one of several parted by commas")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="keep the rows there")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        corpus = documents(options.texts or ["docs", "src", "tools"], int(options.megabytes * 1e6))
        models = parity_families.stored_models() + options.model
        train = corpus[: len(corpus) // 8 + 1]
        for family in parity_families.families(models, pathlib.Path(folder), train, options.only.split(",")):
            row = compare_family(options, family, corpus)
            failed |= row["differing"] != 0
            if options.json:
                keep(options.json, row)
            print(f"{row['family']:24} {row['bytes']:>11} bytes {row['texts']:>7} texts {'+'.join(row['forms']):10} "
                  f"{row['differing']} differ {row.get('worst', '')}", flush=True)  # fmt: skip
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
