"""The program against transformers on real rows: log-probs, losses, gradients, ten steps, the saved folder.

The figures reached are printed (pytest -s) and stand in every failure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from evaluation import DEVICE, LOGPROB_LIMIT, compare_evaluation, compare_metrics, evaluate, run_config
from program import Program
from reference import (
    Encoded,
    Row,
    Settings,
    StepResult,
    Tokens,
    Worst,
    accumulate_step,
    encode_all,
    load_model,
    losses,
    model_variant,
    read_rows,
    recipe,
    response_logprobs,
    schedule_factor,
    train,
    write_config,
    write_rows,
)

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """A model and the settings it is evaluated with."""

    name: str
    model: str
    settings: Settings
    changes: Optional[dict[str, Any]] = None  # to the model's config.json

    def folder(self, models: Path, tmp_path: Path) -> Path:
        source = models / self.model
        return model_variant(source, tmp_path / "model", self.changes) if self.changes else source


CASES = [
    Case("default-192", "hf", recipe("default", max_length=192)),
    Case("default-96-eos", "hf_mha", recipe("default", max_length=96, bos_token="eos")),
    Case("paper-192-mha", "hf_mha", recipe("paper", max_length=192, rank_weight=10.0, sft_weight=0.5)),
    Case("released-192", "hf", recipe("released", max_length=192)),
    Case("released-96-eos-mha", "hf_mha", recipe("released", max_length=96, bos_token="eos")),
    Case("released-400-eos", "hf", recipe("released", max_length=400, bos_token="eos", length_penalty=0.7)),
    Case("no-normalization", "hf", recipe("default", max_length=192, normalization="none", sft_reduction="padded")),
    Case("length-penalty", "hf", recipe("default", max_length=192, length_penalty=1.5, sft_reduction="sum")),
    Case(
        "linear-scaling",
        "hf",
        recipe("default", max_length=192),
        {"rope_scaling": {"type": "linear", "factor": 2.5}},
    ),
    Case(
        "dynamic-scaling",
        "hf_mha",
        recipe("default", max_length=192),
        {"rope_scaling": {"rope_type": "dynamic", "factor": 3.0}, "max_position_embeddings": 64},
    ),
    Case("tied", "hf", recipe("default", max_length=192), {"tie_word_embeddings": True}),
    Case("theta", "hf", recipe("paper", max_length=192), {"rope_theta": 500.0, "rms_norm_eps": 0.01}),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class NarrowOperations(TorchDispatchMode):
    """Counts the operations that give a floating-point tensor narrower than float64."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point() and result.dtype != torch.float64:
            self.count += 1
        return result


@pytest.mark.parametrize("scaling", [None, {"type": "linear", "factor": 2.0}, {"type": "dynamic", "factor": 2.0}])
def test_the_peer_is_float64_throughout(scaling: Any, models: Path, tmp_path: Path) -> None:
    """Nothing in the patched model is float32; as transformers has it, norms, angles and softmax are."""
    folder = model_variant(models / "hf", tmp_path / "model", {"rope_scaling": scaling})
    query = Encoded(0, [1, 300, 301], [[302, 2], [303, 304, 2]], [1.0, 0.0], 6)
    exact = load_model(folder, torch.float64)
    unpatched = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    with torch.no_grad():
        with NarrowOperations() as narrow:
            sums = response_logprobs(exact, query)
        with NarrowOperations() as unpatched_narrow:
            unpatched_sums = response_logprobs(unpatched, query)
    assert narrow.count == 0 and unpatched_narrow.count > 10
    assert 0 < (sums - unpatched_sums).abs().max() < 1e-4


