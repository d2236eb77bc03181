"""What the parity tests share beside program.py and reference.py: the probes and real rows."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Optional

import pytest
import torch

from program import THREADS, Program, build_dir, models, repo, rrhf, run_program, shared  # noqa: F401 (fixtures)
from reference import Row, read_rows, write_rows

torch.set_num_threads(int(THREADS))


@pytest.fixture(scope="session")
def gradient_probe(build_dir: Path) -> Program:
    return lambda *arguments, check=True: run_program(build_dir / "tests" / "gradient_probe", arguments, check)


@pytest.fixture(scope="session")
def tensor_probe(build_dir: Path) -> Program:
    return lambda path, check=True: run_program(build_dir / "tests" / "tensor_probe", (path,), check)


# --- real rows --------------------------------------------------------------------------------------------------------


def hh_row(chosen: str, rejected: str) -> Optional[Row]:
    """A dialogue pair as a ranked row: the query is what both share, up to the last "Assistant:"."""
    common = os.path.commonprefix([chosen, rejected])
    turn = "\n\nAssistant:"
    end = common.rfind(turn)
    if end < 0:
        return None
    end += len(turn)
    return {"query": common[:end], "responses": [chosen[end:], rejected[end:]], "scores": [1, 0]}


def hh_rows(shared: Path, count: int) -> list[Row]:
    with gzip.open(shared / "data" / "hh-harmless-base-test.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [hh_row(**json.loads(next(lines))) for _ in range(count)]
    return [row for row in rows if row]


def gpt4llm_rows(shared: Path, count: int) -> list[Row]:
    entries = json.loads((shared / "data" / "gpt4llm_comparison_v2_layout.json").read_text(encoding="utf-8"))[:count]
    return [
        {
            "query": entry["user_input"],
            "responses": [answer["response"] for answer in entry["responses_and_scores"]],
            "scores": [answer["score"] for answer in entry["responses_and_scores"]],
        }
        for entry in entries
    ]


def widened(row: Row, other: Row) -> Row:
    """A row of one response more: another query's answer, as one that is off the matter."""
    return {**row, "responses": row["responses"] + other["responses"][:1], "scores": row["scores"] + [-7.5]}


def first_responses(row: Row, count: int) -> Row:
    return {**row, "responses": row["responses"][:count], "scores": row["scores"][:count]}


@pytest.fixture(scope="session")
def mixed_rows(shared: Path) -> list[Row]:
    """40 real rows of four sources, k from 1 to 6 mixed; an empty response, ties and special tokens in the text."""
    alpaca = read_rows(shared / "data" / "alpaca_eval_k5.jsonl")
    vicuna = read_rows(shared / "data" / "vicuna80_k5.jsonl")
    hh, gpt4llm = hh_rows(shared, 40), gpt4llm_rows(shared, 40)
    rows: list[Row] = []
    for number in range(10):
        rows.append(first_responses(vicuna[3 * number], 1 + number % 5))
        rows.append(widened(alpaca[7 * number], alpaca[7 * number + 1]))
        rows.append(hh[number])
        rows.append(gpt4llm[number])
    query = rows[4]["query"] + " </s> and <s>"
    rows[4] = {"query": query, "responses": ["one </s> two", " \n"], "scores": [0, 1]}
    rows[8] = {**rows[8], "responses": ["", "Bonjour, ça va ? 你好 \U0001f600\n"], "scores": [1.5, 1.5]}
    rows = [
        {"query": row["query"], "responses": [text[:600] for text in row["responses"]], "scores": row["scores"]}
        for row in rows
    ]
    assert {len(row["responses"]) for row in rows} == {1, 2, 3, 4, 5, 6}
    return rows


@pytest.fixture(scope="session")
def mixed_file(mixed_rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "mixed.jsonl", mixed_rows)
