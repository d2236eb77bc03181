"""Adapters against PEFT: training, the folders of both, merging."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from evaluation import LOGPROB_LIMIT, compare_evaluation, compare_metrics, evaluate, run_config
from program import Program
from reference import (
    Encoded,
    Row,
    Settings,
    Tokens,
    Worst,
    encode_all,
    load_model,
    model_variant,
    read_rows,
    recipe,
    schedule_factor,
    train,
    write_config,
)

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
STEPS, PER_STEP = 8, 3
# Where a gradient is near 0, Adam's step with a small epsilon is its sign, which float32 can't know.
EPSILON = 1e-3


@dataclass(frozen=True)
class Training:
    name: str
    model: str
    settings: Settings
    rank: int
    alpha: float
    modules: list[str]
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    changes: Optional[dict[str, Any]] = None
    train: dict[str, Any] = field(default_factory=dict)  # settings that change no number


TRAININGS = [
    Training("all", "hf", recipe("default", max_length=192), 4, 8.0, ALL, weight_decay=0.01),
    Training("query-value", "hf_mha", recipe("paper", max_length=192), 3, 16.0, ["q_proj", "v_proj"]),
    Training("mlp-tied", "hf", recipe("released", max_length=192), 2, 5.0, ALL[4:], changes={"tie_word_embeddings": True}),
    Training("recomputed", "hf", recipe("default", max_length=96), 8, 16.0, ["k_proj", "o_proj", "up_proj", "down_proj"],
             max_grad_norm=0.0, train={"recompute": "layer", "tokens_per_pack": 300}),
    Training("mlp-recomputed", "hf_mha", recipe("default", max_length=96), 1, 4.0, ALL, train={"recompute": "mlp"}),
]
each_training = pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)


def base_folder(training: Training, models: Path, tmp_path: Path) -> Path:
    source = models / training.model
    return model_variant(source, tmp_path / "base", training.changes) if training.changes else source


def train_with_program(
    rrhf: Program, tmp_path: Path, folder: Path, data: Path, training: Training, name: str, *sections: dict[str, Any]
) -> Path:
    dtype = sections[0]["model"]["dtype"]
    config = write_config(
        tmp_path / f"{name}.json",
        run_config(folder, training.settings, dtype),
        {
            "lora": {"rank": training.rank, "alpha": training.alpha, "modules": training.modules},
            "data": {"train": str(data), "shuffle": False},
            "optimizer": {
                "learning_rate": 1e-2,
                "epsilon": EPSILON,
                "weight_decay": training.weight_decay,
                "max_grad_norm": training.max_grad_norm,
            },
            "schedule": {"warmup_ratio": 0.0},
            "train": {"epochs": 20, "max_steps": STEPS, "queries_per_step": PER_STEP, **training.train},
            "checkpoint": {"dtype": dtype},
            "output": str(tmp_path / name),
        },
        *sections,
    )
    rrhf("train", config)
    return tmp_path / name


def load_peft(folder: Path, adapter: Path, dtype: torch.dtype, trainable: bool = False) -> peft.PeftModel:
    """PEFT's own reading of an adapter, beside a base that is float64 throughout where that is asked for."""
    return peft.PeftModel.from_pretrained(
        load_model(folder, dtype), adapter, is_trainable=trainable, autocast_adapter_dtype=False
    ).to(dtype)


def adapter_tensors(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in peft.get_peft_model_state_dict(model).items()}


def usable_queries(rows: list[Row], folder: Path, settings: Settings) -> list[Encoded]:
    return [query for query in encode_all(rows, Tokens(folder), settings) if query]


def adapters_apart(
    got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], limit: float, what: str
) -> Worst:
    assert set(got) == set(expected)
    worst = Worst(f"{what} adapters, max|diff|/max|w|", limit)
    for name, tensor in expected.items():
        assert got[name].shape == tensor.shape, name
        largest = tensor.abs().max().item()
        assert largest > 0, f"{name} was not trained"
        worst.take((got[name].double() - tensor.double()).abs().max().item() / largest, name)
    return worst


