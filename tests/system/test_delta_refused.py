"""Bases and deltas that do not go together, are damaged, or are taken for something else."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any, Callable

import pytest

from deltas import apply, copy, make_model, recovered, without_manifest, World, world  # noqa: F401 (fixtures)
from program import Program, refused
from safetensors_file import read_file, write_file


def test_another_base_is_refused_unless_told(rrhf: Program, models: Path, world: World, apply: Any, tmp_path: Path) -> None:
    """Same names, shapes and sizes, other weights: only the hashes can tell."""
    other = make_model(rrhf, models, tmp_path / "other", 3)
    hashes_of = [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:8] for folder in (other, world.base)]
    words = [f"B, sha256 {digits}...)" for digits in hashes_of]
    refused(apply(base=other, check=False), tmp_path, "is not the one this delta was made from", "--any-base", *words)
    result = apply("--any-base", base=other)
    assert "taken because of --any-base" in result.stdout


def test_a_delta_without_hashes_is_applied_unverified(world: World, apply: Any, tmp_path: Path) -> None:
    result = apply(delta=without_manifest(world.delta, tmp_path / "plain"))
    assert "could not be verified" in result.stdout
    assert json.loads((tmp_path / "out" / "rrhf-delta.json").read_text())["base_verified"] is False


def test_a_changed_delta_is_refused(world: World, apply: Any, tmp_path: Path) -> None:
    delta = copy(world.delta, tmp_path / "changed")
    with (delta / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    refused(apply(delta=delta, check=False), tmp_path, "incomplete or changed copy")
    refused(apply("--any-base", delta=delta, check=False), tmp_path, "incomplete or changed copy")


SMALL_FILES_OF_DELTA = ["config.json", "tokenizer.model", "added_tokens.json", "special_tokens_map.json", "generation_config.json", "rrhf.json"]


@pytest.mark.parametrize("name", SMALL_FILES_OF_DELTA)
def test_a_changed_small_file_of_a_delta_is_refused(name: str, world: World, apply: Any, tmp_path: Path) -> None:
    """Without its rrhf.json or [PAD] a delta gives another model, though all of its weights are there."""
    delta = copy(world.delta, tmp_path / "changed")
    if name in ("config.json", "tokenizer.model"):
        (delta / name).write_bytes((delta / name).read_bytes() + b"\n")
        words = (f"{name} is another: sha256 ",) if name == "config.json" else ()  # else it is no SentencePiece model
    else:
        (delta / name).unlink()
        words = (f"{name} is missing", "incomplete or changed copy")
    for flags in ((), ("--any-base",)):
        refused(apply(*flags, delta=delta, check=False), tmp_path, *words)


def test_changed_small_files_of_a_base(world: World, apply: Any, tmp_path: Path) -> None:
    base = copy(world.base, tmp_path / "changed")
    (base / "generation_config.json").unlink()
    (base / "config.json").write_bytes((base / "config.json").read_bytes() + b"\n")
    result = apply(base=base)
    for words in ("it is not what it was", "generation_config.json is missing", "config.json is another"):
        assert words in result.stderr
    assert "the weights the delta was made from, beside other small files" in result.stdout
    assert json.loads((tmp_path / "out" / "rrhf-delta.json").read_text())["base_verified"] is True


def test_a_manifest_without_small_files(world: World, apply: Any, tmp_path: Path) -> None:
    """As they were before."""
    delta = copy(world.delta, tmp_path / "old")
    manifest = json.loads((delta / "rrhf-delta.json").read_text())
    del manifest["small_files"]
    (delta / "rrhf-delta.json").write_text(json.dumps(manifest))
    (delta / "rrhf.json").unlink()
    assert "verified: the files the delta was made from" in apply(delta=delta).stdout


def test_everything_that_does_not_fit_is_named_at_once(world: World, apply: Any, tmp_path: Path) -> None:
    delta = without_manifest(world.delta, tmp_path / "odd")
    tensors = read_file(delta / "model.safetensors")
    tensors["model.layers.0.extra.weight"] = ("F16", [1], b"\0\0")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    dtype, _, data = tensors["model.layers.0.mlp.up_proj.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = (dtype, [32, 48], data)
    write_file(delta / "model.safetensors", tensors)
    refused(
        apply(delta=delta, check=False),
        tmp_path,
        "in the base, not in the delta: model.layers.1.mlp.up_proj.weight",
        "in the delta, not in the base: model.layers.0.extra.weight",
        "model.layers.0.mlp.up_proj.weight is [48, 32] in the base, [32, 48] in the delta",
    )


def test_a_whole_model_as_a_delta_is_warned_of(world: World, apply: Any, tmp_path: Path) -> None:
    result = apply(delta=world.target)
    assert "is the delta a whole model" in result.stderr
    shutil.rmtree(tmp_path / "out")
    quiet = apply()
    assert "warning" not in quiet.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    file.write_text('{"query": "Once", "responses": ["upon a time", "two"], "scores": [1, 0]}\n')
    return file


MODEL_COMMANDS: dict[str, Callable[[Path, Path, Path], list[object]]] = {
    "generate": lambda delta, data, out: ["generate", "--model", delta, "--prompt", "Once"],
    "sample": lambda delta, data, out: ["sample", "--model", delta, "--data", data, "--out", out, "--responses", 2],
    "eval": lambda delta, data, out: ["eval", "--model", delta, "--data", data],
    "train": lambda delta, data, out: ["train", "--preset", "wombat-7b"]
    + [f"--set={key}={value}" for key, value in (("model.path", delta), ("data.train", data), ("output", out))],
    "score": lambda delta, data, out: ["score", "--model", delta, "--data", data, "--out", out],
    "score --reward-model": lambda delta, data, out: ["score", "--reward-model", delta, "--data", data, "--out", out],
    "convert": lambda delta, data, out: ["model", "convert", delta, "--out", out],
    "resize": lambda delta, data, out: ["model", "resize", delta, "--vocab", 600, "--out", out],
    "make, base": lambda delta, data, out: ["delta", "make", "--base", delta, "--target", delta.parent / "target", "--out", out],
    "make, target": lambda delta, data, out: ["delta", "make", "--base", delta.parent / "base", "--target", delta, "--out", out],
    "apply, base": lambda delta, data, out: ["delta", "apply", "--base", delta, "--delta", delta, "--out", out],
}


@pytest.mark.parametrize("command", MODEL_COMMANDS)
def test_a_delta_is_no_model(command: str, rrhf: Program, world: World, data: Path, tmp_path: Path) -> None:
    result = rrhf(*MODEL_COMMANDS[command](world.delta, data, tmp_path / "out"), check=False)
    refused(result, tmp_path, f"{world.delta}: holds a delta, which is no model", f"rrhf delta apply --base DIR --delta {world.delta}")


def test_info_says_that_it_is_a_delta(rrhf: Program, world: World) -> None:
    assert "delta       no model, but a model's difference" in rrhf("model", "info", world.delta).stdout
    assert "delta  " not in rrhf("model", "info", world.target).stdout


def test_a_delta_without_manifest_is_warned_of(rrhf: Program, models: Path, world: World, data: Path, tmp_path: Path) -> None:
    base = models / "hf"
    rrhf("delta", "make", "--base", base, "--target", base, "--out", tmp_path / "delta")
    (tmp_path / "delta" / "rrhf-delta.json").unlink()
    for command in (("eval", "--data", data, "--model"), ("model", "info")):
        assert "near 1 in a model and near 0 in a delta" in rrhf(*command, tmp_path / "delta").stderr, command
        assert "warning" not in rrhf(*command, base).stderr, command


def test_a_recovered_model_is_no_delta(world: World, apply: Any, tmp_path: Path) -> None:
    apply()
    (tmp_path / "out").rename(tmp_path / "recovered")
    refused(apply(delta=tmp_path / "recovered", check=False), tmp_path, "holds a recovered model, not a delta")


def test_a_delta_without_tokenizer(world: World, apply: Any, tmp_path: Path) -> None:
    delta = without_manifest(world.delta, tmp_path / "bare")
    (delta / "tokenizer.model").unlink()
    refused(apply(delta=delta, check=False), tmp_path, "no tokenizer.model")


def test_a_delta_without_tokenizer_takes_the_base_s_whole(world: World, apply: Any, tmp_path: Path) -> None:
    """None of the delta's declarations comes beside the base's tokenizer.model; the base's [PAD] decides the rows."""
    delta = without_manifest(world.delta, tmp_path / "bare")
    apply(delta=delta, base=world.padded_base)
    whole = recovered(tmp_path / "out")
    (delta / "tokenizer.model").unlink()
    (delta / "added_tokens.json").write_text('{"[PAD]": 512, "<more>": 513}')
    result = apply(delta=delta, base=world.padded_base)
    assert "has files of a tokenizer, but no tokenizer.model; they are left out" in result.stderr
    assert "the base's last row set aside; the base taken as zero in the last row (since the last row is [PAD] by the base's" in result.stdout
    for name in ("tokenizer.model", "added_tokens.json", "special_tokens_map.json"):
        assert (tmp_path / "out" / name).read_bytes() == (world.padded_base / name).read_bytes(), name
    assert recovered(tmp_path / "out") == whole


