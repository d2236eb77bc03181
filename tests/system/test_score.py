"""rrhf score: rewards by model, by rule, by another program and by log-probs."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from program import ENVIRONMENT, Program
from safetensors_file import read_file, write_file
from made_rows import ranked_rows, read_lines, write_lines

Row = dict[str, Any]


def write_rule(path: Path, rule: Any) -> Path:
    path.write_text(json.dumps(rule))
    return path


def refused(rrhf: Program, tmp_path: Path, *arguments: object, words: tuple[str, ...]) -> str:
    """The command ends with 2, says these words, and leaves neither OUT nor anything beside it."""
    before = set(tmp_path.iterdir())
    result = rrhf("score", *arguments, "--out", tmp_path / "out.jsonl", check=False)
    assert result.returncode == 2, (result.returncode, result.stderr)
    for word in words:
        assert word in result.stderr, (word, result.stderr)
    assert result.stdout == "" and "[internal]" not in result.stderr
    assert set(tmp_path.iterdir()) == before, "something was left behind"
    return result.stderr


LENGTH = {"rule": "length", "unit": "words", "min": 1, "max": 3}


# --- rules ------------------------------------------------------------------------------------------------------------


def test_the_quickstarts_reward_is_a_rule_file(rrhf: Program, repo: Path, tmp_path: Path) -> None:
    """The rows come back as they were, byte for byte but for JSON's spaces, and every pair keeps its order."""
    data, out, summary = repo / "data" / "quickstart" / "test.jsonl", tmp_path / "out.jsonl", tmp_path / "s.json"
    result = rrhf("score", "--rule", repo / "data" / "quickstart_reward.json", "--data", data, "--out", out,
                  "--json", summary)
    rows = read_lines(data)
    assert read_lines(out) == rows
    figures = json.loads(summary.read_text())
    scores = [score for row in rows for score in row["scores"]]
    assert figures["responses"] == len(scores) and figures["mean"] == pytest.approx(sum(scores) / len(scores))
    assert figures["mean_best"] == pytest.approx(sum(max(row["scores"]) for row in rows) / len(rows))
    assert figures["pair_accuracy"] == 1.0 and set(figures["groups"]) == {row["group"] for row in rows}
    upper, lower, total, *groups = result.stdout.splitlines()
    assert upper.endswith(" pair") and lower.endswith(" accuracy") and total.endswith(" 100.00 %") and len(groups) == len(figures["groups"])
    assert total.split()[:3] == ["all", str(len(rows)), str(len(scores))] and max(map(len, result.stdout.splitlines())) <= 100


def test_a_row_keeps_what_else_it_carries(rrhf: Program, tmp_path: Path) -> None:
    row = {"id": "a7", "query": "q", "answer": ["x"], "responses": ["one", "one two three four"], "group": "g"}
    data = write_lines(tmp_path / "data.jsonl", [row])
    rrhf("score", "--rule", write_rule(tmp_path / "r.json", LENGTH), "--data", data, "--out", tmp_path / "out.jsonl")
    (scored,) = read_lines(tmp_path / "out.jsonl")
    assert scored == {**row, "scores": [1.0, 0.0]}
    assert list(scored) == ["id", "query", "answer", "responses", "group", "scores"]


def test_other_layouts_come_out_as_ranked_rows(rrhf: Program, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "data.jsonl", [{"prompt": "p", "chosen": "a b c d", "rejected": "a", "lang": "en"}])
    rrhf("score", "--rule", write_rule(tmp_path / "r.json", LENGTH), "--data", data, "--out", tmp_path / "out.jsonl")
    assert read_lines(tmp_path / "out.jsonl") == [
        {"query": "p", "responses": ["a b c d", "a"], "scores": [0.0, 1.0], "lang": "en"}
    ]


def test_tokens_are_counted_with_a_tokenizer(rrhf: Program, repo: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "data.jsonl", [{"query": "q", "responses": ["pear", "pear, plum and fig"]}])
    rule = write_rule(tmp_path / "r.json", {"rule": "length", "unit": "tokens", "max": 3})
    refused(rrhf, tmp_path, "--rule", rule, "--data", data, words=("--tokenizer DIR",))
    rrhf("score", "--rule", rule, "--data", data, "--out", tmp_path / "out.jsonl",
         "--tokenizer", repo / "data" / "quickstart")
    assert read_lines(tmp_path / "out.jsonl")[0]["scores"] == [1.0, 0.0]


