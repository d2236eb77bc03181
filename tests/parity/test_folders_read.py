"""Checkpoints written by transformers and by torch.save are read here, byte for byte and to the same log-probs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Mapping

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from evaluation import LOGPROB_LIMIT, compare_evaluation, evaluate
from program import Program
from reference import Row, Tokens, encode_all, load_model, model_variant, recipe

WORDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
TensorDict = Mapping[str, torch.Tensor]


def crc32(tensor: torch.Tensor) -> int:
    return zlib.crc32(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def described(tensors: TensorDict) -> dict[str, Any]:
    return {name: [WORDS[t.dtype], list(t.shape), crc32(t)] for name, t in tensors.items()}


def read_here(tensor_probe: Program, path: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in tensor_probe(path).stdout.splitlines()]
    found = {line["name"]: [line["dtype"], line["shape"], line["crc32"]] for line in lines}
    assert len(found) == len(lines)
    return found


def save_folder(source: Path, folder: Path, dtype: torch.dtype, safe: bool, shard: str) -> LlamaForCausalLM:
    """A folder as save_pretrained writes it, with the tokenizer of its source."""
    model = LlamaForCausalLM.from_pretrained(source, dtype=dtype)
    model.save_pretrained(folder, safe_serialization=safe, max_shard_size=shard)
    shutil.copyfile(source / "tokenizer.model", folder / "tokenizer.model")
    return model


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=lambda dtype: WORDS[dtype])
@pytest.mark.parametrize("shard", ["100KB", "10GB"])
@pytest.mark.parametrize("safe", [False, True], ids=["bin", "safetensors"])
def test_folders_of_save_pretrained(
    safe: bool, shard: str, dtype: torch.dtype, tied: bool, tensor_probe: Program, models: Path, tmp_path: Path
) -> None:
    source = model_variant(models / "hf", tmp_path / "source", {"tie_word_embeddings": tied}) if tied else models / "hf"
    folder = tmp_path / "folder"
    state = save_folder(source, folder, dtype, safe, shard).state_dict()
    files = list(folder.glob("*.safetensors" if safe else "*.bin"))
    assert (len(files) > 3) == (shard == "100KB"), files
    found, expected = read_here(tensor_probe, folder), described(state)
    if tied and "lm_head.weight" not in found:  # a .bin may hold the shared tensor twice, safetensors holds it once
        del expected["lm_head.weight"]
    assert found == expected


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=lambda dtype: WORDS[dtype])
@pytest.mark.parametrize("safe", [False, True], ids=["bin", "safetensors"])
def test_logprobs_of_folders(
    safe: bool,
    dtype: torch.dtype,
    tied: bool,
    rrhf: Program,
    models: Path,
    mixed_rows: list[Row],
    mixed_file: Path,
    tmp_path: Path,
) -> None:
    changes = {"tie_word_embeddings": True} if tied else {}
    source = model_variant(models / "hf", tmp_path / "source", changes) if tied else models / "hf"
    folder = tmp_path / "folder"
    save_folder(source, folder, dtype, safe, "100KB")
    settings = recipe("default", max_length=192)
    lines = evaluate(rrhf, tmp_path, folder, mixed_file, settings, "float64")
    queries = encode_all(mixed_rows, Tokens(source), settings)
    exact = load_model(folder, torch.float64)
    what = f"{'safetensors' if safe else '.bin'} {WORDS[dtype]}{' tied' if tied else ''}:"
    compare_evaluation(lines, queries, exact, settings, LOGPROB_LIMIT["float64"], what)


def folder_without_weights(source: Path, folder: Path) -> Path:
    ignored = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(source, folder, ignore=ignored, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    return folder


def test_old_folders_with_rotary_buffers(
    rrhf: Program, tensor_probe: Program, models: Path, mixed_file: Path, tmp_path: Path
) -> None:
    """As the first conversions of LLaMA: .bin shards by layer, inv_freq among them, listed in the index."""
    folder = folder_without_weights(models / "hf", tmp_path / "folder")
    state = {name: tensor.half() for name, tensor in load_file(models / "hf" / "model.safetensors").items()}
    layers = max(int(name.split(".")[2]) for name in state if name.startswith("model.layers.")) + 1
    weight_map = {}
    for layer in range(layers + 1):
        shard = f"pytorch_model-{layer + 1:05}-of-{layers + 1:05}.bin"
        part = OrderedDict((n, t) for n, t in state.items() if n.startswith(f"model.layers.{layer}."))
        if layer == layers:
            part = OrderedDict((n, t) for n, t in state.items() if not n.startswith("model.layers."))
        else:
            part[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.rand(4)
        weight_map.update(dict.fromkeys(part, shard))
        torch.save(part, folder / shard)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert read_here(tensor_probe, folder) == described(state)
    lines = evaluate(rrhf, tmp_path, folder, mixed_file, recipe("default", max_length=64), "float32")
    assert len(lines) == 40


# --- files of torch.save ----------------------------------------------------------------------------------------------


def large_state() -> TensorDict:
    return {f"layer.{i}.weight": torch.full((3,), float(i)) for i in range(3000)}  # several batches of SETITEMS


def shared_state() -> TensorDict:
    base = torch.randn(6, 8)
    return {
        "base": base,
        "tied": base,
        "transposed": base.t(),
        "row": base[2],
        "column": base[:, 3],
        "sliced": base[1:5:2, 2:7:3],
        "tail": base.view(-1)[40:],
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "scalar": base[5, 7],
        "empty": base[:0],
        "other": torch.randn(5),
    }


def module_state() -> TensorDict:
    state = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4)).state_dict()
    assert state._metadata  # an attribute of the OrderedDict, set by BUILD
    return state


def parameter_state() -> TensorDict:
    return dict(torch.nn.Linear(3, 4).half().named_parameters())


STATES: dict[str, Callable[[], TensorDict]] = {
    "dict": lambda: {"a": torch.randn(2, 3), "b": torch.randn(4).double()},
    "ordered": lambda: OrderedDict(z=torch.randn(2).half(), a=torch.randn(3).bfloat16()),
    "module": module_state,
    "parameters": parameter_state,
    "shared": shared_state,
    "large": large_state,
    "long-names": lambda: {"n" * 300: torch.randn(2), "é": torch.randn(1)},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", STATES)
def test_files_of_torch_save(name: str, protocol: int, tensor_probe: Program, tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    torch.save(STATES[name](), path, pickle_protocol=protocol)
    state = torch.load(path, weights_only=False)  # the restricted one stops at protocol 4
    found = read_here(tensor_probe, path)
    assert found == described(state)
    assert list(found) == list(state)


def test_files_without_checksums(tensor_probe: Program, tmp_path: Path) -> None:
    state, path = {"a": torch.randn(2, 3)}, tmp_path / "state.bin"
    computed = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(computed)
    assert {member.CRC for member in zipfile.ZipFile(path).infolist()} == {0}
    assert read_here(tensor_probe, path) == described(state)


def test_files_repacked_without_compression(tensor_probe: Program, tmp_path: Path) -> None:
    """Another zip writer: no ZIP64, no data descriptors, storages on odd addresses."""
    state, path = {"a": torch.randn(2, 3), "b": torch.randn(5).half()}, tmp_path / "state.bin"
    torch.save(state, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "repacked.bin", "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    assert read_here(tensor_probe, tmp_path / "repacked.bin") == described(state)


# --- refusals ---------------------------------------------------------------------------------------------------------


class Touch:
    """What an attacker puts into a checkpoint: unpickling it runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def refused(tensor_probe: Program, path: Path) -> str:
    result = tensor_probe(path, check=False)
    assert result.returncode == 2 and str(path) in result.stderr, result
    return result.stderr


