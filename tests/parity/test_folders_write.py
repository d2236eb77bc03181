"""Folders written here, read by transformers and safetensors; recovered weights against the released script, done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Optional

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM

from program import Program
from reference import model_variant

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")
State = dict[str, torch.Tensor]


def load(folder: Path, dtype: torch.dtype) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, torch_dtype=dtype).eval()


def logits(model: LlamaForCausalLM) -> torch.Tensor:
    """In float32 whatever the weights are stored in: the same weights must give the same numbers."""
    with torch.no_grad():
        return model.float()(torch.tensor([[1, 403, 407, 261, 378, 5, 300]])).logits


def same_state(a: State, b: State) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name


def read(folder: Path) -> State:
    state: State = {}
    for path in sorted(folder.glob("*.safetensors")):
        state.update(load_file(path))
    return state


def variant(models: Path, tmp_path: Path, tied: bool) -> Path:
    return model_variant(models / "hf", tmp_path / "source", {"tie_word_embeddings": tied})


# --- convert ----------------------------------------------------------------------------------------------------------


def test_adapters_of_peft_sit_on_a_folder_written_here(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """A LoRA trained by others on such a folder is saved, and found again on the folder alone."""
    peft = pytest.importorskip("peft")
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    rrhf("model", "convert", models / "hf", "--out", base, "--dtype", "bfloat16", "--shard-size", "150KB")
    torch.manual_seed(5)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(load(base, torch.float32), settings).eval()
    model.save_pretrained(adapter)
    again = peft.PeftModel.from_pretrained(load(base, torch.float32), adapter).eval()
    assert torch.equal(logits(again), logits(model))
    assert not torch.equal(logits(again), logits(load(base, torch.float32)))


@pytest.mark.parametrize("shard_size", ["5GB", "150KB"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_converted_folders_load(
    dtype: str, tied: bool, shard_size: str, rrhf: Program, models: Path, tmp_path: Path
) -> None:
    source, out = variant(models, tmp_path, tied), tmp_path / "out"
    rrhf("model", "convert", source, "--out", out, "--dtype", dtype, "--shard-size", shard_size)
    expected, got = load(source, DTYPES[dtype]), load(out, "auto")
    assert got.dtype == DTYPES[dtype]
    same_state(dict(expected.state_dict()), dict(got.state_dict()))
    assert torch.equal(logits(expected), logits(got))
    shards = list(out.glob("*.safetensors"))
    assert (len(shards) > 1) == (shard_size != "5GB")
    for path in shards:
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert all(file.get_tensor(name).dtype == DTYPES[dtype] for name in file.keys())


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_transformers_wrote_is_converted(
    dtype: str, safe: bool, rrhf: Program, models: Path, tmp_path: Path
) -> None:
    source = tmp_path / "saved"
    model = load(models / "hf", DTYPES[dtype])
    model.save_pretrained(source, safe_serialization=safe, max_shard_size="200KB")
    shutil.copy(models / "hf" / "tokenizer.model", source)
    rrhf("model", "convert", source, "--out", tmp_path / "out")
    same_state(dict(model.state_dict()), read(tmp_path / "out"))
    assert (tmp_path / "out" / "generation_config.json").exists()


# --- resize -----------------------------------------------------------------------------------------------------------


def released_resize(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A row more in both embeddings, the mean of the old ones."""
    model.resize_token_embeddings(model.config.vocab_size + 1, mean_resizing=False)
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        rows = embedding.weight.data
        rows[-1] = rows[:-1].mean(dim=0)
    return model


def test_add_pad_is_what_the_released_code_does(rrhf: Program, models: Path, tmp_path: Path) -> None:
    rrhf("model", "resize", models / "hf", "--add-pad", "--out", tmp_path / "out")
    expected, got = released_resize(load(models / "hf", torch.float32)), load(tmp_path / "out", "auto")
    same_state(dict(expected.state_dict()), dict(got.state_dict()))
    assert torch.equal(logits(expected), logits(got))
    assert got.config.vocab_size == 513 and got.config.pad_token_id == 512


