"""`rrhf iterate`: sample, score, train, evaluate, round after round, whatever comes between."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from made_rows import ranked_rows, read_lines, write_lines
from program import ENVIRONMENT, Program, metrics, run_program, wait_for

# Longer answers are worth less, one unit a word.
RULE = {"rule": "length", "unit": "words", "max": 1, "fade": 20}
Config = Callable[..., Path]


def earlier_rows() -> list[dict[str, Any]]:
    """Rows whose responses are of an earlier run's first round, named as this run's will be."""
    return [{**row, "writers": ["round-001 top-p"] * len(row["responses"])} for row in ranked_rows(8)]


def world(folder: Path, models: Path, **sections: Any) -> Path:
    """A config of two short rounds over eight queries, with three held-out ones."""
    folder.mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "model": {"path": str(models / "hf")},
        "data": {
            "train": str(write_lines(folder / "train.jsonl", earlier_rows())),
            "eval": str(write_lines(folder / "held-out.jsonl", ranked_rows(3, seed=2))),
            "max_length": 96,
        },
        "optimizer": {"learning_rate": 1e-3},
        "train": {"epochs": 2, "queries_per_step": 3},
        "checkpoint": {"every_steps": 1},
        "sample": {"method": "top-p", "responses": 3, "max_new_tokens": 12},
        "score": {"rule": str(folder / "rule.json")},
        "iterate": {"rounds": 2},
        "output": str(folder / "run"),
    }
    for key, value in sections.items():
        config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
    (folder / "rule.json").write_text(json.dumps(RULE))
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def make(tmp_path: Path, models: Path) -> Config:
    return lambda **sections: world(tmp_path, models, **sections)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, models: Path, build_dir: Path) -> tuple[Path, Path, str]:
    """A run that nothing interrupted: its config, its folder, what it printed."""
    config = world(tmp_path_factory.mktemp("whole"), models)
    result = run_program(build_dir / "rrhf", ("iterate", config), True)
    return config, config.parent / "run", result.stdout


PRODUCTS = ("sampled.jsonl", "ranked.jsonl", "model/model.safetensors", "held-out-greedy.jsonl", "held-out-sampled.jsonl", "eval.json")


def products(run: Path) -> dict[str, bytes]:
    """All that a run leaves but what holds times and the folder's own name."""
    names = ["queries.jsonl", "held-out.jsonl", "rounds.jsonl"]
    names += [f"round-000/{name}" for name in PRODUCTS[3:]]
    names += [f"round-{number:03}/{name}" for number in (1, 2) for name in PRODUCTS]
    return {name: (run / name).read_bytes() for name in names}


def test_two_rounds(whole: tuple[Path, Path, str]) -> None:
    _, run, printed = whole
    first, second = run / "round-001", run / "round-002"
    for folder, model in ((first, "hf"), (second, str(first / "model"))):
        config = json.loads((folder / "config.json").read_text())
        assert config["model"]["path"].endswith(model) and config["data"]["train"] == [str(folder / "ranked.jsonl")]
        assert (folder / "metrics.jsonl").exists() and (folder / "report.html").exists()
    assert (first / "model" / "model.safetensors").read_bytes() != (second / "model" / "model.safetensors").read_bytes()
    provided = [len(row["responses"]) for row in ranked_rows(8)]
    for number, folder in ((1, first), (2, second)):
        rows = read_lines(folder / "ranked.jsonl")
        assert [len(row["responses"]) for row in rows] == [k + 3 for k in provided]
        assert all(row["writers"][-3:] == [f"round-{number:03} top-p"] * 3 for row in rows)
        assert all(row["writers"][:-3] == ["round-001 top-p"] * k for row, k in zip(rows, provided))
        for row in rows:
            words = [len(text.split()) for text in row["responses"]]
            assert row["scores"] == pytest.approx([max(0, 1 - max(0, count - 1) / 20) for count in words])
    assert not list(run.rglob("*.part")) and not list(run.rglob("*unscored*")) and not list(run.rglob(".*"))
    # the table
    rows = [line.split() for line in printed.splitlines()]
    assert max(map(len, printed.splitlines())) <= 80
    assert [row[0] for row in rows[3:]] == ["start", "1", "2"] and rows[3][1:4] == ["-", "-", "-"]
    figures = read_lines(run / "rounds.jsonl")
    for row, line in zip(rows[4:], figures[1:]):
        assert row[1:3] == [f"{line['samples'][name]:.4f}" for name in ("mean", "best")]


