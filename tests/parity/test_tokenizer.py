"""The tokenizer against transformers' slow LlamaTokenizer: ids and decoded text, exactly.

The strip rule of transformers 4.28.1 has no installed peer: its oracle here is spelled out on top of the peer's own
split into special tokens and text, Python's str.strip and SentencePiece.
"""

import gzip
import itertools
import json
import random
import shutil
import subprocess

import pytest

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

PAD = {"added_tokens.json": {"[PAD]": 32000}, "special_tokens_map.json": {"pad_token": "[PAD]"}}
ENDS = {role: "</s>" for role in ("bos_token", "eos_token", "unk_token")}


def flags(content, **given):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, **given}


DECODER = {
    "0": flags("<unk>", special=True),
    "1": flags("<s>", special=True),
    "2": flags("</s>", special=True),
    "32000": flags("<pad>", rstrip=True, special=True),
    "32001": flags("<word>", single_word=True, special=False),
    "32002": flags("<eat>", lstrip=True, rstrip=True, special=False),
}

# The small files beside tokenizer.model, by case. "{first}" stands for the first id after SentencePiece's.
LAYOUTS = {
    "bare": {},
    "legacy false": {"tokenizer_config.json": {"legacy": False}},
    "pad": PAD,
    "pad, legacy false": {**PAD, "tokenizer_config.json": {"legacy": False}},
    "no prefix space": {"tokenizer_config.json": {"legacy": False, "add_prefix_space": False}},
    "null prefix space": {"tokenizer_config.json": {"legacy": None, "add_prefix_space": None}},
    "release": {**PAD, "special_tokens_map.json": {**ENDS, "pad_token": "[PAD]"}},
    "all empty": {"special_tokens_map.json": {role: "" for role in ENDS}, "tokenizer_config.json": {"bos_token": ""}},
    "objects": {
        "special_tokens_map.json": {
            "bos_token": flags("<s>", lstrip=True),
            "eos_token": flags("</s>", rstrip=True),
            "unk_token": flags("<unk>", single_word=True),
            "additional_special_tokens": ["<|a|>", flags("<|ab|>", lstrip=True, rstrip=True)],
        }
    },
    "plain added": {"added_tokens.json": {"[PAD]": 32000, "<|im|>": 32001, " <|im|>x": 32002, "m|>xy": 32003}},
    "config objects": {
        "tokenizer_config.json": {
            "bos_token": {"__type": "AddedToken", **flags("<s>", rstrip=True)},
            "additional_special_tokens": ["[/INST]", "</s>"],
            "legacy": False,
        }
    },
    "decoder": {
        "tokenizer_config.json": {"added_tokens_decoder": DECODER, "pad_token": "<pad>", "legacy": False},
        "added_tokens.json": {"[PAD]": 32000},
    },
    "decoder, legacy": {
        "tokenizer_config.json": {
            "added_tokens_decoder": DECODER,
            "pad_token": "<pad>",
            "additional_special_tokens": ["<eat>"],
        }
    },
    "fast beside": {
        "tokenizer.json": {
            "added_tokens": [
                {"id": 2, **flags("</s>", lstrip=True), "special": True},
                {"id": 32000, **flags("[PAD]", rstrip=True), "special": False},
            ]
        }
    },
    "extra": {
        **PAD,
        "tokenizer_config.json": {
            "extra_special_tokens": {"image": "<|im|>", "a": {"__type": "AddedToken", **flags("<|a|>", lstrip=True)}, "pad": "[PAD]"}
        },
    },
    "extra, decoder": {
        "tokenizer_config.json": {
            "added_tokens_decoder": DECODER,
            "extra_special_tokens": {"eat": "<eat>", "im": "<|im|>", "empty": ""},
            "additional_special_tokens": ["<|ab|>"],
            "legacy": False,
        }
    },
    "split": {"tokenizer_config.json": {"split_special_tokens": True}},
}

PIECES = [
    *("</s>", "<s>", "<unk>", "[PAD]", "<pad>", "<word>", "<eat>", "<|a|>", "<|ab|>", "<|im|>", " <|im|>x", "m|>xy"),
    *("[/INST]", "</", "<", "s>", "[PA", "|>", "<|a", "m|>x", " ", "  ", "   ", "\n", "\t", "\r\n", "\u00a0", "\u3000"),
    *("\u2028", "\x1c", "▁", "▁▁", "Hello", " world", "it's", "你好", "é", "e\u0301", "🦙", "\u200b", "\ufeff", "0x1F", "."),
    *("\x00", "\x7f", "<0x0A>", "x", "y"),
]


