"""rrhf model plan: its parts, what it refuses, and its sum beside what runs use."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from made_rows import WORDS, ranked_rows, write_lines
from program import Program, refused


def planned(out: str, part: str) -> float:
    word = next(line.split()[1] for line in out.splitlines() if line.split()[:1] == [part])
    number = word.rstrip("BkMG")
    return float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[word[len(number) :].rstrip("B")]


def test_plan_of_a_model(rrhf: Program, models: Path) -> None:
    """stories260K has 292,800 parameters of 4 bytes; a pack of 1024 tokens, all label rows, has 512 logits a token."""
    out = rrhf("model", "plan", "--set", f"model.path={models / 'hf'}").stdout
    assert "1,024 tokens in the largest, 1,024 of them label rows (no data.train to look at: taken as full)" in out
    assert planned(out, "weights") == planned(out, "gradients") == 1.17e6 and planned(out, "optimizer") == 2.34e6
    # probabilities, and three times the states of 64
    assert planned(out, "logits") == pytest.approx(1024 * (512 + 3 * 64) * 4, rel=0.005)
    parts = sum(planned(out, part) for part in ("weights", "gradients", "optimizer", "activations", "logits", "heap", "program"))
    parts += planned(out, "kernels") if "kernels" in out else 0  # where products are compiled
    assert planned(out, "sum") == pytest.approx(parts, rel=0.01)


def test_plan_needs_no_weights(rrhf: Program, models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "hf" / "config.json", tmp_path / "config.json")
    assert planned(rrhf("model", "plan", "--set", f"model.path={tmp_path}").stdout, "weights") == 1.17e6


def test_plan_over_devices(rrhf: Program, models: Path) -> None:
    """Sharded over 4: a quarter each, and rooms for the largest unit, a layer: two for weights, two for gradients and a
    quarter of one that comes back."""
    model = ("--set", f"model.path={models / 'hf'}")
    out = rrhf("model", "plan", *model, "--devices", 4, "--sharding", "sharded").stdout
    assert planned(out, "optimizer") == pytest.approx(2.34e6 / 4, rel=0.01)
    layer = 64 * (64 + 32 + 32 + 64) + 3 * 64 * 172 + 2 * 64
    assert planned(out, "weights") == planned(out, "gradients") == pytest.approx(292_800, rel=0.01)
    assert planned(out, "passing") == pytest.approx((4 * layer + layer / 4) * 4, rel=0.01)
    assert "4 devices, sharded" in out
    replicated = rrhf("model", "plan", *model, "--devices", 4).stdout
    assert planned(replicated, "weights") == 1.17e6


def test_plan_for_gpus_is_made_without_one(rrhf: Program, models: Path) -> None:
    flags = ("--set", f"model.path={models / 'hf'}", "--set", "device=cuda", "--devices", 8)
    out = rrhf("model", "plan", *flags).stdout
    assert "on cuda; 8 devices, replicated" in out and "without the CUDA context" in out
    assert "the devices work on 32,768 tokens at a time" in out


def test_plan_finds_the_largest_pack(rrhf: Program, models: Path) -> None:
    model = ("--set", f"model.path={models / 'hf'}")
    out = rrhf("model", "plan", *model, "--memory", "1GB").stdout
    largest = int(next(line for line in out.splitlines() if line.startswith("1.00GB")).split("packs of ")[1].split()[0].replace(",", ""))

    def total(tokens: int) -> float:
        return planned(rrhf("model", "plan", *model, "--set", f"train.tokens_per_pack={tokens}").stdout, "sum")

    assert total(largest) <= 1.01e9 < 1.02 * total(largest + 256)
    assert "too little for this model" in rrhf("model", "plan", *model, "--memory", "4MB").stdout


def test_plan_is_what_a_run_uses(rrhf: Program, models: Path, shared: Path, tmp_path: Path) -> None:
    """One pack of 128 queries: half a gigabyte of activations, and the sum within a tenth of the run's peak."""
    rows = tmp_path / "rows.jsonl"
    with (shared / "data" / "alpaca_eval_k5.jsonl").open(encoding="utf-8") as lines:
        rows.write_text("".join(line for line, _ in zip(lines, range(60))), encoding="utf-8")
    settings = [f"model.path={models / 'hf'}", f"data.train={rows}", "train.tokens_per_pack=32768", "train.max_steps=1"]
    flags = [part for setting in settings for part in ("--set", setting)]
    out = rrhf("model", "plan", *flags).stdout
    rrhf("train", *flags, "--set", f"output={tmp_path / 'out'}")
    step = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    assert planned(out, "sum") == pytest.approx(step["timing"]["peak_memory"], rel=0.1)
    assert planned(out, "activations") > 0.3e9
    assert f"{step['queries']} queries" in out
    packs = float(out.split(" packs;")[0].rsplit(" ", 1)[1])
    idle = rrhf("model", "plan", *flags, "--devices", 90).stdout
    assert f"too few for 90 devices, of which {90 - math.ceil(packs)} have nothing to do" in idle


