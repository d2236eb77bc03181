#!/usr/bin/env python3
"""transformers' diverse beam search, run by test_generate.py in the environment that still has it (4.44).

    beam_peer.py REQUEST.json      {"model", "prompts": [[ids]], "settings": [{...}]} -> answers[setting][prompt][answer]
"""

from __future__ import annotations

import json
import sys
import warnings

import torch
from transformers import AutoModelForCausalLM

warnings.filterwarnings("ignore")


def cut(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(2)] if 2 in tokens else tokens


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(request["model"], torch_dtype=torch.float32).eval()
    answers = []
    for settings in request["settings"]:
        answers.append([])
        for prompt in request["prompts"]:
            ids = torch.tensor([prompt])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), eos_token_id=2, do_sample=False, **settings)
            answers[-1].append([cut(row[len(prompt) :].tolist()) for row in out])
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