@pytest.mark.parametrize(
    "rule,words",
    [
        ({"rule": "lenght", "max": 3}, ('"lenght" is not a rule; nearest: length',)),
        ({"rule": "length", "maxx": 3, "min": 0}, ('"maxx" is not a key of rule length; nearest: max',)),
        ({"rule": "regex", "pattern": "(a"}, ("is not a regular expression", "missing closing parenthesis")),
        ({"rule": "exact", "field": "gold"}, ('data.jsonl:1: response 0: rule exact: the row has no "gold"',)),
        ({"rule": "regex", "pattern": "(o+)+$"}, ("data.jsonl:2: response 0", "gave up on a text")),
    ],
)
def test_a_rule_that_is_wrong(rule: Any, words: tuple[str, ...], rrhf: Program, tmp_path: Path) -> None:
    rows = [{"query": "q", "responses": ["a"]}, {"query": "q", "responses": ["o" * 60 + "b"]}]
    data = write_lines(tmp_path / "data.jsonl", rows)
    refused(rrhf, tmp_path, "--rule", write_rule(tmp_path / "r.json", rule), "--data", data, words=words)


# --- usage ------------------------------------------------------------------------------------------------------------


def test_one_source_is_needed(rrhf: Program, good_data: Path, tmp_path: Path) -> None:
    rule = write_rule(tmp_path / "r.json", LENGTH)
    refused(rrhf, tmp_path, "--data", good_data, words=("one of --reward-model, --rule, --merge and --model",))
    refused(rrhf, tmp_path, "--data", good_data, "--rule", rule, "--merge", rule, words=("given: --rule, --merge",))
    refused(rrhf, tmp_path, "--rule", rule, words=("score needs --data",))
    refused(rrhf, tmp_path, "--data", good_data, "--rule", rule, "--compare", words=("--compare writes nothing",))
    refused(rrhf, tmp_path, "--data", good_data, "--rule", tmp_path / "none.json", words=("none.json",))
    result = rrhf("score", "--data", good_data, "--rule", rule, check=False)
    assert result.returncode == 2 and "score needs --out" in result.stderr


@pytest.mark.parametrize("source, flag, takers", [
    ("--rule", ("--allow-missing",), "--merge"), ("--rule", ("--restart",), "--reward-model and --model"),
    ("--merge", ("--max-length", 40), "--reward-model and --model"), ("--model", ("--tokenizer", "x"), "--rule"),
])
def test_a_flag_of_another_source_is_refused(source: str, flag: tuple[object, ...], takers: str, rrhf: Program, good_data: Path,
                                             tmp_path: Path) -> None:
    rule = write_rule(tmp_path / "rule.json", 1)
    refused(rrhf, tmp_path, source, rule, "--data", good_data, *flag, words=(f"{flag[0]} goes with {takers}, not with {source}",))


def test_an_output_that_is_there_stays_unless_told(rrhf: Program, good_data: Path, tmp_path: Path) -> None:
    out, rule = tmp_path / "out.jsonl", write_rule(tmp_path / "r.json", LENGTH)
    out.write_text("precious")
    result = rrhf("score", "--rule", rule, "--data", good_data, "--out", out, check=False)
    assert result.returncode == 2 and "--force overwrites it" in result.stderr and out.read_text() == "precious"
    rrhf("score", "--rule", rule, "--data", good_data, "--out", out, "--force")
    assert len(read_lines(out)) == 23
    result = rrhf("score", "--rule", rule, "--data", good_data, "--out", tmp_path / "no" / "out", check=False)
    assert result.returncode == 2 and "no such folder" in result.stderr
    result = rrhf("score", "--rule", rule, "--data", good_data, "--out", rule, "--force", check=False)
    assert result.returncode == 2 and "would be written over" in result.stderr and json.loads(rule.read_text())


def test_a_reward_model_taken_for_a_llama(rrhf: Program, reward_model: Path, good_data: Path, tmp_path: Path) -> None:
    refused(rrhf, tmp_path, "--model", reward_model, "--data", good_data, words=("it is a reward model", "--reward-model"))


