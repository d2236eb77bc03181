#!/usr/bin/env python3
"""Writes small valid inputs for the fuzz targets, made with the standard library alone.

    make_seeds.py FOLDER      FOLDER/{zip,pickle,torch_archive,safetensors,json,rows}/NAME
"""
import gzip
import io
import json
import pathlib
import pickle
import struct
import sys
import types
import zipfile
import zlib
from collections import OrderedDict

STORAGES = {"FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "DoubleStorage": 8, "LongStorage": 8}


def stand_ins():
    """Modules that pickle names as torch's."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, names in ((torch, STORAGES), (utils, ("_rebuild_tensor_v2", "_rebuild_parameter"))):
        for name in names:
            kind = type(name, (), {"__module__": module.__name__})
            setattr(module, name, kind)
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch, utils


TORCH, UTILS = stand_ins()


class Storage:
    def __init__(self, kind, key, numel):
        self.id = ("storage", getattr(TORCH, kind), key, "cpu", numel)


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TorchPickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None


def pickled(value, protocol=2):
    out = io.BytesIO()
    TorchPickler(out, protocol).dump(value)
    return out.getvalue()


def tensor(storage, offset, size, stride):
    return Call(UTILS._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())


def states():
    weight = Storage("FloatStorage", "0", 6)
    views = OrderedDict(
        w=tensor(weight, 0, (2, 3), (3, 1)),
        t=tensor(weight, 0, (3, 2), (1, 3)),
        column=tensor(weight, 2, (2,), (3,)),
        scalar=tensor(weight, 5, (), ()),
    )
    views._metadata = OrderedDict({"": {"version": 1}})
    yield "views", views, {"0": 24}
    kinds = {kind: tensor(Storage(kind, str(i), 4), 1, (3,), (1,)) for i, kind in enumerate(STORAGES)}
    yield "kinds", kinds, {str(i): 4 * size for i, size in enumerate(STORAGES.values())}
    parameter = Call(UTILS._rebuild_parameter, tensor(weight, 0, (6,), (1,)), True, OrderedDict())
    yield "parameter", {"p": parameter}, {"0": 24}
    yield "checkpoint", {"epoch": 1, "rates": [0.1, 1 << 40], "model": {"w": None}, "on": True}, {}
    yield "empty", {}, {}


def zipped(members, prefix="archive/"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(prefix + name), data)
    return out.getvalue()


def without_checksums(archive):
    """All CRC-32 zero, as torch.serialization.set_crc32_options(False) leaves them: a changed byte is then no damage."""
    data = bytearray(archive)
    for signature, place in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = data.find(signature)
        while at >= 0:
            data[at + place : at + place + 4] = bytes(4)
            at = data.find(signature, at + 4)
    return bytes(data)


def zip64(name, data):
    """One member whose numbers all stand in ZIP64 records, with a descriptor behind it, as torch writes its files."""
    crc, size, name = zlib.crc32(data), len(data), name.encode()
    local = struct.pack("<IHHHIIIIHH", 0x04034B50, 0, 8, 0, 0, 0, 0, 0, len(name), 0) + name + data
    local += struct.pack("<IIQQ", 0x08074B50, crc, size, size)
    extra = struct.pack("<HHQQQ", 1, 24, size, size, 0)
    directory = struct.pack("<IHHHHIIII", 0x02014B50, 0, 0, 8, 0, 0, crc, 0xFFFFFFFF, 0xFFFFFFFF)
    directory += struct.pack("<HHHHHII", len(name), len(extra), 0, 0, 0, 0, 0xFFFFFFFF) + name + extra
    end = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 1, 1, len(directory), len(local))
    end += struct.pack("<IIQI", 0x07064B50, 0, len(local) + len(directory), 1)
    end += struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + directory + end


def safetensors(header, buffer):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(buffer)


JSON_TEXTS = {
    "values": '{"a": [1, -2.5e3, true, null, "\\ud83d\\ude00\\ud83d"], "b": {"c": {}}}',
    "not-finite": "[NaN, Infinity, -Infinity, 1e999, 0e1]",
    "comments": '{ // one\n "a": /* two */ 1 }',
    "array": ' [ {"a": [1, 2]} ,\n"x],\\"" , 12 ,[] ] \n',
}

ROW_FILES = {
    "lines": '{"query": "q", "responses": ["a", ""], "scores": [1, 2], "writers": ["x", "y"], "group": null}\n\n',
    "array": '[{"query": "q", "responses": ["a", "b", "c"], "scores": [1, 1, 2]}, {"query": 1}]',
    "v1": '[{"user_input": "q", "completion_a": "a", "completion_b": "b"}]',
    "v2": '[{"user_input": "q", "responses_and_scores": [{"response": "a", "source": "s", "score": 9}]}]',
    "hh": '{"chosen": "\\n\\nHuman: q\\n\\nAssistant: a", "rejected": "\\n\\nHuman: q\\n\\nAssistant: b"}\r\n',
    "preference": '{"prompt": "q", "chosen": "a", "rejected": "b"}\n',
}


def seeds():
    for name, state, storages in states():
        for protocol in (2, 4):
            data = pickled(state, protocol)
            yield "pickle", f"{name}-{protocol}", data
            members = {"data.pkl": data, "byteorder": b"little"}
            members.update((f"data/{key}", bytes(size)) for key, size in storages.items())
            yield "torch_archive", f"{name}-{protocol}", without_checksums(zipped(members))
            yield "torch_archive", f"{name}-{protocol}-checked", zipped(members)
    yield "torch_archive", "legacy", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    yield "zip", "plain", zipped({"a": b"1", "b": b"22", "c/": b""})
    yield "zip", "empty", zipped({})
    yield "zip", "zip64", zip64("a", b"content")
    yield "safetensors", "two", safetensors(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
            "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10], "other": [1, {"x": None}]},
        },
        10,
    )
    yield "safetensors", "none", safetensors({}, 0)
    for name, text in JSON_TEXTS.items():
        yield "json", name, text.encode()
    for name, text in ROW_FILES.items():
        yield "rows", name, text.encode()
        yield "rows", f"{name}-gz", gzip.compress(text.encode(), mtime=0)
    line = ROW_FILES["lines"].encode()
    yield "rows", "two-members-gz", gzip.compress(line, mtime=0) * 2


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    for target, name, data in seeds():
        folder = pathlib.Path(sys.argv[1], target)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
