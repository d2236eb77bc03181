"""An independent RRHF on transformers: what the program is compared with.

Written from the description of the method and of the released code (docs/losses.md), sharing nothing with the C++:
a query's k sequences are padded and run through LlamaForCausalLM one query at a time, and autograd does the rest.
At the end stand the small things that comparing takes: configs, variants of a model, the worst deviation seen.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import MethodType
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AttentionInterface, AttentionMaskInterface, LlamaForCausalLM, LlamaTokenizer
from transformers.masking_utils import eager_mask

Row = dict[str, Any]

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"sft_reduction": "sum"},
    "released": {"encoding": "released", "normalization": "padded", "sft_reduction": "padded"},
}


@dataclass(frozen=True)
class Settings:
    """The settings that decide a loss, under the names of the config file."""

    encoding: str = "plain"
    bos_token: str = "model"
    max_length: int = 512
    responses: str = "all"
    normalization: str = "response"
    length_penalty: float = 1.0
    sft_reduction: str = "mean"
    rank_weight: float = 1.0
    sft_weight: float = 1.0
    rank_loss: str = "rrhf"

    def config(self) -> dict[str, Any]:
        """The same settings as a config file says them."""
        data = {key: getattr(self, key) for key in ("encoding", "bos_token", "max_length", "responses")}
        names = ("normalization", "length_penalty", "sft_reduction", "rank_weight", "sft_weight", "rank_loss")
        return {"data": data, "objective": {key: getattr(self, key) for key in names}}


def recipe(name: str, **others: Any) -> Settings:
    return replace(Settings(), **RECIPES[name], **others)


# --- a LLaMA that is float64 throughout -----------------------------------------------------------------------------


def _exact_norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    mean_square = hidden_states.square().mean(-1, keepdim=True)
    return self.weight * (hidden_states / torch.sqrt(mean_square + self.variance_epsilon))


def rotary_frequencies(config: Any, length: int) -> torch.Tensor:
    """float64 inverse frequencies for sequences of `length`: theta^(-2i/d), with linear or dynamic scaling."""
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    scaling = config.rope_scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    base, divisor = float(config.rope_theta), 1.0
    if kind == "linear":
        divisor = float(scaling["factor"])
    elif kind == "dynamic":
        factor, positions = float(scaling["factor"]), config.max_position_embeddings
        stretch = factor * max(length, positions) / positions - (factor - 1)
        base *= stretch ** (dim / (dim - 2))
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    return 1.0 / (torch.tensor(base, dtype=torch.float64) ** exponents * divisor)


def _exact_rotary(self: Any, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    frequencies = rotary_frequencies(self.config, int(position_ids.max()) + 1)
    angles = position_ids.double()[..., None] * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _exact_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Optional[torch.Tensor],
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    groups = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    logits = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        logits = logits + attention_mask[..., : key.shape[-2]]
    weights = torch.softmax(logits, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register("exact", _exact_attention)
AttentionMaskInterface.register("exact", eager_mask)


def make_exact(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Makes a float64 model float64 throughout: as it comes, norms, rotary angles and softmax are float32."""
    assert model.dtype == torch.float64, model.dtype
    model.config._attn_implementation = "exact"
    for module in model.modules():
        kind = type(module).__name__
        if kind == "LlamaRMSNorm":
            module.forward = MethodType(_exact_norm, module)
        elif kind == "LlamaRotaryEmbedding":
            module.forward = MethodType(_exact_rotary, module)
    return model


def load_model(folder: Path, dtype: torch.dtype, attention: str = "eager") -> LlamaForCausalLM:
    """The folder's model in evaluation mode; in float64, exact."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()
    return make_exact(model) if dtype == torch.float64 else model


# --- tokens -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoded:
    """A query's token ids. Every token of a response is a label."""

    index: int
    prompt: list[int]
    responses: list[list[int]]
    rewards: list[float]
    padded_length: int  # longest prompt + response over all responses of the row, also those not chosen


SPECIAL_IDS = {"<unk>": 0, "<s>": 1, "</s>": 2}


