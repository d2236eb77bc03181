"""Training by several processes that are killed, cut off, restarted and resumed: always the same weights in the end."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from made_rows import ranked_rows, write_lines
from program import copy_of, wait_for
from ranks import (CLEAN, Started, alive, cut_link, ends, free_port, mend_link, message, on_machine, rank_environment,
                   ranks_of, run, started, torchrun)

HOST = socket.gethostname()
KILLS = int(os.environ.get("RRHF_KILLS", "20"))  # of test_any_rank_may_be_killed_at_any_step, over its modes
Config = Callable[..., Path]


@pytest.fixture
def train(build_dir: Path) -> list[str]:
    return [str(build_dir / "rrhf"), "train"]


@pytest.fixture
def long_config(make_config: Config, tmp_path: Path) -> Config:
    """A run of some 60 steps that saves after each."""
    data = write_lines(tmp_path / "long.jsonl", ranked_rows(61, seed=5))

    def make(name: str, **sections: object) -> Path:
        settings = {"data": {"train": str(data)}, "train": {"epochs": 4, "queries_per_step": 4}}
        return make_config(name, **{**settings, "checkpoint": {"every_steps": 1, "keep": 2}, **sections})

    return make


def weights(run_folder: Path) -> dict[str, bytes]:
    """The files of the final model: each rank has written one."""
    files = {path.name: path.read_bytes() for path in (run_folder / "model").glob("*.safetensors")}
    assert files, f"{run_folder} holds no model"
    return files


def steps_of(run_folder: Path) -> int:
    folders = run_folder / "checkpoints"
    names = [path.name for path in folders.glob("step-*")] if folders.exists() else []
    return max([int(name[5:]) for name in names if name[5:].isdigit()], default=0)


def after(process: Started, run_folder: Path, step: int) -> dict[int, int]:
    """The ranks, once that step is saved; an empty dict when the run has ended before."""
    wait_for(lambda: steps_of(run_folder) >= step or process.poll() is not None, 90)
    return ranks_of(process) if process.poll() is None else {}


@pytest.mark.parametrize("mode,share", [("replicated", 0.7), ("sharded", 0.3)])
def test_any_rank_may_be_killed_at_any_step(mode: str, share: float, train: list[str], long_config: Config, tmp_path: Path) -> None:
    draw = random.Random(11)
    config = long_config("killed", parallel={"mode": mode})
    whole = run([*train, str(long_config("whole", parallel={"mode": mode})), "--processes", "3"])
    assert whole.returncode == 0, whole.stderr
    kills = round(share * KILLS)
    for kill in range(kills):
        victim, more = kill % 3, draw.randint(1, 60 // (kills + 1) or 1)
        with started([*train, str(config), "--processes", "3", "--resume"]) as process:
            ranks = after(process, tmp_path / "killed", steps_of(tmp_path / "killed") + more)
            assert ranks, process.communicate()
            time.sleep(draw.random() * 0.05)
            os.kill(ranks[victim], signal.SIGKILL)
            errors = process.communicate(timeout=60)[1]
        assert process.returncode == 1
        assert message(errors) == f"[distributed] rank {victim} on {HOST} ended with SIGKILL"
    last = run([*train, str(config), "--processes", "3", "--resume"])
    assert last.returncode == 0, last.stderr
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


@pytest.mark.parametrize("count,parallel", [("2", {}), ("4", {"mode": "sharded", "shard_size": 2})], ids=["replicated", "hybrid"])
def test_ctrl_c_saves_and_the_run_goes_on(
    count: str, parallel: dict[str, Any], train: list[str], long_config: Config, tmp_path: Path
) -> None:
    # The run saves nothing by itself: what is resumed is what Ctrl-C saved.
    config = long_config("stopped", checkpoint={"every_steps": None}, parallel=parallel)
    assert run([*train, str(long_config("whole", parallel=parallel)), "--processes", count]).returncode == 0
    with started([*train, str(config), "--processes", count]) as process:
        metrics = tmp_path / "stopped" / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 4, 90)
        ranks_of(process)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert len(re.findall(r"stopped after step \d+ of \d+, which is saved", errors)) == 1, errors
    resumed = run([*train, str(config), "--processes", count, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


def seen_instead(place: Path, other: Path, command: list[str]) -> list[str]:
    """The command, to which `other` lies where everybody else sees `place`."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("mount namespaces can't be made here")
    return ["unshare", "-m", "bash", "-c", f"mount --bind {other} {place} && exec \"$@\"", "bash", *command]


