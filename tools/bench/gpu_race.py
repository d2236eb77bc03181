"""tools/bench/compare --device cuda: the same rows through transformers and through rrhf on one GPU, one after the other.

Every contestant takes the same steps over the same rows in the same order with a learning rate of 0, so that losses can be
compared step by step; the first step warms up and is not timed. rrhf computes in bfloat16 with float32 masters (its
default) unless --small: no masters, 8-bit moments, bfloat16 gradients. MFU counts the operations of the products that were
needed (idle responses not counted), against the datasheet's dense rate and against the GPU's own, measured on 8192 x 8192.
It ends with 1 where losses differ by more than two thousandths.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from reference import Settings, recipe, write_config
from safetensors.torch import save_file
from worlds import SHAPES, ranked, sample, tokenizer_folder

ROOT = Path(__file__).resolve().parents[2]
# Dense bfloat16 of the datasheets, TFLOP/s; the first whose words are all among the GPU's name's.
DATASHEETS = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200 NVL": 835, "H200": 989, "GH200": 989, "A100": 312, "B200": 2250, "L40S": 362}
MOST_APART = 2e-3  # of a loss in bfloat16

HEADER = (
    "| shape | rows | queries | padded HF, queries/s | padding-free HF, queries/s | rrhf, queries/s | rrhf, packed tokens/s "
    "| to padded | to padding-free | MFU, datasheet | of its own rate | HF, GB | padding-free, GB | rrhf, GB | loss apart |\n" + "| --- " * 15 + "|"
)


@dataclass
class Run:
    """A contestant's steps; `failure` says why there are none."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak: float = 0
    failure: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)

    def rate(self, queries: int) -> Optional[float]:
        timed = self.seconds[1:]
        return queries * len(timed) / sum(timed) if timed else None


