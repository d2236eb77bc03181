"""Where things are and how the program is run: fixtures that tests/system and tests/parity share.

RRHF_BUILD         the build folder [build beside the sources]
RRHF_SHARED        real data and small models [../shared beside the sources]; tests that need them are skipped without
RRHF_TEST_THREADS  threads of the program and of torch [1]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

Program = Callable[..., subprocess.CompletedProcess]

# One thread suits models this small; two would spend their time waiting for each other on a busy machine.
THREADS = os.environ.get("RRHF_TEST_THREADS", "1")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": THREADS}


@pytest.fixture(scope="session")
def repo() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def build_dir(repo: Path) -> Path:
    return Path(os.environ.get("RRHF_BUILD", repo / "build"))


def run_program(binary: Path, arguments: tuple[object, ...], check: bool) -> subprocess.CompletedProcess:
    assert binary.exists(), f"{binary} is missing: run tools/build, or set RRHF_BUILD"
    result = subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT)
    if check and result.returncode != 0:
        pytest.fail(f"{result.args} ended with {result.returncode}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}")
    return result


def refused(result: subprocess.CompletedProcess, folder: Path, *words: str) -> None:
    """The command ended with 2 and a message with these words, and left nothing of folder/out."""
    assert result.returncode == 2, (result.returncode, result.stderr)
    for word in words:
        assert word in result.stderr, (word, result.stderr)
    assert result.stdout == "" and "[internal]" not in result.stderr
    assert not (folder / "out").exists() and not list(folder.glob(".out*")), list(folder.iterdir())


@pytest.fixture(scope="session")
def rrhf(build_dir: Path) -> Program:
    """Runs `rrhf ARGUMENTS...`; a failure fails the test unless check=False."""
    return lambda *arguments, check=True: run_program(build_dir / "rrhf", arguments, check)


@pytest.fixture(scope="session")
def shared(repo: Path) -> Path:
    folder = Path(os.environ.get("RRHF_SHARED", repo.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}: set RRHF_SHARED to the folder with data/ and models/")
    return folder


@pytest.fixture(scope="session")
def models(shared: Path) -> Path:
    folder = shared / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"no models at {folder}")
    return folder


# --- what tests of several files do


def wait_for(what: Callable[[], object], seconds: float = 60) -> object:
    """What the condition gives once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come true in {seconds} s")


def copy_of(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


def metrics(run: Path, event: str | None = None) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, steps or evaluations, without what differs from run to run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines if line.get("event") == event]


def metrics_so_far(run: Path) -> list[str]:
    """The whole lines of a run that may be writing another."""
    file = run / "metrics.jsonl"
    return file.read_text().split("\n")[:-1] if file.exists() else []


def all_metrics(run: Path) -> str:
    """Steps and evaluations, to be compared as a whole."""
    return json.dumps([metrics(run), metrics(run, "eval")])


def weights(run: Path) -> bytes:
    """Of the model that a run saved."""
    return (run / "model" / "model.safetensors").read_bytes()
