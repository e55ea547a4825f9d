"""The house checks find what is planted, and leave what is right alone."""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
SPEC = importlib.util.spec_from_file_location("check", TOOLS / "check.py")
check = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check)

RANKS = "<!-- ranks -->\n| Rank | Folder |\n| ---: | --- |\n| 0 | `core` |\n| 1 | `text` |\n| 1 | `codec` |\n<!-- /ranks -->\n"


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        subprocess.run(["git", "init", "-q", str(self.root)], check=True)
        self.write("docs/architecture.md", RANKS)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def faults(self, rule):
        names = check.tracked(self.root)
        return [(path, line) for path, line, _ in check.RULES[rule](self.root, names)]

    def test_ranks_refuse_upward_sideways_and_unknown_includes(self):
        self.write("src/core/a.cpp", '#include "core/a.h"\n#include "text/b.h"\n')
        self.write("src/text/b.cpp", '#include "core/a.h"\n// #include "codec/x.h"\n#include "codec/x.h"\n#include "b.h"\n')
        self.write("src/stray/c.cpp", '#include "core/a.h"\n')
        self.assertEqual(self.faults("ranks"),
                         [("src/core/a.cpp", 2), ("src/stray/c.cpp", 1), ("src/text/b.cpp", 3), ("src/text/b.cpp", 4)])

    def test_ranks_need_their_table(self):
        self.write("docs/architecture.md", "no table\n")
        self.assertEqual(self.faults("ranks"), [("docs/architecture.md", 1)])

    def test_function_length(self):
        body = "  call();\n" * 79
        self.write("src/core/exact.cpp", f"namespace a {{\nint f(int x) {{\n{body[:-10]}}}\n}}\n")
        self.write("src/core/long.cpp", "namespace a {\nstruct S {\n  S() : a_{1}, b_{2} {\n" + body + "  }\n};\n}\n")
        self.write("src/core/braces.cpp", "// {\nconst char* s = \"}{\";\nconst auto r = R\"({{)\";\nint g() {\n" + body + "}\n")
        self.write("src/core/table.cpp", "constexpr int kTable[] = {\n" + "  1,\n" * 200 + "};\n")
        self.write("src/kernels/cpu/k.cpp", "void k() {\n" + body + body + "}\n")
        self.assertEqual(self.faults("function-length"), [("src/core/braces.cpp", 4), ("src/core/long.cpp", 3)])

    def test_file_length_and_its_list(self):
        self.write("src/core/long.cpp", "\n" * 801)
        self.write("src/core/table.cpp", "\n" * 801)
        self.write("src/core/fits.cpp", "\n" * 800)
        self.write("tools/long_files.txt", "src/core/table.cpp: a table of code points\nsrc/gone.cpp: was a table\n")
        self.assertEqual(self.faults("file-length"), [("src/core/long.cpp", 801), ("tools/long_files.txt", 1)])

    def test_architecture_names(self):
        self.write("src/models/arch/llama.json", "{}")
        self.write("src/models/arch/opt.json", "{}")
        self.write("src/text/a.cpp", 'class LlamaBuilder;\n// llama keeps its rows permuted\nif (x == "llama4") {}\n'
                                     'int opt = collama;\nauto k = "opt.block_count";\n')
        self.write("src/text/b.cpp", 'auto k = "llama";\n')
        self.write("tools/allowed_names.txt", "src/text/b.cpp: the value of tokenizer.ggml.model\n")
        self.assertEqual(self.faults("architecture-names"),
                         [("src/text/a.cpp", 1), ("src/text/a.cpp", 3), ("src/text/a.cpp", 5)])

    def test_words(self):
        lines = ["TO" + "DO later", "is not " + "implemented", "open(\"/ro" + "ot/x\")", "cd /wo" + "rk", "/tm" + "p/file",
                 "from py" + "pi", "mkdtemp(\"lamina.XXXXXX\")", "todo lists and framework/root/x", "${DIR}/tm" + "p"]
        self.write("src/core/a.cpp", "\n".join("// " + line for line in lines) + "\n")
        self.write("tests/golden/x/vocab.txt", "TO" + "DO\n")
        self.assertEqual(self.faults("words"), [("src/core/a.cpp", n) for n in range(1, 7)])

    def test_dependencies(self):
        self.write("CMakeLists.txt", "find_package(fmt REQUIRED)\npkg_check_modules(A REQUIRED IMPORTED_TARGET libpcre2-8)\n"
                                     "find_package(Boost)\n")
        self.write("docs/dependencies.md", "| `fmt` | text |\n| `libpcre2-8` | patterns |\n")
        self.assertEqual(self.faults("dependencies"), [("CMakeLists.txt", 3)])

    def test_changelog(self):
        for name in ("LICENSE", "README.md", "CONTRIBUTING.md"):
            self.write(name, "text\n")
        self.assertEqual(self.faults("changelog"), [("CHANGELOG.md", 1)])

    def test_program_fails_on_a_fault(self):
        command = [sys.executable, TOOLS / "check.py", "--root", self.root, "--only", "words"]
        self.assertEqual(subprocess.run(command).returncode, 0)
        self.write("a.md", "FIX" + "ME\n")
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn("a.md:1: words:", result.stdout)


if __name__ == "__main__":
    unittest.main()