def test_the_figures_are_those_of_the_files(whole: tuple[Path, Path, str]) -> None:
    _, run, _ = whole
    mean = lambda numbers: sum(numbers) / len(numbers)  # noqa: E731
    figures = read_lines(run / "rounds.jsonl")
    assert [line["round"] for line in figures] == [0, 1, 2]
    assert [line["model"].split("/")[-2:] for line in figures[1:]] == [["round-001", "model"], ["round-002", "model"]]
    for line in figures:
        folder = run / f"round-{line['round']:03}"
        greedy, sampled = (read_lines(folder / f"held-out-{name}.jsonl") for name in ("greedy", "sampled"))
        assert len(greedy) == len(sampled) == 3 and all(len(row["scores"]) == 1 for row in greedy)
        assert line["held_out"] == {
            "queries": 3,
            "greedy": pytest.approx(mean([row["scores"][0] for row in greedy])),
            "sampled": pytest.approx(mean([score for row in sampled for score in row["scores"]])),
            "best": pytest.approx(mean([max(row["scores"]) for row in sampled])),
        }
        assert line["eval"] == json.loads((folder / "eval.json").read_text()) and line["eval"]["queries"] == 3
        if line["round"] == 0:
            assert "samples" not in line
            continue
        rows = read_lines(folder / "ranked.jsonl")
        samples = [row["scores"][-3:] for row in rows]
        assert line["samples"] == {
            "rows": 8,
            "responses": 24,
            "mean": pytest.approx(mean(sum(samples, []))),
            "best": pytest.approx(mean([max(scores) for scores in samples])),
        }
        assert line["trained_on"]["best"] == pytest.approx(mean([max(row["scores"]) for row in rows]))


def test_a_round_is_the_four_commands(whole: tuple[Path, Path, str], rrhf: Program, tmp_path: Path) -> None:
    config, run, _ = whole
    first = run / "round-001"
    model, flags = json.loads(config.read_text())["model"]["path"], ("--method", "top-p", "--responses", 3, "--max-new-tokens", 12)
    sampled, ranked = tmp_path / "sampled", tmp_path / "ranked"
    rrhf("sample", "--model", model, "--data", run / "queries.jsonl", "--out", sampled, "--writer", "round-001 top-p", *flags)
    assert sampled.read_bytes() == (first / "sampled.jsonl").read_bytes()
    rrhf("score", "--rule", config.parent / "rule.json", "--data", sampled, "--out", ranked)
    assert ranked.read_bytes() == (first / "ranked.jsonl").read_bytes()
    rrhf("train", config, "--set", f"data.train={ranked}", "--set", f"output={tmp_path / 'run'}")
    weights = tmp_path / "run" / "model" / "model.safetensors"
    assert weights.read_bytes() == (first / "model" / "model.safetensors").read_bytes()
    rrhf("eval", config, "--model", tmp_path / "run" / "model", "--json", tmp_path / "eval.json")
    assert json.loads((tmp_path / "eval.json").read_text()) == json.loads((first / "eval.json").read_text())


def test_what_a_round_trains_on(rrhf: Program, make: Config, tmp_path: Path) -> None:
    provided = [len(row["responses"]) for row in ranked_rows(8)]
    for keep, counts in (("none", [[3] * 8, [3] * 8]), ("all", [[k + 3 for k in provided], [k + 6 for k in provided]])):
        rrhf("iterate", make(iterate={"keep": keep}, output=str(tmp_path / keep)))
        for number, count in enumerate(counts, start=1):
            rows = read_lines(tmp_path / keep / f"round-{number:03}" / "ranked.jsonl")
            assert [len(row["responses"]) for row in rows] == count
    last = read_lines(tmp_path / "all" / "round-002" / "ranked.jsonl")[0]["writers"]
    assert last[-6:] == ["round-001 top-p"] * 3 + ["round-002 top-p"] * 3


