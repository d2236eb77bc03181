"""Ranks as real processes: started, watched, killed, stopped, cut off. rank_probe steps as training does, without a model."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable

import pytest

from program import wait_for
from ranks import (CLEAN, HOST, Started, alive, cut_link, ends, free_port, message, on_machine, rank_environment,
                   ranks_of, run, started, torchrun)


@pytest.fixture
def probe(build_dir: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a probe that writes into tmp_path/out."""

    def command(steps: int = 3, ms: int = 10, timeout: int = 60, processes: int = 0, fail: str = "") -> list[str]:
        words = [build_dir / "tests" / "rank_probe", tmp_path / "out", steps, ms, timeout]
        if processes:
            words += ["--processes", processes]
        if fail:
            words += ["--fail", *fail.split()]
        return [str(word) for word in words]

    return command


def log_of(folder: Path, rank: int) -> str:
    file = folder / "out" / "logs" / f"rank-{rank}.log"
    return file.read_text() if file.exists() else ""


def after_step(process: Started, folder: Path, step: int) -> dict[int, int]:
    """The processes by rank, once rank 1 has done that step."""
    wait_for(lambda: f"step {step} of rank 1" in log_of(folder, 1) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return ranks_of(process)


# --- our own starter


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ranks_run_to_their_end(count: int, probe: Callable, tmp_path: Path) -> None:
    result = run(probe(processes=count))
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"done {count}\n"
    total = sum(range(count))
    assert f"step 3 of rank 0: {total}" in result.stderr
    for rank in range(1, count):
        assert f"step 3 of rank {rank}: {total}" in log_of(tmp_path, rank)
        assert f"done {count}" in log_of(tmp_path, rank)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_rank_ends_all(victim: int, probe: Callable, tmp_path: Path) -> None:
    with started(probe(steps=100_000, processes=3)) as process:
        ranks = after_step(process, tmp_path, 5)
        begin = time.monotonic()
        os.kill(ranks[victim], signal.SIGKILL)
        errors = process.communicate(timeout=60)[1]
        assert time.monotonic() - begin < 10
    assert process.returncode == 1
    assert message(errors) == f"[distributed] rank {victim} on {HOST} ended with SIGKILL"


def test_a_crash_is_told_from_a_kill(probe: Callable) -> None:
    result = run(probe(steps=50, processes=2, fail="1 3 abort"))
    assert result.returncode == 1
    assert message(result.stderr) == f"[distributed] rank 1 on {HOST} ended with SIGABRT"


@pytest.mark.parametrize("kind,code,text", [("throw", 1, "step 3 went wrong"), ("input", 2, "step 3 was given nonsense")])
def test_an_exception_of_one_rank_is_everybodys_message(kind: str, code: int, text: str, probe: Callable, tmp_path: Path) -> None:
    result = run(probe(steps=1000, processes=3, fail=f"2 3 {kind}"))
    assert result.returncode == code, result.stderr
    assert message(result.stderr) == f"[distributed] rank 2 on {HOST} failed: [probe] {text}"
    assert f"[probe] {text}" in log_of(tmp_path, 2)
    assert "rank 2" in log_of(tmp_path, 1), "the others' logs say why they ended"


def test_an_exception_of_rank_0_is_printed_once(probe: Callable, tmp_path: Path) -> None:
    result = run(probe(steps=1000, processes=3, fail="0 3 input"))
    assert result.returncode == 2
    assert result.stderr.count("step 3 was given nonsense") == 1
    assert f"rank 0 on {HOST} failed: [probe] step 3 was given nonsense" in log_of(tmp_path, 2)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_fails_before_the_meeting_ends_all(rank: int, probe: Callable) -> None:
    begin = time.monotonic()
    result = run(probe(processes=2, fail=f"{rank} 0 early"))
    assert time.monotonic() - begin < 20
    assert result.returncode == 2
    assert result.stderr.count("[probe] no data here") == 1, result.stderr


def test_a_difference_between_ranks_is_named(probe: Callable) -> None:
    result = run(probe(processes=3, fail="2 0 differ"))
    assert result.returncode == 2
    assert message(result.stderr) == (
        f"[distributed] rank 2 on {HOST} has another config than rank 0 on {HOST}: seed: 43   (rank 0: seed: 42)"
    )


def test_a_stopped_rank_is_found_by_its_silence(probe: Callable, tmp_path: Path) -> None:
    with started(probe(steps=100_000, timeout=10, processes=3)) as process:
        ranks = after_step(process, tmp_path, 5)
        begin = time.monotonic()
        os.kill(ranks[1], signal.SIGSTOP)
        errors = process.communicate(timeout=60)[1]
        assert time.monotonic() - begin < 20
    assert process.returncode == 1
    assert f"rank 1 on {HOST} " in message(errors) and "10 s" in message(errors), errors


def test_a_run_that_was_stopped_as_a_whole_goes_on(probe: Callable, tmp_path: Path) -> None:
    """As a scheduler does it, or a container's pause: longer than the timeout, and than the 10 s more that a collective may take."""
    with started(probe(steps=100_000, timeout=4, processes=3)) as process:
        ranks = after_step(process, tmp_path, 5)
        everybody = [process.pid, *ranks.values()]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(16)
        done = len(log_of(tmp_path, 1))
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: len(log_of(tmp_path, 1)) > done + 2000 or process.poll() is not None)
        time.sleep(5)
        process.terminate()
        errors = process.communicate(timeout=60)[1]
    assert errors.count("[probe] stopped after step") == 1, errors
    assert "[distributed]" not in errors


