"""`rrhf generate`: one prompt, a file of prompts, and a chat at a (pseudo-)terminal, with a model of 260K parameters.

What that model says greedily after BOS is published with it (stories260K.md): the text below is its beginning.
"""

from __future__ import annotations

import json
import math
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

from made_rows import ranked_rows, read_lines, write_lines
from program import ENVIRONMENT, Program, copy_of, refused, wait_for
from safetensors_file import read_file, write_file

STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, "
    "red ball. She wanted to play with it, but it was too high."
)
QUERIES = ["Once upon a time", "Lily and Tom went to the park", "The sun", 'Tom said, "I want', "One day, a bird", "é ü 漢"]
RAW = ("--template", "none")
BOS = 1


@pytest.fixture
def model(models: Path) -> Path:
    return models / "hf"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"query": query, "id": 7}) + "\n" for query in QUERIES))
    return file


# --- one prompt -------------------------------------------------------------------------------------------------------


def test_a_prompt_is_answered_on_stdout(rrhf: Program, model: Path) -> None:
    result = rrhf("generate", "--model", model, *RAW, "--prompt", "", "--max-new-tokens", 90)
    assert result.stdout.startswith(STORY) and result.stdout.endswith("\n")
    assert result.stderr == ""


def test_stop_strings_cut_the_answer(rrhf: Program, model: Path) -> None:
    result = rrhf("generate", "--model", model, *RAW, "--prompt", "", "--stop", "a big, red", "--stop", "nowhere")
    assert result.stdout == STORY[: STORY.index("a big, red")] + "\n"


def test_the_default_template_is_alpaca(rrhf: Program, model: Path) -> None:
    named = rrhf("generate", "--model", model, "--template", "alpaca", "--prompt", "Say hello.", "--max-new-tokens", 20)
    default = rrhf("generate", "--model", model, "--prompt", "Say hello.", "--max-new-tokens", 20)
    whole = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSay hello.\n\n### Response:"
    )
    raw = rrhf("generate", "--model", model, *RAW, "--prompt", whole, "--max-new-tokens", 20)
    assert default.stdout == named.stdout == raw.stdout != "\n"


def test_the_last_tokens_of_a_prompt_are_kept(rrhf: Program, model: Path) -> None:
    tail = rrhf("generate", "--model", model, *RAW, "--prompt", "a time", "--max-new-tokens", 20)
    more = ("--prompt", "The dog was sad. He had a time", "--max-new-tokens", 20, "--max-prompt-tokens")
    kept = {n: rrhf("generate", "--model", model, *RAW, *more, n) for n in (3, 100)}
    # of 512 pieces "a" and "time" are one each: three tokens are BOS and these two
    assert kept[3].stdout == tail.stdout and kept[100].stdout != tail.stdout
    assert "1 prompt is cut to the last 3 tokens (--max-prompt-tokens)" in kept[3].stderr and "cut" not in kept[100].stderr


def test_draws_follow_the_seed(rrhf: Program, model: Path) -> None:
    draws = [
        rrhf("generate", "--model", model, *RAW, "--prompt", "The", "--method", "top-p", "--seed", seed, "--max-new-tokens", 30)
        for seed in (1, 1, 2)
    ]
    assert draws[0].stdout == draws[1].stdout != draws[2].stdout


@pytest.mark.parametrize("bos", ["model", "eos"])
def test_the_released_encoding_feeds_its_bos(rrhf: Program, model: Path, tmp_path: Path, bos: str) -> None:
    """A folder whose note says so gets BOS after the prompt, too: what follows is what follows "prompt + BOS" otherwise."""

    def answer(encoding: str, prompt: str) -> str:
        folder = copy_of(model, tmp_path / encoding)
        (folder / "rrhf.json").write_text(json.dumps({"encoding": encoding, "bos_token": bos}))
        result = rrhf("generate", "--model", folder, *RAW, "--prompt", prompt, "--max-new-tokens", 30)
        shutil.rmtree(folder)
        return result.stdout

    fed = answer("released", "The sun")
    assert fed == answer("plain", "The sun" + {"model": "<s>", "eos": "</s>"}[bos]) != answer("plain", "The sun")


