"""Runs that are stopped, killed or continued, from checkpoints of every form of optimizer, end as if they had not been."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable

import pytest

from program import ENVIRONMENT, Program, all_metrics, metrics, metrics_so_far, weights

Config = Callable[..., Path]

LONG = {"train": {"epochs": 20}, "checkpoint": {"every_steps": 7, "keep": 2}, "data": {"eval_fraction": 0.1}}


def stop_in_the_middle(binary: Path, config: Path, run: Path, stop: signal.Signals) -> int:
    """Starts a run and sends the signal once some steps are done."""
    process = subprocess.Popen([str(binary), "train", str(config)], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(metrics_so_far(run)) < 20:
        time.sleep(0.01)
    process.send_signal(stop)
    return process.wait(timeout=60)


def test_killed_again_and_again(rrhf: Program, build_dir: Path, make_config: Config, tmp_path: Path) -> None:
    """A checkpoint after every step, and no warning before the end: some kills fall into the writing of one."""
    often = {"train": {"epochs": 10}, "checkpoint": {"every_steps": 1, "keep": 1}}
    rrhf("train", make_config("whole", **often))
    config, run = make_config("killed", **often), tmp_path / "killed"
    draw = random.Random(3)
    for _ in range(4):
        command = [str(build_dir / "rrhf"), "train", str(config), "--resume"]
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        seen = len(metrics_so_far(run))
        while process.poll() is None and len(metrics_so_far(run)) < seen + 3:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.01))
        process.kill()
        process.wait()
    rrhf("train", config, "--resume")
    assert weights(run) == weights(tmp_path / "whole")
    assert all_metrics(run) == all_metrics(tmp_path / "whole")


def test_two_runs_in_one_folder(rrhf: Program, build_dir: Path, make_config: Config, tmp_path: Path) -> None:
    """The second is refused while the first goes on, which is called by its name in a list of processes."""
    config = make_config(train={"epochs": 500}, checkpoint={"every_steps": 5})
    first = subprocess.Popen([build_dir / "rrhf", "train", config], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        while first.poll() is None and len(metrics_so_far(tmp_path / "run")) < 6:
            time.sleep(0.01)
        second = rrhf("train", config, "--resume", check=False)
        assert first.poll() is None, "the first run ended too soon to tell"
        assert second.returncode == 2 and "another process is writing into it" in second.stderr, second.stderr
        assert Path(f"/proc/{first.pid}/comm").read_text() == "rrhf\n"
    finally:
        first.kill()
        first.wait()


def half_written(run: Path) -> list[str]:
    folder = run / "checkpoints"
    return [path.name for path in folder.iterdir() if not path.name.startswith("step-")] if folder.exists() else []


@pytest.mark.parametrize("moments", ["8bit", "bfloat16"])
def test_narrow_forms_resume_to_the_same_bytes(moments: str, rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """bfloat16 weights without masters, narrow moments and gradients: in one go, and from a checkpoint on."""
    forms = {"model": {"dtype": "bfloat16"}, "optimizer": {"masters": "none", "moments": moments}}
    train = {"epochs": 2, "gradients": "bfloat16"}
    rrhf("train", make_config("whole", **forms, train=train))
    rrhf("train", make_config("half", **forms, train=train, checkpoint={"every_steps": 5, "keep": 9}))
    shutil.rmtree(tmp_path / "half" / "model")
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "step-000010")
    rrhf("train", tmp_path / "half.json", "--resume")
    assert weights(tmp_path / "half") == weights(tmp_path / "whole")
    losses = [line["loss"] for line in metrics(tmp_path / "whole")]
    assert len(losses) == 12 and losses[-1] < losses[0]


@pytest.mark.parametrize("first,then", [("step", "layer"), ("layer", "step"), ("layer", "layer")])
def test_updates_by_layer_end_in_the_same_bytes(
    first: str, then: str, rrhf: Program, make_config: Config, tmp_path: Path
) -> None:
    """Weights moved in the backward pass, no gradients kept: in one go, and from a checkpoint of either way on."""
    settings = {
        "data": {"eval_fraction": 0.2},
        "eval": {"every_steps": 3},
        "train": {"epochs": 2, "tokens_per_pack": 4096},
        "checkpoint": {"every_steps": 5, "keep": 9},
    }
    rrhf("train", make_config("step", optimizer={"max_grad_norm": 0}, **settings))
    config = make_config("run", optimizer={"max_grad_norm": 0, "update": first}, **settings)
    rrhf("train", config)
    assert weights(tmp_path / "run") == weights(tmp_path / "step")
    assert all_metrics(tmp_path / "run") == all_metrics(tmp_path / "step")
    shutil.rmtree(tmp_path / "run" / "model")
    assert [checkpoint.name for checkpoint in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000005"]
    rrhf("train", config, "--resume", "--set", f"optimizer.update={then}")
    assert weights(tmp_path / "run") == weights(tmp_path / "step")
    assert all_metrics(tmp_path / "run") == all_metrics(tmp_path / "step")


@pytest.mark.parametrize(
    "words,message",
    [
        (("--set", "optimizer.max_grad_norm=1"), "optimizer.update layer needs optimizer.max_grad_norm 0; it is 1"),
        (("--set", "train.tokens_per_pack=64"), "optimizer.update layer needs steps of one pack: step "),
        (("--processes", "2"), "optimizer.update layer is for one process, not 2"),
    ],
)
def test_updates_by_layer_that_cannot_be(
    words: tuple[str, ...], message: str, rrhf: Program, make_config: Config, tmp_path: Path
) -> None:
    config = make_config(optimizer={"max_grad_norm": 0, "update": "layer"}, train={"tokens_per_pack": 4096})
    result = rrhf("train", config, *words, check=False)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert not (tmp_path / "run" / "config.json").exists()
    if words[0] == "--set":
        result = rrhf("model", "plan", config, *words, check=False)
        assert result.returncode == 2 and message in result.stderr, result.stderr


def test_what_a_killed_run_was_writing_is_removed(
    rrhf: Program, build_dir: Path, make_config: Config, tmp_path: Path
) -> None:
    config, run = make_config(checkpoint={"every_steps": 1}, train={"epochs": 20}), tmp_path / "run"
    for _ in range(5):
        command = [str(build_dir / "rrhf"), "train", str(config), "--resume"]
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        while process.poll() is None and not half_written(run):
            pass
        process.kill()
        process.wait()
        if half_written(run):
            break
    else:
        pytest.skip("no kill fell into the writing of a checkpoint")
    rrhf("train", config, "--resume")
    assert half_written(run) == []


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda stop: stop.name)
def test_a_stopped_run_goes_on_as_if_it_had_not(
    stop: signal.Signals, rrhf: Program, build_dir: Path, make_config: Config, tmp_path: Path
) -> None:
    rrhf("train", make_config("whole", **LONG))
    config, run = make_config("stopped", **LONG), tmp_path / "stopped"
    code = stop_in_the_middle(build_dir / "rrhf", config, run, stop)
    assert code == (-9 if stop == signal.SIGKILL else 1)
    assert not (run / "model").exists()
    assert rrhf("train", config, check=False).returncode == 2  # not without --resume
    result = rrhf("train", config, "--resume")
    assert "resumed" in result.stderr
    assert weights(run) == weights(tmp_path / "whole")
    assert all_metrics(run) == all_metrics(tmp_path / "whole")
    assert len(list((run / "checkpoints").iterdir())) <= 2
    again = rrhf("train", config, "--resume")
    assert "already trained" in again.stderr


def test_lost_lines_of_metrics_are_said(rrhf: Program, build_dir: Path, make_config: Config, tmp_path: Path) -> None:
    config, file = make_config("stopped", **LONG), tmp_path / "stopped" / "metrics.jsonl"
    stop_in_the_middle(build_dir / "rrhf", config, tmp_path / "stopped", signal.SIGINT)
    kept = [line for line in file.read_text().splitlines() if "event" not in line]
    file.write_text("".join(line + "\n" for line in kept[:3]))
    result = rrhf("train", config, "--resume")
    assert f"metrics.jsonl: has lines of 3 of the {len(kept)} steps before the checkpoint" in result.stderr


def test_resuming_with_other_settings_is_refused(rrhf: Program, make_config: Config) -> None:
    config = make_config()
    rrhf("train", config)
    result = rrhf("train", config, "--resume", "--set", "optimizer.learning_rate=5", check=False)
    assert result.returncode == 2 and "optimizer.learning_rate: the run has 0.001, now 5" in result.stderr


def test_resuming_with_other_data_is_refused(
    rrhf: Program, build_dir: Path, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    config = make_config("stopped", **LONG)
    assert stop_in_the_middle(build_dir / "rrhf", config, tmp_path / "stopped", signal.SIGINT) == 1
    kept = good_data.read_text()
    good_data.write_text("".join(kept.splitlines(keepends=True)[:-1]))
    result = rrhf("train", config, "--resume", check=False)
    assert result.returncode == 2 and "other data" in result.stderr
    good_data.write_text(kept)
    rrhf("train", config, "--resume")


def test_resuming_with_other_rows_to_evaluate_is_refused(
    rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    held_out, kept = tmp_path / "held_out.jsonl", good_data.read_text()
    held_out.write_text(kept)
    config = make_config(data={"eval": str(held_out)}, checkpoint={"every_steps": 2})
    rrhf("train", config)
    shutil.rmtree(tmp_path / "run" / "model")
    held_out.write_text("".join(kept.splitlines(keepends=True)[:-1]))
    result = rrhf("train", config, "--resume", check=False)
    assert result.returncode == 2 and "was evaluated on other data than data.eval and data.eval_fraction give" in result.stderr


def test_a_dropped_response_that_changed_is_other_data(
    rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    """It is not trained on, but the released recipe divides by the longest of all."""
    config = make_config(recipe="released", data={"responses": "provided"}, checkpoint={"every_steps": 2})
    rrhf("train", config)
    shutil.rmtree(tmp_path / "run" / "model")
    rows = [json.loads(line) for line in good_data.read_text().splitlines()]
    for row in rows:
        row["responses"][0] += " and more" * 9
    good_data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = rrhf("train", config, "--resume", check=False)
    assert result.returncode == 2 and "was trained on other data" in result.stderr


def test_the_last_evaluation_is_made_once(rrhf: Program, build_dir: Path, make_config: Config, tmp_path: Path) -> None:
    config = make_config(data={"eval_fraction": 0.3}, eval={"every_steps": 2}, checkpoint={"every_steps": 4})
    rrhf("train", config)
    run = tmp_path / "run"
    complete = all_metrics(run)
    assert metrics(run)[-1]["step"] == 4 and (run / "checkpoints" / "step-000004").exists() is False
    # As a stop in the middle of the last evaluation leaves it.
    shutil.rmtree(run / "model")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:-1]))
    rrhf("train", config, "--resume")
    assert all_metrics(run) == complete


def test_a_report_that_a_killed_run_did_not_come_to(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    config, page = make_config(), tmp_path / "run" / "report.html"
    rrhf("train", config)
    for processes in (1, 2):
        page.unlink()
        rrhf("train", config, "--resume", "--processes", processes)
        assert page.exists(), processes


def test_a_finished_run_needs_resume_and_is_left_as_it_is(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    config = make_config()
    rrhf("train", config)
    before = (weights(tmp_path / "run"), (tmp_path / "run" / "metrics.jsonl").read_bytes())
    refused = rrhf("train", config, check=False)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    assert "already trained to its end" in rrhf("train", config, "--resume").stderr
    assert before == (weights(tmp_path / "run"), (tmp_path / "run" / "metrics.jsonl").read_bytes())


def test_a_run_begun_before_there_was_a_setting_has_its_default(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    rrhf("train", make_config())
    file = tmp_path / "run" / "config.json"
    settings = json.loads(file.read_text())
    del settings["iterate"], settings["optimizer"]["weight_decay"]
    file.write_text(json.dumps(settings))
    assert "already trained" in rrhf("train", make_config(), "--resume").stderr
    other = rrhf("train", make_config(), "--resume", "--set", "optimizer.weight_decay=0.5", check=False)
    assert other.returncode == 2 and "optimizer.weight_decay: the run has 0" in other.stderr


@pytest.mark.parametrize("keep,kept", [(1, [4]), (2, [2, 4]), (9, [2, 4])])
def test_checkpoints_that_stay(keep: int, kept: list[int], rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """Six steps: the last needs no checkpoint, the model itself is saved."""
    rrhf("train", make_config(checkpoint={"every_steps": 2, "keep": keep}))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step-{step:06}" for step in kept]


@pytest.mark.parametrize("file", ["model.safetensors", "training_state.safetensors", "training_state.json"])
def test_a_damaged_checkpoint_names_the_one_before_it(file: str, rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    run, config = tmp_path / "run", make_config(checkpoint={"every_steps": 2, "keep": 2})
    rrhf("train", config)
    whole = weights(run)
    shutil.rmtree(run / "model")  # as if the run had ended before its last step
    newest = run / "checkpoints" / "step-000004"
    newest.chmod(0o755)
    damaged = newest / file
    damaged.write_bytes(damaged.read_bytes()[:40])
    result = rrhf("train", config, "--resume", check=False)
    assert result.returncode == 2
    assert f"{newest} can't be read; remove it to go on from step-000002" in result.stderr and str(damaged) in result.stderr
    shutil.rmtree(newest)
    assert f"resumed  from {run / 'checkpoints' / 'step-000002'}" in rrhf("train", config, "--resume").stderr
    assert weights(run) == whole


# --- steps and outputs ------------------------------------------------------------------------------------------------
