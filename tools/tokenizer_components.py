#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/components.json: each component of tokenizer.json with each of its settings, and what the
`tokenizers` package makes of hard strings with it.

`encode` rows replace members of `base`, whose tokens are bytes, and hold the ids of `texts`; `decode` rows replace members
of `decode_base` and hold the texts of `sequences`.
"""

import json
import pathlib
import sys

from tokenizer_parity import small_charsmap
from tokenizers import Tokenizer, pre_tokenizers

TEXTS = [
    "", " ", "Hello World", "  two  spaces\tand tabs \n\n", "e\u0301\u0327 \u00e9 \u212b \ufb01 \u2460 \u3000x\uff13", "\u0130I\u00df\u1e9e\u03a3\u03c2 \u01c5",
    "don't we'll I'VE", "a1b22c333 \u0663\u00bd\u2167 4567890", "\u4e2d\u6587\uff0c\u3053\u3093\u306b\u3061\u306f\u30fc\u30ab\u30bf Latin \u03b1\u03b2\u03b3 \u0431\u0432",
    "\u0e20\u0e32\u0e29\u0e32 \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u064e", "x\u00a0y\u2003z\u200b\u200d\ufeff\u0085\u2028.", "\x01\x7f\x8f\xad\ufffd\ue000",
    "\U0001f469\u200d\U0001f467\U0001f1eb\U0001f1f7 \U0001d4b3", "...!?\u2014\u201d$+<=>^`|~_a_b", "\u2581a \u2581\u2581b_c_", "<s>hi</s> [MASK] the tool toolbox TOOL  <t>x",
    "unhappily unhappy un happ", "aaaa abab bbba", "ab a b  a  ab y a y   b?? ? a ??", "\u1100\u1161\u11a8\ud55c", "camelCase HTTPServer-x_y",
    "<s> a<\u017f>b <\uff53>\u207b <\u017f><\u017f> <\u017f>un \u207b \u207ba",
]  # fmt: skip


def bytes_model(**options):
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    return {"type": "BPE", "vocab": vocabulary, "merges": []} | options


def byte_level(prefix=True, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def base():
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": byte_level(), "post_processor": None, "decoder": byte_level(), "model": bytes_model()}  # fmt: skip


def sequence(kind, *parts):
    lists = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors", "decoder": "decoders"}
    return {"type": "Sequence", lists[kind]: list(parts)}


def regex(pattern):
    return {"Regex": pattern}


def normalizers():
    plain = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]
    rows = {name: {"type": name} for name in plain}
    for left, right in ((True, True), (True, False), (False, True)):
        rows[f"Strip {left} {right}"] = {"type": "Strip", "strip_left": left, "strip_right": right}
    rows["Prepend"] = {"type": "Prepend", "prepend": "\u2581"}
    rows["Replace String"] = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    rows["Replace Regex"] = {"type": "Replace", "pattern": regex(r"\s{2,}|[0-9]"), "content": "*"}
    bert = {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    for key in list(bert)[1:]:
        rows[f"BertNormalizer {key}"] = {**bert, key: True}
    rows["BertNormalizer accents follow lowercase"] = {**bert, "lowercase": True, "strip_accents": None}
    rows["BertNormalizer"] = {**{key: True for key in bert}, "type": "BertNormalizer", "strip_accents": None}
    rows["Precompiled"] = {"type": "Precompiled", "precompiled_charsmap": small_charsmap()}
    rows["Sequence"] = sequence("normalizer", {"type": "NFD"}, sequence("normalizer", {"type": "StripAccents"}), {"type": "Lowercase"})
    out = {f"normalizer {name}": {"normalizer": spec} for name, spec in rows.items()}
    # Its words are byte characters already.
    out["normalizer ByteLevel"] = {"normalizer": {"type": "ByteLevel"}, "pre_tokenizer": None}
    return out


def pre_tokenizer_rows():
    rows = {name: {"type": name} for name in ("BertPreTokenizer", "UnicodeScripts", "Whitespace", "WhitespaceSplit")}
    rows["CharDelimiterSplit"] = {"type": "CharDelimiterSplit", "delimiter": "a"}
    rows["FixedLength"] = {"type": "FixedLength", "length": 3}
    for alone in (True, False):
        rows[f"Digits {alone}"] = {"type": "Digits", "individual_digits": alone}
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        rows[f"Punctuation {behavior}"] = {"type": "Punctuation", "behavior": behavior}
        for invert in (False, True):
            split = {"type": "Split", "pattern": regex(r"\p{L}{2}|\s"), "behavior": behavior, "invert": invert}
            rows[f"Split {behavior} {invert}"] = split
    rows["Split String"] = {"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": False}
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            rows[f"Metaspace {scheme} {split}"] = {"type": "Metaspace", "replacement": "_", "prepend_scheme": scheme, "split": split}
    rows["Sequence"] = sequence("pre_tokenizer", {"type": "Punctuation", "behavior": "Contiguous"},
                                sequence("pre_tokenizer", {"type": "Digits", "individual_digits": True}))  # fmt: skip
    rows["ByteLevel inside"] = sequence("pre_tokenizer", byte_level(False, True), {"type": "Digits", "individual_digits": True})
    out = {f"pre_tokenizer {name}": {"pre_tokenizer": sequence("pre_tokenizer", spec, byte_level())} for name, spec in rows.items()}
    for prefix in (True, False):
        for cut in (True, False):
            out[f"pre_tokenizer ByteLevel {prefix} {cut}"] = {"pre_tokenizer": byte_level(prefix, cut)}
    return out


def post_processors():
    special = [{"id": i, "content": c, "special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
               for i, c in ((256, "<s>"), (257, "</s>"))]  # fmt: skip
    names = {c: {"id": c, "ids": [i], "tokens": [c]} for i, c in ((256, "<s>"), (257, "</s>"))}
    names["twice"] = {"id": "twice", "ids": [257, 256], "tokens": ["</s>", "<s>"]}

    def template(*single):
        items = [{"Sequence": {"id": "A", "type_id": 0}} if s == "$A" else {"SpecialToken": {"id": s, "type_id": 0}} for s in single]
        pair = items + [{"Sequence": {"id": "B", "type_id": 1}}]
        return {"type": "TemplateProcessing", "single": items, "pair": pair, "special_tokens": names}

    ends = {"sep": ["</s>", 257], "cls": ["<s>", 256]}
    rows = {
        "BertProcessing": {"type": "BertProcessing", **ends},
        "RobertaProcessing": {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": False},
        "ByteLevel": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        "TemplateProcessing": template("<s>", "$A", "</s>"),
        "TemplateProcessing of two": template("twice", "$A"),
    }
    rows["Sequence"] = sequence("post_processor", rows["ByteLevel"], rows["TemplateProcessing of two"])
    return {f"post_processor {name}": {"post_processor": spec, "added_tokens": special} for name, spec in rows.items()}


def model_rows():
    letters = ["a", "b", "h", "p", "l", "y", "u", "n", "i", " ", "##a", "##b", "##p", "##h", "@@p", "@@a", "a</w>", "b</w>", "y</w>", "\u2581"]
    fragments = ["un", "ha", "pp", "happ", "ab", "aa", "##ab", "ab</w>", "unhappy", "##pp", "##y", "@@ppy", "@@ily", "@@n", "@@h", "@@h@@a"]
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    vocabulary = {token: i for i, token in enumerate(["<unk>", *letters, *fragments, *byte_tokens])}
    merges = [["u", "n"], ["h", "a"], ["p", "p"], ["ha", "pp"], ["a", "b"], ["a", "a"]]

    def bpe(without=(), **options):
        kept = {t: i for t, i in vocabulary.items() if t not in without}
        return {"type": "BPE", "dropout": None, "unk_token": "<unk>", "vocab": kept, "merges": merges} | options

    rows = {
        "BPE": bpe(),
        "BPE fuse_unk": bpe(fuse_unk=True),
        "BPE byte_fallback": bpe(byte_fallback=True),
        "BPE byte_fallback fuse_unk without all bytes": bpe(without=["<0xE4>"], byte_fallback=True, fuse_unk=True),
        "BPE without unk_token": bpe(unk_token=None),
        "BPE ignore_merges": bpe(ignore_merges=True),
        "BPE continuing_subword_prefix": bpe(continuing_subword_prefix="##", merges=[["a", "##b"], ["##a", "##b"], ["##p", "##p"]]),
        "BPE end_of_word_suffix": bpe(end_of_word_suffix="</w>", merges=[["a", "b</w>"], *merges]),
        "WordPiece": {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "@@", "max_input_chars_per_word": 8,
                      "vocab": vocabulary},
        "WordLevel": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary},
        "Unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                    "vocab": [[t, -1.0 - (7 * i % 5) / len(t)] for t, i in vocabulary.items() if "<0x" not in t]},
        "Unigram byte_fallback": {"type": "Unigram", "unk_id": 0, "byte_fallback": True,
                                  "vocab": [[t, -40.0 if "<0x" in t else -1.0 - (7 * i % 5) / len(t)] for t, i in vocabulary.items()]},
    }  # fmt: skip
    rest = {"pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None}
    out = {f"model {name}": {"model": spec} | rest for name, spec in rows.items()}
    # Without pre-tokenizer; some tokens hold a blank behind a letter, most letters have none.
    blanks = ["\u2581\u2581", "\u2581a", "a\u2581", "a\u2581a", "\u2581ab", "y\u2581"]
    across = {token: i for i, token in enumerate([*vocabulary, *(b for b in blanks)])}
    pairs = [["\u2581", "\u2581"], ["y", "\u2581"], ["a", "b"], ["\u2581", "ab"], ["a", "\u2581"], ["\u2581", "a"], ["a\u2581", "a"]]
    rest = {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}, "pre_tokenizer": None, "decoder": None}
    for flags in ({}, {"ignore_merges": True}, {"fuse_unk": True, "byte_fallback": True}):
        name = " ".join(["model BPE across blanks", *flags])
        out[name] = {"model": bpe(fuse_unk=True, vocab=across, merges=pairs) | flags} | rest
    return out


def added_token_rows():
    plain = {"special": False, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}

    def row(**options):
        tokens = [plain | options | {"id": 256 + i, "content": c} for i, c in enumerate(["tool", "[MASK]", "<s>", "to"])]
        return {"added_tokens": tokens, "normalizer": {"type": "Lowercase"}}

    rows = {"plain": row(), "special": row(special=True), "both sides": row(lstrip=True, rstrip=True, special=True)}
    for option in ("normalized", "single_word", "lstrip", "rstrip"):
        rows[option] = row(**{option: True})
    lengths = {"truncation": {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
               "padding": {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0,
                           "pad_token": "a"}}  # fmt: skip
    out = {f"added_tokens {name}": spec for name, spec in rows.items()}
    return out | {"truncation and padding": lengths}


def control_rows():
    """Control tokens that arise by normalization: from "<\u017f>", and "\u2212" from "\u207b", with and without a prefix."""
    pieces = ["<unk>", "a", "b", "<", ">", "s", "<s", "u", "n", "un", "##a", "##un", "<s>", "##<s>", "\u2212", "##\u2212", "s>un", "<s><s>"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    special = [{"id": vocabulary[c], "content": c, "special": True, "normalized": False, "single_word": False, "lstrip": False,
                "rstrip": False} for c in ("<s>", "##<s>", "\u2212", "##\u2212", "<s><s>")]  # fmt: skip
    merges = [["u", "n"], ["<", "s"], ["<s", ">"], ["<s>", "<s>"]]
    bpe = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "vocab": vocabulary, "merges": merges}
    rows = {
        "BPE": bpe,
        # The word "\u2212a" is a token only where its first character may be one.
        "BPE character": bpe | {"vocab": vocabulary | {"\u2212a": len(pieces)}, "merges": [["\u2212", "a"], *merges]},
        "BPE ignore_merges": bpe | {"ignore_merges": True, "merges": merges[:1]},
        "WordPiece": {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 99,
                      "vocab": vocabulary},
        "WordLevel": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary},
        "Unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [[t, -1.0 - (5 * i % 7)] for i, t in enumerate(pieces)]},
    }  # fmt: skip
    rest = {"added_tokens": special, "normalizer": {"type": "NFKC"}, "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None}
    return {f"control {name}": {"model": spec} | rest for name, spec in rows.items()}


TOKENS = ["\u2581He", "llo", "\u2581", "\u0120wor", "ld", "##ing", "un", "x</w>", "y</w>", "<pad>", "|", "h", "h", "i", "<0xC3>", "<0xA9>",
          " n't", ".", ",", "'s", "\u00c3", "\u00a9", "HHa", "aHH"]  # fmt: skip
SEQUENCES = [[0, 1, 2, 0, 1], [3, 4, 17], [6, 5, 5, 18, 6], [7, 6, 8], [11, 11, 9, 11, 13, 13, 10, 10, 9, 13], [14, 15, 0], [6, 16, 17, 19],
             [20, 21, 3, 20, 21], [22, 23], [23, 22], [0], [2, 2, 0], []]  # fmt: skip


def decoder_rows():
    def replace(pattern, content):
        return {"type": "Replace", "pattern": pattern, "content": content}

    rows = {
        "none": None,
        "BPEDecoder": {"type": "BPEDecoder", "suffix": "</w>"},
        "ByteFallback": {"type": "ByteFallback"},
        "ByteLevel": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "Fuse": {"type": "Fuse"},
        "Replace String": replace({"String": "\u2581"}, " "),
        "Replace Regex": replace(regex("[h-l]+"), "-"),
        "Strip": {"type": "Strip", "content": "H", "start": 1, "stop": 2},
    }
    for flag in (True, False):
        rows[f"CTC {flag}"] = {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": flag}
        rows[f"WordPiece {flag}"] = {"type": "WordPiece", "prefix": "##", "cleanup": flag}
    for scheme in ("always", "first", "never"):
        rows[f"Metaspace {scheme}"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": True}
    rows["Sequence"] = sequence("decoder", rows["Replace String"], rows["ByteFallback"], rows["Fuse"],
                                {"type": "Strip", "content": " ", "start": 1, "stop": 0})  # fmt: skip
    return {f"decoder {name}": {"decoder": spec} for name, spec in rows.items()}


def decode_base():
    vocabulary = {}
    for token in TOKENS:
        vocabulary.setdefault(token, len(vocabulary))
    return base() | {"pre_tokenizer": None, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "|"}}


def main(path):
    out = {"texts": TEXTS, "base": base(), "decode_base": decode_base(), "encode": [], "decode": []}
    for name, parts in (normalizers() | pre_tokenizer_rows() | post_processors() | model_rows() | added_token_rows() | control_rows()).items():
        tokenizer = Tokenizer.from_str(json.dumps(base() | parts))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        out["encode"].append({"name": name, "parts": parts, "ids": [tokenizer.encode(text).ids for text in TEXTS]})
    vocabulary = out["decode_base"]["model"]["vocab"]
    out["sequences"] = [[vocabulary[TOKENS[i]] for i in sequence] for sequence in SEQUENCES]
    for name, parts in decoder_rows().items():
        tokenizer = Tokenizer.from_str(json.dumps(out["decode_base"] | parts))
        out["decode"].append({"name": name, "parts": parts, "texts": [tokenizer.decode(ids) for ids in out["sequences"]]})
    path.write_text(json.dumps(out, separators=(",", ":")), encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes, {len(out['encode'])} + {len(out['decode'])} rows")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/tokenizer/components.json"))
