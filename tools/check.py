#!/usr/bin/env python3
"""The house rules that a machine can see. One function per rule; each yields (path, line, what is wrong)."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

import schema

SOURCE_SUFFIXES = (".h", ".cpp", ".cu", ".cuh")
WORD_SUFFIXES = SOURCE_SUFFIXES + (".py", ".md", ".sh", ".cmake", ".txt", ".yml", ".yaml", ".toml")
WORD_NAMES = ("dev", "run", ".gitignore", ".clang-format", ".clang-tidy", "CMakePresets.json")
DATA_FOLDERS = ("tests/golden/", "tests/fuzz/corpus/", "tests/data/", "bench/results/")
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 80

# Written so that no pattern matches its own text.
FORBIDDEN = [
    (re.compile(r"\b(T[O]DO|F[I]XME|X[X]X|H[A]CK)\b"), "a work marker; finish it or leave it out"),
    (re.compile(r"\bnot[ _]implemente[d]\b", re.I), "words of unfinished work; refuse with a reason instead"),
    (re.compile(r"(?<![\w.}/-])/(?:wor[k]|roo[t])(?![\w.-])"), "a path of one machine"),
    (re.compile(r"(?<![\w.}/-])/tm[p](?![\w.-])"), "a fixed temporary folder; ask the system for it"),
    (re.compile(r"\b(pyp[i]|pythonhoste[d]|npmj[s]|crates\.i[o]|deb\.debia[n]|anacond[a])\b", re.I),
     "a package registry's name or host"),
]


def tracked(root):
    """Files that git tracks or would track, as POSIX paths relative to root."""
    out = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=root, check=True,
                         capture_output=True).stdout.decode()
    return sorted(name for name in set(out.split("\0")) if name and (root / name).is_file())


def read(root, name):
    return (root / name).read_text(encoding="utf-8", errors="replace")


def sources(names, *folders):
    return [n for n in names if n.endswith(SOURCE_SUFFIXES) and (not folders or n.startswith(folders))]


def table_rows(text, marker):
    """Cells of the markdown table between <!-- marker --> and <!-- /marker -->, without head and rule."""
    found = re.search(rf"<!-- {marker} -->(.*?)<!-- /{marker} -->", text, re.S)
    lines = [line for line in (found.group(1) if found else "").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def list_with_reasons(root, name):
    """Lines "path: reason" of a list file; a missing file is an empty list."""
    path = root / name
    entries = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            key, _, reason = line.partition(":")
            entries[key.strip()] = reason.strip()
    return entries


def blank(match):
    """Spaces of the same shape, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


LEXEME = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^\s()\\]{0,16})\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z])\'(?:\\.|[^\'\\\n])+\'',
    re.S)


def without(text, comments=True, strings=True):
    """C++ text with comments and/or the insides of literals blanked out."""
    def replace(match):
        is_comment = match.group(0).startswith("/")
        return blank(match) if (comments if is_comment else strings) else match.group(0)
    return LEXEME.sub(replace, text)


def check_format(root, names):
    files = sources(names)
    if not files:
        return
    jobs = [files[i:i + 40] for i in range(0, len(files), 40)]
    for job in jobs:
        result = subprocess.run(["clang-format-19", "--dry-run", "-Werror", *job], cwd=root, capture_output=True, text=True)
        for found in re.finditer(r"^(.+?):(\d+):\d+: error", result.stderr, re.M):
            yield found.group(1), int(found.group(2)), "not as clang-format-19 writes it; ./dev format"


