#!/usr/bin/env python3
"""The schema of architecture files (src/models/schema.json): checks the files against it and prints it as markdown.

    schema.py            the schema, as docs/extend.md shows it

A record's fields have a type: a plain one, or the name of another record. A field without a default must be there.
"""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTAINERS = {"gguf", "huggingface"}
PLAIN = {"text", "texts", "number", "size", "flag", "tensor", "list", "any"}


def load(root=ROOT):
    """(schema, architectures by name), each as its file has it."""
    models = root / "src/models"
    arch = {path.stem: json.loads(path.read_text()) for path in sorted((models / "arch").glob("*.json"))}
    return json.loads((models / "schema.json").read_text()), arch


def merge(base, patch):
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    out = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


def inherited(files, name):
    data = files[name]
    base = inherited(files, data["inherits"]) if "inherits" in data else {}
    return merge({key: value for key, value in base.items() if key != "abstract"}, data)


def fields_of(schema, record):
    extends = schema[record].get("extends")
    return (fields_of(schema, extends) if extends else {}) | schema[record]["fields"]


class Checker:
    """Collects what is wrong in architecture files, and which fields of the schema they use."""

    def __init__(self, schema):
        self.schema, self.used, self.faults = schema, set(), []

    def record(self, kind, value, place):
        if not isinstance(value, dict):
            return  # an expression, or null
        if value and set(value) <= CONTAINERS and kind != "match":
            for choice in value.values():
                self.record(kind, choice, place)
            return
        known = fields_of(self.schema, kind)
        for name, content in value.items():
            if name in known:
                self.used.add((kind, name))
                self.field(known[name]["type"], content, f"{place}.{name}")
            else:
                self.faults.append(f"{place}: the schema's \"{kind}\" has no field \"{name}\"")
        for name, field in known.items():
            if "default" not in field and name not in value:
                self.faults.append(f"{place}: field \"{name}\" is missing")

    def field(self, kind, content, place):
        if kind == "settings":
            for name, setting in content.items():
                if isinstance(setting, dict):
                    self.setting(setting, f"{place}.{name}")
        elif kind == "layer":
            self.layer(content, place)
        elif kind not in PLAIN:
            for item in content if isinstance(content, list) else [content]:
                self.record(kind, item, place)

    def setting(self, value, place):
        known = self.schema["setting"]["fields"]
        for name in value:
            self.used.add(("setting", name))
            if name not in known:
                self.faults.append(f"{place}: the schema's \"setting\" has no field \"{name}\"")

    def layer(self, value, place):
        """The record as it is, and with each variant: alone, or after those before it when only that makes sense."""
        self.form(value, place)
        so_far = value
        for variant in value.get("variants", []):
            so_far = merge(so_far, variant["set"])
            known = len(self.faults)
            self.form(merge(value, variant["set"]), place)
            alone, self.faults = self.faults[known:], self.faults[:known]
            if alone:
                self.form(so_far, place)

    def form(self, form, place):
        own = {name: part for name, part in form.items() if name in self.schema["layer"]["fields"]}
        self.record("layer", own, place)
        for role, part in form.items():
            if role not in own and isinstance(part, dict):
                kind = part.get("kind")
                if kind not in self.schema:
                    self.faults.append(f"{place}.{role}: the schema has no layer kind \"{kind}\"")
                else:
                    self.record(kind, part, f"{place}.{role}")


def check(root=ROOT):
    """Lists of (file, fault): fields that the schema does not know, that are missing, or that no file uses."""
    schema, files = load(root)
    checker, faults = Checker(schema), []
    for name, own in files.items():
        for field in own:  # those of the file itself: an abstract one need not be whole
            checker.used.add(("architecture", field))
        if not own.get("abstract"):
            checker.record("architecture", inherited(files, name), name)
            faults += [(f"src/models/arch/{name}.json", fault) for fault in checker.faults]
            checker.faults.clear()
    for kind, record in schema.items():
        children = [child for child, other in schema.items() if other.get("extends") == kind]
        for name in record["fields"]:
            if not any((user, name) in checker.used for user in [kind, *children]):
                faults.append(("src/models/schema.json", f"no architecture uses \"{name}\" of \"{kind}\""))
    return faults


def markdown(root=ROOT):
    schema, _ = load(root)
    lines = []
    for kind, record in schema.items():
        extends = f", and the fields of `{record['extends']}`" if "extends" in record else ""
        lines += [f"**`{kind}`**: {record['summary']}{extends}", "", "| Field | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
        for name, field in record["fields"].items():
            lines.append(f"| `{name}` | {field['type']} | {field.get('default', 'must be there')} | {field['meaning']} |")
        lines.append("")
    return "\n".join(lines).rstrip().replace("||", "\\|\\|")


if __name__ == "__main__":
    print(markdown())
    for where, what in check():
        print(f"{where}: {what}")
