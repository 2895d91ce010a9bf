"""Finished images onto the disk: kept ones where A1111 puts them, the others into the temporary folder."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from webui.domain.plan import AnyPlan, PreprocessPlan, UpscalePlan
from webui.images.naming import Naming, image_folder, image_names
from webui.images.save import contained, next_number, save_image
from webui.jobs.runner import ImageEncoded
from webui.storage import PARTIAL_SUFFIX

log = logging.getLogger(__name__)

SHEET_NAME = "grid-"  # A1111's name of a picture of pictures, before its number


class OutputFolder:
    """Writes below `outputs`; `temporary` (below it) takes the images that were not to be kept."""

    def __init__(self, outputs: Path, temporary: Path) -> None:
        self._outputs = outputs.resolve()
        self._temporary = temporary.resolve()

    def place(self, plan: AnyPlan, image: ImageEncoded, started: float | None = None) -> str:
        """Choose the path of an image relative to the outputs folder, with forward slashes; nothing is written.

        `started`: when its job began, UTC seconds since 1970 (None: just now).
        """
        path = (
            self._place_kept(plan, image, started)
            if plan.keep
            else self._temporary / f"{uuid.uuid4().hex}{image.suffix}"
        )
        return path.relative_to(self._outputs).as_posix()

    def _place_kept(self, plan: AnyPlan, image: ImageEncoded, started: float | None) -> Path:
        if image.role == "sheet":
            folder = contained(self._outputs, plan.save.grid_folder)
            return folder / f"{SHEET_NAME}{next_number(folder, SHEET_NAME):04}{image.suffix}"
        save = plan.save
        if isinstance(plan, UpscalePlan | PreprocessPlan):
            folder = contained(self._outputs, save.folder)
            return folder / f"{next_number(folder):05}{image.suffix}"
        part = plan.part(image.index)
        moment = datetime.now()
        naming = Naming(
            part,
            part.image(image.index),
            moment,
            started=moment if started is None else datetime.fromtimestamp(started),
            size=(image.width, image.height),
            content=image.content,
        )
        named_folder = image_folder(save, naming)
        folder = contained(self._outputs, named_folder) if named_folder else self._outputs
        return folder / image_names(save, naming, image.suffix)(next_number(folder) if save.number else 0)

    def write(self, plan: AnyPlan, path: str, image: ImageEncoded) -> str:
        """Write the file durably at `path`, or beside it when that is taken; return where it lies."""
        target = contained(self._outputs, path)
        written = save_image(target.parent, target.name, image.content)
        if plan.keep and plan.save.text and image.role == "image":
            save_image(written.parent, f"{written.stem}.txt", image.infotext.encode())
        return written.relative_to(self._outputs).as_posix()

    def exists(self, path: str) -> bool:
        return contained(self._outputs, path).is_file()

    def tidy(self, unneeded: Iterable[str]) -> None:
        """Remove unkept images that nobody needs any more, and what a killed server left half-written."""
        leftovers = [contained(self._outputs, path) for path in unneeded]
        leftovers = [path for path in leftovers if path.is_relative_to(self._temporary)]
        leftovers += self._outputs.rglob(f"*{PARTIAL_SUFFIX}")
        for path in leftovers:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("Cannot remove %s: %s.", path, error.strerror)
