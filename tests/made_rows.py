"""Made-up ranked rows, for tests that drive the program."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

Row = dict[str, Any]

WORDS = "red sun sea boat tree bird house road light stone".split()


def ranked_rows(count: int, seed: int = 1) -> list[Row]:
    """Rows of 2 to 5 responses of one to eight words, all rewards of a row different."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        k = draw.randint(2, 5)
        responses = [" ".join(draw.choices(WORDS, k=draw.randint(1, 8))) + f" {number} {i}" for i in range(k)]
        scores = draw.sample(range(10), k)
        rows.append({"query": " ".join(draw.choices(WORDS, k=draw.randint(2, 9))), "responses": responses, "scores": scores})
    return rows


def write_lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