TOKENIZER_CONFIGS = {
    "none": None,
    "legacy": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"},
    "decoder": {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "added_tokens_decoder": {
            str(id): {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
            for id, text in enumerate(("<unk>", "<s>", "</s>"))
        },
    },
}


@pytest.mark.parametrize("name", TOKENIZER_CONFIGS)
def test_a_tokenizer_with_pad_loads(name: str, rrhf: Program, models: Path, tmp_path: Path) -> None:
    source, out = model_variant(models / "hf", tmp_path / "source", {}), tmp_path / "out"
    if TOKENIZER_CONFIGS[name]:
        (source / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIGS[name]))
    rrhf("model", "resize", source, "--add-pad", "--out", out)
    tokenizer = AutoTokenizer.from_pretrained(out, use_fast=False)
    assert tokenizer.pad_token == "[PAD]" and tokenizer.pad_token_id == 512 and len(tokenizer) == 513
    before = AutoTokenizer.from_pretrained(source, use_fast=False)
    text = "Once upon a time, there was a little girl."
    assert tokenizer(text).input_ids == before(text).input_ids
    assert tokenizer("[PAD]", add_special_tokens=False).input_ids == [512]


EMPTY_TOKENS = {"bos_token": "", "eos_token": "", "unk_token": ""}
OLD_TOKENIZERS = {
    "words": ({"tokenizer_class": "LLaMATokenizer", **EMPTY_TOKENS}, {}),
    "class known": ({"tokenizer_class": "LlamaTokenizer", **EMPTY_TOKENS}, {}),
    "objects": (
        {"tokenizer_class": "LLaMATokenizer"},
        {role: {"content": "", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False} for role in EMPTY_TOKENS},
    ),
}


@pytest.mark.parametrize("verb", ["convert", "delta"])
@pytest.mark.parametrize("kind", OLD_TOKENIZERS)
def test_the_tokenizer_of_an_old_conversion(kind: str, verb: str, rrhf: Program, models: Path, tmp_path: Path) -> None:
    """The first conversions of LLaMA name a class that transformers never released, empty special tokens, and in their
    config the ids of <unk> and <s> for BOS and EOS. What is made of them gives the ids of the plain tokenizer."""
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
    source, out = model_variant(models / "hf", tmp_path / "source", ids), tmp_path / "out"
    config, special = OLD_TOKENIZERS[kind]
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    (source / "special_tokens_map.json").write_text(json.dumps(special))
    plain = AutoTokenizer.from_pretrained(models / "hf", use_fast=False)
    texts = ["Hi", "Once upon a time, there was a girl.", "two\nlines", " leading", "naïve 東"]
    expected = [plain(text).input_ids for text in texts]
    assert all(row[0] == 1 for row in expected)
    if config["tokenizer_class"] == "LlamaTokenizer":  # what the folder gives as it is
        assert AutoTokenizer.from_pretrained(source, use_fast=False)("Hi").input_ids[0] != 1
    else:
        with pytest.raises(ValueError, match="LLaMATokenizer"):
            AutoTokenizer.from_pretrained(source, use_fast=False)
    if verb == "convert":
        rrhf("model", "convert", source, "--out", out)
    else:
        rrhf("delta", "make", "--base", source, "--target", source, "--out", tmp_path / "delta")
        rrhf("delta", "apply", "--base", source, "--delta", tmp_path / "delta", "--out", out, "--no-answer")
    tokenizer = AutoTokenizer.from_pretrained(out, use_fast=False)
    assert [tokenizer(text).input_ids for text in texts] == expected
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == ("<s>", "</s>", "<unk>")
    generation = load(out, torch.float32).generation_config
    assert (generation.bos_token_id, generation.eos_token_id) == (1, 2)


# --- deltas -----------------------------------------------------------------------------------------------------------


def released_recover(base: State, delta: State, dtype: torch.dtype, fill: str) -> State:
    """base + delta with everything in one dtype; [PAD]'s row of both embeddings is zero, or the mean of the old rows."""
    recovered: State = {}
    for name, difference in delta.items():
        weight = base[name].to(dtype)
        if name in EMBEDDINGS and len(weight) < len(difference):
            more = len(difference) - len(weight)
            row = weight.mean(dim=0, keepdim=True) if fill == "mean" else torch.zeros_like(weight[:1])
            weight = torch.cat([weight] + [row] * more)
        recovered[name] = weight + difference.to(dtype)
    return recovered


