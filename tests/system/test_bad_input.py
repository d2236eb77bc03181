"""Wrong input ends with exit code 2, a message that says where and what, and nothing written."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any, Callable

import pytest

from program import Program

GOOD = '{"query": "a b", "responses": ["c d", "e"], "scores": [1, 2]}\n'


def refused(rrhf: Program, *arguments: object, words: tuple[str, ...], untouched: Path | None = None) -> str:
    result = rrhf(*arguments, check=False)
    assert result.returncode == 2, (result.returncode, result.stderr)
    for word in words:
        assert word in result.stderr, (word, result.stderr)
    assert result.stdout == ""
    assert "terminate" not in result.stderr and "Exception raised from" not in result.stderr
    assert len(result.stderr) < 4000, len(result.stderr)
    assert untouched is None or not untouched.exists(), "something was written"
    return result.stderr


def test_the_good_input_passes(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    rrhf("train", make_config())
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


BAD_DATA = {
    "truncated line": (GOOD + GOOD[:30], (":2", "JSON")),
    "truncated array": ("[" + GOOD + "," + GOOD[:25], ("row 1", "byte")),
    "NaN score": (GOOD + GOOD.replace("[1, 2]", "[NaN, 2]"), (":2", "scores", "NaN")),
    "deep nesting": (GOOD + '{"query": ' + "[" * 1_000_000 + "]" * 1_000_000 + "}\n", (":2", "nested deeper than 64")),
    "fewer scores": (GOOD + GOOD.replace("[1, 2]", "[1]"), (":2", "scores", "1", "2 responses")),
    "a score in quotes": (GOOD.replace("[1, 2]", '["1", 2]') + GOOD, (":1", "scores", "a string")),
    "no response": (GOOD + '{"query": "a", "responses": [], "scores": []}\n', (":2", "responses")),
    "no pair": (GOOD.replace("[1, 2]", "[3, 3]") * 3, ("pair",)),
    "empty": ("", ("empty",)),
    "white space": ("\n \n\n", ("empty",)),
    "another layout": ('{"prompt": "a", "response": ["b", "c"]}\n', ("prompt, response", "query")),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data(name: str, rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    text, words = BAD_DATA[name]
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    refused(rrhf, "train", make_config(data={"train": str(file)}), words=("bad.jsonl", *words) if name != "no pair" else words,
            untouched=tmp_path / "run")
    refused(rrhf, "eval", make_config(), "--data", file, words=words)
    assert rrhf("data", "validate", file, check=False).returncode == 2


def test_bytes_that_are_not_utf8(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(GOOD.encode() + GOOD.encode().replace(b"c d", b"\xff\xfe"))
    refused(rrhf, "train", make_config(data={"train": str(file)}), words=("bad.jsonl:2", "UTF-8"), untouched=tmp_path / "run")


def test_no_pair_passes_without_rank_loss(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "ties.jsonl"
    file.write_text(GOOD.replace("[1, 2]", "[3, 3]") * 3)
    rrhf("train", make_config(data={"train": str(file)}, objective={"rank_loss": "none"}))


def test_all_errors_are_named_up_to_twenty(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(GOOD + GOOD.replace("[1, 2]", "[1]") * 30)
    message = refused(rrhf, "train", make_config(data={"train": str(file)}), words=("30 errors", "10 more"))
    assert message.count("bad.jsonl:") == 20


def test_the_chinese_row_of_another_layout(rrhf: Program, make_config: Callable[..., Path], shared: Path, tmp_path: Path) -> None:
    refused(rrhf, "train", make_config(data={"train": str(shared / "data" / "rrhf_row_zh.json")}),
            words=("rrhf_row_zh.json", "prompt", "response", "query"), untouched=tmp_path / "run")


def test_missing_data_file(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    refused(rrhf, "train", make_config(data={"train": "nowhere.jsonl"}), words=("nowhere.jsonl", "No such file"),
            untouched=tmp_path / "run")


def test_a_template_twice(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "templated.jsonl"
    row = {"query": "### Instruction:\nsay it\n\n### Response:", "responses": ["a", "b"], "scores": [1, 2]}
    file.write_text(GOOD + json.dumps(row) + "\n")
    refused(rrhf, "train", make_config(data={"train": str(file), "template": "alpaca"}),
            words=("templated.jsonl:2", "Alpaca", "none"), untouched=tmp_path / "run")


# --- settings ---------------------------------------------------------------------------------------------------------

BAD_SETTINGS = [
    (("optimizer.learning_rate=-1",), ("optimizer.learning_rate", "-1")),
    (("objective.normalisation=none",), ("objective.normalisation", "nearest: objective.normalization")),
    (("train.epochs=many",), ("train.epochs", "many")),
    (("data.max_length=513",), ("max_length 513", "512 positions")),
    (("objective.rank_loss=dpo",), ("rank_loss", "dpo", "rrhf")),
    (("optimizer.learning_rate=-1", "train.epoch=3", "data.max_length=0"), ("learning_rate", "train.epoch ", "max_length")),
    (("model.path=nowhere",), ("nowhere", "no such model folder")),
    (("data.template=nowhere.txt",), ("nowhere.txt",)),
    (("train.seed",), ("train.seed", "=")),
]


@pytest.mark.parametrize("settings,words", BAD_SETTINGS, ids=[" ".join(case[0]) for case in BAD_SETTINGS])
def test_settings(
    settings: tuple[str, ...], words: tuple[str, ...], rrhf: Program, make_config: Callable[..., Path], tmp_path: Path
) -> None:
    flags = [part for setting in settings for part in ("--set", setting)]
    refused(rrhf, "train", make_config(), *flags, words=words, untouched=tmp_path / "run")


def test_cuda_without_one(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    result = rrhf("train", make_config(device="cuda"), check=False)
    if result.returncode == 0:
        pytest.skip("this machine has CUDA: nothing to refuse")
    assert result.returncode == 2 and "device cpu or auto" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments,words", [
    (("tran",), ("tran is not a command", "train")),
    ((), ("usage",)),
    (("train",), ("config file",)),
    (("train", "nowhere.json"), ("nowhere.json",)),
    (("train", "--preset", "wombat-70b"), ("wombat-70b", "wombat-7b")),
    (("train", "a.json", "b.json"), ("b.json",)),
    (("train", "--fast"), ("fast",)),
    (("eval",), ("data.eval",)),
    (("model", "init"), ("--config",)),
    (("model", "paint"), ("paint",)),
    (("data", "paint"), ("paint",)),
    (("report", "nowhere"), ("nowhere",)),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value))
def test_usage(arguments: tuple[str, ...], words: tuple[str, ...], rrhf: Program) -> None:
    refused(rrhf, *arguments, words=words)


@pytest.mark.parametrize("command", ["train", "eval", "data", "report"])
def test_help_goes_to_stdout(command: str, rrhf: Program) -> None:
    assert "rrhf" in rrhf(command, "--help").stdout
    assert command in rrhf("--help").stdout


# --- output -----------------------------------------------------------------------------------------------------------


def test_an_output_below_a_file(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(rrhf, "train", make_config(output=str(tmp_path / "file" / "run")), words=("is a file, not a folder",))


def test_an_output_that_is_not_writable(rrhf: Program, make_config: Callable[..., Path]) -> None:
    """/proc takes no folder, not even from root."""
    refused(rrhf, "train", make_config(output="/proc/run"), words=("/proc/run",))


def test_an_output_that_holds_something(rrhf: Program, make_config: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    refused(rrhf, "train", make_config(), words=("is not empty", "--resume"))
    refused(rrhf, "train", make_config(), "--resume", words=("holds no run to resume",))
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["notes.txt"]


# --- model folders ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A copy of a good model folder, to be damaged."""
    copy = tmp_path / "model"
    shutil.copytree(models / "hf", copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    return copy


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def rewrite_header(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_missing_and_unexpected_tensor(rrhf: Program, make_config: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    rewrite_header(folder, lambda header: header.update({"other": header.pop("model.norm.weight")}))
    refused(rrhf, "train", make_config(model={"path": str(folder)}), words=("missing: model.norm.weight", "other"),
            untouched=tmp_path / "run")


def test_wrong_shape(rrhf: Program, make_config: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    change_config(folder, intermediate_size=170)
    refused(rrhf, "train", make_config(model={"path": str(folder)}),
            words=("model.layers.0.mlp.up_proj.weight is [172, 64], the config asks for [170, 64]",), untouched=tmp_path / "run")


def test_vocabulary_too_small_for_the_tokenizer(rrhf: Program, make_config: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    (folder / "added_tokens.json").write_text('{"[PAD]": 512}')
    refused(rrhf, "train", make_config(model={"path": str(folder)}), words=("513 ids", "512 rows"), untouched=tmp_path / "run")


def test_truncated_weights(rrhf: Program, make_config: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(rrhf, "train", make_config(model={"path": str(folder)}), words=("model.safetensors", "truncated"),
            untouched=tmp_path / "run")


def test_only_the_fast_tokenizer(rrhf: Program, make_config: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.model").rename(folder / "tokenizer.json")
    refused(rrhf, "train", make_config(model={"path": str(folder)}), words=("tokenizer.json", "tokenizer.model"),
            untouched=tmp_path / "run")


@pytest.mark.parametrize("fields", [{"attention_bias": True}, {"hidden_act": "gelu"}, {"quantization_config": {"bits": 4}},
                                    {"sliding_window": 64}, {"attention_sinks": 4}], ids=lambda fields: next(iter(fields)))
def test_a_model_that_is_not_implemented(
    fields: dict[str, Any], rrhf: Program, make_config: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    change_config(folder, **fields)
    refused(rrhf, "train", make_config(model={"path": str(folder)}), words=(next(iter(fields)), "config.json"),
            untouched=tmp_path / "run")