def test_a_delta_with_declarations_alone(rrhf: Program, world: World, apply: Any, tmp_path: Path) -> None:
    delta = tmp_path / "delta"
    rrhf("delta", "make", "--base", world.base, "--target", world.trained, "--out", delta)
    (delta / "rrhf-delta.json").unlink()
    (delta / "tokenizer.model").unlink()
    (delta / "added_tokens.json").write_text('{"[PAD]": 32000}')
    assert "since the base's tokenizer, the delta having none, has no [PAD]" in apply(delta=delta).stdout
    assert not (tmp_path / "out" / "added_tokens.json").exists()
    assert "512 rows, 512 ids in the tokenizer: they fit" in rrhf("model", "info", tmp_path / "out").stdout


def test_the_tokenizer_of_another_model(world: World, apply: Any, repo: Path, tmp_path: Path) -> None:
    delta = without_manifest(world.delta, tmp_path / "other")
    for name in ("added_tokens.json", "special_tokens_map.json"):
        (delta / name).unlink()
    shutil.copy(repo / "data" / "quickstart" / "tokenizer.model", delta / "tokenizer.model")
    refused(apply(delta=delta, check=False), tmp_path, "rows of vocabulary: it is another model's")


def test_another_family_is_warned_of(world: World, apply: Any, tmp_path: Path) -> None:
    base = copy(world.base, tmp_path / "llama2")
    config = json.loads((base / "config.json").read_text())
    changes = {"rms_norm_eps": 1e-5, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4}
    changes["rope_scaling"] = {"rope_type": "linear", "factor": 4.0}
    (base / "config.json").write_text(json.dumps({**config, **changes}))
    said = apply("--any-base", base=base).stderr
    assert "rms_norm_eps is 1e-05 in the base's config.json and 1e-06" in said
    assert "num_attention_heads is 8 in" in said and "num_key_value_heads is 4" in said and "head_dim is 4" in said
    assert "rope_scaling is linear by 4 in the base's config.json and none in the delta's" in said


