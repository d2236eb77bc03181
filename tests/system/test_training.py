"""Laws of a run: reproducible, the same for any packs and orders, its steps and evaluations, better on real rows."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
from pathlib import Path
from typing import Callable

import pytest

from made_rows import read_lines
from program import ENVIRONMENT, Program, all_metrics, copy_of, metrics, metrics_so_far, weights
from safetensors_file import read_file, write_file

Config = Callable[..., Path]


@pytest.mark.parametrize("threads", ["1", "3"])
def test_one_seed_gives_the_same_bytes(
    threads: str, rrhf: Program, make_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "OMP_NUM_THREADS", threads)
    for name in ("first", "second"):
        rrhf("train", make_config(name, data={"eval_fraction": 0.2}, train={"epochs": 2}))
    assert weights(tmp_path / "first") == weights(tmp_path / "second")
    assert all_metrics(tmp_path / "first") == all_metrics(tmp_path / "second")
    rrhf("train", make_config("third", data={"eval_fraction": 0.2}, train={"epochs": 2, "seed": 43}))
    assert weights(tmp_path / "first") != weights(tmp_path / "third")


@pytest.mark.parametrize("dtype,limit", [("float64", 1e-9), ("float32", 1e-5)])
def test_packs_make_no_difference(dtype: str, limit: float, rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    for tokens in (1, 150, 100_000, "auto"):
        rrhf("train", make_config(f"pack-{tokens}", model={"dtype": dtype}, train={"tokens_per_pack": tokens, "epochs": 2}))
    expected = metrics(tmp_path / "pack-1")
    assert len(expected) == 12
    for other in ("pack-150", "pack-100000", "pack-auto"):
        for got, want in zip(metrics(tmp_path / other), expected, strict=True):
            for key in ("loss", "rank_loss", "sft_loss", "grad_norm"):
                assert got[key] == pytest.approx(want[key], rel=limit, abs=limit), (other, want["step"], key)


def test_orders_make_no_difference(rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    """Rows of one step in another order, responses of a row (without ties) in another order: the same step."""
    rows = [json.loads(line) for line in good_data.read_text().splitlines()]
    draw = random.Random(5)
    shuffled = []
    for row in draw.sample(rows, len(rows)):
        order = draw.sample(range(len(row["scores"])), len(row["scores"]))
        shuffled.append({"query": row["query"], **{key: [row[key][i] for i in order] for key in ("responses", "scores")}})
    assert shuffled != rows
    (tmp_path / "shuffled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shuffled))
    settings = {"model": {"dtype": "float64"}, "train": {"queries_per_step": len(rows), "epochs": 2}}
    rrhf("train", make_config("plain", **settings))
    rrhf("train", make_config("shuffled", data={"train": str(tmp_path / "shuffled.jsonl")}, **settings))
    for got, want in zip(metrics(tmp_path / "shuffled"), metrics(tmp_path / "plain"), strict=True):
        for key in ("loss", "rank_loss", "sft_loss", "grad_norm"):
            assert got[key] == pytest.approx(want[key], rel=1e-9), key


# --- interruption -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("train,recipe,steps", [
    ({"epochs": 3, "queries_per_step": 4}, "default", 3 * 6),        # ceil(23 / 4)
    ({"epochs": 3, "queries_per_step": 64}, "default", 3),
    ({"epochs": 3, "queries_per_step": 4, "max_steps": 5}, "default", 5),
    ({"epochs": 3, "queries_per_step": 8}, "released", 3 * 3),       # 23 padded to 24
    ({"epochs": 3, "queries_per_step": 16}, "released", 3 * 1),      # floor(24 / 16): the rest is carried
])
def test_steps_and_schedule(
    train: dict[str, int], recipe: str, steps: int, rrhf: Program, make_config: Config, tmp_path: Path
) -> None:
    rrhf("train", make_config(train=train, recipe=recipe, schedule={"warmup_ratio": 0.3}))
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, steps + 1))
    warmup = math.ceil(0.3 * steps)
    for k, line in enumerate(lines):
        factor = k / warmup if k < warmup else 0.5 * (1 + math.cos(math.pi * (k - warmup) / (steps - warmup)))
        assert line["learning_rate"] == pytest.approx(1e-3 * factor, abs=1e-15)
    if recipe == "released":
        assert {line["queries"] for line in lines} == {train["queries_per_step"]}
        assert json.loads((tmp_path / "run" / "model" / "rrhf.json").read_text())["encoding"] == "released"


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "cosine": lambda done, rest: 0.5 * (1 + math.cos(math.pi * done / rest)),
    "linear": lambda done, rest: (rest - done) / rest,
    "constant": lambda done, rest: 1.0,
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("ratio,warmup", [(0, 0), (0.03, 1), (0.2, 4), (1, 18)])  # ceil(ratio * 18)
def test_schedules(
    name: str, ratio: float, warmup: int, rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    good_data.write_text("".join(good_data.read_text().splitlines(keepends=True)[:6]))
    train = {"epochs": 9, "queries_per_step": 3}
    rrhf("train", make_config(train=train, schedule={"name": name, "warmup_ratio": ratio}))
    lines = metrics(tmp_path / "run")
    assert len(lines) == 18
    for k, line in enumerate(lines):
        factor = k / warmup if k < warmup else SCHEDULES[name](k - warmup, 18 - warmup)
        assert line["learning_rate"] == pytest.approx(1e-3 * factor, abs=1e-15), k


def test_what_is_left_of_an_epoch_is_carried_or_a_smaller_step(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """23 queries, 5 a step, 3 epochs."""
    for end in ("step", "carry"):
        rrhf("train", make_config(end, train={"epochs": 3, "queries_per_step": 5, "epoch_end": end}))
    assert [line["queries"] for line in metrics(tmp_path / "step")] == 3 * [5, 5, 5, 5, 3]
    assert [line["queries"] for line in metrics(tmp_path / "carry")] == 3 * 4 * [5]
    assert metrics(tmp_path / "step")[-1]["epoch"] == 3
    assert metrics(tmp_path / "carry")[-1]["epoch"] == pytest.approx(60 / 23)


def test_a_line_of_metrics_holds_what_the_config_reference_says(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    rrhf("train", make_config(data={"eval_fraction": 0.2}, objective={"rank_weight": 2, "sft_weight": 0.5}))
    figures = {"loss", "rank_loss", "sft_loss", "rank_accuracy", "margin"}
    for line in metrics(tmp_path / "run"):
        assert set(line) == {"step", "epoch", "grad_norm", "learning_rate", "queries", "tokens"} | figures
        assert line["loss"] == pytest.approx(2 * line["rank_loss"] + 0.5 * line["sft_loss"], rel=1e-6)
    for line in metrics(tmp_path / "run", "eval"):
        assert set(line) == {"event", "step", "queries", "perplexity"} | figures
    timings = [json.loads(line)["timing"] for line in metrics_so_far(tmp_path / "run")]
    assert all(timing["seconds"] >= 0 for timing in timings)


def test_the_profile_says_what_was_waited_for(rrhf: Program, make_config: Config) -> None:
    config = make_config(train={"epochs": 60, "queries_per_step": 23})
    lines = rrhf("train", config, "--profile").stdout.splitlines()
    seconds = {line.split()[0]: float(line.split()[1]) for line in lines[1:] if line.split()[0] != "counted"}
    assert seconds["waiting"] == pytest.approx(seconds["data"] + seconds["communication"], abs=0.0015)
    assert seconds["prepared"] > 0


def test_skipped_rows_are_listed_and_not_counted(rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    long = {"query": "word " * 300, "responses": ["a", "b"], "scores": [1, 2]}
    good_data.write_text(json.dumps(long) + "\n" + good_data.read_text())
    result = rrhf("train", make_config(train={"queries_per_step": 23}))
    assert "1 row of data.train skipped" in result.stderr and "good.jsonl:1" in (tmp_path / "run" / "skipped.txt").read_text()
    assert [line["queries"] for line in metrics(tmp_path / "run")] == [23]
    rrhf("eval", make_config("other"), "--data", good_data, "--per-response", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(24))
    assert "no token" in lines[0]["skipped"]


def test_held_out_responses_are_listed_by_their_rows_in_the_file(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    config = make_config(data={"eval_fraction": 0.2})
    rrhf("eval", config, "--per-response", tmp_path / "part.jsonl")
    rrhf("eval", config, "--data", tmp_path / "good.jsonl", "--per-response", tmp_path / "all.jsonl")
    part, whole = ([json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in ("part.jsonl", "all.jsonl"))
    assert len(part) == 5 and [line["index"] for line in part] == sorted(line["index"] for line in part) != list(range(5))
    for line in part:
        same = whole[line["index"]]
        assert [response["tokens"] for response in same["responses"]] == [response["tokens"] for response in line["responses"]]
        for mine, other in zip(line["responses"], same["responses"]):
            assert mine["logprob"] == pytest.approx(other["logprob"], rel=1e-5)


def test_held_out_rows_that_are_skipped_are_listed_too(
    rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    long = {"query": "word " * 300, "responses": ["a", "b"], "scores": [1, 2]}
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(good_data.read_text() + json.dumps(long) + "\n")
    result = rrhf("train", make_config(data={"eval": str(held_out)}))
    assert "1 row of held-out rows skipped" in result.stderr
    assert (tmp_path / "run" / "skipped.txt").read_text().startswith(f"{held_out}:24: ")


def test_an_evaluation_that_was_stopped_is_made_on_resuming(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """A stop in the middle of an evaluation leaves the checkpoint of its step without the evaluation's line."""
    config = make_config(data={"eval_fraction": 0.3}, eval={"every_steps": 2}, checkpoint={"every_steps": 2})
    rrhf("train", config)
    run = tmp_path / "run"
    complete = all_metrics(run)
    shutil.rmtree(run / "model")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    stopped = next(i for i, line in enumerate(lines) if '"event":"eval"' in line and '"step":2' in line)
    (run / "metrics.jsonl").write_text("".join(lines[:stopped]))
    rrhf("train", config, "--resume")
    assert all_metrics(run) == complete


