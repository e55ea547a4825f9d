#!/usr/bin/env python3
"""Measures what techniques cost and bring, and writes docs/techniques.md and its plots: one command, in groups that can be
repeated alone.

    bench/techniques.py [--only GROUP,...] [--texts FOLDER] [--again] [--no-speed] [--write-only]

A group is a model with the entries of bench/techniques.json: recipes that act in the run, and files that `lamina compress`
writes. Each is evaluated on held-out text against the group's base (lamina eval), and then all are timed by turns (lamina
bench), which wants a machine with nothing else to do and is left out by --no-speed; files of llama.cpp's quantizer are made
and measured likewise when $LLAMA_CPP names it. "as_large_as" gives an entry the bytes of another one's file as its budget;
"router" is how `lamina route-fit` makes the file that stands as ROUTER in the entry's recipe; such entries are not timed.
Rows are kept in build/bench-files/techniques, so that only new entries are measured; --again measures all of the chosen
groups.
--texts: the folder of held-out texts and tasks, by default shared/models/eval beside this tree; models that stand in
techniques.json as "trained:NAME" are looked for beside it.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import performance

ROOT = Path(__file__).resolve().parent.parent
LAMINA = Path(os.environ.get("LAMINA", ROOT / "build/lamina"))
WORK = performance.WORK / "techniques"
PAGE = ROOT / "docs/techniques.md"
ROUNDS = 5


def run(*command, keep=False):
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=keep, text=True)
    if done.returncode != 0:
        sys.exit(f"techniques: {' '.join(map(str, command))}: {done.stderr.strip() if keep else 'failed'}")
    return done.stdout


def model_path(name, texts):
    """What an entry's model is: "trained:NAME", a file of performance.py as "made:NAME", or a model of the store."""
    kind, _, rest = name.partition(":")
    if kind == "trained":
        return texts.parent / rest
    if kind == "made":
        performance.make_files(None)
        return performance.WORK / f"{rest}.gguf"
    return performance.stored(name)


def statistics_of(group, base, folder, texts):
    """The statistics file of the group's base, made once."""
    path = folder / "base.stats.safetensors"
    if not path.exists():
        run(LAMINA, "stats", base, "--calibration", texts / "calibration.txt", *group.get("stats", []), "-o", path)
    return path


def writes(entry):
    """Whether the entry is a file; with a recipe too, that is how the file runs."""
    return "recipe" not in entry or "compress" in entry


def file_part(entry):
    """What of an entry makes its file."""
    return {key: value for key, value in entry.items() if key != "recipe"} if "compress" in entry else entry


def file_of(entry, folder):
    return folder / (hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16] + ".gguf")


def header_bytes(base, folder):
    """What a file of the base has beside its tensors, and some more for reports of passes: budgets are for tensors."""
    copy = folder / "copy.gguf"
    report = json.loads(run(LAMINA, "compress", base, "--force", "-o", copy, "--json", keep=True))
    size = copy.stat().st_size
    copy.unlink()
    return size - report["bytes"] + (1 << 14)


def make_file(entry, group, base, folder, texts):
    """The file of an entry, made once."""
    entry = file_part(entry)
    path = file_of(entry, folder)
    if path.exists():
        return path
    if "llama.cpp" in entry:
        program = next(Path(os.environ["LLAMA_CPP"]).rglob("llama-quantize"))
        source, options = base, []
        if not str(base).endswith(".gguf"):
            source = folder / "base.gguf"
            if not source.exists():
                run(LAMINA, "compress", base, "-o", source)
        if entry.get("stats"):
            imatrix = folder / "base.imatrix.gguf"  # with the names of the GGUF file
            if not imatrix.exists():
                own = [option for option in group.get("stats", []) if option not in ("--gram", "--sensitivity")]
                run(LAMINA, "stats", source, "--calibration", texts / "calibration.txt", *own, "-o", imatrix)
            options = ["--imatrix", imatrix]
        run(program, *options, *entry.get("options", []), source, path, entry["llama.cpp"], keep=True)
        return path
    options = ["--stats", statistics_of(group, base, folder, texts)] if entry.get("stats") else []
    if entry.get("calibration"):
        options += ["--calibration", texts / "calibration.txt"]
    if "as_large_as" in entry:
        other = make_file(next(one for one in group["entries"] if label_of(one) == entry["as_large_as"]), group, base, folder, texts)
        options += ["--target-bytes", other.stat().st_size - header_bytes(base, folder)]
    run(LAMINA, "compress", base, "--recipe", entry["compress"], *options, *entry.get("options", []), "-o", path, keep=True)
    return path


