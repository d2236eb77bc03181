"""What the tests of the whole program share beside program.py: a small world to train in."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Callable

import pytest

from grids import make_grid  # noqa: F401 (fixture)
from made_rows import ranked_rows, write_lines
from program import build_dir, copy_of, models, repo, rrhf, shared  # noqa: F401 (fixtures)
from ranks import machines  # noqa: F401 (fixture)
from safetensors_file import read_file, write_file


@pytest.fixture
def good_data(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "good.jsonl", ranked_rows(23))


@pytest.fixture
def make_config(tmp_path: Path, models: Path, good_data: Path) -> Callable[..., Path]:
    """Writes a config of a run of a few seconds; keyword arguments replace sections' keys: train={"seed": 2}."""

    def make(name: str = "run", **sections: Any) -> Path:
        config: dict[str, Any] = {
            "model": {"path": str(models / "hf")},
            "data": {"train": str(good_data), "max_length": 96},
            "optimizer": {"learning_rate": 1e-3},
            "train": {"epochs": 1, "queries_per_step": 4},
            "output": str(tmp_path / name),
        }
        for key, value in sections.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(config))
        return path

    return make


@pytest.fixture
def reward_model(models: Path, tmp_path: Path) -> Path:
    """stories260K with a score head of ones in place of its language head."""
    folder = copy_of(models / "hf", tmp_path / "reward")
    tensors = read_file(folder / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    tensors["score.weight"] = ("F32", [1, 64], struct.pack("<64f", *[1.0] * 64))
    write_file(folder / "model.safetensors", tensors)
    return folder
