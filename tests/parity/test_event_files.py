"""`rrhf report --tensorboard`: event files as TensorBoard's own reader takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from made_rows import ranked_rows, write_lines
from program import Program, metrics


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars(tag)]


def test_tensorboard_reads_what_the_metrics_say(rrhf: Program, models: Path, tmp_path: Path) -> None:
    rows = [{**row, "group": "odd" if number % 2 else "even"} for number, row in enumerate(ranked_rows(20))]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({
        "model": {"path": str(models / "hf")},
        "data": {"train": str(write_lines(tmp_path / "rows.jsonl", rows)), "eval_fraction": 0.3, "max_length": 96},
        "train": {"epochs": 3, "queries_per_step": 4},
        "eval": {"every_steps": 4},
        "output": str(tmp_path / "run"),
    }))  # fmt: skip
    rrhf("train", config)
    rrhf("report", tmp_path / "run", "--tensorboard", tmp_path / "events")
    steps, evaluations = metrics(tmp_path / "run"), metrics(tmp_path / "run", "eval")
    assert len(steps) > 8 and len(evaluations) > 2
    for part, lines, tags in (
        ("train", steps, ("loss", "rank_loss", "sft_loss", "rank_accuracy", "grad_norm", "learning_rate")),
        ("eval", evaluations, ("loss", "rank_accuracy", "margin", "perplexity")),
    ):
        for tag in tags:
            expected = [(line["step"], pytest.approx(line[tag], rel=1e-6, abs=1e-12)) for line in lines if line[tag] is not None]
            assert scalars(tmp_path / "events" / "run" / part, tag) == expected, (part, tag)
    assert [step for step, _ in scalars(tmp_path / "events" / "run" / "eval", "groups/odd/loss")] == [line["step"] for line in evaluations]
    reader = EventAccumulator(str(tmp_path / "events" / "run" / "train"))
    reader.Reload()
    times = [event.wall_time for event in reader.Scalars("loss")]
    assert times == sorted(times) and abs(times[-1] - (tmp_path / "run" / "metrics.jsonl").stat().st_mtime) < 60
