#!/usr/bin/env python3
"""Compares `lamina template` with transformers' chat templates, byte for byte.

    parity_templates.py [--lamina build/lamina] [--store DIR] [--snippets 5000] [--seed 1] [--only NAME] [--json F]

First every template (those of template_cases.py and published_templates.py, and those inside the models of the store)
over conversations with and without system text, tools, calls, results, several turns, empty and null content, lists of
parts, reasoning, many scripts, a generation prompt, and a partial answer to continue. Then random small templates that
put values through filters, tests, methods, operators, formats and statements. Where the reference refuses, Lamina must
refuse; what raise_exception or an undefined name says must be in its message. Run it with a Python that has
transformers and jinja2. Ends with 1 if anything differs.

With --json FILE the result is one object:

    date, library, lamina          versions and day
    templates[]                    template (its name), cases, errors (refused by both), differing
    worst[]                        the first cases that differ: template, case, wanted, found
    limits                         snippets that Lamina refuses for a bound of its own (integers beyond 64 bits, sizes)
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["TZ"] = "UTC"  # strftime_now

from template_cases import CALL, CONVERSATIONS, FAMILIES, MICRO_CONTEXT, TOOL  # noqa: E402
from published_templates import PUBLISHED  # noqa: E402
from template_reference import result_of  # noqa: E402
from template_snippets import snippets  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
STORE = Path(os.environ.get("LAMINA_HOME", Path.home() / ".cache" / "lamina")) / "models"
TRAINED = Path(os.environ.get("LAMINA_TEST_MODELS", ROOT.parent / "shared" / "models"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
# What a refusal of Lamina says where Python has no bound.
LIMITS = ("exceeds 64 bits", "to integer", "out of range", "of more than", "longer than", "digits", "nested deeper", "the template loops too much")

ADDRESS = re.compile(r"(?i)[ +]at[ +]0x|%20at%200x|<built-in|<bound|<class|<function")  # of an object, printed

SEARCH = {"type": "function", "function": {"name": "search", "description": "Find\npages", "parameters": {"type": "object", "properties": {
    "query": {"type": "string", "enum": ["a", "b"]}, "tags": {"type": "array", "items": {"type": "string"}}, "limit": {"type": ["integer", "null"]},
    "filter": {"type": "object", "properties": {"année": {"type": "number"}}, "required": []}}}}}  # fmt: skip
NOTHING = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}
TEXT_CALL = {"id": "abc", "type": "function", "function": {"name": "search", "arguments": "{\"query\": \"a\"}"}}
SYSTEM = {"role": "system", "content": "You are terse."}


def user(content):
    return {"role": "user", "content": content}


def answer(content, **more):
    return {"role": "assistant", "content": content, **more}


def result(content):
    return {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": content}


MORE = [
    {"messages": [user("Hello")]},
    {"messages": [SYSTEM, user("Hi"), answer("Hello!"), user("Who?"), answer("Me."), user("Why?")], "add_generation_prompt": True},
    {"messages": [SYSTEM], "add_generation_prompt": True},
    {"messages": [SYSTEM, user("a"), SYSTEM, user("b")], "add_generation_prompt": True},
    {"messages": [user("")], "add_generation_prompt": True},
    {"messages": [user(None), answer(None)], "add_generation_prompt": True},
    {"messages": [user([])], "add_generation_prompt": True},
    {"messages": [{"role": "system", "content": [{"type": "text", "text": " S \n"}]}, user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], "add_generation_prompt": True},
    {"messages": [user([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "audio", "audio": "y"}])]},
    {"messages": [user("\u2028line\u0085 \u00a0\ufeff\x00\x1c"), answer("Cafe\u0301 👩‍👩‍👧 \U0010ffff"), user("ΑΣ <|im_end|> {{ x }} {% y %}")], "add_generation_prompt": True},
    {"messages": [user("weather?")], "tools": [TOOL, SEARCH, NOTHING], "add_generation_prompt": True},
    {"messages": [SYSTEM, user("weather?"), answer("", tool_calls=[CALL])], "tools": [TOOL]},
    {"messages": [user("weather?"), answer("Looking.", tool_calls=[CALL, TEXT_CALL]), result("1"), result("{\"a\": [1, 2]}")], "tools": [TOOL, SEARCH], "add_generation_prompt": True},
    {"messages": [user("w"), {"role": "assistant", "tool_calls": [CALL]}, result("21"), answer("Warm."), user("And?"), answer(None, tool_calls=[TEXT_CALL]), result("22")], "tools": [TOOL], "add_generation_prompt": True},
    {"messages": [user("w"), answer("", tool_calls=[]), user("x")], "tools": []},
    {"messages": [result("orphan")], "add_generation_prompt": True},
    {"messages": [user("2+2"), answer("4", reasoning_content="add"), user("3+3"), answer("6", thinking="more\n")], "extra": {"enable_thinking": True, "thinking": True}},
    {"messages": [user("2+2"), answer("<think>a</think>b</think>c"), user("x"), answer("<think>\n\n</think>\n\nd"), result("z")], "add_generation_prompt": True, "extra": {"enable_thinking": False}},
    {"messages": [user("w"), answer("", reasoning="which tool", tool_calls=[CALL]), result("5"), answer("", reasoning_content="again", tool_calls=[CALL])], "tools": [TOOL], "add_generation_prompt": True},
    {"messages": [user("x")], "add_generation_prompt": True, "extra": {"reasoning_effort": "high", "model_identity": "I am L.", "controls": {"length": "short"}}},
    {"messages": [user("x")], "add_generation_prompt": True, "extra": {"documents": [{"title": "T", "text": "body"}, {"text": "x"}]}},
    {"messages": [user("x")], "add_generation_prompt": True, "extra": {"tools_in_user_message": False, "date_string": "1 May", "builtin_tools": ["code_interpreter", "search"]}, "tools": [TOOL]},
    {"messages": [{"role": "developer", "content": "D"}, {"role": "User", "content": "x"}, {"role": "ipython", "content": {"a": 1}}]},
    {"messages": [user("count"), answer("one two")], "extra": {"continue_final_message": True}},
    {"messages": [user("count"), answer("  one two \n")], "extra": {"continue_final_message": True}},
    {"messages": [user("count"), answer([{"type": "text", "text": "one"}, {"type": "image"}])], "extra": {"continue_final_message": True}},
    {"messages": [user("count"), answer("<think>\nhm")], "extra": {"continue_final_message": True}},
    {"messages": [user("count"), answer("")], "extra": {"continue_final_message": True}},
    {"messages": [user("count"), answer(None)], "extra": {"continue_final_message": True}},
    {"messages": [], "extra": {"continue_final_message": True}},
    {"messages": [user("count"), answer("six", reasoning_content="part of")], "extra": {"continue_final_message": "reasoning_content"}},
]


def reference(template, conversation):
    """What transformers renders. It is imported late: it takes a while, and the help does not need it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    def render():
        extra = dict(conversation.get("extra", {}))
        documents = extra.pop("documents", None)
        texts, _ = render_jinja_template(
            conversations=[conversation["messages"]], tools=conversation.get("tools"), documents=documents, chat_template=template,
            add_generation_prompt=conversation.get("add_generation_prompt", False), **(TOKENS | extra))  # fmt: skip
        return texts[0]

    return result_of(render)


