"""Paths that can't be read or written end with exit code 2 and a message, before any work.

Root may do everything, so the program runs as nobody here where the tests run as root.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Iterator

import pytest

from program import ENVIRONMENT, Program

Run = Callable[..., subprocess.CompletedProcess]

NOBODY = 65534
LONG = "n" * 300
ROWS = '{"query": "a b", "responses": ["c d", "e"], "scores": [1, 2]}\n' * 3


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter, as pytest's own may not be."""
    folder = Path(tempfile.mkdtemp(prefix="rrhf-paths-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def unprivileged(build_dir: Path) -> Run:
    """Runs the program as someone whom permissions bind."""
    binary = build_dir / "rrhf"
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        pytest.skip("setpriv is missing (util-linux)")
    if drop and subprocess.run([*drop, str(binary), "--version"], capture_output=True).returncode != 0:
        pytest.skip(f"nobody may not run {binary}")

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [*drop, str(binary), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd="/")

    return run


def refused(result: subprocess.CompletedProcess, *words: str) -> None:
    assert result.returncode == 2, (result.returncode, result.stderr)
    for word in words:
        assert word in result.stderr, (word, result.stderr)
    assert " usable" not in result.stdout and "[internal]" not in result.stderr and "filesystem error" not in result.stderr


@pytest.fixture
def rows(open_folder: Path) -> Path:
    file = open_folder / "rows.jsonl"
    file.write_text(ROWS)
    return file


@pytest.fixture
def closed(open_folder: Path) -> Path:
    """A folder that nobody may enter."""
    folder = open_folder / "closed"
    folder.mkdir(mode=0o000)
    folder.chmod(0o000)
    return folder


@pytest.fixture
def read_only(open_folder: Path) -> Path:
    folder = open_folder / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    return folder


CLOSED = [
    ("model", "info", "{}"),
    ("model", "info", "{}/model"),
    ("model", "convert", "{}/model", "--out", "/tmp/rrhf-never"),
    ("report", "{}/run"),
    ("data", "validate", "{}/rows.jsonl"),
    ("data", "stats", "{}/rows.jsonl"),
    ("train", "{}/run.json"),
    ("eval", "--model", "{}/model", "--data", "{}/rows.jsonl"),
    ("delta", "apply", "--base", "{}/base", "--delta", "{}/delta", "--out", "/tmp/rrhf-never"),
]


@pytest.mark.parametrize("arguments", CLOSED, ids=" ".join)
def test_a_folder_that_may_not_be_entered(arguments: tuple[str, ...], unprivileged: Run, closed: Path) -> None:
    refused(unprivileged(*(part.format(closed) for part in arguments)), str(closed), "Permission denied")


def test_model_and_output_below_a_closed_folder(
    unprivileged: Run, closed: Path, rows: Path, models: Path
) -> None:
    base = ["--set", f"data.train={rows}"]
    model = [*base, "--set", f"model.path={closed}/model", "--set", "output=/tmp/rrhf-never"]
    refused(unprivileged("train", *model), str(closed), "Permission denied")
    output = [*base, "--set", f"model.path={models / 'hf'}", "--set", f"output={closed}/run"]
    refused(unprivileged("train", *output), str(closed))


@pytest.mark.parametrize("arguments", [
    ("train", "--preset", LONG),
    ("model", "info", LONG),
    ("report", LONG),
    ("data", "validate", LONG),
    ("eval", LONG),
], ids=lambda arguments: " ".join(arguments[:-1]))
def test_a_name_too_long(arguments: tuple[str, ...], rrhf: Program) -> None:
    refused(rrhf(*arguments, check=False), "File name too long")


def test_an_output_with_a_name_too_long(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    refused(rrhf("train", make_config(output=str(tmp_path / LONG)), check=False), "File name too long")


def writers(rows: Path, models: Path, run: Path) -> dict[str, tuple[object, ...]]:
    """Commands that write a file; its name comes last."""
    settings = ("eval", "--model", models / "hf", "--data", rows, "--set", "data.max_length=64")
    return {
        "eval --json": (*settings, "--json"),
        "eval --per-response": (*settings, "--per-response"),
        "convert": ("data", "convert", rows, "--force", "--out"),
        "report": ("report", run, "--out"),
    }


@pytest.fixture
def run_folder(open_folder: Path) -> Path:
    folder = open_folder / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
    return folder


WRITERS = ["eval --json", "eval --per-response", "convert", "report"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_target_in_a_folder_of_others(
    name: str, unprivileged: Run, rows: Path, models: Path, run_folder: Path, read_only: Path
) -> None:
    command = writers(rows, models, run_folder)[name]
    refused(unprivileged(*command, read_only / "out.x"), "out.x: can't be written: Permission denied")


@pytest.mark.parametrize("name", WRITERS)
def test_a_target_that_is_no_file(
    name: str, rrhf: Program, rows: Path, models: Path, run_folder: Path, open_folder: Path
) -> None:
    command = writers(rows, models, run_folder)[name]
    refused(rrhf(*command, open_folder, check=False), "is a folder; the name of a file to write is needed")
    refused(rrhf(*command, open_folder / LONG, check=False), "File name too long")
    refused(rrhf(*command, open_folder / "no" / "out", check=False), "there is no such folder")
    written = open_folder / "out.x"
    rrhf(*command, written)
    assert written.stat().st_size > 0 and stat.S_ISREG(written.stat().st_mode)


def test_converting_into_a_compressed_name(rrhf: Program, rows: Path, tmp_path: Path) -> None:
    """Lines are written plain: under such a name they would only look compressed."""
    refused(rrhf("data", "convert", rows, "--out", tmp_path / "out.jsonl.gz", check=False), "not compressed")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["--version", "--help", "train --help", "data validate", "data convert", "model info"])
def test_results_that_do_not_reach_stdout(command: str, build_dir: Path, rows: Path, models: Path) -> None:
    arguments = command.split()
    if arguments[0] == "data":
        arguments.append(str(rows))
    if arguments[0] == "model":
        arguments.append(str(models / "hf"))
    with open("/dev/full", "w") as full:
        done = subprocess.run([build_dir / "rrhf", *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "could not be written to stdout" in done.stderr, done.stderr


def test_a_pipe_of_rows(rrhf: Program, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(rrhf("data", "validate", pipe, check=False), "is a pipe or a device", "save them into a file")