def test_broken_weights_are_not_saved_as_a_model(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """The last update throws the weights to infinity, and no loss comes after it to show it."""
    optimizer, schedule = {"learning_rate": 1e308}, {"name": "constant", "warmup_ratio": 0}
    result = rrhf("train", make_config(optimizer=optimizer, schedule=schedule, train={"max_steps": 1}), check=False)
    assert result.returncode == 1 and "weights that are not finite" in result.stderr
    assert not (tmp_path / "run" / "model").exists()


def test_weights_beyond_float16_are_not_saved_in_it(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    settings = {"optimizer": {"learning_rate": 1e6}, "schedule": {"name": "constant", "warmup_ratio": 0}}
    config = make_config(checkpoint={"dtype": "float16"}, train={"max_steps": 1}, data={"eval_fraction": 0.3}, **settings)
    result = rrhf("train", config, check=False)
    assert result.returncode == 1 and "beyond float16's 65504" in result.stderr
    run = tmp_path / "run"
    assert not (run / "model").exists()
    trained = all_metrics(run)
    assert "step-000001" in rrhf("train", config, "--resume", "--set", "checkpoint.dtype=float32").stderr
    assert (run / "model" / "config.json").exists() and all_metrics(run) == trained, "nothing was trained or evaluated again"


def test_a_model_beyond_float16_is_refused_where_it_is_to_be_saved_in_it(
    rrhf: Program, make_config: Config, models: Path, tmp_path: Path
) -> None:
    folder = copy_of(models / "hf", tmp_path / "large")
    tensors = read_file(folder / "model.safetensors")
    dtype, shape, data = tensors["model.norm.weight"]
    tensors["model.norm.weight"] = (dtype, shape, struct.pack("<f", 1e5) + data[4:])
    write_file(folder / "model.safetensors", tensors)
    config = make_config(model={"path": str(folder)}, checkpoint={"dtype": "float16"})
    result = rrhf("train", config, check=False)
    assert result.returncode == 2 and "beyond float16's 65504; set checkpoint.dtype" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_that_can_learn_nothing_is_warned_of(rrhf: Program, make_config: Config, models: Path, tmp_path: Path) -> None:
    """One step, and the warmup takes it."""
    result = rrhf("train", make_config(train={"queries_per_step": 64}))
    assert "the learning rate is 0 in the only step there is" in result.stderr
    assert read_file(tmp_path / "run" / "model" / "model.safetensors") == read_file(models / "hf" / "model.safetensors")
    assert "learning rate is 0" not in rrhf("train", make_config("more")).stderr


def test_training_ends_with_what_it_changed(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    result = rrhf("train", make_config(data={"eval_fraction": 0.3}))
    first, last = metrics(tmp_path / "run", "eval")
    accuracy = f"{100 * first['rank_accuracy']:.1f} -> {100 * last['rank_accuracy']:.1f} %"
    perplexity = f"{first['perplexity']:.2f} -> {last['perplexity']:.2f}"
    assert f"held out ranking accuracy {accuracy}  perplexity of the best {perplexity}" in result.stderr
    assert result.stderr.endswith(f"report   {tmp_path / 'run' / 'report.html'}\n")


def test_a_model_with_a_weight_that_is_no_number(rrhf: Program, make_config: Config, models: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(models / "hf", broken)
    tensors = read_file(broken / "model.safetensors")
    dtype, shape, data = tensors["model.norm.weight"]
    tensors["model.norm.weight"] = (dtype, shape, struct.pack("<f", math.nan) + data[4:])
    write_file(broken / "model.safetensors", tensors)
    config = make_config(model={"path": str(broken)}, data={"eval_fraction": 0.3})
    result = rrhf("train", config, check=False)
    assert result.returncode == 2 and f"{broken}: holds weights that are not finite" in result.stderr
    assert not (tmp_path / "run").exists()
    result = rrhf("eval", config, check=False)
    assert result.returncode == 1 and "its weights are broken" in result.stderr and result.stdout == ""


def test_evaluation_of_the_saved_model_is_the_runs_last(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    config = make_config(data={"eval_fraction": 0.3}, eval={"every_steps": 2})
    rrhf("train", config)
    evaluations = metrics(tmp_path / "run", "eval")
    assert [line["step"] for line in evaluations] == [0, 2, 4]
    rrhf("eval", config, "--model", tmp_path / "run" / "model", "--json", tmp_path / "eval.json")
    result = json.loads((tmp_path / "eval.json").read_text())
    for key in ("loss", "rank_loss", "sft_loss", "margin", "rank_accuracy", "perplexity"):
        assert result[key] == pytest.approx(evaluations[-1][key], rel=1e-6), key
    for name in ("config.json", "metrics.jsonl", "report.html", "model/config.json", "model/tokenizer.model"):
        assert (tmp_path / "run" / name).exists(), name
    rrhf("train", tmp_path / "run" / "config.json", "--set", f"output={tmp_path / 'again'}")
    assert weights(tmp_path / "again") == weights(tmp_path / "run")


def test_real_rows_are_learned(rrhf: Program, make_config: Config, shared: Path, tmp_path: Path) -> None:
    """240 rows of alpaca_eval_k5, stories260K: the rank loss falls, ranking accuracy on 60 held out rises (0.47 to 0.60)."""
    with open(shared / "data" / "alpaca_eval_k5.jsonl", encoding="utf-8") as lines:
        (tmp_path / "rows.jsonl").write_text("".join(next(lines) for _ in range(240)), encoding="utf-8")
    rows = {"train": str(tmp_path / "rows.jsonl"), "eval_fraction": 0.25, "max_length": 192}
    rrhf("train", make_config(data=rows, train={"epochs": 3, "queries_per_step": 8}))
    steps, evaluations = metrics(tmp_path / "run"), metrics(tmp_path / "run", "eval")
    first, last = steps[:8], steps[-8:]
    assert sum(line["rank_loss"] for line in last) < 0.3 * sum(line["rank_loss"] for line in first)
    assert evaluations[-1]["rank_accuracy"] > evaluations[0]["rank_accuracy"] + 0.05
    assert evaluations[-1]["rank_loss"] < 0.5 * evaluations[0]["rank_loss"]
    assert evaluations[0]["queries"] == evaluations[-1]["queries"] > 40  # of 60; the rest have too long a prompt


def test_the_callers_model_is_left_alone(rrhf: Program, make_config: Config, models: Path) -> None:
    before = (models / "hf" / "model.safetensors").read_bytes()
    rrhf("train", make_config())
    assert (models / "hf" / "model.safetensors").read_bytes() == before


def test_every_figure_of_a_run_is_explained(rrhf: Program, make_config: Config, repo: Path, tmp_path: Path) -> None:
    """docs/runs.md names each key of metrics.jsonl, of eval's files, and each file of a run."""
    config = make_config(data={"eval_fraction": 0.2}, checkpoint={"every_steps": 2})
    rrhf("train", config)
    run = tmp_path / "run"
    rrhf("eval", config, "--model", run / "model", "--json", tmp_path / "all.json", "--per-response", tmp_path / "lines.jsonl")
    steps = read_lines(run / "metrics.jsonl")
    evaluated = read_lines(tmp_path / "lines.jsonl")[0]
    lines = [*steps, *(line["timing"] for line in steps), json.loads((tmp_path / "all.json").read_text()), evaluated, *evaluated["responses"]]
    names = {key for line in lines for key in line} | {path.name for path in run.iterdir() if path.is_file()}
    page = (repo / "docs" / "runs.md").read_text()
    assert "grad_norm" in names and "prompt_tokens" in names and "report.html" in names
    assert not [name for name in sorted(names) if f"`{name}`" not in page and f'`"{name}"' not in page]
