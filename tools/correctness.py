#!/usr/bin/env python3
"""Writes docs/correctness.md: the worst figures of every comparison with an independent reference.

    correctness.py [--build DIR] [--page FILE]                          families and real models
    correctness.py --tokenizers F --templates F --embed F --written F --passes F --round-trips F   these sections, and no other

The test programs note their figures (record_figure in tests/run/golden_files.h); here they are run and read. Models that
are not in the store are skipped, and the page says so. The other sections need reference libraries: each is written from
the report that a tool leaves (parity_tokenizers.py, parity_templates.py, parity_embed.py, check_written.py and
check_round_trips.py, --json F), when it is given.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_tests(program, pattern):
    """(suite, parameter or test, result, figures) of each test that the filter picks."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.json"
        subprocess.run([program, f"--gtest_filter={pattern}", f"--gtest_output=json:{out}"], stdout=subprocess.DEVNULL,
                       cwd=ROOT, check=False)
        suites = json.loads(out.read_text())["testsuites"]
    rows = []
    for suite in suites:
        for test in suite["testsuite"]:
            figures = {key[7:]: float(value) for key, value in test.items() if key.startswith("figure_")}
            result = "failed" if test.get("failures") else "skipped" if test["result"] == "SKIPPED" else "passed"
            rows.append((suite["name"].split("/")[-1], test["name"], result, figures))
    return rows