def test_queries_of_a_text_file(rrhf: Program, make: Config, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("The sun\nOnce upon a time\nOne day\n")
    (tmp_path / "eval.txt").write_text("The cat\n")
    config = make(
        data={"train": [], "eval": []},
        iterate={"rounds": 1, "queries": str(tmp_path / "queries.txt"), "eval_queries": str(tmp_path / "eval.txt")},
    )
    result = rrhf("iterate", config)
    assert [row["query"] for row in read_lines(tmp_path / "run" / "round-001" / "ranked.jsonl")] == ["The sun", "Once upon a time", "One day"]
    assert result.stdout.splitlines()[-1].split()[-2:] == ["-", "-"]  # no ranked rows to evaluate on
    config = make(data={"train": [], "eval": []}, iterate={"rounds": 1, "queries": str(tmp_path / "queries.txt")}, output=str(tmp_path / "blind"))
    assert "no held-out queries" in rrhf("iterate", config).stderr


def test_a_reward_model_gives_the_rewards(rrhf: Program, make: Config, tmp_path: Path, reward_model: Path) -> None:  # noqa: F811
    config = make(score={"rule": "", "reward_model": str(reward_model), "join": " "}, iterate={"rounds": 1})
    rrhf("iterate", config)
    first = tmp_path / "run" / "round-001"
    flags = ("--reward-model", reward_model, "--set", 'score.join=" "', "--data", first / "sampled.jsonl")
    rrhf("score", *flags, "--out", tmp_path / "ranked")
    assert (tmp_path / "ranked").read_bytes() == (first / "ranked.jsonl").read_bytes()


def test_data_eval_is_read_in_its_configured_format(rrhf: Program, make: Config, tmp_path: Path) -> None:
    """Dialogues that carry a "prompt" beside them: by their keys alone they would be preference rows."""
    ask = "\n\nHuman: Where is the {}?\n\nAssistant:"
    rows = [
        {"prompt": "of no use", "chosen": ask.format(word) + " It is here.", "rejected": ask.format(word) + " Who knows, and who would ask?"}
        for word in ("sun", "sea", "boat")
    ]
    held_out = write_lines(tmp_path / "dialogues.jsonl", rows)
    (tmp_path / "queries.txt").write_text("The sun\nOnce upon a time\n")
    data = {"train": [], "eval": str(held_out), "format": "hh"}
    config = make(data=data, iterate={"rounds": 1, "queries": str(tmp_path / "queries.txt")})
    rrhf("iterate", config)
    first = tmp_path / "run" / "round-001"
    rrhf("eval", config, "--model", first / "model", "--json", tmp_path / "eval.json")
    expected = json.loads((tmp_path / "eval.json").read_text())
    assert json.loads((first / "eval.json").read_text()) == expected
    assert {key: metrics(first, "eval")[-1][key] for key in expected} == expected
    assert [row["query"] for row in read_lines(tmp_path / "run" / "eval.jsonl")] == [ask.format(word) for word in ("sun", "sea", "boat")]


def test_a_round_that_brings_nothing_new(rrhf: Program, make: Config, tmp_path: Path) -> None:
    sample = {"method": "greedy", "responses": 1, "unique": True}
    rows = [{"query": row["query"], "responses": ["far away and long ago"], "scores": [1]} for row in ranked_rows(3)]
    config = make(data={"eval": []}, sample=sample, iterate={"rounds": 1, "keep": "provided"})
    flags = ("--model", json.loads(config.read_text())["model"]["path"], "--method", "greedy", "--responses", 1, "--max-new-tokens", 12)
    rrhf("sample", *flags, "--data", write_lines(tmp_path / "rows.jsonl", rows), "--out", tmp_path / "said.jsonl")
    write_lines(tmp_path / "train.jsonl", [{**row, "scores": [0, 1]} for row in read_lines(tmp_path / "said.jsonl")])
    result = rrhf("iterate", config)
    line = read_lines(tmp_path / "run" / "rounds.jsonl")[1]
    assert line["samples"] == {"rows": 0, "responses": 0, "mean": None, "best": None}
    assert line["trained_on"]["responses"] == 6
    assert result.stdout.splitlines()[-1].split()[:3] == ["1", "-", "-"]


# --- stopped and gone on ----------------------------------------------------------------------------------------------


def resumable(whole: tuple[Path, Path, str], tmp_path: Path) -> tuple[Path, Path]:
    """The config of the whole run, for another folder."""
    config = tmp_path / "config.json"
    run = tmp_path / "run"
    config.write_text(json.dumps({**json.loads(whole[0].read_text()), "output": str(run)}))
    return config, run


# What a kill before the end of each stage leaves: the products up to it, and nothing behind.
@pytest.mark.parametrize("stage", range(len(PRODUCTS) + 1))
@pytest.mark.parametrize("number", (1, 2))
def test_any_stage_is_gone_on_with(number: int, stage: int, whole: tuple[Path, Path, str], rrhf: Program, tmp_path: Path) -> None:
    config, run = resumable(whole, tmp_path)
    shutil.copytree(whole[1], run)
    for file in run.rglob("config.json"):  # of the run and its rounds, which name their folder
        file.write_text(file.read_text().replace(str(whole[1]), str(run)))
    for other in range(number + 1, 3):
        shutil.rmtree(run / f"round-{other:03}")
    folder = run / f"round-{number:03}"
    for product in PRODUCTS[stage:]:
        file = folder / product
        file.unlink()
        if "model" in product:
            (folder / "report.html").unlink()
            shutil.rmtree(folder / "model")
            shutil.rmtree(folder / "checkpoints")
    lost = [line for line in read_lines(run / "rounds.jsonl") if line["round"] < number]
    write_lines(run / "rounds.jsonl", lost)
    result = rrhf("iterate", config, "--resume")
    assert products(run) == products(whole[1]) and result.stdout == whole[2]
    first_done = ("sampling\n", "scoring", "training", "answering held-out", "sampling for held-out", "evaluating", "")[stage]
    assert f"round {number} of 2: {first_done}" in result.stderr or stage == len(PRODUCTS)
    assert "round 0" not in result.stderr


def test_killed_again_and_again(whole: tuple[Path, Path, str], build_dir: Path, rrhf: Program, tmp_path: Path) -> None:
    config, run = resumable(whole, tmp_path)
    draw = random.Random(4)
    command = [str(build_dir / "rrhf"), "iterate", str(config), "--resume"]
    for _ in range(12):
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.1, 0.8))
        process.kill()
        process.wait()
    result = rrhf("iterate", config, "--resume")
    assert products(run) == products(whole[1]) and result.stdout == whole[2]
    # all is done: nothing is done again
    again = rrhf("iterate", config, "--resume")
    assert again.stdout == whole[2] and "round" not in again.stderr.replace("round-002/model", "")


