#!/usr/bin/env python3
"""Writes src/text/unicode_tables.h: where the `tokenizers` package classifies characters otherwise than PCRE2 and utf8proc.

Everything is found by asking the package and the two libraries about each code point. The package mixes versions of
Unicode: Oniguruma's properties (patterns) are those of 16, case and numbers those of 17, normalization forms those of 9,
and BERT's classes those of 8. Classes that are asked for without a pattern are written in full, so that they do not
depend on the utf8proc at hand; the rest are exceptions, written as what has to be added.
"""

import argparse
import ctypes
import pathlib
import struct

from tokenizers import Regex, normalizers, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, POINTS))
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
SCRIPTS = "Han Hiragana Katakana Hangul Latin Cyrillic Greek Arabic Hebrew Thai Devanagari Bopomofo".split()
# What the forms of normalization do to a character shows only among marks of other classes.
CONTEXTS = ["{}", "a{}\u0301", "a\u0301{}", "a\u0334{}\u0327\u0301", "a\u0345{}\u0300"]
FLAGS = ["numeric", "mark", "nonspacing", "punctuation", "word", "other"]


def ranges(points):
    out = []
    for point in sorted(points):
        if out and out[-1][1] == point - 1:
            out[-1][1] = point
        else:
            out.append([point, point])
    return out


def removed_by(normalizer):
    return set(POINTS) - set(map(ord, normalizer.normalize_str(TEXT)))


class Libraries:
    """PCRE2 and utf8proc of this machine."""

    def __init__(self):
        self.pcre = ctypes.CDLL("libpcre2-8.so.0")
        self.utf8proc = ctypes.CDLL("libutf8proc.so.2")
        self.free = ctypes.CDLL(None).free
        self.free.argtypes = [ctypes.c_void_p]
        size, pointer, text = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
        self.pcre.pcre2_compile_8.restype = pointer
        self.pcre.pcre2_compile_8.argtypes = [text, size, ctypes.c_uint32, pointer, pointer, pointer]
        self.pcre.pcre2_substitute_8.argtypes = [
            pointer, text, size, size, ctypes.c_uint32, pointer, pointer, text, size, text, pointer,
        ]  # fmt: skip
        self.utf8proc.utf8proc_map.restype = ctypes.c_ssize_t
        self.utf8proc.utf8proc_map.argtypes = [text, ctypes.c_ssize_t, pointer, ctypes.c_int]
        self.bytes = TEXT.encode()

    def members(self, pattern):
        """The code points that a PCRE2 pattern matches."""
        error, offset = ctypes.c_int(), ctypes.c_size_t()
        source = pattern.encode()
        utf, ucp, every = 0x00080000, 0x00020000, 0x100
        code = self.pcre.pcre2_compile_8(source, len(source), utf | ucp, ctypes.byref(error), ctypes.byref(offset), None)
        assert code, pattern
        out = ctypes.create_string_buffer(len(self.bytes) + 1)
        length = ctypes.c_size_t(len(out))
        done = self.pcre.pcre2_substitute_8(
            code, self.bytes, len(self.bytes), 0, every, None, None, b"", 0, out, ctypes.byref(length)
        )
        assert done >= 0, (pattern, done)
        return set(POINTS) - set(map(ord, out.raw[: length.value].decode()))

    def form(self, text, options):
        out = ctypes.c_void_p()
        source = text.encode()
        length = self.utf8proc.utf8proc_map(source, len(source), ctypes.byref(out), options)
        result = ctypes.string_at(out, length).decode()
        self.free(out)
        return result

    def joined(self, left, right):
        return not self.utf8proc.utf8proc_grapheme_break(left, right)