def recipe_of(entry, base, folder, texts):
    """The recipe that an entry runs with; the file of a router, which stands in it as ROUTER, is made once."""
    recipe = entry.get("recipe", "")
    if "router" in entry:
        path = file_of(entry, folder).with_suffix(".safetensors")
        options = [texts / part if str(part).endswith((".jsonl", ".txt")) else part for part in entry["router"]]
        if not path.exists():
            run(LAMINA, "route-fit", base, *options, "-o", path)
        recipe = recipe.replace("ROUTER", str(path))
    return recipe


def measure(entry, group, base, folder, texts):
    """One row: what eval and bench say."""
    recipe = recipe_of(entry, base, folder, texts)
    model = make_file(entry, group, base, folder, texts) if writes(entry) else base
    tasks = [part for name in group.get("tasks", []) for part in ("--tasks", texts / f"{name}.jsonl")]
    items = ["--items", group["items"]] if tasks else []
    row = json.loads(run(LAMINA, "eval", model, "--recipe", recipe, "--text", texts / group["text"], "--windows", group["windows"], "--ctx", 512,
                         "--reference", base, *tasks, *items, "--json", keep=True))
    return row


def time_rows(entries, rows, base, folder):
    """Sets what is read and written in a second: medians of rounds in which every entry comes once."""
    samples = {}
    for round_ in range(ROUNDS):
        for entry in entries if round_ % 2 == 0 else entries[::-1]:
            if "router" in entry:  # which the bench's random tokens give nothing to decide on
                continue
            key = json.dumps(entry, sort_keys=True)
            model = file_of(file_part(entry), folder) if writes(entry) else base
            timed = json.loads(run(LAMINA, "bench", model, "--recipe", entry.get("recipe", ""), "-p", 256, "-n", 32, "-r", 1, "--json", keep=True))["rows"]
            for kind in ("pp", "tg"):
                samples.setdefault((key, kind), []).append(next(one["median_tps"] for one in timed if one["test"].startswith(kind)))
    for (key, kind), found in samples.items():
        rows[key]["read_tps" if kind == "pp" else "write_tps"] = statistics.median(found)


def measure_group(name, group, options):
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "rows.json"
    rows = {} if options.again or not kept.exists() else json.loads(kept.read_text())
    base = model_path(group["model"], options.texts)
    for entry in group["entries"]:
        key = json.dumps(entry, sort_keys=True)
        if key in rows or ("llama.cpp" in entry and "LLAMA_CPP" not in os.environ):
            continue
        rows[key] = measure(entry, group, base, folder, options.texts)
        kept.write_text(json.dumps(rows, indent=1) + "\n")
    found = [entry for entry in group["entries"] if json.dumps(entry, sort_keys=True) in rows]
    if not options.no_speed and any("read_tps" not in rows[json.dumps(entry, sort_keys=True)] for entry in found if "router" not in entry):
        time_rows(found, rows, base, folder)
        kept.write_text(json.dumps(rows, indent=1) + "\n")


def label_of(entry):
    if "name" in entry:
        return entry["name"]
    if "llama.cpp" in entry:
        return f"llama.cpp {entry['llama.cpp']}" + (" + importance" if entry.get("stats") else "")
    size = f", as large as {entry['as_large_as']}" if "as_large_as" in entry else ""
    recipe = entry.get("recipe")
    if recipe and "compress" not in entry:
        return recipe
    return entry.get("compress", "as it is") + (" + statistics" if entry.get("stats") else "") + size + (f", run with {recipe}" if recipe else "")