def tokenizer_folder(target, model, files):
    """A folder with tokenizer.model and the small files; ids from 32000 are moved behind the model's own pieces."""
    shutil.copyfile(model, target / "tokenizer.model")
    size = sentencepiece.SentencePieceProcessor(model_file=str(model)).get_piece_size()

    def moved(value):
        if isinstance(value, dict):
            return {(str(int(k) - 32000 + size) if k.isdigit() and int(k) >= 32000 else k): moved(v) for k, v in value.items()}
        if isinstance(value, list):
            return [moved(element) for element in value]
        return value - 32000 + size if type(value) is int and value >= 32000 else value

    for name, content in files.items():
        (target / name).write_text(json.dumps(moved(content)), encoding="utf-8")
    return target


@pytest.fixture
def ask(build_dir):
    def run(requests):
        probe = build_dir / "tests" / "tokenizer_probe"
        lines = "".join(json.dumps(request) + "\n" for request in requests)
        done = subprocess.run([probe], input=lines, capture_output=True, text=True, encoding="utf-8", check=True)
        return [json.loads(line) for line in done.stdout.split("\n") if line]

    return run


@pytest.fixture(params=["llama", "stories260K"])
def model(request, shared):
    where = {"llama": "tokenizers/llama", "stories260K": "models/stories260K/hf"}[request.param]
    return shared / where / "tokenizer.model"


@pytest.fixture(params=list(LAYOUTS))
def folder(request, model, tmp_path):
    return tokenizer_folder(tmp_path, model, LAYOUTS[request.param])


def slow(folder):
    return transformers.LlamaTokenizer.from_pretrained(folder, clean_up_tokenization_spaces=False)


