"""Tokens kept between runs (data.cache): the same bytes with and without, and what happens to a cache that is no good."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from made_rows import ranked_rows, write_lines
from program import ENVIRONMENT, Program

Config = Callable[..., Path]

SETTINGS: dict[str, Any] = {"train": {"epochs": 2}, "data": {"eval_fraction": 0.2}, "checkpoint": {"every_steps": 3}}


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines]


def product(run: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The model's files, which are several where several ranks wrote them, and the metrics."""
    files = {path.name: path.read_bytes() for path in (run / "model").glob("*.safetensors")}
    assert files
    return files, metrics(run)


def kept(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.exists() else []


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_off_cold_and_warm_give_the_same_bytes(rrhf: Program, make_config: Config, cache: Path, tmp_path: Path) -> None:
    rrhf("train", make_config("off", **SETTINGS), "--set", "data.cache=off")
    for name in ("cold", "warm"):
        result = rrhf("train", make_config(name, **SETTINGS), "--set", f"data.cache={cache}")
        assert f"23 rows kept in {cache}" in result.stderr
        assert product(tmp_path / name) == product(tmp_path / "off"), name
        assert [path.suffix for path in kept(cache)] == [".tokens"]


def test_an_evaluation_from_the_cache(rrhf: Program, make_config: Config, good_data: Path, cache: Path, tmp_path: Path) -> None:
    config = make_config()
    outputs = []
    for setting in ("off", cache, cache):
        out = tmp_path / "out.jsonl"
        table = rrhf("eval", config, "--data", good_data, "--per-response", out, "--set", f"data.cache={setting}").stdout
        outputs.append((table, out.read_text()))
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(kept(cache)) == 1


def test_training_and_evaluation_share_it(rrhf: Program, make_config: Config, good_data: Path, cache: Path) -> None:
    rrhf("train", make_config(), "--set", f"data.cache={cache}")
    rrhf("eval", make_config("other"), "--data", good_data, "--set", f"data.cache={cache}")
    assert len(kept(cache)) == 1


def test_a_run_goes_on_with_another_cache(rrhf: Program, make_config: Config, cache: Path, tmp_path: Path) -> None:
    rrhf("train", make_config("whole", **SETTINGS))
    config = make_config("stopped", **SETTINGS)
    rrhf("train", config, "--set", f"data.cache={cache}")
    for path in (tmp_path / "stopped" / "model").iterdir():
        path.unlink()
    (tmp_path / "stopped" / "model").rmdir()
    assert "resumed" in rrhf("train", config, "--resume", "--set", "data.cache=off").stderr
    assert product(tmp_path / "stopped") == product(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_bad_file_is_named_and_made_again(
    damage: str, rrhf: Program, make_config: Config, cache: Path, tmp_path: Path
) -> None:
    rrhf("train", make_config("first", **SETTINGS), "--set", f"data.cache={cache}")
    (file,) = kept(cache)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes({
        "cut": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :],
        "foreign": b"not ours " * 100,
        "empty": b"",
    }[damage])  # fmt: skip
    result = rrhf("train", make_config("second", **SETTINGS), "--set", f"data.cache={cache}")
    assert f"{file}: " in result.stderr and "it is made again" in result.stderr
    assert kept(cache) == [file] and file.read_bytes() == whole
    assert product(tmp_path / "second") == product(tmp_path / "first")


def test_a_folder_that_cannot_be_is_an_error(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = rrhf("train", make_config(), "--set", f"data.cache={tmp_path / 'file' / 'cache'}", check=False)
    assert result.returncode == 2 and "file/cache: could not be created" in result.stderr
    assert not (tmp_path / "run").exists()


def test_broken_rows_leave_no_cache(rrhf: Program, make_config: Config, good_data: Path, cache: Path) -> None:
    good_data.write_text(good_data.read_text() + "{}\n")
    result = rrhf("train", make_config(), "--set", f"data.cache={cache}", check=False)
    assert result.returncode == 2 and "good.jsonl:24" in result.stderr
    assert kept(cache) == []


def test_runs_at_once_share_it(build_dir: Path, make_config: Config, cache: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "many.jsonl", ranked_rows(2000))
    command = [build_dir / "rrhf", "train"]
    flags = ["--set", f"data.cache={cache}", "--set", f"data.train={data}", "--set", "train.max_steps=1"]
    configs = [make_config(f"run-{i}") for i in range(4)]
    runs = [subprocess.Popen([*command, config, *flags], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) for config in configs]
    said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, said
    assert [path.suffix for path in kept(cache)] == [".tokens"]
    assert all(product(tmp_path / f"run-{i}") == product(tmp_path / "run-0") for i in range(4))


def test_ranks_share_it(rrhf: Program, make_config: Config, cache: Path, tmp_path: Path) -> None:
    for name, setting in (("off", "off"), ("cold", cache), ("warm", cache)):
        rrhf("train", make_config(name, **SETTINGS), "--processes", 2, "--set", f"data.cache={setting}")
        assert product(tmp_path / name) == product(tmp_path / "off"), name
    assert [path.suffix for path in kept(cache)] == [".tokens"]
