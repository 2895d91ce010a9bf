"""The input store: a picture is stored once, found by its hash, and thrown away only when no job needs it."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.jobs_parts import make_plan
from webui.domain.request import GenerationRequest
from webui.domain.start import FromImage, FromMaskedImage
from webui.errors import BadFile, NotFound
from webui.images.encode import encode_jpeg, encode_png
from webui.jobs.inputs import InputStore
from webui.jobs.store import JobStore


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    return InputStore(tmp_path / "inputs")


def picture(colour: str = "red") -> Image.Image:
    image = Image.new("RGB", (12, 8), colour)
    image.putpixel((3, 3), (1, 2, 3))
    return image


def test_the_same_pixels_are_stored_once(store: InputStore, tmp_path: Path) -> None:
    first = store.add(encode_png(picture(), "a secret prompt"))
    again = store.add(encode_png(picture()))
    other = store.add(encode_png(picture("blue")))
    assert first == again != other
    assert (first.width, first.height) == (12, 8)
    path = store.path(first.id)
    assert path == tmp_path / "inputs" / first.id[:2] / f"{first.id}.png"
    assert len(list((tmp_path / "inputs").rglob("*.*"))) == 2
    assert b"secret" not in path.read_bytes()


def test_it_comes_back_pixel_by_pixel(store: InputStore) -> None:
    clear = picture().convert("RGBA")
    clear.putpixel((0, 0), (9, 9, 9, 0))
    names = [store.add(encode_png(image)).id for image in (picture(), clear)]
    read = store.read((names[0], names[1]))
    assert read.keys() == set(names)
    assert read[names[0]].tobytes() == picture().tobytes()
    assert read[names[1]].tobytes() == clear.tobytes()
    assert store.read(()) == {}


def test_pictures_are_stored_upright(store: InputStore) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG", exif=exif)
    stored = store.add(buffer.getvalue())
    assert (stored.width, stored.height) == (8, 12)


def test_what_is_no_picture_is_refused_and_leaves_nothing(store: InputStore, tmp_path: Path) -> None:
    with pytest.raises(BadFile):
        store.add(b"<html>")
    with pytest.raises(BadFile):
        store.add(encode_jpeg(picture())[:60])
    assert not (tmp_path / "inputs").exists()


@pytest.mark.parametrize("reference", ["0" * 64, "", "../../etc/passwd", "0" * 63, "A" * 64, "0" * 62 + "/x"])
def test_unknown_references(store: InputStore, reference: str) -> None:
    with pytest.raises(NotFound, match="no stored picture"):
        store.path(reference)


def test_only_old_pictures_that_no_job_needs_are_pruned(store: InputStore, tmp_path: Path) -> None:
    jobs = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    needed, mask, unused, fresh = (
        store.add(encode_png(picture(colour))).id for colour in ("red", "tan", "sienna", "blue")
    )
    week_ago = time.time() - 8 * 24 * 3600
    for name in (needed, mask, unused):
        os.utime(store.path(name), (week_ago, week_ago))
    jobs.enqueue(GenerationRequest(start=FromMaskedImage(images=(needed,), mask=mask)), make_plan())
    jobs.enqueue(GenerationRequest(prompt='"kind":"image"'), make_plan())
    assert jobs.inputs_in_use() == {needed, mask}
    assert store.prune(jobs.inputs_in_use(), 7 * 24 * 3600.0) == 1
    assert [store.path(name).is_file() for name in (needed, mask, fresh)] == [True] * 3
    with pytest.raises(NotFound):
        store.path(unused)
    jobs.close()


def test_an_upload_that_is_known_counts_as_new(store: InputStore) -> None:
    name = store.add(encode_png(picture())).id
    os.utime(store.path(name), (1, 1))
    store.add(encode_png(picture()))
    assert store.prune((), 3600.0) == 0


def test_a_start_without_pictures_cannot_be_said() -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        FromImage(images=())