def peer(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    return {"ids": ids, **peer_decoded(tokenizer, ids)}


def peer_decoded(tokenizer, ids):
    return {
        "decoded": tokenizer.decode(ids, skip_special_tokens=True),
        "decoded_all": tokenizer.decode(ids, skip_special_tokens=False),
    }


def random_texts(count, seed):
    """Special tokens, their fragments, white space and any Unicode, joined at random."""
    stream = random.Random(seed)

    def character():
        limit = stream.choice([0x80, 0x800, 0x10000, 0x110000])
        code = stream.randrange(limit)
        return chr(code) if not 0xD800 <= code <= 0xDFFF else "\ufffd"

    def part():
        if stream.random() < 0.7:
            return stream.choice(PIECES)
        return "".join(character() for _ in range(stream.randrange(1, 6)))

    return ["".join(part() for _ in range(stream.randrange(12))) for _ in range(count)]


def around_special():
    """Each token in question with various white space on either side, alone and between words."""
    spaces = ["", " ", "  ", "\n", "\t \n", "\u00a0", "▁"]
    for token in ("</s>", "<s>", "<unk>", "[PAD]", "<pad>", "<word>", "<eat>", "<|a|>", "<|ab|>", "<|im|>"):
        for left in spaces:
            for right in spaces:
                yield f"{left}{token}{right}"
                yield f"Hello{left}{token}{right}world"
                yield f"{token}{left}{token}{right}x"


def disagreements(texts, answers, expected):
    return [
        (text, {key: (answer.get(key), value) for key, value in want.items() if answer.get(key) != value})
        for text, answer, want in zip(texts, answers, expected, strict=True)
        if any(answer.get(key) != value for key, value in want.items())
    ]


def test_special_tokens_and_random_text(folder, ask):
    texts = [*list(around_special())[::2], *random_texts(500, seed=1)]
    tokenizer = slow(folder)
    answers = ask({"folder": str(folder), "text": text} for text in texts)
    assert disagreements(texts, answers, (peer(tokenizer, text) for text in texts)) == []


def test_decoding_random_ids(folder, ask):
    tokenizer = slow(folder)
    stream = random.Random(2)
    special = sorted({0, 1, 2, *tokenizer.added_tokens_decoder})
    space = tokenizer.convert_tokens_to_ids("▁")
    choices = [lambda: stream.randrange(len(tokenizer)), lambda: stream.choice(special), lambda: stream.randrange(3, 259)]
    choices.append(lambda: space)
    rows = [[stream.choice(choices)() for _ in range(stream.randrange(9))] for _ in range(500)]
    rows = [row for row in rows if row]
    answers = ask({"folder": str(folder), "ids": row} for row in rows)
    assert disagreements(rows, answers, ({"ids": row, **peer_decoded(tokenizer, row)} for row in rows)) == []


@pytest.mark.parametrize("seed", range(8))
def test_overlapping_tokens(seed, shared, tmp_path, ask):
    stream = random.Random(seed)
    words = sorted({"".join(stream.choices("abé", k=stream.randrange(1, 5))) for _ in range(6)})
    files = {"added_tokens.json": {word: 32000 + i for i, word in enumerate(words)}}
    folder = tokenizer_folder(tmp_path, shared / "tokenizers" / "llama" / "tokenizer.model", files)
    texts = ["".join(stream.choices("abécè ", k=stream.randrange(16))) for _ in range(600)]
    tokenizer = slow(folder)
    answers = ask({"folder": str(folder), "text": text} for text in texts)
    ids = ({"ids": tokenizer.encode(text, add_special_tokens=False)} for text in texts)
    assert disagreements(texts, answers, ids) == []


def test_ids_of_the_roles(folder, ask):
    tokenizer = slow(folder)
    (answer,) = ask([{"folder": str(folder)}])
    own = tokenizer.sp_model
    assert answer["bos"] == (tokenizer.bos_token_id if tokenizer.bos_token else own.bos_id())
    assert answer["eos"] == (tokenizer.eos_token_id if tokenizer.eos_token else own.eos_id())
    assert answer["unk"] == (tokenizer.unk_token_id if tokenizer.unk_token else own.unk_id())
    assert answer["pad"] == (tokenizer.pad_token_id if tokenizer.pad_token else None)
    assert answer["size"] == len(tokenizer)


def test_strip_rule_of_4_28(folder, ask):
    tokenizer = slow(folder)
    if tokenizer.split_special_tokens:
        pytest.skip("transformers 4.28.1 has no split_special_tokens")
    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    declared = folder / "special_tokens_map.json"
    declared = json.loads(declared.read_text(encoding="utf-8")) if declared.exists() else {}
    listed = [*declared.values(), *declared.get("additional_special_tokens", [])]
    objects = {value["content"]: value for value in listed if isinstance(value, dict)}
    added = tokenizer.added_tokens_encoder

    def expected(text):
        parts = tokenizer.tokens_trie.split(text)
        for i, part in enumerate(parts):
            if part not in added:
                continue
            rule = objects.get(part, {"lstrip": True, "rstrip": True})
            if i + 1 < len(parts) and rule["rstrip"]:
                parts[i + 1] = parts[i + 1].lstrip()
            if i > 0 and rule["lstrip"]:
                parts[i - 1] = parts[i - 1].rstrip()
        ids = []
        for part in filter(None, parts):
            ids += [added[part]] if part in added else own.encode(part)
        return {"ids": ids}

    texts = [*around_special(), *random_texts(500, seed=3)]
    answers = ask({"folder": str(folder), "text": text, "special": "parse_strip"} for text in texts)
    assert disagreements(texts, answers, map(expected, texts)) == []


def test_plain_is_sentencepiece(folder, ask):
    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = random_texts(500, seed=4)
    answers = ask({"folder": str(folder), "text": text, "special": "plain"} for text in texts)
    assert disagreements(texts, answers, ({"ids": own.encode(text)} for text in texts)) == []


def strings(value):
    """Every text within a JSON value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for element in value.values() if isinstance(value, dict) else value:
            yield from strings(element)


def real_texts(shared):
    """Every text of the ranked data, and every tenth row of what all models answered."""
    data = shared / "data"
    for name in ("alpaca_eval_k5.jsonl", "vicuna80_k5.jsonl"):
        for line in (data / name).read_text(encoding="utf-8").splitlines():
            yield from strings(json.loads(line))
    for name in ("gpt4llm_comparison_v1_layout.json", "gpt4llm_comparison_v2_layout.json", "rrhf_row_zh.json"):
        yield from strings(json.loads((data / name).read_text(encoding="utf-8")))
    for name, every in (("hh-harmless-base-test.jsonl.gz", 1), ("alpaca_eval_all.jsonl.gz", 10)):
        with gzip.open(data / name, "rt", encoding="utf-8") as lines:
            for line in itertools.islice(lines, 0, None, every):
                yield from strings(json.loads(line))


@pytest.mark.parametrize("layout", ["pad", "legacy false"])
def test_real_texts(layout, shared, model, tmp_path, ask):
    folder = tokenizer_folder(tmp_path, model, LAYOUTS[layout])
    tokenizer = slow(folder)
    texts = list(dict.fromkeys(real_texts(shared)))
    assert len(texts) > 12000
    if "stories260K" in str(model):
        texts = texts[::8]  # a vocabulary of 512: many tokens, and the peer is slow
    elif layout != "pad":
        texts = texts[::3]  # the layout decides about special tokens and the first space alone
    answers = ask({"folder": str(folder), "text": text} for text in texts)
    ids = [{"ids": tokenizer.encode(text, add_special_tokens=False)} for text in texts]
    assert disagreements(texts, answers, ids) == []
    some = slice(None, None, 40)  # the peer decodes slowly
    decoded = [peer_decoded(tokenizer, row["ids"]) for row in ids[some]]
    assert disagreements(texts[some], answers[some], decoded) == []
