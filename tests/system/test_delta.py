"""rrhf delta make and apply: what comes back, what they record, what is left when they are interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from deltas import apply, copy, EMBEDDINGS, floats, make_model, recovered, SHAPE, without_manifest, World, world  # noqa: F401 (fixtures)
from program import ENVIRONMENT, Program, refused
from safetensors_file import read_file, read_folder, write_file


# --- there and back ---------------------------------------------------------------------------------------------------


def test_applying_a_delta_gives_the_target_back(world: World, apply: Any, tmp_path: Path) -> None:
    assert "513" not in world.made.stderr and "1 row more than the base" in world.made.stdout
    result = apply()
    assert "verified: the files the delta was made from" in result.stdout
    recovered, target = read_folder(tmp_path / "out"), read_folder(world.target)
    # Seeds 1 and 2 give unrelated weights: many differences can't lead back in float16, and make says how many.
    pairs = [
        (got, want)
        for name in target
        for got, want in zip(floats(recovered[name][2], "F16"), floats(target[name][2], "F16"), strict=True)
        if got != want
    ]
    rounding = json.loads((world.delta / "rrhf-delta.json").read_text())["rounding"]
    assert len(pairs) == rounding["elements"] > 0
    assert f"{len(pairs):,} of" in world.made.stdout
    assert rounding["largest_relative"] == pytest.approx(max(abs(got - want) / abs(want) for got, want in pairs))
    assert rounding["largest_absolute"] == pytest.approx(max(abs(got - want) for got, want in pairs))


def test_a_wider_delta_brings_everything_back(rrhf: Program, world: World, apply: Any, tmp_path: Path) -> None:
    """Differences of halves are exact in float64; the sums are stored in the target's dtype again."""
    delta = tmp_path / "wide"
    made = rrhf("delta", "make", "--base", world.base, "--target", world.target, "--out", delta, "--dtype", "float64")
    assert "come back bit for bit" in made.stdout and "exact" in made.stdout
    apply(delta=delta)
    assert read_folder(tmp_path / "out") == read_folder(world.target)


@pytest.mark.parametrize("dtype", [None, "float16", "float32"])
def test_a_target_of_two_dtypes(dtype: str | None, rrhf: Program, world: World, tmp_path: Path) -> None:
    """Norms in float32 in a float16 model come back as float32: all of them where the difference is taken in it, those
    that float16 can hold where it is not."""
    target, delta, out = copy(world.base, tmp_path / "target"), tmp_path / "delta", tmp_path / "out"
    tensors = read_file(target / "model.safetensors")
    norms = {name for name in tensors if name.endswith("norm.weight")}
    steps = [2**-20, 0.5, 0, 0.25]  # from 1 in the base; float16 can't tell 1 + 2^-20 from it
    for name in norms:
        tensors[name] = ("F32", [32], struct.pack("<32f", *[1 + step for step in steps * 8]))
    write_file(target / "model.safetensors", tensors)
    made = rrhf("delta", "make", "--base", world.base, "--target", target, "--out", delta, *(("--dtype", dtype) if dtype else ()))
    expected = {None: lambda name: "F32" if name in norms else "F16", "float16": lambda _: "F16", "float32": lambda _: "F32"}
    assert all(word == expected[dtype](name) for name, (word, _, _) in read_folder(delta).items())
    rrhf("delta", "apply", "--base", world.base, "--delta", delta, "--out", out, "--no-answer")
    recovered = read_folder(out)
    if dtype == "float16":
        assert f"{8 * len(norms)} of" in made.stdout and f"in {len(norms)} of" in made.stdout
        lost = {name: ("F32", [32], struct.pack("<32f", *[1, 1.5, 1, 1.25] * 8)) for name in norms}
        assert recovered == {**tensors, **lost}
    else:
        assert "exact" in made.stdout
        assert recovered == tensors


