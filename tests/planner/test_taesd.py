from __future__ import annotations

from pathlib import Path

import pytest

from tests.planner_parts import FakeShelf
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import Plan, TaesdPlan
from webui.domain.request import GenerationRequest
from webui.errors import NotFound
from webui.planner import plan
from webui.settings import Settings

MODEL = ModelInfo(name="tiny", path=Path("/models/tiny"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)
FILES = {"encoder": Path("/models/VAE-approx/e.safetensors"), "decoder": Path("/models/VAE-approx/d.safetensors")}


def plan_with(taesd_files: dict[str, Path], **settings: object) -> Plan:
    shelf = FakeShelf(MODEL, taesd_files=taesd_files)
    made = plan(GenerationRequest(prompt="a cat"), Settings().replace(**settings), shelf, lambda: 1)
    assert isinstance(made, Plan)
    return made


def test_the_vae_does_it_all_by_default() -> None:
    made = plan_with(FILES)
    assert made.taesd == TaesdPlan()
    assert made.preview.method == "Approx"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"encode_method": "TAESD"}, TaesdPlan(encoder=FILES["encoder"])),
        ({"decode_method": "TAESD"}, TaesdPlan(decoder=FILES["decoder"])),
        ({"preview_method": "TAESD"}, TaesdPlan(preview=FILES["decoder"])),
        ({"preview_method": "TAESD", "live_previews": False}, TaesdPlan()),
    ],
)
def test_taesd_does_what_the_settings_say(settings: dict[str, object], expected: TaesdPlan) -> None:
    assert plan_with(FILES, **settings).taesd == expected


@pytest.mark.parametrize(
    ("asked", "method"), [("Full", "Full"), ("Approx NN", "Approx"), ("Approx cheap", "Approx"), ("TAESD", "TAESD")]
)
def test_the_method_of_previews(asked: str, method: str) -> None:
    assert plan_with(FILES, preview_method=asked).preview.method == method


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_taesd_that_is_not_there_says_where_it_belongs(half: str) -> None:
    setting = {"encoder": "encode_method", "decoder": "decode_method"}[half]
    with pytest.raises(NotFound, match=rf"VAE-approx holds no taesd_{half}\.safetensors.*sd_vae_{half[:-1]}_method"):
        plan_with({}, **{setting: "TAESD"})


def test_previews_go_on_without_taesd_and_say_so() -> None:
    made = plan_with({}, preview_method="TAESD")
    assert made.preview.method == "Approx"
    assert [note for note in made.notes if "taesd_decoder.safetensors" in note]


def test_the_preferences_of_pictures_reach_the_plan() -> None:
    picture = plan_with(FILES, mask_weight=0.3, noise_multiplier=0.9, extra_noise=0.1).picture
    assert (picture.mask_weight, picture.noise_multiplier, picture.extra_noise) == (0.3, 0.9, 0.1)
