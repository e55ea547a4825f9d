#!/usr/bin/env python3
"""Writes src/text/script_table.h: which characters the `tokenizers` package counts to one script (its UnicodeScripts).

Found by asking the package alone: what it does not cut apart from "a" and from Greek alpha is of no script; neighbours that
it does not cut apart are of one; and each run of such neighbours is asked beside one character of each script found so far.
"""

import argparse
import pathlib

from tokenizers import pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SCRIPTS = pre_tokenizers.UnicodeScripts()


def starts(text):
    return {begin for _, (begin, _) in SCRIPTS.pre_tokenize_str(text)}


def of_no_script():
    """Code points that stand in one piece with letters of two scripts."""
    out = set(POINTS)
    for letter in "a\u03b1":
        cut = starts("".join(letter + chr(c) for c in POINTS))
        # The letter is cut from the character before it if that has another script, as the character from the letter.
        out -= {c for i, c in enumerate(POINTS) if 2 * i + 1 in cut}
    return out


def runs_of_one_script(none):
    named = [c for c in POINTS if c not in none]
    cut = starts("".join(map(chr, named)))
    out = []
    for i, point in enumerate(named):
        if i in cut or not out or out[-1][1] != point - 1:
            out.append([point, point])
        else:
            out[-1][1] = point
    return out


def same_script(point, others):
    """Places in `others` of the characters that are not cut from this one."""
    cut = starts("".join(chr(point) + chr(other) for other in others))
    return [i for i in range(len(others)) if 2 * i + 1 not in cut]


def table():
    none = of_no_script()
    found, rows = [], []
    for first, last in runs_of_one_script(none):
        same = same_script(first, found)
        assert len(same) <= 1, (first, same)
        if not same:
            found.append(first)
        script = same[0] + 1 if same else len(found)
        if rows and rows[-1][1] == first - 1 and rows[-1][2] == script:
            rows[-1][1] = last
        else:
            rows.append([first, last, script])
    return rows, len(found)


def write(path):
    rows, scripts = table()
    body = "".join(f"{{0x{a:X}, 0x{b:X}, {s}}},{chr(10) if i % 8 == 7 else ''}" for i, (a, b, s) in enumerate(rows))
    path.write_text(
        "#pragma once\n// Made by tools/make_script_table.py from the answers of the `tokenizers` package; not written by hand.\n"
        "// clang-format off\n#include <cstdint>\n\nnamespace lamina::text::tables {\n"
        "/// Characters of one script, both ends included; what is in no row has none. Scripts are numbered from 1.\n"
        "struct ScriptSpan {\n  char32_t first;\n  char32_t last;\n  uint8_t script;\n};\n"
        f"inline constexpr ScriptSpan kScripts[] = {{\n{body}}};\n}}  // namespace lamina::text::tables\n",
        encoding="ascii",
    )
    print(f"{path}: {len(rows)} rows, {scripts} scripts")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("header", type=pathlib.Path, nargs="?", default=pathlib.Path("src/text/script_table.h"))
    write(parser.parse_args().header)