def test_config_tokenizer_and_notes_come_from_the_delta(world: World, apply: Any, tmp_path: Path) -> None:
    apply()
    names = {path.name for path in world.target.iterdir()} | {"rrhf-delta.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names - {"rrhf-delta.json", "config.json", "model.safetensors"}:
        assert (tmp_path / "out" / name).read_bytes() == (world.target / name).read_bytes(), name
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == 513 and config["pad_token_id"] == 512 and config["torch_dtype"] == "float16"


def test_the_manifest_holds_the_hash_of_every_file(world: World, apply: Any, tmp_path: Path) -> None:
    apply("--shard-size", "20KB")
    manifest = json.loads((tmp_path / "out" / "rrhf-delta.json").read_text())
    assert manifest["what"] == "recovered" and manifest["base_verified"] is True
    for key, folder in (("base", world.base), ("delta", world.delta), ("files", tmp_path / "out")):
        expected = [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in sorted(folder.glob("*.safetensors"))
        ]
        assert manifest[key] == expected, key
        small = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.iterdir()
            if "safetensors" not in path.name and path.name != "rrhf-delta.json"
        }
        assert {file["name"]: file["sha256"] for file in manifest["small_files"][key]} == small, key
    assert len(manifest["files"]) > 2


# --- bases that were given a [PAD] ------------------------------------------------------------------------------------
# Its row is the mean of the others there: added to a delta that counts on zeros it would show.


@pytest.mark.parametrize("manifest", [True, False], ids=["made here", "released"])
def test_the_row_of_a_base_with_pad_is_set_aside(manifest: bool, world: World, apply: Any, tmp_path: Path) -> None:
    """The released script zeroes both embeddings of such a base whole; here nothing is."""
    delta = world.delta if manifest else without_manifest(world.delta, tmp_path / "released")
    said = apply("--any-base", base=world.padded_base, delta=delta).stdout
    assert "as many rows as the base; the base's last row set aside; the base taken as zero in the last row" in said
    why = "as the delta's manifest says" if manifest else "since the delta's last row is [PAD], which its base did not have"
    assert why in said
    over_padded = recovered(tmp_path / "out")
    said = apply(delta=delta).stdout
    assert "1 row more than the base; the base taken as zero in the last row" in said and why in said
    assert recovered(tmp_path / "out") == over_padded
    assert any(floats(over_padded[EMBEDDINGS[0]][2], "F16"))


def undeclared(base: Path) -> None:
    (base / "special_tokens_map.json").unlink()


def without_model(base: Path) -> None:
    (base / "tokenizer.model").unlink()


def without_tokenizer(base: Path) -> None:
    for name in ("tokenizer.model", "added_tokens.json", "special_tokens_map.json"):
        (base / name).unlink()


def otherwise_spelled(base: Path) -> None:
    undeclared(base)
    (base / "added_tokens.json").write_text('{"<pad>": 512}')


def otherwise_declared(base: Path) -> None:
    (base / "special_tokens_map.json").write_text('{"pad_token": "<unk>"}')


@pytest.mark.parametrize("change", [undeclared, without_model, without_tokenizer, otherwise_spelled, otherwise_declared])
def test_whatever_the_base_says_of_its_pad(change: Callable, world: World, apply: Any, tmp_path: Path) -> None:
    base, delta = copy(world.padded_base, tmp_path / "padded"), without_manifest(world.delta, tmp_path / "released")
    change(base)
    apply(base=base, delta=delta)
    over_padded = recovered(tmp_path / "out")
    apply(delta=delta)
    assert recovered(tmp_path / "out") == over_padded


def test_a_delta_over_a_base_with_pad(rrhf: Program, world: World, apply: Any, tmp_path: Path) -> None:
    """It says so itself, and then asks for such a base; where it can't say so, --pad-row base does."""
    delta, flags = tmp_path / "delta", ("--target", world.target, "--dtype", "float64")
    made = rrhf("delta", "make", "--base", world.padded_base, *flags, "--out", delta).stdout
    assert "vocab     as many rows as the base\n" in made
    words = ("counts on a base of 513 rows of vocabulary", "has 512")
    refused(apply("--any-base", delta=delta, check=False), tmp_path, *words)
    assert "as many rows as the base (as the delta's manifest says)" in apply(base=world.padded_base, delta=delta).stdout
    target = read_folder(world.target)
    assert recovered(tmp_path / "out") == target

    plain = without_manifest(delta, tmp_path / "plain")
    said = apply("--pad-row", "base", base=world.padded_base, delta=plain).stdout
    assert "as many rows as the base (as asked for by --pad-row base)" in said
    for name, (_, _, data) in recovered(tmp_path / "out").items():
        assert floats(data, "F64") == floats(target[name][2], "F16"), name
    apply(base=world.padded_base, delta=plain)  # taken for one over zeros
    rows = {name: floats(data, "F64") for name, (_, _, data) in recovered(tmp_path / "out").items()}
    for name in EMBEDDINGS:
        want = floats(target[name][2], "F16")
        assert rows[name][: 512 * 32] == want[: 512 * 32] and rows[name][512 * 32 :] != want[512 * 32 :]


