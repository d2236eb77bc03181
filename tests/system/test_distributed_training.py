"""Any number of ranks in any mode trains the same model: losses and weights, checkpoints, evaluations.

Ranks are real processes that meet by torchrun's variables. Rows are ragged, no rank count divides the queries of a step,
and packs are small, so that some ranks have fewer packs than others.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from array import array
from pathlib import Path
from typing import Any, Callable

import pytest

import safetensors_file
from made_rows import ranked_rows, write_lines
from program import ENVIRONMENT, Program, metrics
from ranks import free_port, rank_environment

Config = Callable[..., Path]
Ranks = Callable[..., list[subprocess.CompletedProcess]]

MODES: dict[str, dict[str, Any]] = {
    "replicated": {"mode": "replicated"},
    "sharded": {"mode": "sharded"},
    "hybrid": {"mode": "sharded", "shard_size": 2},
}
ARRAYS = {"F64": "d", "F32": "f"}


def start_ranks(program: Path, count: int, arguments: tuple[object, ...], **pipes: Any) -> list[subprocess.Popen]:
    command, port = [str(program), *map(str, arguments)], free_port()
    return [subprocess.Popen(command, env=rank_environment(rank, count, port), **pipes) for rank in range(count)]


@pytest.fixture
def ranks(build_dir: Path) -> Ranks:
    """Runs `rrhf ARGUMENTS...` as so many ranks on this machine; a failure of one fails the test."""

    def run(count: int, *arguments: object) -> list[subprocess.CompletedProcess]:
        processes = start_ranks(build_dir / "rrhf", count, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        results = []
        for rank, process in enumerate(processes):
            out, err = process.communicate(timeout=120)
            results.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        for rank, result in enumerate(results):
            if result.returncode != 0:
                pytest.fail(f"rank {rank} of {count}: {result.args} ended with {result.returncode}\n{result.stderr[-4000:]}")
        return results

    return run


@pytest.fixture
def twenty_steps(make_config: Config) -> Config:
    """23 queries, 5 a step: four epochs of 5, 5, 5, 5 and 3, with evaluations."""

    def make(name: str, parallel: str = "replicated", dtype: str = "float32", **sections: Any) -> Path:
        train = {"epochs": 4, "queries_per_step": 5, "tokens_per_pack": 90, **sections.pop("train", {})}
        return make_config(
            name,
            model={"dtype": dtype},
            train=train,
            parallel=MODES[parallel],
            checkpoint={"dtype": "float64" if dtype == "float64" else "float32", **sections.pop("checkpoint", {})},
            eval={"every_steps": 7},
            **sections,
        )

    return make


@pytest.fixture
def more_data(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "eval.jsonl", ranked_rows(11, seed=2))


def values(folder: Path) -> dict[str, array]:
    return {name: array(ARRAYS[kind], data) for name, (kind, _, data) in safetensors_file.read_folder(folder).items()}


def differences(a: array, b: array) -> list[float]:
    return [abs(x - y) for x, y in zip(a, b, strict=True)]


def assert_same_weights(got: Path, want: Path, limit: float) -> None:
    got_values, want_values = values(got), values(want)
    assert got_values.keys() == want_values.keys()
    for name, expected in want_values.items():
        difference = max(differences(got_values[name], expected)) / max(map(abs, expected))
        assert difference <= limit, (name, difference)


def assert_same_run(got: Path, want: Path, limit: float) -> None:
    for event in (None, "eval"):
        got_lines, want_lines = metrics(got, event), metrics(want, event)
        assert len(got_lines) == len(want_lines)
        for got_line, want_line in zip(got_lines, want_lines, strict=True):
            assert got_line.keys() == want_line.keys()
            for key, value in want_line.items():
                same = pytest.approx(value, rel=limit, abs=limit) if isinstance(value, float) else value
                assert got_line[key] == same, (want_line["step"], key)
    assert_same_weights(got / "model", want / "model", limit)


CASES = [(1, "sharded"), (2, "replicated"), (3, "replicated"), (4, "replicated")]
CASES += [(2, "sharded"), (3, "sharded"), (4, "sharded"), (4, "hybrid")]


@pytest.mark.parametrize("dtype,limit", [("float64", 1e-9), ("float32", 1e-5)])
def test_ranks_make_no_difference(
    dtype: str, limit: float, rrhf: Program, ranks: Ranks, twenty_steps: Config, more_data: Path, tmp_path: Path
) -> None:
    data = {"eval": str(more_data)}
    rrhf("train", twenty_steps("one", dtype=dtype, data=data))
    assert len(metrics(tmp_path / "one")) == 20
    for count, mode in CASES:
        name = f"{mode}-{count}"
        ranks(count, "train", twenty_steps(name, mode, dtype, data=data))
        assert_same_run(tmp_path / name, tmp_path / "one", limit)


@pytest.mark.parametrize("count,mode", [(1, "replicated"), (2, "sharded")])
def test_recomputing_layers_makes_no_difference(
    count: int, mode: str, rrhf: Program, ranks: Ranks, twenty_steps: Config, tmp_path: Path
) -> None:
    rrhf("train", twenty_steps("kept", dtype="float64"))
    ranks(count, "train", twenty_steps("recomputed", mode, "float64", train={"recompute": "layer"}))
    assert_same_run(tmp_path / "recomputed", tmp_path / "kept", 1e-9)


def test_more_ranks_than_queries(rrhf: Program, ranks: Ranks, twenty_steps: Config, tmp_path: Path) -> None:
    """Some ranks have nothing to compute in any step and take part in every sum."""
    few = {"queries_per_step": 2, "epochs": 1}
    rrhf("train", twenty_steps("one", dtype="float64", train=few))
    for mode in ("replicated", "sharded"):
        ranks(3, "train", twenty_steps(mode, mode, "float64", train=few))
        assert_same_run(tmp_path / mode, tmp_path / "one", 1e-9)


EVERY_WAY = [(1, "replicated"), (1, "sharded"), (2, "replicated"), (2, "sharded"), (3, "replicated"), (3, "sharded"), (4, "hybrid")]


@pytest.mark.parametrize("saved_by,ways", [("sharded", EVERY_WAY), ("replicated", [(3, "sharded")]), ("hybrid", [(2, "replicated")])])
def test_a_checkpoint_goes_on_with_any_number_of_ranks(
    saved_by: str, ways: list[tuple[int, str]], rrhf: Program, ranks: Ranks, twenty_steps: Config, tmp_path: Path
) -> None:
    """Saved by 4 after 10 of 20 steps, by the same run cut off there; then gone on with in all ways."""
    rrhf("train", twenty_steps("whole", dtype="float64"))
    saving = {"checkpoint": {"every_steps": 10, "keep": 1}}
    ranks(4, "train", twenty_steps("saved", saved_by, "float64", **saving))
    checkpoint = tmp_path / "saved" / "checkpoints" / "step-000010"
    names = sorted(path.name for path in checkpoint.iterdir())
    for stem in ("model", "training_state"):
        files = [name for name in names if name.startswith(stem) and name.endswith(".safetensors")]
        assert len(files) > 1, names  # no rank wrote all
    assert_same_run(tmp_path / "saved", tmp_path / "whole", 1e-9)
    shutil.rmtree(tmp_path / "saved" / "model")
    for count, mode in ways:
        name = f"{mode}-{count}"
        shutil.copytree(tmp_path / "saved", tmp_path / name)
        ranks(count, "train", twenty_steps(name, mode, "float64", **saving), "--resume")
        assert_same_run(tmp_path / name, tmp_path / "whole", 1e-9)
        shutil.rmtree(tmp_path / name)


def test_one_ranks_checkpoint_goes_on_sharded(
    rrhf: Program, ranks: Ranks, twenty_steps: Config, tmp_path: Path
) -> None:
    saving = {"checkpoint": {"every_steps": 10, "keep": 1}}
    rrhf("train", twenty_steps("saved", dtype="float64", **saving))
    shutil.copytree(tmp_path / "saved", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "model")
    ranks(3, "train", twenty_steps("again", "sharded", "float64", **saving), "--resume")
    assert_same_run(tmp_path / "again", tmp_path / "saved", 1e-9)


def test_random_weights_do_not_depend_on_ranks(rrhf: Program, ranks: Ranks, twenty_steps: Config, tmp_path: Path) -> None:
    start = {"model": {"random_init": True, "dtype": "float64"}, "train": {"max_steps": 1}}
    for name, parallel in (("one", "replicated"), ("three", "sharded")):
        config = json.loads(twenty_steps(name, parallel, "float64", train={"max_steps": 1}).read_text())
        config["model"] |= start["model"]
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    rrhf("train", tmp_path / "one.json")
    ranks(3, "train", tmp_path / "three.json")
    assert_same_run(tmp_path / "three", tmp_path / "one", 1e-9)


def test_bfloat16_weights_with_float32_masters_in_parts(
    rrhf: Program, ranks: Ranks, twenty_steps: Config, models: Path, tmp_path: Path
) -> None:
    """Twenty updates far below what bfloat16 weights could hold end where float32's do."""
    slow = {"optimizer": {"learning_rate": 1e-5}}
    rrhf("train", twenty_steps("exact", **slow))
    start, exact = values(models / "hf"), values(tmp_path / "exact" / "model")
    moved = sum(sum(differences(exact[name], start[name])) for name in exact)
    assert moved > 0
    for count, mode in [(1, "replicated"), (2, "sharded"), (3, "replicated")]:
        name = f"{mode}-{count}"
        ranks(count, "train", twenty_steps(name, mode, "bfloat16", **slow))
        for got, want in zip(metrics(tmp_path / name), metrics(tmp_path / "exact"), strict=True):
            assert got["loss"] == pytest.approx(want["loss"], rel=0.03)
        got = values(tmp_path / name / "model")
        assert sum(sum(differences(got[key], exact[key])) for key in exact) < 0.3 * moved


