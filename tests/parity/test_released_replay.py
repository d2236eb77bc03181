"""The released run replayed: eight ranks, their permutations, what an epoch carries over, the schedule.

An independent re-implementation over transformers and `rrhf train` with the recipe `released` take the same steps on
all rows of a real data file; the losses of the first 50 are compared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from program import Program
from reference import (
    Encoded,
    Recorded,
    Row,
    Settings,
    StepResult,
    Tokens,
    Worst,
    encode_all,
    load_model,
    losses,
    read_rows,
    recipe,
    released_steps,
    schedule_factor,
    train,
    write_config,
    write_rows,
)

SETTINGS = recipe("released", max_length=192, bos_token="eos")
EPOCHS, SEED, COMPARED = 5, 42, 50
LEARNING_RATE = 2e-4  # ten times the release's: the loss of so small a model has to move within 50 steps
PADDED_TOKENS = 4096  # of one forward pass


@dataclass(frozen=True)
class Labelled:
    """One response behind its prompt, and which response of which query of the step it is."""

    query: int
    response: int
    ids: list[int]
    prompt_tokens: int


def sequences_of(queries: Sequence[Encoded]) -> list[Labelled]:
    return [
        Labelled(number, place, query.prompt + response, len(query.prompt))
        for number, query in enumerate(queries)
        for place, response in enumerate(query.responses)
    ]


def batches_by_length(sequences: list[Labelled]) -> list[list[Labelled]]:
    """Sequences of about one length together: padding changes no label's log-prob and costs time."""
    batches: list[list[Labelled]] = []
    for sequence in sorted(sequences, key=lambda sequence: len(sequence.ids)):
        if not batches or (len(batches[-1]) + 1) * len(sequence.ids) > PADDED_TOKENS:
            batches.append([])
        batches[-1].append(sequence)
    return batches


def batch_logprobs(model: Any, batch: list[Labelled]) -> torch.Tensor:
    ids = pad_sequence([torch.tensor(sequence.ids) for sequence in batch], batch_first=True)
    places = torch.arange(ids.shape[1] - 1)
    first = torch.tensor([[sequence.prompt_tokens - 1] for sequence in batch])
    end = torch.tensor([[len(sequence.ids) - 1] for sequence in batch])
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    logprobs = torch.log_softmax(logits, dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return (logprobs * ((places >= first) & (places < end))).sum(-1)


def accumulate_batched(model: Any, queries: Sequence[Encoded], settings: Settings) -> StepResult:
    """As accumulate_step of the reference, in a few large batches."""
    by_query: list[dict[int, torch.Tensor]] = [{} for _ in queries]
    for batch in batches_by_length(sequences_of(queries)):
        for sequence, value in zip(batch, batch_logprobs(model, batch)):
            by_query[sequence.query][sequence.response] = value
    stacked = [torch.stack([values[place] for place in range(len(values))]) for values in by_query]
    parts = [losses(query, values, settings) for query, values in zip(queries, stacked)]
    torch.stack([part.loss for part in parts]).mean().backward()
    sums = [sum(getattr(part, name).item() for part in parts) for name in ("loss", "rank_loss", "sft_loss")]
    return StepResult(*(value / len(parts) for value in sums))


def shortened(row: Row) -> Row:
    """The instruction alone with the first three answers, 80 characters of each: minutes instead of half an hour."""
    instruction = row["query"].split("### Instruction:\n")[-1].removesuffix("\n\n### Response:")
    return {
        "query": instruction,
        "responses": [response[:80] for response in row["responses"][:3]],
        "scores": row["scores"][:3],
    }


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[Row]:
    """All 805 rows of AlpacaEval; whole with RRHF_FULL_REPLAY=1, else shortened."""
    whole = read_rows(shared / "data" / "alpaca_eval_k5.jsonl")
    return whole if os.environ.get("RRHF_FULL_REPLAY") == "1" else [shortened(row) for row in whole]


def replay(folder: Path, queries: list[Encoded]) -> list[Recorded]:
    """The reference's first steps. The schedule is over all of the run."""
    orders = list(released_steps(len(queries), EPOCHS, SEED))
    assert len(orders) == EPOCHS * ((len(queries) + 7) // 8 // 8)
    return list(
        train(
            load_model(folder, torch.float32, attention="sdpa"),
            [[queries[row] for row in order] for order in orders[:COMPARED]],
            SETTINGS,
            learning_rate=LEARNING_RATE,
            schedule=schedule_factor("cosine", 0.03, len(orders)),
            accumulate=accumulate_batched,
        )
    )


@pytest.fixture(scope="module")
def program_steps(rrhf: Program, rows: list[Row], models: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The lines of metrics.jsonl of the released recipe's run."""
    folder = tmp_path_factory.mktemp("released")
    config = write_config(
        folder / "released.json",
        {
            "recipe": "released",
            "device": "cpu",
            "model": {"path": str(models / "hf")},
            "data": {"train": str(write_rows(folder / "rows.jsonl", rows)), "max_length": 192, "bos_token": "eos"},
            "optimizer": {"learning_rate": LEARNING_RATE},
            "train": {"epochs": EPOCHS, "seed": SEED},
            "output": str(folder / "run"),
        },
    )
    rrhf("train", config)
    return [line for line in read_rows(folder / "run" / "metrics.jsonl") if "event" not in line]


def test_released_steps_by_hand() -> None:
    """Two ranks, two accumulated micro-batches, five rows: three micro-batches an epoch, the third carried over."""
    orders = list(released_steps(5, 2, seed=7, ranks=2, accumulation=2))
    first, second = (torch.randperm(5, generator=torch.Generator().manual_seed(7 + epoch)).tolist() for epoch in (0, 1))
    assert orders == [[first[0], first[1], first[2], first[3]], [first[4], first[0], second[0], second[1]]]


def test_released_run(program_steps: list[Row], rows: list[Row], models: Path) -> None:
    queries = encode_all(rows, Tokens(models / "hf"), SETTINGS)
    assert len(queries) == 805 and None not in queries
    assert any(query.padded_length > SETTINGS.max_length for query in queries), "no row enters uncut"
    assert len(program_steps) == 60
    records = replay(models / "hf", queries)
    loss, norm, rate = (Worst(f"released run, {name}", 1e-4) for name in ("losses", "gradient norms", "learning rates"))
    for number, (line, record) in enumerate(zip(program_steps, records)):
        assert line["queries"] == 64
        for name in ("loss", "rank_loss", "sft_loss"):
            loss.see(line[name], getattr(record.step, name), f"step {number} {name}")
        norm.see(line["grad_norm"], record.grad_norm, f"step {number}")
        rate.see(line["learning_rate"], record.learning_rate, f"step {number}")
    print(f"sft_loss {records[0].step.sft_loss:.4f} -> {records[-1].step.sft_loss:.4f} over {len(records)} steps")
    loss.check()
    rate.check()
    norm.check()
    assert records[-1].step.sft_loss < 0.98 * records[0].step.sft_loss, "nothing was learned: the replay shows little"


def test_another_permutation_is_found(program_steps: list[Row], rows: list[Row], models: Path) -> None:
    """The first steps with another seed's permutation differ by far more than the limit."""
    queries = encode_all(rows, Tokens(models / "hf"), SETTINGS)
    order = next(released_steps(len(queries), EPOCHS, SEED + 1))
    model = load_model(models / "hf", torch.float32, attention="sdpa")
    step = accumulate_batched(model, [queries[row] for row in order], SETTINGS)
    assert abs(step.loss / program_steps[0]["loss"] - 1) > 1e-3
