"""train, eval, generate, sample and score on a GPU beside the CPU: skipped without a GPU or a build for one.

RRHF_TEST_DEVICE  where instead of on a GPU [cuda]; cpu holds the tests themselves against what they expect
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable, Iterator

import pytest

from made_rows import read_lines
from program import Program

Config = Callable[..., Path]
DEVICE = os.environ.get("RRHF_TEST_DEVICE", "cuda")
LIMIT = {"float32": 1e-5, "bfloat16": 0.02}


@pytest.fixture(scope="session")
def refusal(rrhf: Program, models: Path) -> str:
    result = rrhf("generate", "--device", DEVICE, "--model", models / "hf", "--prompt", "a", "--max-new-tokens", 1, check=False)
    return result.stderr if result.returncode else ""


@pytest.fixture(autouse=True)
def gpu(refusal: str) -> None:
    if "[device] cuda was asked for" in refusal:
        pytest.skip("no GPU, or a build without CUDA")


@pytest.fixture
def answers(models: Path, good_data: Path) -> tuple[object, ...]:
    return ("--model", models / "hf", "--data", good_data, "--max-new-tokens", 24, "--responses", 3)


def places(tmp_path: Path, name: str) -> Iterator[tuple[str, Path]]:
    """The CPU and a path for what it writes, then the same of the GPU."""
    for place, device in (("cpu", "cpu"), ("gpu", DEVICE)):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        yield device, folder / name


def near(got: float, expected: float, dtype: str) -> bool:
    return got == pytest.approx(expected, rel=LIMIT[dtype], abs=LIMIT[dtype])


@pytest.mark.parametrize("dtype", LIMIT)
def test_eval(dtype: str, rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    lines = []
    for device, out in places(tmp_path, "lines.jsonl"):
        config = make_config(device=device, model={"dtype": dtype if lines else "float64"})
        rrhf("eval", config, "--data", good_data, "--per-response", out)
        lines.append(read_lines(out))
    for expected, got in zip(*lines, strict=True):
        for theirs, ours in zip(expected["responses"], got["responses"], strict=True):
            assert theirs["tokens"] == ours["tokens"] and near(ours["logprob"], theirs["logprob"], dtype), (theirs, ours)


@pytest.mark.parametrize("dtype", LIMIT)
def test_train(dtype: str, rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """The losses of six steps, each of the weights that the steps before left."""
    runs = []
    for device, out in places(tmp_path, "run"):
        config = make_config(device=device, model={"dtype": dtype if runs else "float64"}, output=str(out), train={"seed": 3})
        rrhf("train", config)
        runs.append(read_lines(out / "metrics.jsonl"))
    assert len(runs[0]) == 6
    for expected, got in zip(*runs, strict=True):
        for name in ("loss", "sft_loss"):
            assert near(got[name], expected[name], dtype), (name, expected, got)


def test_the_same_bytes_twice(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    models = []
    for name in ("once", "again"):
        rrhf("train", make_config(device=DEVICE, model={"dtype": "bfloat16"}, output=str(tmp_path / name)))
        models.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
    assert models[0] == models[1]


@pytest.mark.parametrize("flags", [("--method", "beam"), ("--method", "diverse-beam", "--beams", 4, "--groups", 2), ("--method", "top-p", "--seed", 5)],
                         ids=["beam", "diverse beam", "top-p"])  # fmt: skip
def test_sample(flags: tuple[object, ...], rrhf: Program, answers: tuple[object, ...], tmp_path: Path) -> None:
    written = []
    for device, out in places(tmp_path, "sampled.jsonl"):
        rrhf("sample", *answers, *flags, "--device", device, "--out", out)
        written.append(read_lines(out))
    assert written[0] == written[1]


def test_generate(rrhf: Program, models: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Once upon a time\nThe sun\nOne day, a bird\n")
    common = ("generate", "--model", models / "hf", "--template", "none", "--max-new-tokens", 40)
    written, said = [], []
    for device, out in places(tmp_path, "answers.jsonl"):
        rrhf(*common, "--prompts", prompts, "--device", device, "--out", out)
        written.append(read_lines(out))
        said.append(rrhf(*common, "--prompt", "The sun", "--device", device).stdout)
    assert written[0] == written[1] and said[0] == said[1] and said[0].strip() == written[0][1]["response"].strip()
    assert len(rrhf(*common, "--prompt", "The sun", "--device", DEVICE, "--dtype", "bfloat16").stdout) > 20


def test_score(rrhf: Program, models: Path, reward_model: Path, good_data: Path, tmp_path: Path) -> None:
    for source in (("--model", models / "hf"), ("--reward-model", reward_model)):
        written = []
        for device, out in places(tmp_path, f"{source[0]}.jsonl"):
            rrhf("score", *source, "--data", good_data, "--set", f"device={device}", "--out", out)
            written.append(read_lines(out))
        for expected, got in zip(*written, strict=True):
            assert got["scores"] == pytest.approx(expected["scores"], rel=1e-5, abs=1e-5)


def test_a_cap_that_is_too_small(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    if DEVICE == "cpu":
        pytest.skip("for a GPU alone")
    result = rrhf("train", make_config(device=DEVICE), "--memory-cap", "1MB", check=False)
    assert result.returncode == 2 and "--memory-cap is" in result.stderr and not (tmp_path / "run").exists()