class Engine:
    """`lamina template` on folders that hold a small tokenizer and one template each."""

    def __init__(self, lamina, folder):
        self.lamina, self.folder = str(lamina), Path(folder)

    def prepare(self, name, template):
        place = self.folder / name
        place.mkdir()
        tokens = [{"id": i, "content": text, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False} for i, text in enumerate(TOKENS.values())]
        model = {"type": "BPE", "vocab": {text: i for i, text in enumerate(TOKENS.values())}, "merges": []}
        (place / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": tokens, "model": model}))
        (place / "tokenizer_config.json").write_text(json.dumps(TOKENS))
        (place / "chat_template.jinja").write_bytes(template.encode())
        return place

    def render(self, place, conversation, name="messages.json"):
        value = {key: item for key, item in conversation.items() if key != "extra"} | conversation.get("extra", {})
        file = place / name
        file.write_text(json.dumps(value, ensure_ascii=False))
        done = subprocess.run([self.lamina, "template", str(place), "--messages", str(file)], capture_output=True, timeout=120)
        if done.returncode < 0 or b"AddressSanitizer" in done.stderr:
            return {"crash": f"status {done.returncode}"}
        if done.returncode:
            return {"error": done.stderr.decode(errors="replace").strip()}
        return {"text": done.stdout.decode()}


def agree(wanted, found, exact=True):
    """`exact`: what the reference says when it refuses is part of what Lamina says, where that is meant for users."""
    if "text" in wanted:
        return found.get("text") == wanted["text"]
    return "error" in found and (not exact or not wanted["exact"] or wanted["error"] in found["error"])


def gguf_template(path, head=64 << 20):
    """The chat template in a GGUF file's metadata: its key is sought, as reading all tokens takes a minute."""
    key = b"tokenizer.chat_template" + struct.pack("<I", 8)
    with open(path, "rb") as file:
        data = file.read(head)
    at = data.find(key)
    if at < 0:
        return None
    (size,) = struct.unpack_from("<Q", data, at + len(key))
    return data[at + len(key) + 8 :][:size].decode()


def stored_templates(store):
    """(name, template) of the models that have one."""
    for folder in (store, TRAINED):
        for path in sorted(folder.glob("*/")):
            if (path / "chat_template.jinja").exists():
                yield path.name, (path / "chat_template.jinja").read_text()
            elif (path / "tokenizer_config.json").exists():
                template = json.loads((path / "tokenizer_config.json").read_text()).get("chat_template")
                if isinstance(template, str):
                    yield path.name, template
            for file in sorted(path.glob("*.gguf")):
                template = gguf_template(file)
                if template is not None:
                    yield path.name, template


def compare_templates(options, engine, report):
    found = {**FAMILIES, **PUBLISHED, **dict(stored_templates(options.store))}
    # Fields of messages that no client may send; the program refuses them before the template sees them.
    conversations = CONVERSATIONS + [c for c in MORE if all(not isinstance(m.get("content"), dict) for m in c["messages"])]
    for number, (name, template) in enumerate(found.items()):
        if options.only and options.only not in name:
            continue
        place = engine.prepare(f"template{number}", template)
        row = {"template": name, "cases": 0, "errors": 0, "differing": 0}
        for index, conversation in enumerate(conversations):
            wanted, got = reference(template, conversation), engine.render(place, conversation)
            note(report, row, f"conversation {index}", wanted, got)
        report["templates"].append(row)
        print_row(row)


def note(report, row, case, wanted, got, exact=True):
    row["cases"] += 1
    row["errors"] += "error" in wanted
    if agree(wanted, got, exact):
        return
    row["differing"] += 1
    report["worst"].append({"template": row["template"], "case": case, "wanted": wanted, "found": got})


def print_row(row):
    print(f"{row['template']:24} {row['cases']:6} cases {row['errors']:5} refused by both  {row['differing']} differ", flush=True)


def compare_snippets(options, engine, report):
    names = {"n", "s", "u"} | set(MICRO_CONTEXT)
    context = {name: value for name, value in MICRO_CONTEXT.items() if name in names}
    row = {"template": "snippets", "cases": 0, "errors": 0, "differing": 0}
    conversation = {"messages": [], "extra": context}

    def one(pair):
        number, text = pair
        return engine.render(engine.prepare(f"snippet{number}", text), conversation)

    texts = snippets(options.snippets, options.seed)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for text, got in zip(texts, pool.map(one, enumerate(texts))):
            wanted = reference(text, conversation)
            if ADDRESS.search(wanted.get("text", "")):
                continue
            if "error" in got and any(words in got["error"] for words in LIMITS) and not agree(wanted, got):
                report["limits"] += 1
                continue
            note(report, row, text, wanted, got, exact=False)
    report["templates"].append(row)
    print_row(row)
    print(f"{report['limits']} snippets meet a bound of Lamina's own")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lamina", type=Path, default=ROOT / "build" / "lamina")
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the models whose templates are compared too")
    parser.add_argument("--snippets", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="templates whose name holds this, and no snippets")
    parser.add_argument("--show", type=int, default=10, help="differing cases to print")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import transformers

    version = subprocess.run([str(options.lamina), "--version"], capture_output=True, text=True, check=True).stdout
    report = {
        "date": datetime.date.today().isoformat(),
        "library": f"transformers {transformers.__version__}",
        "lamina": version.split()[-1],
        "templates": [],
        "worst": [],
        "limits": 0,
    }
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(options.lamina, folder)
        compare_templates(options, engine, report)
        if options.snippets and not options.only:
            compare_snippets(options, engine, report)
    for case in report["worst"][: options.show]:
        print(f"\n{case['template']}: {case['case']!r}\n  wanted {case['wanted']}\n  found  {case['found']}")
    cases, differing = (sum(row[key] for row in report["templates"]) for key in ("cases", "differing"))
    print(f"{cases} cases, {differing} differ; worst case: " + (repr(report["worst"][0]["case"]) if report["worst"] else "none"))
    if options.json:
        options.json.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
