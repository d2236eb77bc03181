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
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

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


# --- diverse beam search ----------------------------------------------------------------------------------------------

DIVERSE = [
    {"beams": 4, "groups": 4, "diversity": 1.0, "answers": 4, "max_new_tokens": 100},  # the release's sampling (DP)
    {"beams": 6, "groups": 3, "diversity": 0.5, "answers": 5, "max_new_tokens": 70},
    {"beams": 6, "groups": 2, "diversity": 2.0, "answers": 6, "max_new_tokens": 60, "length_penalty": 0.3},
    {"beams": 4, "groups": 2, "diversity": 1.0, "answers": 4, "max_new_tokens": 40, "repetition_penalty": 1.3},
]
PEER_NAMES = {"beams": "num_beams", "groups": "num_beam_groups", "diversity": "diversity_penalty", "answers": "num_return_sequences"}


@pytest.fixture(scope="session")
def beam_python(repo: Path) -> Path:
    python = Path(os.environ.get("RRHF_BEAM_PYTHON", repo / ".venv-parity-beam" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no {python}: tools/test makes it (transformers 4.44, the last with diverse beam search)")
    return python


@pytest.mark.parametrize("folder", FOLDERS)
def test_diverse_beam(models: Path, probe: Callable[..., Answers], beam_python: Path, tmp_path: Path, folder: str) -> None:
    prompts = prompts_of(models / folder)[:5]
    # Where a group has ended, transformers goes on choosing the padding token: EOS, for a model without one.
    settings = [{PEER_NAMES.get(name, name): value for name, value in case.items()} | {"pad_token_id": 2} for case in DIVERSE]
    beams = [{"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 60, "pad_token_id": 2}]
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"model": str(models / folder), "prompts": prompts, "settings": settings + beams}))
    peer = subprocess.run(
        [beam_python, Path(__file__).with_name("beam_peer.py"), request], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert peer.returncode == 0, peer.stderr[-3000:]
    cases = [{"method": "diverse-beam", **case} for case in DIVERSE]
    cases.append({"method": "beam", "beams": 4, "answers": 4, "max_new_tokens": 60})
    for case, expected in zip(cases, json.loads(peer.stdout), strict=True):
        assert tokens_of(probe(models / folder, prompts, case)) == expected, case


# --- sampling ---------------------------------------------------------------------------------------------------------

SAMPLES = 6000
SAMPLING = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.6, "top_k": 12},
    {"top_p": 0.8},
    {"temperature": 1.3, "top_k": 40, "top_p": 0.9},
    {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.5},
]


def first_token_probabilities(model: Path, prompt: list[int], options: dict[str, Any]) -> torch.Tensor:
    """By transformers' own processors, in its order."""
    peer = AutoModelForCausalLM.from_pretrained(model, torch_dtype=torch.float32).eval()
    ids = torch.tensor([prompt])
    with torch.no_grad():
        scores = peer(ids).logits[:, -1].double()
    if "repetition_penalty" in options:
        scores = RepetitionPenaltyLogitsProcessor(options["repetition_penalty"])(ids, scores)
    scores = scores / options.get("temperature", 1.0)
    if "top_k" in options:
        scores = TopKLogitsWarper(options["top_k"])(ids, scores)
    if "top_p" in options:
        scores = TopPLogitsWarper(options["top_p"])(ids, scores)
    return torch.softmax(scores, -1)[0]


def chi_square(counts: Counter, probabilities: torch.Tensor, samples: int) -> tuple[float, int]:
    """The statistic and its degrees of freedom; tokens expected fewer than five times are one bin together."""
    expected = {token: samples * p for token, p in enumerate(probabilities.tolist()) if samples * p >= 5}
    bins = [(counts[token], mean) for token, mean in expected.items()]
    rest = samples - sum(expected.values())
    if rest >= 5:
        bins.append((samples - sum(count for count, _ in bins), rest))
    return sum((count - mean) ** 2 / mean for count, mean in bins), len(bins) - 1


def chi_square_limit(freedom: int) -> float:
    """Exceeded by chance once in 10,000 times (Wilson and Hilferty 1931)."""
    return freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize("options", SAMPLING, ids=str)
def test_first_tokens_are_drawn_with_their_probabilities(
    models: Path, probe: Callable[..., Answers], options: dict[str, Any]
) -> None:
    model = models / "hf"
    prompt = prompts_of(model)[1]
    settings = {"method": "top-p", "answers": SAMPLES, "max_new_tokens": 1, **options}
    answers = probe(model, [prompt], settings)[0]
    counts = Counter((answer["tokens"] or [2])[0] for answer in answers)
    probabilities = first_token_probabilities(model, prompt, options)
    assert all(probabilities[token] > 0 for token in counts), "a token that the filters leave out was drawn"
    statistic, freedom = chi_square(counts, probabilities, SAMPLES)
    assert freedom >= 3
    assert statistic < chi_square_limit(freedom), (statistic, freedom)
    uniform = torch.full_like(probabilities, 1 / len(probabilities))
    assert chi_square(counts, uniform, SAMPLES)[0] > 10 * chi_square_limit(freedom), "the test can fail"
    plain = first_token_probabilities(model, prompt, {}).log()
    for answer in answers[:500]:
        token = (answer["tokens"] or [2])[0]
        assert answer["logprob"] == pytest.approx(plain[token].item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("folder", FOLDERS)
def test_logits_with_the_cache_are_those_without(models: Path, probe: Callable[..., Answers], folder: str) -> None:
    """Log-probs of whole draws, summed token by token on the cache, beside transformers reading them at once without one."""
    prompts = prompts_of(models / folder)
    peer = AutoModelForCausalLM.from_pretrained(models / folder, torch_dtype=torch.float32).eval()
    draws = probe(models / folder, prompts, {"method": "top-p", "answers": 3, "max_new_tokens": 150}, sequences=5)
    for prompt, answers in zip(prompts, draws):
        for answer in answers:
            labels = answer["tokens"] + [2] * (answer["ending"] == "eos")
            with torch.no_grad():
                logits = peer(torch.tensor([prompt + labels]), use_cache=False).logits[0, len(prompt) - 1 : -1].double()
            expected = torch.log_softmax(logits, -1)[range(len(labels)), labels].sum().item()
            assert answer["logprob"] == pytest.approx(expected, abs=1e-5 * len(labels), rel=0)


def test_text_is_that_of_the_tokenizer(models: Path, probe: Callable[..., Answers]) -> None:
    model = models / "hf"
    tokenizer = AutoTokenizer.from_pretrained(model, use_fast=False)
    prompts = prompts_of(model)
    plain = probe(model, prompts, {"max_new_tokens": 80})
    stopped = probe(model, prompts, {"max_new_tokens": 80, "stop": ["the", "Tom."]})
    for whole, cut_short in zip(plain, stopped):
        text = tokenizer.decode(whole[0]["tokens"], skip_special_tokens=True)
        assert whole[0]["text"] == text
        begins = [place for place in (text.find("the"), text.find("Tom.")) if place >= 0]
        assert cut_short[0]["text"] == (text[: min(begins)] if begins else text)
        assert (cut_short[0]["ending"] == "stop") == bool(begins)
        assert cut_short[0]["tokens"] == whole[0]["tokens"][: len(cut_short[0]["tokens"])]
