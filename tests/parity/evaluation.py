"""`rrhf eval --per-response` and the lines of a training held against transformers, as several parity tests do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

import torch

from program import Program
from reference import Encoded, Recorded, Row, Settings, Worst, losses, read_rows, response_logprobs, write_config

# Where the program computes, and transformers in the program's dtypes; what both are held against is the CPU's.
DEVICE = os.environ.get("RRHF_TEST_DEVICE", "cpu")

LOGPROB_LIMIT = {"float64": 1e-10, "float32": 1e-5}
# A difference of two nearly equal log-probs keeps their absolute error: losses are compared against 1 at least.
LOSS_SCALE = 1.0


def run_config(model: Path, settings: Settings, dtype: str) -> dict[str, Any]:
    return {"device": DEVICE, "model": {"path": str(model), "dtype": dtype}, **settings.config()}


def evaluate(rrhf: Program, tmp_path: Path, model: Path, data: Path, settings: Settings, dtype: str) -> list[Row]:
    """The lines of `rrhf eval --per-response`."""
    config = write_config(tmp_path / "eval.json", run_config(model, settings, dtype), {"data": {"eval": str(data)}})
    output = tmp_path / f"per_response_{dtype}.jsonl"
    rrhf("eval", config, "--per-response", output)
    return read_rows(output)


def compare_evaluation(
    lines: list[Row], queries: list[Optional[Encoded]], model: Any, settings: Settings, limit: float, what: str
) -> None:
    logprobs, scores, parts = (Worst(f"{what} {name}", limit) for name in ("log-probs", "scores", "losses"))
    assert [line["index"] for line in lines] == list(range(len(queries)))
    for line, query in zip(lines, queries):
        assert ("skipped" in line) == (query is None), line
        if query is None:
            continue
        where = f"row {query.index}"
        with torch.no_grad():
            sums = response_logprobs(model, query)
        expected = losses(query, sums, settings)
        assert line["prompt_tokens"] == len(query.prompt), where
        assert [response["tokens"] for response in line["responses"]] == list(map(len, query.responses)), where
        for place, response in enumerate(line["responses"]):
            logprobs.see(response["logprob"], sums[place].item(), f"{where} response {place}")
            scores.see(response["score"], expected.scores[place].item(), f"{where} response {place}")
        scale = max(LOSS_SCALE, expected.scores.abs().max().item())
        for name in ("rank_loss", "sft_loss", "loss"):
            weight = max(1.0, settings.rank_weight) if name == "loss" else 1.0
            parts.see(line[name], getattr(expected, name).item(), f"{where} {name}", at_least=scale * weight)
    for worst in (logprobs, scores, parts):
        worst.check()


def compare_metrics(lines: list[Row], records: list[Recorded], limit: float, what: str) -> None:
    steps = [line for line in lines if "event" not in line]
    assert len(steps) == len(records)
    loss, norm, rate = (Worst(f"{what} {name}", limit) for name in ("losses", "grad_norm", "learning_rate"))
    for number, (line, record) in enumerate(zip(steps, records)):
        for name in ("loss", "rank_loss", "sft_loss"):
            loss.see(line[name], getattr(record.step, name), f"step {number} {name}", at_least=LOSS_SCALE)
        norm.see(line["grad_norm"], record.grad_norm, f"step {number}")
        rate.see(line["learning_rate"], record.learning_rate, f"step {number}", at_least=1e-12)
    loss.check()
    norm.check()
    rate.check()
