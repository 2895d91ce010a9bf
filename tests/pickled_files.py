"""Pickled files that no program should trust: hostile ones, with what they would call, and damaged ones."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import pkgutil
import struct
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import torch

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2).half()}


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def saved(content: Any, **options: Any) -> bytes:
    """Return what torch saves of `content`."""
    file = io.BytesIO()
    torch.save(content, file, **{"pickle_protocol": 4, **options})
    return file.getvalue()


def streamed(content: Any) -> bytes:
    """Return what torch before 1.6 saved of it."""
    return saved(content, _use_new_zipfile_serialization=False)


def zipped(pickled: bytes, entries: Mapping[str, bytes] = {}, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive as torch's with any pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in {"data.pkl": pickled, "version": b"3\n", **entries}.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def tensor(key: str = "0", offset: int = 0, shape: tuple[int, ...] = (2,), strides: tuple[int, ...] = (1,)) -> bytes:
    """Return the steps that put a tensor of float32 onto the stack."""
    numbers = [offset, shape, strides]
    plain = b"".join(pickle.dumps(number, 2)[2:-1] for number in numbers)
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + text(key) + text("cpu") + b"K\x02tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + plain + b"\x89NtR"


def text(words: str) -> bytes:
    raw = words.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def weights(*tensors: bytes) -> bytes:
    """Return a pickle of a dictionary of tensors."""
    named = b"".join(text(f"w{number}") + steps for number, steps in enumerate(tensors))
    return b"\x80\x02}(" + named + b"u."


def two_entries_at_one_place() -> bytes:
    """Return an archive whose directory gives two storages the same bytes."""
    raw = zipped(weights(tensor("0"), tensor("1")), {"data/0": bytes(8), "data/1": bytes(8)})
    first, second = (raw.rindex(b"PK\x01\x02", 0, raw.rindex(name)) for name in (b"archive/data/0", b"archive/data/1"))
    return raw[: second + 42] + raw[first + 42 : first + 46] + raw[second + 46 :]


def encrypted() -> bytes:
    raw = bytearray(zipped(weights(tensor()), {"data/0": bytes(8)}))
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


def nested_dicts(levels: int = 60) -> bytes:
    """Return a pickle of 2^levels tensors, as dictionaries that hold the next one twice."""
    inner = b"}(" + text("w") + tensor() + b"uq\x00"
    for level in range(levels):
        inner += (
            b"0}(" + text("a") + b"h" + bytes([level]) + text("b") + b"h" + bytes([level]) + b"uq" + bytes([level + 1])
        )
    return b"\x80\x02" + inner + b"."


def nested_tuples(levels: int = 100) -> bytes:
    """Return a pickle of a key that takes 2^levels steps to hash."""
    return b"\x80\x02}(" + text("x") + b"2\x86" * levels + tensor() + b"u."


CALLS: dict[str, tuple[bytes, str]] = {
    "os.system": (saved({"w": WEIGHTS, "more": Call(os.system, "touch canary")}), "os.system"),
    "exec": (saved(Call(exec, "open('canary', 'w')")), "builtins.exec"),
    "eval in a list": (saved({"state_dict": WEIGHTS, "x": [[[Call(eval, "1")]]]}), "builtins.eval"),
    "Popen": (saved([Call(subprocess.Popen, ["touch", "canary"])]), "subprocess.Popen"),
    "getattr": (zipped(b"cbuiltins\ngetattr\n."), "builtins.getattr"),
    "import_module": (saved(Call(importlib.import_module, "this")), "importlib.import_module"),
    "resolve_name": (saved(Call(pkgutil.resolve_name, "os:system")), "pkgutil.resolve_name"),
    "the older stream": (streamed({"w": WEIGHTS, "more": Call(os.system, "touch canary")}), "os.system"),
    "a plain pickle": (pickle.dumps(Call(os.system, "touch canary")), "os.system"),
    "a plain pickle, protocol 5": (pickle.dumps([Call(exec, "1")], 5), "builtins.exec"),
    "names from the memo": (
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x8c\x01x\x94000h\x00h\x01\x93h\x02\x85R.", "os.system",
    ),
    "a name that changes in the memo": (
        b"\x80\x04\x8c\x0bcollectionsq\x000\x8c\x02osq\x000h\x00\x8c\x06system\x93\x8c\x01x\x85R.", "os.system",
    ),
    "a path of attributes": (
        zipped(b"\x80\x04\x8c\x0bcollections\x8c\x1bOrderedDict.fromkeys.system\x93\x8c\x01x\x85R."),
        "collections.OrderedDict.fromkeys.system",
    ),
    "INST": (zipped(b"(S'touch canary'\nios\nsystem\n."), "os.system"),
    "OBJ": (zipped(b"(cos\nsystem\nS'touch canary'\no."), "os.system"),
    "NEWOBJ_EX": (zipped(b"\x80\x04cos\nsystem\n(S'touch canary'\nt}\x92."), "os.system"),
    "a rebuilt type": (
        zipped(b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNS'touch canary'\n\x85NtR."), "os.system",
    ),
    "a function of numpy": (
        zipped(b"cnumpy.testing._private.utils\nrunstring\n."), "numpy.testing._private.utils.runstring",
    ),
    "a function of torch": (zipped(b"ctorch.hub\nload\n."), "torch.hub.load"),
    "a function of Lightning": (
        zipped(b"cpytorch_lightning.utilities.cloud_io\nload\n."), "pytorch_lightning.utilities.cloud_io.load",
    ),
    "a whole network": (saved(torch.nn.Linear(1, 1)), "torch.nn.modules.linear.Linear"),
}  # fmt: skip

DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut archive": (saved(WEIGHTS)[:-200], "damaged"),
    "cut stream": (streamed(WEIGHTS)[:-5], "truncated"),
    "cut pickle": (streamed(WEIGHTS)[:200], "damaged"),
    "empty archive": (b"PK\x05\x06" + bytes(18), "without weights"),
    "another archive": (zipped(b"").replace(b"data.pkl", b"data.txt"), "without weights"),
    "archive in an archive": (zipped(b"", {"data.pkl": saved(WEIGHTS)}), "damaged"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(300), "tar archive"),
    "no torch": (pickle.dumps({"a": 1}), "without weights"),
    "no weights": (saved({"a": 1}), "no weights"),
    "a list": (saved([torch.zeros(1)]), "no weights"),
    "TorchScript": (zipped(b"N.", {"constants.pkl": b"N.", "code/x.py": b""}), "TorchScript"),
    "big-endian": (zipped(b"N.", {"byteorder": b"big"}), "big-endian"),
    "compressed weights": (
        zipped(weights(tensor()), {"data/0": bytes(8)}, zipfile.ZIP_DEFLATED), "compressed",
    ),
    "ZIP bomb": (zipped(bytes(40 * 2**20), {}, zipfile.ZIP_DEFLATED), "larger than"),
    "encrypted": (encrypted(), "encrypted"),
    "two of a name": (zipped(b"N.", {"xxx": b"", "yyy": b""}).replace(b"yyy", b"xxx"), "of the same name"),
    "overlapping storages": (two_entries_at_one_place(), "overlap"),
    "missing storage": (zipped(weights(tensor("7"))), "'7' is missing"),
    "behind its storage": (zipped(weights(tensor(offset=1)), {"data/0": bytes(8)}), "larger than its storage"),
    "longer than its storage": (zipped(weights(tensor(shape=(3,))), {"data/0": bytes(8)}), "larger than its storage"),
    "strides": (zipped(weights(tensor(strides=(9,))), {"data/0": bytes(8)}), "larger than its storage"),
    "negative strides": (zipped(weights(tensor(strides=(-1,))), {"data/0": bytes(8)}), "impossible shape"),
    "negative offset": (zipped(weights(tensor(offset=-1)), {"data/0": bytes(8)}), "impossible shape"),
    "expanded": (zipped(weights(tensor(shape=(2**40,), strides=(0,))), {"data/0": bytes(8)}), "larger than its"),
    "shape of another length": (zipped(weights(tensor(shape=(1, 1))), {"data/0": bytes(8)}), "impossible shape"),
    "a shape of 2^70": (zipped(weights(tensor(shape=(2**70,))), {"data/0": bytes(8)}), "impossible shape"),
    "the same numbers often": (zipped(weights(*[tensor()] * 9), {"data/0": bytes(8)}), "far larger"),
    "dictionaries of dictionaries": (zipped(nested_dicts(), {"data/0": bytes(8)}), "no weights"),
    "a dictionary in itself": (zipped(b"\x80\x02}q\x00(" + text("a") + b"h\x00u."), "no weights"),
    "keys of tuples of tuples": (zipped(nested_tuples(), {"data/0": bytes(8)}), "no weights"),
    "100,000 lists in each other": (zipped(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."), "no weights"),
    "a text of 4 GB": (zipped(b"\x80\x02X\xff\xff\xff\xff" + b"x."), "damaged"),
    "a text of 2^63": (zipped(b"\x80\x04\x8d" + b"\xff" * 8 + b"x."), "damaged"),
    "a memo of 2^32": (zipped(b"\x80\x02Nr\xff\xff\xff\xff."), "no weights"),
    "an empty stack": (zipped(b"\x80\x020."), "damaged"),
    "no end": (zipped(b"\x80\x02N"), "damaged"),
    "an unknown step": (zipped(b"\x80\x02\xff."), "damaged"),
    "an extension": (zipped(b"\x80\x02\x82\x01."), "EXT1"),
    "an object by name": (zipped(b"Pfile\n."), "PERSID"),
    "a call of a call": (zipped(b"\x80\x02ccollections\nOrderedDict\n)R)R."), "what another call"),
    "a storage of another kind": (zipped(b"\x80\x02(X\x04\x00\x00\x00filetQ."), "damaged"),
    "too many steps": (zipped(b"\x80\x02" + b"N0" * 2_100_000 + b"N."), "more than 4000000 steps"),
    "surrogates": (
        zipped(b"\x80\x02}(X\x03\x00\x00\x00\xed\xa0\x80" + tensor() + b"u.", {"data/0": bytes(8)}), "damaged",
    ),
    "a stream of nonsense": (b"\x80\x02" + bytes(range(256)) * 4, "damaged"),
    "a stream of a negative storage": (
        streamed(WEIGHTS).replace(struct.pack("<q", 6), struct.pack("<q", -6)), "truncated",
    ),
}  # fmt: skip