@pytest.mark.parametrize("fail", ["", "1 200 throw"])
def test_ranks_leave_though_the_meeting_point_is_frozen(fail: str, probe: Callable, tmp_path: Path) -> None:
    """The starter holds it; here it is stopped, as Ctrl-Z does, some seconds before the ranks end."""
    with started(probe(steps=200, processes=2, fail=fail)) as process:
        ranks = after_step(process, tmp_path, 5)
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: not any(map(alive, ranks.values())), 30)
        process.send_signal(signal.SIGCONT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == (1 if fail else 0), errors
    assert ("done 2" in log_of(tmp_path, 1)) == (not fail)
    if fail:
        assert "[probe] step 200 went wrong" in log_of(tmp_path, 1)
        assert message(errors) == f"[distributed] rank 1 on {HOST} ended with exit code 1: [probe] step 200 went wrong"


def test_a_rank_that_hangs_is_named_by_those_who_wait(probe: Callable) -> None:
    begin = time.monotonic()
    result = run(probe(steps=1000, timeout=10, processes=3, fail="2 4 hang"))
    assert 10 < time.monotonic() - begin < 30
    assert result.returncode == 1
    assert f"rank 2 on {HOST} hung: the others have waited for it in all_reduce for 10 s" in message(result.stderr)


@pytest.mark.parametrize("number,name", [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")])
def test_a_stop_signal_to_the_starter_stops_all_after_one_step(number: int, name: str, probe: Callable, tmp_path: Path) -> None:
    with started(probe(steps=100_000, processes=3)) as process:
        after_step(process, tmp_path, 5)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    stopped = re.findall(r"\[probe\] stopped after step (\d+)", errors)
    assert len(stopped) == 1, errors
    for rank in (1, 2):
        assert re.findall(r"stopped after step (\d+)", log_of(tmp_path, rank)) == stopped


def test_a_stop_signal_to_one_rank_stops_all(probe: Callable, tmp_path: Path) -> None:
    with started(probe(steps=100_000, processes=3)) as process:
        os.kill(after_step(process, tmp_path, 5)[2], signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert errors.count("[probe] stopped after step") == 1
    assert "stopped after step" in log_of(tmp_path, 1)


def test_ranks_die_with_their_starter(probe: Callable, tmp_path: Path) -> None:
    with started(probe(steps=100_000, processes=3)) as process:
        ranks = after_step(process, tmp_path, 5)
        assert sorted(ranks) == [0, 1, 2]
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(alive, ranks.values())), 5)


def test_threads_are_divided_unless_the_user_did(probe: Callable, tmp_path: Path) -> None:
    def threads(env: dict[str, str]) -> set[bytes]:
        with started(probe(steps=100_000, processes=2), env) as process:
            ranks = after_step(process, tmp_path, 1)
            words = [word for pid in ranks.values() for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
            process.terminate()
            process.communicate(timeout=60)
        return {word for word in words if word.startswith(b"OMP_NUM_THREADS=")}

    bare = {name: value for name, value in CLEAN.items() if name != "OMP_NUM_THREADS"}
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert threads(bare) == {b"OMP_NUM_THREADS=%d" % share}
    shutil.rmtree(tmp_path / "out")
    assert threads({**bare, "OMP_NUM_THREADS": "3"}) == {b"OMP_NUM_THREADS=3"}


# --- other starters


def start_by_hand(command: list[str], size: int) -> list[Started]:
    port = free_port()
    return [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=rank_environment(rank, size, port))
        for rank in range(size)
    ]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_ranks_without_a_starter_find_the_dead_one(victim: int, probe: Callable, tmp_path: Path) -> None:
    ranks = start_by_hand(probe(steps=100_000, timeout=20), 3)
    wait_for(lambda: "step 5 of rank 1" in log_of(tmp_path, 1))
    begin = time.monotonic()
    ranks[victim].kill()
    results = ends(ranks)
    assert time.monotonic() - begin < 20
    assert [code for code, _ in results] == [-9 if rank == victim else 1 for rank in range(3)], results
    said = [line for _, errors in results for line in errors.splitlines() if line.startswith("[distributed]")]
    assert len(said) == 1, results
    # Rank 0 holds the meeting point: without it the others know no more than that it is gone.
    assert said[0].startswith(f"[distributed] rank {victim}{'' if victim == 0 else f' on {HOST} died'}"), said


def test_ranks_that_stay_away_are_named(probe: Callable) -> None:
    process = subprocess.Popen(probe(timeout=3), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=rank_environment(0, 3, free_port()))
    [(code, errors)] = ends([process])
    assert code == 1
    assert re.search(r"ranks 1, 2 of 3 did not come to rank 0, .* within 3 s", message(errors)), errors


@pytest.mark.parametrize("unset", ["RANK", "MASTER_ADDR"])
def test_half_set_variables_are_refused(unset: str, probe: Callable) -> None:
    env = rank_environment(0, 2, 1234)
    del env[unset]
    result = run(probe(), env)
    assert result.returncode == 2
    assert unset in message(result.stderr)


def test_torchrun_starts_ranks(probe: Callable, tmp_path: Path) -> None:
    result = run(torchrun(3) + probe())
    assert result.returncode == 0, result.stderr
    assert result.stdout == "done 3\n"
    assert "step 3 of rank 0: 3" in result.stderr and "of rank 1" not in result.stderr
    assert "step 3 of rank 2: 3" in log_of(tmp_path, 2)


@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_hears_why(victim: int, probe: Callable, tmp_path: Path) -> None:
    with started(torchrun(2) + probe(steps=100_000, timeout=20)) as process:
        ranks = after_step(process, tmp_path, 5)
        os.kill(ranks[victim], signal.SIGKILL)
        errors = process.communicate(timeout=90)[1]
    assert process.returncode == 1
    assert message(errors).startswith(f"[distributed] rank {victim} on {HOST} died or can't be reached"), errors


# --- two machines: network namespaces joined by a cable


def test_ranks_meet_over_a_link(machines: tuple[str, str], probe: Callable, tmp_path: Path) -> None:
    nodes = [subprocess.Popen(on_machine(machines, node, probe()), stderr=subprocess.PIPE, text=True, env=CLEAN) for node in (0, 1)]
    results = ends(nodes, 90)
    assert [code for code, _ in results] == [0, 0], results
    assert "step 3 of rank 0: 6" in results[0][1]
    assert "step 3 of rank 3: 6" in log_of(tmp_path, 3)


def test_a_cut_link_ends_both_sides_in_the_stated_time(machines: tuple[str, str], probe: Callable, tmp_path: Path) -> None:
    command = probe(steps=100_000, timeout=10)
    with started(on_machine(machines, 0, command)) as first, started(on_machine(machines, 1, command)) as second:
        wait_for(lambda: "step 5 of rank 3" in log_of(tmp_path, 3), 90)
        ranks_of(first), ranks_of(second)
        begin = time.monotonic()
        cut_link(machines)
        # The starters know nothing of the link: what counts is when the ranks end, and what they say.
        wait_for(lambda: not any(map(alive, ranks_of(first).values())), 40)
        wait_for(lambda: not any(map(alive, ranks_of(second).values())), 40)
        assert time.monotonic() - begin < 25
        first.terminate(), second.terminate()
        near, far = first.communicate(timeout=60)[1], second.communicate(timeout=60)[1]
    assert re.search(r"^\[distributed\] ranks? 2.* on ", near, re.M), near
    assert re.search(r"^\[distributed\] .*10\.99\.0\.1:29411.* has not answered for 1\d s", far, re.M), far
