#!/usr/bin/env python3
"""Reads ctest's JUnit file: prints what failed and what was skipped and why, then the line of counts."""

import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def skip_reason(case):
    """The text after GoogleTest's "Skipped" line, or the first line that a script wrote, or ctest's own words."""
    output = case.findtext("system-out") or ""
    found = re.search(r": Skipped\n(.+)", output)
    if found:
        return found.group(1).strip()
    for line in output.splitlines():
        if line.startswith("skipped: "):
            return line[len("skipped: "):].strip()
    skipped = case.find("skipped")
    return (skipped.get("message") if skipped is not None else None) or "no reason given"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("junit", type=pathlib.Path)
    parser.add_argument("--log", type=pathlib.Path, help="what ctest printed, shown when something failed")
    arguments = parser.parse_args()
    if not arguments.junit.exists():
        print(arguments.log.read_text() if arguments.log and arguments.log.exists() else "ctest wrote no results")
        print("0 passed, 1 failed, 0 skipped")
        return 1

    passed, failed, skipped = 0, [], []
    for case in ElementTree.parse(arguments.junit).getroot().iter("testcase"):
        if case.get("status") == "run":
            passed += 1
        elif case.get("status") == "fail" or case.find("failure") is not None:
            failed.append(case)
        else:
            skipped.append(case)
    for case in failed:
        print(f"failed: {case.get('name')}")
        print((case.findtext("system-out") or "").rstrip())
    for case in skipped:
        print(f"skipped: {case.get('name')}: {skip_reason(case)}")
    for case in failed if len(failed) > 1 else []:
        print(f"failed: {case.get('name')}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
