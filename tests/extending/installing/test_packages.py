"""Packages of extensions go beside those of the program, never in their place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.extending.sources import make_wheel
from tests.extending.strangers import put
from webui.errors import BadRequest
from webui.extending.installing.packages import FACTS, Packages, overlay_problem, read_requirements


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for the package index."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "easel_test_thing", "1.0", "VALUE = 1", requires="easel_test_part>=1")
    make_wheel(folder, "easel_test_part", "1.0")
    make_wheel(folder, "easel_test_part", "2.0")
    make_wheel(folder, "torch", "1.0")
    make_wheel(folder, "numpy", "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def needs(tmp_path: Path, text: str) -> Path:
    return put(tmp_path, "thing", requirements__txt=text)


def test_what_is_missing_is_installed_and_what_is_there_is_not(wheels: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlays" / "thing"
    folder = needs(tmp_path, "# comment\neasel-test-thing  # another\nnumpy>=1\npydantic\n")
    assert Packages().install(folder, overlay) == ("easel-test-thing==1.0", "easel-test-part==2.0")
    assert sorted(path.name for path in overlay.glob("*.py")) == ["easel_test_part.py", "easel_test_thing.py"]
    assert overlay_problem(overlay) == ""
    assert [path.name for path in overlay.parent.iterdir()] == ["thing"]  # nothing unfinished is left
    facts = json.loads((overlay / FACTS).read_text())
    (overlay / FACTS).write_text(json.dumps({**facts, "python": "3.9"}))
    assert "Python 3.9" in overlay_problem(overlay)
    (folder / "requirements.txt").write_text("numpy\n")
    assert Packages().install(folder, overlay) == ()
    assert not overlay.exists()


@pytest.mark.parametrize("line", ["torch==1.0", "easel-test-thing\nnumpy<2"])
def test_a_downgrade_is_refused_with_pips_reason(wheels: Path, tmp_path: Path, line: str) -> None:
    overlay = tmp_path / "overlays" / "thing"
    with pytest.raises(BadRequest, match=r"pip says: .*(torch|numpy)"):
        Packages().install(needs(tmp_path, line), overlay)
    assert not overlay.exists() and list(overlay.parent.glob("*")) == []


def test_extensions_agree_on_their_packages(wheels: Path, tmp_path: Path) -> None:
    first = tmp_path / "overlays" / "first"
    Packages().install(needs(tmp_path, "easel-test-part==1.0"), first)
    second = put(tmp_path, "second", requirements__txt="easel-test-thing")
    assert "easel-test-part==1.0" in Packages().install(second, tmp_path / "overlays" / "second", [first])
    third = put(tmp_path, "third", requirements__txt="easel-test-part>=2")
    with pytest.raises(BadRequest, match="easel-test-part"):
        Packages().install(third, tmp_path / "overlays" / "third", [first])


@pytest.mark.parametrize(
    "line",
    [
        "-e .", "--index-url https://evil.example/simple", "-r other.txt", "./setup.py", "git+https://h/x",
        "thing @ https://evil.example/thing.whl", "thing @ file:///etc/x", "--no-binary :all:", "https://h/x.whl",
    ],
)  # fmt: skip
def test_requirements_are_names_and_versions_alone(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadRequest, match=r"requirements\.txt"):
        read_requirements(needs(tmp_path, f"numpy\n{line}\n"))


def test_a_source_package_is_never_built(wheels: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    ran = tmp_path / "ran"
    with tarfile.open(wheels / "easel_test_built-1.0.tar.gz", "w:gz") as archive:
        code = f"open({str(ran)!r}, 'w')".encode()
        for name, content in (("setup.py", code), ("PKG-INFO", b"Name: easel_test_built\nVersion: 1.0\n")):
            entry = tarfile.TarInfo(f"easel_test_built-1.0/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(BadRequest, match="pip says"):
        Packages().install(needs(tmp_path, "easel-test-built"), tmp_path / "overlays" / "thing")
    assert not ran.exists()


def test_the_programs_packages_win_over_an_overlays(tmp_path: Path) -> None:
    import subprocess

    overlay = tmp_path / "overlay"
    overlay.mkdir()
    for name in ("numpy", "json", "webui"):
        (overlay / f"{name}.py").write_text("raise ValueError('hidden')")
    (overlay / "easel_test_only.py").write_text("VALUE = 1")
    folder = put(tmp_path, "thing", "import json, numpy, webui.config, easel_test_only\ndef register(api): pass")
    command = [sys.executable, "-m", "webui.extending.probe", str(folder), "--overlay", str(overlay)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "problem" not in json.loads(answer.stdout), answer.stdout