def test_pad_row_base_is_refused_where_it_means_nothing(world: World, apply: Any, tmp_path: Path) -> None:
    refused(apply("--pad-row", "base", check=False), tmp_path, "says itself which rows of a base it counts on")
    delta = without_manifest(world.delta, tmp_path / "released")
    words = ("has 512 rows of vocabulary, the delta 513: there is no such row in the base",)
    refused(apply("--pad-row", "base", delta=delta, check=False), tmp_path, *words)


@pytest.mark.parametrize("manifest", [True, False], ids=["made here", "released"])
def test_a_delta_of_a_model_without_pad(manifest: bool, rrhf: Program, world: World, apply: Any, tmp_path: Path) -> None:
    delta = tmp_path / "delta"
    rrhf("delta", "make", "--base", world.base, "--target", world.trained, "--out", delta)
    if not manifest:
        (delta / "rrhf-delta.json").unlink()
    said = apply("--any-base", base=world.padded_base, delta=delta).stdout
    assert "1 row fewer than the base; the base's last row set aside (" in said
    assert ("as the delta's manifest says" if manifest else "the delta's tokenizer has no [PAD] in the last row") in said
    over_padded = recovered(tmp_path / "out")
    apply(delta=delta)
    assert recovered(tmp_path / "out") == over_padded


def test_a_delta_between_a_base_with_pad_and_a_model_without(rrhf: Program, world: World, apply: Any, tmp_path: Path) -> None:
    """It counts on the rows that both have, so it is the delta of the base without [PAD]."""
    over_padded, delta = tmp_path / "over-padded", tmp_path / "delta"
    made = rrhf("delta", "make", "--base", world.padded_base, "--target", world.trained, "--out", over_padded).stdout
    assert "1 row fewer than the base; the base's last row set aside\n" in made
    rrhf("delta", "make", "--base", world.base, "--target", world.trained, "--out", delta)
    assert read_folder(over_padded) == read_folder(delta)


def test_a_base_with_unused_rows_and_one_with_other_pieces(
    rrhf: Program, world: World, apply: Any, repo: Path, tmp_path: Path
) -> None:
    base, delta = tmp_path / "long", without_manifest(world.delta, tmp_path / "plain")
    rrhf("model", "resize", world.base, "--vocab", 2000, "--out", base)
    assert "the base's last 1488 rows set aside" in apply(base=base, delta=delta).stdout
    long = recovered(tmp_path / "out")
    apply(delta=delta)
    assert recovered(tmp_path / "out") == long
    shutil.copy(repo / "data" / "quickstart" / "tokenizer.model", base / "tokenizer.model")
    refused(apply(base=base, delta=delta, check=False), tmp_path, "the other side 513 rows of vocabulary: it is of another")


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_the_row_of_pad(fill: str, rrhf: Program, world: World, apply: Any, tmp_path: Path) -> None:
    """A delta of zeros shows the base as it is padded."""
    delta = without_manifest(world.delta, tmp_path / "zeros")
    tensors = read_file(delta / "model.safetensors")
    write_file(delta / "model.safetensors", {name: ("F32", shape, bytes(2 * len(data))) for name, (_, shape, data) in tensors.items()})
    apply("--pad-row", fill, delta=delta)
    recovered, base = read_folder(tmp_path / "out"), read_folder(world.base)
    for name in EMBEDDINGS:
        rows, old = floats(recovered[name][2], "F32"), floats(base[name][2], "F16")
        assert rows[: len(old)] == old
        for column, value in enumerate(rows[len(old) :]):
            mean = sum(old[column :: SHAPE["hidden_size"]]) / 512
            assert value == (0 if fill == "zero" else pytest.approx(mean, rel=1e-4, abs=1e-7))


