"""Reward models against transformers' LlamaForSequenceClassification: `rrhf score --reward-model`.

The reward models are stories260K's backbones with a random score head, saved by transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from transformers import LlamaForSequenceClassification, LlamaTokenizer

from program import Program
from reference import Row, Worst, make_exact, read_rows, write_rows

LIMIT = {"float32": 1e-5, "float64": 1e-9}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save_reward_model(source: Path, folder: Path, dtype: str = "float32", **config: Any) -> Path:
    """A reward model with the backbone of `source`, whose scores are of the order of 1."""
    torch.manual_seed(11)
    model = LlamaForSequenceClassification.from_pretrained(source, num_labels=1, dtype=torch.float32, **config)
    with torch.no_grad():
        model.score.weight.normal_(0, 0.2)
    model.to(DTYPES[dtype]).save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())
    return folder


def sequence(tokenizer: Any, text: str, max_length: int) -> list[int]:
    """[BOS] text [EOS], as a tokenizer that truncates on the left makes it."""
    ids = tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
    assert ids[0] == 1 and ids[-1] == 2
    return ids


def expected_rewards(
    folder: Path, rows: list[Row], dtype: torch.dtype, max_length: int, join: str = "", apart: bool = False
) -> list[list[float]]:
    model = LlamaForSequenceClassification.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    if dtype == torch.float64:
        make_exact(model)
    tokenizer = LlamaTokenizer.from_pretrained(str(folder), add_eos_token=True, legacy=True, truncation_side="left")
    plain = LlamaTokenizer.from_pretrained(str(folder), legacy=True)

    def ids_of(row: Row, response: str) -> list[int]:
        if not apart:
            return sequence(tokenizer, row["query"] + join + response, max_length)
        parts = [plain(text, add_special_tokens=False)["input_ids"] for text in (row["query"], join + response)]
        return [1, *(parts[0] + parts[1])[-(max_length - 2) :], 2]

    rewards = []
    with torch.no_grad():
        for row in rows:
            # One sequence at a time, without padding: the last token is then the last token.
            rewards.append([model(torch.tensor([ids_of(row, text)])).logits.double().item() for text in row["responses"]])
    return rewards


def score(rrhf: Program, folder: Path, data: Path, out: Path, dtype: str, *arguments: object) -> list[Row]:
    rrhf("score", "--reward-model", folder, "--data", data, "--out", out, "--set", f"model.dtype={dtype}", *arguments)
    return read_rows(out)


def compare(got: list[Row], expected: list[list[float]], what: str, limit: float) -> None:
    worst = Worst(what, limit)
    assert len(got) == len(expected)
    for number, (row, rewards) in enumerate(zip(got, expected)):
        assert len(row["scores"]) == len(rewards)
        for place, (reward, wanted) in enumerate(zip(row["scores"], rewards)):
            # A head's output is a difference of numbers of the order of 1.
            worst.see(reward, wanted, f"row {number} response {place}", at_least=1.0)
    worst.check()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", ["hf", "hf_mha"])
def test_rewards_equal_transformers(
    dtype: str, model: str, rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """Real rows, many of them longer than the model's 512 positions."""
    folder = save_reward_model(models / model, tmp_path / "reward")
    got = score(rrhf, folder, mixed_file, tmp_path / "out.jsonl", dtype)
    expected = expected_rewards(folder, mixed_rows, DTYPES[dtype], 512)
    assert all(len(set(rewards)) > 1 for rewards, row in zip(expected, mixed_rows) if len(set(row["responses"])) > 1)
    compare(got, expected, f"{model} rewards {dtype}", LIMIT[dtype])


@pytest.mark.parametrize(
    "join,apart,max_length", [(" ", False, 192), ("", True, 128), ("\n\n", True, 48), (" ", False, 17)]
)
def test_every_way_to_make_a_sequence(
    join: str,
    apart: bool,
    max_length: int,
    rrhf: Program,
    models: Path,
    mixed_rows: list[Row],
    mixed_file: Path,
    tmp_path: Path,
) -> None:
    folder = save_reward_model(models / "hf", tmp_path / "reward")
    joining = "apart" if apart else "together"
    settings = ("--set", f"score.join={json.dumps(join)}", "--set", f"score.joining={joining}")
    got = score(rrhf, folder, mixed_file, tmp_path / "out.jsonl", "float64", *settings, "--max-length", max_length)
    expected = expected_rewards(folder, mixed_rows, torch.float64, max_length, join, apart)
    compare(got, expected, f"rewards {joining} at {max_length}", LIMIT["float64"])


def test_tokens_at_the_seam(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """Responses that change how the end of the prompt is tokenized, and one that is empty."""
    rows = [{"query": "Once upon a ti", "responses": ["me there was", "", "ger", " me", "me there was a"]}]
    data = write_rows(tmp_path / "data.jsonl", rows)
    folder = save_reward_model(models / "hf", tmp_path / "reward")
    got = score(rrhf, folder, data, tmp_path / "out.jsonl", "float64")
    compare(got, expected_rewards(folder, rows, torch.float64, 512), "rewards at the seam", LIMIT["float64"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_folders_in_half_precision_load(
    dtype: str, rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """Computed in float32 from the stored numbers."""
    folder = save_reward_model(models / "hf", tmp_path / "reward", dtype)
    got = score(rrhf, folder, mixed_file, tmp_path / "out.jsonl", "float32", "--max-length", 128)
    expected = expected_rewards(folder, mixed_rows, torch.float32, 128)
    compare(got, expected, f"rewards of a {dtype} folder", LIMIT["float32"])


@pytest.mark.parametrize(
    "scaling", [{"type": "linear", "factor": 2.5}, {"rope_type": "dynamic", "factor": 3.0}], ids=["linear", "dynamic"]
)
def test_rotary_scaling(
    scaling: Optional[dict[str, Any]], rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """With dynamic scaling a sequence's own length decides its angles, whatever stands beside it."""
    folder = save_reward_model(models / "hf", tmp_path / "reward")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_scaling": scaling, "max_position_embeddings": 64}))
    got = score(rrhf, folder, mixed_file, tmp_path / "out.jsonl", "float64", "--max-length",
                150 if scaling.get("rope_type") else 64)
    expected = expected_rewards(folder, mixed_rows, torch.float64, 150 if scaling.get("rope_type") else 64)
    compare(got, expected, f"rewards with {scaling}", LIMIT["float64"])