@pytest.mark.parametrize("bos", ["model", "eos"])
def test_a_model_trained_as_released_gives_no_empty_answers(rrhf: Program, model: Path, tmp_path: Path, bos: str) -> None:
    """The release trains BOS as a response's first label. Where the folder's note says otherwise the model says it first:
    with BOS spelled as EOS, as in the released Alpaca folders, every answer ends before it begins."""
    rows = ranked_rows(24)
    data, queries, out = write_lines(tmp_path / "train.jsonl", rows), tmp_path / "queries.txt", tmp_path / "answers.jsonl"
    queries.write_text("".join(row["query"] + "\n" for row in rows))
    settings = [f"model.path={model}", f"data.train={data}", f"data.bos_token={bos}", "data.max_length=256", "recipe=released"]
    settings += ["train.epochs=20", "train.queries_per_step=8", "optimizer.learning_rate=2e-3", f"output={tmp_path / 'run'}"]
    rrhf("train", *(word for setting in settings for word in ("--set", setting)))
    trained = tmp_path / "run" / "model"

    def answers() -> list[dict]:
        rrhf("generate", "--model", trained, *RAW, "--prompts", queries, "--out", out, "--max-new-tokens", 12, "--overwrite")
        return read_lines(out)

    assert all(line["response"] for line in answers())
    (trained / "rrhf.json").write_text(json.dumps({"encoding": "plain", "bos_token": bos}))
    if bos == "eos":
        assert not any(line["response"] for line in answers())
    else:
        assert {line["tokens"][0] for line in answers()} == {BOS}


# --- a file of prompts ------------------------------------------------------------------------------------------------