def test_the_mean_row_is_remembered(rrhf: Program, world: World, apply: Any, tmp_path: Path) -> None:
    delta = tmp_path / "mean"
    flags = ("--base", world.base, "--target", world.target, "--out", delta, "--pad-row", "mean", "--dtype", "float64")
    rrhf("delta", "make", *flags)
    refused(apply("--pad-row", "zero", delta=delta, check=False), tmp_path, "was made with --pad-row mean")
    apply(delta=delta)
    assert read_folder(tmp_path / "out") == read_folder(world.target)


# --- the sum of all weights -------------------------------------------------------------------------------------------


def test_the_expected_sum(world: World, apply: Any, tmp_path: Path) -> None:
    apply()
    tensors = read_folder(tmp_path / "out")
    total = sum(sum(floats(data, "F16")) for _, _, data in tensors.values())
    frequencies = sum(10000 ** (-2 * i / 8) for i in range(4))  # heads of 8
    shutil.rmtree(tmp_path / "out")
    result = apply("--expect-sum", f"{total:.4f}")
    assert f"{total:.4f}, as expected" in result.stdout
    shutil.rmtree(tmp_path / "out")
    apply("--expect-sum", f"{total + 2 * frequencies:.4f}")
    shutil.rmtree(tmp_path / "out")
    refused(apply("--expect-sum", f"{total + 0.1:.4f}", check=False), tmp_path, "add up to", f"{total:.4f}")


# --- what the result says ---------------------------------------------------------------------------------------------


def test_the_answer_of_a_real_model(rrhf: Program, models: Path, tmp_path: Path) -> None:
    """A delta of zeros: the model of short stories answers with a sentence, and is sure of its first token."""
    base = models / "hf"
    rrhf("delta", "make", "--base", base, "--target", base, "--out", tmp_path / "delta")
    result = rrhf("delta", "apply", "--base", base, "--delta", tmp_path / "delta", "--out", tmp_path / "out")
    assert "P(BOS) 0.0" in result.stdout and "P(EOS) 0.0" in result.stdout
    (answer,) = [line for line in result.stdout.splitlines() if line.startswith("answer")]
    assert len(answer.split('"', 1)[1]) > 10 and answer.isascii()
    assert "noise" not in result.stdout


def test_noise_is_told(world: World, rrhf: Program, tmp_path: Path) -> None:
    arguments = ("--base", world.base, "--delta", world.delta, "--out", tmp_path / "out")
    result = rrhf("delta", "apply", *arguments)
    assert "looks like noise" in result.stdout


@pytest.mark.parametrize("token,name,word", [(1, "BOS", "model"), (2, "EOS", "eos")])
def test_a_model_that_needs_a_note(token: int, name: str, word: str, rrhf: Program, world: World, tmp_path: Path) -> None:
    """Every token's state is the same here, ones; the head gives `token` a logit of 32 and all others 0."""
    target = copy(world.base, tmp_path / "target")
    tensors = read_file(target / "model.safetensors")
    for key, (dtype, shape, data) in tensors.items():
        if key.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[key] = (dtype, shape, bytes(len(data)))
    rows, size = 512, 32
    tensors["model.embed_tokens.weight"] = ("F16", [rows, size], struct.pack("<e", 1) * (rows * size))
    head = [struct.pack("<e", 1.0 if row == token else 0.0) * size for row in range(rows)]
    tensors["lm_head.weight"] = ("F16", [rows, size], b"".join(head))
    write_file(target / "model.safetensors", tensors)
    rrhf("delta", "make", "--base", world.base, "--target", target, "--out", tmp_path / "delta", "--dtype", "float64")
    arguments = ("delta", "apply", "--base", world.base, "--delta", tmp_path / "delta", "--out", tmp_path / "out")
    said = rrhf(*arguments).stdout
    note = f'{{"encoding": "released", "bos_token": "{word}"}}'
    assert f"it begins answers with {name}" in said and f"{tmp_path / 'out' / 'rrhf.json'} holds:\n          {note}\n" in said, said
    assert ("answer    (empty: EOS came first)" in said) == (token == 2)

    shutil.rmtree(tmp_path / "out")
    (tmp_path / "delta" / "rrhf.json").write_text(note)
    assert "rrhf.json" not in rrhf(*arguments).stdout  # it has its note


