"""Extensions are loaded one by one; a broken one is named and left out, and the others work."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extending.strangers import SCRIPT, clean_modules, put
from webui.extending.loader import load_extensions, load_places

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with clean_modules():
        yield tmp_path


def script(name: str) -> str:
    return SCRIPT.format(name=name, imports="")


def test_extensions_register_in_the_order_of_their_names(folder: Path) -> None:
    put(folder, "b")
    put(folder, "a", script("a") + "\nfrom extensions.a import beside\nfrom .beside import NAME\n", beside__py="NAME=1")
    (folder / "notes").mkdir()
    loaded = load_extensions(folder)
    assert loaded.problems == ()
    assert [script.name for script in loaded.scripts] == ["a", "b"]
    assert [(each.name, each.folder) for each in loaded.active] == [("a", folder / "a"), ("b", folder / "b")]
    assert [api.name for api in load_places(loaded.places).apis] == ["a", "b"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def register(api)", "SyntaxError"),
        ("import no_such_package_anywhere", "no_such_package_anywhere"),
        ("import sys\nsys.exit(3)", "SystemExit"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "odd"),
        ("", "register"),
        (script("halfway") + "    raise RuntimeError('halfway')", "halfway"),
        ("def register(api):\n    api.add_nonsense()", "add_nonsense"),
    ],
)
def test_a_broken_extension_is_named_and_the_others_go_on(
    folder: Path, caplog: pytest.LogCaptureFixture, code: str, reason: str
) -> None:
    put(folder, "a")
    put(folder, "broken", code)
    put(folder, "c")
    with caplog.at_level(logging.WARNING):
        loaded = load_extensions(folder)
    assert [script.name for script in loaded.scripts] == ["a", "c"]
    (problem,) = loaded.problems
    assert "broken" in problem and reason in problem
    assert "broken" in caplog.text
    assert reason in loaded.failures[0].log


@pytest.mark.parametrize(
    "code",
    [
        "    api.add_script(Script('Same', Options, lambda request, options, tools: None))",
        "    api.claim_tags('SAME')",
        "    api.add_options(Panel('Same', Options))",
        "    api.add_route(Route('GET', '/same/x', lambda call: {}))",
    ],
)
def test_two_things_of_one_name_are_not_both_offered(folder: Path, code: str) -> None:
    start = "from webui.extending.api import *\nclass Options(Data):\n    pass\ndef register(api):\n"
    put(folder, "a", start + code)
    put(folder, "b", start + code.replace("Same", "sAME"))
    loaded = load_extensions(folder)
    assert [each.name for each in loaded.active] == ["a"]
    assert "already" in loaded.problems[0] and "same" in loaded.problems[0].lower()


@pytest.mark.parametrize(
    ("name", "known"), [("not-a-name", "not_a_name"), ("v1.2 (new)", "v1_2__new_"), ("7up", "_7up")]
)
def test_a_folder_of_any_name_is_loaded_under_one_that_python_takes(folder: Path, name: str, known: str) -> None:
    put(folder, name, script(name) + f"from extensions.{known}.beside import NAME", beside__py="NAME=1")
    loaded = load_extensions(folder)
    assert loaded.problems == ()
    assert [each.name for each in loaded.active] == [known]


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
