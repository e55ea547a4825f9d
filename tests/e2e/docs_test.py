#!/usr/bin/env python3
"""Runs the commands that README.md and docs/*.md show.

A fence ```sh is run from the repository's root by this test; ```sh model needs smollm2-135m in the store. All other fences
(that fetch, build, or only show) are left alone. Each fence is one script for `bash -eu -o pipefail`, in which build/lamina
is the program under test.
"""

import os
import pathlib
import re
import subprocess
import sys

from command_line import LAMINA, ROOT

MODEL = "smollm2-135m"


def fences(text, mark):
    """Line number and script of each fence with exactly that info string."""
    for found in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.M | re.S):
        if found[1].strip() == mark:
            yield text.count("\n", 0, found.start()) + 1, found[2]


def main():
    mark = sys.argv[1] if len(sys.argv) > 1 else "sh"
    home = pathlib.Path(os.environ.get("LAMINA_HOME", pathlib.Path.home() / ".cache" / "lamina"))
    if mark == "sh model" and not (home / "models" / MODEL).is_dir():
        print(f"skipped: the store has no {MODEL}; `lamina pull {MODEL}` fetches it")
        return 77
    ran, failed = 0, 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line, script in fences(page.read_text(), mark):
            ran += 1
            script = script.replace("build/lamina", str(LAMINA))
            done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=240)
            if done.returncode != 0:
                failed += 1
                print(f"{page.relative_to(ROOT)}:{line}: status {done.returncode}\n{script}{done.stderr}")
    print(f"{ran} fences marked \"{mark}\", {failed} failed")
    return 1 if failed or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
