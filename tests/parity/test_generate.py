"""Decoding against transformers' generate(), token for token in float32.

Greedy, repetition penalty and beam search against the transformers of the other parity tests. Diverse beam search is no
longer in it: that part talks to transformers 4.44 in an environment of its own (RRHF_BEAM_PYTHON, .venv-parity-beam).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from program import ENVIRONMENT, run_program

FOLDERS = ["hf", "hf_mha"]
TEXTS = [
    "Once upon a time",
    "Lily and Tom went to the park. They saw a big",
    "The",
    "One day, a little bird named",
    "There was a dog. The dog was sad because he lost his ball, and the cat had it, and the",
    "",
    "Tom said, \"I want to play!\" His mom",
    "The sun was hot and the boy",
]
Answers = list[list[dict[str, Any]]]


@pytest.fixture(scope="module")
def probe(build_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Answers]:
    """Answers of the program to prompts of ids, a list a prompt."""
    folder = tmp_path_factory.mktemp("generate")

    def run(model: Path, prompts: list[list[int]], options: dict[str, Any], **more: Any) -> Answers:
        (folder / "requests.json").write_text(json.dumps({"prompts": prompts, "options": options, **more}))
        run_program(build_dir / "tests" / "generate_probe", (model, folder / "requests.json", folder / "out.jsonl"), True)
        return [json.loads(line)["answers"] for line in (folder / "out.jsonl").read_text().splitlines()]

    return run


def prompts_of(model: Path) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(model, use_fast=False)
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def peer_answers(model: Path, prompts: list[list[int]], **settings: Any) -> list[list[list[int]]]:
    """transformers' answers without EOS, a prompt at a time."""
    peer = AutoModelForCausalLM.from_pretrained(model, torch_dtype=torch.float32).eval()
    result = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = peer.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=2, eos_token_id=2, **settings)
        result.append([cut(row.tolist()[len(prompt) :]) for row in out])
    return result


def cut(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(2)] if 2 in tokens else tokens


def tokens_of(answers: Answers) -> list[list[list[int]]]:
    return [[answer["tokens"] for answer in each] for each in answers]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy(models: Path, probe: Callable[..., Answers], folder: str, penalty: float) -> None:
    prompts = prompts_of(models / folder)
    ours = probe(models / folder, prompts, {"max_new_tokens": 200, "repetition_penalty": penalty}, sequences=3)
    expected = peer_answers(models / folder, prompts, do_sample=False, max_new_tokens=200, repetition_penalty=penalty)
    assert tokens_of(ours) == expected
    assert {answer["ending"] for each in ours for answer in each} <= {"eos", "length"}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("length_penalty,penalty", [(1.0, 1.0), (0.0, 1.0), (2.0, 1.0), (1.0, 1.2)])
def test_beam(models: Path, probe: Callable[..., Answers], folder: str, length_penalty: float, penalty: float) -> None:
    prompts = prompts_of(models / folder)
    options = {"method": "beam", "beams": 4, "answers": 3, "max_new_tokens": 120}
    options |= {"length_penalty": length_penalty, "repetition_penalty": penalty}
    ours = probe(models / folder, prompts, options)
    expected = peer_answers(
        models / folder,
        prompts,
        do_sample=False,
        num_beams=4,
        num_return_sequences=3,
        max_new_tokens=120,
        length_penalty=length_penalty,
        repetition_penalty=penalty,
    )
    assert tokens_of(ours) == expected