class Tokens:
    """Both encodings over one LLaMA tokenizer folder."""

    def __init__(self, folder: Path) -> None:
        self.slow = LlamaTokenizer.from_pretrained(str(folder))
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    def plain(self, text: str) -> list[int]:
        return self.slow(text, add_special_tokens=False)["input_ids"]

    def of_release_time(self, text: str) -> list[int]:
        """transformers 4.28.1: a literal special token is one id, and the white space around it is dropped."""
        parts = re.split("(" + "|".join(map(re.escape, SPECIAL_IDS)) + ")", text)
        for place in range(1, len(parts), 2):
            parts[place - 1] = parts[place - 1].rstrip()
            parts[place + 1] = parts[place + 1].lstrip()
        ids: list[int] = []
        for part in parts:
            ids += [SPECIAL_IDS[part]] if part in SPECIAL_IDS else self.pieces.encode(part)
        return ids

    def encode(self, row: Row, index: int, settings: Settings) -> Optional[Encoded]:
        """None for a row that is skipped: in `plain`, one with a response that has no token left."""
        make = self._released if settings.encoding == "released" else self._plain
        bos = 2 if settings.bos_token == "eos" else 1
        prompt, responses = make(row, bos, settings.max_length)
        if any(not response for response in responses):
            return None
        padded = len(prompt) + max(map(len, responses))
        chosen = {"all": slice(None), "provided": slice(-2, None), "sampled": slice(None, -2)}[settings.responses]
        return Encoded(index, prompt, responses[chosen], list(map(float, row["scores"]))[chosen], padded)

    def _plain(self, row: Row, bos: int, max_length: int) -> tuple[list[int], list[list[int]]]:
        prompt = [bos, *self.plain(row["query"])][:max_length]
        room = max_length - len(prompt)
        return prompt, [[*self.plain(text), 2][:room] for text in row["responses"]]

    def _released(self, row: Row, bos: int, max_length: int) -> tuple[list[int], list[list[int]]]:
        prompt = [bos, *self.of_release_time(row["query"])][:max_length]
        room = max_length - len(prompt)
        responses = [[bos, *self.of_release_time(text + "</s>")] for text in row["responses"]]
        return prompt, responses if room < 2 else [response[:room] for response in responses]


def encode_all(rows: Iterable[Row], tokens: Tokens, settings: Settings) -> list[Optional[Encoded]]:
    return [tokens.encode(row, index, settings) for index, row in enumerate(rows)]


# --- log-probs and losses ---------------------------------------------------------------------------------------------