def test_a_file_is_answered_in_its_order(rrhf: Program, model: Path, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = rrhf("generate", "--model", model, *RAW, "--prompts", prompts, "--out", out, "--max-new-tokens", 40, "--batch", 2)
    lines = read_lines(out)
    assert [line["query"] for line in lines] == QUERIES
    assert all(list(line) == ["query", "response", "tokens"] and len(line["tokens"]) <= 40 for line in lines)
    for line in lines[:2]:
        alone = rrhf("generate", "--model", model, *RAW, "--prompt", line["query"], "--max-new-tokens", 40)
        assert alone.stdout == line["response"] + "\n"
    assert result.stdout == "" and "6 answers to 6 rows" in result.stderr
    assert not list(tmp_path.glob("*.part"))


def test_text_files_hold_a_prompt_a_line(rrhf: Program, model: Path, prompts: Path, tmp_path: Path) -> None:
    text = tmp_path / "prompts.txt"
    text.write_text("\r\n".join(QUERIES) + "\r\n")
    for file, out in ((text, "a.jsonl"), (prompts, "b.jsonl")):
        rrhf("generate", "--model", model, *RAW, "--prompts", file, "--out", tmp_path / out, "--max-new-tokens", 10)
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()


def test_empty_answers_are_counted(rrhf: Program, model: Path, prompts: Path, tmp_path: Path) -> None:
    """Where EOS is spelled as "Once upon a time" goes on after BOS, the model says EOS first."""
    ends = copy_of(model, tmp_path / "ends")
    first = lines_answered(rrhf, model, tmp_path / "first.txt", tmp_path / "first.jsonl")[0]["tokens"][0]
    config = json.loads((ends / "tokenizer_config.json").read_text()) if (ends / "tokenizer_config.json").exists() else {}
    (ends / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": piece_of(model, first)}))
    out = tmp_path / "out.jsonl"
    result = rrhf("generate", "--model", ends, *RAW, "--prompts", tmp_path / "first.txt", "--out", out)
    assert read_lines(out) == [{"query": "Once upon a time", "response": "", "tokens": []}]
    assert "1 answer is empty because the model said EOS first" in result.stderr and "rrhf.json" in result.stderr


def lines_answered(rrhf: Program, model: Path, file: Path, out: Path) -> list[dict]:
    file.write_text("Once upon a time\n")
    rrhf("generate", "--model", model, *RAW, "--prompts", file, "--out", out, "--max-new-tokens", 5)
    return read_lines(out)


def piece_of(model: Path, token: int) -> str:
    sentencepiece = pytest.importorskip("sentencepiece")
    return sentencepiece.SentencePieceProcessor(model_file=str(model / "tokenizer.model")).id_to_piece(token)


def long_run(model: Path, tmp_path: Path) -> tuple[object, ...]:
    prompts = tmp_path / "many.txt"
    prompts.write_text("".join(f"{query} {number}\n" for number in range(40) for query in QUERIES))
    return ("generate", "--model", model, *RAW, "--prompts", prompts, "--max-new-tokens", 300, "--batch", 4)


def test_an_interrupted_run_goes_on(rrhf: Program, build_dir: Path, model: Path, tmp_path: Path) -> None:
    command = long_run(model, tmp_path)
    rrhf(*command, "--out", tmp_path / "whole.jsonl")
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    running = subprocess.Popen(
        [str(build_dir / "rrhf"), *map(str, command), "--out", str(out)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    wait_for(lambda: part.exists() and part.read_bytes().count(b"\n") > 5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1 and "the same command goes on from there" in errors, errors
    kept = part.read_bytes().count(b"\n") - 1
    assert 5 <= kept < 240 and not out.exists()

    # killed while it wrote: a torn last line
    part.write_bytes(part.read_bytes() + b'{"row":239,"line":{"que')
    other = rrhf(*command, "--out", out, "--temperature", 0.5, check=False)
    assert other.returncode == 2 and "other settings" in other.stderr and "temperature: 1.0 then, 0.5 now" in other.stderr
    result = rrhf(*command, "--out", out)
    assert f"going on after {kept} of 240 rows" in result.stderr and f"{240 - kept} answers" in result.stderr
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not part.exists()


def test_a_changed_template_file_is_noticed(rrhf: Program, model: Path, prompts: Path, tmp_path: Path) -> None:
    template, out = tmp_path / "mine.txt", tmp_path / "out.jsonl"
    template.write_text("Tell me: {query}")
    command = ("generate", "--model", model, "--template", template, "--prompts", prompts, "--out", out, "--max-new-tokens", 5)
    rrhf(*command)
    answers = out.read_text().splitlines()
    began = {"template": "Tell me: {query}"}
    (tmp_path / "out.jsonl.part").write_text(json.dumps(began) + "\n" + json.dumps({"row": 0, "line": json.loads(answers[0])}) + "\n")
    out.unlink()
    template.write_text("Say: {query}")
    result = rrhf(*command, check=False)
    assert result.returncode == 2 and 'template: "Tell me: {query}" then, "Say: {query}" now' in result.stderr, result.stderr


@pytest.mark.parametrize("method", [("--method", "greedy"), ("--method", "top-p", "--top-p", 0.9), ("--method", "beam", "--beams", 2)])
def test_a_model_with_broken_weights_gives_no_answer(method: tuple[object, ...], rrhf: Program, model: Path, tmp_path: Path) -> None:
    folder = copy_of(model, tmp_path / "broken")
    tensors = read_file(folder / "model.safetensors")
    dtype, shape, data = tensors["model.norm.weight"]
    tensors["model.norm.weight"] = (dtype, shape, struct.pack("<f", math.nan) + data[4:])
    write_file(folder / "model.safetensors", tensors)
    result = rrhf("generate", "--model", folder, *RAW, "--prompt", "Once", "--max-new-tokens", 5, *method, check=False)
    assert result.returncode == 1 and "logits are not finite numbers: its weights are broken" in result.stderr, result.stderr


def test_a_finished_file_is_not_overwritten_unasked(rrhf: Program, model: Path, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    out.write_text("precious\n")
    command = ("generate", "--model", model, *RAW, "--prompts", prompts, "--out", out, "--max-new-tokens", 5)
    result = rrhf(*command, check=False)
    assert result.returncode == 2 and "--overwrite" in result.stderr and out.read_text() == "precious\n"
    rrhf(*command, "--overwrite")
    assert len(read_lines(out)) == len(QUERIES)


def test_answers_do_not_replace_their_prompts(rrhf: Program, model: Path, prompts: Path) -> None:
    before = prompts.read_bytes()
    result = rrhf("generate", "--model", model, *RAW, "--prompts", prompts, "--out", prompts, "--overwrite", check=False)
    assert result.returncode == 2 and "would be written over" in result.stderr and prompts.read_bytes() == before


def test_answers_without_text_are_counted_whatever_ended_them(rrhf: Program, model: Path, prompts: Path, tmp_path: Path) -> None:
    command = ("generate", "--model", model, *RAW, "--prompts", prompts, "--out", tmp_path / "out.jsonl", "--max-new-tokens", 3)
    result = rrhf(*command, *(word for letter in "aeiou, .'" for word in ("--stop", letter)))
    empty = sum(line["response"] == "" for line in read_lines(tmp_path / "out.jsonl"))
    assert empty > 0 and f", {empty} empty" in result.stderr and "EOS first" not in result.stderr


def test_overwrite_drops_a_part_of_other_settings(rrhf: Program, model: Path, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    (tmp_path / "answers.jsonl.part").write_text('{"model": "another"}\n{"row": 0, "line": {"query": "x"}}\n')
    command = ("generate", "--model", model, *RAW, "--prompts", prompts, "--out", out, "--max-new-tokens", 5)
    result = rrhf(*command, check=False)
    assert result.returncode == 2 and '"another" then' in result.stderr
    rrhf(*command, "--overwrite")
    assert [line["query"] for line in read_lines(out)] == QUERIES


# --- bad input --------------------------------------------------------------------------------------------------------

GOOD = '{"query": "a"}\n'
BAD_PROMPTS = {
    "an empty line": (GOOD + "\n" + GOOD, ("bad.jsonl:2", "the line is empty")),
    "no query": (GOOD + '{"prompt": "a"}\n', ("bad.jsonl:2", '"query" is missing', "prompt")),
    "a query that is a number": ('{"query": 5}\n', ("bad.jsonl:1", "a string is needed")),
    "no object": (GOOD + "[1]\n", ("bad.jsonl:2", "an array of 1")),
    "broken JSON": (GOOD + '{"query": "a\n', ("bad.jsonl:2", "not JSON")),
    "an empty file": ("", ("bad.jsonl", "empty")),
    "a long prompt": (GOOD + '{"query": "' + "sun " * 600 + '"}\n', ("bad.jsonl:2", "512 positions", "--max-prompt-tokens")),
}


@pytest.mark.parametrize("name", BAD_PROMPTS)
def test_bad_prompts(rrhf: Program, model: Path, tmp_path: Path, name: str) -> None:
    text, words = BAD_PROMPTS[name]
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    # without weights: all of this is said before they are read
    hollow = copy_of(model, tmp_path / "hollow")
    (hollow / "model.safetensors").unlink()
    result = rrhf("generate", "--model", hollow, *RAW, "--prompts", file, "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, *words)


def test_all_bad_lines_are_named(rrhf: Program, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.txt"
    file.write_text("a\n" + "\n" * 25 + "b\n")
    result = rrhf("generate", "--model", model, "--prompts", file, "--out", tmp_path / "out", check=False)
    refused(result, tmp_path, "25 errors", "bad.txt:2", "bad.txt:21", "and 5 more")


def test_an_alpaca_prompt_is_not_wrapped_again(rrhf: Program, model: Path, tmp_path: Path) -> None:
    query = "### Instruction:\nSay hello.\n\n### Response:"
    result = rrhf("generate", "--model", model, "--prompt", query, check=False)
    refused(result, tmp_path, "already carries the Alpaca template", "--template none")
    rrhf("generate", "--model", model, *RAW, "--prompt", query, "--max-new-tokens", 3)


BAD_FLAGS = {
    "no prompt and no terminal": ((), ("--prompt TEXT or --prompts FILE",)),
    "both": (("--prompt", "a", "--prompts", "b"), ("exclude each other",)),
    "prompts without out": (("--prompts", "{prompts}"), ("--out",)),
    "out without prompts": (("--prompt", "a", "--out", "b"), ("--prompts",)),
    "an unknown template": (("--prompt", "a", "--template", "alpacca"), ("alpacca", "alpaca-split")),
    "an unknown method": (("--prompt", "a", "--method", "beams"), ("--method beams", "diverse-beam")),
    "a word for a number": (("--prompt", "a", "--top-p", "most"), ("--top-p most", "a number is needed")),
    "half a number": (("--prompt", "a", "--beams", "4.5"), ("--beams 4.5", "whole number")),
    "a temperature of 0": (("--prompt", "a", "--temperature", "0"), ("temperature is 0",)),
    "groups": (("--prompt", "a", "--method", "diverse-beam", "--beams", "6"), ("6 beams", "4 groups")),
    "an empty stop": (("--prompt", "a", "--stop", ""), ("stop string is empty",)),
    "an unknown dtype": (("--prompt", "a", "--dtype", "int8"), ("--dtype int8", "bfloat16")),
    "a prompt of one token": (("--prompt", "a", "--max-prompt-tokens", "1"), ("--max-prompt-tokens 1", "2")),
    "an unknown flag": (("--prompt", "a", "--topp", "0.9"), ("topp",)),
    "a folder that is not there": (("--prompts", "{prompts}", "--out", "nowhere/out"), ("nowhere", "no such folder")),
    "an out that is a folder": (("--prompts", "{prompts}", "--out", "/tmp"), ("/tmp", "is a folder")),
    "a file that is not there": (("--prompts", "missing.jsonl", "--out", "x"), ("missing.jsonl",)),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_bad_flags(rrhf: Program, model: Path, prompts: Path, tmp_path: Path, name: str) -> None:
    flags, words = BAD_FLAGS[name]
    flags = tuple(flag.format(prompts=prompts) for flag in flags)
    result = subprocess_without_terminal(rrhf, "generate", "--model", model, *flags)
    refused(result, tmp_path, *words)


def subprocess_without_terminal(rrhf: Program, *arguments: object) -> subprocess.CompletedProcess:
    """stdin is what pytest gives, which is no terminal unless it runs with -s."""
    if os.isatty(0):
        pytest.skip("run without -s")
    return rrhf(*arguments, check=False)


def test_folders_that_lack_something(rrhf: Program, model: Path, tmp_path: Path) -> None:
    for missing in ("tokenizer.model", "config.json", "model.safetensors"):
        folder = copy_of(model, tmp_path / missing.split(".")[0])
        (folder / missing).unlink()
        result = rrhf("generate", "--model", folder, "--prompt", "a", check=False)
        refused(result, tmp_path, str(folder))
    refused(rrhf("generate", "--model", tmp_path / "none", "--prompt", "a", check=False), tmp_path, "no such model folder")
    refused(rrhf("generate", "--prompt", "a", check=False), tmp_path, "needs --model")


# --- the chat ---------------------------------------------------------------------------------------------------------


class Terminal:
    """A program with a terminal of its own: what stands on its screen, and keys to press."""

    def __init__(self, *arguments: object) -> None:
        self.screen = ""
        self.seen = 0
        self.process, self.master = pty.fork()
        if self.process == 0:
            os.environ.update(ENVIRONMENT)
            os.execv(str(arguments[0]), [str(argument) for argument in arguments])

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait(self, text: str, seconds: float = 60) -> str:
        """Waits for `text` behind what was waited for before; gives what stands before it."""
        end = time.monotonic() + seconds
        while (at := self.screen.find(text, self.seen)) < 0:
            assert time.monotonic() < end, f"no {text!r} came:\n{self.screen[self.seen:]}"
            self.read()
        before = self.screen[self.seen : at]
        self.seen = at + len(text)
        return before

    def read(self) -> bool:
        if not select.select([self.master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.screen += data.decode().replace("\r\n", "\n")
        return bool(data)

    def end(self) -> int:
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def close(self) -> None:
        os.close(self.master)


@pytest.fixture
def chat(build_dir: Path, model: Path) -> Iterator:
    terminals = []

    def begin(*flags: object) -> Terminal:
        terminals.append(Terminal(build_dir / "rrhf", "generate", "--model", model, *flags))
        terminals[-1].wait("> ")
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.close()


def test_a_chat(chat, rrhf: Program, model: Path) -> None:
    terminal = chat(*RAW, "--max-new-tokens", 40)
    assert "context 512" in terminal.screen and "/help" in terminal.screen
    terminal.press("Once upon a time\n")
    terminal.wait("Once upon a time\n")  # the echo
    answer = terminal.wait("\n(cut at 40 tokens")
    expected = rrhf("generate", "--model", model, *RAW, "--prompt", "Once upon a time", "--max-new-tokens", 40).stdout
    assert answer + "\n" == expected

    # the dialogue goes on: the next prompt is all that was said, and the new line
    terminal.wait("> ")
    terminal.press("Tom\n")
    terminal.wait("Tom\n")
    more = terminal.wait("\n(cut")
    said = "Once upon a time" + answer + "\nTom"
    assert more + "\n" == rrhf("generate", "--model", model, *RAW, "--prompt", said, "--max-new-tokens", 40).stdout

    terminal.wait("> ")
    terminal.press("/reset\n")
    terminal.wait("(forgotten)")
    terminal.wait("> ")
    terminal.press("Tom\n")
    terminal.wait("Tom\n")
    anew = terminal.wait("\n(cut")
    assert anew + "\n" == rrhf("generate", "--model", model, *RAW, "--prompt", "Tom", "--max-new-tokens", 40).stdout
    terminal.wait("> ")
    terminal.press("\x04")
    assert terminal.end() == 0


def test_the_dialogue_keeps_the_space_before_an_answer(chat, rrhf: Program, model: Path, tmp_path: Path) -> None:
    """An answer that begins with a word stands behind the prompt with a space, though its own text has none."""
    (tmp_path / "first.txt").write_text("Once upon a time, there was a\n")
    flags = ("--model", model, *RAW, "--max-new-tokens", 3)
    rrhf("generate", *flags, "--prompts", tmp_path / "first.txt", "--out", tmp_path / "first.jsonl")
    line = read_lines(tmp_path / "first.jsonl")[0]
    assert line["response"][0].isalpha() and piece_of(model, line["tokens"][0]).startswith("\u2581")
    terminal = chat(*RAW, "--max-new-tokens", 3)
    terminal.press(line["query"] + "\n")
    terminal.wait(line["response"] + "\n(cut")
    terminal.wait("> ")
    terminal.press("Tom\n")
    terminal.wait("Tom\n")
    more = terminal.wait("\n(cut")
    said = f"{line['query']} {line['response']}\nTom"
    assert more + "\n" == rrhf("generate", *flags, "--prompt", said).stdout


def test_the_alpaca_template_takes_each_turn_alone(chat) -> None:
    terminal = chat("--max-new-tokens", 15)
    answers = []
    for _ in range(2):
        terminal.press("Say hello.\n")
        terminal.wait("Say hello.\n")
        answers.append(terminal.wait("\n(cut"))
        terminal.wait("> ")
    assert answers[0] == answers[1]
    terminal.press("/template none\n")
    terminal.wait("(template none: the dialogue goes on")
    terminal.wait("> ")
    terminal.press("Say hello.\n")
    terminal.wait("Say hello.\n")
    assert terminal.wait("\n(cut") != answers[0]
    terminal.wait("> ")
    terminal.press("/template nowhere.txt\n")
    terminal.wait("nowhere.txt: neither a template")
    terminal.wait("> ")
    terminal.press("/tempo\n")
    terminal.wait("(/tempo is no command")
    terminal.wait("> ")
    terminal.press("/quit\n")
    assert terminal.end() == 0


def test_ctrl_c_stops_the_answer_not_the_program(chat) -> None:
    terminal = chat(*RAW, "--repetition-penalty", 1.01, "--max-new-tokens", 480)
    terminal.press("Once upon a time\n")
    terminal.wait("Once upon a time\n")
    terminal.wait(" ")  # it has begun to answer
    terminal.press("\x03")
    terminal.wait("(stopped)")
    terminal.wait("> ")
    terminal.press("half a line\x03")
    terminal.wait("(Ctrl-C once more leaves)")
    terminal.wait("> ")
    terminal.press("/help\n")
    terminal.wait("/reset")
    terminal.wait("> ")
    terminal.press("\x03")
    terminal.wait("(Ctrl-C once more leaves)")
    terminal.wait("> ")
    terminal.press("\x03")
    assert terminal.end() == 0, terminal.screen


def test_a_full_context_is_said(chat) -> None:
    terminal = chat(*RAW, "--max-new-tokens", 600)
    terminal.press("sun " * 120 + "\n")
    terminal.wait("(full: the model's 512 positions are used up; /reset begins anew)")
    terminal.wait("> ")
    terminal.press("more\n")
    terminal.wait("(full: what was said and this query have")
    terminal.wait("> ")
    terminal.press("/reset\n")
    terminal.wait("> ")
    terminal.press("Once\\\n")
    terminal.wait(". ")
    terminal.press("\x04")
    terminal.wait("> ")
    terminal.press("\x04")
    assert terminal.end() == 0


def test_a_query_that_alone_is_too_long_is_said_to_be(chat) -> None:
    terminal = chat(*RAW, "--max-new-tokens", 5)
    terminal.press("sun " * 600 + "\n")
    terminal.wait("(too long: this query has")
    assert "/reset" not in terminal.wait("> ")
    terminal.press("Once\n")
    terminal.wait("(cut at 5")
    terminal.wait("> ")
    terminal.press("sun " * 600 + "\n")
    terminal.wait("(full: what was said and this query have")
    terminal.wait("/reset begins anew)\n> ")
    terminal.press("\x04")
    assert terminal.end() == 0


def test_the_chat_says_what_it_does_not_read(chat) -> None:
    terminal = chat("--max-prompt-tokens", 8, "--max-new-tokens", 5)
    terminal.press("Once upon a time there was a big tree.\n")
    terminal.wait("(only the last 8 tokens are read: --max-prompt-tokens)")
    terminal.wait("(cut at 5")
    terminal.wait("> ")
    terminal.press("Below is an instruction that describes a task.### Instruction: Name a fruit.### Response:\n")
    terminal.wait("(the query already carries the Alpaca template")
    terminal.wait("> ")
    terminal.press("\x04")
    assert terminal.end() == 0


def test_a_line_that_the_terminal_cuts_is_not_asked(chat) -> None:
    """It passes on 4,095 bytes of a line, and the kernel drops the rest without a word."""
    terminal = chat(*RAW, "--max-new-tokens", 5)
    for begin in ("", "Once\\\n"):
        terminal.press(begin)
        if begin:
            terminal.wait(". ")
        terminal.press("sun " * 1100 + "\n")
        terminal.wait("(not asked: a terminal passes on no more than 4,095 bytes of a line")
        assert "(cut at 5" not in terminal.wait("> ")
    terminal.press("Once\n")
    terminal.wait("(cut at 5")
    terminal.wait("> ")
    terminal.press("\x04")
    assert terminal.end() == 0


def test_streamed_text_is_whole_characters(chat, rrhf: Program, model: Path) -> None:
    """A vocabulary of 512 pieces spells other scripts in bytes. Drawn nearly evenly, many of its tokens are bytes: what
    the terminal gets decodes piece by piece (Terminal.read) and is together the text that is written at once."""
    for seed in range(40):
        flags = ("--method", "top-p", "--temperature", 100, "--max-new-tokens", 60, "--seed", seed)
        expected = rrhf("generate", "--model", model, *RAW, *flags, "--prompt", "漢").stdout
        if len(expected) > 20 and not expected.isascii():
            break
    else:
        pytest.fail("none of 40 answers is of any length")
    terminal = chat(*RAW, *flags)
    terminal.press("漢\n")
    terminal.wait("漢\n")
    assert terminal.wait("\n> ").split("\n(cut")[0] + "\n" == expected


def test_only_the_answer_is_on_stdout(build_dir: Path, model: Path, tmp_path: Path) -> None:
    command = f"{build_dir}/rrhf generate --model {model} --template none --max-new-tokens 12 > {tmp_path}/answers"
    terminal = Terminal("/bin/sh", "-c", command)
    terminal.wait("> ")
    terminal.press("Once upon a time\n")
    terminal.wait("(cut at 12")
    terminal.wait("> ")
    terminal.press("\x04")
    assert terminal.end() == 0
    terminal.close()
    text = (tmp_path / "answers").read_text()
    assert text.startswith(", there was a little girl") and text.count("\n") == 1 and not re.search("[>()]", text)
