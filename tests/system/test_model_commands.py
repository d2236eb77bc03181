"""rrhf model info, convert and resize."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from program import ENVIRONMENT, Program, copy_of, refused
from safetensors_file import read_file, read_folder, write_file

Folder = Callable[[str], Path]


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    """A model that may be changed."""
    return copy_of(models / "hf", tmp_path / "model")


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder: Path, change: Callable[[dict], None]) -> None:
    tensors = read_file(folder / "model.safetensors")
    change(tensors)
    write_file(folder / "model.safetensors", tensors)


def floats(tensor: tuple[str, list[int], bytes]) -> list[float]:
    return list(struct.unpack(f"<{len(tensor[2]) // 4}f", tensor[2]))


# --- info -------------------------------------------------------------------------------------------------------------


def test_info(rrhf: Program, models: Path) -> None:
    """Figures of stories260K, worked out from its config."""
    out = rrhf("model", "info", models / "hf").stdout
    # 2 x 512 x 64 + 5 x (64 x (64 + 32 + 32 + 64) + 3 x 64 x 172 + 2 x 64) + 64
    assert "292,800 parameters in 48 tensors and 1 file" in out
    assert "5 layers of 64, 8 heads of 8 (4 key/value), intermediate 172, 512 positions" in out
    assert "512 rows, 512 ids in the tokenizer: they fit" in out
    assert "bos 1 <s>   eos 2 </s>   unk 0 <unk>   pad none" in out
    # 4, 16 and 18 bytes a parameter
    assert "1.17MB to run as it is; to train 4.68MB with float32, 5.27MB with bfloat16" in out
    assert "self_attn.k_proj.weight               [32, 64]         float32  x 5" in out
    assert "sha256" not in out


def test_info_with_hashes(rrhf: Program, models: Path) -> None:
    path = models / "hf" / "model.safetensors"
    out = rrhf("model", "info", models / "hf", "--hashes").stdout
    assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  model.safetensors  {path.stat().st_size:,}" in out


def test_info_says_what_is_odd(rrhf: Program, model: Path, repo: Path) -> None:
    edit_json(model / "config.json", bos_token_id=0)
    assert "bos_token_id is 0 in config.json, 1 in the tokenizer" in rrhf("model", "info", model).stdout
    shutil.copy(repo / "data" / "quickstart" / "tokenizer.model", model / "tokenizer.model")
    assert "TOO FEW ROWS" in rrhf("model", "info", model).stdout
    (model / "tokenizer.model").unlink()
    assert "no tokenizer.model in the folder" in rrhf("model", "info", model).stdout
    (model / "rrhf.json").write_text('{"encoding": "released", "bos_token": "eos"}')
    assert "with the released encoding, BOS: eos" in rrhf("model", "info", model).stdout


@pytest.mark.parametrize("verb", ["info", "convert"])
def test_folders_of_other_kinds(verb: str, rrhf: Program, model: Path, tmp_path: Path) -> None:
    """Meta's layout, and a FIFO where weights should be, which nothing ever writes into."""
    meta = tmp_path / "meta"
    meta.mkdir()
    for name in ("consolidated.00.pth", "params.json"):
        (meta / name).write_text("{}")
    out = () if verb == "info" else ("--out", tmp_path / "out")
    refused(rrhf("model", verb, meta, *out, check=False), tmp_path, "Meta's layout", "convert_llama_weights_to_hf.py")
    shutil.copy(model / "config.json", meta / "config.json")
    refused(rrhf("model", verb, meta, *out, check=False), tmp_path, "Meta's layout")
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    refused(rrhf("model", verb, model, *out, check=False), tmp_path, "holds no weights", "model.safetensors is a FIFO")
    (model / "config.json").unlink()
    os.mkfifo(model / "config.json")
    refused(rrhf("model", verb, model, *out, check=False), tmp_path, "config.json: is a FIFO; a regular file is needed")


def test_info_of_what_does_not_fit(rrhf: Program, model: Path, tmp_path: Path) -> None:
    edit_json(model / "config.json", intermediate_size=180)
    refused(rrhf("model", "info", model, check=False), tmp_path, "[172, 64], the config asks for [180, 64]")
    refused(rrhf("model", "info", tmp_path / "absent", check=False), tmp_path, "no such model folder")
    refused(rrhf("model", "info", check=False), tmp_path, "model info needs DIR")


