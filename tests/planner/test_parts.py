"""What completes the models of a plan, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_parts import FakeShelf
from webui.domain.models import Family, ModelInfo, PartSlot
from webui.domain.passes import Hires
from webui.domain.pipelines import PIPELINES
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.errors import BadRequest
from webui.images.infotext import read, write
from webui.planner import plan as resolve
from webui.settings import Settings

SLOTS = (
    PartSlot(component="vae", role="vae", width=16, words="VAE"),
    PartSlot(component="text_encoder", role="clip", width=768, words="CLIP-L"),
)
ALONE = ModelInfo(
    name="flux1-dev", path=Path("/models/flux1-dev.safetensors"), family=Family.FLUX, layout="original",
    sha256="ab" * 32, parts=("transformer",), slots=SLOTS,
)  # fmt: skip
WHOLE = ALONE.replace(name="whole", sha256="cd" * 32, parts=("transformer", "vae", "text_encoder"))


def plan(model: ModelInfo = ALONE, settings: Settings | None = None, **asked: Any) -> Plan:
    shelf = FakeShelf(model, {"other": ALONE.replace(name="other", sha256="ef" * 32)})
    resolved = resolve(GenerationRequest(**asked), settings or Settings(), shelf, lambda: 1)
    assert isinstance(resolved, Plan)
    return resolved


def test_the_plan_names_and_hashes_every_part() -> None:
    parts = plan().model.parts
    assert [(part.component, part.sha256) for part in parts] == [("vae", "12" * 32), ("text_encoder", "12" * 32)]
    assert plan(WHOLE).model.parts == ()


def test_so_do_those_of_other_models() -> None:
    hires = plan(hires=Hires(upscaler="Latent", model="other")).hires
    assert hires is not None and hires.model is not None and len(hires.model.parts) == 2


def test_a_chosen_vae_is_a_part_where_there_is_none() -> None:
    assert plan(vae="ae").vae is None
    chosen = plan(WHOLE, vae="ae")
    assert chosen.vae is not None and chosen.model.parts == ()


def test_what_a_request_names_must_fit() -> None:
    assert plan(modules=("ae",)).model.parts
    with pytest.raises(BadRequest, match="strange fits no part of flux1-dev") as caught:
        plan(modules=("ae", "strange"))
    assert caught.value.field == "modules"


def test_what_the_settings_name_is_used_where_it_fits() -> None:
    planned = plan(settings=Settings(modules=("strange",)))
    assert any("strange fits no part of flux1-dev" in note for note in planned.notes)
    assert not plan(settings=Settings(modules=("strange",)), modules=()).notes


def test_infotext_tells_them_as_forge_does() -> None:
    planned = plan()
    text = write(planned, 0)
    assert "Module 1: vae, Module 2: text_encoder" in text
    assert read(text).request.modules == ("vae", "text_encoder")
    own = plan(WHOLE)
    assert read(write(own, 0)).request.modules == ()


@pytest.mark.parametrize(
    ("asked", "family", "kept"),
    [
        ("Disable", Family.SDXL, False),
        ("Enable for SDXL", Family.SDXL, True),
        ("Enable for SDXL", Family.FLUX, False),
        ("Enable", Family.FLUX, True),
    ],
)
def test_8_bit_weights_are_a_setting_and_told_in_the_infotext(asked: str, family: Family, kept: bool) -> None:
    found = plan(WHOLE.replace(family=family), Settings.model_validate({"fp8_storage": asked}))
    assert found.model.eight_bit is kept
    assert ("FP8 weight: Enable" in write(found, 0)) is kept


def test_pipelines_of_diffusers_load_their_weights_themselves() -> None:
    other = WHOLE.replace(family=Family.OTHER, variant=PIPELINES[0].words)
    assert not plan(other, Settings(fp8_storage="Enable")).model.eight_bit
