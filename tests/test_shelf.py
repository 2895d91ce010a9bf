"""What names stand for, on a real folder: VAEs beside their checkpoint, upscalers by name, the nearest when wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests import tiny_flux
from tests.tiny_models import make_folder, vae_weights
from webui.domain.models import Family, ModelInfo
from webui.errors import BadFile, NotFound
from webui.jobs.inputs import InputStore
from webui.prompt.styles import Styles
from webui.shelf import Shelf
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.places import ModelFolders


def write_vae(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(vae_weights(), path)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    checkpoints = tmp_path / "Stable-diffusion"
    write_vae(tmp_path / "VAE" / "soft.safetensors")
    write_vae(checkpoints / "anime.vae.safetensors")
    (tmp_path / "VAE" / "old.ckpt").write_bytes(b"PK\x03\x04")
    return Shelf(
        ModelFiles.find(ModelFolders.below(tmp_path), ModelIndex(tmp_path / "models.db")),
        InputStore(tmp_path / "inputs"),
        Styles(tmp_path),
        lambda: (),
        hint="Put a file into Stable-diffusion.",
    )


def checkpoint(tmp_path: Path, name: str) -> ModelInfo:
    return ModelInfo(name=name, path=tmp_path / "Stable-diffusion" / f"{name}.safetensors", family=Family.SD1)


@pytest.mark.parametrize(("others", "first"), [((), "pocket-sd1"), (("photo",), "photo"), (("zebra",), "pocket-sd1")])
def test_without_a_name_the_first_checkpoint_but_the_best_of_the_included(
    shelf: Shelf, tmp_path: Path, others: tuple[str, ...], first: str
) -> None:
    for name in ("pocket-flux", "pocket-sd1", *others):
        make_folder(tmp_path / "Stable-diffusion" / name)
    shelf.refresh()
    assert shelf.find_checkpoint(None).name == first
    assert shelf.find_checkpoint("pocket-flux").name == "pocket-flux"


def test_automatic_is_the_vae_beside_the_checkpoint(shelf: Shelf, tmp_path: Path) -> None:
    beside = shelf.vae("Automatic", checkpoint(tmp_path, "anime"))
    assert beside is not None and beside.filename == "anime.vae.safetensors" and beside.sha256
    assert shelf.vae("Automatic", checkpoint(tmp_path, "photo")) is None
    assert shelf.vae("None", checkpoint(tmp_path, "anime")) is None


@pytest.mark.parametrize("name", ["soft", "soft.safetensors", "SOFT"])
def test_a_vae_by_name(shelf: Shelf, tmp_path: Path, name: str) -> None:
    found = shelf.vae(name, checkpoint(tmp_path, "anime"))
    assert found is not None and found.filename == "soft.safetensors"


def test_a_vae_nobody_has_or_can_use_says_so(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="sotf") as caught:
        shelf.vae("sotf", checkpoint(tmp_path, "anime"))
    assert "soft" in caught.value.hint
    with pytest.raises(BadFile, match="truncated"):
        shelf.vae("old", checkpoint(tmp_path, "anime"))


@pytest.mark.parametrize(
    ("name", "kind"), [("latent (BICUBIC)", "latent"), ("lanczos", "plain"), ("None", "plain"), ("Nearest", "plain")]
)
def test_built_in_upscalers_are_found_in_any_case(shelf: Shelf, name: str, kind: str) -> None:
    assert shelf.upscaler(name).kind == kind


def test_an_upscaler_nobody_has_names_the_nearest(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="Lanzcos") as caught:
        shelf.upscaler("Lanzcos")
    assert "Lanczos" in caught.value.hint


def test_without_a_checkpoint_it_says_where_to_put_one(shelf: Shelf) -> None:
    with pytest.raises(NotFound) as caught:
        shelf.checkpoint(None)
    assert caught.value.hint == "Put a file into Stable-diffusion."


def test_names_are_those_that_can_be_used(shelf: Shelf) -> None:
    assert list(shelf.names("vae")) == ["Automatic", "None", "anime.vae", "soft"]
    assert shelf.names("upscaler")[0] == "Latent"
    assert list(shelf.names("picture_upscaler"))[:3] == ["None", "Lanczos", "Nearest"]
    assert set(shelf.names("picture_upscaler")) < set(shelf.names("upscaler"))


def test_taesd_is_found_below_the_models_folder(shelf: Shelf, tmp_path: Path) -> None:
    assert shelf.taesd("decoder", Family.SD1) is None
    file = tmp_path / "VAE-approx" / "taesd_decoder.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"x")
    assert shelf.taesd("decoder", Family.SD1) == file
    assert shelf.taesd("encoder", Family.SD1) is None
    assert shelf.taesd("decoder", Family.SDXL) is None


@pytest.fixture
def flux(shelf: Shelf, tmp_path: Path) -> ModelInfo:
    """Return a Flux transformer in a file of its own, with all that it lacks beside it."""
    tiny_flux.make_part_files(tmp_path)
    tiny_flux.make_single_file(tmp_path / "Stable-diffusion" / "flux1-dev.safetensors", parts=False)
    shelf.refresh()
    return shelf.checkpoint("flux1-dev")


def test_what_completes_a_checkpoint_has_names_and_hashes(shelf: Shelf, flux: ModelInfo) -> None:
    plan = shelf.parts(flux, ())
    assert [part.name for part in plan.parts] == ["ae", "clip_l", "t5xxl_fp16"]
    assert all(len(part.sha256) == 64 for part in plan.parts) and plan.tokenizer is not None
    assert [model.problem for model in shelf.models() if model.name == "flux1-dev"] == [None]


@pytest.mark.parametrize("name", ["clip_l", "clip_l.safetensors", "/elsewhere/models/text_encoder/clip_l.safetensors",
                                  "C:\\forge\\models\\text_encoder\\clip_l.safetensors"])  # fmt: skip
def test_parts_chosen_by_hand_may_be_named_by_paths_of_others(shelf: Shelf, flux: ModelInfo, name: str) -> None:
    assert shelf.module(name).filename == "clip_l.safetensors"
    assert shelf.parts(flux, (name, "soft")).unused == ("soft",)


def test_parts_nobody_has_say_so(shelf: Shelf, flux: ModelInfo) -> None:
    with pytest.raises(NotFound, match="clip_x") as caught:
        shelf.parts(flux, ("clip_x",))
    assert caught.value.field == "modules" and "clip_l" in caught.value.hint


def test_a_checkpoint_whose_parts_are_nowhere_is_listed_with_that(
    shelf: Shelf, flux: ModelInfo, tmp_path: Path
) -> None:
    (tmp_path / "VAE" / "ae.safetensors").unlink()
    shelf.refresh()
    (listed,) = [model for model in shelf.models() if model.name == "flux1-dev"]
    assert listed.problem == "it has no VAE: put a file such as ae.safetensors into models/VAE."
    assert "flux1-dev" not in shelf.names("checkpoint")
    with pytest.raises(BadFile, match=r"flux1-dev\.safetensors: it has no VAE"):
        shelf.parts(flux, ())
    with pytest.raises(NotFound, match="no usable checkpoint"):
        shelf.find_checkpoint(None)
