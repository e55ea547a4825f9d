#!/usr/bin/env python3
"""Renders templates with Jinja2, set up as the transformers library does, and writes tests/golden/template/*.json.

Needs the jinja2 package. Usage: make_template_golden.py OUTPUT_FOLDER [NAME=TEMPLATE_FILE ...]
A template file is a .jinja file or a tokenizer_config.json; it is rendered over the same conversations.
"""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

sys.path.insert(0, str(Path(__file__).parent))
from template_cases import CONVERSATIONS, FAMILIES, MICRO, MICRO_CONTEXT  # noqa: E402

NOW = 1753747199  # 2025-07-28 23:59:59 UTC


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


class TemplateDict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


class TemplateNamespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, attributes = args[0], dict(*args[1:], **kwargs)
        if any(name.startswith("_") for name in attributes):
            raise jinja2.exceptions.SecurityError("underscore")
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError("underscore")
        jinja2.utils.Namespace.__setitem__(self, name, value)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.fromtimestamp(NOW, timezone.utc).replace(tzinfo=None).strftime(form)
    env.globals["dict"] = TemplateDict()
    env.globals["namespace"] = TemplateNamespace
    return env


def render(env, template, arguments):
    """Gives {"text": ...} or {"error": ..., "exact": whether our message must contain it}."""
    try:
        return {"text": env.from_string(template).render(**arguments)}
    except jinja2.exceptions.UndefinedError as error:
        return {"error": str(error), "exact": True}
    except jinja2.exceptions.TemplateError as error:
        return {"error": str(error), "exact": type(error) is jinja2.exceptions.TemplateError}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "exact": False}


def arguments_of(conversation):
    arguments = {
        "messages": conversation["messages"],
        "tools": conversation.get("tools"),
        "documents": None,
        "add_generation_prompt": conversation.get("add_generation_prompt", False),
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    arguments.update(conversation.get("extra", {}))
    return arguments


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    families = dict(FAMILIES)
    for pair in sys.argv[2:]:
        name, file = pair.split("=", 1)
        text = Path(file).read_text(encoding="utf-8")
        families[name] = json.loads(text)["chat_template"] if file.endswith(".json") else text
    env = environment()
    chats = {"now": NOW, "conversations": CONVERSATIONS, "templates": []}
    for name, template in families.items():
        results = [render(env, template, arguments_of(c)) for c in CONVERSATIONS]
        chats["templates"].append({"name": name, "template": template, "results": results})
    write(out / "chats.json", chats)
    cases = []
    for template in MICRO:
        result = render(env, template, MICRO_CONTEXT)
        if " at 0x" in result.get("text", "") or "<built-in" in result.get("text", ""):
            continue  # an address is printed
        cases.append({"template": template, **result})
    write(out / "micro.json", {"now": NOW, "context": MICRO_CONTEXT, "cases": cases})
    print(f"{len(cases)} expressions, {len(families)} templates x {len(CONVERSATIONS)} conversations")


if __name__ == "__main__":
    main()