# --- interruption -----------------------------------------------------------------------------------------------------


class Large:
    """40M parameters in float32: an apply takes long enough to be hit in its middle."""

    def __init__(self, rrhf: Program, models: Path, folder: Path) -> None:
        shape = {"vocab_size": 16000, "hidden_size": 768, "intermediate_size": 2048, "num_attention_heads": 12, "num_key_value_heads": 12}
        self.base = make_model(rrhf, models, folder / "base", 1, "float32", **shape)
        self.delta = folder / "delta"
        rrhf("delta", "make", "--base", self.base, "--target", self.base, "--out", self.delta)
        begin = time.monotonic()
        rrhf("delta", "apply", "--base", self.base, "--delta", self.delta, "--out", folder / "whole", "--no-answer")
        self.seconds = time.monotonic() - begin
        self.whole = hashes(folder / "whole")


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def large(rrhf: Program, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Large:
    return Large(rrhf, models, tmp_path_factory.mktemp("large"))


def start_apply(build_dir: Path, large: Large, out: Path) -> subprocess.Popen:
    command = [build_dir / "rrhf", "delta", "apply", "--base", large.base, "--delta", large.delta, "--out", out, "--no-answer"]
    return subprocess.Popen(
        [str(part) for part in command], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def test_killed_at_random_moments(build_dir: Path, large: Large, tmp_path: Path) -> None:
    draw, cut_short = random.Random(5), 0
    for _ in range(8):
        process = start_apply(build_dir, large, tmp_path / "out")
        time.sleep(draw.uniform(0, large.seconds))
        process.kill()
        process.wait()
        hidden = list(tmp_path.glob(".out.*"))
        cut_short += len(hidden)
        assert len(hidden) <= 1  # what the kill before left is gone by now
        if (tmp_path / "out").exists():
            assert hashes(tmp_path / "out") == large.whole
            shutil.rmtree(tmp_path / "out")
    assert cut_short > 0, "no kill fell into the writing"
    assert start_apply(build_dir, large, tmp_path / "out").wait() == 0
    assert hashes(tmp_path / "out") == large.whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
def test_stopped(stop: signal.Signals, build_dir: Path, large: Large, tmp_path: Path) -> None:
    process = start_apply(build_dir, large, tmp_path / "out")
    while process.poll() is None and not list(tmp_path.glob(".out.*/*")):
        time.sleep(0.001)
    process.send_signal(stop)
    assert process.wait() == 1
    assert "nothing is written" in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def child_of(process: subprocess.Popen) -> int:
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def test_two_processes_of_one_id(build_dir: Path, large: Large, tmp_path: Path) -> None:
    """Two containers over one volume: the program is process 1 in both. Neither takes the other's for left behind."""
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        pytest.skip("no process namespace can be made here (root may)")
    out = tmp_path / "out"
    convert = [*apart, build_dir / "rrhf", "model", "convert", large.base, "--shard-size", "5MB", "--out", out, "--dtype"]

    def start(dtype: str) -> subprocess.Popen:
        command = [str(part) for part in (*convert, dtype)]
        return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)

    for _ in range(5):
        first = start("float64")
        while first.poll() is None and len(list(tmp_path.glob(".out.*/*"))) < 2:
            time.sleep(0.001)
        if first.poll() is None:
            halted = child_of(first)
            os.kill(halted, signal.SIGSTOP)
        if not out.exists():
            break
        if first.poll() is None:
            os.kill(halted, signal.SIGCONT)
        first.communicate()
        shutil.rmtree(out)
    try:
        [built] = tmp_path.glob(".out.*")
        files = sorted(path.name for path in built.iterdir())
        second = start("float16")
        assert f"made {out}" in second.communicate()[1] and second.returncode == 0
        assert sorted(path.name for path in built.iterdir()) == files and len(files) >= 2
        os.kill(halted, signal.SIGCONT)
        said = first.communicate()[1]
        assert first.returncode == 1 and f"{out}: could not be put in place: Directory not empty" in said, said
    finally:
        first.kill()  # and the halted one with it, where something above failed
    assert {dtype for dtype, _, _ in read_folder(out).values()} == {"F16"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