def two_ranks(commands: list[list[str]]) -> list[tuple[int, str]]:
    port = free_port()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return ends([subprocess.Popen(command, env=rank_environment(rank, 2, port), **pipes) for rank, command in enumerate(commands)], 90)


@pytest.mark.parametrize("what", ["config", "train data", "held-out data", "model", "program"])
def test_ranks_with_another_run_are_named(
    what: str, train: list[str], long_config: Config, models: Path, tmp_path: Path
) -> None:
    """The same command on both ranks; one of them finds other files in their places."""
    model = copy_of(models / "hf", tmp_path / "model-of-all")
    held_out = write_lines(tmp_path / "eval.jsonl", ranked_rows(7, seed=8))
    data = {"train": str(tmp_path / "long.jsonl"), "eval": str(held_out)}
    command = other = [*train, str(long_config("differs", model={"path": str(model)}, data=data))]
    if what == "config":
        other = [*command, "--set", "train.seed=43"]
    elif what == "program":  # what follows an ELF file's own bytes is not read
        own = tmp_path / "rrhf"
        own.write_bytes(Path(train[0]).read_bytes() + b" ")
        own.chmod(0o755)
        other = [str(own), *command[1:]]
    else:
        made = tmp_path / "other"
        if what == "model":
            made.write_text((model / "config.json").read_text() + " ")
        else:
            write_lines(made, ranked_rows(61 if what == "train data" else 6, seed=6))
        places = {"model": model / "config.json", "train data": tmp_path / "long.jsonl", "held-out data": held_out}
        other = seen_instead(places[what], made, command)
    results = two_ranks([command, other])
    assert [code for code, _ in results] == [2, 2], results
    assert f"rank 1 on {HOST} has another {what.split()[-1]} than rank 0" in message(results[0][1])
    said = {"config": "train.seed: 43   (rank 0: train.seed: 42)", "train data": "trained on: 61 queries", "program": "sha256",
            "held-out data": "held out: 6 queries", "model": "config.json: "}  # fmt: skip
    assert said[what] in results[0][1]
    assert not (tmp_path / "differs" / "config.json").exists(), "nothing but logs is written"


def test_an_output_folder_that_is_not_shared_is_found_at_the_start(train: list[str], long_config: Config, tmp_path: Path) -> None:
    command = [*train, str(long_config("run"))]
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    results = two_ranks([command, seen_instead(tmp_path / "run", tmp_path / "elsewhere", command)])
    assert [code for code, _ in results] == [2, 2], results
    assert "must be on a file system that all machines share" in message(results[0][1])
    assert f"what rank 0 writes is seen: no, in {tmp_path / 'run'}   (rank 0: what" in results[0][1]
    assert steps_of(tmp_path / "run") == 0
    assert not list((tmp_path / "run").glob(".model*"))


def test_a_run_that_was_killed_while_it_began_can_be_begun(train: list[str], long_config: Config, tmp_path: Path) -> None:
    config = str(long_config("begun", train={"max_steps": 2}))
    (tmp_path / "begun" / "logs").mkdir(parents=True)
    for name in (".config.json.tmp-4194305", ".write-test.tmp-4194305"):  # of a process that can't be
        (tmp_path / "begun" / name).write_text("{")
    result = run([*train, config, "--processes", "2", "--resume"])
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "begun").glob(".*")), "they are cleaned away"