@each_case
def test_logprobs_and_losses(
    case: Case, rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    folder = case.folder(models, tmp_path)
    queries = encode_all(mixed_rows, Tokens(folder), case.settings)
    usable = sum(query is not None for query in queries)
    assert usable >= 15 and (usable < len(queries)) == (case.settings.encoding == "plain"), usable
    exact = load_model(folder, torch.float64)
    for dtype in ("float64", "float32"):
        lines = evaluate(rrhf, tmp_path, folder, mixed_file, case.settings, dtype)
        what = f"{case.name} {dtype}, float64 peer:"
        compare_evaluation(lines, queries, exact, case.settings, LOGPROB_LIMIT[dtype], what)
    peer = load_model(folder, torch.float32)
    if not case.changes or "rope_scaling" not in case.changes:  # the peer's own dynamic scaling remembers past lengths
        what = f"{case.name} float32, float32 peer:"
        compare_evaluation(lines, queries, peer, case.settings, LOGPROB_LIMIT["float32"], what)


@pytest.mark.parametrize("responses", ["provided", "sampled"])
@pytest.mark.parametrize("name", ["default", "released"])
def test_chosen_responses(
    responses: str, name: str, rrhf: Program, models: Path, mixed_rows: list[Row], tmp_path: Path
) -> None:
    """The last two responses, or all but these; the padded length still counts those left out."""
    rows = [row for row in mixed_rows if len(row["responses"]) > 2]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = recipe(name, max_length=192, responses=responses)
    queries = encode_all(rows, Tokens(models / "hf"), settings)
    lines = evaluate(rrhf, tmp_path, models / "hf", data, settings, "float64")
    exact = load_model(models / "hf", torch.float64)
    compare_evaluation(lines, queries, exact, settings, LOGPROB_LIMIT["float64"], f"{name} {responses}:")


def test_a_wrong_expectation_is_found(
    rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """The comparison fails on one weight moved by a millionth, on another encoding, and on another normalization."""
    settings = recipe("default", max_length=192)
    lines = evaluate(rrhf, tmp_path, models / "hf", mixed_file, settings, "float64")
    tokens, exact = Tokens(models / "hf"), load_model(models / "hf", torch.float64)
    queries = encode_all(mixed_rows, tokens, settings)

    def agrees(queries: list[Optional[Encoded]], settings: Settings) -> bool:
        try:
            compare_evaluation(lines, queries, exact, settings, LOGPROB_LIMIT["float64"], "perturbed:")
        except AssertionError:
            return False
        return True

    assert agrees(queries, settings)
    assert not agrees(queries, replace(settings, normalization="padded"))
    assert not agrees(encode_all(mixed_rows, tokens, replace(settings, bos_token="eos")), settings)
    with torch.no_grad():
        exact.model.layers[2].mlp.up_proj.weight[5, 7] += 1e-6
    assert not agrees(queries, settings)


def test_bfloat16_is_as_near_as_transformers(
    rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """Against float64, the program's bfloat16 errs at most twice as much as transformers' own."""
    settings = recipe("default", max_length=192)
    queries = [query for query in encode_all(mixed_rows, Tokens(models / "hf"), settings) if query]
    lines = evaluate(rrhf, tmp_path, models / "hf", mixed_file, settings, "bfloat16")
    lines = [line for line in lines if "skipped" not in line]
    exact, narrow = load_model(models / "hf", torch.float64), load_model(models / "hf", torch.bfloat16).to(DEVICE)
    ours, theirs = [], []
    with torch.no_grad():
        for line, query in zip(lines, queries, strict=True):
            truth = response_logprobs(exact, query)
            ours += ((torch.tensor([r["logprob"] for r in line["responses"]]).double() - truth) / truth).tolist()
            theirs += ((response_logprobs(narrow, query).double() - truth) / truth).tolist()
    rms = [torch.tensor(errors).square().mean().sqrt().item() for errors in (ours, theirs)]
    print(f"bfloat16 against float64, relative, root mean square: {rms[0]:.2e}, transformers {rms[1]:.2e}")
    assert 0 < rms[0] <= 2 * rms[1], rms


# --- gradients --------------------------------------------------------------------------------------------------------


def probe_gradients(
    gradient_probe: Program, tmp_path: Path, name: str, config: dict[str, Any], *overrides: str
) -> tuple[dict[str, torch.Tensor], StepResult]:
    """What tests/gradient_probe gives for one step: each parameter's gradient, and the losses."""
    path, output = write_config(tmp_path / f"{name}.json", config), tmp_path / f"{name}.safetensors"
    gradient_probe(path, output, *(word for override in overrides for word in ("--set", override)))
    tensors = load_file(output)
    step = StepResult(*(tensors.pop(key).item() for key in ("loss", "rank_loss", "sft_loss")))
    return tensors, step


def compare_gradients(
    got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], limit: float, what: str
) -> None:
    assert set(got) == set(expected)
    worst = Worst(f"{what} gradients, norm(diff)/norm(g)", limit)
    for name, gradient in expected.items():
        assert got[name].shape == gradient.shape, name
        norm = gradient.norm().item()
        assert norm > 0, name
        worst.take((got[name].double() - gradient).norm().item() / norm, name)
    worst.check()


def expected_gradients(
    folder: Path, queries: list[Encoded], settings: Settings
) -> tuple[dict[str, torch.Tensor], StepResult]:
    model = load_model(folder, torch.float64)
    step = accumulate_step(model, queries, settings)
    return {name: parameter.grad for name, parameter in model.named_parameters()}, step


def compare_step(got: StepResult, expected: StepResult, limit: float, what: str) -> None:
    worst = Worst(f"{what} step losses", limit)
    for name in ("loss", "rank_loss", "sft_loss"):
        worst.see(getattr(got, name), getattr(expected, name), name, at_least=1e-3)
    worst.check()


GRADIENT_LIMIT = {"float64": 1e-9, "float32": 3e-5}


@each_case
def test_gradients(
    case: Case, gradient_probe: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    folder = case.folder(models, tmp_path)
    queries = [query for query in encode_all(mixed_rows, Tokens(folder), case.settings) if query][:15]
    gradients, step = expected_gradients(folder, queries, case.settings)
    assert step.rank_loss > 0
    for dtype in ("float64", "float32"):
        config = run_config(folder, case.settings, dtype)
        config["data"]["train"] = str(mixed_file)
        got, got_step = probe_gradients(
            gradient_probe, tmp_path, dtype, {**config, "train": {"queries_per_step": len(queries)}}
        )
        compare_step(got_step, step, LOGPROB_LIMIT[dtype] * 10, f"{case.name} {dtype}")
        compare_gradients(got, gradients, GRADIENT_LIMIT[dtype], f"{case.name} {dtype}")


def far_apart(rows: list[Row], folder: Path, settings: Settings) -> list[Row]:
    """Of each row the responses that the model scores highest and lowest, in the wrong order: a pair that any rounding charges."""
    exact, result = load_model(folder, torch.float64), []
    for query in encode_all(rows, Tokens(folder), settings):
        if query is None or len(query.responses) < 2:
            continue
        with torch.no_grad():
            scores = losses(query, response_logprobs(exact, query), settings).scores
        best, worst = scores.argmax().item(), scores.argmin().item()
        if scores[best] - scores[worst] > 0.5:
            responses = rows[query.index]["responses"]
            result.append({"query": rows[query.index]["query"], "responses": [responses[best], responses[worst]], "scores": [0, 1]})
    return result


@pytest.mark.parametrize("rank_loss", ["rrhf", "none"])
def test_bfloat16_gradients_are_as_near_as_transformers(
    rank_loss: str, gradient_probe: Program, models: Path, mixed_rows: list[Row], tmp_path: Path
) -> None:
    """Against float64, the program's err no more than transformers' own. Of two responses that score almost alike either side's
    rounding may charge the pair or not, and the gradients would differ by all of it: there are none here."""
    settings = recipe("default", max_length=192, rank_loss=rank_loss)
    rows = far_apart(mixed_rows, models / "hf", settings)[:15]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    queries = [query for query in encode_all(rows, Tokens(models / "hf"), settings) if query]
    assert len(queries) >= 12
    exact, step = expected_gradients(models / "hf", queries, settings)
    assert (step.rank_loss > 0.5) == (rank_loss == "rrhf")
    config = run_config(models / "hf", settings, "bfloat16")
    config["data"]["train"] = str(data)
    ours, _ = probe_gradients(gradient_probe, tmp_path, "narrow", {**config, "train": {"queries_per_step": len(queries)}})
    narrow = load_model(models / "hf", torch.bfloat16).to(DEVICE)
    accumulate_step(narrow, queries, settings)
    theirs = {name: parameter.grad.cpu() for name, parameter in narrow.named_parameters()}
    assert set(ours) == set(theirs) == set(exact)

    def errors(gradients: dict[str, torch.Tensor]) -> tuple[float, float]:
        own = torch.stack([(gradients[name].double() - exact[name]).norm() / exact[name].norm() for name in exact])
        return own.square().mean().sqrt().item(), own.max().item()

    figures = errors(ours), errors(theirs)
    print("bfloat16 gradients against float64, norm(diff)/norm(g), root mean square and worst: {}, transformers {}".format(*figures))
    (mean, worst), (their_mean, their_worst) = figures
    assert 0 < mean <= their_mean and worst <= 1.5 * their_worst, figures  # the worst is one tensor's, and a matter of luck


@pytest.mark.parametrize("name", ["default", "released"])
def test_gradient_is_the_same_for_any_pack(
    name: str, gradient_probe: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """One query a pack (a budget of one token), a few, or all in one: the same to rounding."""
    settings = recipe(name, max_length=192)
    config = run_config(models / "hf", settings, "float64")
    config["data"]["train"] = str(mixed_file)
    config["train"] = {"queries_per_step": 12}
    queries = [query for query in encode_all(mixed_rows, Tokens(models / "hf"), settings) if query][:12]
    expected, step = expected_gradients(models / "hf", queries, settings)
    for budget in (1, 700, 2000, 1_000_000):
        override = f"train.tokens_per_pack={budget}"
        got, got_step = probe_gradients(gradient_probe, tmp_path, f"pack{budget}", config, override)
        compare_step(got_step, step, 1e-10, f"{name}, {budget} tokens a pack")
        compare_gradients(got, expected, 1e-9, f"{name}, {budget} tokens a pack")


def test_gradient_is_the_same_for_any_order(
    gradient_probe: Program, models: Path, mixed_rows: list[Row], tmp_path: Path
) -> None:
    """Rows of a step in another order, responses of rows without ties in another order: the same to rounding."""
    settings = recipe("paper", max_length=192)
    tokens = Tokens(models / "hf")
    rows = [row for row in mixed_rows if len(set(row["scores"])) == len(row["scores"])]
    rows = [row for row in rows if tokens.encode(row, 0, settings)][:10]
    turned = [{**row, "responses": row["responses"][::-1], "scores": row["scores"][::-1]} for row in rows[::-1]]
    results = []
    for name, order in (("straight", rows), ("turned", turned)):
        data = tmp_path / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in order))
        config = run_config(models / "hf", settings, "float64")
        config["data"]["train"] = str(data)
        config["train"] = {"queries_per_step": len(rows)}
        results.append(probe_gradients(gradient_probe, tmp_path, name, config))
    compare_step(results[1][1], results[0][1], 1e-12, "other order")
    compare_gradients(results[1][0], results[0][0], 1e-12, "other order")


def test_a_wrong_gradient_is_found(
    gradient_probe: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """One query more or less in the step, or a rank weight off by 1e-6, is told apart."""
    settings = recipe("default", max_length=192)
    config = run_config(models / "hf", settings, "float64")
    config["data"]["train"] = str(mixed_file)
    got, _ = probe_gradients(gradient_probe, tmp_path, "probe", {**config, "train": {"queries_per_step": 6}})
    queries = [query for query in encode_all(mixed_rows, Tokens(models / "hf"), settings) if query]
    for count, weight in ((7, 1.0), (5, 1.0), (6, 1.000001)):
        wrong, _ = expected_gradients(models / "hf", queries[:count], replace(settings, rank_weight=weight))
        with pytest.raises(AssertionError, match="gradients"):
            compare_gradients(got, wrong, 1e-9, "perturbed")


# --- ten steps --------------------------------------------------------------------------------------------------------

STEPS, PER_STEP = 10, 3


@dataclass(frozen=True)
class Training:
    name: str
    model: str
    settings: Settings
    schedule: str
    weight_decay: float
    max_grad_norm: float = 1.0
    learning_rate: float = 1e-4  # float32 noise in Adam grows with it
    warmup_ratio: float = 0.03
    changes: Optional[dict[str, Any]] = None


TRAININGS = [
    Training("cosine", "hf", recipe("default", max_length=192), "cosine", 0.0),
    Training(
        "decay", "hf_mha", recipe("paper", max_length=192), "constant", 0.01, learning_rate=5e-5, warmup_ratio=0.0
    ),
    Training("linear", "hf", recipe("released", max_length=192, bos_token="eos"), "linear", 0.01, warmup_ratio=0.25),
    Training("unclipped", "hf", recipe("default", max_length=96), "cosine", 0.01, max_grad_norm=0.0, warmup_ratio=0.1),
    Training("tied", "hf", recipe("default", max_length=192), "constant", 0.0, changes={"tie_word_embeddings": True}),
]
each_training = pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)


def train_with_program(rrhf: Program, tmp_path: Path, folder: Path, data: Path, training: Training, dtype: str) -> Path:
    config = write_config(
        tmp_path / f"train_{dtype}.json",
        run_config(folder, training.settings, dtype),
        {
            "data": {"train": str(data), "shuffle": False},
            "optimizer": {
                "learning_rate": training.learning_rate,
                "weight_decay": training.weight_decay,
                "max_grad_norm": training.max_grad_norm,
            },
            "schedule": {"name": training.schedule, "warmup_ratio": training.warmup_ratio},
            "train": {
                "epochs": 20,
                "max_steps": STEPS,
                "queries_per_step": PER_STEP,
                "order": "shuffled",
                "epoch_end": "step",
            },
            "checkpoint": {"dtype": dtype},
            "output": str(tmp_path / f"run_{dtype}"),
        },
    )
    rrhf("train", config)
    return tmp_path / f"run_{dtype}"


def steps_in_file_order(queries: list[Encoded]) -> list[list[Encoded]]:
    """Ten steps, epoch after epoch; an epoch's last step may be smaller."""
    epoch = [queries[start : start + PER_STEP] for start in range(0, len(queries), PER_STEP)]
    return (epoch * STEPS)[:STEPS]


def compare_weights(run: Path, model: Any, dtype: torch.dtype, limit: float, what: str) -> None:
    saved = load_file(run / "model" / "model.safetensors")
    expected = dict(model.named_parameters())
    assert set(saved) == set(expected)
    worst = Worst(f"{what} weights, max|diff|/max|w|", limit)
    for name, parameter in expected.items():
        assert saved[name].dtype == dtype, name
        difference = (saved[name] - parameter.detach()).abs().max().item()
        worst.take(difference / parameter.detach().abs().max().item(), name)
    worst.check()


@each_training
def test_ten_steps(
    training: Training, rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    case = Case(training.name, training.model, training.settings, training.changes)
    folder = case.folder(models, tmp_path)
    queries = [query for query in encode_all(mixed_rows, Tokens(folder), training.settings) if query]
    # float32 too is held against float64: transformers' own float32 lies up to 1.1e-5 from it in these ten steps.
    model = load_model(folder, torch.float64)
    records = list(
        train(
            model,
            steps_in_file_order(queries),
            training.settings,
            learning_rate=training.learning_rate,
            schedule=schedule_factor(training.schedule, training.warmup_ratio, STEPS),
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm or float("inf"),
        )
    )
    assert max(record.grad_norm for record in records) > 1, "clipping was not active"
    for dtype, limit in (("float64", 1e-9), ("float32", 1e-5)):
        run = train_with_program(rrhf, tmp_path, folder, mixed_file, training, dtype)
        what = f"{training.name} {dtype}"
        compare_metrics(read_rows(run / "metrics.jsonl"), records, limit, what)
        compare_weights(run, model, DTYPES[dtype], limit, what)


def test_a_wrong_optimizer_is_found(
    rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """Without weight decay, or with the schedule a step late, the weights are told apart."""
    training = Training("decay", "hf", recipe("default", max_length=192), "cosine", 0.01)
    queries = [query for query in encode_all(mixed_rows, Tokens(models / "hf"), training.settings) if query]
    run = train_with_program(rrhf, tmp_path, models / "hf", mixed_file, training, "float64")
    right = schedule_factor("cosine", training.warmup_ratio, STEPS)
    for decay, schedule in ((0.0, right), (0.01, lambda step: right(step + 1))):
        model = load_model(models / "hf", torch.float64)
        for _ in train(
            model,
            steps_in_file_order(queries),
            training.settings,
            learning_rate=training.learning_rate,
            schedule=schedule,
            weight_decay=decay,
        ):
            pass
        with pytest.raises(AssertionError, match="weights"):
            compare_weights(run, model, torch.float64, 1e-9, "perturbed")


# --- the saved folder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_saved_folder_in_transformers(
    tied: bool, rrhf: Program, models: Path, mixed_rows: list[Row], mixed_file: Path, tmp_path: Path
) -> None:
    """What `train` saved loads in transformers without a word about missing keys, and has the same log-probs there."""
    settings = recipe("default", max_length=192)
    changes = {"tie_word_embeddings": True} if tied else None
    training = Training("saved", "hf", settings, "constant", 0.0, changes=changes)
    folder = Case("saved", "hf", settings, training.changes).folder(models, tmp_path)
    saved = train_with_program(rrhf, tmp_path, folder, mixed_file, training, "float32") / "model"
    _, report = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    assert not any(report.values()), report
    tokenizer = AutoTokenizer.from_pretrained(saved, use_fast=False)
    assert tokenizer("a </s> b", add_special_tokens=False)["input_ids"].count(2) == 1
    queries = encode_all(mixed_rows, Tokens(saved), settings)
    lines = evaluate(rrhf, tmp_path, saved, mixed_file, settings, "float64")
    after = load_model(saved, torch.float64)
    compare_evaluation(lines, queries, after, settings, LOGPROB_LIMIT["float64"], "saved folder:")
    before = load_model(folder, torch.float64)
    with pytest.raises(AssertionError, match="log-probs"):
        compare_evaluation(lines, queries, before, settings, 1e-4, "the model before training:")
