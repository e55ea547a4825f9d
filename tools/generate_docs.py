#!/usr/bin/env python3
"""Writes what pages show of the code, between <!-- name --> and <!-- /name -->: in README.md the tables of
`lamina name --json`; in docs/serving.md the server's routes; in docs/extend.md the schema of architecture files and the worked example."""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import schema

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "src/models/arch/stablelm.json"

# Section: (column title, JSON field) of each column; the rows are the list in the object under the section's name.
SECTIONS = {
    "techniques": [("Name", "name"), ("Place", "place"), ("Effect", "effect"), ("What it does", "summary"), ("Source", "paper")],
    "codecs": [("Name", "name"), ("Bits per weight", "bits_per_weight"), ("Block", "block_elements"), ("Written", "encodes")],
    "architectures": [("Name", "name"), ("GGUF", "gguf"), ("Class", "class"), ("What it covers", "summary")],
}


def cell(value):
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(cell(v) for v in value)
    return "" if value is None else str(value).replace("|", "\\|")


def table(rows, columns):
    """A markdown table; columns that no row fills are left out."""
    kept = [(title, field) for title, field in columns if any(row.get(field) not in (None, "", []) for row in rows)]
    lines = ["| " + " | ".join(title for title, _ in kept) + " |", "|" + " --- |" * len(kept)]
    lines += ["| " + " | ".join(cell(row.get(field)) for _, field in kept) + " |" for row in rows]
    return "\n".join(lines)


def fill(text, sections):
    """`text` with each section's table between its markers; KeyError names a marker that is missing."""
    for name, body in sections.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if not pattern.search(text):
            raise KeyError(f"no <!-- {name} --> section")
        text = pattern.sub(lambda found, body=body: found.group(1) + body + "\n" + found.group(2), text)
    return text


def folded(techniques, codecs):
    """The techniques, those that only name a codec in one row for all of them."""
    names = {row["name"] for row in codecs}
    formats = [row for row in techniques if row["name"] in names and row["place"] != "kv"]
    rows = [row for row in techniques if row not in formats]
    if formats:
        listed = list(dict.fromkeys(row["name"] for row in formats))
        places = list(dict.fromkeys(row["place"] for row in formats))
        what = "stores matrices in that number format, when a model is loaded or by `lamina compress`"
        rows.append(formats[0] | {"name": ", ".join(listed), "place": ", ".join(places), "summary": what, "paper": ""})
    return rows


def tables(lamina):
    """The tables of README.md."""
    rows = {}
    for name in SECTIONS:
        out = subprocess.run([lamina, name, "--json"], capture_output=True, text=True, check=True).stdout
        rows[name] = json.loads(out)[name]
    rows["techniques"] = folded(rows["techniques"], rows["codecs"])
    return {name: table(rows[name], columns) for name, columns in SECTIONS.items()}


def routes(lamina):
    """The sections of docs/serving.md: the routes, and the fields of each that takes any."""
    out = subprocess.run([lamina, "routes", "--json"], capture_output=True, text=True, check=True).stdout
    rows = [row | {"method": row["method"], "path": f"`{row['path']}`"} for row in json.loads(out)["routes"]]
    columns = [("Method", "method"), ("Path", "path"), ("What it gives", "summary")]
    shown = []
    for row in rows:
        if row["fields"]:
            fields = [field | {"name": f"`{field['name']}`"} for field in row["fields"]]
            shown.append(f"{row['path']}\n\n" + table(fields, [("Field", "name"), ("Type", "type"), ("Required", "required"),
                                                               ("Limits", "limits"), ("Meaning", "summary")]))
    return {"routes": table(rows, columns), "fields": "\n\n".join(shown)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lamina", default="build/lamina")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    parser.add_argument("--check", action="store_true", help="compare only; status 1 if a page is out of date")
    arguments = parser.parse_args()

    pages = {
        "README.md": tables(arguments.lamina),
        "docs/serving.md": routes(arguments.lamina),
        "docs/extend.md": {"schema": schema.markdown(), "example": f"```json\n{EXAMPLE.read_text()}```"},
    }
    status = 0
    for name, sections in pages.items():
        page = arguments.root / name
        old = page.read_text()
        new = fill(old, sections)
        if new == old:
            continue
        if arguments.check:
            print(f"{name} is out of date; tools/generate_docs.py writes it")
            status = 1
        else:
            page.write_text(new)
    return status


if __name__ == "__main__":
    sys.exit(main())
