"""Training by several processes that are killed, cut off, restarted and resumed: always the same weights in the end."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable

import pytest

from made_rows import ranked_rows, write_lines
from program import wait_for
from ranks import (Started, alive, cut_link, ends, free_port, message, on_machine, rank_environment,
                   ranks_of, run, started, torchrun)

HOST = socket.gethostname()
KILLS = int(os.environ.get("RRHF_KILLS", "20"))  # of test_any_rank_may_be_killed_at_any_step
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


def test_any_rank_may_be_killed_at_any_step(train: list[str], long_config: Config, tmp_path: Path) -> None:
    draw = random.Random(11)
    config = long_config("killed")
    whole = run([*train, str(long_config("whole")), "--processes", "3"])
    assert whole.returncode == 0, whole.stderr
    for kill in range(KILLS):
        victim, more = kill % 3, draw.randint(1, 60 // (KILLS + 1) or 1)
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


def test_ctrl_c_saves_and_the_run_goes_on(train: list[str], long_config: Config, tmp_path: Path) -> None:
    # The run saves nothing by itself: what is resumed is what Ctrl-C saved.
    config = long_config("stopped", checkpoint={"every_steps": None})
    assert run([*train, str(long_config("whole")), "--processes", "2"]).returncode == 0
    with started([*train, str(config), "--processes", "2"]) as process:
        metrics = tmp_path / "stopped" / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 4, 90)
        ranks_of(process)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert len(re.findall(r"stopped after step \d+ of \d+, which is saved", errors)) == 1, errors
    resumed = run([*train, str(config), "--processes", "2", "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


@pytest.mark.parametrize("what,flags", [
    ("config", ["--set", "train.seed=43"]),
    ("data", ["--set", "data.max_length=96"]),
])
def test_ranks_with_another_run_are_named(what: str, flags: list[str], train: list[str], long_config: Config, tmp_path: Path) -> None:
    config, port = str(long_config("differs")), free_port()
    if what == "data":  # the same config, another file under its name, seen by one rank only
        other = write_lines(tmp_path / "other.jsonl", ranked_rows(61, seed=6))
        hide = f"mount --bind {other} {tmp_path / 'long.jsonl'} && exec \"$@\""
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            pytest.skip("mount namespaces can't be made here")
    ranks = []
    for rank in range(2):
        command = [*train, config, *(flags if rank == 1 and what == "config" else [])]
        if rank == 1 and what == "data":
            command = ["unshare", "-m", "bash", "-c", hide, "bash", *command]
        ranks.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=rank_environment(rank, 2, port)))
    results = ends(ranks, 90)
    assert [code for code, _ in results] == [2, 2], results
    assert f"rank 1 on {HOST} has another {what} than rank 0" in message(results[0][1])
    if what == "config":
        assert "train.seed: 43   (rank 0: train.seed: 42)" in results[0][1]
    assert not (tmp_path / "differs" / "config.json").exists(), "nothing but logs is written"


def test_torchrun_restarts_from_the_last_checkpoint(train: list[str], long_config: Config, tmp_path: Path) -> None:
    assert run([*train, str(long_config("whole")), "--processes", "2"]).returncode == 0
    command = torchrun(2, "--max-restarts", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    with started([*command, *train, str(long_config("restarted"))]) as process:
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
        for node in (near, far):
            assert "[distributed]" in node.communicate(timeout=60)[1]
    resumed = run([*train, config, "--processes", "2", "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert run([*train, str(long_config("whole")), "--processes", "2"]).returncode == 0
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
