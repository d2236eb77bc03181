"""`rrhf ablate`: the runs of a grid trained, all models measured alike, whatever comes between."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from made_rows import ranked_rows, write_lines
from program import ENVIRONMENT, Program, all_metrics, copy_of, metrics_so_far, refused, wait_for, weights

Grid = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, models: Path) -> Grid:
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


RUNS = ("rrhf/seed-1", "padded/seed-1", "rrhf/seed-2", "padded/seed-2")


def test_runs_are_those_of_train_and_figures_those_of_eval(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    grid, out = make(), tmp_path / "out"
    result = rrhf("ablate", grid)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(grid.read_text())["config"]))
    found = results(out)
    assert list(found) == ["start/1", "start/2", *RUNS]
    for name in RUNS:
        seed = name[-1]
        flags = ["--set", f"train.seed={seed}"] + (["--set", "objective.normalization=padded"] if "padded" in name else [])
        own = tmp_path / "own" / name
        rrhf("train", config, *flags, "--set", f"output={own}")
        assert weights(out / name) == weights(own) and all_metrics(out / name) == all_metrics(own)
        # measured by the config's own score, on what its seed held out
        rrhf("eval", config, "--set", f"train.seed={seed}", "--model", own / "model", "--json", tmp_path / "figures.json")
        assert found[name]["figures"] == json.loads((tmp_path / "figures.json").read_text())
        assert found[name]["seed"] == int(seed)
    rrhf("eval", config, "--set", "train.seed=2", "--json", tmp_path / "figures.json")
    assert found["start/2"]["figures"] == json.loads((tmp_path / "figures.json").read_text())
    assert found["padded/seed-1"]["changes"] == {"objective.normalization": "padded"}

    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["model", "start", "rrhf", "padded", "mean", "6"]
    assert lines[4] == "mean ± standard deviation over 2 seeds"
    accuracies = [100 * found[f"rrhf/seed-{seed}"]["figures"]["rank_accuracy"] for seed in (1, 2)]
    mean, half = sum(accuracies) / 2, abs(accuracies[0] - accuracies[1])
    assert f"{mean:.1f} ± {half / 2**0.5:.1f} %" in lines[2]
    assert "6 queries held out of data.train by each run's seed; scores by objective.normalization response" == lines[-1]
    page = (out / "report.html").read_text()
    assert f"{mean:.1f} ± {half / 2**0.5:.1f} %" in page and "The trainings" in page


def test_measure_says_what_models_are_measured_by(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    test_rows = write_lines(tmp_path / "test.jsonl", ranked_rows(3, seed=5))
    measure = {"objective.normalization": "none", "data.eval": str(test_rows)}
    grid = make(measure=measure, runs={"released": {"recipe": "released"}}, seeds=None)
    rrhf("ablate", grid)
    found = results(tmp_path / "out")
    assert list(found) == ["start/1", "released"]
    flags = ["--set", "objective.normalization=none", "--set", "data.max_length=96", "--set", "data.encoding=released", "--data", test_rows]
    rrhf("eval", *flags, "--model", tmp_path / "out" / "released" / "model", "--json", tmp_path / "figures.json")
    assert found["released"]["figures"] == json.loads((tmp_path / "figures.json").read_text())
    assert found["released"]["figures"]["queries"] == 3


def test_the_list_runs_nothing(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    """And needs no GPU that its runs would."""
    grid = make(vary={"objective.rank_weight": [0, 2]}, runs=None)
    result = rrhf("ablate", grid, "--list", "--set", "device=cuda")
    assert result.stdout.splitlines() == [
        "rank_weight=0/seed-1  objective.rank_weight=0",
        "rank_weight=2/seed-1  objective.rank_weight=2",
        "rank_weight=0/seed-2  objective.rank_weight=0",
        "rank_weight=2/seed-2  objective.rank_weight=2",
    ]
    assert not (tmp_path / "out").exists()


def test_the_grid_that_comes_with_the_program(rrhf: Program, repo: Path) -> None:
    lines = rrhf("ablate", repo / "configs" / "grids" / "losses.json", "--list").stdout.splitlines()
    assert len(lines) == 21 and lines[0] == "rrhf/seed-1" and lines[4] == 'SFT as a sum/seed-1  recipe="paper"'


def products(out: Path) -> list[object]:
    table = results(out)
    return [table, *[(weights(out / name), all_metrics(out / name)) for name in table if not name.startswith("start")]]


@pytest.mark.parametrize("stop, jobs", ((signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGKILL, 2)))
def test_stopped_and_resumed(stop: signal.Signals, jobs: int, rrhf: Program, build_dir: Path, make: Grid, tmp_path: Path) -> None:
    config = json.loads(make().read_text())["config"]
    config["train"]["epochs"], config["checkpoint"] = 20, {"every_steps": 1}
    grid, out = make(config=config, runs={"rrhf": {}, "sft": {"objective.rank_loss": "none"}}, seeds=None), tmp_path / "out"
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


def test_a_finished_ablation_says_its_table_again(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    first = rrhf("ablate", make(), "--jobs", "2")
    before = products(tmp_path / "out")
    again = rrhf("ablate", make(), "--resume")
    assert again.stdout == first.stdout and "6 of 6 models are done" in again.stderr and "training" not in again.stderr
    # what it wrote down is a grid that needs no other file
    moved = tmp_path / "moved.json"
    shutil.copy(tmp_path / "out" / "grid.json", moved)
    written = rrhf("ablate", moved, "--resume")
    assert written.stdout == first.stdout and products(tmp_path / "out") == before


def test_a_folder_that_was_copied_is_not_measured_again(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    first = rrhf("ablate", make(), "--jobs", "2")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    free = ["--set", "checkpoint.keep=5", "--set", "train.tokens_per_pack=900", "--set", "data.cache=off"]
    again = rrhf("ablate", tmp_path / "moved" / "grid.json", "--resume", "--set", f"output={tmp_path / 'moved'}", *free)
    assert again.stdout == first.stdout and "6 of 6 models are done" in again.stderr and not (tmp_path / "out").exists()
    # even where the rows are gone
    (tmp_path / "rows.jsonl").unlink()
    assert rrhf("ablate", make(), "--resume", "--set", f"output={tmp_path / 'moved'}").stdout == first.stdout


def test_runs_and_another_measure_may_come_later(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rrhf("ablate", make(runs={"rrhf": {}}, seeds=[1]))
    before = weights(out / "rrhf" / "seed-1")
    result = rrhf("ablate", make(runs={"rrhf": {}, "sft": {"objective.rank_loss": "none"}}, seeds=[1], measure={"objective.normalization": "none"}), "--resume")
    assert "rrhf/seed-1: training" not in result.stderr and "rrhf/seed-1: measuring" in result.stderr
    assert "sft/seed-1: training" in result.stderr and weights(out / "rrhf" / "seed-1") == before
    assert "scores by objective.normalization none" in result.stdout
    changed = rrhf("ablate", make(runs={"rrhf": {"train.epochs": 2}}, seeds=[1]), "--resume", check=False)
    assert changed.returncode == 2 and "train.epochs: the run has 1, now 2" in changed.stderr


@pytest.mark.parametrize("jobs", (1, 2))
def test_a_run_that_fails_leaves_the_others(jobs: int, rrhf: Program, make: Grid, tmp_path: Path) -> None:
    # Updates that end beyond what float32 holds.
    grid = make(runs={"wild": {"optimizer.learning_rate": 1e30}, "rrhf": {}}, seeds=None)
    result = rrhf("ablate", grid, "--jobs", jobs, check=False)
    assert result.returncode == 1 and "[ablate] 1 model failed" in result.stderr
    found = results(tmp_path / "out")
    assert found["wild"]["figures"] is None and found["rrhf"]["figures"]["queries"] == 6
    lines = result.stdout.splitlines()
    assert lines[2].split() == ["wild", "-", "-", "-", "-"] and lines[-1].startswith("failed: wild: training ended with exit code 1: [train] step")
    assert "is not finite" in lines[-1] and "is not finite" in (tmp_path / "out" / "report.html").read_text()


def test_processes_share_each_training(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    rrhf("ablate", make(runs={"rrhf": {}}, seeds=None), "--processes", "2")
    assert (tmp_path / "out" / "rrhf" / "logs" / "rank-1.log").exists()
    found = results(tmp_path / "out")["rrhf"]["figures"]
    rrhf("ablate", make(runs={"rrhf": {}}, seeds=None), "--set", f"output={tmp_path / 'alone'}")
    assert found["loss"] == pytest.approx(results(tmp_path / "alone")["rrhf"]["figures"]["loss"], rel=1e-4)


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
def test_wrong_grids_are_refused_before_anything_is_run(keys: dict[str, Any], words: tuple[str, ...], rrhf: Program, make: Grid, tmp_path: Path) -> None:
    refused(rrhf("ablate", make(**keys), check=False), tmp_path, *words)


@pytest.mark.parametrize(
    "flags, words",
    (
        (("--jobs", "0"), ("--jobs is 0",)),
        (("--jobs", "2", "--processes", "2"), ("exclude each other",)),
        (("--memory-cap", "much"), ("much",)),
        (("--job", "2"), ("nearest: --jobs",)),
        (("--set", "train.epoch=1"), ("nearest: train.epochs",)),
        (("--set", "output="), ("output is empty",)),
    ),
)
def test_wrong_flags_are_refused(flags: tuple[str, ...], words: tuple[str, ...], rrhf: Program, make: Grid, tmp_path: Path) -> None:
    refused(rrhf("ablate", make(), *flags, check=False), tmp_path, *words)


@pytest.mark.parametrize("flags", ((), ("--resume",)))
def test_a_folder_with_something_else_is_left_alone(flags: tuple[str, ...], rrhf: Program, make: Grid, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    result = rrhf("ablate", make(), *flags, check=False)
    assert result.returncode == 2 and "holds something else than an ablation" in result.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_training_that_is_refused_leaves_the_others(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    """What no look beforehand finds: steps that are more than one pack."""
    by_layer = {"optimizer.update": "layer", "optimizer.max_grad_norm": 0, "train.tokens_per_pack": 100}
    result = rrhf("ablate", make(runs={"first": by_layer, "second": {}}, seeds=None), check=False)
    assert result.returncode == 2 and "first: training ended with exit code 2: [config]" in result.stderr, result.stderr
    assert results(tmp_path / "out")["second"]["figures"]["queries"] == 6


def test_settings_that_change_no_result_may_change_and_the_folder_may_move(rrhf: Program, build_dir: Path, make: Grid, tmp_path: Path) -> None:
    grid, moved = make(runs={"rrhf": {}, "sft": {"objective.rank_loss": "none"}}, seeds=None), tmp_path / "moved"
    rrhf("ablate", grid)
    shutil.move(tmp_path / "out", moved)
    before = weights(moved / "sft")
    shutil.rmtree(moved / "sft" / "model")
    rrhf("ablate", grid, "--resume", "--set", f"output={moved}", "--set", "train.tokens_per_pack=200")
    assert json.loads((moved / "sft" / "config.json").read_text())["train"]["tokens_per_pack"] == 200
    assert not (tmp_path / "out").exists() and len(weights(moved / "sft")) == len(before)


@pytest.mark.parametrize("changed", ("rows.jsonl", "model", "template.txt"))
def test_rows_and_starts_must_be_those_it_began_with(changed: str, rrhf: Program, make: Grid, models: Path, tmp_path: Path) -> None:
    model = copy_of(models / "hf", tmp_path / "model")
    (tmp_path / "template.txt").write_text("so {query}")
    runs: dict[str, Any] = {"a": {"model.path": str(model), "data.template": str(tmp_path / "template.txt")}}
    rrhf("ablate", make(runs=runs, seeds=None))
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
    result = rrhf("ablate", make(runs=runs, seeds=None), "--resume", check=False)
    assert result.returncode == 2 and "what its runs began from has changed since" in result.stderr and str(tmp_path / changed) in result.stderr
    assert (tmp_path / "out" / "grid.json").read_bytes() == grid and not (tmp_path / "out" / "b").exists()
    # Measured anew, the model would meet rows it was trained on: other rows are held out of others.
    if changed == "rows.jsonl":
        del runs["b"]
        again = rrhf("ablate", make(runs=runs, seeds=None), "--resume", check=False)
        assert again.returncode == 2 and again.stdout == "" and "rows.jsonl" in again.stderr


def test_rows_that_change_while_it_runs_are_noticed(rrhf: Program, build_dir: Path, make: Grid, tmp_path: Path) -> None:
    grid = make(runs={"long": {"train.epochs": 60}, "short": {}}, seeds=None)
    process = subprocess.Popen([str(build_dir / "rrhf"), "ablate", str(grid)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(metrics_so_far(tmp_path / "out" / "long")) > 3)
    write_lines(tmp_path / "rows.jsonl", ranked_rows(17))
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 2 and "rows.jsonl" in messages
    assert "long: measuring could not begin" in messages and "short: training could not begin" in messages
    assert [line["figures"] is None for line in results(tmp_path / "out").values()] == [False, True, True]


def test_measured_rows_that_have_changed_are_measured_again(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    test_rows = write_lines(tmp_path / "test.jsonl", ranked_rows(3, seed=5))
    grid = make(runs={"a": {}}, seeds=None, measure={"data.eval": str(test_rows)})
    rrhf("ablate", grid)
    write_lines(test_rows, ranked_rows(4, seed=5))
    result = rrhf("ablate", grid, "--resume")
    assert "a: training" not in result.stderr
    assert [line["figures"]["queries"] for line in results(tmp_path / "out").values()] == [4, 4]


def test_runs_with_seeds_and_without_do_not_share_a_folder(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    one = {"runs": {"a": {}}}
    rrhf("ablate", make(**one, seeds=[1]))
    without = rrhf("ablate", make(**one, seeds=None), "--resume", check=False)
    assert without.returncode == 2 and "holds runs by seed" in without.stderr and "another output" in without.stderr
    other = ("--set", f"output={tmp_path / 'other'}")
    rrhf("ablate", make(**one, seeds=None), *other)
    seeded = rrhf("ablate", make(**one, seeds=[1]), "--resume", *other, check=False)
    assert seeded.returncode == 2 and "holds a run without a seed" in seeded.stderr


def test_starts_whose_runs_begin_alike_are_two_lines(rrhf: Program, make: Grid, models: Path, tmp_path: Path) -> None:
    """Long names of runs, and one that is called as a start is."""
    other = copy_of(models / "hf", tmp_path / "other")
    vary = {"objective.length_penalty": [1], "optimizer.learning_rate": [1e-3], "optimizer.weight_decay": [0], "model.path": [str(models / "hf"), str(other)]}
    result = rrhf("ablate", make(vary=vary, runs=None, seeds=None))
    names = [line.split("  ")[0] for line in result.stdout.splitlines()[1:5]]
    assert len(set(names)) == 4 and [name.startswith("start of") for name in names] == [True, True, False, False]
    runs = {"a": {}, "start of b": {}, "b": {"model.path": str(other)}}
    runs["start of b"] = {"train.epochs": 2}
    result = rrhf("ablate", make(runs=runs, seeds=None, output=str(tmp_path / "out2")))
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:6]] == ["start of a and 1 more", "start of b", "a", "start of b", "b"]


def test_two_at_once_on_one_folder(rrhf: Program, build_dir: Path, make: Grid, tmp_path: Path) -> None:
    grid = make(runs={"long": {"train.epochs": 400}}, seeds=None)
    first = subprocess.Popen([build_dir / "rrhf", "ablate", grid], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(metrics_so_far(tmp_path / "out" / "long")) > 1)
        second = rrhf("ablate", grid, "--resume", check=False)
    finally:
        first.terminate()
        first.wait(timeout=60)
    assert second.returncode == 2 and "another process" in second.stderr


def test_what_a_killed_start_left_is_no_ablation(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".grid.json.tmp-1-0000abcd").write_text("{")
    result = rrhf("ablate", make(runs={"a": {}}, seeds=None), "--resume")
    assert "holds nothing to resume" in result.stderr and not list((tmp_path / "out").glob(".grid*"))


def test_a_folder_named_like_a_flag(build_dir: Path, make: Grid, tmp_path: Path) -> None:
    command = [str(build_dir / "rrhf"), "ablate", str(make(runs={"a": {}}, seeds=None, output="-out/"))]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "<h1>-out</h1>" in (tmp_path / "-out" / "report.html").read_text() and results(tmp_path / "-out")["a"]["figures"]


def test_a_failure_is_shown_until_it_is_mended(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    """With several processes too; a stage that is then killed shows no cause of before."""
    grid, out = make(runs={"wild": {"optimizer.learning_rate": 1e30}}, seeds=None), tmp_path / "out"
    result = rrhf("ablate", grid, "--processes", "2", check=False)
    assert result.returncode == 1 and "is not finite" in (out / "wild" / "failure.txt").read_text()
    assert "is not finite" in result.stdout and "is not finite" in (out / "report.html").read_text()
    rrhf("ablate", make(runs={"tame": {}}, seeds=None), "--resume")
    assert "is not finite" not in (out / "report.html").read_text()  # the grid has that run no longer


def test_a_run_whose_metrics_are_broken_leaves_the_others(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    rrhf("ablate", make(runs={"a": {}, "b": {"train.epochs": 2}}, seeds=None))
    (tmp_path / "out" / "a" / "metrics.jsonl").write_text('{"event":"eval","st')
    result = rrhf("ablate", make(runs={"a": {}, "b": {"train.epochs": 2}, "c": {"train.epochs": 3}}, seeds=None), "--resume")
    assert "none of its lines is a line of metrics" in result.stdout and results(tmp_path / "out")["c"]["figures"]


def test_models_measured_on_fewer_rows_are_named(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    """A template leaves the longest queries no room for a response."""
    (tmp_path / "template.txt").write_text("so once there was {query}")
    config = json.loads(make().read_text())["config"]
    config["data"]["max_length"] = 20
    runs = {"plain": {}, "told": {"data.template": str(tmp_path / "template.txt")}}
    result = rrhf("ablate", make(config=config, runs=runs, seeds=None, measure={"data.eval": config["data"]["train"]}))
    queries = {name: line["figures"]["queries"] for name, line in results(tmp_path / "out").items()}
    assert 0 < queries["told"] < queries["plain"]
    assert f"{queries['plain']} queries of data.eval; but {queries['told']} of start of told, {queries['told']} of told; scores" in result.stdout
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:3]] == ["start of plain", "start of told"]


def test_the_report_of_an_ablation_names_its_runs(rrhf: Program, make: Grid, tmp_path: Path) -> None:
    rrhf("ablate", make(), "--jobs", "2")
    result = rrhf("report", tmp_path / "out", check=False)
    assert result.returncode == 2 and "holds an ablation" in result.stderr and str(tmp_path / "out" / "padded" / "seed-1") in result.stderr
    table = rrhf("report", *(tmp_path / "out" / name for name in RUNS)).stdout
    assert "padded/seed-2" in table
