#!/usr/bin/env python3
"""Rooms include downward only: fails on an include in rrhf/ that the table below does not allow.

    layering.py SOURCE_ROOT     check the tree
    layering.py --self-test     check that planted mistakes are found
"""
import pathlib
import re
import sys
import tempfile

BELOW_TRAIN = ("core config format text data model objective optim distributed checkpoint generate reward report").split()

# What each room may include, besides itself.
ALLOWED = {
    "core": [],
    "config": ["core"],
    "format": ["core"],
    "text": ["core"],
    "data": ["core", "text"],
    "model": ["core"],
    "objective": ["core"],
    "optim": ["core"],
    "distributed": ["core"],
    "checkpoint": ["core", "format", "text", "model"],
    "generate": ["core", "text", "model"],
    "reward": ["core", "text", "data", "model"],
    "report": ["core"],
    "train": BELOW_TRAIN,
    "workflow": BELOW_TRAIN + ["train"],
    "cli": BELOW_TRAIN + ["train", "workflow"],
}
SUFFIXES = {".h", ".hpp", ".cpp", ".cc", ".cu", ".cuh", ".inl"}
INCLUDE = re.compile(r'\s*#\s*include\s*["<](?P<path>[^">]+)[">]')


def problem_with(room, included):
    """What is wrong with `#include "included"` in a file of the room, or None."""
    if included.startswith("."):
        return "an include begins with rrhf/ROOM/, not with a dot"
    parts = included.split("/")
    if parts[0] != "rrhf":
        return None
    if len(parts) < 3 or parts[1] not in ALLOWED:
        return f"{included} is in no room that this test knows"
    if parts[1] != room and parts[1] not in ALLOWED[room]:
        return f"{room} may include only {', '.join(ALLOWED[room] + [room])}"
    return None


def problems_in(path, room):
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        match = INCLUDE.match(line)
        problem = match and problem_with(room, match["path"])
        if problem:
            yield f"{path}:{number}: {line.strip()}    <- {problem}"


def check(root):
    """All problems of a source tree, a line each, and the number of files looked at."""
    problems, files = [], 0
    for path in sorted((root / "rrhf").rglob("*")):
        if path.suffix not in SUFFIXES:
            continue
        files += 1
        room = path.relative_to(root / "rrhf").parts[0]
        if room not in ALLOWED:
            problems.append(f"{path}: {room} is a room that this test does not know; add it to the table")
        else:
            problems.extend(problems_in(path, room))
    return problems, files


def planted(files):
    """The problems of a tree made of {path: text}."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder, "rrhf", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check(pathlib.Path(folder))[0]


def self_test():
    good = {
        "core/a.h": "#include <vector>\n",
        "data/a.cpp": '#include "rrhf/core/a.h"\n#include "rrhf/data/b.h"\n#include "rrhf/text/c.h"\n',
        "cli/a.cpp": '#include "rrhf/workflow/a.h"\n#include "rrhf/train/a.h"\n',
        "core/notes.md": '#include "rrhf/train/a.h"\n',
    }
    assert planted(good) == [], planted(good)
    bad = {
        "an upward include": {"core/a.cpp": '// fine\n#include "rrhf/train/trainer.h"\n'},
        "a sideward include": {"model/a.h": '#include "rrhf/data/encode.h"\n'},
        "one in angle brackets": {"text/a.h": "  #  include <rrhf/data/encode.h>\n"},
        "a deeper file": {"format/inner/a.h": '#include "rrhf/model/llama.h"\n'},
        "an unknown room": {"attic/a.h": "\n"},
        "an include of an unknown room": {"cli/a.h": '#include "rrhf/attic/a.h"\n'},
        "a relative include": {"text/a.h": '#include "../data/encode.h"\n'},
    }
    for what, files in bad.items():
        assert len(planted(files)) == 1, f"{what} was not found"
    assert ":2: " in planted(bad["an upward include"])[0]
    for room, below in ALLOWED.items():
        for other in below:
            assert room not in ALLOWED[other], f"{room} and {other} may include each other"


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        print("layering: planted mistakes are found")
        return 0
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    self_test()
    problems, files = check(pathlib.Path(sys.argv[1]))
    for problem in problems:
        print(problem)
    if files == 0:
        print(f"{sys.argv[1]}/rrhf holds no sources")
    else:
        print(f"layering: {files} files, {len(problems)} problems")
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
