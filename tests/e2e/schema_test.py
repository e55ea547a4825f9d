#!/usr/bin/env python3
"""Random JSON schemas against the jsonschema package: what may be written validates, what validates may be written."""

import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unittest

from command_line import LAMINA

try:
    import jsonschema
except ImportError:
    print("not run: the jsonschema package is not there; ./dev test installs it")
    sys.exit(77)

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "tokenizer" / "gpt2.json"
PATTERNS = ["^[a-c]{1,4}$", "x", "^\\d{2}-\\d{2}$", "^(foo|bar)+$", "[^a-z]", "^.{2,3}$", "é|\"|\\\\"]
FORMATS = ["date", "date-time", "uuid", "ipv4", "email", "time"]
STYLES = [{"separators": (",", ":")}, {}, {"indent": 2}]


def random_schema(rng, depth):
    kinds = ["string", "pattern", "format", "integer", "number", "boolean", "null", "enum"]
    if depth > 0:
        kinds += ["object", "array", "tuple", "any", "map"] * 2
    kind = rng.choice(kinds)
    if kind == "string":
        low = rng.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randrange(6)}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    if kind == "format":
        return {"type": "string", "format": rng.choice(FORMATS)}
    if kind == "integer":
        low = rng.randrange(-300, 300)
        schema = {"type": "integer", rng.choice(["minimum", "exclusiveMinimum"]): low, "maximum": low + rng.randrange(20, 500)}
        return {**schema, "multipleOf": rng.choice([2, 5, 7])} if rng.random() < 0.3 else schema
    if kind == "number":
        low = rng.randrange(-2000, 2000) / 100
        return {"type": "number", "minimum": low, rng.choice(["maximum", "exclusiveMaximum"]): round(low + rng.randrange(1, 900) / 100, 2)}
    if kind == "enum":
        return {"enum": rng.sample(["a", "b\"c", "é\n", 1, -2.5, True, None, [1, "x"], {"k": 1}], rng.randrange(1, 4))}
    if kind == "object":
        names = rng.sample(["a", "b", "name", "x y", "é", "q\""], rng.randrange(1, 5))
        schema = {"type": "object", "properties": {name: random_schema(rng, depth - 1) for name in names},
                  "required": [name for name in names if rng.random() < 0.5]}
        extra = rng.choice([None, False, {"type": "integer"}])
        return schema if extra is None else {**schema, "additionalProperties": extra}
    if kind == "map":
        return {"type": "object", "patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": random_schema(rng, depth - 1),
                "maxProperties": rng.randrange(1, 4)}
    if kind == "array":
        low = rng.randrange(3)
        return {"type": "array", "items": random_schema(rng, depth - 1), "minItems": low, "maxItems": low + rng.randrange(1, 3)}
    if kind == "tuple":
        return {"type": "array", "prefixItems": [random_schema(rng, depth - 1) for _ in range(2)], "items": {"type": "null"}, "maxItems": 4}
    if kind == "any":
        return {"anyOf": [random_schema(rng, depth - 1), random_schema(rng, depth - 1)]}
    return {"type": kind}


STRINGS = ["", "a", "abc", "x", "12-34", "foobar", "A\tb", "é", "ab", "\"", "2024-02-29", "2024-02-29T10:20:30Z", "10:20:30Z", "1.2.3.4",
           "123e4567-e89b-12d3-a456-426614174000", "a.b@example.com", "\\ \n", "😀"]