def response_logprobs(model: LlamaForCausalLM, query: Encoded) -> torch.Tensor:
    """The summed label log-probs of a query's responses, from k padded rows in one forward pass."""
    rows = [query.prompt + response for response in query.responses]
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    labels = mask.clone()
    labels[:, : len(query.prompt)] = 0
    ids, mask, labels = (part.to(model.device) for part in (ids, mask, labels))
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    logprobs = torch.log_softmax(logits[:, :-1], dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return (logprobs * labels[:, 1:]).sum(-1).cpu()


@dataclass
class Losses:
    scores: torch.Tensor
    rank_loss: torch.Tensor
    sft_loss: torch.Tensor
    loss: torch.Tensor


def losses(query: Encoded, logprobs: torch.Tensor, settings: Settings) -> Losses:
    counts = torch.tensor([len(response) for response in query.responses], dtype=logprobs.dtype)
    padded = torch.full_like(counts, query.padded_length)
    divisors = {"response": counts, "padded": padded, "none": torch.ones_like(counts)}
    scores = logprobs / divisors[settings.normalization] ** settings.length_penalty
    rank_loss = torch.zeros((), dtype=logprobs.dtype)
    if settings.rank_loss == "rrhf":
        rewards = torch.tensor(query.rewards, dtype=torch.float64)
        worse_is_row = rewards[:, None] < rewards[None, :]
        rank_loss = ((scores[:, None] - scores[None, :]).clamp(min=0) * worse_is_row).sum()
    best = query.rewards.index(max(query.rewards))
    divisor = {"mean": len(query.responses[best]), "sum": 1, "padded": query.padded_length}[settings.sft_reduction]
    sft_loss = -logprobs[best] / divisor
    return Losses(scores, rank_loss, sft_loss, settings.rank_weight * rank_loss + settings.sft_weight * sft_loss)


@dataclass
class StepResult:
    loss: float
    rank_loss: float
    sft_loss: float


def accumulate_step(
    model: LlamaForCausalLM,
    queries: Sequence[Encoded],
    settings: Settings,
    logprobs: Callable[[LlamaForCausalLM, Encoded], torch.Tensor] = response_logprobs,
) -> StepResult:
    """Adds the gradient of the mean loss of the queries to the parameters' .grad, a query at a time."""
    values = []
    for query in queries:
        parts = losses(query, logprobs(model, query), settings)
        (parts.loss / len(queries)).backward()
        values.append([part.item() for part in (parts.loss, parts.rank_loss, parts.sft_loss)])
    return StepResult(*(sum(column) / len(queries) for column in zip(*values)))


# --- training ---------------------------------------------------------------------------------------------------------


def schedule_factor(name: str, warmup_ratio: float, steps: int) -> Callable[[int], float]:
    warmup = math.ceil(warmup_ratio * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        if name == "constant" or step >= steps:
            return 1.0 if name == "constant" else 0.0
        if name == "linear":
            return (steps - step) / (steps - warmup)
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return factor


@dataclass(frozen=True)
class Recorded:
    step: StepResult
    grad_norm: float
    learning_rate: float


def train(
    model: LlamaForCausalLM,
    steps: Iterable[Sequence[Encoded]],
    settings: Settings,
    *,
    learning_rate: float,
    schedule: Callable[[int], float],
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    epsilon: float = 1e-8,
    accumulate: Callable[[LlamaForCausalLM, Sequence[Encoded], Settings], StepResult] = accumulate_step,
) -> Iterator[Recorded]:
    """torch's AdamW with LambdaLR and clipping, a record for each step's queries."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, eps=epsilon)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    for queries in steps:
        optimizer.zero_grad()
        result = accumulate(model, queries, settings)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm).item()
        applied = scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
        yield Recorded(result, norm, applied)


def released_steps(count: int, epochs: int, seed: int, ranks: int = 8, accumulation: int = 8) -> Iterator[list[int]]:
    """The row indices of each optimizer step of the released run, as `ranks` devices with one query a micro-batch make
    it: what an epoch leaves over is carried into the next."""
    micro_batches = -(-count // ranks)
    total = epochs * (micro_batches // accumulation)
    waiting: list[int] = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(count, generator=generator).tolist()
        order += order[: micro_batches * ranks - count]
        of_rank = [order[rank::ranks] for rank in range(ranks)]
        for micro_batch in range(micro_batches):
            waiting += [of_rank[rank][micro_batch] for rank in range(ranks)]
            if len(waiting) == ranks * accumulation and total > 0:
                yield waiting
                waiting = []
                total -= 1


# --- data -------------------------------------------------------------------------------------------------------------


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# --- configs ----------------------------------------------------------------------------------------------------------


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the sections of `over` laid over its own, key by key."""
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def write_config(path: Path, *sections: dict[str, Any]) -> Path:
    config: dict[str, Any] = {}
    for section in sections:
        config = merged(config, section)
    path.write_text(json.dumps(config, indent=1))
    return path


def model_variant(source: Path, folder: Path, changes: dict[str, Any]) -> Path:
    """A copy of a model folder with other fields in config.json. A tied one holds no head and other embeddings."""
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    if changes.get("tie_word_embeddings"):
        weights = load_file(source / "model.safetensors")
        del weights["lm_head.weight"]
        weights["model.embed_tokens.weight"] *= 1.25
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# --- comparing --------------------------------------------------------------------------------------------------------


class Worst:
    """Keeps the largest deviation seen, and fails with it."""

    def __init__(self, what: str, limit: float) -> None:
        self.what, self.limit = what, limit
        self.value, self.where, self.count = 0.0, "nowhere", 0

    def see(self, got: float, expected: float, where: str, at_least: float = 0.0) -> None:
        """Relative to the expected value, or to `at_least` where that is larger."""
        scale = max(abs(expected), at_least)
        self.take(abs(got - expected) / scale if scale > 0 else abs(got), f"{where}: {got!r}, expected {expected!r}")

    def take(self, deviation: float, where: str) -> None:
        self.count += 1
        if not deviation <= self.value:  # a NaN counts
            self.value, self.where = deviation, where

    def check(self) -> None:
        line = f"{self.what}: {self.value:.2e} at most over {self.count} values (limit {self.limit:.0e})"
        print(line)
        assert self.count > 0, f"{self.what}: nothing was compared"
        assert self.value <= self.limit, f"{line}; worst at {self.where}"
