"""`rrhf report`: runs side by side, a table and a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from program import Program


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two small runs of one name, as if each had been trained in a folder of its own."""
    folders = []
    for number, where in enumerate(("first", "second")):
        run = tmp_path / where / "run"
        (run / "model").mkdir(parents=True)
        (run / "model" / "config.json").write_text("{}")
        (run / "config.json").write_text(json.dumps({"recipe": "paper", "objective": {"rank_weight": 10**number}}))
        (run / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
        folders.append(run)
    return folders


def test_several_runs_are_a_table_without_a_page(rrhf: Program, runs: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = rrhf("report", *runs)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["run", "first/run", "second/run"]
    assert lines[0][4] == "objective.rank_weight" and [line[3] for line in lines[1:]] == ["1", "10"]
    assert "--out" in result.stderr and sorted(tmp_path.rglob("*")) == before
    rrhf("report", *runs, "--out", tmp_path / "page.html")
    assert "second/run" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("name", ("metrics.jsonl", "config.json", "model/config.json"))
def test_a_page_is_not_written_over_a_file_of_a_run(name: str, rrhf: Program, runs: list[Path]) -> None:
    before = (runs[1] / name).read_text()
    result = rrhf("report", *runs, "--out", runs[1] / name, check=False)
    assert result.returncode == 2 and "would be written over" in result.stderr and result.stdout == ""
    assert (runs[1] / name).read_text() == before


def test_a_page_may_be_made_again(rrhf: Program, runs: list[Path]) -> None:
    for _ in range(2):
        rrhf("report", runs[0])
        rrhf("report", *runs, "--out", runs[0] / "report.html")


def test_event_files_stand_beside_the_table(rrhf: Program, runs: list[Path], tmp_path: Path) -> None:
    result = rrhf("report", *runs, "--tensorboard", tmp_path / "my events")
    assert "tensorboard --logdir '" in result.stderr and len(result.stdout.splitlines()) == 3
    for name in ("first", "second"):
        file = tmp_path / "my events" / name / "run" / "train" / "events.out.tfevents.0.rrhf"
        assert b"brain.Event:2" in file.read_bytes()[:40]
    (tmp_path / "file").write_text("in the way")
    refused = rrhf("report", *runs, "--tensorboard", tmp_path / "file", check=False)
    assert refused.returncode == 2 and (tmp_path / "file").read_text() == "in the way"


def test_event_files_stay_in_their_folder(rrhf: Program, runs: list[Path], tmp_path: Path) -> None:
    """Also where only its whole path tells a run from another."""
    inner = tmp_path / "inner" / runs[0].relative_to("/")
    inner.mkdir(parents=True)
    (inner / "metrics.jsonl").write_text((runs[0] / "metrics.jsonl").read_text())
    rrhf("report", runs[0], inner, "--tensorboard", tmp_path / "events")
    assert len(list((tmp_path / "events").rglob("*.rrhf"))) == 2 and not list(runs[0].rglob("*.rrhf"))
