"""rrhf eval: which rows it looks at, what it says of them, and that its figures hang on nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest

from program import Program

Config = Callable[..., Path]


def test_an_evaluation_of_several_files(rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(good_data.read_text().splitlines(keepends=True)[:4]))
    rrhf("eval", make_config(), "--data", good_data, "--data", other, "--json", tmp_path / "both.json")
    assert json.loads((tmp_path / "both.json").read_text())["queries"] == 23 + 4


def test_the_table_of_an_evaluation_stays_in_columns(rrhf: Program, make_config: Config, good_data: Path) -> None:
    rows = [json.loads(line) for line in good_data.read_text().splitlines()]
    rows[0]["group"] = "a group whose name is longer than the column"
    good_data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = rrhf("eval", make_config(), "--data", good_data).stdout.splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1, lines


def test_the_table_of_an_evaluation_fits_a_terminal(rrhf: Program, make_config: Config, good_data: Path) -> None:
    upper, lower, total = rrhf("eval", make_config(), "--data", good_data).stdout.splitlines()
    assert max(map(len, (upper, lower, total))) <= 80
    assert upper.split() == ["ranking", "mean", "perplexity", "rank", "SFT"]
    assert lower.split() == ["queries", "accuracy", "margin", "(best)", "loss", "loss", "loss"] and total.split()[:2] == ["all", "23"]


def test_equal_responses_are_never_ordered(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """At other places of a pack their log-probs have other last digits; the better of the two must not win by these."""
    rows = [
        {"query": f"tell me {i}", "responses": ["once upon a time", "there was a dog " * (i % 5), "once upon a time"], "scores": [1, 3, 2]}
        for i in range(30)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = []
    for tokens in (30, 5000):
        out, lines = tmp_path / "eval.json", tmp_path / "lines.jsonl"
        settings = ("--set", "model.dtype=float64", "--set", f"train.tokens_per_pack={tokens}")
        rrhf("eval", make_config(), "--data", tmp_path / "rows.jsonl", "--json", out, "--per-response", lines, *settings)
        for line in lines.read_text().splitlines():
            first, _, last = json.loads(line)["responses"]
            assert first == last
        results.append(json.loads(out.read_text()))
    assert results[0]["rank_accuracy"] == results[1]["rank_accuracy"]
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-12)


def test_skipped_rows_are_named(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    rows = [{"query": "word " * (300 if i < 25 else 1), "responses": ["a", "b"], "scores": [1, 2]} for i in range(26)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = rrhf("eval", make_config(), "--data", tmp_path / "rows.jsonl").stderr
    assert "25 rows of the data skipped:" in said and "and 5 more" in said
    for line in range(1, 21):
        assert f"  {tmp_path / 'rows.jsonl'}:{line}: " in said


def test_rows_that_are_left_out_are_said(rrhf: Program, make_config: Config, good_data: Path) -> None:
    """data.eval is evaluated alone; a run evaluates what data.eval_fraction holds out beside it."""
    config = make_config(data={"eval_fraction": 0.3, "eval": str(good_data)})
    result = rrhf("eval", config)
    assert "those that data.eval_fraction holds out of data.train are left out" in result.stderr
    assert " 23 " in result.stdout
    assert "left out" not in rrhf("eval", make_config(data={"eval": str(good_data)})).stderr


def test_lengths_beyond_what_a_number_holds(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    row = {"query": "a", "responses": ["b", "once upon a time there was a dog"], "scores": [1, 2]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    result = rrhf("eval", make_config(), "--data", tmp_path / "rows.jsonl", "--set", "objective.length_penalty=-400", check=False)
    assert result.returncode == 2 and "objective.length_penalty -400" in result.stderr


def test_a_model_trained_with_another_bos(rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    rrhf("train", make_config(recipe="released", data={"bos_token": "eos"}))
    other = make_config("other", recipe="released", model={"path": str(tmp_path / "run" / "model")})
    words = "was trained with data.bos_token eos, model is used here"
    assert words in rrhf("eval", other, "--data", good_data).stderr
    assert words in rrhf("train", other).stderr
    assert words not in rrhf("eval", other, "--data", good_data, "--set", "data.bos_token=eos").stderr
