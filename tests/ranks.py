"""Ranks as real processes, for tests: started, watched, ended; two machines as network namespaces."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from program import ENVIRONMENT, wait_for

TORCHRUN = Path(sys.executable).with_name("torchrun")
HOST = socket.gethostname()
Started = subprocess.Popen

# Variables of a starter around the tests must not reach the programs under test.
CLEAN = {name: value for name, value in ENVIRONMENT.items() if not re.match(r"RANK$|WORLD_SIZE$|LOCAL_|MASTER_|SLURM_|OMPI_", name)}


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rank_of(pid: int) -> int | None:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(word[5:]) for word in words if word.startswith(b"RANK=")), None)


@contextlib.contextmanager
def started(command: list[str], env: dict[str, str] | None = None) -> Iterator[Started]:
    """A program with its stderr on a pipe; everything it started is gone afterwards, or the test fails."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env or CLEAN)
    seen: set[int] = set()
    process.note = lambda: seen.update(descendants(process.pid))  # type: ignore[attr-defined]
    try:
        yield process
        wait_for(lambda: not any(map(alive, seen)), 10)
    finally:
        for pid in [process.pid, *seen]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def ranks_of(process: Started) -> dict[int, int]:
    process.note()  # type: ignore[attr-defined]
    return {rank: pid for pid in descendants(process.pid) if (rank := rank_of(pid)) is not None}


def message(errors: str) -> str:
    """The one line of [distributed] in what was printed."""
    lines = [line for line in errors.splitlines() if line.startswith("[distributed]")]
    assert len(lines) == 1, errors
    return lines[0]


def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, env=env or CLEAN, timeout=120)


def rank_environment(rank: int, size: int, port: int, **more: str) -> dict[str, str]:
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    return {**CLEAN, **{k: str(v) for k, v in place.items()}, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **more}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ends(processes: list[Started], timeout: float = 60) -> list[tuple[int, str]]:
    """Exit code and stderr of each."""
    try:
        return [(process.returncode, errors) for process in processes for errors in [process.communicate(timeout=timeout)[1]]]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def torchrun(count: int, *flags: str) -> list[str]:
    if not TORCHRUN.exists():
        pytest.skip(f"no torchrun at {TORCHRUN}")
    return [str(TORCHRUN), "--nproc-per-node", str(count), "--master-port", str(free_port()), *flags, "--no-python"]


# --- two machines: network namespaces joined by a cable


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two namespaces with 10.99.0.1 and 10.99.0.2 on a veth pair."""
    names = [f"rrhf{os.getpid() % 10000}{side}" for side in "ab"]
    try:
        ip("netns", "add", names[0])
    except (FileNotFoundError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"network namespaces can't be made here: {getattr(problem, 'stderr', problem)}")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", "name", names[1], "netns", names[1])
        for number, name in enumerate(names, start=1):
            ip("-n", name, "address", "add", f"10.99.0.{number}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def on_machine(machines: tuple[str, str], node: int, command: list[str], per_node: int = 2) -> list[str]:
    if not TORCHRUN.exists():
        pytest.skip(f"no torchrun at {TORCHRUN}")
    join = ["--nnodes", "2", "--node-rank", str(node), "--nproc-per-node", str(per_node), "--master-addr", "10.99.0.1"]
    return ["ip", "netns", "exec", machines[node], str(TORCHRUN), *join, "--master-port", "29411", "--no-python", *command]


def mend_link(machines: tuple[str, str]) -> None:
    ip("-n", machines[0], "link", "set", machines[0], "up")


def cut_link(machines: tuple[str, str]) -> None:
    ip("-n", machines[0], "link", "set", machines[0], "down")