def test_code_in_a_file_is_refused_and_never_runs(
    tensor_probe: Program, rrhf: Program, models: Path, mixed_file: Path, tmp_path: Path
) -> None:
    victim, folder = tmp_path / "owned", folder_without_weights(models / "hf", tmp_path / "folder")
    path = folder / "pytorch_model.bin"
    torch.save({"a": torch.zeros(1), "b": Touch(victim)}, path)
    assert "asks for posix.system" in refused(tensor_probe, path)
    result = rrhf("eval", "--model", folder, "--data", mixed_file, check=False)
    assert result.returncode == 2 and "posix.system" in result.stderr, result
    assert not victim.exists()
    torch.load(path, weights_only=False)  # the file is what it says
    assert victim.exists()


def bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(torch.load(path)["a"].numpy().tobytes())] ^= 1  # the first byte of the storage
    path.write_bytes(data)


def compressed(path: Path) -> None:
    with zipfile.ZipFile(path) as old:
        members = {member.filename: old.read(member) for member in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bit flipped": (bit_flipped, "data/0 has CRC-32"),
    "compressed": (compressed, "is compressed (method 8)"),
    "half of it": (half, "truncated"),
    "legacy": (
        lambda path: torch.save({"a": torch.zeros(9)}, path, _use_new_zipfile_serialization=False),
        "bare pickle as PyTorch before 1.6 wrote it",
    ),
    "a training checkpoint": (
        lambda path: torch.save({"epoch": 1, "model": {"a": torch.zeros(1)}, "lr": [0.1]}, path),
        "epoch is an integer, model is a dict, lr is a list",
    ),
    "a tensor": (lambda path: torch.save(torch.zeros(9), path), "holds a call, not a dict of tensors"),
    "a pickled model": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "asks for torch.nn.modules.linear.Linear",
    ),
    "a program": (
        lambda path: torch.jit.script(torch.nn.Linear(2, 2)).save(str(path)),
        "this is a TorchScript program",
    ),
    "integers": (lambda path: torch.save({"ids": torch.arange(3)}, path), "ids (I64)"),
    "complex numbers": (
        lambda path: torch.save({"z": torch.zeros(2, dtype=torch.complex64)}, path),
        "asks for torch.ComplexFloatStorage",
    ),
    "a broadcast": (
        lambda path: torch.save({"a": torch.zeros(1).expand(1 << 40)}, path),
        "larger than its storage of 1 elements",
    ),
    "a plain pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "bare pickle"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_other_files_are_refused_with_the_reason(name: str, tensor_probe: Program, tmp_path: Path) -> None:
    damage, words = DAMAGE[name]
    path = tmp_path / "state.bin"
    torch.save({"a": torch.randn(40)}, path)
    read_here(tensor_probe, path)
    damage(path)
    assert words in refused(tensor_probe, path)