@pytest.mark.parametrize("what", ("sampling", "training"))
def test_ctrl_c(what: str, build_dir: Path, rrhf: Program, make: Config, tmp_path: Path) -> None:
    """In the middle of a stage: what is finished of it is kept."""
    rows = [{"query": f"{row['query']} {copy}"} for copy in range(30) for row in ranked_rows(8)]
    queries = str(write_lines(tmp_path / "many.jsonl", rows))
    sections = {"iterate": {"rounds": 1, "queries": queries}, "data": {"eval": []}, "sample": {"batch": 4}, "checkpoint": {"every_steps": 1000}}
    rrhf("iterate", make(**sections, output=str(tmp_path / "plain")))
    config, first = make(**sections), tmp_path / "run" / "round-001"
    process = subprocess.Popen([str(build_dir / "rrhf"), "iterate", str(config)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    begun = {"sampling": first / "sampled.jsonl.part", "training": first / "metrics.jsonl"}[what]
    wait_for(lambda: begun.exists() and begun.read_bytes().count(b"\n") > 5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and f"stopped in round 1 of 1, {what}; the same command with --resume" in errors, errors
    result = rrhf("iterate", config, "--resume")
    assert ("going on after" if what == "sampling" else "resumed  from") in result.stderr
    for name in PRODUCTS[:3]:
        assert (first / name).read_bytes() == (tmp_path / "plain" / "round-001" / name).read_bytes()


def test_more_rounds_and_other_settings(rrhf: Program, make: Config, tmp_path: Path) -> None:
    config = make(iterate={"rounds": 1})
    rrhf("iterate", config)
    again = rrhf("iterate", config, check=False)
    assert again.returncode == 2 and "--resume" in again.stderr
    other = rrhf("iterate", config, "--resume", "--set", "sample.temperature=0.5", check=False)
    assert other.returncode == 2 and "sample.temperature: the run has 1.0, now 0.5" in other.stderr
    result = rrhf("iterate", config, "--resume", "--set", "iterate.rounds=2", "--set", "sample.batch=2")
    assert "round 1 of" not in result.stderr and "round 2 of 2: sampling" in result.stderr
    assert len(read_lines(tmp_path / "run" / "rounds.jsonl")) == 3


@pytest.mark.parametrize("changed", ("rule.json", "train.jsonl", "held-out.jsonl"))
def test_files_that_changed(changed: str, whole: tuple[Path, Path, str], rrhf: Program, tmp_path: Path) -> None:
    config, run = whole[0], whole[1]
    file = config.parent / changed
    before, text = products(run), file.read_text()
    file.write_text(text + "\n")
    result = rrhf("iterate", config, "--resume", check=False)
    file.write_text(text)
    assert result.returncode == 2 and "has changed since" in result.stderr and str(file) in result.stderr
    assert products(run) == before


def test_two_at_once(build_dir: Path, rrhf: Program, make: Config, tmp_path: Path) -> None:
    config = make(train={"epochs": 400}, iterate={"rounds": 1})
    process = subprocess.Popen([str(build_dir / "rrhf"), "iterate", str(config)], stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    wait_for(lambda: (tmp_path / "run" / "round-001" / "metrics.jsonl").exists())
    second = rrhf("iterate", config, "--resume", check=False)
    process.kill()
    process.wait()
    assert second.returncode == 2 and "another process" in second.stderr


# --- refused ----------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no queries": ({"data": {"train": []}}, ("no queries", "iterate.queries", "data.train")),
    "no rewards": ({"score": {"rule": ""}}, ("nothing gives rewards", "score.rule", "score.reward_model")),
    "two kinds of rewards": ({"score": {"reward_model": "x"}}, ("both set",)),
    "one response alone": ({"sample": {"responses": 1}, "iterate": {"keep": "none"}}, ("sample.responses is 1", "no pair")),
    "more responses than beams": ({"sample": {"method": "beam", "responses": 5}}, ("5 answers", "4 beams")),
    "rows held out of the training rows": ({"data": {"eval_fraction": 0.5}}, ("data.eval_fraction", "iterate.eval_queries")),
    "a choice of responses": ({"data": {"responses": "sampled"}}, ("data.responses is sampled", "iterate.keep")),
    "a random model": ({"model": {"random_init": True}}, ("model.random_init",)),
    "no model": ({"model": {"path": ""}}, ("model.path is not set",)),
    "no rule file": ({"score": {"rule": "no/such.json"}}, ("no/such.json",)),
    "no reward model": ({"score": {"rule": "", "reward_model": "no/such"}}, ("no/such",)),
    "no query file": ({"iterate": {"queries": "no/such.txt"}}, ("no/such.txt",)),
    "no round": ({"iterate": {"rounds": 0}}, ("iterate.rounds", "at least 1")),
    "an unknown keep": ({"iterate": {"keep": "some"}}, ("none | provided | all",)),
    "an unknown preset": ({"sample": {"preset": "op"}}, ("none | dp | bp | sp",)),
    "a flag's spelling": ({"sample": {"max-new-tokens": 3}}, ("nearest: sample.max_new_tokens",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(name: str, rrhf: Program, make: Config, tmp_path: Path) -> None:
    sections, words = BAD[name]
    result = rrhf("iterate", make(**sections), check=False)
    assert result.returncode == 2 and result.stdout == "", result.stderr
    for word in words:
        assert word in result.stderr, (word, result.stderr)
    assert not (tmp_path / "run").exists()


def test_all_mistakes_are_named_together(rrhf: Program, make: Config) -> None:
    result = rrhf("iterate", make(data={"train": [], "eval_fraction": 0.1}, score={"rule": ""}), check=False)
    assert all(word in result.stderr for word in ("no queries", "nothing gives rewards", "data.eval_fraction"))


def test_one_response_and_none_provided(rrhf: Program, make: Config, tmp_path: Path) -> None:
    bare = write_lines(tmp_path / "bare.jsonl", [{"query": "The sun"}])
    result = rrhf("iterate", make(sample={"responses": 1}, iterate={"queries": str(bare)}), check=False)
    assert result.returncode == 2 and "no row of" in result.stderr and "bare.jsonl" in result.stderr


def test_a_prompt_without_room(rrhf: Program, make: Config, tmp_path: Path) -> None:
    long = write_lines(tmp_path / "long.jsonl", [{"query": "boat " * 600, "responses": ["a"], "scores": [1]}])
    for where in ("queries", "eval_queries"):
        result = rrhf("iterate", make(iterate={where: str(long)}), check=False)
        assert result.returncode == 2 and "long.jsonl:1" in result.stderr and not (tmp_path / "run").exists()


def test_a_round_whose_rows_all_tie(rrhf: Program, make: Config, tmp_path: Path) -> None:
    config = make(iterate={"keep": "none"})
    (tmp_path / "rule.json").write_text('{"rule": "length", "unit": "words", "max": 1000}')
    result = rrhf("iterate", config, check=False)
    assert result.returncode == 1 and "round 1: in every row of" in result.stderr and "nothing to rank" in result.stderr
    assert len(read_lines(tmp_path / "run" / "round-001" / "ranked.jsonl")) == 8
    # plain fine-tuning on the best needs no pairs
    rrhf("iterate", config, "--set", "objective.rank_loss=none", "--set", f"output={tmp_path / 'sft'}", "--set", "iterate.rounds=1")


def test_a_training_run_is_not_gone_on_with(rrhf: Program, make: Config) -> None:
    config = make()
    rrhf("train", config)
    result = rrhf("iterate", config, "--resume", check=False)
    assert result.returncode == 2 and "holds a run of rrhf train" in result.stderr


@pytest.mark.parametrize("flags", ((), ("--resume",)))
def test_an_iterated_run_is_not_trained_into(flags: tuple[str, ...], whole: tuple[Path, Path, str], rrhf: Program) -> None:
    config, run, _ = whole
    before = products(run)
    result = rrhf("train", config, *flags, check=False)
    assert result.returncode == 2 and "holds a run of rrhf iterate" in result.stderr and "add --resume" not in result.stderr
    assert products(run) == before and not (run / "metrics.jsonl").exists()


def test_several_processes_are_refused(build_dir: Path, make: Config) -> None:
    starter = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    command = [str(build_dir / "rrhf"), "iterate", str(make())]
    result = subprocess.run(command, env={**ENVIRONMENT, **starter}, capture_output=True, text=True)
    assert result.returncode == 2 and "iterate is one process" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_file(rrhf: Program, make: Config, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    result = rrhf("iterate", make(output=str(tmp_path / "locked" / "run")), check=False)
    assert result.returncode == 2 and "not writable" in result.stderr
