"""Wrong input ends with exit code 2, a message that says where and what, and nothing written, beside input that passes."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from program import Program, copy_of

Config = Callable[..., Path]
Refuse = Callable[..., str]

GOOD = '{"query": "a b", "responses": ["c d", "e"], "scores": [1, 2]}\n'
DEEP = '{"query": ' + "[" * 1_000_000 + "]" * 1_000_000 + "}\n"
TIES = GOOD.replace("[1, 2]", "[3, 3]") * 3


def contents(folder: Path) -> dict[str, bytes]:
    """Everything below a folder; folders count as empty files."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.fixture
def refuse(rrhf: Program, tmp_path: Path) -> Refuse:
    """Runs a command that must end with 2 and a short message holding `words`, and must change no file of the test."""

    def run(*arguments: object, words: tuple[str, ...], lines: int = 8) -> str:
        before = contents(tmp_path)
        result = rrhf(*arguments, check=False)
        assert result.returncode == 2, (result.returncode, result.stderr)
        for word in words:
            assert word in result.stderr, (word, result.stderr)
        assert result.stdout == ""
        assert result.stderr.count("\n") <= lines and len(result.stderr) < 4000, result.stderr
        for trace in ("terminate", "Exception raised from", "[internal]", "#0"):
            assert trace not in result.stderr, result.stderr
        assert contents(tmp_path) == before, "something was written"
        return result.stderr

    return run


