"""What `rrhf ablate` refuses before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grids import Grid
from program import Program, refused


@pytest.mark.parametrize(
    "keys, words",
    (
        ({"runs": {"a": {"model.path": "nowhere"}}}, ("nowhere: no such model folder",)),
        ({"runs": {"a": {"data.max_length": 100000}, "b": {"model.path": "nowhere"}}}, ("100000 is beyond", "nowhere: no such model folder")),
        ({"runs": {"a": {"objective.rank_los": "rrhf"}}}, ("runs.a: objective.rank_los is not a setting; nearest: objective.rank_loss",)),
        ({"runs": {"a": {"train.seed": 3}}}, ("the seeds of all runs stand in",)),
        ({"seeds": []}, ('"seeds" must be an array of whole numbers',)),
        ({"config": "nowhere.json"}, ("nowhere.json: No such file",)),
        ({"config": None}, ("names no config",)),
        ({"preset": "alpaca-default"}, ("exclude each other",)),
    ),
)
def test_wrong_grids_are_refused_before_anything_is_run(keys: dict[str, Any], words: tuple[str, ...], rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    refused(rrhf("ablate", make_grid(**keys), check=False), tmp_path, *words)


@pytest.mark.parametrize(
    "flags, words",
    (
        (("--jobs", "0"), ("--jobs 0: a whole number from 1",)),
        (("--jobs", "2", "--processes", "2"), ("exclude each other",)),
        (("--memory-cap", "much"), ("much",)),
        (("--job", "2"), ("nearest: --jobs",)),
        (("--set", "train.epoch=1"), ("nearest: train.epochs",)),
        (("--set", "output="), ("output is empty",)),
    ),
)
def test_wrong_flags_are_refused(flags: tuple[str, ...], words: tuple[str, ...], rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    refused(rrhf("ablate", make_grid(), *flags, check=False), tmp_path, *words)


@pytest.mark.parametrize("flags", ((), ("--resume",)))
def test_a_folder_with_something_else_is_left_alone(flags: tuple[str, ...], rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    result = rrhf("ablate", make_grid(), *flags, check=False)
    assert result.returncode == 2 and "holds something else than an ablation" in result.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]