def make_model(shared: Path, shape: str, folder: Path) -> Path:
    """A bfloat16 model folder of the shape with random weights, drawn on the GPU."""
    fields, tokenizer = SHAPES[shape]
    d, f, v, heads = fields["hidden_size"], fields["intermediate_size"], fields["vocab_size"], fields["num_attention_heads"]
    kv = fields.get("num_key_value_heads", heads) * (d // heads)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16", **fields}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes((tokenizer_folder(shared, tokenizer) / "tokenizer.model").read_bytes())
    torch.manual_seed(1)

    def normal(*size: int) -> torch.Tensor:
        return (torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02).cpu()

    files: dict[str, str] = {}
    layers = fields["num_hidden_layers"]
    for i in range(layers + 1):
        tensors = {}
        if i < layers:
            p = f"model.layers.{i}."
            for name, size in (("q_proj", (d, d)), ("k_proj", (kv, d)), ("v_proj", (kv, d)), ("o_proj", (d, d))):
                tensors[f"{p}self_attn.{name}.weight"] = normal(*size)
            for name, size in (("gate_proj", (f, d)), ("up_proj", (f, d)), ("down_proj", (d, f))):
                tensors[f"{p}mlp.{name}.weight"] = normal(*size)
            tensors[f"{p}input_layernorm.weight"] = torch.ones(d, dtype=torch.bfloat16)
            tensors[f"{p}post_attention_layernorm.weight"] = torch.ones(d, dtype=torch.bfloat16)
        else:
            tensors = {"model.embed_tokens.weight": normal(v, d), "model.norm.weight": torch.ones(d, dtype=torch.bfloat16), "lm_head.weight": normal(v, d)}
        name = f"model-{i + 1:05d}-of-{layers + 1:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        files |= {tensor: name for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    torch.cuda.empty_cache()
    return folder


def rival(model: Path, rows: Path, settings: Settings, kind: str, queries: int, checkpointing: bool) -> Run:
    command = [sys.executable, str(ROOT / "tools" / "bench" / "gpu_rival.py"), "--model", str(model), "--rows", str(rows), "--kind", kind]
    command += ["--queries", str(queries), "--settings", json.dumps(asdict(settings))] + ["--checkpointing"] * checkpointing
    done = subprocess.run(command, capture_output=True, text=True)
    run = Run()
    for line in done.stdout.splitlines():
        step = json.loads(line)
        run.seconds.append(step["seconds"])
        run.losses.append(step["loss"])
        run.peak = step["peak_memory"]
    if done.returncode != 0:
        run = Run(failure="out of memory" if "OutOfMemory" in done.stderr else done.stderr[-600:])
    return run


def step_lines(metrics: Path) -> list[dict[str, Any]]:
    """What is written so far, without a line that is only begun."""
    whole = metrics.read_text().split("\n")[:-1] if metrics.exists() else []
    return [line for line in map(json.loads, whole) if "event" not in line]


def rrhf(program: Path, folder: Path, model: Path, rows: Path, settings: Settings, queries: int, steps: int, others: dict[str, Any], flags: list[str]) -> Run:
    """Ends the program after its last step: what it would save is of no use."""
    output = folder / f"run-{time.monotonic_ns()}"
    config = write_config(
        folder / "run.json",
        settings.config(),
        {
            "model": {"path": str(model), "dtype": "bfloat16"},
            "device": "cuda",
            "data": {"train": str(rows), "shuffle": False, "cache": "off"},
            "optimizer": {"learning_rate": 0},
            "train": {"queries_per_step": queries, "epochs": 2},
            "output": str(output),
        },
        others,
    )
    with (folder / "rrhf.log").open("w") as log:
        process = subprocess.Popen([program, "train", config, *flags], stderr=log, stdout=log)
        metrics = output / "metrics.jsonl"
        while process.poll() is None and len(step_lines(metrics)) < steps:
            time.sleep(0.05)
        failed = process.poll() is not None and len(step_lines(metrics)) < steps
        process.kill()
        process.wait()
    if failed:
        return Run(failure=(folder / "rrhf.log").read_text()[-1500:])
    lines = step_lines(metrics)[:steps]
    run = Run(lines=lines)
    run.seconds = [line["timing"]["seconds"] for line in lines]
    run.losses = [line["loss"] for line in lines]
    run.peak = lines[-1]["timing"]["peak_memory"]
    return run


def datasheet_rate(name: str) -> float:
    for words, rate in DATASHEETS.items():
        if set(words.split()) <= set(name.replace("-", " ").split()):
            return rate
    sys.exit(f"compare: the datasheet's rate of {name} is not known here: give it by --datasheet TFLOPS")


def mfu(run: Run, datasheet: float) -> tuple[float, float]:
    """The share of the datasheet's rate and of the GPU's own that the needed products reached, over the timed steps."""
    needed = [line["timing"]["flops_per_second"] * (1 + 2 * line["timing"]["backward_share"]) / 3 for line in run.lines[1:]]
    own = [line["timing"]["flops_per_second"] / line["timing"]["speed_of_light"] for line in run.lines[1:]]
    return statistics.mean(needed) / (datasheet * 1e12), statistics.mean(needed) / statistics.mean(own)


SMALL = {"optimizer": {"masters": "none", "moments": "8bit"}, "train": {"gradients": "bfloat16"}}


def race(options: argparse.Namespace, program: Path, shared: Path, data: str, folder: Path) -> tuple[str, bool]:
    """A row of the table, and whether the losses agree."""
    settings = recipe("released", max_length=options.length[0], **({"rank_loss": "none"} if data == "k1" else {}))
    model = folder / options.shape
    if not model.exists():
        make_model(shared, options.shape, model)
    steps = options.steps + 1
    rows = sample(ranked(shared, data), options.queries * steps, options.seed, folder / f"{data}.jsonl")
    runs = {kind: rival(model, rows, settings, kind, options.queries, options.checkpointing) for kind in options.rivals}
    ours = rrhf(program, folder, model, rows, settings, options.queries, steps, SMALL if options.small else {}, options.flags)
    if ours.failure:
        raise SystemExit(f"compare: rrhf ended without a step\n{ours.failure}")
    for kind, run in {**runs, "rrhf": ours}.items():
        print(f"  {kind}: {[f'{s:.3f}' for s in run.seconds]} {[f'{x:.4f}' for x in run.losses]} {run.failure}", file=sys.stderr)
    rate = ours.rate(options.queries)
    assert rate is not None
    theirs = {kind: runs[kind].rate(options.queries) if kind in runs else None for kind in ("padded", "padding-free")}
    apart = [abs(a - b) / abs(a) for run in runs.values() for a, b in zip(run.losses, ours.losses)]
    tokens = sum(line["tokens"] for line in ours.lines[1:]) / sum(ours.seconds[1:])

    def number(value: Optional[float], kind: str, form: str = "{:.2f}", scale: float = 1) -> str:
        return form.format(value * scale) if value is not None else (runs[kind].failure[:40] if kind in runs else "-")

    of_sheet, of_own = mfu(ours, options.datasheet)
    ratios = [number(None if theirs[kind] is None else rate / theirs[kind], kind, "**{:.2f}**") for kind in theirs]
    peaks = [number(runs[kind].peak if kind in runs and not runs[kind].failure else None, kind, "{:.1f}", 1e-9) for kind in theirs]
    differ = f"{100 * max(apart):.2f} %" if apart else "-"
    return (
        f"| {options.shape}{', small' if options.small else ''} | {data} | {options.queries} x {options.steps} | {number(theirs['padded'], 'padded')} | "
        f"{number(theirs['padding-free'], 'padding-free')} | {rate:.2f} | {tokens:.0f} | {ratios[0]} | {ratios[1]} | {100 * of_sheet:.1f} % | {100 * of_own:.1f} % | "
        f"{peaks[0]} | {peaks[1]} | {ours.peak / 1e9:.1f} | {differ} |"
    ), all(own <= MOST_APART for own in apart)


def main(options: argparse.Namespace, program: Path, shared: Path, folder: Path) -> None:
    if not torch.cuda.is_available():
        sys.exit("compare: the torch of this Python finds no GPU")
    options.datasheet = options.datasheet or datasheet_rate(torch.cuda.get_device_name())
    print(f"{torch.cuda.get_device_name()}, {options.datasheet} TFLOP/s by its datasheet, torch {torch.__version__}\n\n{HEADER}", flush=True)
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    disagreeing = []
    for data in options.data:
        row, agreed = race(options, program, shared, data, folder)
        print(row, flush=True)
        disagreeing += [] if agreed else [data]
    if disagreeing:
        sys.exit(f"compare: losses differ by more than {100 * MOST_APART} %: {', '.join(disagreeing)}")
