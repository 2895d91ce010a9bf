"""Bundled extensions get by with what strangers get, and the documents say what there is."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from tests.extensions.parts import EXTENSIONS, make_tools
from webui.domain.passes import ScriptCall
from webui.domain.request import GenerationRequest
from webui.extending import api
from webui.extending.loader import Extensions, load_extensions
from webui.extending.scripts import Expansion, NameKind, Script, Tools, expand_request, options_schema
from webui.ui.texts import Texts

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "extensions").rglob("*.py"))
GUIDE = (ROOT / "docs" / "extensions.md").read_text("utf-8")
README = (ROOT / "extensions" / "README.md").read_text("utf-8")
OPEN = ("webui.extending.api", "webui.extending.computing")

CALLBACKS = """
on_app_started on_before_reload on_model_loaded on_ui_tabs on_ui_train_tabs on_ui_settings on_before_image_saved
on_image_saved on_extra_noise on_cfg_denoiser on_cfg_denoised on_cfg_after_cfg on_before_component on_after_component
on_image_grid on_infotext_pasted on_script_unloaded on_before_ui on_list_optimizers on_list_unets
on_before_token_counter
"""
METHODS = """
title ui show run setup before_process process before_process_batch after_extra_networks_activate
process_before_every_sampling process_batch postprocess_batch postprocess_batch_list on_mask_blend post_sample
postprocess_image postprocess_maskoverlay postprocess_image_after_composite postprocess before_component after_component
on_before_component on_after_component describe before_hr
"""
"""A1111 1.10's."""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_extensions_import_the_public_api_alone(path: Path) -> None:
    foreign = [
        name
        for name in imported(path)
        if name.partition(".")[0] in ("webui", "tests", "tools", "launch", "gradio", "fastapi", "extensions")
        and not name.startswith((*OPEN, f"extensions.{path.relative_to(ROOT).parts[1]}"))
    ]
    assert foreign == []
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_registering_them_imports_nothing_heavy() -> None:
    """The server registers every extension as well, and has no torch."""
    code = (
        "import sys; from pathlib import Path; from webui.extending.loader import Extensions, load_extensions\n"
        f"found = load_extensions(Path({str(ROOT / 'extensions')!r}))\n"
        "assert not found.problems, found.problems\n"
        "assert found.apis\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'cv2', 'peft'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_the_public_api_says_what_it_has() -> None:
    module = importlib.import_module("webui.extending.api")
    assert all(hasattr(module, name) for name in api.__all__)
    inner = {"annotations", "AbstractContextManager", "Callable", "Path", "TYPE_CHECKING"}
    public = {name for name in vars(module) if not name.startswith(("_", "Any", "Change"))} - {*inner, "Hear"}
    assert set(api.__all__) == public


def test_every_script_and_its_arguments_are_in_the_readme() -> None:
    rows = {line.split("|")[1].strip(): line for line in README.splitlines() if line.startswith("| ")}
    for script in EXTENSIONS.scripts:
        arguments = re.findall(r"`(\w+)`", rows[script.name])
        assert arguments == list(script.options.model_fields), script.name


@pytest.mark.parametrize(("kind", "heading"), [(Script, "Script"), (Tools, "Script"), (Expansion, "Expansion")])
def test_every_field_is_in_the_guide(kind: type, heading: str) -> None:
    names = kind.model_fields if issubclass(kind, Expansion) else [each.name for each in fields(kind)]
    section = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))
    assert set(names) <= rows


def test_every_kind_of_names_is_in_the_guide() -> None:
    assert all(f'"{kind}"' in GUIDE for kind in NameKind.__args__)


def load_from_guide(tmp_path: Path, name: str, code: str) -> Extensions:
    folder = tmp_path / "guide_extensions"
    (folder / name).mkdir(parents=True)
    (folder / name / "extension.py").write_text(code)
    before = list(sys.path)
    try:
        return load_extensions(folder)
    finally:
        sys.path[:] = before


def code_of_guide(word: str) -> str:
    (code,) = (each for each in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if word in each)
    return code


def test_the_first_script_of_the_guide_works(tmp_path: Path) -> None:
    code = code_of_guide("climb")
    (script,) = load_from_guide(tmp_path, "step_ladder", code).scripts
    request = GenerationRequest(script=ScriptCall(name=script.name, options={"most": 40}))
    expansion = expand_request(request, script, make_tools())
    assert [each.steps for each in expansion.requests] == [10, 20, 30, 40]
    assert expansion.sheets[0].column_titles == ("10 steps", "20 steps", "30 steps", "40 steps")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize(("name", "word"), [("warmth", "warm("), ("fading", "fade(")])
def test_the_extensions_of_the_guide_load(tmp_path: Path, name: str, word: str) -> None:
    found = load_from_guide(tmp_path, name, code_of_guide(word))
    (api,) = found.apis
    assert api.panel and not found.problems and (api.image_changes or api.guidance_wraps)


def test_every_method_is_in_the_guide() -> None:
    methods = {name for name, value in vars(api.ExtensionApi).items() if callable(value) and not name.startswith("_")}
    assert {name for name in methods if f"| `{name}(" not in GUIDE} == set()


def test_every_callback_of_a1111_is_in_the_table() -> None:
    table = (ROOT / "docs" / "extensions-from-a1111.md").read_text("utf-8")
    assert {name for name in (*CALLBACKS.split(), *METHODS.split()) if f"`{name}`" not in table} == set()


def test_what_the_panels_say_is_in_every_locale() -> None:
    known = Texts.load().translations["en"].keys()
    said = {script.description for script in EXTENSIONS.scripts}
    for script in EXTENSIONS.scripts:
        for field in options_schema(script.options, lambda kind: ())["properties"].values():
            if not field.get("hidden"):
                said |= {field[key] for key in ("title", "description") if key in field}
    assert said - known == set()