def test_compare_writes_nothing(rrhf: Program, good_data: Path, tmp_path: Path) -> None:
    rule = write_rule(tmp_path / "r.json", LENGTH)
    before = set(tmp_path.iterdir())
    assert rrhf("score", "--rule", rule, "--data", good_data, "--compare").stdout.splitlines()[-1].startswith("all ")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("content,words", [("", ("the file is empty",)), ("{\n", ("not JSON",)), ("[]", ("no row",)),
                                           ('{"query": "q"}', ("no known layout",))])
def test_data_that_are_broken(content: str, words: tuple[str, ...], rrhf: Program, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(content)
    refused(rrhf, tmp_path, "--rule", write_rule(tmp_path / "r.json", LENGTH), "--data", data, words=words)


# --- merge ------------------------------------------------------------------------------------------------------------


def test_merged_scores_of_another_program(rrhf: Program, good_data: Path, tmp_path: Path) -> None:
    """A scorer that knows only texts, and one that knows only numbers, in any order."""
    rows = read_lines(good_data)
    entries = [
        {"query": row["query"], "response": response, "score": len(response) / 7}
        for row in rows
        for response in row["responses"]
    ]
    random.Random(3).shuffle(entries)
    rrhf("score", "--merge", write_lines(tmp_path / "a.jsonl", entries), "--data", good_data, "--out", tmp_path / "a")
    expected = [{**row, "scores": [len(response) / 7 for response in row["responses"]]} for row in rows]
    assert read_lines(tmp_path / "a") == expected
    entries = [{"row": number, "scores": row["scores"]} for number, row in enumerate(expected)]
    rrhf("score", "--merge", write_lines(tmp_path / "b.jsonl", entries), "--data", good_data, "--out", tmp_path / "b")
    assert read_lines(tmp_path / "b") == expected


def test_all_that_does_not_fit_is_named(rrhf: Program, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "data.jsonl", [{"query": "q", "responses": ["a", "b", "c"], "writers": list("xyz")},
                                                {"query": "r", "responses": ["d"]}])
    entries = [
        {"row": 0, "response_index": 0, "score": 1}, {"row": 7, "response_index": 0, "score": 1},
        {"query": "r", "response": "e", "score": 1}, {"query": "s", "response": "d", "score": 1},
        {"query": "q", "response": "a", "score": 2}, {"row": 0, "response_index": 2, "score": 3},
    ]
    scores = write_lines(tmp_path / "scores.jsonl", entries)
    refused(rrhf, tmp_path, "--merge", scores, "--data", data, words=(
        "4 of 6 entries do not fit the data", "scores.jsonl:2: there is no row 7: the data have rows 0 to 1",
        'scores.jsonl:3: row 1 has no response "e"', 'scores.jsonl:4: no row has the query "s"',
        "scores.jsonl:5: gives response 0 of row 0 the score 2, ", "2 responses are left without a score",
        'data.jsonl:1: response 1 ("b")', 'data.jsonl:2: response 0 ("d")'))
    # Unknown entries stay an error when missing scores are allowed.
    refused(rrhf, tmp_path, "--merge", scores, "--data", data, "--allow-missing", words=("4 of 6 entries",))
    write_lines(scores, [entries[0], entries[5]])
    refused(rrhf, tmp_path, "--merge", scores, "--data", data, words=("2 responses are left without a score",))
    result = rrhf("score", "--merge", scores, "--data", data, "--out", tmp_path / "out", "--allow-missing")
    assert "2 responses have no score and are left out" in result.stderr
    assert read_lines(tmp_path / "out") == [{"query": "q", "responses": ["a", "c"], "writers": ["x", "z"],
                                             "scores": [1.0, 3.0]}]


# --- log-probs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def some_rows(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "rows.jsonl", ranked_rows(40, seed=5))


@pytest.mark.parametrize("settings", [(), ("data.encoding=released", "objective.normalization=padded"),
                                      ("objective.length_penalty=0.5", "data.template=alpaca")])
def test_log_probs_are_those_of_eval(settings: tuple[str, ...], rrhf: Program, models: Path, some_rows: Path,
                                     tmp_path: Path) -> None:
    sets = [word for setting in settings for word in ("--set", setting)]
    common = ["--model", models / "hf", "--data", some_rows, *sets]
    rrhf("eval", *common, "--per-response", tmp_path / "eval.jsonl", "--json", tmp_path / "eval.json")
    rrhf("score", *common, "--out", tmp_path / "out.jsonl", "--json", tmp_path / "score.json")
    for line, row in zip(read_lines(tmp_path / "eval.jsonl"), read_lines(tmp_path / "out.jsonl")):
        assert row["scores"] == pytest.approx([response["score"] for response in line["responses"]], rel=1e-5)
    accuracy = json.loads((tmp_path / "score.json").read_text())["pair_accuracy"]
    assert accuracy == pytest.approx(json.loads((tmp_path / "eval.json").read_text())["rank_accuracy"])


def test_rows_without_room_are_left_out(rrhf: Program, models: Path, tmp_path: Path) -> None:
    rows = [{"query": "red sun " * 40, "responses": ["a"]}, {"query": "sun", "responses": ["b", "sea"]}]
    data = write_lines(tmp_path / "data.jsonl", rows)
    result = rrhf("score", "--model", models / "hf", "--data", data, "--out", tmp_path / "out", "--max-length", 32)
    assert "1 of 2 rows have no score and are left out" in result.stderr and "data.jsonl:1" in result.stderr
    assert [row["query"] for row in read_lines(tmp_path / "out")] == ["sun"]


# --- reward models ----------------------------------------------------------------------------------------------------


def edit_tensors(folder: Path, **changes: Any) -> None:
    tensors = read_file(folder / "model.safetensors")
    del tensors["score.weight"]
    write_file(folder / "model.safetensors", {**tensors, **changes})


def test_packs_do_not_change_rewards(rrhf: Program, reward_model: Path, some_rows: Path, tmp_path: Path) -> None:
    common = ["--reward-model", reward_model, "--data", some_rows, "--set", "model.dtype=float64"]
    rrhf("score", *common, "--out", tmp_path / "a")
    rrhf("score", *common, "--out", tmp_path / "b", "--set", "train.tokens_per_pack=8")
    for one, other in zip(read_lines(tmp_path / "a"), read_lines(tmp_path / "b")):
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-9)
        assert len(set(one["scores"])) > 1