def property_rows(libraries):
    """(property, added ranges, removed ranges), for the general categories, their groups, Alphabetic and scripts."""
    rows = []
    for name in CATEGORIES + ["L", "M", "N", "P", "S", "Z", "C", "Cn", "Alphabetic"] + SCRIPTS:
        reference = removed_by(normalizers.Replace(Regex(f"\\p{{{name}}}"), ""))
        ours = libraries.members(f"\\p{{sc:{name}}}" if name in SCRIPTS else f"\\p{{{name}}}")
        # A category that no character left or joined needs no row.
        if reference != ours:
            rows.append((name, ranges(reference - ours), ranges(ours - reference)))
    return rows


def boundaries(pre_tokenizer):
    """The code points that are cut off from an "a" behind them, and those that are dropped."""
    pieces = pre_tokenizer.pre_tokenize_str("".join(chr(c) + "a" for c in POINTS))
    starts = {begin for _, (begin, _) in pieces}
    return {c for i, c in enumerate(POINTS) if 2 * i + 1 in starts}


def character_flags():
    bert = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    accents = normalizers.BertNormalizer(**{**bert, "strip_accents": True})
    nfd = normalizers.NFD()
    # They become blanks; of the controls among them only three do.
    spaces = set(map(ord, " \t\n\r\xa0\u1680\u2028\u2029\u202f\u205f\u3000")) | set(range(0x2000, 0x200B))
    cut = boundaries(pre_tokenizers.Whitespace())
    flags = {
        "numeric": boundaries(pre_tokenizers.Digits(individual_digits=True)),
        "mark": removed_by(normalizers.StripAccents()),
        # Characters that decompose never meet the question.
        "nonspacing": {c for c in POINTS if nfd.normalize_str(chr(c)) == chr(c) and not accents.normalize_str(chr(c))},
        "punctuation": boundaries(pre_tokenizers.Punctuation("isolated")),
        "word": set(POINTS) - cut,
        "other": removed_by(normalizers.BertNormalizer(**{**bert, "clean_text": True})) - spaces - {0xFFFD},
    }
    return flags


def flag_runs(flags):
    """(first code point, flags) of each run of equal flags."""
    values = bytearray(0x110000)
    for bit, name in enumerate(FLAGS):
        for point in flags[name]:
            values[point] |= 1 << bit
    out = [(0, values[0])]
    for point in range(1, 0x110000):
        if values[point] != out[-1][1]:
            out.append((point, values[point]))
    return out


def lower_cases(libraries):
    lower = normalizers.Lowercase()
    out = []
    for point in POINTS:
        reference = lower.normalize_str(chr(point))
        if reference != chr(libraries.utf8proc.utf8proc_tolower(point)) and len(reference) == 1:
            out.append((point, ord(reference)))
    return out


def inert_points(libraries, later_marks):
    """What the reference's older normalization neither decomposes, composes nor moves, but utf8proc does."""
    stable, compat, compose, decompose = 2, 4, 8, 16
    forms = [
        (normalizers.NFC(), stable | compose), (normalizers.NFD(), stable | decompose),
        (normalizers.NFKC(), stable | compose | compat), (normalizers.NFKD(), stable | decompose | compat),
    ]  # fmt: skip
    plain = [(0x3400, 0x9F00), (0xAC20, 0xD700), (0xE000, 0xF8F0), (0x20000, 0x2F800), (0xE0000, 0x110000)]
    points = [c for c in POINTS if not any(a <= c < b for a, b in plain)]
    out = set()
    for form, options in forms:
        for context in CONTEXTS:
            for begin in range(0, len(points), 256):
                part = points[begin : begin + 256]
                texts = [context.format(chr(c)) for c in part]
                joined = "\n\n".join(texts)
                if form.normalize_str(joined) == libraries.form(joined, options):
                    continue
                out |= {c for c, t in zip(part, texts) if form.normalize_str(t) != libraries.form(t, options)}
    # U+11938 is composed of the two others.
    return out | later_marks | {0x11930, 0x11935}


def one_key_charsmap():
    """A trie of the single key "a", which becomes "b": it eats the whole of a short grapheme that begins with "a"."""
    units = [0] * 256
    units[0] = 1 << 10
    node = 1 ^ ord("a")
    units[node] = ord("a") | 1 << 8 | 2 << 10
    units[node ^ 2] = 1 << 31
    trie = struct.pack("<256I", *units)
    return struct.pack("<I", len(trie)) + trie + b"b\0"