def check_ranks(root, names):
    """src/<folder>/ includes only its own folder and folders of lower rank (the table in docs/architecture.md)."""
    page = "docs/architecture.md"
    rows = table_rows(read(root, page), "ranks") if page in names else []
    ranks = {cells[1].strip("`"): int(cells[0]) for cells in rows}
    if not ranks:
        yield page, 1, "no rank table between <!-- ranks --> and <!-- /ranks -->"
        return
    for name in sources(names, "src/"):
        parts = name.split("/")
        if len(parts) < 3:
            continue
        folder = parts[1]
        if folder not in ranks:
            yield name, 1, f"folder {folder} has no rank in {page}"
            continue
        for number, line in enumerate(without(read(root, name), strings=False).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not found:
                continue
            other = found.group(1).split("/")[0]
            if other not in ranks or "/" not in found.group(1):
                yield name, number, f'"{found.group(1)}" is not written as folder/file.h of a folder in {page}'
            elif other != folder and ranks[other] >= ranks[folder]:
                yield name, number, f"{folder} (rank {ranks[folder]}) may not include {other} (rank {ranks[other]})"


def check_file_length(root, names):
    allowed = list_with_reasons(root, "tools/long_files.txt")
    for name in sources(names) + [n for n in names if n.endswith(".py") or n == "dev"]:
        lines = read(root, name).count("\n")
        if lines > MAX_FILE_LINES and name not in allowed:
            yield name, lines, f"{lines} lines; {MAX_FILE_LINES} at most (tables: tools/long_files.txt)"
    for name, reason in allowed.items():
        if name not in names or not reason:
            yield "tools/long_files.txt", 1, f"{name}: no such file, or no reason given"


def functions(text):
    """(first line, last line) of each outermost function body, found by its braces."""
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, without(text), flags=re.M)
    stack, head_start, last_function = [], 0, None
    for match in re.finditer(r"[{};]", text):
        at, sign = match.start(), match.group(0)
        inside = any(kind == "function" for kind, _ in stack)
        head = text[head_start:at].strip()
        if sign == "{":
            start = text.count("\n", 0, head_start + len(text[head_start:at]) - len(text[head_start:at].lstrip())) + 1
            if inside:
                kind = "block"
            elif re.search(r"\bnamespace\b", head) or head.endswith('extern'):
                kind = "namespace"
            elif re.search(r"\b(class|struct|union|enum)\b[^()]*$", re.sub(r"\b(alignas|__attribute__)\s*\([^()]*\)", "", head)):
                kind = "type"
            elif "(" in head:
                kind = "function"
            elif last_function and (not head or head.startswith(",")):
                kind, start = "function", last_function
            else:
                kind = "block"
            stack.append((kind, start))
            last_function = None
        elif sign == "}":
            kind, start = stack.pop() if stack else ("block", 0)
            last_function = start if kind == "function" else None
            if kind == "function":
                yield start, text.count("\n", 0, at) + 1
        else:
            last_function = None
        head_start = at + 1


def check_function_length(root, names):
    for name in sources(names):
        if name.startswith("src/kernels/"):
            continue
        longest = {}
        for first, last in functions(read(root, name)):
            longest[first] = max(last, longest.get(first, 0))
        for first, last in longest.items():
            if last - first + 1 > MAX_FUNCTION_LINES:
                yield name, first, f"a function of {last - first + 1} lines; {MAX_FUNCTION_LINES} at most"


def check_architecture_names(root, names):
    """Names of src/models/arch/*.json may not stand in the engine's code; comments may cite them."""
    files = [n for n in names if re.fullmatch(r"src/models/arch/[^/]+\.json", n)]
    stems = [pathlib.PurePosixPath(n).stem.lower() for n in files if '"abstract": true' not in read(root, n)]
    allowed = list_with_reasons(root, "tools/allowed_names.txt")
    long_names = [re.escape(s) for s in stems if len(s) > 3]
    short_names = [re.escape(s) for s in stems if len(s) <= 3]
    patterns = []
    if long_names:
        patterns.append(re.compile(rf"(?<![a-z0-9])({'|'.join(long_names)})(?![a-z])"))
    if short_names:  # Too short to be told from other words, except as a whole string.
        patterns.append(re.compile(rf'"({"|".join(short_names)})[".]'))
    for name in sources(names, "src/"):
        if name in allowed:
            continue
        for number, line in enumerate(without(read(root, name), strings=False).splitlines(), 1):
            plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", line).lower()
            for pattern in patterns:
                found = pattern.search(plain)
                if found:
                    yield name, number, f"architecture name {found.group(1)}; architectures are data (src/models/arch/)"


def check_words(root, names):
    for name in names:
        base = name.rsplit("/", 1)[-1]
        if name.startswith(DATA_FOLDERS) or name == "LICENSE" or not (name.endswith(WORD_SUFFIXES) or base in WORD_NAMES):
            continue
        for number, line in enumerate(read(root, name).splitlines(), 1):
            for pattern, why in FORBIDDEN:
                found = pattern.search(line)
                if found:
                    yield name, number, f'"{found.group(0)}": {why}'