def made_model(rrhf: Program, models: Path, folder: Path, sizes: dict[str, int]) -> Path:
    """Random weights over the vocabulary of the small models."""
    parts = folder / "parts"
    parts.mkdir()
    shutil.copy(models / "hf" / "tokenizer.model", parts / "tokenizer.model")
    config = {"model_type": "llama", "max_position_embeddings": 512, "vocab_size": 512, **sizes}
    (parts / "config.json").write_text(json.dumps(config))
    rrhf("model", "init", "--config", parts / "config.json", "--tokenizer", parts, "--out", folder / "model")
    return folder / "model"


def peaks_of_wide_model(rrhf: Program, models: Path, tmp_path: Path, rows: int, settings: list[str], key: str, values: list[str]) -> list[int]:
    """The peaks of two steps of a model of 67M weights with each value of a setting, as they are planned."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 8}
    data = write_lines(tmp_path / "rows.jsonl", ranked_rows(rows))
    settings = [f"model.path={made_model(rrhf, models, tmp_path, sizes)}", f"data.train={data}", "train.max_steps=2", *settings]
    peaks = []
    for value in values:
        own = [part for setting in (*settings, f"{key}={value}") for part in ("--set", setting)]
        out, run = rrhf("model", "plan", *own).stdout, tmp_path / value
        rrhf("train", *own, "--set", f"output={run}")
        peaks.append(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["timing"]["peak_memory"])
        assert planned(out, "sum") == pytest.approx(peaks[-1], rel=0.1), value
    return peaks


def test_plan_of_updates_by_layer_is_what_a_run_uses(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """16 layers and short rows: gradients are a fifth of what a step takes, a layer's next to nothing."""
    settings = ["train.queries_per_step=4", "optimizer.max_grad_norm=0"]
    step, layer = peaks_of_wide_model(rrhf, models, tmp_path, 8, settings, "optimizer.update", ["step", "layer"])
    assert step - layer == pytest.approx(15 * 4 * (4 * 512**2 + 3 * 512 * 2048), rel=0.1)


