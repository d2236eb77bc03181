"""Small grids for tests of `rrhf ablate`, and what came out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from made_rows import ranked_rows, write_lines

Grid = Callable[..., Path]


@pytest.fixture
def make_grid(tmp_path: Path, models: Path) -> Grid:
    """Writes a grid of two runs with two seeds over 18 rows, six of which a run holds out; keywords replace its keys."""
    rows = write_lines(tmp_path / "rows.jsonl", ranked_rows(18))

    def make(**keys: Any) -> Path:
        grid: dict[str, Any] = {
            "config": {
                "model": {"path": str(models / "hf")},
                "data": {"train": str(rows), "eval_fraction": 0.34, "max_length": 96},
                "optimizer": {"learning_rate": 1e-3},
                "train": {"epochs": 1, "queries_per_step": 4},
            },
            "runs": {"rrhf": {}, "padded": {"objective.normalization": "padded"}},
            "seeds": [1, 2],
            "output": str(tmp_path / "out"),
            **keys,
        }
        path = tmp_path / "grid.json"
        path.write_text(json.dumps({key: value for key, value in grid.items() if value is not None}))
        return path

    return make


def results(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {line["model"]: line for line in lines}