def check_dependencies(root, names):
    """Whatever CMake looks for has a row in docs/dependencies.md that names it."""
    page = "docs/dependencies.md"
    text = read(root, page) if page in names else ""
    known = {word.lower() for word in re.findall(r"`([^`]+)`", text)}
    for name in names:
        if not (name.endswith("CMakeLists.txt") or name.endswith(".cmake")):
            continue
        for number, line in enumerate(read(root, name).splitlines(), 1):
            wanted = re.findall(r"find_package\(\s*(\w+)", line)
            for modules in re.findall(r"pkg_check_modules\(\s*\w+([^)]*)", line):
                wanted += [w for w in re.findall(r"[A-Za-z][\w.+-]*", modules)
                           if w not in ("REQUIRED", "IMPORTED_TARGET", "QUIET", "GLOBAL")]
            for package in wanted:
                if package.lower() not in known:
                    yield name, number, f"{package} has no line in {page}"


def check_changelog(root, names):
    for needed in ("CHANGELOG.md", "LICENSE", "README.md", "CONTRIBUTING.md"):
        if needed not in names or not read(root, needed).strip():
            yield needed, 1, "missing or empty"


def check_schema(root, names):
    if "src/models/schema.json" in names:
        for name, what in schema.check(root):
            yield name, 1, what


def changed_files(root):
    """Sources that differ from where the branch left main; on main itself, those of the last commit."""
    def git(*words):
        result = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""
    head = git("rev-parse", "HEAD")
    base = next((b for b in (git("merge-base", "HEAD", ref) for ref in ("main", "origin/main")) if b), "")
    if not base or base == head:
        base = git("rev-parse", "--verify", "-q", "HEAD~1")
    out = git("diff", "--name-only", "--diff-filter=d", base) if base else ""
    return set(out.splitlines()) | set(git("ls-files", "-o", "--exclude-standard").splitlines())


def check_tidy(root, names, limit):
    """clang-tidy-19 on changed .cpp files that the release build compiles; at most `limit`, the smallest ones first."""
    database = root / "build/compile_commands.json"
    if not database.exists():
        yield "build/compile_commands.json", 1, "missing; ./dev build first"
        return
    compiled = database.read_text()
    files = [n for n in sources(names, "src/", "apps/") if n.endswith(".cpp") and f'{root / n}"' in compiled]
    changed = changed_files(root)
    files = sorted((n for n in files if n in changed), key=lambda n: (root / n).stat().st_size)
    if len(files) > limit:
        print(f"clang-tidy: {limit} of {len(files)} changed files (--tidy-limit)", file=sys.stderr)
    reported = set()

    def run(name):
        return subprocess.run(["clang-tidy-19", "-p", "build", "--quiet", name], cwd=root, capture_output=True, text=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, result in zip(files[:limit], pool.map(run, files[:limit])):
            faults = set(re.findall(r"^(.+?):(\d+):\d+: (?:error|warning): (.+)$", result.stdout, re.M))
            for path, line, what in sorted(faults - reported):
                yield os.path.relpath(path, root) if os.path.isabs(path) else path, int(line), what
            reported |= faults
            if result.returncode != 0 and not faults:
                yield name, 1, "clang-tidy-19 failed: " + (result.stderr.strip().splitlines() or ["no output"])[-1]


RULES = {
    "format": check_format,
    "ranks": check_ranks,
    "file-length": check_file_length,
    "function-length": check_function_length,
    "architecture-names": check_architecture_names,
    "words": check_words,
    "dependencies": check_dependencies,
    "changelog": check_changelog,
    "schema": check_schema,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--only", choices=[*RULES, "tidy"], action="append", help="rules to run; all by default")
    parser.add_argument("--tidy-limit", type=int, default=8)
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    names = tracked(root)
    wanted = arguments.only or [*RULES, "tidy"]
    faults = 0
    for rule in wanted:
        found = RULES[rule](root, names) if rule in RULES else check_tidy(root, names, arguments.tidy_limit)
        for path, line, what in found:
            print(f"{path}:{line}: {rule}: {what}")
            faults += 1
    if faults:
        print(f"check: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
