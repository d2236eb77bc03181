"""`rrhf ablate --resume`: an ablation that was stopped, has moved or has grown, and what it began from has changed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from grids import Grid, results
from made_rows import ranked_rows, write_lines
from program import ENVIRONMENT, Program, all_metrics, copy_of, metrics_so_far, wait_for, weights


def products(out: Path) -> list[object]:
    table = results(out)
    return [table, *[(weights(out / name), all_metrics(out / name)) for name in table if not name.startswith("start")]]


@pytest.mark.parametrize("stop, jobs", ((signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGKILL, 2)))
def test_stopped_and_resumed(stop: signal.Signals, jobs: int, rrhf: Program, build_dir: Path, make_grid: Grid, tmp_path: Path) -> None:
    config = json.loads(make_grid().read_text())["config"]
    config["train"]["epochs"], config["checkpoint"] = 20, {"every_steps": 1}
    grid, out = make_grid(config=config, runs={"rrhf": {}, "sft": {"objective.rank_loss": "none"}}, seeds=None), tmp_path / "out"
    command = [str(build_dir / "rrhf"), "ablate", str(grid), "--jobs", str(jobs)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(metrics_so_far(out / "rrhf")) > 5)
    assert not (out / "rrhf" / "model").exists(), "too quick to be stopped"
    process.send_signal(stop)
    _, messages = process.communicate(timeout=60)
    if stop == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 1 and messages.endswith("[ablate] stopped; the same command with --resume goes on from there\n")
    # nothing goes on writing
    lines = wait_for(lambda: metrics_so_far(out / "rrhf"))
    assert not (out / "rrhf" / "model").exists() and metrics_so_far(out / "rrhf") == lines
    refusal = rrhf("ablate", grid, check=False)
    assert refusal.returncode == 2 and "add --resume" in refusal.stderr
    rrhf("ablate", grid, "--resume", "--jobs", jobs)
    rrhf("ablate", grid, "--set", f"output={tmp_path / 'whole'}")
    assert products(out) == products(tmp_path / "whole")


def test_a_finished_ablation_says_its_table_again(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    first = rrhf("ablate", make_grid(), "--jobs", "2")
    before = products(tmp_path / "out")
    again = rrhf("ablate", make_grid(), "--resume")
    assert again.stdout == first.stdout and "6 of 6 models are done" in again.stderr and "training" not in again.stderr
    # what it wrote down is a grid that needs no other file
    moved = tmp_path / "moved.json"
    shutil.copy(tmp_path / "out" / "grid.json", moved)
    written = rrhf("ablate", moved, "--resume")
    assert written.stdout == first.stdout and products(tmp_path / "out") == before


def test_a_folder_that_was_copied_is_not_measured_again(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    first = rrhf("ablate", make_grid(), "--jobs", "2")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    free = ["--set", "checkpoint.keep=5", "--set", "train.tokens_per_pack=900", "--set", "data.cache=off"]
    again = rrhf("ablate", tmp_path / "moved" / "grid.json", "--resume", "--set", f"output={tmp_path / 'moved'}", *free)
    assert again.stdout == first.stdout and "6 of 6 models are done" in again.stderr and not (tmp_path / "out").exists()
    # even where the rows are gone
    (tmp_path / "rows.jsonl").unlink()
    assert rrhf("ablate", make_grid(), "--resume", "--set", f"output={tmp_path / 'moved'}").stdout == first.stdout


def test_runs_and_another_measure_may_come_later(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rrhf("ablate", make_grid(runs={"rrhf": {}}, seeds=[1]))
    before = weights(out / "rrhf" / "seed-1")
    result = rrhf("ablate", make_grid(runs={"rrhf": {}, "sft": {"objective.rank_loss": "none"}}, seeds=[1], measure={"objective.normalization": "none"}), "--resume")
    assert "rrhf/seed-1: training" not in result.stderr and "rrhf/seed-1: measuring" in result.stderr
    assert "sft/seed-1: training" in result.stderr and weights(out / "rrhf" / "seed-1") == before
    assert "scores by objective.normalization none" in result.stdout
    changed = rrhf("ablate", make_grid(runs={"rrhf": {"train.epochs": 2}}, seeds=[1]), "--resume", check=False)
    assert changed.returncode == 2 and "train.epochs: the run has 1, now 2" in changed.stderr


def test_settings_that_change_no_result_may_change_and_the_folder_may_move(rrhf: Program, build_dir: Path, make_grid: Grid, tmp_path: Path) -> None:
    grid, moved = make_grid(runs={"rrhf": {}, "sft": {"objective.rank_loss": "none"}}, seeds=None), tmp_path / "moved"
    rrhf("ablate", grid)
    shutil.move(tmp_path / "out", moved)
    before = weights(moved / "sft")
    shutil.rmtree(moved / "sft" / "model")
    rrhf("ablate", grid, "--resume", "--set", f"output={moved}", "--set", "train.tokens_per_pack=200")
    assert json.loads((moved / "sft" / "config.json").read_text())["train"]["tokens_per_pack"] == 200
    assert not (tmp_path / "out").exists() and len(weights(moved / "sft")) == len(before)


@pytest.mark.parametrize("changed", ("rows.jsonl", "model", "template.txt"))
def test_rows_and_starts_must_be_those_it_began_with(changed: str, rrhf: Program, make_grid: Grid, models: Path, tmp_path: Path) -> None:
    model = copy_of(models / "hf", tmp_path / "model")
    (tmp_path / "template.txt").write_text("so {query}")
    runs: dict[str, Any] = {"a": {"model.path": str(model), "data.template": str(tmp_path / "template.txt")}}
    rrhf("ablate", make_grid(runs=runs, seeds=None))
    if changed == "model":
        with (model / "model.safetensors").open("r+b") as file:
            file.seek(-4, 2)
            file.write(b"\0\0\0\0")
    elif changed == "rows.jsonl":
        write_lines(tmp_path / changed, ranked_rows(17))
    else:
        (tmp_path / changed).write_text("once {query}")
    grid = (tmp_path / "out" / "grid.json").read_bytes()
    runs["b"] = {**runs["a"], "train.epochs": 2}
    result = rrhf("ablate", make_grid(runs=runs, seeds=None), "--resume", check=False)
    assert result.returncode == 2 and "were made of has changed since" in result.stderr and str(tmp_path / changed) in result.stderr
    assert (tmp_path / "out" / "grid.json").read_bytes() == grid and not (tmp_path / "out" / "b").exists()
    del runs["b"]
    # Another start is not measured as if the runs had begun from it.
    if changed == "model":
        again = rrhf("ablate", make_grid(runs=runs, seeds=None, measure={"objective.length_penalty": 0.5}), "--resume", check=False)
        assert again.returncode == 2 and again.stdout == "" and "model.path" in again.stderr
    # Measured anew, the model would meet rows it was trained on: other rows are held out of others.
    if changed == "rows.jsonl":
        again = rrhf("ablate", make_grid(runs=runs, seeds=None), "--resume", check=False)
        assert again.returncode == 2 and again.stdout == "" and "rows.jsonl" in again.stderr


def test_rows_that_change_while_it_runs_are_noticed(rrhf: Program, build_dir: Path, make_grid: Grid, tmp_path: Path) -> None:
    grid = make_grid(runs={"long": {"train.epochs": 60}, "short": {}}, seeds=None)
    process = subprocess.Popen([str(build_dir / "rrhf"), "ablate", str(grid)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(metrics_so_far(tmp_path / "out" / "long")) > 3)
    write_lines(tmp_path / "rows.jsonl", ranked_rows(17))
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 2 and "rows.jsonl" in messages
    assert "long: measuring could not begin" in messages and "short: training could not begin" in messages
    assert [line["figures"] is None for line in results(tmp_path / "out").values()] == [False, True, True]


def test_measured_rows_that_have_changed_are_measured_again(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    test_rows = write_lines(tmp_path / "test.jsonl", ranked_rows(3, seed=5))
    grid = make_grid(runs={"a": {}}, seeds=None, measure={"data.eval": str(test_rows)})
    rrhf("ablate", grid)
    write_lines(test_rows, ranked_rows(4, seed=5))
    result = rrhf("ablate", grid, "--resume")
    assert "a: training" not in result.stderr
    assert [line["figures"]["queries"] for line in results(tmp_path / "out").values()] == [4, 4]


def test_measured_rows_that_change_while_it_runs_are_noticed(rrhf: Program, build_dir: Path, make_grid: Grid, tmp_path: Path) -> None:
    test_rows = write_lines(tmp_path / "test.jsonl", ranked_rows(3, seed=5))
    grid = make_grid(runs={"long": {"train.epochs": 60}}, seeds=None, measure={"data.eval": str(test_rows)})
    process = subprocess.Popen([str(build_dir / "rrhf"), "ablate", str(grid)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(metrics_so_far(tmp_path / "out" / "long")) > 3)
    write_lines(test_rows, ranked_rows(4, seed=5))
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 2 and "long: measuring could not begin" in messages and "have changed while it ran" in messages
    rrhf("ablate", grid, "--resume")
    assert [line["figures"]["queries"] for line in results(tmp_path / "out").values()] == [4, 4]


def test_a_trained_model_needs_no_more_than_it_is_measured_on(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    """Also beside what is broken: figures that are none, a folder where a file was."""
    test_rows = write_lines(tmp_path / "test.jsonl", ranked_rows(3, seed=5))
    first = rrhf("ablate", make_grid(runs={"a": {}, "b": {"train.epochs": 2}}, seeds=None, measure={"data.eval": str(test_rows)}))
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "out" / "a" / "measured" / "figures.json").write_text('{"queries": "x"}')
    (tmp_path / "out" / "b" / "measured" / "of.json").unlink()
    (tmp_path / "out" / "b" / "measured" / "of.json").mkdir()
    blocked = rrhf("ablate", make_grid(runs={"a": {}, "b": {"train.epochs": 2}}, seeds=None, measure={"data.eval": str(test_rows)}), "--resume", check=False)
    assert "a: ranking accuracy" in blocked.stderr and "b: measuring could not begin" in blocked.stderr and "failed: b: " in blocked.stdout
    (tmp_path / "out" / "b" / "measured" / "of.json").rmdir()
    again = rrhf("ablate", make_grid(runs={"a": {}, "b": {"train.epochs": 2}}, seeds=None, measure={"data.eval": str(test_rows)}), "--resume")
    assert again.stdout == first.stdout


def test_rows_are_not_held_out_of_what_is_not_known(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    rrhf("ablate", make_grid(runs={"a": {}}, seeds=None))
    (tmp_path / "out" / "sources.json").unlink()
    write_lines(tmp_path / "rows.jsonl", ranked_rows(17))
    result = rrhf("ablate", make_grid(runs={"a": {}}, seeds=None), "--resume", check=False)
    assert result.returncode == 2 and "does not say what a was trained on" in result.stderr


def test_runs_with_seeds_and_without_do_not_share_a_folder(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    one = {"runs": {"a": {}}}
    rrhf("ablate", make_grid(**one, seeds=[1]))
    without = rrhf("ablate", make_grid(**one, seeds=None), "--resume", check=False)
    assert without.returncode == 2 and "holds runs by seed" in without.stderr and "another output" in without.stderr
    other = ("--set", f"output={tmp_path / 'other'}")
    rrhf("ablate", make_grid(**one, seeds=None), *other)
    seeded = rrhf("ablate", make_grid(**one, seeds=[1]), "--resume", *other, check=False)
    assert seeded.returncode == 2 and "holds a run without a seed" in seeded.stderr


def test_two_at_once_on_one_folder(rrhf: Program, build_dir: Path, make_grid: Grid, tmp_path: Path) -> None:
    grid = make_grid(runs={"long": {"train.epochs": 400}}, seeds=None)
    first = subprocess.Popen([build_dir / "rrhf", "ablate", grid], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(metrics_so_far(tmp_path / "out" / "long")) > 1)
        second = rrhf("ablate", grid, "--resume", check=False)
    finally:
        first.terminate()
        first.wait(timeout=60)
    assert second.returncode == 2 and "another process" in second.stderr


def test_what_a_killed_start_left_is_no_ablation(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".grid.json.tmp-1-0000abcd").write_text("{")
    result = rrhf("ablate", make_grid(runs={"a": {}}, seeds=None), "--resume")
    assert "holds nothing to resume" in result.stderr and not list((tmp_path / "out").glob(".grid*"))


def test_a_run_whose_metrics_are_broken_leaves_the_others(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    rrhf("ablate", make_grid(runs={"a": {}, "b": {"train.epochs": 2}}, seeds=None))
    (tmp_path / "out" / "a" / "metrics.jsonl").write_text('{"event":"eval","st')
    result = rrhf("ablate", make_grid(runs={"a": {}, "b": {"train.epochs": 2}, "c": {"train.epochs": 3}}, seeds=None), "--resume")
    assert "none of its lines is a line of metrics" in result.stdout and results(tmp_path / "out")["c"]["figures"]
