"""Where output goes may be lost: a terminal is closed, a reader leaves, a quota is reached, something odd stands there."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from program import ENVIRONMENT, Program, wait_for

Config = Callable[..., Path]
LONG = {"train": {"epochs": 60, "queries_per_step": 4}}


def lines(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def run_with(build_dir: Path, *arguments: object, **streams: Any) -> subprocess.CompletedProcess:
    command = [str(build_dir / "rrhf"), *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, text=True, timeout=60, **streams)


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_closed_terminal_saves_the_run(rrhf: Program, build_dir: Path, make_config: Config, tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and from then on nothing can be written to the terminal."""
    config, run = make_config(**LONG), tmp_path / "run"
    child, terminal = pty.fork()
    if child == 0:
        os.execve(build_dir / "rrhf", ["rrhf", "train", str(config)], ENVIRONMENT)
    os.set_blocking(terminal, False)

    def under_way() -> bool:
        try:
            os.read(terminal, 65536)
        except BlockingIOError:
            pass
        return lines(run) >= 5

    wait_for(under_way)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert list((run / "checkpoints").iterdir()) and not (run / "model").exists()
    assert "resumed" in rrhf("train", config, "--resume").stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_stops_nothing(build_dir: Path, make_config: Config, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        assert run_with(build_dir, "train", make_config(), stderr=full).returncode == 0
        assert run_with(build_dir, "train", tmp_path / "none.json", stderr=full).returncode == 2
        assert run_with(build_dir, "tain", stderr=full).returncode == 2
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_closed_stderr_gives_its_number_to_no_file(build_dir: Path, make_config: Config, tmp_path: Path) -> None:
    closed = lambda: os.close(2)  # noqa: E731
    assert run_with(build_dir, "train", make_config(), preexec_fn=closed).returncode == 0
    assert run_with(build_dir, "train", tmp_path / "none.json", preexec_fn=closed).returncode == 2
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or b"ranking accuracy" not in file.read_bytes() or file.suffix == ".html", file
    assert lines(tmp_path / "run") == 6


def test_a_reader_that_leaves(build_dir: Path, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    """A run goes on without the reader of its lines; a command without a reader for its results says nothing more."""

    def without_reader(*arguments: object, stream: str) -> tuple[int, str]:
        reader, writer = os.pipe()
        os.close(reader)
        other = "stderr" if stream == "stdout" else "stdout"
        done = run_with(build_dir, *arguments, **{stream: writer, other: subprocess.PIPE})
        os.close(writer)
        return done.returncode, getattr(done, other)

    assert without_reader("train", make_config(), stream="stderr") == (0, "")
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert without_reader("data", "inspect", good_data, "--row", 0, stream="stdout") == (1, "")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "convert"])
def test_a_file_size_limit_is_an_error_like_a_full_disk(
    command: str, build_dir: Path, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    config, out = make_config(), tmp_path / "rows.jsonl"
    arguments = {"train": ("train", config), "convert": ("data", "convert", good_data, "--out", out)}[command]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))  # noqa: E731
    done = run_with(build_dir, *arguments, preexec_fn=limit, stderr=subprocess.PIPE)
    assert done.returncode == 1 and "File too large" in done.stderr, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")] and not out.exists()


def test_what_a_killed_run_was_writing_is_removed_by_the_next(rrhf: Program, good_data: Path, tmp_path: Path) -> None:
    left, other = tmp_path / ".rows.jsonl.tmp-99999999", tmp_path / ".other.jsonl.tmp-99999999"
    for file in (left, other):
        file.write_text("half a ro")
    rrhf("data", "convert", good_data, "--out", tmp_path / "rows.jsonl")
    assert not left.exists() and other.exists()


@pytest.mark.parametrize("flag", ["--json", "--per-response"])
@pytest.mark.parametrize("kind", ["FIFO", "link to nowhere", "folder"])
def test_only_files_are_written_over(
    flag: str, kind: str, rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "there"
    {"FIFO": lambda: os.mkfifo(out), "link to nowhere": lambda: out.symlink_to("none"), "folder": out.mkdir}[kind]()
    before = (out.lstat().st_ino, out.lstat().st_mode)
    result = rrhf("eval", make_config(), "--data", good_data, flag, out, check=False)
    assert result.returncode == 2 and f"{out}: is a {kind}" in result.stderr
    assert (out.lstat().st_ino, out.lstat().st_mode) == before


def test_a_link_stays_and_its_file_is_written(rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "link.json"
    elsewhere.mkdir()
    (elsewhere / "figures.json").write_text("old")
    link.symlink_to("elsewhere/figures.json")
    rrhf("eval", make_config(), "--data", good_data, "--json", link)
    assert link.is_symlink() and "rank_accuracy" in (elsewhere / "figures.json").read_text()
    assert [path.name for path in elsewhere.iterdir()] == ["figures.json"]


def test_no_output_is_written_over_an_input_or_another(
    rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    config, out, link = make_config(), tmp_path / "out.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(good_data)
    before = good_data.read_bytes()
    for flags in (("--per-response", good_data), ("--json", link), ("--json", out, "--per-response", out)):
        result = rrhf("eval", config, "--data", good_data, *flags, check=False)
        assert result.returncode == 2 and "would be written over" in result.stderr
    rule = tmp_path / "rule.json"
    rule.write_text('{"rule": "length", "max": 3}')
    for json in (good_data, rule, out):
        result = rrhf("score", "--rule", rule, "--data", good_data, "--out", out, "--json", json, check=False)
        assert result.returncode == 2 and "would be written over" in result.stderr
    assert good_data.read_bytes() == before and not out.exists()
