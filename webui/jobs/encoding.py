"""What an engine yields → what crosses the pipe: pictures become bytes of files, and in the end sheets of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from webui.domain.events import ImageFailed, ImageSkipped, Loading, Noted, Stepped
from webui.domain.plan import AnyPlan
from webui.images.encode import encode, encode_jpeg
from webui.images.infotext import write, write_sheet
from webui.images.sheets import Sheets
from webui.jobs.runner import ImageEncoded, ImageRole, Message, Preview

PREVIEW_QUALITY = 80


@runtime_checkable
class _HasImage(Protocol):
    image: Image


@runtime_checkable
class _HasNumberedImage(Protocol):
    index: int
    image: Image


class Encoder:
    """Encodes what happens during one run of `plan`."""

    def __init__(self, plan: AnyPlan) -> None:
        self._plan = plan
        self._sheets = Sheets(plan.sheets)

    def encode(self, happened: object) -> Message:
        """Return the message for what the engine yielded: an event, a preview (`.image`) or an image (`.index` too)."""
        match happened:
            case Loading() | Stepped() | ImageSkipped() | ImageFailed() | Noted():
                return happened
            case _HasNumberedImage(index=index, image=image):
                self._sheets.take(index, image)
                return self._encode(index, image, write(self._plan, index))
            case _HasImage(image=image):
                return Preview(encode_jpeg(image, PREVIEW_QUALITY))
        raise TypeError(f"The engine yielded a {type(happened).__name__}, which has no meaning here.")

    def finish(self) -> Iterator[ImageEncoded]:
        """Yield the sheets, as far as there are images for them."""
        images = self._plan.images
        for index, (sheet, first, picture) in enumerate(self._sheets.compose(), images[-1].index + 1):
            yield self._encode(index, picture, write_sheet(self._plan, first, sheet.facts), role="sheet")

    def _encode(self, index: int, image: Image, infotext: str, role: ImageRole = "image") -> ImageEncoded:
        save = self._plan.save
        file_format = save.format if role == "image" else save.grid_format
        file = encode(image, infotext, file_format, save.quality, save.lossless)
        return ImageEncoded(index, image.width, image.height, infotext, file.content, role, file.suffix)
