"""Installs the packages an extension needs beside those of the program, never in their place."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from webui.errors import BadRequest
from webui.extending.installing.processes import environment, run
from webui.storage import replace_file, write_new

REQUIREMENTS = "requirements.txt"
FACTS = "easel-overlay.json"  # in an overlay: for which Python it was made, and for what
MAX_BYTES = 256 * 1024
MAX_PACKAGES = 200
MOST = 8 * 1024**3  # bytes of an overlay


def site_packages() -> tuple[str, ...]:
    """Return the folders of the packages the program runs with."""
    paths = sysconfig.get_paths()
    return tuple(dict.fromkeys((paths["purelib"], paths["platlib"])))


@dataclass(frozen=True)
class Packages:
    """What resolves and installs by pip. `own`: folders of the packages that must stay as they are."""

    own: tuple[str, ...] = field(default_factory=site_packages)
    seconds: float = 1800.0

    def install(self, folder: Path, overlay: Path, others: Iterable[Path] = ()) -> tuple[str, ...]:
        """Install what the extension in `folder` needs and the program lacks into `overlay`; return `name==version`.

        Everything the program has, and what `others` (overlays) hold, keeps its version: what cannot do with that is
        refused with pip's reason (`BadRequest`), and nothing is changed. Only wheels are taken: nothing is built, so
        nothing of them is run. With nothing to install there is no overlay.
        """
        own = _versions(self.own)
        wanted = [line for line in read_requirements(folder) if not _is_met(Requirement(line), own)]
        unfinished = overlay.with_name(f".{overlay.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            pins = self._resolve(wanted, unfinished, others) if wanted else ()
            if pins:
                self._install(pins, unfinished / "packages")
                facts = {"python": python_version(), "packages": [pin.partition(" ")[0] for pin in pins]}
                replace_file(unfinished / "packages" / FACTS, json.dumps(facts).encode())
            shutil.rmtree(overlay, ignore_errors=True)
            if pins:
                os.replace(unfinished / "packages", overlay)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return tuple(pin.partition(" ")[0] for pin in pins)

    def _resolve(self, wanted: Sequence[str], folder: Path, others: Iterable[Path]) -> tuple[str, ...]:
        """Return what pip would install as lines with hashes; `folder` is for its files."""
        pinned = {**_versions([str(path) for path in others]), **_versions(self.own)}
        constraints = "\n".join(f"{name}=={version}" for name, version in pinned.items())
        write_new(folder / "constraints.txt", [constraints.encode()])
        write_new(folder / "wanted.txt", ["\n".join(wanted).encode()])
        self._pip(
            folder,
            *("--dry-run", "--report", "report.json", "--constraint", "constraints.txt"),
            *("--requirement", "wanted.txt"),
        )
        own = _versions(self.own)
        pins = []
        for item in json.loads((folder / "report.json").read_bytes())["install"]:
            name, version = canonicalize_name(item["metadata"]["name"]), item["metadata"]["version"]
            if name in own:
                raise BadRequest(f"It wants {name} {version}; the program runs with {own[name]}.")
            pins.append(f"{name}=={version}{_hashes(item)}")
        return tuple(pins)

    def _install(self, pins: Sequence[str], target: Path) -> None:
        folder = target.parent
        write_new(folder / "pins.txt", ["\n".join(pins).encode()])
        checked = ["--require-hashes"] if all(" --hash" in pin for pin in pins) else []
        self._pip(folder, "--no-deps", *checked, "--target", str(target), "--requirement", "pins.txt")

    def _pip(self, folder: Path, *arguments: str) -> None:
        always = ("--only-binary=:all:", "--no-input", "--no-compile", "--no-color", "--disable-pip-version-check")
        command = [sys.executable, "-I", "-m", "pip", "install", *always, *arguments]
        settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        code, answer, said = run(command, folder, environment(**settings), self.seconds, MOST, folder)
        if code:
            reason = _reason(answer, said)
            raise BadRequest(
                f"The packages it needs cannot be installed beside those of the program. pip says: {reason}",
                hint="The program's own packages are never changed for an extension.",
            )


def _reason(answer: str, said: str) -> str:
    """Return what pip says: the lines that name a conflict, if there are any, or else its errors."""
    _, _, conflict = answer.partition("The conflict is caused by:")
    lines = conflict.partition("\n\n")[0].splitlines() or [line.removeprefix("ERROR: ") for line in said.splitlines()]
    shown = [line.strip() for line in lines if line.strip() and not line.startswith(("[notice]", "WARNING:"))]
    return "; ".join(shown)[-1500:].rstrip(".") + "."


def _is_met(wanted: Requirement, versions: Mapping[str, str]) -> bool:
    """Return whether nothing has to be installed for a requirement; pip decides about those with extras."""
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    version = versions.get(canonicalize_name(wanted.name))
    return version is not None and not wanted.extras and wanted.specifier.contains(version, prereleases=True)


def _hashes(item: Mapping[str, Any]) -> str:
    hashes = item.get("download_info", {}).get("archive_info", {}).get("hashes", {})
    return f" --hash=sha256:{hashes['sha256']}" if "sha256" in hashes else ""


def _versions(folders: Sequence[str]) -> dict[str, str]:
    """Return name → version of the packages in these folders."""
    return {
        canonicalize_name(each.metadata["Name"]): each.version
        for each in importlib.metadata.distributions(path=list(folders))
        if "Name" in each.metadata and "Version" in each.metadata
    }


def python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def read_requirements(folder: Path) -> tuple[str, ...]:
    """Return what the extension's requirements.txt asks for, line by line.

    Raises `BadRequest` for everything but names with versions: options, addresses and files could bring in code from
    anywhere.
    """
    path = folder / REQUIREMENTS
    if not path.is_file():
        return ()
    if path.stat().st_size > MAX_BYTES:
        raise BadRequest(f"Its {REQUIREMENTS} is larger than {MAX_BYTES // 1024} KB.")
    return tuple(_lines(path.read_text("utf-8-sig", errors="replace")))


def _lines(text: str) -> Iterator[str]:
    for count, raw in enumerate(text.replace("\\\n", " ").splitlines(), start=1):
        line = raw.partition(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        try:
            wanted = Requirement(line)
        except InvalidRequirement as error:
            raise BadRequest(f"Its {REQUIREMENTS} has a line that is not accepted: {line[:200]!r}.",
                             hint="Names of packages with versions are; options, addresses and files are not."
                             ) from error  # fmt: skip
        if wanted.url:
            raise BadRequest(
                f"Its {REQUIREMENTS} wants a package from an address: {line[:200]!r}.",
                hint="Packages come from the package index alone.",
            )
        if count > MAX_PACKAGES:
            raise BadRequest(f"Its {REQUIREMENTS} asks for more than {MAX_PACKAGES} packages.")
        yield str(wanted)


def overlay_problem(overlay: Path | None) -> str:
    """Return why the packages in an overlay cannot be used; empty when they can, or when there are none."""
    if overlay is None:
        return ""
    try:
        made_for = json.loads((overlay / FACTS).read_bytes())["python"]
    except (OSError, ValueError, KeyError, TypeError):
        return "Its packages were not installed to the end. Install it again."
    if made_for != python_version():
        return f"Its packages were installed for Python {made_for}; this is {python_version()}. Install it again."
    return ""