def test_plan_of_adapters_is_what_a_run_uses(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """Weights that stay as they are: no gradients, no optimizer state, a quarter of the memory."""
    none, adapters = peaks_of_wide_model(rrhf, models, tmp_path, 60, [], "lora.rank", ["none", "16"])
    # Three copies less of 67M weights in float32, less the adapters' own.
    assert none - adapters == pytest.approx(3 * 4 * 67.6e6, rel=0.1)


def test_plan_of_a_run_that_evaluates_is_what_it_uses(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """Short rows to train on, a query of 12 long responses to evaluate, and a wide model, whose forward pass alone takes
    most: what the plan counts beside the program is its activations."""
    sizes = {"hidden_size": 128, "intermediate_size": 4096, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = made_model(rrhf, models, tmp_path, sizes)
    rows = write_lines(tmp_path / "rows.jsonl", ranked_rows(8))
    text = " ".join(WORDS * 40)
    long = {"query": "say", "responses": [f"{i} {text}" for i in range(12)], "scores": list(range(12))}
    write_lines(tmp_path / "eval.jsonl", [long])
    settings = [f"model.path={model}", f"data.train={rows}", "train.max_steps=1", "data.max_length=512"]
    flags = [part for setting in settings for part in ("--set", setting)]
    without = rrhf("model", "plan", *flags).stdout
    flags += ["--set", f"data.eval={tmp_path / 'eval.jsonl'}"]
    out = rrhf("model", "plan", *flags).stdout
    rrhf("train", *flags, "--set", f"output={tmp_path / 'out'}")
    evaluation, step, *_ = map(json.loads, (tmp_path / "out" / "metrics.jsonl").read_text().splitlines())
    assert evaluation["event"] == "eval"
    assert planned(out, "sum") == pytest.approx(step["timing"]["peak_memory"], rel=0.1)
    assert planned(out, "sum") > planned(without, "sum") + 0.2e9
    assert "of an evaluation, which takes more than a step" in out and "eval   " not in without


def test_plan_of_bfloat16_is_what_a_run_uses(rrhf: Program, models: Path, shared: Path, tmp_path: Path) -> None:
    """Packs of many lengths: the library compiles kernels for each and keeps few, which the plan counts."""
    if "avx512bw" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("bfloat16 products are compiled where there is AVX-512")
    rows = tmp_path / "rows.jsonl"
    with (shared / "data" / "alpaca_eval_k5.jsonl").open(encoding="utf-8") as lines:
        rows.write_text("".join(line for line, _ in zip(lines, range(64))), encoding="utf-8")
    settings = [f"model.path={models / 'hf'}", f"data.train={rows}", "model.dtype=bfloat16", "train.queries_per_step=16"]
    flags = [part for setting in [*settings, "train.max_steps=4"] for part in ("--set", setting)]
    out = rrhf("model", "plan", *flags).stdout
    rrhf("train", *flags, "--set", f"output={tmp_path / 'out'}")
    peaks = [json.loads(line)["timing"]["peak_memory"] for line in (tmp_path / "out" / "metrics.jsonl").open()]
    assert planned(out, "sum") == pytest.approx(peaks[-1], rel=0.1), peaks
    assert "kernels" not in rrhf("model", "plan", *flags, "--set", "device=cuda").stdout


@pytest.mark.parametrize(
    "flags, words",
    [
        ((), ["model.path is not set"]),
        (("--set", "model.path=/nowhere"), ["/nowhere"]),
        (("--set", "model.path=MODEL", "--devices", "0"), ["--devices 0: a whole number from 1"]),
        (("--set", "model.path=MODEL", "--devices", str(2**63 - 1)), [f"{2**63 - 1} devices", "1,048,576"]),
        (("--set", "model.path=MODEL", "--set", "train.tokens_per_pack=9000000000000000"), ["train.tokens_per_pack"]),
        (
            ("--set", "model.path=MODEL", "--devices", "3", "--sharding", "sharded", "--set", "parallel.shard_size=2"),
            ["parallel.shard_size 2 does not divide 3 ranks"],
        ),
        (
            ("--set", "model.path=MODEL", "--sharding", "replicated", "--set", "parallel.shard_size=2"),
            ["parallel.shard_size 2 needs parallel.mode sharded"],
        ),
        (("--set", "model.path=MODEL", "--sharding", "split"), ["--sharding", "replicated | sharded"]),
        (("--set", "model.path=MODEL", "--memory", "much"), ["much"]),
        (("--set", "model.path=MODEL", "--set", "data.train=/nowhere.jsonl"), ["/nowhere.jsonl"]),
    ],
)
def test_plan_refuses(rrhf: Program, models: Path, tmp_path: Path, flags: tuple[str, ...], words: list[str]) -> None:
    flags = tuple(flag.replace("MODEL", str(models / "hf")) for flag in flags)
    refused(rrhf("model", "plan", *flags, check=False), tmp_path, *words)
