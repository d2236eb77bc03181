#!/usr/bin/env python3
"""The tables of tools/paper, in Markdown, from the figures its runs left: python3 tools/paper_table.py RUNS SEED...

The paper's numbers are rewards of another judge on other data (HH, Alpaca-7B, GPT-J reward model): only their order can be
compared with ours.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Callable

Figures = dict[str, float]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of_round(line: dict) -> Figures:
    figures = {name: line["held_out"][name] for name in ("greedy", "sampled", "best")}
    figures["accuracy"] = 100 * line["eval"]["rank_accuracy"]
    if "samples" in line:
        figures["best of samples"], figures["best of all"] = line["samples"]["best"], line["trained_on"]["best"]
    return figures


def of_answers(folder: Path) -> Figures:
    greedy, sampled = (json.loads((folder / f"{name}.json").read_text()) for name in ("greedy", "sampled"))
    evaluation = [line for line in lines(folder / "metrics.jsonl") if line.get("event") == "eval"][-1]
    return {
        "greedy": greedy["mean"],
        "sampled": sampled["mean"],
        "best": sampled["mean_best"],
        "accuracy": 100 * evaluation["rank_accuracy"],
    }


def of_seed(runs: Path, seed: str) -> dict[str, Figures]:
    """What each method reached, by its name in the tables."""
    folder = runs / f"seed-{seed}"
    rounds = [of_round(line) for line in lines(folder / "rrhf" / "rounds.jsonl")]
    without_rank = of_answers(folder / "without-rank")
    without_rank.update({name: rounds[1][name] for name in ("best of samples", "best of all")})
    provided = [max(row["scores"]) for row in lines(runs / "provided.jsonl")]
    methods = {
        "start": rounds[0],
        "sft": {**of_answers(folder / "sft"), "best of all": statistics.mean(provided)},
        "rrhf": rounds[1],
        "without rank": without_rank,
    }
    for number, figures in enumerate(rounds[2:], start=2):
        methods[f"round {number}"] = figures
    return methods


def spread(values: list[float], digits: int = 3) -> str:
    text = f"{statistics.mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    draw = lambda row: "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"  # noqa: E731
    return "\n".join([draw(head), draw(["-" * width for width in widths]), *map(draw, rows)])


def main(runs: Path, seeds: list[str]) -> None:
    by_seed = [of_seed(runs, seed) for seed in seeds]
    figure: Callable[[str, str], list[float]] = lambda method, name: [methods[method][name] for methods in by_seed]  # noqa: E731
    rounds = [name for name in by_seed[0] if name.startswith("round")]

    def rewards(title: str, method: str, paper: str) -> list[str]:
        return [title, spread(figure(method, "greedy")), spread(figure(method, "sampled")), paper]

    print(f"Reward of answers to {len(lines(runs / 'held-out.jsonl'))} held-out queries, seeds {', '.join(seeds)} (mean ± deviation over seeds)\n")
    rows = [
        rewards("start model", "start", ""),
        ["best of 4 of the start model", spread(figure("start", "best")), "", "-0.97"],
        rewards("SFT on the better provided answer", "sft", ""),
        rewards("RRHF (DP)", "rrhf", "-1.03 (-1.01, -1.02, -1.05)"),
        rewards("RRHF without rank loss", "without rank", "-1.14"),
        *(rewards(f"RRHF iterated, {name}", name, "") for name in rounds),
    ]
    print(table(["", "greedy", "4 by diverse beam", "paper: HH, Alpaca-7B"], rows))

    print("\nThe law: held-out reward (greedy) beside the mean over training queries of the highest reward trained on\n")
    rows = []
    methods = [("RRHF", "rrhf"), *((f"RRHF, {name}", name) for name in rounds), ("RRHF without rank loss", "without rank"), ("SFT", "sft")]
    for title, method in methods:
        row = [title, spread(figure(method, "greedy"))]
        for best in ("best of samples", "best of all"):
            known = best in by_seed[0][method]
            errors = [mine - theirs for mine, theirs in zip(figure(method, "greedy"), figure(method, best))] if known else []
            row += [spread(figure(method, best)), spread(errors)] if known else ["", ""]
        rows.append(row)
    print(table(["", "held-out, greedy", "best of the 4 samples", "difference", "best of samples and provided", "difference"], rows))

    print("\nPair accuracy of the model's own scores on the held-out rows\n")
    of_paper = {"start": "45.13 (Alpaca)", "rrhf": "61.75 (RRHF-DP)"}
    rows = [[title, spread(figure(method, "accuracy"), 1), of_paper.get(method, "")] for title, method in [("start model", "start"), *methods]]
    print(table(["", "%", "paper: HH, Alpaca-7B"], rows))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