def test_a_shard_size_that_does_not_fit_is_refused(build_dir: Path, twenty_steps: Config, tmp_path: Path) -> None:
    config = twenty_steps("alone")
    command = [str(build_dir / "rrhf"), "train", str(config), "--set", "parallel.shard_size=2"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert result.returncode == 2
    assert "parallel.shard_size 2 needs parallel.mode sharded" in result.stderr


def test_timing_tells_how_the_ranks_fared(ranks: Ranks, twenty_steps: Config, tmp_path: Path) -> None:
    ranks(2, "train", twenty_steps("run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line["timing"] for line in lines if "event" not in line]
    assert len(steps) == 20
    for timing in steps:
        assert len(timing["rank_tokens_per_second"]) == 2
        assert 0 <= timing["communication_share"] < 1
        assert timing["imbalance"] >= 0
    # Each rank's tokens over the same time: their sum is the step's.
    total = sum(steps[3]["rank_tokens_per_second"])
    assert total == pytest.approx(steps[3]["tokens_per_second"], rel=0.5)


def peak_of(process: subprocess.Popen) -> int:
    """Bytes at the process's peak so far; 0 when it has ended. (What wait4 says begins with the peak of who started it.)"""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def peak_of_ranks(program: Path, count: int, *arguments: object) -> int:
    """Bytes at the peak of the largest rank over its whole life, the saving of the model included."""
    processes = start_ranks(program, count, arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while any(process.poll() is None for process in processes):
        peak = max(peak, *map(peak_of, processes))
        time.sleep(0.005)
    assert [process.returncode for process in processes] == [0] * count
    return peak


def test_a_sharded_rank_holds_what_the_formula_says(
    build_dir: Path, rrhf: Program, ranks: Ranks, make_config: Config, models: Path, tmp_path: Path
) -> None:
    """docs/distributed-memory.md. Counted is what the ranks take beyond the same ranks with a model of 260K
    parameters; activations and the libraries' own memory are taken from the run of one rank, which they must not rule.
    Saving a checkpoint and the model in parts adds the room of one unit: no rank holds the whole model then either."""
    from worlds import SHAPES, saving_peak, sharded_peak

    fields, _ = SHAPES["134M"]
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 512, "rms_norm_eps": 1e-6}
    (tmp_path / "shape.json").write_text(json.dumps(config | fields))
    rrhf("model", "init", "--config", tmp_path / "shape.json", "--tokenizer", models / "hf", "--out", tmp_path / "large")
    row = write_lines(tmp_path / "row.jsonl", ranked_rows(1))

    def run_of(name: str, **sections: Any) -> Path:
        model = {"small": models / "hf", "large": tmp_path / "large"}[name.split("-")[0]]
        settings = {"data": {"train": str(row), "max_length": 48}, "train": {"epochs": 2, "queries_per_step": 1}}
        return make_config(name, model={"path": str(model)}, parallel=MODES["sharded"], **settings, **sections)

    activations = 0.0
    for count in (1, 2, 4):
        peaks = []
        for name in (f"small-{count}", f"large-{count}"):
            ranks(count, "train", run_of(name))
            line = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
            peaks.append(max(line["timing"]["rank_peak_memory"]))
            shutil.rmtree(tmp_path / name)
        # One room more would be 10 % at 4 ranks.
        assert peaks[1] - peaks[0] - activations == pytest.approx(sharded_peak(fields, count), rel=0.05), count
        if count == 1:
            activations = peaks[1] - peaks[0] - sharded_peak(fields, 1)
    program, saving = build_dir / "rrhf", {"every_steps": 1, "keep": 1}
    small, large = (peak_of_ranks(program, 4, "train", run_of(f"{name}-saving", checkpoint=saving)) for name in ("small", "large"))
    print(f"while 4 ranks save: formula {saving_peak(fields, 4) / 1e9:.3f} GB, measured {(large - small) / 1e9:.3f} GB")
    # One room too many would be 9 %.
    assert large - small - activations == pytest.approx(saving_peak(fields, 4), rel=0.05)
