"""Extensions are loaded one by one; a broken one is named and left out, and the others work."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from webui.extending.loader import load_extensions

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
from webui.extending.api import Data, Expansion, Script
from {package}.{name}.beside import NAME

class Options(Data):
    pass

def register(api):
    api.add_script(Script(NAME, Options, lambda request, options, tools: Expansion(requests=(request,))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for extensions with a name of its own: Python keeps modules by name."""
    path = tmp_path / re.sub(r"\W", "_", f"extensions_{tmp_path.name}")
    path.mkdir()
    before = list(sys.path)
    yield path
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == path.name]:
        del sys.modules[name]


def put(folder: Path, name: str, code: str, script: str = "") -> None:
    (folder / name).mkdir()
    (folder / name / "extension.py").write_text(code.format(package=folder.name, name=name))
    (folder / name / "beside.py").write_text(f"NAME = {script or name!r}")


def test_extensions_register_in_the_order_of_their_names(folder: Path) -> None:
    put(folder, "b", GOOD)
    put(folder, "a", GOOD)
    (folder / "notes").mkdir()
    loaded = load_extensions(folder)
    assert [script.name for script in loaded.scripts] == ["a", "b"]
    assert loaded.problems == ()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def register(api)", "SyntaxError"),
        ("import no_such_package_anywhere", "no_such_package_anywhere"),
        ("import sys\nsys.exit(3)", "SystemExit"),
        ("", "register"),
        (GOOD + "    raise RuntimeError('halfway')", "halfway"),
        ("def register(api):\n    api.add_nonsense()", "add_nonsense"),
    ],
)
def test_a_broken_extension_is_named_and_the_others_go_on(
    folder: Path, caplog: pytest.LogCaptureFixture, code: str, reason: str
) -> None:
    put(folder, "a", GOOD)
    put(folder, "broken", code)
    put(folder, "c", GOOD)
    with caplog.at_level(logging.WARNING):
        loaded = load_extensions(folder)
    assert [script.name for script in loaded.scripts] == ["a", "c"]
    (problem,) = loaded.problems
    assert "broken" in problem and reason in problem
    assert "broken" in caplog.text


def test_two_scripts_of_one_name_are_not_both_offered(folder: Path) -> None:
    put(folder, "a", GOOD, script="Same")
    put(folder, "b", GOOD, script="same")
    loaded = load_extensions(folder)
    assert [script.name for script in loaded.scripts] == ["Same"]
    assert "same" in loaded.problems[0]


def test_a_folder_that_cannot_be_a_module_is_a_problem(folder: Path) -> None:
    put(folder, "not-a-name", "def register(api): pass")
    assert "not-a-name" in load_extensions(folder).problems[0]


def test_no_folder_means_no_extensions(tmp_path: Path) -> None:
    assert load_extensions(tmp_path / "none").scripts == ()


def test_the_bundled_extensions_load_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from webui.extending.loader import load_extensions\n"
        "loaded = load_extensions(Path('extensions').resolve())\n"
        "print(loaded.problems, sorted({'torch', 'diffusers', 'transformers', 'gradio'} & set(sys.modules)))\n"
        "print(*[script.name for script in loaded.scripts], sep='|')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    problems, scripts = answer.stdout.splitlines()
    assert problems == "() []"
    assert scripts.split("|") == [
        "Loopback",
        "Poor man's outpainting",
        "Outpainting mk2",
        "Prompt matrix",
        "Prompts from file or textbox",
        "SD upscale",
        "X/Y/Z plot",
    ]
