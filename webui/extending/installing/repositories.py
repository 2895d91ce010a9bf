"""Fetches a git repository as plain files: no hooks, no filters, no submodules, no links, and https alone."""

from __future__ import annotations

import configparser
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from webui.domain.extensions import Source
from webui.errors import BadRequest
from webui.extending.installing.addresses import HTTPS, check_address, check_ref
from webui.extending.installing.limits import Limits, check_path
from webui.extending.installing.processes import environment, run

LINK, SUBMODULE = "120000", "160000"  # git's modes

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Repositories:
    """What fetches. `schemes` are those of addresses; anything but https is for tests."""

    limits: Limits = field(default_factory=Limits)
    schemes: tuple[str, ...] = HTTPS

    def fetch(self, address: str, ref: str, target: Path) -> tuple[Source, tuple[str, ...]]:
        """Put the files of a repository at `ref` (a branch, tag or commit; empty: its own choice) into the new folder
        `target`; return where they came from, and notes.

        Raises `BadRequest` with what git said.
        """
        address, ref = check_address(address, self.schemes), check_ref(ref)
        target.mkdir(parents=True)
        self._git(target, "init", "--quiet", "--template=")
        self._fetch(target, address, ref)
        commit = self._git(target, "rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        notes = self._check(target, commit)
        self._git(target, "checkout", "--quiet", "--detach", "--force", commit, "--")
        _delete(target / ".git")
        return Source(kind="git", address=address, ref=ref, commit=commit), notes

    def newest(self, address: str, ref: str, folder: Path) -> str:
        """Return the commit that `ref` means now; that of a pinned commit is itself."""
        address, ref = check_address(address, self.schemes), check_ref(ref)
        if _COMMIT.fullmatch(ref):
            return ref
        wanted = [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"] if ref else ["HEAD"]
        lines = self._git(folder, "ls-remote", "--exit-code", "--", address, *wanted).splitlines()
        found = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
        return next((found[name] for name in wanted if name in found), "")

    def _fetch(self, target: Path, address: str, ref: str) -> None:
        shallow = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-commit-graph"]
        try:
            self._git(target, *shallow, "--depth=1", "--", address, ref or "HEAD")
        except BadRequest as error:
            if _COMMIT.fullmatch(ref):  # a server that gives out no single commits: all branches, then
                self._git(target, *shallow, "--", address, "+refs/heads/*:refs/remotes/origin/*")
                self._git(target, "update-ref", "FETCH_HEAD", ref)
            elif "shallow" in error.message:  # one that knows plain files only
                self._git(target, *shallow, "--", address, ref or "HEAD")
            else:
                raise

    def _check(self, target: Path, commit: str) -> tuple[str, ...]:
        """Look at the names and modes of a commit before any of it becomes a file; return notes."""
        listing = self._git(target, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        count = size = 0
        submodules = []
        for line in filter(None, listing.split("\0")):
            facts, _, path = line.partition("\t")
            mode, _, _, length = facts.split()
            if mode == LINK:
                raise BadRequest(f"{path} is a link.", hint="An extension may hold files and folders only.")
            check_path(path)
            if mode == SUBMODULE:
                submodules.append(path)
                continue
            count, size = count + 1, size + int(length)
        self.limits.check(count, size)
        if not submodules:
            return ()
        return (f"It wants other repositories as {', '.join(submodules)}; these are not fetched.",)

    def _git(self, folder: Path, *arguments: str) -> str:
        safe = {
            "core.hooksPath": os.devnull,
            "core.fsmonitor": "false",
            "core.symlinks": "false",
            "core.protectNTFS": "true",
            "core.protectHFS": "true",
            "fetch.fsckObjects": "true",
            "transfer.fsckObjects": "true",
            "submodule.recurse": "false",
            "credential.helper": "",
            "protocol.allow": "never",
            **{f"protocol.{scheme}.allow": "always" for scheme in self.schemes},
        }
        settings = [word for name, value in safe.items() for word in ("-c", f"{name}={value}")]
        env = environment(
            GIT_TERMINAL_PROMPT="0",
            GIT_ASKPASS="",
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CONFIG_GLOBAL=os.devnull,  # no filters, aliases or rewritten addresses of the user's
            GIT_CEILING_DIRECTORIES=str(folder.parent),
            GIT_LFS_SKIP_SMUDGE="1",
        )
        code, answer, said = run(
            ["git", *settings, *arguments], folder, env, self.limits.seconds, self.limits.download * 2, folder
        )
        if code:
            reason = said.removeprefix("fatal: ") or f"git ended with {code}"
            raise BadRequest(f"git could not fetch it: {reason}", hint="Check the address and the branch.")
        return answer


def _delete(folder: Path) -> None:
    """Remove a folder with what git has made read-only in it, which Windows would keep."""
    for path in folder.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(folder)


def read_checkout(folder: Path) -> Source:
    """Return where a folder that somebody cloned by hand came from, as far as its files tell; git is not run."""
    try:
        head = (folder / ".git" / "HEAD").read_text("utf-8").strip()
        ref = head.removeprefix("ref: refs/heads/") if head.startswith("ref: ") else ""
        commit = _read_ref(folder / ".git", head)
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string((folder / ".git" / "config").read_text("utf-8").replace("\t", ""))
        address = check_address(parser.get('remote "origin"', "url", fallback=""))
        return Source(kind="git", address=address, ref=check_ref(ref), commit=commit)
    except (OSError, UnicodeDecodeError, configparser.Error, BadRequest):
        return Source()


def _read_ref(git: Path, head: str) -> str:
    if not head.startswith("ref: "):
        return head if _COMMIT.fullmatch(head) else ""
    name = check_ref(head.removeprefix("ref: "))
    if (git / name).is_file():
        commit = (git / name).read_text("utf-8").strip()
        return commit if _COMMIT.fullmatch(commit) else ""
    if (git / "packed-refs").is_file():
        for line in (git / "packed-refs").read_text("utf-8").splitlines():
            commit, _, packed = line.partition(" ")
            if packed == name and _COMMIT.fullmatch(commit):
                return commit
    return ""