class Fine:
    """A base, a model near it with a row more, and their released kind of delta as plain files without a manifest."""

    def __init__(self, models: Path, folder: Path, dtype: torch.dtype, fill: str, base_dtype: Optional[torch.dtype] = None) -> None:
        generator = torch.Generator().manual_seed(3)
        self.base, self.delta, self.out = folder / "base", folder / "delta", folder / "out"
        self.base_state = {name: x.to(base_dtype or dtype) for name, x in load_file(models / "hf" / "model.safetensors").items()}
        self.delta_state: State = {}
        for name, x in self.base_state.items():
            rows = len(x) + (name in EMBEDDINGS)
            self.delta_state[name] = (0.02 * torch.randn((rows, *x.shape[1:]), generator=generator)).to(dtype)
        for path, state in ((self.base, self.base_state), (self.delta, self.delta_state)):
            model_variant(models / "hf", path, {"vocab_size": len(state[EMBEDDINGS[0]])})
            (path / "model.safetensors").unlink()
            save_file(state, path / "model.safetensors", metadata={"format": "pt"})
        (self.delta / "added_tokens.json").write_text('{"[PAD]": 512}')
        (self.delta / "special_tokens_map.json").write_text('{"pad_token": "[PAD]"}')
        self.expected = released_recover(self.base_state, self.delta_state, dtype, fill)

    def flags(self) -> tuple[object, ...]:
        return ("--base", self.base, "--delta", self.delta, "--out", self.out, "--no-answer")


def test_a_wombat_is_recovered_bit_for_bit(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """float16 sums, a zero row for [PAD], from a base in any dtype."""
    for base_dtype in (torch.float16, torch.float32, torch.bfloat16):
        fine = Fine(models, tmp_path / str(base_dtype), torch.float16, "zero", base_dtype)
        rrhf("delta", "apply", *fine.flags(), "--shard-size", "200KB")
        same_state(read(fine.out), fine.expected)
        got = load(fine.out, "auto")
        same_state(dict(got.state_dict()), fine.expected)
        assert len(AutoTokenizer.from_pretrained(fine.out, use_fast=False)) == got.config.vocab_size == 513


def test_an_alpaca_is_recovered_bit_for_bit(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """float32 sums, the mean row, and the sum of all weights as Stanford's script takes it."""
    fine = Fine(models, tmp_path, torch.float32, "mean", torch.float16)
    # The script's way: float32, torch's sum of each, one after the other in the order of the state dict.
    order = [name for name in load(models / "hf", torch.float32).state_dict()]
    total = sum(fine.expected[name].sum() for name in order)
    rrhf("delta", "apply", *fine.flags(), "--pad-row", "mean", "--expect-sum", f"{total.item():.4f}")
    same_state(read(fine.out), fine.expected)


def test_a_delta_made_here_is_applied_by_the_released_script(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """And by transformers' own reading of the delta's folder."""
    for fill in ("zero", "mean"):
        fine = Fine(models, tmp_path / fill, torch.float16, fill)
        target = tmp_path / fill / "target"
        rrhf("delta", "apply", *fine.flags(), "--pad-row", fill)
        fine.out.rename(target)
        made = tmp_path / fill / "made"
        result = rrhf("delta", "make", "--base", fine.base, "--target", target, "--out", made, "--pad-row", fill)
        assert "exact" in result.stdout, result.stdout
        delta = dict(load(made, torch.float16).state_dict())
        same_state(released_recover(fine.base_state, delta, torch.float16, fill), fine.expected)


def test_bfloat16_deltas(rrhf: Program, models: Path, tmp_path: Path) -> None:
    fine = Fine(models, tmp_path, torch.bfloat16, "zero")
    rrhf("delta", "apply", *fine.flags())
    same_state(read(fine.out), fine.expected)
    assert torch.equal(logits(load(fine.out, "auto")), logits(load(fine.out, torch.bfloat16)))


def test_the_first_answer_is_that_of_transformers(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """Greedy tokens and the probabilities of BOS and EOS, from a folder recovered with a delta of zeros."""
    rrhf("delta", "make", "--base", models / "hf", "--target", models / "hf", "--out", tmp_path / "delta")
    flags = ("--base", models / "hf", "--delta", tmp_path / "delta", "--out", tmp_path / "out")
    said = rrhf("delta", "apply", *flags).stdout
    model, tokenizer = load(models / "hf", torch.float32), AutoTokenizer.from_pretrained(models / "hf", use_fast=False)
    prompt = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nList three ways to save water at home.\n\n### Response:"
    )
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        first = model(ids).logits[0, -1].softmax(0)
        answer = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert f"P(BOS) {first[1]:.4f}   P(EOS) {first[2]:.4f}" in said
    assert json.dumps(tokenizer.decode(answer, skip_special_tokens=True), ensure_ascii=False) in said
