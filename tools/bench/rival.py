#!/usr/bin/env python3
"""The rival of tools/bench/compare: transformers with the released loss, a block of queries a line of standard input.

Started by compare. Reads lines of JSON, {"rows": FILE, "first": I, "count": N}; answers each with a line: seconds of one
training step over those queries (forward, loss, backward a query at a time, clipping, AdamW), its losses, and the
process's peak memory. The learning rate is 0, as in the first step of a warm-up, so that every block sees the same weights.

padded        a query's k sequences padded to the longest, logits for every position, as the released code does it
padding-free  a query's k sequences one behind the other in one row, a block-diagonal mask, logits at label rows only:
              what packing trainers do; the prompt is still computed k times
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Callable

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "tests" / "parity")]

import torch  # noqa: E402
from reference import Encoded, Settings, Tokens, accumulate_step, encode_all, load_model, read_rows, response_logprobs  # noqa: E402
from transformers import LlamaForCausalLM  # noqa: E402


def padding_free_logprobs(model: LlamaForCausalLM, query: Encoded) -> torch.Tensor:
    sequences = [query.prompt + response for response in query.responses]
    ids = torch.tensor([token for sequence in sequences for token in sequence])
    owner = torch.tensor([number for number, sequence in enumerate(sequences) for _ in sequence])
    positions = torch.tensor([place for sequence in sequences for place in range(len(sequence))])
    seen = (owner[:, None] == owner[None, :]) & (positions[:, None] >= positions[None, :])
    mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill_(~seen, torch.finfo(model.dtype).min)
    rows = torch.nonzero((positions[1:] >= len(query.prompt)) & (positions[1:] > 0)).squeeze(-1)
    hidden = model.model(input_ids=ids[None], position_ids=positions[None], attention_mask=mask[None, None], use_cache=False)
    logits = model.lm_head(hidden.last_hidden_state[0, rows])
    labels = torch.log_softmax(logits, dim=-1).gather(-1, ids[rows + 1, None]).squeeze(-1)
    return torch.zeros(len(sequences), dtype=labels.dtype).index_add(0, owner[rows + 1], labels)


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--kind", choices=["padded", "padding-free"], required=True)
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="sdpa")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--lora", type=int, default=0, help="PEFT's adapters of this rank beside every projection")
    parser.add_argument("--no-optimizer", action="store_true", help="gradients only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    settings = Settings(**options.settings)
    model = load_model(options.model, torch.float32, options.attention)
    if options.compile:
        model.model.forward = torch.compile(model.model.forward, dynamic=True)
    if options.lora:
        import peft

        modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        settings_of_peft = peft.LoraConfig(task_type="CAUSAL_LM", r=options.lora, lora_alpha=16, target_modules=modules)
        model = peft.get_peft_model(model, settings_of_peft).base_model.model  # with the adapters in it
    tokens = Tokens(options.model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, fused=True)
    logprobs: Callable = padding_free_logprobs if options.kind == "padding-free" else response_logprobs
    for line in sys.stdin:
        block = json.loads(line)
        rows = read_rows(Path(block["rows"]))[block["first"] : block["first"] + block["count"]]
        queries = [query for query in encode_all(rows, tokens, settings) if query]
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=False)
        result = accumulate_step(model, queries, settings, logprobs)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if not options.no_optimizer:
            optimizer.step()
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "loss": result.loss, "queries": len(queries), "peak_memory": peak_memory()}), flush=True)


if __name__ == "__main__":
    main()
