"""`rrhf sample`: responses of a model added to the rows of a file."""

from __future__ import annotations

import gzip
import json
import math
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from made_rows import read_lines, write_lines
from program import ENVIRONMENT, Program, copy_of, refused, wait_for

ROWS: list[dict[str, Any]] = [
    {"query": "Once upon a time", "responses": ["a", "b"], "scores": [1, 0.5], "id": "x1", "group": "g"},
    {"query": "The sun"},
    {"query": "Lily and Tom", "responses": [], "reference": 4},
    {"query": "One day", "responses": ["c"], "sources": ["ann"], "scores": None},
    {"query": "The cat", "responses": ["c", "d"], "scores": [None, 2], "writers": ["ann", "bob"]},
]
SHORT = ("--max-new-tokens", 12)


@pytest.fixture
def model(models: Path) -> Path:
    return models / "hf"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "rows.jsonl", ROWS)


def test_responses_are_appended_unscored_with_their_writer(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = rrhf("sample", "--model", model, "--data", data, "--out", out, "--responses", 2, *SHORT, "--writer", "me")
    lines = read_lines(out)
    assert [line["query"] for line in lines] == [row["query"] for row in ROWS]
    new = [line["responses"][-2:] for line in lines]
    assert all(all(isinstance(text, str) and text for text in texts) for texts in new)
    assert [line["responses"][:-2] for line in lines] == [["a", "b"], [], [], ["c"], ["c", "d"]]
    assert [line["scores"] for line in lines] == [
        [1, 0.5, None, None],
        [None, None],
        [None, None],
        [None, None, None],
        [None, 2, None, None],
    ]
    assert [line.get("writers", line.get("sources")) for line in lines] == [
        ["", "", "me", "me"],
        ["me", "me"],
        ["me", "me"],
        ["ann", "me", "me"],
        ["ann", "bob", "me", "me"],
    ]
    assert lines[0]["id"] == "x1" and lines[0]["group"] == "g" and lines[2]["reference"] == 4
    assert "sources" in lines[3] and "writers" not in lines[3]
    assert "10 answers to 5 rows" in result.stderr and result.stdout == ""


def test_unscored_rows_are_told_clearly(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rrhf("sample", "--model", model, "--data", data, "--out", out, "--responses", 2, *SHORT)
    result = rrhf("data", "validate", out, check=False)
    assert result.returncode == 2
    assert f'{out}:1   error: "scores"[2] is null: not scored yet; rrhf score gives' in result.stdout
    scored = [{**line, "scores": list(range(len(line["scores"])))} for line in read_lines(out)]
    rrhf("data", "validate", write_lines(tmp_path / "scored.jsonl", scored))


def test_the_presets_are_the_methods_they_name(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    def sampled(name: str, *flags: object) -> list[dict[str, Any]]:
        out = tmp_path / f"{name}.jsonl"
        rrhf("sample", "--model", model, "--data", data, "--out", out, "--writer", "w", *flags, *SHORT)
        return read_lines(out)

    dp = sampled("dp", "--preset", "dp")
    assert dp == sampled("spelled", "--method", "diverse-beam", "--beams", 4, "--groups", 4, "--diversity", 1, "--responses", 4)
    assert dp == sampled("default")
    bp = sampled("bp", "--preset", "bp")
    assert bp == sampled("bp2", "--method", "beam", "--beams", 4)
    sp = sampled("sp", "--preset", "sp")
    assert sp == sampled("sp2", "--method", "top-p", "--top-p", 0.9, "--temperature", 0.8)
    assert len({json.dumps(lines) for lines in (dp, bp, sp)}) == 3
    assert all(len(line["responses"]) == len(row.get("responses", [])) + 4 for line, row in zip(dp, ROWS))
    # four groups of one beam: the first is greedy decoding
    greedy = sampled("greedy", "--method", "greedy", "--responses", 1)
    assert all(line["responses"][-1] in diverse["responses"][-4:] for line, diverse in zip(greedy, dp))


def test_a_preset_keeps_the_last_256_tokens(rrhf: Program, model: Path, tmp_path: Path) -> None:
    long = "boat " * 300 + "The sun"
    data = write_lines(tmp_path / "long.jsonl", [{"query": long}])
    result = rrhf("sample", "--model", model, "--data", data, "--out", tmp_path / "a", "--preset", "sp", *SHORT)
    assert "1 prompt is cut to the last 256 tokens" in result.stderr
    whole = rrhf("sample", "--model", model, "--data", data, "--out", tmp_path / "b", *SHORT, check=False)
    assert whole.returncode == 2 and "long.jsonl:1" in whole.stderr and "--max-prompt-tokens" in whole.stderr


def test_flags_without_effect_are_warned_of(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    command = ("sample", "--model", model, "--data", data, "--overwrite", "--out", tmp_path / "out.jsonl", *SHORT)
    warned = rrhf(*command, "--temperature", 0.5, "--beams", 4).stderr
    assert "--temperature is of --method top-p; diverse-beam takes no notice of it" in warned and "--beams is" not in warned
    # a preset's own settings are nobody's mistake
    assert "no notice" not in rrhf(*command, "--preset", "sp").stderr
    assert "no notice" not in rrhf(*command, "--preset", "bp").stderr


def test_places_and_duplicates(rrhf: Program, model: Path, tmp_path: Path) -> None:
    """With two tokens at a temperature near 0 all samples are one text."""
    flags = ("--method", "top-p", "--temperature", 1e-4, "--max-new-tokens", 2, "--writer", "w")
    data = write_lines(tmp_path / "rows.jsonl", ROWS[:2])
    all_of, one_of = tmp_path / "all.jsonl", tmp_path / "one.jsonl"
    rrhf("sample", "--model", model, "--data", data, "--out", all_of, "--first", *flags)
    first = read_lines(all_of)[0]
    text = first["responses"][0]
    assert first["responses"] == [text] * 4 + ["a", "b"] and first["scores"] == [None] * 4 + [1, 0.5]
    assert first["writers"] == ["w"] * 4 + ["", ""]
    result = rrhf("sample", "--model", model, "--data", data, "--out", one_of, "--unique", *flags)
    assert [line["responses"] for line in read_lines(one_of)] == [["a", "b", text], [read_lines(all_of)[1]["responses"][0]]]
    assert "6 responses left out that their row had already" in result.stderr
    # what is there already is not taken again
    again = tmp_path / "again.jsonl"
    rrhf("sample", "--model", model, "--data", one_of, "--out", again, "--unique", *flags)
    assert again.read_text() == one_of.read_text()


def test_other_layouts_become_rrhf_rows(rrhf: Program, model: Path, tmp_path: Path) -> None:
    hh = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: No.", "id": 3}
    v2 = [{"user_input": "Hi", "responses_and_scores": [{"response": "Ho", "source": "opt", "score": 7}]}]
    (tmp_path / "hh.jsonl.gz").write_bytes(gzip.compress((json.dumps(hh) + "\n").encode()))
    (tmp_path / "v2.json").write_text(json.dumps(v2))
    (tmp_path / "plain.txt").write_text("Hi\n")
    lines = {}
    for name in ("hh.jsonl.gz", "v2.json", "plain.txt"):
        out = tmp_path / f"{name}.out"
        flags = ("--responses", 1, "--writer", "w", *SHORT)
        rrhf("sample", "--model", model, "--data", tmp_path / name, "--out", out, *flags)
        (lines[name],) = read_lines(out)
    row = lines["hh.jsonl.gz"]
    assert row["query"] == "\n\nHuman: Hi\n\nAssistant:" and row["id"] == 3 and "chosen" not in row
    assert row["responses"][:2] == [" Hello!", " No."] and row["scores"] == [1, 0, None]
    assert lines["v2.json"]["writers"] == ["opt", "w"] and lines["v2.json"]["scores"] == [7, None]
    assert lines["plain.txt"]["query"] == "Hi" and lines["plain.txt"]["scores"] == [None]


def test_the_writer_is_folder_and_method(rrhf: Program, model: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", ROWS[1:2])
    run_model = copy_of(model, tmp_path / "my-run" / "model")
    for folder, writer in ((model, "hf diverse-beam"), (run_model, "my-run/model diverse-beam")):
        rrhf("sample", "--model", folder, "--data", data, "--out", tmp_path / "out", "--overwrite", *SHORT)
        assert read_lines(tmp_path / "out")[0]["writers"] == [writer] * 4


def test_an_interrupted_run_goes_on(rrhf: Program, build_dir: Path, model: Path, tmp_path: Path) -> None:
    rows = [{"query": f"{row['query']} {number}"} for number in range(30) for row in ROWS]
    data = write_lines(tmp_path / "many.jsonl", rows)
    command = ("sample", "--model", model, "--data", data, "--preset", "sp", "--batch", 8)
    rrhf(*command, "--out", tmp_path / "whole.jsonl")
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    running = subprocess.Popen(
        [str(build_dir / "rrhf"), *map(str, command), "--out", str(out)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    wait_for(lambda: part.exists() and part.read_bytes().count(b"\n") > 5)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1 and "the same command goes on from there" in errors, errors
    rrhf(*command, "--out", out)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not part.exists()


def test_a_part_of_other_rows_is_refused(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    """The rows changed after an interruption: what was sampled belongs to other rows."""
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    command = ("sample", "--model", model, "--data", data, "--out", out, *SHORT)
    first = '{"data-sha256": "of other rows"}\n'
    part.write_text(first + '{"row": 0, "line": {"query": "stale"}}\n')
    result = rrhf(*command, check=False)
    assert result.returncode == 2 and "other settings" in result.stderr
    assert 'data-sha256: "of other rows" then' in result.stderr and "--overwrite" in result.stderr
    rrhf(*command, "--overwrite")
    assert "stale" not in out.read_text() and len(read_lines(out)) == len(ROWS)
    # a run that had finished nothing stands in nobody's way
    out.unlink()
    part.write_text(first)
    rrhf(*command)


def test_rows_read_in_another_format_are_not_mixed_in(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    part = tmp_path / "out.jsonl.part"
    part.write_text('{"format": "hh"}\n{"row": 0, "line": {"query": "stale"}}\n')
    result = rrhf("sample", "--model", model, "--data", data, "--out", tmp_path / "out.jsonl", *SHORT, check=False)
    assert result.returncode == 2 and 'format: "hh" then, "auto" now' in result.stderr


def test_two_runs_do_not_write_one_output(rrhf: Program, build_dir: Path, model: Path, tmp_path: Path) -> None:
    rows = [{"query": f"{row['query']} {number}"} for number in range(300) for row in ROWS]
    data = write_lines(tmp_path / "many.jsonl", rows)
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    command = ("sample", "--model", model, "--data", data, "--out", out, "--preset", "sp")
    running = subprocess.Popen([str(build_dir / "rrhf"), *map(str, command)], stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        wait_for(lambda: part.exists() and part.read_bytes().count(b"\n") > 2)
        for flags in (("--seed", 7), ("--seed", 7, "--overwrite"), ()):
            second = rrhf(*command, *flags, check=False)
            assert second.returncode == 2 and f"{part}: another run is at work on it" in second.stderr, second.stderr
        assert running.poll() is None and part.exists()
    finally:
        running.kill()
        running.wait()


def test_nothing_is_left_where_the_weights_are_missing(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    hollow = copy_of(model, tmp_path / "hollow")
    (hollow / "model.safetensors").unlink()
    result = rrhf("sample", "--model", hollow, "--data", data, "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, "hollow")
    assert not list(tmp_path.glob("*.part"))


GOOD = '{"query": "a", "responses": ["b"], "scores": [1]}\n'
BAD_DATA = {
    "no query": (GOOD + '{"question": "a"}\n', ("bad:2", "no \"query\"", "question")),
    "responses that are no list": (GOOD + '{"query": "a", "responses": "b"}\n', ("bad:2", "responses", "array")),
    "fewer scores": (GOOD + GOOD.replace("[1]", "[1, 2]"), ("bad:2", "an array of 2", "1 responses")),
    "a score in quotes": (GOOD.replace("[1]", '["1"]'), ("bad:1", "a string", "number or null")),
    "fewer writers": (GOOD.replace("}", ', "writers": ["x", "y"]}'), ("bad:1", "2 names for 1 responses")),
    "broken JSON": (GOOD + GOOD[:20], ("bad:2", "not JSON")),
    "nothing": ("", ("bad", "empty")),
    "an empty array": ("[]", ("bad", "no row")),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(rrhf: Program, model: Path, tmp_path: Path, name: str) -> None:
    text, words = BAD_DATA[name]
    (tmp_path / "bad").write_text(text)
    result = rrhf("sample", "--model", model, "--data", tmp_path / "bad", "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, *words)


BAD_FLAGS = {
    "more responses than beams": (("--responses", 6), ("6 answers a prompt are more than 4 beams",)),
    "several greedy ones": (("--method", "greedy"), ("greedy", "not 4")),
    "no response": (("--responses", 0), ("--responses 0", "from 1 on")),
    "an unknown preset": (("--preset", "op"), ("--preset op", "dp, bp, sp")),
    "an unknown format": (("--format", "xml"), ("--format xml", "gpt4llm")),
    "an unknown template": (("--template", "vicuna"), ("vicuna", "alpaca-split")),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_bad_flags(rrhf: Program, model: Path, data: Path, tmp_path: Path, name: str) -> None:
    flags, words = BAD_FLAGS[name]
    result = rrhf("sample", "--model", model, "--data", data, "--out", tmp_path / "out", *flags, check=False)
    refused(result, tmp_path, *words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_file(rrhf: Program, model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    result = rrhf("sample", "--model", model, "--data", data, "--out", tmp_path / "locked" / "out", check=False)
    refused(result, tmp_path, "locked", "not writable")


@pytest.mark.parametrize("row,word", [({"scores": [math.nan, 1]}, "/scores/0 is NaN"), ({"input": math.nan}, "/input is NaN")])
def test_a_row_that_json_cannot_hold_is_refused_at_once(row: dict[str, Any], word: str, rrhf: Program, model: Path, tmp_path: Path) -> None:
    rows = [{"query": "a"}, {"query": "b", "responses": ["c", "d"], **row}]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))  # as Python writes it: NaN
    result = rrhf("sample", "--model", model, "--data", data, "--out", tmp_path / "out", *SHORT, check=False)
    refused(result, tmp_path, f"{data}:2", word)
