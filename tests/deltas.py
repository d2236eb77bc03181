"""Small models, a delta between them, and what takes it apart: what the tests of `rrhf delta` share."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from program import Program
from safetensors_file import read_folder

SHAPE = {
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
}
EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


def make_model(rrhf: Program, models: Path, folder: Path, seed: int, dtype: str = "float16", **shape: Any) -> Path:
    config = folder.with_suffix(".json")
    config.write_text(json.dumps({**SHAPE, **shape}))
    rrhf("model", "init", "--config", config, "--tokenizer", models / "hf", "--out", folder, "--seed", seed, "--dtype", dtype)
    return folder


class World:
    """A base, a target with [PAD], and the delta between them, all float16."""

    def __init__(self, rrhf: Program, models: Path, folder: Path) -> None:
        self.base = make_model(rrhf, models, folder / "base", 1)
        self.trained = make_model(rrhf, models, folder / "trained", 2)
        self.padded_base, self.target = folder / "padded", folder / "target"
        rrhf("model", "resize", self.base, "--add-pad", "--fill", "mean", "--out", self.padded_base)
        rrhf("model", "resize", self.trained, "--add-pad", "--out", self.target)
        (self.target / "rrhf.json").write_text('{"encoding": "released", "bos_token": "eos"}')
        (self.target / "generation_config.json").write_text('{"max_new_tokens": 7}')
        self.delta = folder / "delta"
        self.made = rrhf("delta", "make", "--base", self.base, "--target", self.target, "--out", self.delta)


@pytest.fixture(scope="module")
def world(rrhf: Program, models: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(rrhf, models, tmp_path_factory.mktemp("delta"))


@pytest.fixture
def apply(rrhf: Program, world: World, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """rrhf delta apply into tmp_path/out, without letting the result answer."""

    def run(*flags: object, base: Path | None = None, delta: Path | None = None, check: bool = True) -> Any:
        arguments = ("--base", base or world.base, "--delta", delta or world.delta, "--out", tmp_path / "out")
        return rrhf("delta", "apply", *arguments, "--no-answer", *flags, check=check)

    return run


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def floats(data: bytes, dtype: str) -> list[float]:
    code, size = {"F16": ("e", 2), "F32": ("f", 4), "F64": ("d", 8)}[dtype]
    return list(struct.unpack(f"<{len(data) // size}{code}", data))


def without_manifest(folder: Path, to: Path) -> Path:
    copy(folder, to)
    (to / "rrhf-delta.json").unlink()
    return to


def recovered(folder: Path) -> dict:
    tensors = read_folder(folder)
    shutil.rmtree(folder)
    return tensors