@pytest.mark.parametrize("how", [("--out", "out"), ("--compare",)])
def test_a_reward_that_is_no_number_is_named(how: tuple[str, ...], rrhf: Program, reward_model: Path, some_rows: Path,
                                             tmp_path: Path) -> None:
    edit_tensors(reward_model, **{"score.weight": ("F32", [1, 64], struct.pack("<64f", *[math.nan] * 64))})
    place = [tmp_path / word if word == "out" else word for word in how]
    result = rrhf("score", "--reward-model", reward_model, "--data", some_rows, *place, check=False)
    assert result.returncode == 1 and f"{some_rows}:1: the score of response 0 is not a finite number" in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


def test_a_summary_that_cannot_be_written_is_refused_at_once(rrhf: Program, reward_model: Path, some_rows: Path, tmp_path: Path) -> None:
    place = tmp_path / "no" / "summary.json"
    result = rrhf("score", "--reward-model", reward_model, "--data", some_rows, "--compare", "--json", place, check=False)
    assert result.returncode == 2 and str(tmp_path / "no") in result.stderr and result.stdout == ""


def test_cuts_are_counted(rrhf: Program, reward_model: Path, some_rows: Path, tmp_path: Path) -> None:
    result = rrhf("score", "--reward-model", reward_model, "--data", some_rows, "--out", tmp_path / "out",
                  "--max-length", 12)
    assert "sequences were cut on the left to 12 tokens" in result.stderr
    refused(rrhf, tmp_path, "--reward-model", reward_model, "--data", some_rows, "--max-length", 513, words=(
        "score.max_length 513 is beyond the reward model's 512 positions",))


