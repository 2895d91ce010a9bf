from __future__ import annotations

import hashlib
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_models import write_json
from webui.domain.cards import CardChange
from webui.domain.models import Family, ModelDefaults, ModelInfo
from webui.errors import BadFile, NotFound
from webui.weights.catalog.catalog import Catalog, Sort
from webui.weights.catalog.files import CHECKPOINTS
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.model_facts import ModelFacts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "Stable-diffusion"
    path.mkdir()
    return path


def link(source: Path, target: Path) -> Path:
    """Put a model into the catalog's folder without copying its weights."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=os.link)
    else:
        os.link(source, target)
    return target


def make(tmp_path: Path, *roots: Path, sort: Sort = CHECKPOINTS) -> Catalog:
    return Catalog(roots, ModelIndex(tmp_path / "state" / "models.db"), sort)


def names(catalog: Catalog) -> list[str]:
    return [model.name for model in catalog.models()]


def test_finds_files_and_folders_in_natural_order(
    root: Path, tmp_path: Path, tiny_file: Path, tiny_folder: Path
) -> None:
    for name in ("model 10.safetensors", "model 2.safetensors", "Alpha.safetensors", "sub/beta.safetensors"):
        link(tiny_file, root / name)
    link(tiny_folder, root / "sub" / "pocket")
    for ignored in ("note.txt", "x.vae.safetensors", ".hidden.safetensors", "x.yaml"):
        (root / ignored).write_bytes(b"")
    catalog = make(tmp_path, root)
    assert names(catalog) == ["Alpha", "model 2", "model 10", "sub/beta", "sub/pocket"]
    folder, file = catalog.find("sub/pocket"), catalog.find("Alpha")
    assert (folder.layout, file.layout) == ("diffusers", "original")
    assert folder.family is file.family is Family.SD1
    assert file.size == tiny_file.stat().st_size
    assert folder.size == sum(path.stat().st_size for path in tiny_folder.rglob("*.safetensors"))


def test_broken_models_are_listed_with_their_reason(root: Path, tmp_path: Path) -> None:
    (root / "page.safetensors").write_bytes(b"<html>")
    (root / "old.ckpt").write_bytes(b"PK\x03\x04")
    (root / "half").mkdir()
    write_json(root / "half" / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    problems = {model.name: model.problem for model in make(tmp_path, root).models()}
    assert "HTML" in (problems["page"] or "")
    assert "truncated" in (problems["old"] or "")
    assert "missing" in (problems["half"] or "")
    assert not any((problem or "").startswith(name) for name, problem in problems.items())
    with pytest.raises(BadFile, match=r"page.safetensors: .*HTML"):
        make(tmp_path, root).find("page")


def test_loops_of_links_end(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "sub" / "a.safetensors")
    (root / "sub" / "again").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    assert names(make(tmp_path, root)) == ["sub/a"]


def test_missing_folders_are_fine(tmp_path: Path) -> None:
    assert make(tmp_path, tmp_path / "nowhere").models() == ()


def test_names_are_unique(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    other = tmp_path / "more"
    link(tiny_file, root / "a.safetensors")
    (root / "a.ckpt").write_bytes(b"PK\x03\x04")
    link(tiny_file, other / "A.safetensors")
    link(tiny_file, other / "b.safetensors")
    assert sorted(names(make(tmp_path, root, other))) == ["A.safetensors", "a", "a.ckpt", "b"]


def test_a_folder_given_twice_lists_its_models_once(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "a.safetensors")
    assert names(make(tmp_path, root, root)) == ["a"]


def test_a_model_folder_may_be_the_root(tmp_path: Path, tiny_folder: Path) -> None:
    assert names(make(tmp_path, tiny_folder)) == ["tiny"]


@pytest.fixture
def two(root: Path, tmp_path: Path, tiny_file: Path, tiny_folder: Path) -> tuple[Catalog, ModelInfo, ModelInfo]:
    link(tiny_file, root / "Anime.v1.safetensors")
    link(tiny_folder, root / "sub" / "pocket")
    catalog = make(tmp_path, root)
    return catalog, catalog.hashed(catalog.find("Anime.v1")), catalog.find("sub/pocket")


def test_every_way_to_name_a_model(two: tuple[Catalog, ModelInfo, ModelInfo]) -> None:
    catalog, file, folder = two
    assert file.sha256 is not None
    for name in (
        "Anime.v1", "anime.V1", "Anime.v1.safetensors", file.title, f"Anime.v1 [{file.short_hash}]", file.short_hash,
        file.sha256, file.sha256.upper(), f"renamed.safetensors [{file.short_hash}]", f"  {file.title}  ",
        str(file.path),
    ):  # fmt: skip
        assert catalog.find(str(name)).path == file.path, name
    for name in ("sub/pocket", "pocket", "POCKET", "pocket [0123456789]"):  # never hashed: any hash may be right
        assert catalog.find(name).path == folder.path, name


@pytest.mark.parametrize("name", ["", "anim", "nothing", "Anime.v1.ckpt", "../Anime.v1", "[", "[]", "x [00]"])
def test_unknown_names_list_the_near_ones(two: tuple[Catalog, ModelInfo, ModelInfo], name: str) -> None:
    with pytest.raises(NotFound) as caught:
        two[0].find(name)
    assert "Anime.v1" in caught.value.hint
    assert caught.value.field == "model"


def test_a_title_with_another_hash_is_another_model(two: tuple[Catalog, ModelInfo, ModelInfo]) -> None:
    with pytest.raises(NotFound):
        two[0].find("Anime.v1.safetensors [0123456789]")


def test_ambiguous_short_names_are_refused(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "a" / "x.safetensors")
    link(tiny_file, root / "b" / "x.safetensors")
    with pytest.raises(NotFound, match="a/x, b/x"):
        make(tmp_path, root).find("x")


def test_hashes_of_file_and_folder(
    two: tuple[Catalog, ModelInfo, ModelInfo], root: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    catalog, file, folder = two
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert file.title == f"Anime.v1.safetensors [{file.sha256[:10]}]"
    lines = sorted(
        f"{path.relative_to(tiny_folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in tiny_folder.rglob("*.safetensors")
    )
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert catalog.hashed(folder).sha256 == expected
    assert catalog.find("pocket").sha256 == expected, "the list knows it too"
    assert make(tmp_path, root).find("pocket").sha256 == expected, "and so does a new one, from the cache"


def test_refresh_sees_what_changed_and_reads_nothing_else(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    read: list[str] = []

    def identify(path: Path) -> ModelFacts:
        read.append(path.name)
        return CHECKPOINTS.identify(path)

    link(tiny_file, root / "a.safetensors")
    catalog = make(tmp_path, root, sort=replace(CHECKPOINTS, identify=identify))
    read.clear()
    link(tiny_file, root / "b.safetensors")
    catalog.refresh()
    assert (names(catalog), read) == (["a", "b"], ["b.safetensors"])
    (root / "a.safetensors").unlink()
    (root / "a.safetensors").write_bytes(b"<html>")
    (root / "b.safetensors").unlink()
    catalog.refresh()
    assert names(catalog) == ["a"]
    assert catalog.models()[0].problem is not None


def test_card_of_a_folder_and_of_a_file(root: Path, tmp_path: Path, tiny_file: Path, tiny_folder: Path) -> None:
    card = {
        "title": "Pocket", "description": "Small.", "examples": ["a red circle"], "unknown": 1,
        "defaults": {"width": 128, "height": 128, "steps": 12, "guidance": 4.0, "sampler": "DPM++ 2M"},
    }  # fmt: skip
    write_json(link(tiny_folder, root / "pocket") / "easel.json", card)
    link(tiny_file, root / "file.safetensors")
    write_json(root / "file.easel.json", {"title": "File"})
    catalog = make(tmp_path, root)
    pocket = catalog.find("pocket")
    assert (pocket.description, pocket.examples) == ("Small.", ("a red circle",))
    assert pocket.defaults == ModelDefaults(width=128, height=128, steps=12, guidance=4.0, sampler="DPM++ 2M")
    assert catalog.find("file").description == "File"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"defaults": {"steps": "many"}}', '{"examples": 1}', " " * 2**21])
def test_a_damaged_card_does_not_hide_the_model(content: str, root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "a.safetensors")
    (root / "a.easel.json").write_text(content)
    model = make(tmp_path, root).find("a")
    assert model.defaults == ModelDefaults()
    assert "damaged" in model.description


def test_what_users_put_into_folders_is_listed_or_passed_over(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "good.safetensors")
    (root / "empty.safetensors").touch()
    (root / "folder.safetensors").mkdir()
    link(tiny_file, root / "folder.safetensors" / "inside.safetensors")
    (root / "nowhere.safetensors").symlink_to(tmp_path / "missing")
    os.mkfifo(root / "pipe.safetensors")
    (root / "a\nb\u202e.safetensors").write_bytes(b"<html>")
    problems = {model.name: model.problem for model in make(tmp_path, root).models()}
    assert problems.keys() == {"good", "empty", "folder.safetensors/inside", "pipe", "a\nb\u202e"}
    assert problems["good"] is problems["folder.safetensors/inside"] is None
    assert "empty" in (problems["empty"] or "") and "not a regular file" in (problems["pipe"] or "")


def test_names_that_are_no_text_are_logged(
    root: Path, tmp_path: Path, tiny_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link(tiny_file, root / "good.safetensors")
    try:
        os.link(tiny_file, os.fsencode(root) + b"/caf\xe9.safetensors")
    except OSError:
        pytest.skip("this file system has no such names")
    with caplog.at_level(logging.WARNING):
        assert names(make(tmp_path, root)) == ["good"]
    assert "not valid UTF-8" in caplog.text


def test_a_folder_that_cannot_be_read_hides_nothing_else(
    root: Path, tmp_path: Path, tiny_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    link(tiny_file, root / "good.safetensors")
    link(tiny_file, root / "locked" / "secret.safetensors")
    scandir = os.scandir

    def refuse(folder: str) -> object:  # a folder without rights refuses everybody but root, who may run this
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with caplog.at_level(logging.WARNING):
        assert names(make(tmp_path, root)) == ["good"]
    assert "locked' cannot be read: Permission denied" in caplog.text


def test_a_file_replaced_since_the_list_was_made_is_read_again(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "a.safetensors")
    catalog = make(tmp_path, root)
    (root / "a.safetensors").unlink()
    (root / "a.safetensors").write_bytes(b"<html>")
    with pytest.raises(BadFile, match="HTML"):
        catalog.find("a")
    (root / "a.safetensors").unlink()
    with pytest.raises(NotFound):
        catalog.find(catalog.look_up("a").name)


def test_an_identifier_that_fails_takes_no_other_model_away(
    root: Path, tmp_path: Path, tiny_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link(tiny_file, root / "a.safetensors")
    link(tiny_file, root / "b.safetensors")

    def identify(path: Path) -> ModelFacts:
        if path.stem == "a":
            raise ZeroDivisionError
        return CHECKPOINTS.identify(path)

    catalog = make(tmp_path, root, sort=replace(CHECKPOINTS, identify=identify))
    assert [model.problem for model in catalog.models()] == ["it could not be understood (ZeroDivisionError).", None]
    assert "could not be identified" in caplog.text


def test_what_the_index_knows_is_not_read_again(root: Path, tmp_path: Path, tiny_file: Path, tiny_folder: Path) -> None:
    def refuse(path: Path) -> ModelFacts:
        raise AssertionError("read again")

    link(tiny_file, root / "a.safetensors")
    link(tiny_folder, root / "pocket")
    (root / "page.safetensors").write_bytes(b"<html>")
    first = make(tmp_path, root)
    first.hashed(first.find("a"))
    again = make(tmp_path, root, sort=replace(CHECKPOINTS, identify=refuse))
    assert again.models() == first.models()


def test_a1111s_old_hashes_are_understood(root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "a.safetensors")
    catalog = make(tmp_path, root)
    old = catalog.models()[0].old_hash
    assert old is not None and len(old) == 8
    assert catalog.find(old).name == catalog.find(f"renamed.ckpt [{old}]").name == "a"


@pytest.mark.parametrize("name", ["a.json", "a.easel.json"])
def test_texts_that_are_none_do_no_harm(name: str, root: Path, tmp_path: Path, tiny_file: Path) -> None:
    link(tiny_file, root / "a.safetensors")
    (root / name).write_text('{"description": "half a \\ud83d sign", "activation text": "\\udc00"}')
    (model,) = make(tmp_path, root).models()
    assert model.description.encode()


def test_a_hash_that_was_long_in_coming_keeps_what_changed_meanwhile(
    root: Path, tmp_path: Path, tiny_file: Path
) -> None:
    link(tiny_file, root / "a.safetensors")
    catalog = make(tmp_path, root)
    before = catalog.find("a")
    catalog.change_card(before, CardChange(description="new"))
    catalog.hashed(before)
    assert (catalog.find("a").description, catalog.find("a").sha256 is None) == ("new", False)
