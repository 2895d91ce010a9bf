"""Pictures and masks that jobs begin with: stored once under the hash of their content, so that a request only names
them and a job finds them again after a restart."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from PIL.Image import Image

from webui.domain.frozen import Data
from webui.domain.start import Reference
from webui.errors import NotFound
from webui.images.encode import encode_png
from webui.images.open import open_image
from webui.images.save import contained
from webui.storage import replace_file

_NAME = re.compile(r"[0-9a-f]{64}")


class StoredInput(Data):
    """A picture in the store: `id` is what a request names it by."""

    id: Reference
    width: int
    height: int


class InputStore:
    """PNG files below `folder`, in sub-folders named after the first two digits of the hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, content: bytes) -> StoredInput:
        """Store an uploaded picture, upright and without metadata; the same pixels are stored once.

        Raises `BadFile` for what is no picture, `StorageError` when the disk refuses.
        """
        image = open_image(content)
        plain = encode_png(image)
        name = hashlib.sha256(plain).hexdigest()
        path = self._path(name)
        if path.is_file():
            os.utime(path)  # it counts as new, lest it be pruned before its job comes
        else:
            replace_file(path, plain)
        return StoredInput(id=name, width=image.width, height=image.height)

    def path(self, reference: str) -> Path:
        """Return the file of a stored picture; `NotFound` when there is none."""
        path = self._path(reference) if _NAME.fullmatch(reference) else None
        if path is None or not path.is_file():
            raise NotFound(
                f"There is no stored picture {reference[:12]!r}….", hint="Upload the picture again.", field="start"
            )
        return path

    def read(self, names: tuple[Reference, ...]) -> Mapping[str, Image]:
        """Return some pictures by reference. Each is opened when it is asked for, and then `NotFound` if
        it is gone: a job may begin with more pictures than memory holds."""
        return _Pictures(self, names)

    def prune(self, keep: Collection[str], older_than: float) -> int:
        """Remove pictures that are not in `keep` and were stored more than `older_than` seconds ago; count them."""
        limit = time.time() - older_than
        unused = [
            path
            for path in self._folder.glob("??/*.png")
            if path.stem not in keep and _NAME.fullmatch(path.stem) and path.stat().st_mtime < limit
        ]
        for path in unused:
            with contextlib.suppress(OSError):  # what cannot be removed now is no reason not to start
                path.unlink()
        return len(unused)

    def _path(self, name: str) -> Path:
        return contained(self._folder, name[:2], f"{name}.png")


class _Pictures(Mapping[str, Image]):
    def __init__(self, store: InputStore, names: tuple[str, ...]) -> None:
        self._store = store
        self._names = names

    def __getitem__(self, name: str) -> Image:
        if name not in self._names:
            raise KeyError(name)
        return open_image(self._store.path(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
