#!/usr/bin/env python3
"""The rivals of tools/bench/compare --device cuda: transformers in bfloat16 with the released loss, one process each.

Prints a line of JSON a step: seconds (forward, loss, backward, clipping, AdamW, measured with the GPU waited for), loss,
and the most bytes the allocator held. The learning rate is 0, so that every step sees the same weights.

padded        a query's k sequences padded to the longest, a query a micro-batch, logits for every position: the released code
padding-free  the sequences of several queries one behind the other, up to --pack tokens, through one variable-length flash
              attention call a layer, logits at label rows only: what packing trainers do; a prompt is still computed k times
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Iterator

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "tests" / "parity")]

import torch  # noqa: E402
from reference import Encoded, Settings, Tokens, encode_all, losses, read_rows  # noqa: E402
from torch.nn.attention.varlen import varlen_attn  # noqa: E402
from transformers import AttentionInterface, AttentionMaskInterface, LlamaForCausalLM  # noqa: E402

GPU = torch.device("cuda")


class Sequences:
    """Where the sequences of the pack in work begin: what attention is told beside queries, keys and values."""

    begins: torch.Tensor
    longest: int


def _varlen(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, scaling: float, **_: Any) -> tuple[torch.Tensor, None]:
    rows = [x[0].transpose(0, 1) for x in (query, key, value)]
    out = varlen_attn(*rows, Sequences.begins, Sequences.begins, Sequences.longest, Sequences.longest, window_size=(-1, 0))
    return out[None], None


AttentionInterface.register("varlen", _varlen)
AttentionMaskInterface.register("varlen", lambda *_, **__: None)


def padded_logprobs(model: LlamaForCausalLM, queries: list[Encoded]) -> list[torch.Tensor]:
    (query,) = queries
    rows = [query.prompt + response for response in query.responses]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows]).to(GPU)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]).to(GPU)
    labels = mask.clone()
    labels[:, : len(query.prompt)] = 0
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    logprobs = torch.log_softmax(logits[:, :-1], dim=-1, dtype=torch.float32).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return [(logprobs * labels[:, 1:]).sum(-1)]


def padding_free_logprobs(model: LlamaForCausalLM, queries: list[Encoded]) -> list[torch.Tensor]:
    sequences = [(query.prompt, response) for query in queries for response in query.responses]
    ids = torch.tensor([token for prompt, response in sequences for token in prompt + response]).to(GPU)
    sizes = [len(prompt) + len(response) for prompt, response in sequences]
    begins = torch.tensor([0, *torch.tensor(sizes).cumsum(0).tolist()], dtype=torch.int32)
    Sequences.begins, Sequences.longest = begins.to(GPU), max(sizes)
    positions = torch.cat([torch.arange(size) for size in sizes]).to(GPU)
    rows, owner = [], []
    for number, (prompt, response) in enumerate(sequences):
        begin = int(begins[number])
        rows += range(begin + len(prompt) - 1, begin + len(prompt) + len(response) - 1)
        owner += [number] * len(response)
    at = torch.tensor(rows).to(GPU)
    hidden = model.model(input_ids=ids[None], position_ids=positions[None], use_cache=False).last_hidden_state[0, at]
    logprobs = torch.log_softmax(model.lm_head(hidden), dim=-1, dtype=torch.float32).gather(-1, ids[at + 1, None]).squeeze(-1)
    sums = torch.zeros(len(sequences), device=GPU).index_add(0, torch.tensor(owner).to(GPU), logprobs)
    return list(sums.split([len(query.responses) for query in queries]))


def packs(queries: list[Encoded], most: int) -> Iterator[list[Encoded]]:
    pack: list[Encoded] = []
    tokens = 0
    for query in queries:
        own = sum(len(query.prompt) + len(response) for response in query.responses)
        if pack and tokens + own > most:
            yield pack
            pack, tokens = [], 0
        pack.append(query)
        tokens += own
    if pack:
        yield pack


def step(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, queries: list[Encoded], settings: Settings, kind: str, most: int) -> float:
    optimizer.zero_grad(set_to_none=False)
    total = torch.zeros((), device=GPU)
    for pack in packs(queries, most) if kind == "padding-free" else ([query] for query in queries):
        logprobs = (padding_free_logprobs if kind == "padding-free" else padded_logprobs)(model, pack)
        loss = sum(losses(query, own.cpu(), settings).loss for query, own in zip(pack, logprobs)) / len(queries)
        loss.backward()
        total += loss.detach().to(GPU)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--kind", choices=["padded", "padding-free"], required=True)
    parser.add_argument("--queries", type=int, required=True, help="a step")
    parser.add_argument("--pack", type=int, default=4096)
    parser.add_argument("--checkpointing", action="store_true", help="activations are computed again")
    options = parser.parse_args()
    settings = Settings(**options.settings)
    attention = "varlen" if options.kind == "padding-free" else "sdpa"
    model = LlamaForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16, attn_implementation=attention).to(GPU)
    if options.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    queries = [query for query in encode_all(read_rows(options.rows), Tokens(options.model), settings) if query]
    for first in range(0, len(queries), options.queries):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        loss = step(model, optimizer, queries[first : first + options.queries], settings, options.kind, options.pack)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "loss": loss, "peak_memory": torch.cuda.max_memory_reserved()}), flush=True)


if __name__ == "__main__":
    main()