def grapheme_rows(libraries):
    """Code points that join an "a" before them in one library only."""
    charsmap = normalizers.Precompiled(one_key_charsmap())
    text = charsmap.normalize_str("".join("a" + chr(c) + "\n" for c in POINTS if c not in (10, 13, ord("a"))))
    apart = set(map(ord, text))
    joined, split = set(), set()
    for point in POINTS:
        if point in (10, 13, ord("a"), ord("b")):
            continue
        ours, theirs = libraries.joined(ord("a"), point), point not in apart
        if theirs and not ours:
            joined.add(point)
        if ours and not theirs:
            split.add(point)
    return joined, split


def spans(name, found):
    body = ", ".join(f"{{0x{a:X}, 0x{b:X}}}" for a, b in found)
    return f"inline constexpr UnicodeSpan {name}[] = {{{body or '{1, 0}'}}};\n"


def write(path):
    libraries = Libraries()
    rows = property_rows(libraries)
    marks = {c for name, added, _ in rows if name == "M" for a, b in added for c in range(a, b + 1)}
    out = [
        "#pragma once\n// Made by tools/make_unicode_tables.py from the answers of the `tokenizers` package; not written by hand.\n",
        "// clang-format off\n#include <cstdint>\n#include <span>\n#include <string_view>\n",
        "namespace lamina::text::tables {\n",
        "/// Both ends belong to it.\nstruct UnicodeSpan {\n  char32_t first;\n  char32_t last;\n};\n",
    ]
    table = []
    for name, added, removed in rows:
        out += [spans(f"kAdded{name}", added), spans(f"kRemoved{name}", removed)]
        script = "true" if name in SCRIPTS else "false"
        table.append(f'  {{"{name}", kAdded{name}, kRemoved{name}, {script}}},\n')
    for name in SCRIPTS:
        if name not in {row[0] for row in rows}:
            table.append(f'  {{"{name}", {{}}, {{}}, true}},\n')
    out.append(
        "/// What a property holds beyond, and what less than, PCRE2's.\nstruct PropertyRow {\n  std::string_view name;\n"
        "  std::span<const UnicodeSpan> added;\n  std::span<const UnicodeSpan> removed;\n  bool script;\n};\n"
        "inline constexpr PropertyRow kProperties[] = {\n" + "".join(table) + "};\n"
    )
    runs = flag_runs(character_flags())
    body = "".join(f"{{0x{a:X}, {flags}}},{chr(10) if i % 12 == 11 else ''}" for i, (a, flags) in enumerate(runs))
    out.append("/// The bits of `flags`: " + ", ".join(FLAGS) + ".\nstruct FlagRun {\n  char32_t first;\n  uint32_t flags;\n};\n")
    out.append(f"inline constexpr FlagRun kFlagRuns[] = {{\n{body}}};\n")
    body = ", ".join(f"{{0x{a:X}, 0x{b:X}}}" for a, b in lower_cases(libraries))
    out.append(f"struct CasePair {{\n  char32_t upper;\n  char32_t lower;\n}};\ninline constexpr CasePair kLowerCases[] = {{{body}}};\n")
    out.append("/// What the forms of normalization leave as it stands.\n" + spans("kInert", ranges(inert_points(libraries, marks))))
    joined, split = grapheme_rows(libraries)
    out.append("/// What joins the character before it to one grapheme, and what does not.\n")
    out += [spans("kJoined", ranges(joined)), spans("kSplit", ranges(split)), "}  // namespace lamina::text::tables\n"]
    path.write_text("".join(out), encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes, {len(rows)} properties, {len(runs)} runs")
    print(f"graphemes: joined {ranges(joined)}, split {ranges(split)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("header", type=pathlib.Path, nargs="?", default=pathlib.Path("src/text/unicode_tables.h"))
    write(parser.parse_args().header)
