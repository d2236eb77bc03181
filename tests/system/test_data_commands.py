"""rrhf data validate, inspect, stats and convert: what they print, what they write, how they end."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest

from program import Program

Row = dict[str, Any]

# A good row with names and a group, a tie with an empty response, a row of one, one with the same text twice.
ROWS: list[Row] = [
    {"query": "a b", "responses": ["c d", "e", "f"], "scores": [1, 2, 1.5], "writers": ["x", "y", "z"], "group": "g"},
    {"query": "q", "responses": ["r", ""], "scores": [1, 1]},
    {"query": "one", "responses": ["alone"], "scores": [3]},
    {"query": "twice", "responses": ["same", "same", "other"], "scores": [0, 1, 2]},
]
BAD = '{"query": "a", "responses": ["b", "c"], "scores": [1]}\n'


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", ROWS)


# --- validate ---------------------------------------------------------------------------------------------------------


def test_validate_lists_what_is_odd(rrhf: Program, file: Path) -> None:
    result = rrhf("data", "validate", file)
    lines = result.stdout.splitlines()
    assert lines[0] == f"{file}   RRHF JSON lines"
    assert [line.split("rows.jsonl:")[1] for line in lines[1:5]] == [
        "2   response 1 is empty",
        "2   scores of responses 0 and 1 tie (1): no pair to rank, only the SFT loss counts",
        "3   one response: no pair to rank, only the SFT loss counts",
        "4   responses 0 and 1 are the same text",
    ]
    assert lines[5] == " 4 usable (1 with an empty response, 1 with duplicates, 1 with a tie), 2 without a pair; k 1 to 3"


def test_validate_lists_every_error(rrhf: Program, file: Path) -> None:
    """More than the 20 that train names, each on its line; the good rows still count."""
    file.write_text(file.read_text() + BAD * 30 + '{"query": \n')
    result = rrhf("data", "validate", file, check=False)
    assert result.returncode == 2
    assert re.findall(r"rows\.jsonl:(\d+)   error: ", result.stdout) == [str(line) for line in range(5, 36)]
    assert "error: not JSON" in result.stdout
    assert " 4 usable of 35 rows " in result.stdout
    assert "31 errors, listed above" in result.stderr


def test_validate_goes_on_with_the_next_file(rrhf: Program, file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    result = rrhf("data", "validate", "nowhere.jsonl", empty, file, check=False)
    assert result.returncode == 2
    assert "nowhere.jsonl: No such file" in result.stderr and "empty.jsonl: the file is empty" in result.stderr
    assert "4 usable" in result.stdout


def test_validate_keeps_what_it_read_of_a_file_that_breaks_off(rrhf: Program, file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "cut.jsonl.gz"
    rows = "".join(f'{{"query": "{i:x}{i * i:x}", "responses": ["a", "b"], "scores": [1, 2]}}\n' for i in range(20000))
    packed.write_bytes(gzip.compress((BAD + rows).encode())[:-5000])
    result = rrhf("data", "validate", packed, file, check=False)
    assert result.returncode == 2
    assert "cut.jsonl.gz:1   error: " in result.stdout and re.search(r" [\d,]+ usable of [\d,]+ rows ", result.stdout)
    assert "compressed data are broken" in result.stderr and "1 error, listed above" in result.stderr


def test_what_is_odd_is_looked_for_in_the_chosen_responses(rrhf: Program, tmp_path: Path) -> None:
    rows = [
        {"query": "a", "responses": ["", "x", "y"], "scores": [1, 2, 3]},
        {"query": "b", "responses": ["p", "q", "x", "x"], "scores": [1, 2, 3, 3]},
        {"query": "c", "responses": ["p", "p", "q", "r", "s"], "scores": [1, 1, 2, 3, 3]},
    ]
    file = write(tmp_path / "rows.jsonl", rows)
    sampled = rrhf("data", "validate", file, "--set", "data.responses=sampled").stdout.splitlines()
    assert [line.split("rows.jsonl:")[1] for line in sampled[1:-2]] == [
        "1   response 0 is empty",
        "1   one response that is sampled: no pair to rank, only the SFT loss counts",
        "3   responses 0 and 1 are the same text",
        "3   scores of responses 0 and 1 tie (1): no pair between them",
    ]
    assert "(1 with an empty response, 1 with duplicates, 1 with a tie), 1 without a pair" in sampled[-2]
    provided = rrhf("data", "validate", file, "--set", "data.responses=provided").stdout
    assert "(0 with an empty response, 1 with duplicates, 2 with a tie), 2 without a pair" in provided
    stats = rrhf("data", "stats", file, "--set", "data.responses=sampled").stdout
    assert "responses     6, of them 1 empty; rows with duplicates 1" in stats
    assert "rows with a tie 1, without a pair 1" in stats


def test_settings_of_a_preset(rrhf: Program, file: Path, tmp_path: Path) -> None:
    """wombat-7b wraps queries in the Alpaca template, wombat-7b-gpt4 takes them as they are."""
    text = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    row = {"query": f"{text}\n\n### Instruction:\na\n\n### Response:", "responses": ["b", "c"], "scores": [1, 2]}
    wrapped = write(tmp_path / "wrapped.jsonl", [row])
    result = rrhf("data", "validate", wrapped, "--preset", "wombat-7b", check=False)
    assert result.returncode == 2 and "already carries the Alpaca template" in result.stdout
    assert " 1 usable" in rrhf("data", "validate", wrapped, "--preset", "wombat-7b-gpt4").stdout
    result = rrhf("data", "validate", file, "--preset", "nothing", check=False)
    assert result.returncode == 2 and "nothing is not a preset; there are:" in result.stderr
    result = rrhf("data", "validate", file, "--preset", "wombat-7b", "--config", file, check=False)
    assert result.returncode == 2 and "exclude each other" in result.stderr


def test_validate_names_places_in_an_array_by_row_and_byte(rrhf: Program, tmp_path: Path) -> None:
    texts = [json.dumps(ROWS[0]), json.dumps(ROWS[1]), BAD.strip()]
    (tmp_path / "rows.json").write_text("[" + ", ".join(texts) + "]")
    result = rrhf("data", "validate", tmp_path / "rows.json", check=False)
    assert result.returncode == 2
    second = 1 + len(texts[0]) + 2
    assert f"row 1 (byte {second})   response 1 is empty" in result.stdout
    assert f"row 2 (byte {second + len(texts[1]) + 2})   error: " in result.stdout


def test_validate_needs_a_pair_unless_nothing_is_ranked(rrhf: Program, file: Path) -> None:
    write(file, ROWS[1:3])
    result = rrhf("data", "validate", file, check=False)
    assert result.returncode == 2 and "no pair in the whole file" in result.stdout
    assert rrhf("data", "validate", file, "--set", "objective.rank_loss=none").stdout.count("error") == 0


def test_a_response_that_stop_response_empties_is_warned_of(
    rrhf: Program, file: Path, make_config: Callable[..., Path], tmp_path: Path
) -> None:
    write(file, [{"query": "a", "responses": ["\n\nHuman: b", "c", ""], "scores": [1, 2, 0]}])
    told = "response 0 is empty once data.stop_response has cut where the dialogue goes on"
    flags = ("--set", "data.stop_response=true")
    stopped, plain = rrhf("data", "validate", file, *flags).stdout, rrhf("data", "validate", file).stdout
    assert told in stopped and told not in plain
    write(file, [{"query": "a", "responses": ["\n\nHuman: b", "c"], "scores": [1, 2]}])
    assert "(1 with an empty response" in rrhf("data", "validate", file, *flags).stdout
    assert told in rrhf("train", make_config(data={"train": str(file), "stop_response": True})).stderr


def test_validate_counts_tokens_with_a_model(rrhf: Program, file: Path, models: Path) -> None:
    """One row's prompt fills the room, another's response is cut."""
    write(file, ROWS + [{"query": "word " * 60, "responses": ["a", "b"], "scores": [1, 2]},
                        {"query": "a", "responses": ["word " * 60, "b"], "scores": [1, 2]}])
    result = rrhf("data", "validate", file, "--model", models / "hf", "--set", "data.max_length=32")
    assert "rows.jsonl:5   skipped in training: " in result.stdout
    assert "at max_length 32 prompts cut 1, responses cut 1, rows skipped 1" in result.stdout
    assert "lengths in tokens are left out" in rrhf("data", "validate", file).stdout


def test_validate_counts_what_training_would_use(rrhf: Program, file: Path, models: Path) -> None:
    """A row that training skips is not usable, and nothing but such rows is an error, as it is there."""
    long = {"query": "word " * 60, "responses": ["a", "b"], "scores": [1, 2]}
    settings = ("--model", models / "hf", "--set", "data.max_length=32")
    write(file, [*ROWS, long])
    assert " 4 usable of 5 rows " in rrhf("data", "validate", file, *settings).stdout
    write(file, [long] * 3)
    result = rrhf("data", "validate", file, *settings, check=False)
    assert result.returncode == 2 and " 0 usable of 3 rows " in result.stdout and "every row is skipped" in result.stdout
    trained = rrhf("train", "--set", f"data.train={file}", "--set", f"model.path={models / 'hf'}", "--set", f"output={file.parent / 'run'}",
                   "--set", "data.max_length=32", check=False)
    assert trained.returncode == 2 and "all 3 rows are skipped" in trained.stderr


def test_validate_knows_the_positions_of_the_model(rrhf: Program, file: Path, models: Path, tmp_path: Path) -> None:
    settings = ("--set", "data.max_length=513")
    result = rrhf("data", "validate", file, "--model", models / "hf", *settings, check=False)
    assert result.returncode == 2 and "data.max_length 513 is beyond the model's 512 positions" in result.stderr
    scaled = Path(shutil.copytree(models / "hf", tmp_path / "scaled"))  # either kind of scaling stretches them, as in decoding
    config = json.loads((scaled / "config.json").read_text())
    for kind in ("linear", "dynamic"):
        (scaled / "config.json").write_text(json.dumps({**config, "rope_scaling": {"rope_type": kind, "factor": 2.0}}))
        assert " 4 usable" in rrhf("data", "validate", file, "--model", scaled, "--set", "data.max_length=1024").stdout, kind
        result = rrhf("data", "validate", file, "--model", scaled, "--set", "data.max_length=1025", check=False)
        assert result.returncode == 2 and "data.max_length 1025 is beyond the model's 1024 positions" in result.stderr, kind
    (tmp_path / "tokenizer").mkdir()  # which counts tokens, but bounds nothing
    (tmp_path / "tokenizer" / "tokenizer.model").write_bytes((models / "hf" / "tokenizer.model").read_bytes())
    assert " 4 usable" in rrhf("data", "validate", file, "--model", tmp_path / "tokenizer", *settings).stdout


def test_optional_keys_may_be_null(rrhf: Program, file: Path) -> None:
    write(file, [{**ROWS[0], "group": None, "writers": None}])
    assert [json.loads(line) for line in rrhf("data", "convert", file).stdout.splitlines()] == [
        {key: ROWS[0][key] for key in ("query", "responses", "scores")}
    ]


def test_a_file_of_one_layout_under_another_name(rrhf: Program, file: Path) -> None:
    result = rrhf("data", "validate", file, "--format", "hh", check=False)
    assert result.returncode == 2 and "chosen" in result.stdout + result.stderr


@pytest.mark.parametrize("name,layout,rows,figures", [
    ("alpaca_eval_k5.jsonl", "RRHF JSON lines", 805, "(2 with an empty response, 22 with duplicates"),
    ("vicuna80_k5.jsonl", "RRHF JSON lines", 79, "76 with a tie), 0 without a pair; k 5"),
    ("hh-harmless-base-test.jsonl.gz", "HH-RLHF JSON lines", 2312, "k 2"),
    ("gpt4llm_comparison_v1_layout.json", "GPT-4-LLM comparison v1", 300, "k 2"),
    ("gpt4llm_comparison_v2_layout.json", "GPT-4-LLM comparison v2", 300, "(2 with an empty response"),
])
def test_real_files(
    name: str, layout: str, rows: int, figures: str, rrhf: Program, shared: Path, tmp_path: Path
) -> None:
    """Found by content, and the same rows again after convert."""
    real, converted = shared / "data" / name, tmp_path / "converted.jsonl"
    result = rrhf("data", "validate", real)
    assert result.stdout.splitlines()[0] == f"{real}   {layout}"
    assert f" {rows:,} usable " in result.stdout and figures in result.stdout
    assert f"{rows:,} rows" in rrhf("data", "convert", real, "--out", converted).stdout
    again = rrhf("data", "validate", converted).stdout
    assert again.splitlines()[0] == f"{converted}   RRHF JSON lines"
    assert [line for line in again.splitlines() if " usable " in line] == [
        line for line in result.stdout.splitlines() if " usable " in line
    ]


def test_real_rows_that_hold_the_template_already(rrhf: Program, shared: Path) -> None:
    v1, v2 = (shared / "data" / f"gpt4llm_comparison_v{version}_layout.json" for version in (1, 2))
    result = rrhf("data", "validate", v1, "--set", "data.template=alpaca", check=False)
    assert result.returncode == 2 and result.stdout.count("already carries the Alpaca template") == 300
    rrhf("data", "validate", v2, "--set", "data.template=alpaca")


# --- inspect ----------------------------------------------------------------------------------------------------------


def tables(text: str) -> list[list[list[str]]]:
    """The token tables of an inspection: a list of rows of cells for the prompt and for each response."""
    found: list[list[list[str]]] = []
    for line in text.splitlines():
        if line.split()[:3] == ["row", "position", "id"]:
            found.append([])
        elif found and re.match(r" +\d+ +\d+ +\d+  ", line):
            found[-1].append(line.split())
    return found


def test_inspect_shows_what_the_model_sees(rrhf: Program, file: Path, models: Path) -> None:
    text = rrhf("data", "inspect", file, "--row", "0", "--model", models / "hf").stdout
    prompt, *responses = tables(text)
    assert [row[3] for row in prompt] == ["<s>", "▁a", "▁b"]
    assert [[row[3] for row in response] for response in responses] == [["▁c", "▁d", "</s>"], ["▁e", "</s>"], ["▁f", "</s>"]]
    # the pack is [prompt | r0 | r1 | r2]; positions go on after the prompt for each; first tokens hang on its last row
    assert [int(row[0]) for table in (prompt, *responses) for row in table] == list(range(10))
    assert [[int(row[1]) for row in response] for response in responses] == [[3, 4, 5], [3, 4], [3, 4]]
    assert [[int(row[4]) for row in response] for response in responses] == [[2, 3, 4], [2, 6], [2, 8]]
    assert text.startswith(f"{file}:1   row 0, RRHF JSON lines\n")
    assert "template none, encoding plain" in text
    assert "response 1: reward 2, by y, the best" in text and "best response (SFT): 1" in text
    pairs = re.findall(r"response (\d) \([\d.]+\) < response (\d)", text)
    assert sorted(pairs) == [("0", "1"), ("0", "2"), ("2", "1")]
    assert "labels 7, packed 10 tokens, padded length 6 (x 3 responses = 18 tokens without packing)" in text


def test_inspect_follows_the_settings(rrhf: Program, file: Path, models: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.json"
    settings = {"recipe": "released", "data": {"template": "alpaca", "bos_token": "eos", "responses": "provided"}}
    config.write_text(json.dumps({"model": {"path": str(models / "hf")}, **settings}))
    text = rrhf("data", "inspect", file, "--config", config, "--row", "0", "--all").stdout
    assert "template alpaca, encoding released, bos_token eos" in text
    assert "  | ### Instruction:\n  | a b\n  | \n  | ### Response:\n" in text
    prompt, *responses = tables(text)
    assert prompt[0][3] == "</s>" and len(prompt) == int(re.search(r"prompt: (\d+) tokens", text)[1])
    assert [[row[3] for row in response] for response in responses] == [["</s>", "▁e", "</s>"], ["</s>", "▁f", "</s>"]]
    assert "response 0: reward 1, by x, dropped by data.responses" in text


def test_inspect_shortens_unless_all_is_asked_for(rrhf: Program, shared: Path, models: Path) -> None:
    arguments = ("data", "inspect", shared / "data" / "alpaca_eval_k5.jsonl", "--row", 3, "--model", models / "hf")
    short, whole = rrhf(*arguments).stdout, rrhf(*arguments, "--all").stdout
    assert "more (--all shows them)" in short and "--all" not in whole
    assert len(short) < len(whole) and len(tables(whole)) == 6


def test_inspect_says_cut_and_skipped(rrhf: Program, file: Path, models: Path) -> None:
    write(file, [{"query": "a", "responses": ["word " * 60, "b"], "scores": [1, 2]},
                 {"query": "word " * 60, "responses": ["a", "b"], "scores": [1, 1]}])
    arguments = ("data", "inspect", file, "--model", models / "hf", "--set", "data.max_length=32", "--row")
    prompt, long, _ = tables(rrhf(*arguments, 0, "--all").stdout)
    assert len(prompt) + len(long) == 32 and long[-1][3] != "</s>"
    text = rrhf(*arguments, 1).stdout
    assert "skipped in training: " in text and "a tie, no pair" in text and "none: only the SFT loss counts" in text


@pytest.mark.parametrize("row,words", [(4, "the file has rows 0 to 3"), (-1, "a whole number from 0"), ("x", "x")])
def test_inspect_of_a_row_that_is_not_there(row: object, words: str, rrhf: Program, file: Path) -> None:
    result = rrhf("data", "inspect", file, "--row", row, check=False)
    assert result.returncode == 2 and words in result.stderr and result.stdout == ""


def test_inspect_of_a_bad_row(rrhf: Program, file: Path) -> None:
    file.write_text(BAD + file.read_text())
    result = rrhf("data", "inspect", file, "--row", 0, check=False)
    assert result.returncode == 2 and '"scores" has 1 number for 2 responses' in result.stderr
    assert "a b" in rrhf("data", "inspect", file, "--row", 1).stdout


# --- stats ------------------------------------------------------------------------------------------------------------


def test_stats_by_hand(rrhf: Program, file: Path, models: Path) -> None:
    text = rrhf("data", "stats", file, "--model", models / "hf").stdout
    line = {row.split("  ")[0]: " ".join(row.split()) for row in text.splitlines()}
    assert line["rows"] == "rows 4"
    assert line["responses"] == "responses 9, of them 1 empty; rows with duplicates 1"
    assert line["rows by k"] == "rows by k 1 x k 1, 1 x k 2, 2 x k 3"
    assert line["pairs"] == "pairs 6 with unequal scores, 1 tied; rows with a tie 1, without a pair 2"
    assert "rows skipped 0 of 4 (0.0 %)" in " ".join(text.split())
    groups = text[text.index("groups") :].split()
    assert groups == ["groups", "g", "1", "(none)", "3"]


def test_stats_of_packing_are_those_of_inspect(rrhf: Program, file: Path, models: Path) -> None:
    packed = padded = 0
    for row in range(len(ROWS)):
        text = rrhf("data", "inspect", file, "--row", row, "--model", models / "hf").stdout
        packed += int(re.search(r"packed (\d+) tokens", text)[1])
        padded += int(re.search(r"= (\d+) tokens without", text)[1])
    stats = rrhf("data", "stats", file, "--model", models / "hf").stdout
    assert f"{padded} tokens padded -> {packed} packed ({padded / packed:.2f}x)" in stats


def test_stats_leave_bad_rows_out_and_say_so(rrhf: Program, file: Path) -> None:
    file.write_text(file.read_text() + BAD)
    assert re.search(r"rows +4, and 1 with errors left out", rrhf("data", "stats", file).stdout)
    file.write_text(BAD * 3)
    result = rrhf("data", "stats", file, check=False)
    assert result.returncode == 2 and "there is no row to count: 3 with errors" in result.stderr


# --- convert ----------------------------------------------------------------------------------------------------------


def test_convert_keeps_rows_as_they_are(rrhf: Program, file: Path) -> None:
    result = rrhf("data", "convert", file)
    assert [json.loads(line) for line in result.stdout.splitlines()] == ROWS


@pytest.mark.parametrize("text,expected", [
    (
        '[{"user_input": "Hi", "completion_a": "Hello!", "completion_b": "No"}]',
        {"query": "Hi", "responses": ["Hello!", "No"], "scores": [2, 1]},
    ),
    (
        '[{"user_input": "Hi", "responses_and_scores": [{"response": "A", "source": "gpt4", "score": 9},'
        ' {"response": "", "source": "opt", "score": 1.5}]}]',
        {"query": "Hi", "responses": ["A", ""], "scores": [9, 1.5], "writers": ["gpt4", "opt"]},
    ),
    (
        '{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello!", "rejected": "\\n\\nHuman: Hi\\n\\nAssistant: Go."}\n',
        {"query": "\n\nHuman: Hi\n\nAssistant:", "responses": [" Hello!", " Go."], "scores": [1, 0]},
    ),
    (
        '{"prompt": "Hi", "chosen": "Hello!", "rejected": "Go \\u4f60\\ud83d\\ude00."}\n',
        {"query": "Hi", "responses": ["Hello!", "Go 你\U0001f600."], "scores": [1, 0]},
    ),
], ids=["v1", "v2", "hh", "preference"])
@pytest.mark.parametrize("compressed", [False, True])
def test_convert_of_each_layout(text: str, expected: Row, compressed: bool, rrhf: Program, tmp_path: Path) -> None:
    """Found by content: the name of the file says nothing."""
    source = tmp_path / "rows.data"
    source.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    assert [json.loads(line) for line in rrhf("data", "convert", source).stdout.splitlines()] == [expected]


def test_convert_joins_files_and_is_its_own_inverse(rrhf: Program, file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    assert "8 rows" in rrhf("data", "convert", file, file, "--out", first).stdout
    rrhf("data", "convert", first, "--out", second)
    assert first.read_bytes() == second.read_bytes()


def test_convert_does_not_overwrite(rrhf: Program, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    result = rrhf("data", "convert", file, "--out", out, check=False)
    assert result.returncode == 2 and "--force" in result.stderr and out.read_text() == "mine"
    rrhf("data", "convert", file, "--out", out, "--force")
    assert len(out.read_text().splitlines()) == len(ROWS)


def test_convert_onto_its_own_source(rrhf: Program, file: Path) -> None:
    rrhf("data", "convert", file, "--out", file, "--force")
    assert [json.loads(line) for line in file.read_text().splitlines()] == ROWS


def test_convert_writes_all_or_nothing(rrhf: Program, file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text() + BAD)
    result = rrhf("data", "convert", file, "--out", tmp_path / "out.jsonl", check=False)
    assert result.returncode == 2 and "rows.jsonl:5" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    assert rrhf("data", "convert", file, check=False).stdout == ""


def test_convert_into_a_folder_that_is_not_there(rrhf: Program, file: Path, tmp_path: Path) -> None:
    result = rrhf("data", "convert", file, "--out", tmp_path / "no" / "out.jsonl", check=False)
    assert result.returncode == 2 and "there is no such folder" in result.stderr


def test_converted_rows_train_as_the_original(rrhf: Program, shared: Path, models: Path, tmp_path: Path) -> None:
    """The same losses, response by response, whatever layout the rows came in."""
    source = tmp_path / "source.json"
    rows = json.loads((shared / "data" / "gpt4llm_comparison_v2_layout.json").read_text(encoding="utf-8"))[:5]
    source.write_text(json.dumps(rows))
    rrhf("data", "convert", source, "--out", tmp_path / "rows.jsonl")
    for name in ("source.json", "rows.jsonl"):
        rrhf("eval", "--model", models / "hf", "--data", tmp_path / name, "--per-response", tmp_path / f"{name}.out")
    assert (tmp_path / "source.json.out").read_bytes() == (tmp_path / "rows.jsonl.out").read_bytes()
