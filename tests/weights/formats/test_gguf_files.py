"""GGUF headers: those of real writers are understood, broken ones say what is wrong without costing anything."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gguf_parts import unet_weights, write_gguf
from webui.errors import BadFile
from webui.weights.formats.gguf_files import _TYPES
from webui.weights.formats.headers import read_header
from webui.weights.formats.tensor_facts import BLOCKS, PLAIN
from webui.weights.formats.tensors import read_tensors


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words.encode())) + words.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(
    name: str = "w", sides: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0, count: int | None = None
) -> bytes:
    dimensions = len(sides) if count is None else count
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", dimensions, *sides, kind, offset)


def pack(
    *tensors: bytes,
    entries: tuple[bytes, ...] = (),
    data: int = 64,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    numbers = counts or (len(tensors), len(entries))
    head = b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def array(kind: int, count: int, content: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + content


def number(value: int) -> bytes:
    return struct.pack("<I", value)


BROKEN: dict[str, tuple[bytes, str]] = {
    "cut magic": (b"GGUF", "truncated"),
    "cut": (pack(tensor())[:30], "damaged or cut off"),
    "no version": (b"GGUF" + bytes(60), "big-endian"),
    "version 1": (pack(version=1), "version 1"),
    "version 99": (pack(version=99), "version 99"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "2^63 tensors": (pack(counts=(2**63, 0)), "announces 9223372036854775808 tensors"),
    "2^63 entries": (pack(counts=(0, 2**63)), "9223372036854775808 entries"),
    "a name of 2^63 bytes": (pack(struct.pack("<Q", 2**63)), "9223372036854775808 bytes long"),
    "a text of 2^63 bytes": (pack(entries=(entry("x", 8, struct.pack("<Q", 2**63)),)), "damaged or cut off"),
    "an array of 2^63 numbers": (pack(entries=(entry("x", 9, array(4, 2**63)),)), "damaged or cut off"),
    "an array of 2^63 texts": (pack(entries=(entry("x", 9, array(8, 2**63)),), data=4096), "damaged or cut off"),
    "arrays in each other": (pack(entries=(entry("x", 9, array(9, 1) * 999),)), "has the type 9"),
    "an entry of type 99": (pack(entries=(entry("x", 99, b""),)), "has the type 99"),
    "alignment 0": (pack(tensor(), entries=(entry("general.alignment", 4, number(0)),)), "alignment of 0 bytes"),
    "alignment 3": (pack(tensor(), entries=(entry("general.alignment", 4, number(3)),)), "alignment of 3 bytes"),
    "alignment 2^31": (pack(entries=(entry("general.alignment", 4, number(2**31)),)), "alignment of 2147483648"),
    "alignment of text": (pack(entries=(entry("general.alignment", 8, text("x")),)), "alignment of x bytes"),
    "2^32 - 1 dimensions": (pack(tensor(count=2**32 - 1)), "4294967295 dimensions"),
    "a shape of 2^192": (pack(tensor(sides=(2**63, 2**63, 2**63))), "shape does not fit"),
    "an odd row of blocks": (pack(tensor(sides=(33,), kind=8)), "shape does not fit"),
    "blocks without a row": (pack(tensor(sides=(), kind=8)), "shape does not fit"),
    "an unknown type": (pack(tensor(kind=9999)), "quantised as type 9999, which is not supported"),
    "an unsupported type": (pack(tensor(sides=(256,), kind=16)), "quantised as IQ2_XXS, which is not supported"),
    "a name twice": (pack(tensor(), tensor(offset=32)), "a name occurs twice"),
    "a name that is no text": (pack(tensor("w").replace(b"w", b"\xff", 1)), "damaged or cut off"),
    "overlapping tensors": (pack(tensor("a", (16,)), tensor("b", offset=32)), "overlap"),
    "unaligned": (pack(tensor(offset=4)), "not aligned"),
    "an offset of 2^63": (pack(tensor(offset=2**63)), "not aligned"),
    "beyond the file": (pack(tensor(sides=(17,))), "truncated: 4 of"),
    "another original shape": (
        pack(tensor(), entries=(entry("comfy.gguf.orig_shape.w", 9, array(5, 1, number(5))),)), "another size",
    ),
    "a negative original shape": (
        pack(tensor(), entries=(entry("comfy.gguf.orig_shape.w", 9, array(5, 2, struct.pack("<ii", -2, -2))),)),
        "another size",
    ),
    "an original shape of texts": (
        pack(tensor(), entries=(entry("comfy.gguf.orig_shape.w", 9, array(8, 1, text("x"))),)), "a shape is none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_headers_say_what_is_wrong(case: str, tmp_path: Path) -> None:
    content, words = BROKEN[case]
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        read_header(file)
    assert words in caught.value.message and caught.value.message.startswith("model.gguf: ")


def test_a_header_that_only_costs_time_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(pack(entries=(entry("x", 9, array(8, 2**40)),), data=0))
    os.truncate(file, 10**10)
    with pytest.raises(BadFile, match="larger than 32 MB"):
        read_header(file)


def test_types_are_those_of_the_library() -> None:
    sizes = {kind.name: size for kind, size in GGML_QUANT_SIZES.items()}
    assert {number: GGMLQuantizationType(number).name for number in _TYPES} == dict(_TYPES)
    assert {name: sizes[name] for name in BLOCKS} == dict(BLOCKS)
    assert {name: sizes[name] for name in PLAIN if name in sizes} == {
        name: (1, size) for name, size in PLAIN.items() if name in sizes
    }


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_0"])
def test_a_written_file_declares_what_was_written(dtype: str, tmp_path: Path) -> None:
    weights = unet_weights()
    header = read_header(write_gguf(tmp_path / "unet.gguf", weights, dtype))
    assert {name: facts.shape for name, facts in header.items()} == {
        name: tuple(tensor.shape) for name, tensor in weights.items()
    }
    assert {facts.dtype for facts in header.values()} == {dtype, "F16", "F32"}
    assert header["time_embed.0.weight"].dtype == dtype
    assert sum(facts.size for facts in header.values()) <= (tmp_path / "unet.gguf").stat().st_size


def test_a_reshaped_tensor_has_its_original_shape_again(tmp_path: Path) -> None:
    shape = struct.pack("<4i", 2, 4, 2, 2)
    entries = (entry("general.architecture", 8, text("sd1")), entry("comfy.gguf.orig_shape.w", 9, array(5, 4, shape)))
    file = tmp_path / "model.gguf"
    file.write_bytes(pack(tensor("w", (32,), kind=8), entries=entries)[:-64] + struct.pack("<e32b", 0.5, *range(32)))
    assert read_header(file)["w"].shape == (2, 4, 2, 2)
    assert torch.equal(read_tensors(file)["w"].float(), torch.arange(32.0).view(2, 4, 2, 2) / 2)


def test_plain_numbers_are_mapped_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    numbers = torch.arange(8.0)
    raw = bytes(numbers.view(torch.uint8).tolist()) + bytes(numbers.bfloat16().view(torch.uint8).tolist())
    file.write_bytes(pack(tensor("a", (4, 2)), tensor("b", (2, 4), kind=30, offset=32), data=0) + raw)
    found = read_tensors(file)
    assert torch.equal(found["a"], numbers.view(2, 4)) and torch.equal(found["b"], numbers.bfloat16().view(4, 2))
    assert read_tensors(file, "b").keys() == {"b"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(4, 120), byte=st.integers(0, 255))
def test_one_wrong_byte_is_read_or_refused(tmp_path: Path, place: int, byte: int) -> None:
    raw = bytearray(pack(tensor("a"), tensor("b", (32,), kind=8, offset=32), entries=(entry("x", 4, number(1)),)))
    raw[place] = byte
    file = tmp_path / "model.gguf"
    file.write_bytes(raw)
    try:
        assert read_header(file).keys() == read_tensors(file).keys()
    except BadFile as error:
        assert error.message.startswith("model.gguf: ")