def table(titles, rows):
    lines = ["| " + " | ".join(titles) + " |", "|" + "|".join(" ---: " if i else " --- " for i in range(len(titles))) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(value):
    return f"{value:.2g}" if isinstance(value, float) else "" if value is None else str(value)


def class_of(case):
    for folder in ("models", "encoders", "encdec"):
        config = ROOT / "tests/golden" / folder / case / "config.json"
        if config.exists():
            data = json.loads(config.read_text())
            return (data.get("architectures") or [data.get("model_type", "")])[0]
    return "(GGUF only)"


def families(build):
    """One row per class: how many tiny models, in how many forms, and the worst relative errors."""
    rows, faults = {}, 0
    for _, name, result, figures in run_tests(build / "tests/test_run", "*Golden*:*EncoderDecoder*TheReference*"):
        if not figures:
            continue
        faults += result == "failed"
        row = rows.setdefault(class_of(name.split("/")[-1]), {"models": set(), "runs": 0, "logits": None, "hidden": None})
        row["models"].add(name.split("/")[-1])
        row["runs"] += 1
        for what in ("logits", "hidden"):
            if what in figures:
                row[what] = max(row[what] or 0.0, figures[what])
    body = [[f"`{name}`", str(len(row["models"])), str(row["runs"]), number(row["logits"]), number(row["hidden"])]
            for name, row in sorted(rows.items())]
    return table(["Class", "Tiny models", "Files", "Worst logits", "Worst hidden state"], body), faults


def real(build):
    rows, faults = [], 0
    for program in ("test_run", "test_embed"):
        for suite, name, result, figures in run_tests(build / "tests" / program, "Real*:*/Real*"):
            faults += result == "failed"
            text = ", ".join(f"{key.replace('_', ' ')} {number(value)}" for key, value in figures.items())
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
            rows.append([f"{suite.removeprefix('Real')}: {words}", result if result != "passed" else text or "passed"])
    return table(["Model and claim", "Figures"], rows), faults


def bytes_of(count):
    return f"{count / 1e6:.1f} MB"


def tokenizers(found):
    """One row per family that parity_tokenizers.py compared; those that show one component each share one row."""
    body, faults = [], 0
    parts = [row for row in found["families"] if row["kind"] == "component"]
    whole = {key: sum(row[key] for row in parts) for key in ("bytes", "hard", "differing", "texts")}
    bad = [row for row in parts if row["differing"]]
    whole |= {"family": f"{len(parts)} normalizers, pre-tokenizers and classes, over all code points but those of uniform blocks", "forms": ["json"]}
    whole |= {"worst": bad[0]["worst"]} if bad else {}
    rows = sorted((r for r in found["families"] if r not in parts), key=lambda row: (row["kind"], row["family"]))
    for row in rows + ([whole] if parts else []):
        faults += row["differing"] != 0
        name = f"`{row['family']}`, {row['kind']}" if "kind" in row else row["family"]
        worst = json.dumps(row["worst"]).replace("|", "\\|") if "worst" in row else "none"
        body.append([name, " and ".join(row["forms"]), bytes_of(row["bytes"]), f"{row['hard']:,}", str(row["differing"]), worst])
    titles = ["Family", "Read from", "Text", "Hard strings", "Differing", "Worst case"]
    return f"The `tokenizers` package {found['tokenizers']}:\n\n" + table(titles, body), faults


def embeddings(report):
    """One row per model, task and kind of activations."""
    names = {"worst_cosine": "worst cosine", "worst_difference": "worst difference", "largest": "largest number",
             "order_kept": "same order"}
    rows = []
    for row in report["models"]:
        told = ", ".join(f"{text} {row[key]:.7g}" if key == "worst_cosine" else f"{text} {number(row[key])}"
                         for key, text in names.items() if row.get(key) is not None)
        told = told or ("refused" if row.get("refused") else "NOT refused")
        rows.append([f"`{row['model']}`", row["task"], row["activations"], str(row["texts"]), str(row["longest"]), told])
    rows += [[f"`{name}`", "not there", "", "", "", ""] for name in report["missing"]]
    return table(["Model", "Task", "Activations", "Texts", "Longest, in tokens", "Figures"], rows), report["failed"]


def templates(report):
    """One row per template, then the snippets."""
    rows = [[f"`{row['template']}`", str(row["cases"]), str(row["errors"]), str(row["differing"])] for row in report["templates"]]
    return table(["Template", "Conversations", "Refused by both", "Differing"], rows), sum(int(row[3]) for row in rows)


def written(report):
    """One row per model that Lamina wrote and others read."""
    rows = []
    for row in report["models"]:
        if "error" in row:
            rows.append([f"`{row['model']}`", row["recipe"], "", "", row["error"]])
            continue
        read = f"{row['tensors']} / {row['gguf_tensors']} / {row['folder_tensors']}"
        told = "refused by it, as must be" if row.get("refused") else f"cosine {row['worst_cosine']:.7f}" if "worst_cosine" in row else f"{row['equal']} of {row['texts']} texts" if "texts" in row else ""
        if "decoded" in row:
            told += f"; decoded {row['decoded']['equal']} of {row['decoded']['texts']}"
        rows.append([f"`{row['model']}`", f"`{row['recipe']}`" if row["recipe"] else "none", f"{row['bytes'] / 1e6:.1f} MB", read, told])
    titles = ["Model", "Recipe", "GGUF", "Tensors: written / gguf / safetensors", "Same as llama.cpp"]
    return f"Peer: llama.cpp {(report['llama'] or 'not there').removeprefix('version: ')}\n\n" + table(titles, rows), report["failed"]


def round_trips(report):
    """One row per model and way, then what differs."""
    body = []
    for row in report["models"]:
        if "error" in row:
            body.append([f"`{row['model']}`", row["recipe"], "", "", "", row["error"]])
            continue
        types = ", ".join(f"{count} {name.lower()}" for name, count in sorted(row["types"].items()))
        recipe = f"`{row['recipe']}`" if row["recipe"] else ""
        body.append([f"`{row['model']}`", recipe, row["trip"], types, bytes_of(row["bytes"]), str(len(row["differing"]))])
        if row["left_out"]:
            body[-1][-1] += f"; {len(row['left_out'])} that no layer reads are left out"
    titles = ["Model", "Written first by", "Way", "Tensors", "Their bytes", "Differing"]
    return (f"The packages gguf {report['gguf']} and safetensors {report['safetensors']}:\n\n" + table(titles, body)), report["failed"]


# Sections written from a report: the option, the section's name and what makes its text of the report.
REPORTS = {"tokenizers": ("tokenizers", tokenizers), "templates": ("templates", templates), "embed": ("embeddings", embeddings),
           "written": ("written", written), "passes": ("passes", written), "round-trips": ("round trips", round_trips)}


def fill(text, name, body):
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"no <!-- {name} --> section")
    return pattern.sub(lambda found: found.group(1) + body + "\n" + found.group(2), text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/correctness.md")
    for option, (section, _) in REPORTS.items():
        parser.add_argument(f"--{option}", type=pathlib.Path, metavar="F", help=f"report that fills the section {section}")
    arguments = parser.parse_args()
    os.environ.setdefault("LAMINA_TEST_MODELS", str(ROOT.parent / "shared/models"))
    named = {option: getattr(arguments, option.replace("-", "_")) for option in REPORTS}
    given = {option: path for option, path in named.items() if path}
    if given:
        makers = {REPORTS[option][0]: (REPORTS[option][1], json.loads(path.read_text())) for option, path in given.items()}
    else:
        makers = {"families": (families, arguments.build), "real": (real, arguments.build)}
    text, faults = arguments.page.read_text(), 0
    for name, (make, source) in makers.items():
        body, failed = make(source)
        text, faults = fill(text, name, body), faults + failed
    arguments.page.write_text(text)
    print(f"{arguments.page}: {faults} comparisons failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
