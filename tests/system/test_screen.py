"""What stands on a terminal: one status line that fits, and lines of results that do not run into it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path
from typing import Callable

import pytest

from program import ENVIRONMENT

ROW = '{"query": "a b", "responses": ["c d", "e"], "scores": [1, 2]}\n'
CLEAR = "\r\x1b[K"


def on_a_terminal(command: list[object], columns: int) -> str:
    """All that the program writes to a terminal of so many columns, stdout and stderr together."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    process = subprocess.Popen(list(map(str, command)), stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    assert process.wait() in (0, 2)
    return b"".join(pieces).decode()


def status_lines(text: str) -> list[str]:
    """What was drawn in place, each up to what came next."""
    return [part.split("\n")[0].rstrip("\r") for part in text.split(CLEAR)[1:] if part]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_step_line_keeps_what_matters(
    columns: int, build_dir: Path, make_config: Callable[..., Path]
) -> None:
    config = make_config(train={"epochs": 60, "queries_per_step": 2})
    text = on_a_terminal([build_dir / "rrhf", "train", config], columns)
    drawn = [line for line in status_lines(text) if line.startswith("step ")]
    assert drawn, text[-2000:]
    for line in drawn:
        if line.startswith("step 720/720"):
            continue  # the last stays, whole
        assert len(line) < columns, line
        assert all(word in line for word in ("step ", "loss ", " tok/s", "ETA ")), line
    if columns == 60:
        assert not any("grad" in line for line in drawn[:-1])


def test_problems_do_not_run_into_the_bar(build_dir: Path, tmp_path: Path) -> None:
    """A problem after a while of good rows, when the bar stands; as often as it takes to see one drawn."""
    file = tmp_path / "rows.jsonl"
    tie = json.dumps({"query": "q", "responses": ["a", "b"], "scores": [1, 1]}) + "\n"
    file.write_text((ROW * 20_000 + tie) * 20)
    text = on_a_terminal([build_dir / "rrhf", "data", "validate", file], 100)
    assert CLEAR + "[" in text, "no bar was drawn"
    problems = [line for line in text.split("\n") if "tie (1)" in line]
    assert len(problems) == 20
    for line in problems:
        assert line.split(CLEAR)[-1].startswith(f"  {file}:"), line
    summary = next(line for line in text.split("\n") if " usable " in line)
    assert summary.split(CLEAR)[-1].startswith(" 400,020 usable"), summary