def test_an_old_checkpoint_that_cant_be_removed_is_a_warning(train: list[str], long_config: Config, tmp_path: Path) -> None:
    config = str(long_config("kept", train={"max_steps": 4}))
    assert run([*train, config]).returncode == 0
    shutil.rmtree(tmp_path / "kept" / "model")
    [oldest, newest] = sorted((tmp_path / "kept" / "checkpoints").glob("step-*"))
    shutil.rmtree(newest)
    (oldest / "busy").mkdir()  # a mount point, as busy as files that others have open on NFS
    (tmp_path / "elsewhere").mkdir()
    result = run(seen_instead(oldest / "busy", tmp_path / "elsewhere", [*train, config, "--resume", "--set", "checkpoint.keep=1"]))
    assert result.returncode == 0, result.stderr
    assert f"warning: {oldest}: could not be removed: " in result.stderr
    assert (tmp_path / "kept" / "model").exists()


def test_a_starter_of_a_single_process_does_not_forbid_processes(train: list[str], long_config: Config) -> None:
    config = str(long_config("run", train={"max_steps": 2}))
    result = run([*train, config, "--processes", "2"], {**CLEAN, "RANK": "0", "WORLD_SIZE": "1"})
    assert result.returncode == 0, result.stderr
    several = run([*train, config, "--processes", "2"], rank_environment(0, 2, free_port()))
    assert several.returncode == 2 and "under torchrun leave it out" in several.stderr


def test_asking_for_nccl_without_gpus_says_what_it_takes(train: list[str], long_config: Config) -> None:
    config = str(long_config("run", parallel={"backend": "nccl"}, device="cpu"))
    result = run([*train, config, "--processes", "2"])
    assert result.returncode == 2, result.stderr
    assert "built without NCCL" in message(result.stderr) or "parallel.backend nccl needs device cuda" in message(result.stderr)


def test_torchrun_restarts_from_the_last_checkpoint(train: list[str], long_config: Config, tmp_path: Path) -> None:
    sharded = {"mode": "sharded"}
    assert run([*train, str(long_config("whole", parallel=sharded)), "--processes", "2"]).returncode == 0
    command = torchrun(2, "--max-restarts", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    with started([*command, *train, str(long_config("restarted", parallel=sharded))]) as process:
        os.kill(after(process, tmp_path / "restarted", 7)[1], signal.SIGKILL)
        errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors
    assert re.search(r"resumed +from .*step", errors), errors
    assert weights(tmp_path / "restarted") == weights(tmp_path / "whole")


def test_a_run_over_a_link_survives_its_cut(machines: tuple[str, str], train: list[str], long_config: Config, tmp_path: Path) -> None:
    config = str(long_config("cut", parallel={"timeout_s": 10}))
    command = [*train, config, "--resume"]
    with started(on_machine(machines, 0, command, 1)) as near, started(on_machine(machines, 1, command, 1)) as far:
        wait_for(lambda: steps_of(tmp_path / "cut") >= 5, 90)
        ranks_of(near), ranks_of(far)
        begin = time.monotonic()
        cut_link(machines)
        for node in (near, far):
            wait_for(lambda: not any(map(alive, ranks_of(node).values())), 40)
        assert time.monotonic() - begin < 25, "both sides end within the timeout and a little"
        near.terminate(), far.terminate()
        near_errors, far_errors = (node.communicate(timeout=60)[1] for node in (near, far))
    assert re.search(rf"^\[distributed\] rank 1 on {HOST} gave no sign of life for 10 s", near_errors, re.M), near_errors
    assert re.search(r"^\[distributed\] .*10\.99\.0\.1:29411.* has not answered for 1\d s", far_errors, re.M), far_errors
    mend_link(machines)
    with started(on_machine(machines, 0, command, 1)) as near, started(on_machine(machines, 1, command, 1)) as far:
        errors = [node.communicate(timeout=120)[1] for node in (near, far)]
    assert near.returncode == far.returncode == 0, errors
    assert re.search(r"resumed +from .*step", errors[0]), errors
    assert run([*train, str(long_config("whole")), "--processes", "2"]).returncode == 0
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