def test_the_good_input_passes(rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    rrhf("train", make_config())
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert "23" in rrhf("eval", make_config("other"), "--data", good_data).stdout


# --- data -------------------------------------------------------------------------------------------------------------

BAD_DATA = {
    "truncated line": (GOOD + GOOD[:30], ("bad.jsonl:2", "JSON")),
    "truncated array": ("[" + GOOD + "," + GOOD[:25], ("bad.jsonl", "row 1", "byte")),
    "text after an array": ("[" + GOOD + "]" + GOOD, ("bad.jsonl", "row 1", "byte")),
    "NaN score": (GOOD + GOOD.replace("[1, 2]", "[NaN, 2]"), ("bad.jsonl:2", "scores", "NaN")),
    "infinite score": (GOOD + GOOD.replace("[1, 2]", "[-Infinity, 2]"), ("bad.jsonl:2", "scores", "finite")),
    "huge score": (GOOD + GOOD.replace("[1, 2]", "[1e999, 2]"), ("bad.jsonl:2", "scores", "beyond what a double holds")),
    "deep nesting": (GOOD + DEEP, ("bad.jsonl:2", "nested deeper than 64")),
    "fewer scores": (GOOD + GOOD.replace("[1, 2]", "[1]"), ("bad.jsonl:2", '"scores" has 1 number for 2 responses')),
    "more scores": (GOOD + GOOD.replace("[1, 2]", "[1, 2, 3]"), ("bad.jsonl:2", '"scores" has 3 numbers for 2 responses')),
    "a score in quotes": (GOOD.replace("[1, 2]", '["1", 2]') + GOOD, ("bad.jsonl:1", "scores", "a string")),
    "a response of numbers": (GOOD + GOOD.replace('"e"', "5"), ("bad.jsonl:2", "responses", "a string is needed")),
    "no response": (GOOD + '{"query": "a", "responses": [], "scores": []}\n', ("bad.jsonl:2", "responses")),
    "a key given twice": (GOOD + GOOD.replace("}", ', "scores": [2, 1]}'), ("bad.jsonl:2", '"scores" is given twice')),
    "a row over several lines": (json.dumps(json.loads(GOOD), indent=1), ("bad.jsonl:1", "goes on over several lines")),
    "a missing key": (GOOD + GOOD.replace("query", "question"), ("bad.jsonl:2", '"query" is missing', "question")),
    "no pair": (TIES, ("bad.jsonl", "no pair in the whole file", "objective.rank_loss none")),
    "empty": ("", ("bad.jsonl", "empty")),
    "white space": ("\n \n\n", ("bad.jsonl", "empty")),
    "an empty array": ("[]", ("bad.jsonl", "empty")),
    "another layout": ('{"prompt": "a", "response": ["b", "c"]}\n', ("bad.jsonl", "prompt, response", "query")),
    "no object": ("[1, 2]", ("bad.jsonl", "row 0", "1")),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data(name: str, refuse: Refuse, rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    text, words = BAD_DATA[name]
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    refuse("train", make_config(data={"train": str(file)}), words=words)
    refuse("eval", make_config(), "--data", file, "--per-response", tmp_path / "out.jsonl", words=words)
    assert rrhf("data", "validate", file, check=False).returncode == 2


def test_bytes_that_are_not_utf8(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(GOOD.encode() + GOOD.encode().replace(b"c d", b"\xff\xfe"))
    refuse("train", make_config(data={"train": str(file)}), words=("bad.jsonl:2", "UTF-8"))


def test_truncated_gzip(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl.gz"
    file.write_bytes(gzip.compress(GOOD.encode() * 100)[:-20])
    refuse("train", make_config(data={"train": str(file)}), words=("bad.jsonl.gz", "compressed data are broken"))


@pytest.mark.parametrize("tail", [gzip.compress(GOOD.encode())[1:], b"junk", gzip.compress(GOOD.encode())[:12]])
def test_what_follows_in_a_gzip_file_is_not_lost(
    tail: bytes, refuse: Refuse, rrhf: Program, make_config: Config, tmp_path: Path
) -> None:
    file = tmp_path / "bad.jsonl.gz"
    file.write_bytes(gzip.compress(GOOD.encode() * 3) + tail)
    refuse("train", make_config(data={"train": str(file)}), words=("bad.jsonl.gz", "compressed data are broken"))
    assert rrhf("data", "validate", file, check=False).returncode == 2
    file.write_bytes(gzip.compress(GOOD.encode() * 3) + gzip.compress(GOOD.encode() * 5))
    assert " 8 usable" in rrhf("data", "validate", file).stdout


def test_each_file_needs_a_pair(refuse: Refuse, rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """As `data validate` sees it, so does training."""
    (tmp_path / "ties.jsonl").write_text(TIES)
    (tmp_path / "good.jsonl").write_text(GOOD * 3)
    files = [str(tmp_path / "good.jsonl"), str(tmp_path / "ties.jsonl")]
    refuse("train", make_config(data={"train": files}), words=("ties.jsonl: no pair in the whole file",))
    result = rrhf("data", "validate", *files, check=False)
    assert result.returncode == 2 and result.stdout.count("no pair in the whole file") == 1


def test_only_chosen_responses_make_a_pair(refuse: Refuse, rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    """Scores 1, 2, 2: the last two, which `provided` keeps, tie."""
    file = tmp_path / "bad.jsonl"
    file.write_text('{"query": "a", "responses": ["b", "c", "d"], "scores": [1, 2, 2]}\n' * 3)
    words = ("no row has two of its provided responses with unequal scores",)
    refuse("train", make_config(data={"train": str(file), "responses": "provided"}), words=words)
    result = rrhf("data", "validate", file, "--set", "data.responses=provided", check=False)
    assert result.returncode == 2 and words[0] in result.stdout
    assert rrhf("data", "validate", file).returncode == 0


def test_rows_of_ties_pass_without_a_rank_loss(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    file = tmp_path / "ties.jsonl"
    file.write_text(TIES)
    rrhf("train", make_config(data={"train": str(file)}, objective={"rank_loss": "none"}))
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["rank_accuracy"] is None and line["loss"] == line["sft_loss"]


def test_one_pair_in_the_file_is_enough(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    file = tmp_path / "ties.jsonl"
    file.write_text(TIES + GOOD)
    result = rrhf("train", make_config(data={"train": str(file)}))
    assert "ties.jsonl:1" in result.stderr and "tie" in result.stderr


def test_all_errors_are_named_up_to_twenty(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(GOOD + GOOD.replace("[1, 2]", "[1]") * 30)
    message = refuse("train", make_config(data={"train": str(file)}), words=("30 errors", "10 more"), lines=24)
    assert message.count("bad.jsonl:") == 20


def test_errors_of_several_files_are_named_together(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(GOOD + GOOD.replace("[1, 2]", "[1]"))
    files = [str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl")]
    refuse("train", make_config(data={"train": files}), words=("2 errors", "one.jsonl:2", "two.jsonl:2"))


def test_errors_are_named_beside_files_that_cannot_be_read(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(GOOD + GOOD.replace("[1, 2]", "[1]"))
    (tmp_path / "other.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (tmp_path / "held_out.jsonl").write_text(GOOD + GOOD.replace("[1, 2]", "[NaN, 1]"))
    files = [str(tmp_path / "other.jsonl"), str(tmp_path / "one.jsonl")]
    config = make_config(data={"train": files, "eval": str(tmp_path / "held_out.jsonl")})
    refuse("train", config, words=("[data] " + files[0], "no row of a known layout", "one.jsonl:2", "held_out.jsonl:2"), lines=12)
    refuse("train", config, "--set", "data.eval=nowhere.jsonl", words=("one.jsonl:2", "nowhere.jsonl: No such file"), lines=12)


@pytest.mark.parametrize(
    "arguments,words",
    [
        (("train", "--epochs", "2"), "it is a setting: --set train.epochs=..."),
        (("train", "--model", "x"), "it is a setting: --set model.path=..."),
        (("train", "--lr=1"), "it is a setting: --set optimizer.learning_rate=..."),
        (("train", "--objective", "x"), "--set objective.NAME=..."),
        (("train", "--reset"), "nearest: --preset"),
        (("generate", "--temprature", "1"), "nearest: --temperature"),
        (("data", "validate", "--presets", "x"), "nearest: --preset"),
        (("trian",), "trian is not a command; nearest: train"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_was_meant_by_a_flag(arguments: tuple[str, ...], words: str, refuse: Refuse) -> None:
    refuse(*arguments, words=(words,), lines=20)


def test_the_chinese_row_of_another_layout(refuse: Refuse, make_config: Config, shared: Path) -> None:
    file = shared / "data" / "rrhf_row_zh.json"
    words = ("rrhf_row_zh.json", "no row of a known layout", "prompt, response", "query, responses")
    refuse("train", make_config(data={"train": str(file)}), words=words)
    refuse("eval", make_config(), "--data", file, words=words)


@pytest.mark.parametrize("command", ["train", "eval"])
def test_missing_data_file(command: str, refuse: Refuse, make_config: Config) -> None:
    data = {"train": "nowhere.jsonl", "eval": "nowhere.jsonl"}
    refuse(command, make_config(data=data), words=("nowhere.jsonl", "No such file"))


def test_a_folder_as_data(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    refuse("train", make_config(data={"train": str(tmp_path)}), words=(str(tmp_path), "is a folder"))


def test_a_template_twice(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    file = tmp_path / "templated.jsonl"
    row = {"query": "### Instruction:\nsay it\n\n### Response:", "responses": ["a", "b"], "scores": [1, 2]}
    file.write_text(GOOD + json.dumps(row) + "\n")
    words = ("templated.jsonl:2", "already carries the Alpaca template", "data.template=none")
    for template in ("alpaca", "alpaca-split"):
        refuse("train", make_config(data={"train": str(file), "template": template}), words=words)
    refuse("eval", make_config(data={"template": "alpaca"}), "--data", file, words=words)


# --- settings ---------------------------------------------------------------------------------------------------------

BAD_SETTINGS = [
    (("optimizer.learning_rate=-1",), ("optimizer.learning_rate", "at least 0", "-1")),
    (("objective.normalisation=none",), ("objective.normalisation", "nearest: objective.normalization")),
    (("optimiser.learning_rate=1",), ("optimiser", "optimizer")),
    (("train.epochs=many",), ("train.epochs", "a whole number", '"many"')),
    (("train.epochs=1.5",), ("train.epochs", "a whole number", "1.5")),
    (("optimizer.betas=[0.9]",), ("optimizer.betas", "two numbers")),
    (("data.max_length=513",), ("max_length 513", "512 positions")),
    (("objective.rank_loss=dpo",), ("rank_loss", "dpo", "rrhf")),
    (("optimizer.learning_rate=-1", "train.epoch=3", "data.max_length=0"), ("learning_rate", "train.epoch ", "max_length")),
    (("model.path=nowhere",), ("nowhere", "no such model folder")),
    (("data.template=nowhere.txt",), ("nowhere.txt",)),
    (("data.train=",), ("data.train",)),
    (("data.eval_fraction=0.99",), ("data.eval_fraction", "none of 23 rows")),
    (("train.epochs=4611686018427387904",), ("train.epochs", "at most 1000000000")),
    (("train.queries_per_step=9223372036854775807",), ("train.queries_per_step", "at most 1000000000")),
    (("train.max_steps=NaN",), ("train.max_steps", "found NaN")),
    (("optimizer.learning_rate=1e999",), ("optimizer.learning_rate", "beyond what a double holds")),
    (("train.epochs.x=3",), ("train.epochs.x is not a setting: train.epochs is one, and has no parts",)),
    (("data.train.path=a",), ("data.train.path is not a setting: data.train is one",)),
    (("sample.q=3",), ("sample.q is not a setting. Settings of sample",)),
    (("data.train=[no1,no2]",), ("no1: No such file", "no2: No such file")),
    (('output="a\\u0000b"',), ("output has the character U+0000",)),
    (('data.train=["a\\u0000b"]',), ("data.train has the character U+0000",)),
    (("output=\udcff/run",), ("the value of output is not valid UTF-8",)),
    (("train." + "x" * 5000 + "=1",), ("train." + "x" * 74 + "... is not a setting",)),
    (("train.\x1b[2J=1",), ("train.\\u001b[2J is not a setting",)),
    (("train.seed",), ("--set train.seed", "key=value")),
    (("=3",), ("=3", "key=value")),
]


@pytest.mark.parametrize("settings,words", BAD_SETTINGS, ids=[" ".join(case[0]) for case in BAD_SETTINGS])
def test_settings(settings: tuple[str, ...], words: tuple[str, ...], refuse: Refuse, make_config: Config) -> None:
    flags = [part for setting in settings for part in ("--set", setting)]
    refuse("train", make_config(), *flags, words=words)


def test_twenty_mistakes_are_named(refuse: Refuse, make_config: Config) -> None:
    flags = [part for number in range(50) for part in ("--set", f"train.x{number}=1")]
    refuse("train", make_config(), *flags, words=("train.x19 is", "and 30 more mistakes"), lines=21)


@pytest.mark.parametrize("setting,words", [
    ("optimizer.learning_rate=-1", ("optimizer.learning_rate", "-1")),
    ("data.max_length=513", ("max_length 513", "512 positions")),
    ("model.path=nowhere", ("nowhere", "no such model folder")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_settings_of_an_evaluation(
    setting: str, words: tuple[str, ...], refuse: Refuse, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    refuse("eval", make_config(), "--data", good_data, "--json", out, "--set", setting, words=words)


def test_mistakes_of_a_config_are_named_with_their_lines(refuse: Refuse, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(
        "{\n"
        "  // a comment is no mistake\n"
        '  "optimizer": {"learning_rate": -1},\n'
        '  "data": {\n'
        '    "max_lenght": 5,\n'
        '    "train": 7\n'
        "  },\n"
        '  "recipe": "papers",\n'
        '  "train": {"epochs": 1,\n'
        '    "epochs": 2}\n'
        "}\n"
    )
    refuse("train", file, words=(
        "mine.json:3: optimizer.learning_rate",
        "mine.json:5: data.max_lenght is not a setting; nearest: data.max_length",
        "mine.json:6: data.train must be a path",
        "mine.json:8: recipe must be default | paper | released",
        "mine.json:10: train.epochs is given twice (first in line 9)",
    ))


@pytest.mark.parametrize("text,words", [
    ('{"train": {', ("mine.json", "line 1", "JSON")),
    ("[1]", ("mine.json", "object")),
    ("{}", ("model.path is not set", "data.train is not set")),
    ("\x00\xff", ("mine.json",)),
    ("", ("mine.json", "is empty")),
    ("// nothing yet\n", ("mine.json", "is empty")),
], ids=["truncated", "an array", "no data", "binary", "empty", "a comment alone"])
def test_a_config_that_is_none(text: str, words: tuple[str, ...], refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(text, encoding="latin-1")
    refuse("train", tmp_path / "mine.json", "--set", f"output={tmp_path / 'run'}", words=words)


@pytest.mark.skipif(sum(map(int, re.findall(r"(?:Mem|Swap)Total: *(\d+) kB", Path("/proc/meminfo").read_text()))) > 1e8, reason="this machine might hold it")
def test_a_run_that_would_not_fit_into_the_machine(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    settings = ("lora.rank=1000000", "model.dtype=float64", f"output={tmp_path / 'out'}")
    refuse("train", make_config(), *(word for setting in settings for word in ("--set", setting)),
           words=("[memory]", "of this machine's memory would be taken", "would save"), lines=20)  # fmt: skip


@pytest.mark.parametrize("command", [
    ("train", "--set", "output=x", "--processes", "abc"), ("train", "--set", "output=x", "--processes=99999999999999999999"), ("ablate", "g.json", "--jobs", "0x2"),
    ("model", "plan", "--devices", "-3"), ("model", "init", "--config", "c", "--tokenizer", "t", "--out", "o", "--seed", "-1"), ("data", "inspect", "f", "--row", "1.5"),
], ids=" ".join)  # fmt: skip
def test_a_flag_that_wants_a_number(command: tuple[str, ...], refuse: Refuse) -> None:
    refuse(*command, words=("[usage] --", ": a whole number from", "on is needed"))


def test_a_preset_says_all_that_it_needs(refuse: Refuse) -> None:
    refuse("train", "--preset", "wombat-7b", words=("model.path is not set", "data.train is not set"))


def test_cuda_without_one(rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    result = rrhf("train", make_config(device="cuda"), check=False)
    if result.returncode == 0:
        pytest.skip("this machine has CUDA: nothing to refuse")
    assert result.returncode == 2 and "device cpu or auto" in result.stderr
    assert not (tmp_path / "run").exists()
    assert rrhf("eval", make_config(device="cuda"), "--data", good_data, check=False).returncode == 2


USAGE = [
    (("tran",), ("tran is not a command", "train")),
    ((), ("usage",)),
    (("train",), ("config file",)),
    (("train", "nowhere.json"), ("nowhere.json", "No such file")),
    (("train", "--preset", "wombat-70b"), ("wombat-70b", "wombat-7b")),
    (("train", "a.json", "b.json"), ("b.json",)),
    (("train", "--fast"), ("fast", "rrhf train --help")),
    (("eval",), ("data.eval",)),
    (("eval", "--fast"), ("fast", "rrhf eval --help")),
    (("eval", "nowhere.json"), ("nowhere.json", "No such file")),
    (("model", "init"), ("--config",)),
    (("model", "init", "--seed", "q"), ("--seed q: a whole number",)),
    (("model", "info"), ("model info needs DIR", "rrhf model info --help")),
    (("model", "convert"), ("model convert needs DIR",)),
    (("model", "resize", "--add-pad"), ("model resize needs DIR",)),
    (("model", "paint"), ("paint",)),
    (("data",), ("validate, inspect, stats or convert",)),
    (("data", "paint"), ("paint", "validate, inspect, stats or convert")),
    (("data", "validate"), ("FILE",)),
    (("data", "validate", "--fast"), ("fast", "rrhf data validate --help")),
    (("report", "nowhere"), ("nowhere",)),
]


@pytest.mark.parametrize("arguments,words", USAGE, ids=[" ".join(case[0]) or "nothing" for case in USAGE])
def test_usage(arguments: tuple[str, ...], words: tuple[str, ...], refuse: Refuse) -> None:
    refuse(*arguments, words=words, lines=20)


COMMANDS = ["train", "eval", "data", "data validate", "data inspect", "data stats", "data convert", "report"]
COMMANDS += ["model", "model init", "model info", "model convert", "model resize", "delta", "delta make", "delta apply"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_goes_to_stdout(command: str, rrhf: Program) -> None:
    result = rrhf(*command.split(), "--help")
    assert f"rrhf {command}" in result.stdout and result.stderr == ""
    assert command.split()[0] in rrhf("--help").stdout


def test_settings_alone_have_no_name_for_an_output(
    rrhf: Program, models: Path, good_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """runs/NAME is named after the config file; without one, output must be set."""
    monkeypatch.chdir(tmp_path)
    settings = [f"model.path={models / 'hf'}", f"data.train={good_data}", "train.epochs=1"]
    result = rrhf("train", *(part for setting in settings for part in ("--set", setting)), check=False)
    assert result.returncode == 2 and "output" in result.stderr and "[internal]" not in result.stderr, result.stderr


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "template.txt"])
def test_a_fifo_is_not_waited_for(name: str, build_dir: Path, make_config: Config, models: Path, tmp_path: Path) -> None:
    model = copy_of(models / "hf", tmp_path / "model")
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    config = make_config(model={"path": str(model)}, data={"template": str(model / name)} if "template" in name else {})
    result = subprocess.run([build_dir / "rrhf", "train", config], text=True, capture_output=True, timeout=20)
    assert result.returncode == 2 and f"{name}: is a FIFO" in result.stderr


# --- output -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["file", "file/run", "file/deep/run"])
def test_an_output_at_or_below_a_file(place: str, refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refuse("train", make_config(output=str(tmp_path / place)), words=(place, "is a file, not a folder"))


def test_an_output_that_is_not_writable(refuse: Refuse, make_config: Config) -> None:
    """/proc takes no folder, not even from root."""
    refuse("train", make_config(output="/proc/run"), words=("/proc/run",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_in_a_folder_of_others(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    refuse("train", make_config(output=str(tmp_path / "closed" / "run")), words=("closed", "not writable"))


def test_an_output_that_holds_something(refuse: Refuse, make_config: Config, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    refuse("train", make_config(), words=("is not empty", "--resume"))
    refuse("train", make_config(), "--resume", words=("holds no run to resume",))


def test_an_output_that_is_there_and_empty_is_used(rrhf: Program, make_config: Config, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    rrhf("train", make_config())
    assert (tmp_path / "run" / "model" / "config.json").exists()


@pytest.mark.parametrize("flag", ["--per-response", "--json"])
def test_an_evaluation_written_to_nowhere(
    flag: str, refuse: Refuse, make_config: Config, good_data: Path, tmp_path: Path
) -> None:
    refuse("eval", make_config(), "--data", good_data, flag, tmp_path / "no" / "out.json", words=("no such folder",))


# --- model folders ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A copy of a good model folder, to be damaged."""
    copy = tmp_path / "model"
    shutil.copytree(models / "hf", copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    return copy


@pytest.fixture
def refuse_model(refuse: Refuse, make_config: Config, good_data: Path, folder: Path, tmp_path: Path) -> Callable[..., None]:
    """The damaged folder must be refused in training and in an evaluation, with the same words."""

    def run(*words: str, lines: int = 8) -> None:
        refuse("train", make_config(model={"path": str(folder)}), words=words, lines=lines)
        evaluation = ("eval", "--model", folder, "--data", good_data, "--json", tmp_path / "out.json")
        refuse(*evaluation, words=words, lines=lines)

    return run


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


def test_a_copied_folder_passes(rrhf: Program, make_config: Config, folder: Path) -> None:
    rewrite_header(folder, lambda header: None)
    change_config(folder)
    rrhf("train", make_config(model={"path": str(folder)}))


def test_missing_and_unexpected_tensor(refuse_model: Callable[..., None], folder: Path) -> None:
    rewrite_header(folder, lambda header: header.update({"other": header.pop("model.norm.weight")}))
    refuse_model("missing: model.norm.weight", "other")


def test_wrong_shape(refuse_model: Callable[..., None], folder: Path) -> None:
    change_config(folder, intermediate_size=170)
    wrong = "model.safetensors: model.layers.0.mlp.up_proj.weight is [172, 64], the config asks for [170, 64]"
    refuse_model(wrong, lines=1 + 3 * 5)


def test_vocabulary_too_small_for_the_tokenizer(refuse_model: Callable[..., None], folder: Path) -> None:
    (folder / "added_tokens.json").write_text('{"[PAD]": 512}')
    refuse_model("513 ids", "512 rows")


def test_tokenizer_of_another_model(refuse_model: Callable[..., None], folder: Path, shared: Path) -> None:
    tokenizers = list((shared / "tokenizers" / "llama").rglob("*.model"))
    assert tokenizers, "the LLaMA tokenizer is not among the shared data"
    shutil.copyfile(tokenizers[0], folder / "tokenizer.model")
    refuse_model("the tokenizer has 32000 ids, the model 512 rows", "another model's")


@pytest.mark.parametrize("keep", [-100, 200, 5, 0])
def test_truncated_weights(keep: int, refuse_model: Callable[..., None], folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refuse_model("model.safetensors")


def test_weights_that_are_cut_are_called_truncated(refuse_model: Callable[..., None], folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refuse_model("model.safetensors", "truncated")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_a_folder_that_lacks_a_file(name: str, refuse_model: Callable[..., None], folder: Path) -> None:
    (folder / name).unlink()
    refuse_model(str(folder), name)


def test_only_the_fast_tokenizer(refuse_model: Callable[..., None], folder: Path) -> None:
    (folder / "tokenizer.model").rename(folder / "tokenizer.json")
    refuse_model("tokenizer.json", "tokenizer.model")


@pytest.mark.parametrize("fields", [
    {"attention_bias": True},
    {"hidden_act": "gelu"},
    {"quantization_config": {"bits": 4}},
    {"sliding_window": 64},
    {"model_type": "mistral"},
    {"rope_scaling": {"rope_type": "yarn", "factor": 2}},
    {"attention_sinks": 4},
    {"hidden_size": "64"},
], ids=lambda fields: next(iter(fields)))
def test_a_model_that_is_not_implemented(fields: dict[str, Any], refuse_model: Callable[..., None], folder: Path) -> None:
    change_config(folder, **fields)
    refuse_model(next(iter(fields)), "config.json")


def test_the_folder_of_a_run_is_not_its_model(refuse: Refuse, rrhf: Program, make_config: Config, good_data: Path, tmp_path: Path) -> None:
    config, run = make_config(), tmp_path / "run"
    rrhf("train", config)
    refuse("eval", config, "--model", run, "--data", good_data, words=(f"{run}: is the folder of a run; its model is {run / 'model'}",))
