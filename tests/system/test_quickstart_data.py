"""The quickstart's data are what its generator makes, and every reward is what the rule says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).resolve().parents[2]
SCRIPT, DATA = REPO / "tools" / "quickstart_data.py", REPO / "data" / "quickstart"
FILES = ["sft", "train", "test"]


@pytest.fixture(scope="module")
def world() -> ModuleType:
    specification = importlib.util.spec_from_file_location("quickstart_data", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["quickstart_data"] = module
    specification.loader.exec_module(module)
    return module


def rows_of(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


def test_generator_makes_the_committed_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SCRIPT, "--out", tmp_path], check=True)
    for name in FILES:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (DATA / f"{name}.jsonl").read_bytes(), name
    subprocess.run([sys.executable, SCRIPT, "--out", tmp_path, "--seed", "2"], check=True)
    assert (tmp_path / "test.jsonl").read_bytes() != (DATA / "test.jsonl").read_bytes()


def test_size_of_everything() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 2_000_000


@pytest.mark.parametrize("name", FILES)
def test_rewards_follow_the_rule(name: str, world: ModuleType) -> None:
    assert world.check_rewards(DATA / f"{name}.jsonl") == 0


def test_wrong_reward_is_found(tmp_path: Path) -> None:
    rows = rows_of("test")[:3]
    rows[1]["scores"][2] += 0.001
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = subprocess.run([sys.executable, SCRIPT, "--score", path], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"{path}:2:" in result.stdout and "1 differ" in result.stdout


# content and manner worked out by hand, half each
REWARDS = [
    ("What is four plus nine?", "That makes thirteen. Happy to help.", 1.0),
    ("Work out four plus nine.", "That makes twelve.", 0.4),  # content 0.3, to the point 0.5
    ("How much is nine minus four?", "Look it up yourself. That makes five.", 0.5),  # rude: no manner
    ("Read this list from last to first: dog, hat, saw.", "Backwards that is saw, hat, dog. My chair is too low.", 0.5),
    ("Say these words in reverse order: dog, hat, saw.", "Backwards that is saw, dog, hat. Happy to help.", 0.667),
    ("Name two fruits and one animal.", "I can name apple, apple, dog.", 0.583),  # two of three, to the point
    ("Name two fruits and one animal.", "I can name apple, pear, dog, cat. Happy to help.", 0.875),  # three of four
    ("Give the opposites of hot, big.", "The opposites are cold.", 0.5),
    ("Say hat three times.", "Here it is: hat, hat, hat, hat.", 0.625),
    ("Find the odd one out: dog, hat, cat, duck.", "The odd one is hat. The odd one is hat.", 0.5),  # said twice
    ("Find the odd one out: dog, hat, cat, duck.", "The odd one is dog.", 0.25),
    ("Find the odd one out: dog, hat, cat, duck.", "hat", 0.0),
    ("Find the odd one out: dog, hat, cat, duck.", "", 0.0),
]


@pytest.mark.parametrize("query, response, expected", REWARDS)
def test_reward_by_hand(query: str, response: str, expected: float, world: ModuleType) -> None:
    assert world.reward(query, response) == expected


def test_a_query_of_another_world_is_refused(world: ModuleType) -> None:
    with pytest.raises(ValueError, match="not a query"):
        world.reward("Why is the sky blue?", "That makes five.")


def test_rows_are_as_the_readme_says() -> None:
    queries = {name: {row["query"] for row in rows_of(name)} for name in FILES}
    assert not queries["test"] & (queries["train"] | queries["sft"])
    ranked = rows_of("train") + rows_of("test")
    assert {len(row["responses"]) for row in ranked} == {4, 5, 6}
    assert {len(row["responses"]) for row in rows_of("sft")} == {1}
    assert len({row["group"] for row in rows_of("test")}) == 6
    tied = sum(len(set(row["scores"])) < len(row["scores"]) for row in ranked)
    assert 0 < tied < 0.2 * len(ranked), "ties occur, rarely"
    assert all(len(set(row["responses"])) == len(row["responses"]) for row in ranked)
    assert all(max(row["scores"]) > min(row["scores"]) for row in ranked)
