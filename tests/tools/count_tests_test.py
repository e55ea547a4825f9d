"""The counts of a test run, from files as ctest writes them."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "tools/count_tests.py"

CASES = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="x" tests="4" failures="{failures}" disabled="0" skipped="2">
  <testcase name="A.passes" classname="A.passes" time="0.1" status="run"><system-out>fine</system-out></testcase>
  {failing}
  <testcase name="RealChat.answers" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>[ RUN      ] RealChat.answers
tests/run/chat_test.cpp:12: Skipped
smollm2-135m is not in the store
[  SKIPPED ]</system-out></testcase>
  <testcase name="docs.tables" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
    <system-out>skipped: no subcommand codecs</system-out></testcase>
</testsuite>
"""
FAILING = '<testcase name="B.fails" status="fail"><failure message=""/><system-out>1 is not 2</system-out></testcase>'


class CountTest(unittest.TestCase):
    def count(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "junit.xml"
            if text is not None:
                path.write_text(text)
            result = subprocess.run([sys.executable, PROGRAM, path], capture_output=True, text=True)
        return result.returncode, result.stdout.splitlines()

    def test_skips_are_listed_with_their_reasons(self):
        status, lines = self.count(CASES.format(failures=0, failing=""))
        self.assertEqual(status, 0)
        self.assertEqual(lines, ["skipped: RealChat.answers: smollm2-135m is not in the store",
                                 "skipped: docs.tables: no subcommand codecs", "1 passed, 0 failed, 2 skipped"])

    def test_failures_are_shown(self):
        status, lines = self.count(CASES.format(failures=1, failing=FAILING))
        self.assertEqual(status, 1)
        self.assertEqual(lines[:2], ["failed: B.fails", "1 is not 2"])
        self.assertEqual(lines[-1], "1 passed, 1 failed, 2 skipped")

    def test_no_file_is_a_failure(self):
        status, lines = self.count(None)
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed, 0 skipped"))


if __name__ == "__main__":
    unittest.main()
