#!/usr/bin/env python3
"""Renders templates with Jinja2, set up as the transformers library does, and writes tests/golden/template/*.json.

Needs the jinja2 package. Usage: make_template_golden.py OUTPUT_FOLDER [NAME=TEMPLATE_FILE ...]
A template file is a .jinja file or a tokenizer_config.json; it is rendered over the same conversations.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from template_cases import CONVERSATIONS, FAMILIES, MICRO, MICRO_CONTEXT  # noqa: E402
from template_reference import environment, result_of  # noqa: E402

NOW = 1753747199  # 2025-07-28 23:59:59 UTC


def render(env, template, arguments):
    return result_of(lambda: env.from_string(template).render(**arguments))


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
    env = environment(NOW)
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