def at_equal_bytes(row, presets):
    """The divergence that plain formats would have at the row's bytes, between the two presets next to it on a line of
    logarithms; none outside of them."""
    points = sorted((one["file_bytes"], one["kl_mean"]) for one in presets if one["kl_mean"] > 0)
    for (low, above), (high, below) in zip(points, points[1:]):
        if low <= row["file_bytes"] <= high and high > low:
            share = (row["file_bytes"] - low) / (high - low)
            return math.exp((1 - share) * math.log(above) + share * math.log(below))
    return None


def table(name, group):
    """The group's table as markdown."""
    rows = json.loads((WORK / name / "rows.json").read_text())
    tasks = group.get("tasks", [])
    presets = [rows[json.dumps(entry, sort_keys=True)] for entry in group["entries"] if entry.get("preset") and json.dumps(entry, sort_keys=True) in rows]
    titles = ["technique", "file MB", "read MB", "reads/s", "writes/s", "PPL", "KL [95 %]", "KL 99 %", "agree", "plain KL at these bytes"] + tasks
    lines = ["| " + " | ".join(titles) + " |", "| --- |" + " ---: |" * (len(titles) - 1)]
    for entry in group["entries"]:
        row = rows.get(json.dumps(entry, sort_keys=True))
        if row is None:
            continue
        low, high = row["kl_mean_ci95"] or (row["kl_mean"], row["kl_mean"])
        plain = None if entry.get("preset") or "recipe" in entry else at_equal_bytes(row, presets)
        told = "" if plain is None else f"{plain:.4f} ({row['kl_mean'] / plain - 1:+.0%})"
        cells = [f"`{label_of(entry)}`", f"{row['file_bytes'] / 1e6:.1f}", f"{row['bytes_per_token'] / 1e6:.1f}", *(f"{row[key]:.0f}" if key in row else "" for key in ("read_tps", "write_tps")),
                 f"{row['ppl']:.2f}", f"{row['kl_mean']:.4f} [{low:.4f}, {high:.4f}]", f"{row['kl_p99']:.2f}", f"{row['top1_agreement']:.1%}", told]
        cells += [f"{row['tasks'][task]['exact_match']:.2f}" if task in row.get("tasks", {}) else "" for task in tasks]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(name, group):
    """The group's plot."""
    rows = json.loads((WORK / name / "rows.json").read_text())
    named = []
    for entry in group["entries"]:
        row = rows.get(json.dumps(entry, sort_keys=True))
        if row is not None:
            named.append({**row, "model": group["model"], "recipe": label_of(entry)})
    kept = WORK / name / "plot.json"
    kept.write_text(json.dumps({"rows": named}))
    run(LAMINA, "eval", kept, "--plot", PAGE.parent / f"techniques-{name}.svg", keep=True)


def write_page(groups):
    page = PAGE.read_text()
    for name, group in groups.items():
        if not (WORK / name / "rows.json").exists():
            continue
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if begin not in page or end not in page:
            sys.exit(f"techniques: {PAGE}: {begin.strip()} and {end} expected")
        draw(name, group)
        head, rest = page.split(begin)
        tail = rest.split(end)[1]
        page = f"{head}{begin}{table(name, group)}\n\n![quality against bytes and time](techniques-{name}.svg)\n{end}{tail}"
    PAGE.write_text(page)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = json.loads((ROOT / "bench/techniques.json").read_text())
    parser.add_argument("--only", default=",".join(groups), help="groups")
    parser.add_argument("--texts", type=Path, default=ROOT.parent / "shared/models/eval")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--no-speed", action="store_true", help="leave the times of new entries for later")
    parser.add_argument("--write-only", action="store_true", help="write the page from what was measured")
    options = parser.parse_args()
    unknown = [name for name in options.only.split(",") if name not in groups]
    if unknown:
        sys.exit(f"techniques: unknown group {unknown[0]}; known: {', '.join(groups)}")
    for name in options.only.split(","):
        if not options.write_only:
            measure_group(name, groups[name], options)
    write_page(groups)


if __name__ == "__main__":
    main()