# --- convert ----------------------------------------------------------------------------------------------------------


def test_convert_keeps_every_bit(rrhf: Program, model: Path, tmp_path: Path) -> None:
    (model / "generation_config.json").write_text('{"max_new_tokens": 7}')
    (model / "rrhf.json").write_text('{"encoding": "released", "bos_token": "eos"}')
    rrhf("model", "convert", model, "--out", tmp_path / "out", "--shard-size", "100KB")
    assert read_folder(tmp_path / "out") == read_folder(model)
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 10
    for shard in shards:
        tensors = read_file(shard)
        assert len(tensors) == 1 or sum(len(data) for _, _, data in tensors.values()) <= 100_000
    for name in ("tokenizer.model", "generation_config.json", "rrhf.json"):
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()
    rrhf("model", "convert", tmp_path / "out", "--out", tmp_path / "back")
    assert read_folder(tmp_path / "back") == read_folder(model)
    assert (tmp_path / "back" / "model.safetensors").exists()


@pytest.mark.parametrize("dtype,word,size", [("float16", "F16", 2), ("bfloat16", "BF16", 2), ("float64", "F64", 8)])
def test_convert_to_another_dtype(dtype: str, word: str, size: int, rrhf: Program, model: Path, tmp_path: Path) -> None:
    rrhf("model", "convert", model, "--out", tmp_path / "out", "--dtype", dtype)
    before, after = read_folder(model), read_folder(tmp_path / "out")
    assert {name: (word, shape, len(data) // 4 * size) for name, (_, shape, data) in before.items()} == {
        name: (dtype, shape, len(data)) for name, (dtype, shape, data) in after.items()
    }
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == dtype
    if dtype == "float16":
        name = "model.norm.weight"
        expected = struct.pack("<64e", *floats(before[name]))
        assert after[name][2] == expected


def test_convert_refuses_weights_out_of_range(rrhf: Program, model: Path, tmp_path: Path) -> None:
    def enlarge(tensors: dict) -> None:
        dtype, shape, data = tensors["model.norm.weight"]
        tensors["model.norm.weight"] = (dtype, shape, struct.pack("<2f", 70000, -1e30) + data[8:])

    edit_tensors(model, enlarge)
    result = rrhf("model", "convert", model, "--out", tmp_path / "out", "--dtype", "float16", check=False)
    refused(result, tmp_path, "2 weights are beyond the range of float16, the first in model.norm.weight")
    rrhf("model", "convert", model, "--out", tmp_path / "out", "--dtype", "bfloat16")


def test_convert_counts_weights_that_become_zero(rrhf: Program, model: Path, tmp_path: Path) -> None:
    """float16 holds nothing between 0 and 6e-8; a third of the norm's weights are 1e-9 here, one was zero before."""
    small = [1e-9 if i % 3 == 0 else 0.0 if i == 1 else -1e-3 for i in range(64)]

    def shrink(tensors: dict) -> None:
        tensors["model.norm.weight"] = ("F32", [64], struct.pack("<64f", *small))

    edit_tensors(model, shrink)
    kept = rrhf("model", "convert", model, "--out", tmp_path / "wide", "--dtype", "bfloat16")
    assert "became zero" not in kept.stderr
    said = rrhf("model", "convert", model, "--out", tmp_path / "out", "--dtype", "float16").stderr
    words = " weights are too small for float16 and became zero, the first in model."
    assert f"warning: 22{words}norm.weight" in said

    def shrink_one(tensors: dict) -> None:
        tensors["model.norm.weight"] = ("F32", [64], struct.pack("<64f", *[1.0] * 64))
        dtype, shape, data = tensors["model.embed_tokens.weight"]
        tensors["model.embed_tokens.weight"] = (dtype, shape, struct.pack("<f", 1e-9) + data[4:])

    edit_tensors(model, shrink_one)  # of 32,768: as happens to any model
    said = rrhf("model", "convert", model, "--out", tmp_path / "one", "--dtype", "float16").stderr
    assert f"1{words}embed_tokens.weight" in said and "warning" not in said


def test_convert_names_all_that_is_missing_and_odd(rrhf: Program, model: Path, tmp_path: Path) -> None:
    def spoil(tensors: dict) -> None:
        del tensors["lm_head.weight"]
        tensors["model.layers.5.mlp.up_proj.weight"] = tensors["model.norm.weight"]

    edit_tensors(model, spoil)
    result = rrhf("model", "convert", model, "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, "missing: lm_head.weight", "not part of a LLaMA of this config: model.layers.5.mlp")


def test_a_tied_head_is_left_out(rrhf: Program, model: Path, tmp_path: Path) -> None:
    edit_json(model / "config.json", tie_word_embeddings=True)
    rrhf("model", "convert", model, "--out", tmp_path / "out")
    assert "lm_head.weight" not in read_folder(tmp_path / "out")


def tie(model: Path, tmp_path: Path, change: Callable[[list[int], bytes], tuple[list[int], bytes]]) -> Path:
    """A folder whose config ties the head to the embedding, with a head beside it that change() makes of its own."""
    edit_json(model / "config.json", tie_word_embeddings=True)

    def replace(tensors: dict) -> None:
        dtype, shape, data = tensors["model.embed_tokens.weight"]
        tensors["lm_head.weight"] = (dtype, *change(shape, data))

    edit_tensors(model, replace)
    return model


def tied_commands(model: Path, tmp_path: Path) -> dict[str, list[object]]:
    return {
        "convert": ["model", "convert", model],
        "resize": ["model", "resize", model, "--vocab", 515],
        "delta make": ["delta", "make", "--base", model, "--target", model],
    }


@pytest.mark.parametrize("verb", ["convert", "resize", "delta make"])
def test_a_head_that_a_tied_checkpoint_holds(verb: str, rrhf: Program, model: Path, tmp_path: Path) -> None:
    command = (*tied_commands(model, tmp_path)[verb], "--out", tmp_path / "out")
    tie(model, tmp_path, lambda shape, data: (shape, data))
    assert "warning" not in rrhf(*command).stderr
    shutil.rmtree(tmp_path / "out")
    tie(model, tmp_path, lambda shape, data: (shape, data[:-4] + struct.pack("<f", 7)))
    said = rrhf(*command).stderr
    assert "holds a lm_head.weight that differs from the embedding" in said and "it is no part of the model" in said
    assert "lm_head.weight" not in read_folder(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    tie(model, tmp_path, lambda shape, data: ([3, 3], data[:36]))
    words = "lm_head.weight is [3, 3], the embedding that the config ties it to [512, 64]"
    refused(rrhf(*command, check=False), tmp_path, words)
    refused(rrhf("model", "info", model, check=False), tmp_path, words)


@pytest.mark.parametrize("side", ["base", "target"])
def test_an_unused_head_is_warned_of_by_all(side: str, rrhf: Program, model: Path, models: Path, tmp_path: Path) -> None:
    """Also where one side of a delta alone ties its head."""
    tie(model, tmp_path, lambda shape, data: (shape, data[:-4] + struct.pack("<f", 7)))
    data = tmp_path / "data.jsonl"
    data.write_text('{"query": "Once", "responses": ["upon a time", "two"], "scores": [1, 0]}\n')
    other = {"base": ("--base", model, "--target", models / "hf"), "target": ("--target", model, "--base", models / "hf")}
    for command in (
        ("model", "info", model),
        ("eval", "--model", model, "--data", data),
        ("delta", "make", *other[side], "--out", tmp_path / "out"),
    ):
        said = rrhf(*command).stderr
        assert said.count(f"{model}: holds a lm_head.weight that differs from the embedding") == 1, command


# --- resize -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["mean", "zero"])
def test_resize_fills_new_rows(fill: str, rrhf: Program, model: Path, tmp_path: Path) -> None:
    rrhf("model", "resize", model, "--vocab", 515, "--fill", fill, "--out", tmp_path / "out")
    before, after = read_folder(model), read_folder(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 515
    for name in before:
        if name not in ("model.embed_tokens.weight", "lm_head.weight"):
            assert before[name] == after[name]
            continue
        old, new = floats(before[name]), floats(after[name])
        assert after[name][1] == [515, 64] and new[: len(old)] == old
        for row in range(512, 515):
            for column in range(64):
                mean = sum(old[column::64]) / 512
                assert new[row * 64 + column] == (0 if fill == "zero" else pytest.approx(mean, rel=1e-4, abs=1e-6))


def test_resize_there_and_back(rrhf: Program, model: Path, tmp_path: Path) -> None:
    rrhf("model", "resize", model, "--vocab", 600, "--out", tmp_path / "long")
    rrhf("model", "resize", tmp_path / "long", "--vocab", 512, "--out", tmp_path / "out")
    assert read_folder(tmp_path / "out") == read_folder(model)


def test_add_pad(rrhf: Program, model: Path, tmp_path: Path) -> None:
    (model / "generation_config.json").write_text('{"bos_token_id": 1}')
    result = rrhf("model", "resize", model, "--add-pad", "--out", tmp_path / "out")
    assert "513 rows, 1 new (the mean of the old ones); the tokenizer has [PAD]\n" in result.stderr
    out = rrhf("model", "info", tmp_path / "out").stdout
    assert "513 rows, 513 ids in the tokenizer: they fit" in out and "pad 512 [PAD]" in out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pad_token_id"] == 512
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == {"bos_token_id": 1, "pad_token_id": 512}
    again = rrhf("model", "resize", tmp_path / "out", "--add-pad", "--out", tmp_path / "again", check=False)
    assert again.returncode == 2 and "has the padding token [PAD] (id 512) already" in again.stderr


def test_add_pad_takes_a_row_that_is_there(rrhf: Program, model: Path, tmp_path: Path) -> None:
    rrhf("model", "resize", model, "--vocab", 520, "--fill", "zero", "--out", tmp_path / "long")
    result = rrhf("model", "resize", tmp_path / "long", "--add-pad", "--out", tmp_path / "out")
    words = "520 rows of vocabulary as before; the tokenizer has [PAD], id 512, whose row was there before and is kept as it is"
    assert words in result.stderr
    assert read_folder(tmp_path / "out") == read_folder(tmp_path / "long")


RESIZE = [
    (("--vocab", "511"), "the tokenizer has 512 ids, 511 rows of vocabulary are too few"),
    (("--vocab", "512", "--add-pad"), "--vocab 512: 513 rows are needed with [PAD]"),
    (("--vocab", "0"), "--vocab 0: a whole number from 1"),
    (("--vocab", "1073741825"), "1073741825 rows of vocabulary are too many: a config.json takes up to 1073741824"),
    # 64 times this is 2^61, and 4 times that is 0
    (("--vocab", "36028797018963968"), "36028797018963968 rows of vocabulary are too many"),
    (("--vocab", "many"), "many"),
    ((), "needs --vocab N or --add-pad"),
    (("--add-pad", "--fill", "one"), "--fill must be one of zero | mean"),
]


@pytest.mark.parametrize("flags,words", RESIZE, ids=lambda value: value if isinstance(value, str) else "")
def test_resize_refuses(flags: tuple[str, ...], words: str, rrhf: Program, model: Path, tmp_path: Path) -> None:
    refused(rrhf("model", "resize", model, "--out", tmp_path / "out", *flags, check=False), tmp_path, words)


def test_add_pad_needs_a_tokenizer(rrhf: Program, model: Path, tmp_path: Path) -> None:
    (model / "tokenizer.model").unlink()
    result = rrhf("model", "resize", model, "--add-pad", "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, "tokenizer.model")


# --- all --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [True, False], ids=["present", "absent"])
def test_generation_config(
    present: bool, rrhf: Program, make_config: Callable[..., Path], model: Path, tmp_path: Path
) -> None:
    """Every model made from another keeps its generation config; without one it gets one of its config's special ids."""
    if present:
        (model / "generation_config.json").write_text('{"max_new_tokens":  7}')
    rrhf("model", "convert", model, "--out", tmp_path / "converted")
    rrhf("model", "resize", model, "--vocab", 515, "--out", tmp_path / "resized")
    rrhf("delta", "make", "--base", model, "--target", model, "--out", tmp_path / "delta")
    rrhf("delta", "apply", "--base", model, "--delta", tmp_path / "delta", "--out", tmp_path / "recovered", "--no-answer")
    rrhf("train", make_config("run", model={"path": str(model)}, train={"max_steps": 1}))
    for folder in ("converted", "resized", "delta", "recovered", "run/model"):
        text = (tmp_path / folder / "generation_config.json").read_text()
        if present:
            assert text == '{"max_new_tokens":  7}', folder
        else:
            assert json.loads(text) == {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}, folder


@pytest.mark.parametrize("verb", ["convert", "resize"])
def test_places_that_can_not_be_used(verb: str, rrhf: Program, model: Path, tmp_path: Path) -> None:
    flags = ("--vocab", "512") if verb == "resize" else ()
    for out, words in ((model, "exists and is not empty"), (model / "config.json", "exists and is not empty"), ("/proc/out", "/proc/out")):
        before = {path.name: path.read_bytes() for path in model.iterdir()}
        result = rrhf("model", verb, model, "--out", out, *flags, check=False)
        assert result.returncode == 2 and words in result.stderr and result.stdout == "", result.stderr
        assert before == {path.name: path.read_bytes() for path in model.iterdir()}


def test_a_disk_without_room(build_dir: Path, models: Path, tmp_path: Path) -> None:
    """The model has 1.17 MB: on a disk of 1 MiB nothing is begun."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && "$@"; code=$?; ls -A "$0"; exit $code', disk]
    if subprocess.run([*mounted, "true"], capture_output=True).returncode != 0:
        pytest.skip("no disk of that size can be mounted here (root may)")
    command = [build_dir / "rrhf", "model", "convert", models / "hf", "--out", disk / "out", "--shard-size", "100KB"]
    result = subprocess.run([*mounted, *command], capture_output=True, text=True, env=ENVIRONMENT)
    assert result.returncode == 1 and f"{disk}: 1,171,200 bytes are to be written there, its disk has 1,0" in result.stderr, result.stderr
    assert result.stdout == ""


SMALL_FILES = [
    ("generation_config.json", "[]", "is an array of 0; an object is needed"),
    ("generation_config.json", "3", "is the number 3; an object is needed"),
    ("generation_config.json", '{"_from_model_config": tru', "not JSON"),
    ("generation_config.json", "", "not JSON"),
    ("rrhf.json", '{"encoding": "x"}', "needs encoding and bos_token"),
    ("rrhf.json", "{", "not JSON"),
    ("tokenizer_config.json", "[]", "an object is needed"),
    ("tokenizer.json", '{"added_tokens": [', "not JSON"),
    ("tokenizer.model", "pieces", "not a SentencePiece model"),
    ("generation_config.json", None, "is a FIFO; a regular file is needed"),
    ("rrhf.json", None, "is a FIFO; a regular file is needed"),
    ("tokenizer_config.json", None, "is a FIFO; a regular file is needed"),
    ("special_tokens_map.json", None, "is a FIFO; a regular file is needed"),
    ("tokenizer.json", None, "is a FIFO; a regular file is needed"),
    ("tokenizer.model", None, "is a FIFO; a regular file is needed"),
    ("rrhf-delta.json", None, "is a FIFO; a regular file is needed"),
]


@pytest.mark.parametrize("verb", ["convert", "resize", "delta make", "delta apply"])
@pytest.mark.parametrize("name,content,words", SMALL_FILES, ids=lambda value: str(value)[:24])
def test_small_files_that_are_broken(
    name: str, content: str | None, words: str, verb: str, build_dir: Path, model: Path, models: Path, tmp_path: Path
) -> None:
    """They are looked at before the weights, and the message names the source. Nothing ever writes into the FIFO."""
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name) if content is None else (model / name).write_text(content)
    arguments = {
        "convert": ["model", "convert", model],
        "resize": ["model", "resize", model, "--vocab", 515],
        "delta make": ["delta", "make", "--base", models / "hf", "--target", model],
        "delta apply": ["delta", "apply", "--base", models / "hf", "--delta", model],
    }[verb]
    command = [str(part) for part in (build_dir / "rrhf", *arguments, "--out", tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    refused(result, tmp_path, str(model), name, words)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", "generation_config.json", "rrhf.json", "added_tokens.json", "tokenizer.json"])
def test_small_files_that_are_links_to_nowhere(name: str, rrhf: Program, model: Path, tmp_path: Path) -> None:
    """As a download's cache has them that was not finished: what was to be there must not count as absent."""
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(tmp_path / "blobs" / "absent")
    result = rrhf("model", "convert", model, "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, f"{model / name}: is a link to nowhere; a regular file is needed")


def test_training_looks_at_what_it_will_carry(rrhf: Program, make_config: Callable[..., Path], model: Path, tmp_path: Path) -> None:
    (model / "generation_config.json").write_text("[]")
    result = rrhf("train", make_config("run", model={"path": str(model)}), check=False)
    assert result.returncode == 2 and f"{model / 'generation_config.json'}: is an array of 0" in result.stderr, result.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_fifo_beside_a_base(rrhf: Program, model: Path, models: Path, tmp_path: Path, build_dir: Path) -> None:
    rrhf("delta", "make", "--base", models / "hf", "--target", models / "hf", "--out", tmp_path / "delta")
    (model / "tokenizer.model").unlink()
    os.mkfifo(model / "tokenizer.model")
    command = [build_dir / "rrhf", "delta", "apply", "--base", model, "--delta", tmp_path / "delta", "--out", tmp_path / "out"]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    refused(result, tmp_path, f"{model / 'tokenizer.model'}: is a FIFO; a regular file is needed")


def old_conversion(model: Path) -> None:
    """As the first conversions of LLaMA (2023) lie in many places."""
    config = json.loads((model / "config.json").read_text())
    config.pop("max_position_embeddings")
    config.update({"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1, "max_sequence_length": 512})
    (model / "config.json").write_text(json.dumps(config))
    (model / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "LLaMATokenizer", "bos_token": "", "eos_token": "", "unk_token": ""}'
    )
    (model / "special_tokens_map.json").write_text("{}")


@pytest.mark.parametrize("generation", [None, {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1, "top_k": 3}])
@pytest.mark.parametrize("verb", ["convert", "resize", "delta"])
def test_an_old_conversion(verb: str, generation: dict | None, rrhf: Program, model: Path, tmp_path: Path) -> None:
    old_conversion(model)
    if generation:
        (model / "generation_config.json").write_text(json.dumps(generation))
    out = tmp_path / "out"
    if verb == "delta":
        made = rrhf("delta", "make", "--base", model, "--target", model, "--out", tmp_path / "delta").stderr
        assert "bos_token_id is 0 in" in made and "eos_token_id is 1 in" in made
        said = rrhf("delta", "apply", "--base", model, "--delta", tmp_path / "delta", "--out", out, "--no-answer").stderr
    else:
        said = rrhf("model", verb, model, "--out", out, *(("--vocab", 515) if verb == "resize" else ())).stderr
    assert "bos_token_id is 0 in" in said and "1 (<s>) in its tokenizer" in said and "eos_token_id is 1 in" in said
    made = json.loads((out / "generation_config.json").read_text())
    assert made == {**(generation or {"_from_model_config": True}), "bos_token_id": 1, "eos_token_id": 2}
    declared = json.loads((out / "tokenizer_config.json").read_text())
    assert declared == {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert json.loads((out / "config.json").read_text())["max_position_embeddings"] == 512
    assert "512 positions" in rrhf("model", "info", out).stdout


def test_init_with_other_ids(rrhf: Program, model: Path, tmp_path: Path) -> None:
    edit_json(model / "config.json", bos_token_id=0, eos_token_id=1)
    said = rrhf("model", "init", "--config", model / "config.json", "--tokenizer", model, "--out", tmp_path / "out").stderr
    assert f"bos_token_id is 0 in {tmp_path / 'out'}'s config.json and 1 (<s>) in its tokenizer" in said
    assert f"eos_token_id is 1 in {tmp_path / 'out'}'s config.json and 2 (</s>) in its tokenizer" in said


def test_verbs(rrhf: Program) -> None:
    result = rrhf("model", "inform", check=False)
    assert result.returncode == 2 and "inform is not a verb of rrhf model; there are: init, info, convert, merge, plan, resize" in result.stderr
    assert "rrhf model needs a verb" in rrhf("model", check=False).stderr
    out = rrhf("model", "--help").stdout
    for verb in ("init", "info", "convert", "resize"):
        assert f"  {verb} " in out


def test_a_folder_of_two_dtypes(rrhf: Program, model: Path, tmp_path: Path) -> None:
    """One tensor in another dtype than the rest: kept as it is, or made like the rest."""

    def widen(tensors: dict) -> None:
        name = "model.norm.weight"
        tensors[name] = ("F64", [64], struct.pack("<64d", *floats(tensors[name])))

    edit_tensors(model, widen)
    rrhf("model", "convert", model, "--out", tmp_path / "kept")
    assert read_folder(tmp_path / "kept") == read_folder(model)
    rrhf("model", "convert", model, "--out", tmp_path / "out", "--dtype", "float32")
    assert {dtype for dtype, _, _ in read_folder(tmp_path / "out").values()} == {"F32"}