def random_value(rng, schema):
    """A value that may keep to the schema, with its properties in the schema's order."""
    if rng.random() < 0.03 or schema is True:
        return rng.choice([None, 1, "a", [], {}])
    if "anyOf" in schema:
        return random_value(rng, rng.choice(schema["anyOf"]))
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "string":
        low = schema.get("minLength", 0)
        return rng.choice(STRINGS) if rng.random() < 0.7 else "aé\"😀x"[:low + rng.randrange(3)]
    if kind == "integer":
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        return rng.randrange(low - 2, schema.get("maximum", low + 99) + 3)
    if kind == "number":
        return round(rng.uniform(schema["minimum"] - 0.1, schema.get("maximum", schema.get("exclusiveMaximum")) + 0.1), rng.randrange(3))
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "object":
        value = {name: random_value(rng, one) for name, one in schema.get("properties", {}).items()
                 if name in schema.get("required", []) or rng.random() < 0.6}
        if rng.random() < 0.4:
            value[rng.choice(["n_1", "other", "zz"])] = random_value(rng, schema.get("additionalProperties") or {"type": "integer"})
        return value
    if kind == "array":
        prefix = [random_value(rng, one) for one in schema.get("prefixItems", [])]
        more = [random_value(rng, schema["items"]) for _ in range(rng.randrange(0, 1 + schema["maxItems"]))]
        return (prefix + more)[:rng.randrange(1, 6)]
    return None


def double_names(pairs):
    return {name: value for name, value in pairs}


class SchemaTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)
        golden = json.loads(GOLDEN.read_text())
        (self.path / "tokenizer.json").write_text(json.dumps(golden["tokenizer"]))

    def lamina(self, schema, texts, samples, seed):
        (self.path / "schema.json").write_text(json.dumps(schema))
        (self.path / "texts.json").write_text(json.dumps(texts))
        done = subprocess.run([str(LAMINA), "grammar", self.folder.name, "--json-schema", str(self.path / "schema.json"), "--texts",
                               str(self.path / "texts.json"), "--samples", str(samples), "--seed", str(seed), "--json"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"{schema}: {done.stderr}")
        return json.loads(done.stdout)

    def check(self, rng, schema):
        checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        values = [random_value(rng, schema) for _ in range(40)]
        texts = [json.dumps(value, ensure_ascii=False, **rng.choice(STYLES)) for value in values]
        told = self.lamina(schema, texts, 8, rng.randrange(1 << 30))
        for value, text, accepted in zip(values, texts, told["accepted"]):
            self.assertEqual(accepted, checker.is_valid(value), f"{text} for {json.dumps(schema)}")
        written = [text for text in told["samples"] if text is not None]
        for text in written:
            value = json.loads(text, object_pairs_hook=double_names)
            self.assertEqual([error.message for error in checker.iter_errors(value)], [], f"{text} for {json.dumps(schema)}")
        return sum(told["accepted"]), len(written)

    def test_random_schemas(self):
        rng = random.Random(7)
        valid = written = 0
        for _ in range(40):
            counts = self.check(rng, random_schema(rng, 3))
            valid += counts[0]
            written += counts[1]
        # Both directions were tried on enough texts to mean something.
        self.assertGreater(valid, 300)
        self.assertGreater(written, 200)

    def test_known_schemas(self):
        rng = random.Random(3)
        person = {"$defs": {"Person": {"type": "object", "title": "Person", "additionalProperties": False, "required": ["name"], "properties": {
            "name": {"type": "string"}, "friends": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/Person"}}}}},
            "type": "object", "required": ["people"], "properties": {"people": {"type": "array", "items": {"$ref": "#/$defs/Person"}, "maxItems": 3}}}
        union = {"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "n": {"type": "integer", "maximum": 9}}, "required": ["kind", "n"]},
                           {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"], "additionalProperties": False}]}
        merged = {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"minimum": 5}}, "required": ["a"]}]}
        for schema in (person, union, merged):
            told = self.lamina(schema, [], 30, rng.randrange(1 << 30))
            written = [text for text in told["samples"] if text is not None]
            self.assertTrue(written)
            for text in written:
                jsonschema.validate(json.loads(text), schema)

    def test_refusals_name_the_place(self):
        (self.path / "schema.json").write_text(json.dumps({"properties": {"a": {"uniqueItems": True}}}))
        done = subprocess.run([str(LAMINA), "grammar", self.folder.name, "--json-schema", str(self.path / "schema.json")], capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(re.search(r"#/properties/a/uniqueItems", done.stderr), done.stderr)


if __name__ == "__main__":
    unittest.main()