def peer_training(
    folder: Path, start: Path, queries: list[Encoded], training: Training, dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """The steps in PEFT from the adapter in `start`: the adapter they end with."""
    model = load_peft(folder, start, dtype, trainable=True)
    epoch = [queries[begin : begin + PER_STEP] for begin in range(0, len(queries), PER_STEP)]
    records = train(
        model,
        (epoch * STEPS)[:STEPS],
        training.settings,
        learning_rate=1e-2,
        epsilon=EPSILON,
        schedule=schedule_factor("cosine", 0.0, STEPS),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm or float("inf"),
    )
    done = list(records)
    return adapter_tensors(model), done


@each_training
def test_training(
    training: Training, rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """The same adapters after the same steps: from where a run begins, which one at learning rate 0 saves."""
    folder = base_folder(training, models, tmp_path)
    still = {"optimizer": {"learning_rate": 0.0}, "train": {"max_steps": 1}, "model": {"dtype": "float64"}}
    start = train_with_program(rrhf, tmp_path, folder, mixed_file, training, "start", still) / "adapter"
    for name, value in load_file(start / "adapter_model.safetensors").items():
        bound = 1 / value.shape[1] ** 0.5
        if "lora_A" in name:  # U(-bound, bound): its deviation is bound / sqrt(3)
            assert value.abs().max() <= bound
            assert abs(value.std().item() - bound / 3**0.5) < 0.25 * bound, name
        else:
            assert not value.any(), name
    queries = usable_queries(mixed_rows, folder, training.settings)
    expected, records = peer_training(folder, start, queries, training, torch.float64)
    # B begins at 0, so that float32's noise in the first steps stays visible: PEFT's own is the measure.
    narrow, _ = peer_training(folder, start, queries, training, torch.float32)
    noise = adapters_apart(narrow, expected, 1e-3, f"{training.name} PEFT in float32")
    noise.check()
    before = load_file(folder / "model.safetensors")
    for dtype, limit, adapter_limit in (("float64", 1e-9, 1e-9), ("float32", 1e-5, 4 * noise.value)):
        run = train_with_program(rrhf, tmp_path, folder, mixed_file, training, dtype, {"model": {"dtype": dtype}})
        what = f"{training.name} {dtype}"
        compare_metrics(read_rows(run / "metrics.jsonl"), records, limit, what)
        saved = load_file(run / "adapter" / "adapter_model.safetensors")
        adapters_apart(saved, expected, adapter_limit, what).check()
        # Of the model in the run's folder, what has no adapter is the base's to the last bit.
        after = load_file(run / "model" / "model.safetensors")
        assert set(after) == set(before)
        for name, value in before.items():
            adapted = any(f".{module}." in name for module in training.modules)
            assert torch.equal(after[name], value.to(after[name].dtype)) != adapted, name
        # The model's log-probs are those of PEFT's base with the adapter beside it.
        lines = evaluate(rrhf, tmp_path, run / "model", mixed_file, training.settings, dtype)
        peer = load_peft(folder, run / "adapter", torch.float64)
        everything = encode_all(mixed_rows, Tokens(folder), training.settings)
        compare_evaluation(lines, everything, peer, training.settings, LOGPROB_LIMIT[dtype], f"{what} merged:")


def test_a_wrong_scale_is_found(
    rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """With alpha off by a ten-millionth, or one element of an adapter moved by as much, the comparisons fail."""
    training = TRAININGS[0]
    run = train_with_program(
        rrhf, tmp_path, models / "hf", mixed_file, training, "run", {"model": {"dtype": "float64"}}
    )
    lines = evaluate(rrhf, tmp_path, run / "model", mixed_file, training.settings, "float64")
    queries = encode_all(mixed_rows, Tokens(models / "hf"), training.settings)
    right = load_peft(models / "hf", run / "adapter", torch.float64)
    compare_evaluation(lines, queries, right, training.settings, LOGPROB_LIMIT["float64"], "right:")
    config = run / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_alpha": training.alpha * (1 + 1e-7)}))
    wrong = load_peft(models / "hf", run / "adapter", torch.float64)
    with pytest.raises(AssertionError, match="log-probs"):
        compare_evaluation(lines, queries, wrong, training.settings, LOGPROB_LIMIT["float64"], "another alpha:")
    saved = load_file(run / "adapter" / "adapter_model.safetensors")
    moved = {name: value.clone() for name, value in saved.items()}
    next(iter(moved.values()))[0, 0] += 1e-7
    with pytest.raises(AssertionError, match="adapters"):
        adapters_apart(moved, saved, 1e-9, "moved").check()


# --- folders of PEFT --------------------------------------------------------------------------------------------------


def made_by_peft(base: Path, folder: Path, **settings: Any) -> peft.PeftModel:
    """An adapter with random A and B, as PEFT saves it."""
    torch.manual_seed(3)
    config = peft.LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 12, "target_modules": ALL, **settings})
    model = peft.get_peft_model(load_model(base, torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"target_modules": ["q_proj", "v_proj", "lm_head"]},
        {"rank_pattern": {"q_proj": 7, "layers.1.mlp.up_proj": 2}},
        {"layers_to_transform": [1, 2]},
    ],
    ids=["plain", "rank-stabilized", "head", "ranks", "layers"],
)
def test_merging_an_adapter_of_peft(settings: dict[str, Any], rrhf: Program, models: Path, tmp_path: Path) -> None:
    model = made_by_peft(models / "hf", tmp_path / "adapter", **settings)
    result = rrhf("model", "merge", tmp_path / "adapter", "--base", models / "hf", "--out", tmp_path / "merged")
    expected = {name: value for name, value in model.merge_and_unload().state_dict().items()}
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert set(merged) == set(expected)
    worst = Worst("merged weights, max|diff|/max|w|", 1e-6)
    base = load_file(models / "hf" / "model.safetensors")
    changed = 0
    for name, value in expected.items():
        worst.take((merged[name] - value).abs().max().item() / value.abs().max().item(), name)
        changed += not torch.equal(merged[name], base[name])
    worst.check()
    if "lm_head" in settings.get("target_modules", []):  # PEFT keeps a copy of the head beside it
        other = model_variant(models / "hf", tmp_path / "other", {})
        tensors = load_file(other / "model.safetensors")
        tensors["lm_head.weight"][3, 5] += 1
        save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
        result = rrhf("model", "merge", tmp_path / "adapter", "--base", other, "--out", tmp_path / "out", check=False)
        assert result.returncode == 2 and "lm_head.weight (the adapter holds other values for it)" in result.stderr
        return
    assert changed > 0 and f"{changed} matrices of" in result.stderr, result.stderr


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_narrow_sum_is_rounded_once(dtype: str, rrhf: Program, models: Path, tmp_path: Path) -> None:
    """W + scale B A is taken in float32 and rounded to the nearest of the dtype asked for, as .bin or safetensors."""
    made_by_peft(models / "hf", tmp_path / "adapter")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    torch.save(tensors, tmp_path / "adapter" / "adapter_model.bin")
    out = tmp_path / "merged"
    rrhf("model", "merge", tmp_path / "adapter", "--base", models / "hf", "--out", out, "--dtype", dtype)
    merged, base = load_file(out / "model.safetensors"), load_file(models / "hf" / "model.safetensors")
    worst = Worst(f"{dtype} beyond half a step between neighbours, of |W| + |scale B A|", 1e-6)
    for name, value in base.items():
        stem = "base_model.model." + name.removesuffix(".weight")
        product = torch.zeros_like(value, dtype=torch.float64)
        if f"{stem}.lora_A.weight" in tensors:
            product = 12 / 4 * tensors[f"{stem}.lora_B.weight"].double() @ tensors[f"{stem}.lora_A.weight"].double()
        exact = value.double() + product
        step = torch.finfo(getattr(torch, dtype)).eps * 2.0 ** torch.floor(torch.log2(exact.abs().clamp(min=2.0**-14)))
        beyond = (merged[name].double() - exact).abs() - step / 2
        worst.take((beyond / (value.abs() + product.abs()).clamp(min=1e-30)).max().item(), name)
    worst.check()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_bases_dtype_is_kept(dtype: torch.dtype, rrhf: Program, models: Path, tmp_path: Path) -> None:
    """Adapters of any precision beside a base of any: the sum is taken in the wider, at least in float32, and rounded."""
    base = load_model(models / "hf", torch.float32).to(dtype)
    base.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.model").write_bytes((models / "hf" / "tokenizer.model").read_bytes())
    made_by_peft(models / "hf", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    adapters = {name: value.to(dtype) for name, value in load_file(file).items()}
    save_file(adapters, file)
    rrhf("model", "merge", tmp_path / "adapter", "--base", tmp_path / "base", "--out", tmp_path / "merged")
    merged, wide = load_file(tmp_path / "merged" / "model.safetensors"), torch.promote_types(dtype, torch.float32)
    changed = 0
    for name, value in load_file(tmp_path / "base" / "model.safetensors").items():
        assert merged[name].dtype == dtype
        stem = "base_model.model." + name.removesuffix(".weight")
        if f"{stem}.lora_A.weight" not in adapters:
            assert torch.equal(merged[name], value), name
            continue
        product = adapters[f"{stem}.lora_B.weight"].to(wide) @ adapters[f"{stem}.lora_A.weight"].to(wide)
        expected = value.to(wide) + 3 * product
        assert (merged[name].to(wide) - expected).abs().max() <= 4 * torch.finfo(dtype).eps * expected.abs().max(), name
        changed += 1
    assert changed == 35


def test_what_is_no_plain_lora_is_refused(rrhf: Program, models: Path, tmp_path: Path) -> None:
    base = models / "hf"
    for name, settings, word in (
        ("dora", {"use_dora": True}, "sets what is no part of a plain LoRA: use_dora;"),
        ("alphas", {"alpha_pattern": {"q_proj": 3}}, "sets what is no part of a plain LoRA: alpha_pattern;"),
        ("biases", {"lora_bias": True}, "sets what is no part of a plain LoRA: lora_bias;"),
        ("pissa", {"init_lora_weights": "pissa"}, 'sets what is no part of a plain LoRA: init_lora_weights "pissa";'),
        ("olora", {"init_lora_weights": "olora"}, 'sets what is no part of a plain LoRA: init_lora_weights "olora";'),
        ("layers", {"layer_replication": [[0, 3], [1, 5]]}, "sets what is no part of a plain LoRA: layer_replication;"),
        ("alora", {"alora_invocation_tokens": [5]}, "sets what is no part of a plain LoRA: alora_invocation_tokens;"),
        ("saved", {"modules_to_save": ["lm_head"]}, "base_model.model.lm_head.weight"),
    ):
        made_by_peft(base, tmp_path / name, **settings)
        result = rrhf("model", "merge", tmp_path / name, "--base", base, "--out", tmp_path / "out", check=False)
        assert result.returncode == 2 and word in result.stderr, result.stderr
    prefix = peft.get_peft_model(
        load_model(base, torch.float32), peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    prefix.save_pretrained(tmp_path / "prefix")
    result = rrhf("model", "merge", tmp_path / "prefix", "--base", base, "--out", tmp_path / "out", check=False)
    assert result.returncode == 2 and 'peft_type is "PREFIX_TUNING"' in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


def test_broken_adapters_are_refused(rrhf: Program, models: Path, tmp_path: Path) -> None:
    base = models / "hf"
    made_by_peft(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    whole = load_file(file)
    some = "base_model.model.model.layers.0.self_attn.q_proj"

    def refused(tensors: dict[str, torch.Tensor], *words: str) -> None:
        save_file(tensors, file)
        result = rrhf("model", "merge", tmp_path / "adapter", "--base", base, "--out", tmp_path / "out", check=False)
        assert result.returncode == 2 and all(word in result.stderr for word in words), result.stderr
        assert not (tmp_path / "out").exists()

    without = {name: value for name, value in whole.items() if name != f"{some}.lora_B.weight"}
    refused(without, "model.layers.0.self_attn.q_proj.weight", "lora_A [r, in] and a lora_B [out, r]")
    bad = whole[f"{some}.lora_A.weight"].clone()
    bad[1, 1] = float("nan")
    refused({**whole, f"{some}.lora_A.weight": bad}, f"{some}.lora_A.weight holds numbers that are not finite")
    other = {name.replace("layers.0.", "layers.77."): value for name, value in whole.items()}
    refused(other, "layers.77.mlp.up_proj.weight (no weight of the base)")
    refused({**whole, f"{some}.lora_B.weight": torch.zeros(3, 4)}, "(adapter [3, ", "base [")
    refused({**whole, f"{some}.lora_B.weight": torch.zeros(64)}, "no part of a plain LoRA", "lora_B.weight [64]")
    vast = {name: torch.full_like(value, 1e25) for name, value in whole.items()}
    refused(vast, "with it model.layers.0", "is not finite")
    refused({}, "holds no tensors")


def test_a_head_that_is_tied_has_no_adapter(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """The file holds a head, but the config ties it: what stands beside it would be lost."""
    made_by_peft(models / "hf", tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    base = model_variant(models / "hf", tmp_path / "base", {})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    result = rrhf("model", "merge", tmp_path / "adapter", "--base", base, "--out", tmp_path / "out", check=False)
    assert result.returncode == 2 and "lm_head.weight (no weight of the base)" in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()
