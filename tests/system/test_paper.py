"""tools/paper, shortened to a few steps: that its parts fit together and its tables hold what the files say."""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path

import pytest

SHORT = ("--set", "train.max_steps=4", "--set", "iterate.rounds=2")


def paper(repo: Path, *flags: object) -> subprocess.CompletedProcess:
    return subprocess.run([repo / "tools" / "paper", *map(str, flags)], capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def runs(repo: Path, build_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert build_dir == repo / "build", "tools/paper runs build/rrhf"
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(scope="module")
def output(repo: Path, runs: Path) -> str:
    done = paper(repo, "--runs", runs, "--seeds", "1 2", *SHORT)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def rows_of(output: str, number: int = 0) -> dict[str, list[str]]:
    """The rows of a table by their title: 0 rewards, 1 the law, 2 pair accuracies."""
    table = [part for part in output.split("\n\n") if part.lstrip().startswith("|")][number]
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()]
    return {row[0]: row[1:] for row in cells}


def rewards(file: Path) -> float:
    return statistics.mean(score for line in file.read_text().splitlines() for score in json.loads(line)["scores"])


def test_the_table_holds_what_the_files_say(output: str, runs: Path) -> None:
    table = rows_of(output)
    assert len(table) == 2 + 6 and table["RRHF (DP)"][2].startswith("-1.03")
    places = {"start model": "rrhf/round-000", "RRHF (DP)": "rrhf/round-001", "RRHF iterated, round 2": "rrhf/round-002"}
    files = {title: [f"{place}/held-out-greedy.jsonl", f"{place}/held-out-sampled.jsonl"] for title, place in places.items()}
    for title, place in (("RRHF without rank loss", "without-rank"), ("SFT on the better provided answer", "sft")):
        files[title] = [f"{place}/greedy.jsonl", f"{place}/sampled.jsonl"]
    for title, names in files.items():
        for cell, name in zip(table[title], names):
            values = [rewards(runs / f"seed-{seed}" / name) for seed in (1, 2)]
            assert cell == spread(values), (title, name)


def spread(values: list[float], digits: int = 3) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def mean_best(file: Path, writer: str | None = None) -> float:
    """The mean over rows of the highest score, of all responses or of one writer's."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    best = [max(s for s, w in zip(row["scores"], row.get("writers", row["scores"])) if writer in (None, w)) for row in rows]
    return statistics.mean(best)


def test_the_law_is_held_against_what_was_trained_on(output: str, runs: Path) -> None:
    table = rows_of(output, 1)
    greedy = {"RRHF": "rrhf/round-001/held-out-greedy", "RRHF, round 2": "rrhf/round-002/held-out-greedy"}
    greedy |= {"RRHF without rank loss": "without-rank/greedy", "SFT": "sft/greedy"}
    assert list(table)[2:] == list(greedy)
    seeds = [runs / f"seed-{seed}" for seed in (1, 2)]
    for title, name in greedy.items():
        reached = [rewards(folder / f"{name}.jsonl") for folder in seeds]
        number = 2 if title.endswith("2") else 1
        ranked = [folder / f"rrhf/round-00{number}/ranked.jsonl" for folder in seeds]
        samples = [mean_best(file, f"round-00{number} diverse-beam") for file in ranked]
        everything = [mean_best(file) for file in ranked]
        expected = [spread(reached)]
        for best in (samples, everything):
            expected += [spread(best), spread([mine - theirs for mine, theirs in zip(reached, best)])]
        if title == "SFT":
            provided = mean_best(runs / "provided.jsonl")
            expected = [expected[0], "", "", spread([provided] * 2), spread([mine - provided for mine in reached])]
        assert table[title] == expected, title


def test_pair_accuracies_are_those_of_the_evaluations(output: str, runs: Path) -> None:
    table = rows_of(output, 2)

    def accuracy(seed: int, place: str) -> float:
        folder = runs / f"seed-{seed}" / place
        if place.startswith("rrhf"):
            return 100 * json.loads((folder / "eval.json").read_text())["rank_accuracy"]
        events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return 100 * [line for line in events if line.get("event") == "eval"][-1]["rank_accuracy"]

    places = {"start model": "rrhf/round-000", "RRHF": "rrhf/round-001", "RRHF, round 2": "rrhf/round-002"}
    places |= {"RRHF without rank loss": "without-rank", "SFT": "sft"}
    assert list(table)[2:] == list(places)
    for title, place in places.items():
        assert table[title][0] == spread([accuracy(seed, place) for seed in (1, 2)], 1), title


def test_a_finished_seed_is_not_run_again(output: str, repo: Path, runs: Path) -> None:
    again = paper(repo, "--runs", runs, "--seeds", "1 2", *SHORT)
    assert again.returncode == 0 and "seed 1:" not in again.stdout and rows_of(again.stdout) == rows_of(output[output.index("Reward of"):])


def test_baselines_train_as_rrhf_does(output: str, runs: Path) -> None:
    def config(name: str) -> dict:
        return json.loads((runs / "seed-1" / name / "config.json").read_text())

    rrhf, without, sft = config("rrhf/round-001"), config("without-rank"), config("sft")
    assert without["data"]["train"] == rrhf["data"]["train"] and without["objective"].pop("rank_loss") == "none"
    assert sft["objective"].pop("rank_loss") == "none" and rrhf["objective"].pop("rank_loss") == "rrhf"
    for other in (without, sft):
        assert {name: other[name] for name in ("model", "optimizer", "schedule", "objective")} == {
            name: rrhf[name] for name in ("model", "optimizer", "schedule", "objective")
        }
        assert {**other["train"]} == rrhf["train"]


@pytest.mark.parametrize("flags,word", ((("--seed", 1), "--seed is not an option"), (("--seeds", "one"), "whole numbers")))
def test_bad_flags(flags: tuple[object, ...], word: str, repo: Path) -> None:
    result = paper(repo, *flags)
    assert result.returncode == 2 and word in result.stderr


def test_a_run_that_fails_says_why(repo: Path, runs: Path, tmp_path: Path) -> None:
    result = paper(repo, "--runs", tmp_path, "--seeds", "1", "--set", "optimizer.learning_rat=1")
    assert result.returncode == 1 and "nearest: optimizer.learning_rate" in result.stderr
