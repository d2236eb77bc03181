"""Runs that train adapters: what they write, resumed, over ranks, planned, and what is refused. (Numbers: tests/parity.)"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from array import array
from pathlib import Path
from typing import Any, Callable

import pytest

from program import ENVIRONMENT, Program, all_metrics, copy_of, metrics, metrics_so_far, refused, weights
from safetensors_file import read_file, read_folder, write_file

Config = Callable[..., Path]
LORA = {"rank": 4, "alpha": 8}


@pytest.fixture
def lora_config(make_config: Config) -> Config:
    """A run over 23 queries with adapters beside every projection, evaluated now and then."""

    def make(name: str = "run", **sections: Any) -> Path:
        sections = {"lora": LORA, "optimizer": {"learning_rate": 1e-2}, **sections}
        train = {"epochs": 3, **sections.pop("train", {})}
        return make_config(name, train=train, data={"eval_fraction": 0.2}, eval={"every_steps": 5}, **sections)

    return make


def adapter(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def numbers(place: Path) -> dict[str, array]:
    kinds = {"F32": "f", "F64": "d"}
    tensors = read_file(place) if place.is_file() else read_folder(place)
    return {name: array(kinds[kind], data) for name, (kind, _, data) in tensors.items()}


def apart(got: Path, want: Path) -> float:
    """The largest difference of two files' or folders' tensors, each beside its largest element."""
    got_values, want_values = numbers(got), numbers(want)
    assert got_values.keys() == want_values.keys()
    return max(
        max(abs(x - y) for x, y in zip(got_values[name], expected, strict=True)) / max(map(abs, expected))
        for name, expected in want_values.items()
    )


def test_what_a_run_writes(rrhf: Program, lora_config: Config, models: Path, tmp_path: Path) -> None:
    result = rrhf("train", lora_config())
    assert "lora     rank 4, alpha 8, beside every projection: " in result.stderr
    assert "23.1k weights are trained, 7.90 % as many as there are" in result.stderr, result.stderr
    run = tmp_path / "run"
    assert sorted(path.name for path in (run / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "rrhf.json"
    ]
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8, str(models / "hf"))
    # The model in the folder is the one whose figures the run ended with, and what merging by hand makes.
    last = metrics(run, "eval")[-1]
    rrhf("eval", run / "config.json", "--model", run / "model", "--json", tmp_path / "eval.json")
    measured = json.loads((tmp_path / "eval.json").read_text())
    assert measured["loss"] == pytest.approx(last["loss"], rel=1e-5)
    assert last["loss"] < metrics(run, "eval")[0]["loss"] - 0.01
    made = rrhf("model", "merge", run / "adapter", "--out", tmp_path / "merged", "--dtype", "float32")
    assert "35 matrices of" in made.stderr and "292,800 parameters" in made.stderr, made.stderr
    assert (tmp_path / "merged" / "model.safetensors").read_bytes() == weights(run)
    for file in ("config.json", "tokenizer.model", "generation_config.json"):
        assert (tmp_path / "merged" / file).read_bytes() == (run / "model" / file).read_bytes(), file
    assert rrhf("train", tmp_path / "run.json", "--resume").stderr.count("already trained to its end") == 1


def test_a_stopped_run_goes_on(rrhf: Program, build_dir: Path, lora_config: Config, tmp_path: Path) -> None:
    """Stopped by Ctrl-C and killed: the bytes of a run in one go."""
    long = {"train": {"epochs": 30}, "checkpoint": {"every_steps": 4, "keep": 2}}
    rrhf("train", lora_config("whole", **long))
    for name, stop in (("stopped", signal.SIGINT), ("killed", signal.SIGKILL)):
        config, run = lora_config(name, **long), tmp_path / name
        process = subprocess.Popen([build_dir / "rrhf", "train", config], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(metrics_so_far(run)) < 20:
            time.sleep(0.01)
        process.send_signal(stop)
        assert process.wait(timeout=60) != 0 and not (run / "model").exists()
        checkpoint = sorted((run / "checkpoints").iterdir())[-1]
        assert sorted(path.name for path in checkpoint.iterdir()) == [
            "adapter_config.json", "adapter_model.safetensors", "rrhf.json", "training_state.json", "training_state.safetensors"
        ]
        rrhf("train", config, "--resume")
        assert adapter(run) == adapter(tmp_path / "whole") and weights(run) == weights(tmp_path / "whole")
        assert all_metrics(run) == all_metrics(tmp_path / "whole")


def test_a_run_cut_off_before_its_model_makes_it(rrhf: Program, lora_config: Config, tmp_path: Path) -> None:
    """Adapters under their name are trained to their end: without a checkpoint, and with none of the steps again."""
    config, run = lora_config(), tmp_path / "run"
    rrhf("train", config)
    model, adapters, lines = weights(run), adapter(run), (run / "metrics.jsonl").read_bytes()
    shutil.rmtree(run / "model")
    result = rrhf("train", config, "--resume")
    assert weights(run) == model and adapter(run) == adapters and "step" not in result.stderr.replace("every_steps", "")
    assert (run / "metrics.jsonl").read_bytes() == lines


def test_a_sum_beyond_float16_is_no_model(rrhf: Program, lora_config: Config, tmp_path: Path) -> None:
    """Known only at the end: the adapters are kept, and another dtype makes the model of them."""
    wild = {"optimizer": {"learning_rate": 1.0}, "schedule": {"warmup_ratio": 0}, "train": {"max_steps": 1}}
    lora = {"rank": 4, "alpha": 1e7, "modules": ["down_proj"]}
    config, run = lora_config(**wild, lora=lora, checkpoint={"dtype": "float16"}), tmp_path / "run"
    result = rrhf("train", config, check=False)
    assert result.returncode == 1, result.stderr
    assert "the adapters are saved, the model that they make is not" in result.stderr, result.stderr
    assert "weights are beyond the range of float16" in result.stderr and not (run / "model").exists()
    rrhf("train", config, "--resume", "--set", "checkpoint.dtype=bfloat16")
    assert (run / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "name,parallel",
    [
        ("replicated", {"mode": "replicated"}),
        ("sharded", {"mode": "sharded"}),
        ("hybrid", {"mode": "sharded", "shard_size": 2}),
    ],
)
def test_ranks_make_no_difference(
    name: str, parallel: dict[str, Any], rrhf: Program, lora_config: Config, tmp_path: Path
) -> None:
    """Weights whole or in parts, adapters whole on every rank: 4 ranks, then 2 from their checkpoint on."""
    exact = {"model": {"dtype": "float64"}, "checkpoint": {"dtype": "float64", "every_steps": 10, "keep": 9}}
    train = {"tokens_per_pack": 90, "queries_per_step": 5}
    lora = {**LORA, "modules": ["q_proj", "o_proj", "up_proj", "down_proj"]}
    rrhf("train", lora_config("one", **exact, train=train, lora=lora))
    config = lora_config(name, **exact, train=train, lora=lora, parallel=parallel)
    rrhf("train", config, "--processes", 4)

    def compare(count: int) -> None:
        for got, want in zip(metrics(tmp_path / name), metrics(tmp_path / "one"), strict=True):
            assert got["loss"] == pytest.approx(want["loss"], rel=1e-10)
            assert got["grad_norm"] == pytest.approx(want["grad_norm"], rel=1e-9)
        for place in ("adapter/adapter_model.safetensors", "model"):
            assert apart(tmp_path / name / place, tmp_path / "one" / place) < 1e-9, place
        assert len(list((tmp_path / name / "model").glob("model-*.safetensors"))) == count  # no rank wrote all

    compare(4)
    shutil.rmtree(tmp_path / name / "model")
    shutil.rmtree(tmp_path / name / "adapter")
    assert [path.name for path in (tmp_path / name / "checkpoints").iterdir()] == ["step-000010"]
    rrhf("train", config, "--resume", "--processes", 2)
    compare(2)


def test_narrow_weights_keep_the_bases_own(rrhf: Program, lora_config: Config, models: Path, tmp_path: Path) -> None:
    """Computed in bfloat16: adapters learn as in float32, and what has no adapter is saved as the base has it."""
    lora = {**LORA, "modules": ["q_proj", "v_proj"]}
    assert "beside q_proj v_proj: " in rrhf("train", lora_config("exact", lora=lora)).stderr
    for name, optimizer in (("masters", {}), ("none", {"masters": "none", "moments": "8bit"})):
        narrow = {"dtype": "bfloat16", "path": str(models / "hf")}
        rrhf("train", lora_config(name, lora=lora, model=narrow, optimizer={"learning_rate": 1e-2, **optimizer}))
        for got, want in zip(metrics(tmp_path / name), metrics(tmp_path / "exact"), strict=True):
            assert got["loss"] == pytest.approx(want["loss"], rel=0.03)
        base, saved = read_file(models / "hf" / "model.safetensors"), read_file(tmp_path / name / "model" / "model.safetensors")
        assert {key for key in base if base[key] != saved[key]} == {
            f"model.layers.{layer}.self_attn.{module}.weight" for layer in range(5) for module in ("q_proj", "v_proj")
        }


def test_settings_that_change_no_number(rrhf: Program, lora_config: Config, tmp_path: Path) -> None:
    """Recomputing, by layers or the MLP, leaves the bytes as they are."""
    rrhf("train", lora_config("kept"))
    for recompute in ("mlp", "layer"):
        rrhf("train", lora_config(recompute, train={"recompute": recompute}))
        assert adapter(tmp_path / recompute) == adapter(tmp_path / "kept")


def test_other_settings_are_no_resumption(rrhf: Program, lora_config: Config, tmp_path: Path) -> None:
    config = lora_config(checkpoint={"every_steps": 2})
    rrhf("train", config)
    shutil.rmtree(tmp_path / "run" / "model")
    for setting in ("lora.rank=5", "lora.alpha=9", "lora.modules=[q_proj]"):
        result = rrhf("train", config, "--resume", "--set", setting, check=False)
        assert result.returncode == 2 and setting.split("=")[0] in result.stderr, result.stderr
    weights_of_all = ("lora.rank=none", "lora.alpha=16")
    result = rrhf("train", config, "--resume", *(word for setting in weights_of_all for word in ("--set", setting)), check=False)
    assert result.returncode == 2 and "lora.rank" in result.stderr, result.stderr
    file = next((tmp_path / "run" / "checkpoints").glob("*/adapter_model.safetensors"))
    tensors = read_file(file)
    tensors.pop("base_model.model.model.layers.3.mlp.down_proj.lora_B.weight")
    for each in (tmp_path / "run" / "checkpoints").glob("*/adapter_model.safetensors"):
        write_file(each, tensors)
    shutil.rmtree(tmp_path / "run" / "adapter")
    result = rrhf("train", config, "--resume", check=False)
    assert result.returncode == 2, result.stderr
    assert "layers.3.mlp.down_proj.lora_B.weight is missing or has another shape" in result.stderr, result.stderr


@pytest.mark.parametrize(
    "settings,words",
    [
        (["optimizer.update=layer", "optimizer.max_grad_norm=0"], "optimizer.update layer does not go with lora.rank"),
        (["optimizer.place=host"], "optimizer.place host does not go with lora.rank"),
        (["model.random_init=true"], "model.random_init true does not go with lora.rank"),
        (["lora.rank=none", "lora.modules=[q_proj]"], "lora.alpha and lora.modules need lora.rank"),
        (["lora.alpha=1e40"], "lora.alpha must be a number, above 0 and at most 1000000000"),
        (["lora.rank=0"], "lora.rank must be a whole number, at least 1"),
        (["lora.modules=[q_proj,lm_head]"], "lora.modules must be a list of q_proj | k_proj"),
        (["lora.r=4"], "lora.r is not a setting; nearest: lora.rank"),
        (["lora.target_modules=[q_proj]"], "lora.target_modules is not a setting; nearest: lora.modules"),
    ],
)
def test_settings_that_are_refused(
    settings: list[str], words: str, rrhf: Program, lora_config: Config, tmp_path: Path
) -> None:
    flags = [part for setting in settings for part in ("--set", setting)]
    refused(rrhf("train", lora_config("out"), *flags, check=False), tmp_path, words)


def test_an_adapter_is_no_model(rrhf: Program, lora_config: Config, models: Path, tmp_path: Path) -> None:
    """Where a model is asked for the message names the command that makes one; merging says what is wrong with its own."""
    rrhf("train", lora_config())
    folder, out = tmp_path / "run" / "adapter", tmp_path / "out"
    for arguments in (("generate", "--prompt", "a"), ("eval", tmp_path / "run.json")):
        result = rrhf(*arguments, "--model", folder, check=False)
        assert result.returncode == 2 and f"rrhf model merge {folder} --out DIR" in result.stderr, result.stderr
    config = json.loads((folder / "adapter_config.json").read_text())
    moved = copy_of(folder, tmp_path / "moved")

    def merged(words: str, *flags: object, **changes: Any) -> None:
        (moved / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        refused(rrhf("model", "merge", moved, "--out", out, *flags, check=False), tmp_path, words)

    merged("names /nowhere/base as its base, which is no folder here; say --base DIR", base_model_name_or_path="/nowhere/base")
    merged("names nothing as its base", base_model_name_or_path=None)
    merged("/nowhere: no such model folder", "--base", "/nowhere")
    merged("needs lora_alpha, a number", lora_alpha="8")
    merged("found 1e+46", lora_alpha=1e46)
    merged("peft_type is null", peft_type=None)
    (moved / "adapter_model.safetensors").unlink()
    merged("neither adapter_model.safetensors nor adapter_model.bin")
    refused(rrhf("model", "merge", models / "hf", "--out", out, check=False), tmp_path, "holds no adapter_config.json")
    refused(rrhf("model", "merge", tmp_path / "none", "--out", out, check=False), tmp_path, "no such folder")
    refused(rrhf("model", "merge", folder, check=False), tmp_path, "--out")
    result = rrhf("model", "merge", folder, "--out", tmp_path / "run", check=False)
    assert result.returncode == 2 and "run" in result.stderr


def test_the_released_encoding_goes_along(rrhf: Program, lora_config: Config, tmp_path: Path) -> None:
    config = json.loads(lora_config().read_text())
    config["recipe"] = "released"
    (tmp_path / "run.json").write_text(json.dumps(config))
    rrhf("train", tmp_path / "run.json")
    run = tmp_path / "run"
    rrhf("model", "merge", run / "adapter", "--out", tmp_path / "merged")
    note = (run / "model" / "rrhf.json").read_bytes()
    assert json.loads(note)["encoding"] == "released"
    assert (tmp_path / "merged" / "rrhf.json").read_bytes() == note == (run / "adapter" / "rrhf.json").read_bytes()
    # Trained on as plain, the sum is plain, whatever its base was; PEFT's adapters say nothing, so the base's word holds.
    again = json.loads(lora_config("again").read_text()) | {"model": {"path": str(run / "model")}}
    (tmp_path / "again.json").write_text(json.dumps(again))
    rrhf("train", tmp_path / "again.json")
    assert not (tmp_path / "again" / "model" / "rrhf.json").exists()
    (tmp_path / "again" / "adapter" / "rrhf.json").unlink()
    rrhf("model", "merge", tmp_path / "again" / "adapter", "--out", tmp_path / "of-peft")
    assert (tmp_path / "of-peft" / "rrhf.json").read_bytes() == note


@pytest.mark.parametrize("moments", ["8bit", "bfloat16"])
def test_narrow_forms_resume_to_the_same_bytes(moments: str, rrhf: Program, lora_config: Config, tmp_path: Path) -> None:
    forms: dict[str, Any] = {"optimizer": {"learning_rate": 1e-2, "masters": "none", "moments": moments}}
    path = json.loads(lora_config().read_text())["model"]["path"]
    forms |= {"model": {"path": path, "dtype": "bfloat16"}, "train": {"gradients": "bfloat16"}}
    rrhf("train", lora_config("whole", **forms))
    rrhf("train", lora_config("half", **forms, checkpoint={"every_steps": 7, "keep": 9}))
    for folder in ("model", "adapter", "checkpoints/step-000014"):
        shutil.rmtree(tmp_path / "half" / folder)
    rrhf("train", tmp_path / "half.json", "--resume")
    assert adapter(tmp_path / "half") == adapter(tmp_path / "whole")
    assert weights(tmp_path / "half") == weights(tmp_path / "whole")


def test_a_base_that_has_changed_is_refused(rrhf: Program, build_dir: Path, lora_config: Config, models: Path, tmp_path: Path) -> None:
    """No checkpoint holds it: neither a resumed run nor the model at the end may stand beside other weights."""
    base = copy_of(models / "hf", tmp_path / "base")
    config = lora_config(model={"path": str(base)}, train={"epochs": 30}, checkpoint={"every_steps": 4})
    run, file = tmp_path / "run", base / "model.safetensors"
    process = subprocess.Popen([build_dir / "rrhf", "train", config], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(metrics_so_far(run)) < 12:
        time.sleep(0.01)
    process.kill()
    process.wait()
    right = file.read_bytes()
    tensors = read_file(file)
    kind, shape, data = tensors["model.norm.weight"]
    file.write_bytes(right.replace(data, bytes(len(data)), 1))
    result = rrhf("train", config, "--resume", check=False)
    assert result.returncode == 2 and f"{base}: holds other files than when the adapters" in result.stderr, result.stderr
    file.write_bytes(right)
    rrhf("train", config, "--resume")
    shutil.rmtree(run / "model")
    (base / "config.json").write_text((base / "config.json").read_text() + " ")
    result = rrhf("train", config, "--resume", check=False)
    assert result.returncode == 2 and "put those back" in result.stderr and not (run / "model").exists(), result.stderr


def test_rounds_of_an_iterated_run(rrhf: Program, lora_config: Config, tmp_path: Path) -> None:
    """Each round trains adapters beside the model that the round before made."""
    rule = tmp_path / "rule.json"
    rule.write_text(json.dumps({"rule": "length", "min": 3}))
    config = json.loads(lora_config("loop").read_text())
    config["data"] = {"train": config["data"]["train"], "max_length": 64}
    config["eval"] = {}
    config |= {"iterate": {"rounds": 2}, "score": {"rule": str(rule)}, "sample": {"max_new_tokens": 6, "responses": 2, "method": "top-p"}}
    (tmp_path / "loop.json").write_text(json.dumps(config))
    result = rrhf("iterate", tmp_path / "loop.json", check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    bases = [
        json.loads(path.read_text())["base_model_name_or_path"]
        for path in sorted((tmp_path / "loop").glob("**/adapter/adapter_config.json"))
    ]
    assert len(bases) == 2 and bases[0].endswith("/hf") and bases[1].endswith("/model"), bases
