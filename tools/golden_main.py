"""What the programs that make golden models have in common: the choice of cases, and --check."""

import argparse
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import numpy as np


def golden_parser(text, store):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=store)
    parser.add_argument("--only", default="*", help="name of one case, or a pattern such as mpnet*")
    parser.add_argument("--check", action="store_true", help="make them anew elsewhere and compare with those in --out")
    return parser


def compare(stored, made):
    """Lists what differs: models must be equal byte for byte, truths within 1e-4 of their root mean square."""
    problems = []
    for path in sorted(file for file in made.rglob("*") if file.is_file() and file.name != "truth.json"):
        old = stored / path.relative_to(made)
        if not old.exists():
            problems.append(f"{old}: missing")
        elif path.suffix != ".npy" or path.name == "tokens.npy":
            if old.read_bytes() != path.read_bytes():
                problems.append(f"{old}: bytes differ")
        else:
            expected, got = np.load(old), np.load(path)
            if expected.shape != got.shape or np.abs(expected - got).max() > 1e-4 * np.sqrt(np.mean(expected**2)):
                problems.append(f"{old}: values differ")
    return problems


def golden_main(parser, options, cases, make):
    """Runs make(case, folder) for the chosen cases; what it returns, or the name, is printed. Gives the exit status."""
    import torch
    import transformers

    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    chosen = [case for case in cases if fnmatch(case.name, options.only)]
    if not chosen:
        parser.error(f"no case named {options.only}; there are: {', '.join(case.name for case in cases)}")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) if options.check else options.out
        for case in chosen:
            print(make(case, root) or case.name)
        problems = compare(options.out, root) if options.check else []
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0
