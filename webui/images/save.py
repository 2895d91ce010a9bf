"""Images onto the disk: inside their folder, whole, and never over another file."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from webui.errors import NotAllowed, StorageError
from webui.storage import check_name, explained, sync_folder, temporary_file

MAX_ATTEMPTS = 100_000  # names that may be taken before we give up

_NUMBER = re.compile(r"[0-9]{1,18}(?=[-.]|\Z)")


def contained(root: Path, *parts: str) -> Path:
    """Return the real path of `parts` (each may hold several, divided by `/`) below `root`.

    This is the one way a name from a request, a setting or a file becomes a path. Raises `NotAllowed` for anything
    that could leave `root`, also through a symlink, or that means something else on another system.
    """
    components = [component for part in parts for component in part.split("/")]
    for component in components:
        check_name(component)
    try:
        base = root.resolve()
        path = base.joinpath(*components).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symlinks; a lone surrogate
        raise NotAllowed(f"The path {'/'.join(parts)!r} cannot be followed.") from error
    if not components or path == base or not path.is_relative_to(base):
        raise NotAllowed(f"The path {'/'.join(parts)!r} leads out of its folder.")
    return path


def next_number(folder: Path, prefix: str = "") -> int:
    """Return one more than the highest number that follows `prefix` in the names in `folder`; 0 if there is none."""
    highest = -1
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(prefix) and (match := _NUMBER.match(entry.name, len(prefix))):
                    highest = max(highest, int(match[0]))
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(f"Cannot list {folder}: {error.strerror}.") from error
    return highest + 1


def save_image(folder: Path, name: str, content: bytes) -> Path:
    """Write `content` as `name` in `folder`, or as `name-1`, `name-2` … when that is taken; return where it went.

    When this returns, the file is whole and on the disk. Raises `StorageError`, and then there is no file.
    """
    stem, suffix = os.path.splitext(name)
    others = (f"{stem}-{number}{suffix}" for number in itertools.count(1))
    return _save(folder, itertools.chain([name], others), content)


def save_numbered(folder: Path, name_of: Callable[[int], str], content: bytes) -> Path:
    """Write `content` under the first free `name_of(number)` from the folder's next number on, like `save_image`."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return _save(folder, map(name_of, itertools.count(next_number(folder))), content)


def _save(folder: Path, names: Iterable[str], content: bytes) -> Path:
    with temporary_file(folder, content) as temporary:
        for name in itertools.islice(names, MAX_ATTEMPTS):
            path = contained(folder, name)
            with explained(path):
                if _publish(temporary, path):
                    sync_folder(folder)
                    return path
    raise StorageError(f"No free name was found in {folder}.", hint="Choose another file name pattern.")


def _publish(temporary: Path, path: Path) -> bool:
    """Give the finished file its name; return False when the name is taken. Another process may try the same."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL):
            raise
        return _publish_without_links(temporary, path)
    return True


def _publish_without_links(temporary: Path, path: Path) -> bool:
    """The same for file systems without hard links (FAT, some network shares): reserve the name, then replace it.

    A crash between the two leaves an empty file, which these file systems cannot avoid.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    try:
        os.replace(temporary, path)
    except OSError:
        path.unlink()
        raise
    return True
