"""`rrhf ablate`: the runs of a grid trained, all models measured alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from grids import Grid, results
from made_rows import ranked_rows, write_lines
from program import ENVIRONMENT, Program, all_metrics, copy_of, weights

RUNS = ("rrhf/seed-1", "padded/seed-1", "rrhf/seed-2", "padded/seed-2")


def test_runs_are_those_of_train_and_figures_those_of_eval(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    grid, out = make_grid(), tmp_path / "out"
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


def test_measure_says_what_models_are_measured_by(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    test_rows = write_lines(tmp_path / "test.jsonl", ranked_rows(3, seed=5))
    measure = {"objective.normalization": "none", "data.eval": str(test_rows)}
    grid = make_grid(measure=measure, runs={"released": {"recipe": "released"}}, seeds=None)
    rrhf("ablate", grid)
    found = results(tmp_path / "out")
    assert list(found) == ["start/1", "released"]
    flags = ["--set", "objective.normalization=none", "--set", "data.max_length=96", "--set", "data.encoding=released", "--data", test_rows]
    rrhf("eval", *flags, "--model", tmp_path / "out" / "released" / "model", "--json", tmp_path / "figures.json")
    assert found["released"]["figures"] == json.loads((tmp_path / "figures.json").read_text())
    assert found["released"]["figures"]["queries"] == 3


def test_the_list_runs_nothing(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    """And needs no GPU that its runs would."""
    grid = make_grid(vary={"objective.rank_weight": [0, 2]}, runs=None)
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


@pytest.mark.parametrize("jobs", (1, 2))
def test_a_run_that_fails_leaves_the_others(jobs: int, rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    # Updates that end beyond what float32 holds.
    grid = make_grid(runs={"wild": {"optimizer.learning_rate": 1e30}, "rrhf": {}}, seeds=None)
    result = rrhf("ablate", grid, "--jobs", jobs, check=False)
    assert result.returncode == 1 and "[ablate] 1 model failed" in result.stderr
    found = results(tmp_path / "out")
    assert found["wild"]["figures"] is None and found["rrhf"]["figures"]["queries"] == 6
    lines = result.stdout.splitlines()
    assert lines[2].split() == ["wild", "-", "-", "-", "-"] and lines[-1].startswith("failed: wild: training ended with exit code 1: [train] step")
    assert "is not finite" in lines[-1] and "is not finite" in (tmp_path / "out" / "report.html").read_text()


def test_processes_share_each_training(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    rrhf("ablate", make_grid(runs={"rrhf": {}}, seeds=None), "--processes", "2")
    assert (tmp_path / "out" / "rrhf" / "logs" / "rank-1.log").exists()
    found = results(tmp_path / "out")["rrhf"]["figures"]
    rrhf("ablate", make_grid(runs={"rrhf": {}}, seeds=None), "--set", f"output={tmp_path / 'alone'}")
    assert found["loss"] == pytest.approx(results(tmp_path / "alone")["rrhf"]["figures"]["loss"], rel=1e-4)


def test_a_training_that_is_refused_leaves_the_others(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    """What no look beforehand finds: steps that are more than one pack."""
    by_layer = {"optimizer.update": "layer", "optimizer.max_grad_norm": 0, "train.tokens_per_pack": 100}
    result = rrhf("ablate", make_grid(runs={"first": by_layer, "second": {}}, seeds=None), check=False)
    assert result.returncode == 2 and "first: training ended with exit code 2: [config]" in result.stderr, result.stderr
    assert results(tmp_path / "out")["second"]["figures"]["queries"] == 6


def test_starts_whose_runs_begin_alike_are_two_lines(rrhf: Program, make_grid: Grid, models: Path, tmp_path: Path) -> None:
    """Long names of runs, and one that is called as a start is."""
    other = copy_of(models / "hf", tmp_path / "other")
    vary = {"objective.length_penalty": [1], "optimizer.learning_rate": [1e-3], "optimizer.weight_decay": [0], "model.path": [str(models / "hf"), str(other)]}
    result = rrhf("ablate", make_grid(vary=vary, runs=None, seeds=None))
    names = [line.split("  ")[0] for line in result.stdout.splitlines()[1:5]]
    assert len(set(names)) == 4 and [name.startswith("start of") for name in names] == [True, True, False, False]
    runs = {"a": {}, "start of b": {}, "b": {"model.path": str(other)}}
    runs["start of b"] = {"train.epochs": 2}
    result = rrhf("ablate", make_grid(runs=runs, seeds=None, output=str(tmp_path / "out2")))
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:6]] == ["start of a and 1 more", "start of b", "a", "start of b", "b"]


def test_a_folder_named_like_a_flag(build_dir: Path, make_grid: Grid, tmp_path: Path) -> None:
    command = [str(build_dir / "rrhf"), "ablate", str(make_grid(runs={"a": {}}, seeds=None, output="-out/"))]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "<h1>-out</h1>" in (tmp_path / "-out" / "report.html").read_text() and results(tmp_path / "-out")["a"]["figures"]


def test_a_failure_is_shown_until_it_is_mended(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    """With several processes too; a stage that is then killed shows no cause of before."""
    grid, out = make_grid(runs={"wild": {"optimizer.learning_rate": 1e30}}, seeds=None), tmp_path / "out"
    result = rrhf("ablate", grid, "--processes", "2", check=False)
    assert result.returncode == 1 and "is not finite" in (out / "wild" / "failure.txt").read_text()
    assert "is not finite" in result.stdout and "is not finite" in (out / "report.html").read_text()
    rrhf("ablate", make_grid(runs={"tame": {}}, seeds=None), "--resume")
    assert "is not finite" not in (out / "report.html").read_text()  # the grid has that run no longer


def test_models_measured_on_fewer_rows_are_named(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    """A template leaves the longest queries no room for a response."""
    (tmp_path / "template.txt").write_text("so once there was {query}")
    config = json.loads(make_grid().read_text())["config"]
    config["data"]["max_length"] = 20
    runs = {"plain": {}, "told": {"data.template": str(tmp_path / "template.txt")}}
    result = rrhf("ablate", make_grid(config=config, runs=runs, seeds=None, measure={"data.eval": config["data"]["train"]}))
    queries = {name: line["figures"]["queries"] for name, line in results(tmp_path / "out").items()}
    assert 0 < queries["told"] < queries["plain"]
    assert f"{queries['plain']} queries of data.eval; but {queries['told']} of start of told, {queries['told']} of told; scores" in result.stdout
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:3]] == ["start of plain", "start of told"]


def test_the_report_of_an_ablation_names_its_runs(rrhf: Program, make_grid: Grid, tmp_path: Path) -> None:
    rrhf("ablate", make_grid(), "--jobs", "2")
    result = rrhf("report", tmp_path / "out", check=False)
    assert result.returncode == 2 and "holds an ablation" in result.stderr and str(tmp_path / "out" / "padded" / "seed-1") in result.stderr
    table = rrhf("report", *(tmp_path / "out" / name for name in RUNS)).stdout
    assert "padded/seed-2" in table