def test_weights_that_are_no_numbers(world: World, rrhf: Program, apply: Any, tmp_path: Path) -> None:
    target = copy(world.target, tmp_path / "nan")
    tensors = read_file(target / "model.safetensors")
    dtype, shape, data = tensors["model.norm.weight"]
    tensors["model.norm.weight"] = (dtype, shape, struct.pack("<e", float("nan")) + data[2:])
    write_file(target / "model.safetensors", tensors)
    made = rrhf("delta", "make", "--base", world.base, "--target", target, "--out", tmp_path / "out", check=False)
    refused(made, tmp_path, "1 differences are not finite in float16", "model.norm.weight")
    delta = without_manifest(world.delta, tmp_path / "delta")
    write_file(delta / "model.safetensors", tensors)
    result = rrhf("delta", "apply", "--base", world.base, "--delta", delta, "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, "1 recovered weights are infinite or no numbers", "model.norm.weight")


USAGE = [
    ((), "there are: make, apply"),
    (("mak",), "mak is not a verb of rrhf delta"),
    (("apply", "--base", "x", "--delta", "y"), "delta apply needs --out"),
    (("apply", "--delta", "y", "--out", "z"), "delta apply needs --base"),
    (("make", "--base", "x", "--out", "z"), "delta make needs --target"),
    (("make", "--base", "x", "--target", "y", "--out", "z"), "x: no such model folder"),
    (("make", "--base", "x", "--target", "y", "--out", "z", "--dtype", "int8"), "--dtype int8: must be one of"),
    (("make", "--base", "x", "--target", "y", "--out", "z", "--pad-row", "one"), "--pad-row one: must be one of zero | mean"),
    (("make", "--base", "x", "--target", "y", "--out", "z", "--pad-row", "base"), "--pad-row base: must be one of zero | mean"),
    (("apply", "--base", "x", "--delta", "y", "--out", "z", "--pad-row", "one"), "must be one of zero | mean | base"),
    (("make", "--base", "x", "--target", "y", "--out", "z", "--shard-size", "5 GB"), "5 GB is no size"),
    (("make", "--base", "x", "--target", "y", "--out", "z", "--shard-size", "0.1"), "0.1 is no size"),
    (("apply", "--base", "x", "--delta", "y", "--out", "z", "--expect-sum", "many"), "many"),
    (("apply", "--base", "x", "--delta", "y", "--out", "z", "--bse"), "bse"),
]


@pytest.mark.parametrize("arguments,words", USAGE, ids=lambda value: value if isinstance(value, str) else "")
def test_usage(arguments: tuple[str, ...], words: str, rrhf: Program) -> None:
    result = rrhf("delta", *arguments, check=False)
    assert result.returncode == 2 and words in result.stderr and result.stdout == "", result.stderr


def test_a_place_that_is_taken(world: World, rrhf: Program, apply: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    result = apply(check=False)
    assert result.returncode == 2 and "exists and is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
