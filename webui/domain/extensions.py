"""What users are told about extensions, and what they can ask to be installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from webui.domain.frozen import Data

MAX_ADDRESS = 2000  # characters

SourceKind = Literal["bundled", "git", "zip", "folder", "unknown"]
"""`unknown`: put there by hand."""
State = Literal["active", "disabled", "failed", "waiting"]
"""`waiting`: the change counts from the next start on."""

Address = Annotated[str, Field(min_length=1, max_length=MAX_ADDRESS)]


class Source(Data):
    """Where an extension came from. `ref`: the branch, tag or commit that was asked for; `commit` what that was.

    For a zip `commit` is the SHA-256 of the file.
    """

    kind: SourceKind = "unknown"
    address: str = ""
    ref: str = ""
    commit: str = ""


class Addition(Data):
    """What an extension adds, such as the scripts of these names."""

    kind: str
    names: tuple[str, ...]


class Verdict(Data):
    """What came of trying an extension in a process of its own. `stamp` tells which content it was.

    `seconds` is the time its import and `register` took; `log` what it printed.
    """

    stamp: str
    problem: str = ""
    log: str = ""
    additions: tuple[Addition, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    has_started: bool = False  # in the server too, not only in the trial


class ExtensionView(Data):
    """An installed extension. `folder` is its folder's name, `name` the one programs know it by."""

    folder: str
    name: str
    title: str
    version: str = ""
    description: str = ""
    author: str = ""
    homepage: str = ""
    source: Source = Source()
    is_bundled: bool = False
    is_enabled: bool = True
    state: State = "active"
    problem: str = ""
    log: str = ""
    notes: tuple[str, ...] = ()
    additions: tuple[Addition, ...] = ()
    permissions: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    seconds: float = 0.0
    can_roll_back: bool = False


class SavedExtension(Data):
    source: Source
    is_enabled: bool


class SavedState(Data):
    """Which extensions there were, with their sources, and which of them were on. `made` is in seconds since 1970."""

    name: str
    made: float
    extensions: Mapping[str, SavedExtension]


class FromGit(Data):
    """`ref`: a branch, a tag or a commit; empty: the repository's own choice."""

    kind: Literal["git"] = "git"
    address: Address
    ref: Annotated[str, Field(max_length=200)] = ""
    name: Annotated[str, Field(max_length=100)] = ""


class FromZip(Data):
    """`address`: an https address or the path of a file on the server's machine."""

    kind: Literal["zip"] = "zip"
    address: Address
    name: Annotated[str, Field(max_length=100)] = ""


class FromFolder(Data):
    kind: Literal["folder"] = "folder"
    address: Address
    name: Annotated[str, Field(max_length=100)] = ""


AskedInstall = Annotated[FromGit | FromZip | FromFolder, Field(discriminator="kind")]


class Inspection(Data):
    """What was fetched and waits for a yes. Nothing of it has run. `size` in bytes.

    `replaces`: the source of the installed extension of this folder; `changed`: what differs from it.
    """

    id: str
    folder: str
    title: str
    version: str = ""
    description: str = ""
    author: str = ""
    source: Source
    files: tuple[str, ...] = ()
    file_count: int = 0
    size: int = 0
    permissions: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    replaces: Source | None = None
    changed: tuple[str, ...] = ()


class IndexEntry(Data):
    """An extension as an index lists it."""

    name: str
    address: str
    description: str = ""
    added: str = ""
    tags: tuple[str, ...] = ()
    is_installed: bool = False


class ExtensionList(Data):
    """All extensions and what the user should know. `refusal`: why nothing can be installed; empty if it can.

    `needs_restart`: something was changed since the start; `can_restart`: the program can do that itself.
    """

    extensions: tuple[ExtensionView, ...]
    waiting: tuple[Inspection, ...] = ()
    saved: tuple[SavedState, ...] = ()
    problems: tuple[str, ...] = ()
    refusal: str = ""
    needs_restart: bool = False
    can_restart: bool = False
    loads: Literal["all", "bundled", "none"] = "all"
