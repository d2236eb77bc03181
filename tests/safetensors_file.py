"""safetensors files read and written with the standard library alone: an independent view of what the program writes.

A tensor is (dtype, shape, bytes), dtype as the format spells it.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

Tensor = tuple[str, list[int], bytes]


def read_file(path: Path) -> dict[str, Tensor]:
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = data[8 + size :]
    return {
        name: (entry["dtype"], entry["shape"], body[entry["data_offsets"][0] : entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def read_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder. An index, where there is one, must name each in its own file."""
    tensors: dict[str, Tensor] = {}
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"] if index.exists() else None
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in read_file(path).items():
            assert name not in tensors, name
            assert places is None or places[name] == path.name
            tensors[name] = tensor
    assert places is None or set(places) == set(tensors)
    return tensors


def write_file(path: Path, tensors: dict[str, Tensor]) -> None:
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))
