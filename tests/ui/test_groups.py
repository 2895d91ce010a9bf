"""The groups of controls as data: what the scripts draw stands for fields of the request, with A1111's element ids."""

from __future__ import annotations

from typing import Any

import pytest

from webui.domain.passes import Hires, Tiling
from webui.domain.request import GenerationRequest
from webui.ui import groups
from webui.ui.texts import Texts


def controls(page: str) -> dict[str, dict[str, Any]]:
    described = groups.described(page)["groups"]
    return {f"{group['part']}.{control['name']}": control for group in described for control in group["controls"]}


def test_limits_and_defaults_are_those_of_the_request() -> None:
    found = controls("txt2img")
    names = ("minimum", "maximum", "default", "zero")
    assert [found["hires.strength"][name] for name in names] == [0, 1, 0.7, False]
    assert [found["hires.steps"][name] for name in names] == [0, 150, None, True]
    assert [found["hires.scale"][name] for name in names] == [1, 4, 2.0, False]
    assert [found["guiding.end"][name] for name in names] == [0, 1, 1.0, False]
    assert [found["refiner.switch_at"][name] for name in names] == [0.01, 1, 0.8, False]


def test_every_field_of_a_second_pass_is_there() -> None:
    shown = {name.partition(".")[2] for name in controls("txt2img") if name.startswith("hires.")}
    assert shown == set(Hires.model_fields)


def test_every_part_has_a_place_and_the_tilings_are_the_requests() -> None:
    drawn = {group.part for group in groups.GROUPS["txt2img"]} | {"tiling", "vae", "script", "extensions"}
    assert drawn == set(groups.PARTS) <= set(GenerationRequest.model_fields)
    assert [value for _, value in groups.TILINGS] == list(Tiling.__args__)  # type: ignore[attr-defined]


def test_scripts_for_a1111_find_its_ids() -> None:
    ids = {control["id"] for control in controls("txt2img").values()}
    assert {"txt2img_hr_scale", "txt2img_hires_steps", "txt2img_denoising_strength", "hr_sampler"} <= ids
    assert {"txt2img_subseed", "txt2img_seed_resize_from_w", "txt2img_switch_at"} <= ids
    assert not ids & {control["id"] for control in controls("img2img").values()}


def test_a_part_the_request_does_not_have_fails_at_once() -> None:
    wrong = groups.Group("hiress", "", "", "", Hires, ())
    with pytest.raises(ValueError, match="no part 'hiress'"):
        groups.describe_group(wrong, "txt2img")


def test_every_text_is_known() -> None:
    known = Texts.load().translations["en"].keys()
    found = {label for label, _ in groups.TILINGS}
    for group in groups.GROUPS["txt2img"]:
        found |= {group.title, *(text for each in group.controls for text in (each.label, each.blank) if text)}
    assert found - known == set()
