"""tools/quickstart, as a person runs it: what it promises of its table and its time."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def output(repo: Path, build_dir: Path, runs: Path) -> str:
    assert (build_dir / "rrhf").exists() and build_dir == repo / "build", "tools/quickstart runs build/rrhf"
    done = subprocess.run([repo / "tools" / "quickstart", "--runs", runs], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def accuracy(folder: Path) -> float:
    return 100 * json.loads((folder / "test.json").read_text())["rank_accuracy"]


def test_ranking_accuracy_rises_by_fifteen_points(output: str, runs: Path) -> None:
    before, after = accuracy(runs / "quickstart-sft"), accuracy(runs / "quickstart")
    print(f"ranking accuracy {before:.1f} % -> {after:.1f} %")
    assert after - before >= 15
    for name, value in (("start (SFT)", before), ("after RRHF", after)):
        assert re.search(rf"^{re.escape(name)} +{value:.1f} %", output, re.MULTILINE), output[-1500:]


def test_it_takes_less_than_five_minutes(output: str) -> None:
    assert int(re.search(r"^took (\d+) s$", output, re.MULTILINE)[1]) < 300


def test_it_leaves_a_model_and_a_report_and_asks_before_it_removes_them(output: str, repo: Path, runs: Path) -> None:
    assert (runs / "quickstart" / "model" / "model.safetensors").exists()
    assert (runs / "quickstart" / "report.html").exists()
    again = subprocess.run([repo / "tools" / "quickstart", "--runs", runs], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert again.returncode == 2 and "--force" in again.stderr
    assert (runs / "quickstart" / "model" / "model.safetensors").exists()
