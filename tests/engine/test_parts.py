"""Checkpoints whose VAE and text encoders lie in files of their own draw what whole ones do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests import tiny_flux
from tests.engine_parts import difference, latents_of
from tests.gguf_parts import gguf_name, write_gguf
from webui.domain.models import Family
from webui.domain.plan import PartRef, Plan, VaeRef
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady
from webui.engine.models import Models
from webui.errors import BadFile

PlanMaker = Callable[..., Plan]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with whole Flux checkpoints, some without parts, and the parts."""
    home = tmp_path_factory.mktemp("models")
    for kind in ("dev", "schnell"):
        tiny_flux.make_folder(home / kind, kind)
        tiny_flux.make_single_file(home / f"{kind}.safetensors", kind)
        tiny_flux.make_single_file(home / f"{kind}-alone.safetensors", kind, parts=False)
        tiny_flux.make_part_files(home / f"{kind}-parts", kind)
    return home


@pytest.fixture(scope="module")
def plan_flux(make_plan: PlanMaker, home: Path) -> PlanMaker:
    def make(name: str, *, parts: tuple[PartRef, ...] = (), kind: str = "dev", **changes: Any) -> Plan:
        usual = {"guidance": 1.0, "distilled_guidance": 3.5 if kind == "dev" else None}
        plan = make_plan(path=home / name, **{**usual, **changes})
        tokenizer = home / f"{kind}-parts" / "text_encoder" / "t5xxl_fp16.tokenizer.json"
        return plan.replace(model=plan.model.replace(family=Family.FLUX, parts=parts, tokenizer=tokenizer))

    return make


def parts_in(home: Path) -> tuple[PartRef, ...]:
    places = {
        "vae": "VAE/ae.safetensors",
        "text_encoder": "text_encoder/clip_l.safetensors",
        "text_encoder_2": "text_encoder/t5xxl_fp16.safetensors",
    }
    return tuple(
        PartRef(component=component, name=Path(place).stem, path=home / place, sha256=f"{home}{place}".encode().hex())
        for component, place in places.items()
    )


@pytest.mark.parametrize("kind", ["dev", "schnell"])
def test_one_file_draws_what_its_folder_does(models: Models, plan_flux: PlanMaker, kind: str) -> None:
    expected = latents_of(plan_flux(kind, kind=kind), models)
    assert difference(latents_of(plan_flux(f"{kind}.safetensors", kind=kind), models), expected) < 1e-4


@pytest.mark.parametrize("kind", ["dev", "schnell"])
def test_separate_parts_draw_what_a_whole_checkpoint_does(
    engine: Engine, plan_flux: PlanMaker, home: Path, kind: str
) -> None:
    whole, apart = (
        plan_flux(kind, kind=kind),
        plan_flux(f"{kind}-alone.safetensors", kind=kind, parts=parts_in(home / f"{kind}-parts")),
    )
    pictures = [
        item.image for plan in (whole, apart) for item in engine.run(plan, Control()) if isinstance(item, ImageReady)
    ]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_other_parts_are_another_model(models: Models, plan_flux: PlanMaker, home: Path) -> None:
    first = models.get(plan_flux("dev-alone.safetensors", parts=parts_in(home / "dev-parts")).model)
    same = models.get(plan_flux("dev-alone.safetensors", parts=parts_in(home / "dev-parts")).model)
    renamed = tuple(part.replace(sha256="0" * 64) for part in parts_in(home / "dev-parts"))
    other = models.get(plan_flux("dev-alone.safetensors", parts=renamed).model)
    assert first.resident is same.resident and other.resident is not first.resident


def test_parts_replace_those_of_a_whole_checkpoint(
    models: Models, plan_flux: PlanMaker, home: Path, tmp_path: Path
) -> None:
    tiny_flux.make_part_files(tmp_path, seed=9)
    expected = latents_of(plan_flux("dev"), models)
    texts = tuple(part for part in parts_in(tmp_path) if part.component == "text_encoder_2")
    assert difference(latents_of(plan_flux("dev", parts=texts), models), expected) > 1e-3


def test_a_vae_of_16_channels_by_hand(engine: Engine, plan_flux: PlanMaker, home: Path, tmp_path: Path) -> None:
    """With the scale and the shift of the checkpoint: the same weights draw the same picture."""
    tiny_flux.make_part_files(tmp_path, seed=9)

    def draw(plan: Plan) -> bytes:
        (image,) = [item.image for item in engine.run(plan, Control()) if isinstance(item, ImageReady)]
        return image.tobytes()

    def chosen(folder: Path) -> VaeRef:
        return VaeRef(name="ae", path=folder / "VAE" / "ae.safetensors", sha256=folder.name.encode().hex())

    expected = draw(plan_flux("dev"))
    assert draw(plan_flux("dev", vae=chosen(home / "dev-parts"))) == expected
    assert draw(plan_flux("dev", vae=chosen(tmp_path))) != expected


def test_what_is_missing_is_said(models: Models, plan_flux: PlanMaker, home: Path) -> None:
    with pytest.raises(BadFile, match=r"dev-alone\.safetensors has no VAE and no CLIP-L and no T5-XXL"):
        models.get(plan_flux("dev-alone.safetensors").model)
    without = plan_flux("dev.safetensors").model.replace(tokenizer=None, sha256="1" * 64)
    with pytest.raises(BadFile, match="no tokenizer for its text_encoder_2"):
        models.get(without)


def test_parts_that_do_not_fit_are_refused(models: Models, plan_flux: PlanMaker, home: Path) -> None:
    vae, clip, t5 = parts_in(home / "dev-parts")
    swapped = (vae, t5.replace(component=clip.component), clip.replace(component=t5.component))
    with pytest.raises(BadFile, match="do not fit together"):
        models.get(plan_flux("dev-alone.safetensors", parts=swapped).model)
    with pytest.raises(BadFile, match="takes no unet"):
        models.get(plan_flux("dev", parts=(vae.replace(component="unet"),)).model)


def test_quantised_parts_draw_nearly_the_same(models: Models, plan_flux: PlanMaker, home: Path, tmp_path: Path) -> None:
    """A transformer in GGUF, as it is usually given, T5 in llama.cpp's names, and CLIP in 8-bit floats."""
    networks = tiny_flux.make_networks("dev")
    write_gguf(tmp_path / "dev.gguf", tiny_flux.transformer_weights(networks["transformer"]), architecture="flux")
    t5 = {gguf_name(name): tensor for name, tensor in networks["text_encoder_2"].state_dict().items()}
    write_gguf(tmp_path / "t5.gguf", {name: tensor for name, tensor in t5.items() if name}, architecture="t5encoder")
    clip = {f"text_model.{name}": tensor for name, tensor in networks["text_encoder"].state_dict().items()}
    save_file({name: tensor.to(torch.float8_e4m3fn) for name, tensor in clip.items()}, tmp_path / "clip.safetensors")
    vae, first, second = parts_in(home / "dev-parts")
    parts = (vae, first.replace(path=tmp_path / "clip.safetensors"), second.replace(path=tmp_path / "t5.gguf"))
    plan = plan_flux("dev-alone.safetensors", parts=parts)
    quantised = plan.replace(model=plan.model.replace(path=tmp_path / "dev.gguf"))
    found, wanted = latents_of(quantised, models), latents_of(plan_flux("dev"), models)
    assert 0 < float((found - wanted).abs().mean() / wanted.std()) < 0.05
