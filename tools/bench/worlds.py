"""Models and rows that tools/bench/compare trains: shapes made by `rrhf model init`, seeded samples of real rankings."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

Row = dict[str, Any]

# name: (config.json fields, tokenizer)
SHAPES: dict[str, tuple[dict[str, int], str]] = {
    "5M": ({"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 688, "vocab_size": 512}, "tok512"),
    "134M": ({"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 2048, "vocab_size": 32001}, "llama"),
    "1.1B": (
        {"hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 5632, "vocab_size": 32001},
        "llama",
    ),
    "1.1B-32000": (
        {"hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 5632, "vocab_size": 32000},
        "llama",
    ),
    "7B": ({"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32001}, "llama"),
}  # fmt: skip


def tokenizer_folder(shared: Path, name: str) -> Path:
    return {"llama": shared / "tokenizers" / "llama", "tok512": shared / "models" / "stories260K" / "hf"}[name]


def make_model(program: Path, shared: Path, shape: str, folder: Path) -> Path:
    """A model folder of the shape with random weights."""
    fields, tokenizer = SHAPES[shape]
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, **fields}
    source = tokenizer_folder(shared, tokenizer)
    parts = folder / "parts"
    parts.mkdir(parents=True)
    shutil.copyfile(source / "tokenizer.model", parts / "tokenizer.model")
    (parts / "config.json").write_text(json.dumps(config))
    out = folder / "model"
    subprocess.run(
        [program, "model", "init", "--config", parts / "config.json", "--tokenizer", parts, "--out", out], check=True, capture_output=True
    )
    return out


def parameter_bytes(shape: str) -> int:
    fields, _ = SHAPES[shape]
    d, f, v, heads = fields["hidden_size"], fields["intermediate_size"], fields["vocab_size"], fields["num_attention_heads"]
    kv = fields.get("num_key_value_heads", heads) * (d // heads)
    layer = 2 * d * d + 2 * d * kv + 3 * d * f + 2 * d
    return 4 * (fields["num_hidden_layers"] * layer + 2 * v * d + d)


UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}


def planned(program: Path, arguments: list[str]) -> float:
    """Bytes a device by `rrhf model plan ARGUMENTS...`: its line "sum"."""
    out = subprocess.run([program, "model", "plan", *arguments], check=True, capture_output=True, text=True).stdout
    word = next(line.split()[1] for line in out.splitlines() if line.strip().startswith("sum"))
    return float(word.rstrip("BkMG")) * UNITS[word.rstrip("B").lstrip("0123456789.")]


def unit_parameters(fields: dict[str, int]) -> dict[str, int]:
    """Parameters of a layer, the embedding, and the final norm with the head."""
    d, f, v, heads = fields["hidden_size"], fields["intermediate_size"], fields["vocab_size"], fields["num_attention_heads"]
    kv = fields.get("num_key_value_heads", heads) * (d // heads)
    return {"layer": 2 * d * d + 2 * d * kv + 3 * d * f + 2 * d, "embedding": v * d, "head": v * d + d}


def sharded_peak(fields: dict[str, int], ranks: int) -> float:
    """Bytes a rank holds at the peak of a float32 step, activations aside: the formula of docs/distributed-memory.md."""
    units = unit_parameters(fields)
    held = 16 * (units["embedding"] + fields["num_hidden_layers"] * units["layer"] + units["head"]) / ranks
    # Two rooms for weights, two for gradients; a part of a sum.
    largest = max(units.values())
    return held + (4 * (4 * largest + largest / ranks) if ranks > 1 else 0)


def saving_peak(fields: dict[str, int], ranks: int) -> float:
    """The same while a checkpoint or the model is saved: a unit of weights or moments is whole besides."""
    return sharded_peak(fields, ranks) + (4 * max(unit_parameters(fields).values()) if ranks > 1 else 0)


def ranked(shared: Path, name: str) -> list[Row]:
    """All rows of a set: k5 (AlpacaEval), k4 and k6 (drawn from the answers of 55 models), hh (chosen and rejected), or
    k1, the best answer of k5 alone: nothing is shared there."""
    data = shared / "data"
    if name in ("k5", "k1"):
        rows = [json.loads(line) for line in (data / "alpaca_eval_k5.jsonl").open(encoding="utf-8")]
        if name == "k5":
            return rows
        best = [row["scores"].index(max(row["scores"])) for row in rows]
        return [{"query": row["query"], "responses": [row["responses"][i]], "scores": [1.0]} for row, i in zip(rows, best)]
    if name == "hh":
        rows = []
        for line in gzip.open(data / "hh-harmless-base-test.jsonl.gz", "rt", encoding="utf-8"):
            pair = json.loads(line)
            cut = pair["chosen"].rfind("\n\nAssistant:") + len("\n\nAssistant:")
            if pair["rejected"].startswith(pair["chosen"][:cut]):
                rows.append({"query": pair["chosen"][:cut], "responses": [pair["chosen"][cut:], pair["rejected"][cut:]], "scores": [1, 0]})
        return rows
    k, rows = int(name[1:]), []
    draw = random.Random(k)
    for line in gzip.open(data / "alpaca_eval_all.jsonl.gz", "rt", encoding="utf-8"):
        row = json.loads(line)
        if len(row["responses"]) >= k:
            chosen = draw.sample(range(len(row["responses"])), k)
            rows.append({"query": row["query"], "responses": [row["responses"][i] for i in chosen], "scores": [row["scores"][i] for i in chosen]})
    return rows


def sample(rows: list[Row], count: int, seed: int, path: Path) -> Path:
    chosen = random.Random(seed).sample(rows, min(count, len(rows)))
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen), encoding="utf-8")
    return path
