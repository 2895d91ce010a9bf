"""Finished images: where they go, and what is cleared away."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from tests.jobs_parts import make_plan
from webui.jobs.output import OutputFolder
from webui.jobs.runner import ImageEncoded
from webui.storage import PARTIAL_SUFFIX

IMAGE = ImageEncoded(index=0, width=8, height=8, infotext="Steps: 1", content=b"png")


def folder(root: Path) -> OutputFolder:
    return OutputFolder(root / "outputs", root / "outputs" / ".easel" / "temporary")


def written(output: OutputFolder, keep: bool, text: bool = False) -> str:
    plan = make_plan(images=1)
    plan = plan.replace(keep=keep, save=plan.save.replace(text=text))
    return output.write(plan, output.place(plan, IMAGE), IMAGE)


def test_kept_images_are_numbered_by_day(tmp_path: Path) -> None:
    output = folder(tmp_path)
    first, second = written(output, keep=True), written(output, keep=True)
    assert first.startswith("txt2img-images/") and Path(first).name.startswith("00000-")
    assert Path(second).name.startswith("00001-")
    assert output.exists(first)


def test_the_infotext_lies_beside_the_image_when_wanted(tmp_path: Path) -> None:
    path = tmp_path / "outputs" / written(folder(tmp_path), keep=True, text=True)
    assert path.with_suffix(".txt").read_text() == "Steps: 1"


def test_names_say_what_kind_of_file_it_is(tmp_path: Path) -> None:
    output = folder(tmp_path)
    for keep, role in ((True, "image"), (False, "image"), (True, "sheet")):
        plan = make_plan(images=1).replace(keep=keep)
        image = replace(IMAGE, role=role, suffix=".webp")
        path = output.write(plan, output.place(plan, image), image)
        assert path.endswith(".webp") and output.exists(path)


def test_the_name_may_tell_when_the_job_began(tmp_path: Path) -> None:
    output, plan = folder(tmp_path), make_plan(images=1)
    plan = plan.replace(save=plan.save.replace(name="[job_timestamp]-[image_hash<4>]-[width]", number=False))
    began = datetime(2026, 11, 20, 9, 4, 1)
    path = output.place(plan, IMAGE, began.timestamp())
    assert Path(path).name == f"20261120090401-{hashlib.sha256(IMAGE.content).hexdigest()[:4]}-8.png"


def test_tidying_removes_unneeded_and_half_written_files_and_nothing_else(tmp_path: Path) -> None:
    output = folder(tmp_path)
    kept, unneeded, needed = written(output, keep=True), written(output, keep=False), written(output, keep=False)
    half = tmp_path / "outputs" / Path(kept).parent / f".0123456789abcdef{PARTIAL_SUFFIX}"
    half.write_bytes(b"pn")
    output.tidy([unneeded, kept])
    assert [output.exists(path) for path in (kept, unneeded, needed)] == [True, False, True], "kept images stay"
    assert not half.exists()