def test_folders_that_are_no_reward_model(rrhf: Program, models: Path, reward_model: Path, some_rows: Path,
                                          tmp_path: Path) -> None:
    def check(folder: Path, *words: str) -> None:
        refused(rrhf, tmp_path, "--reward-model", folder, "--data", some_rows, words=words)

    check(models / "hf", "has no score head (score.weight [1, 64]", "language model", "--model takes its log-probs")
    check(tmp_path / "none", "no such model folder")
    head = ("F32", [1, 64], bytes(256))
    edit_tensors(reward_model, **{"v_head.summary.weight": head})
    check(reward_model, "has no score head", "value head", "--merge")
    (edit := read_file(reward_model / "model.safetensors")).pop("v_head.summary.weight")
    write_file(reward_model / "model.safetensors", edit)
    check(reward_model, "has no score head", "without any head")
    write_file(reward_model / "model.safetensors", {**edit, "score.weight": ("F32", [3, 64], bytes(768))})
    check(reward_model, "score.weight is [3, 64]", "classifier of several labels")
    write_file(reward_model / "model.safetensors", {**edit, "score.weight": head, "score.bias": ("F32", [1], bytes(4))})
    check(reward_model, "not part of a LLaMA of this config: score.bias")
    write_file(reward_model / "model.safetensors", {**edit, "score.weight": head})
    (reward_model / "tokenizer.model").rename(tmp_path / "tokenizer.model")
    check(reward_model, "tokenizer.model")
    config = json.loads((reward_model / "config.json").read_text())
    (reward_model / "config.json").write_text(json.dumps({**config, "model_type": "gptj"}))
    check(reward_model, "is a gptj model", "--merge", "docs/rewards.md")


# --- going on after a failure -----------------------------------------------------------------------------------------


def interrupted(build_dir: Path, part: Path, arguments: list[object]) -> str:
    """Starts the program and stops it once some rows are finished."""
    process = subprocess.Popen([str(build_dir / "rrhf"), *map(str, arguments)], stderr=subprocess.PIPE, text=True,
                               stdout=subprocess.PIPE, env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if part.exists() and part.read_bytes().count(b"\n") > 3:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, (process.returncode, stderr)
    return stderr


@pytest.fixture
def many_rows(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "many.jsonl", ranked_rows(1500, seed=9))


@pytest.mark.parametrize("source", ["--model", "--reward-model"])
def test_what_was_finished_stays(source: str, rrhf: Program, build_dir: Path, models: Path, reward_model: Path,
                                 many_rows: Path, tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    folder = models / "hf" if source == "--model" else reward_model
    arguments: list[object] = ["score", source, folder, "--data", many_rows, "--out", out]
    assert "the same command goes on from there" in interrupted(build_dir, part, arguments)
    assert not out.exists()
    finished = len(part.read_text().splitlines()) - 1
    assert 0 < finished < 1500

    # Another setting, or other data, may not be mixed in.
    result = rrhf(*arguments, "--max-length", 40, check=False)
    assert result.returncode == 2 and "max_length: 512 then, 40 now" in result.stderr
    assert len(part.read_text().splitlines()) - 1 == finished

    with part.open("a") as torn:
        torn.write('{"row": ')
    result = rrhf(*arguments)
    assert f"going on after {finished:,} of 1,500 rows" in result.stderr
    assert not part.exists()
    rrhf(*arguments[:-1], tmp_path / "at_once.jsonl")
    for one, other in zip(read_lines(out), read_lines(tmp_path / "at_once.jsonl"), strict=True):
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-4, abs=1e-4)


def test_rows_read_in_another_format_are_not_mixed_in(rrhf: Program, models: Path, some_rows: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.part").write_text('{"format": "hh"}\n{"row": 0, "result": [1, 2]}\n')
    result = rrhf("score", "--model", models / "hf", "--data", some_rows, "--out", tmp_path / "out.jsonl", check=False)
    assert result.returncode == 2 and 'format: "hh" then, "auto" now' in result.stderr


def test_an_error_keeps_what_was_finished(rrhf: Program, build_dir: Path, models: Path, many_rows: Path,
                                          tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    folder = tmp_path / "model"
    shutil.copytree(models / "hf", folder, copy_function=shutil.copyfile)
    arguments: list[object] = ["score", "--model", folder, "--data", many_rows, "--out", out]
    interrupted(build_dir, part, arguments)
    kept = part.read_text()
    os.chmod(folder, 0o755)
    tokenizer = (folder / "tokenizer.model").read_bytes()
    (folder / "tokenizer.model").unlink()
    result = rrhf(*arguments, check=False)
    assert result.returncode == 2 and "tokenizer.model" in result.stderr and part.read_text() == kept
    (folder / "tokenizer.model").write_bytes(tokenizer)  # a file of another time: is it the same model?
    result = rrhf(*arguments, check=False)
    assert result.returncode == 2 and "file tokenizer.model: {" in result.stderr and part.read_text() == kept
    rrhf(*arguments, "--restart")
    assert len(read_lines(out)) == 1500 and not part.exists()
