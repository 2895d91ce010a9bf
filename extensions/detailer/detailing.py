"""Regions of a finished picture are found and painted again, one after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from extensions.detailer.options import PAINTED, RECTANGLES, Details, PlannedUnit, Unit, read_rectangles
from extensions.detailer.regions import Mask, box_of, choose, draw, separate
from webui.extending.computing import ImageRun

WITHOUT = "controlnet", "ip_adapter", "regional_prompts"
"""Extensions that know the whole picture and would take a region for it."""
_SEPARATOR, _PROMPT, _SKIP = re.compile(r"\s*\[SEP\]\s*"), "[PROMPT]", "[SKIP]"


def detail(picture: Image.Image, run: ImageRun) -> Image.Image:
    """Return `picture` with the regions that the options' units find painted again."""
    details = Details.model_validate(run.facts)
    if details.original:
        original = run.inputs[details.original[run.image.index % len(details.original)]].convert("RGB")
        picture = original if original.size == picture.size else original.resize(picture.size, Image.Resampling.LANCZOS)
    for number, planned in enumerate(details.units, 1):
        picture = _detail_by(picture, planned, number, run)
    return picture


def _detail_by(picture: Image.Image, planned: PlannedUnit, number: int, run: ImageRun) -> Image.Image:
    unit = planned.unit
    masks = choose(find_regions(picture, planned, run), unit)
    if not masks:
        run.note(f"Detailer, unit {number}: {unit.detector} found nothing in image {run.image.index + 1}.")
    for region, mask in enumerate(masks):
        prompt = _prompt_of(unit.prompt, region, prompt_at(mask, run))
        negative = _prompt_of(unit.negative_prompt, region, run.image.negative_prompt)
        if _SKIP not in (prompt, negative):
            picture = run.paint(picture, Image.fromarray(mask), **_changes(unit, region, run, prompt, negative))
    return picture


def find_regions(picture: Image.Image, planned: PlannedUnit, run: ImageRun) -> list[Mask]:
    """Return the regions that a unit names or finds."""
    unit = planned.unit
    if unit.detector == RECTANGLES:
        return [draw(rectangle, *picture.size) for rectangle in read_rectangles(unit.rectangles)]
    if unit.detector == PAINTED:
        assert unit.mask is not None  # checked when it was planned
        painted = run.inputs[unit.mask].convert("L").resize(picture.size, Image.Resampling.BILINEAR)
        return separate(np.asarray(painted))
    from extensions.detailer.detectors import find

    assert planned.path is not None
    return find(planned.path, np.asarray(picture.convert("RGB")), unit)


def _prompt_of(own: str, region: int, whole: str) -> str:
    """Return the prompt of a region: `own` ones in turn, the last for all that are left; empty is `whole`."""
    prompts = _SEPARATOR.split(own)
    prompt = prompts[min(region, len(prompts) - 1)].strip()
    return prompt.replace(_PROMPT, whole) if prompt else whole


def prompt_at(mask: Mask, run: ImageRun) -> str:
    """Return the image's prompt; where its parts hold in regions, those of the regions that the mask's middle is in."""
    regions = run.plan.extensions.get("regional_prompts")
    if regions is None:
        return run.image.prompt
    left, top, right, bottom = box_of(mask)
    x, y = (left + right) / 2 / mask.shape[1], (top + bottom) / 2 / mask.shape[0]
    parts = [part.strip() for part in re.split(r"\bAND\b|\bBREAK\b", run.image.prompt)][
        1 if regions["has_base"] else 0 :
    ]
    boxes = regions["boxes"]
    inside = [part for part, box in zip(parts, boxes, strict=False) if _holds(box, x, y)]
    return ", ".join(inside or parts)


def _holds(box: Mapping[str, float], x: float, y: float) -> bool:
    return box["left"] <= x < box["right"] and box["top"] <= y < box["bottom"]


def _changes(unit: Unit, region: int, run: ImageRun, prompt: str, negative: str) -> dict[str, Any]:
    """Return how a region's plan differs from the image's. Each region has a seed of its own, as in A1111."""
    return {
        "prompt": prompt,
        "negative_prompt": negative,
        "seed": run.image.seed + region,
        "strength": unit.strength,
        "padding": unit.padding,
        "mask_blur": unit.mask_blur,
        "area": "masked" if unit.only_masked else "whole",
        "width": unit.width,
        "height": unit.height,
        "steps": unit.steps,
        "guidance": unit.guidance,
        "sampler": unit.sampler,
        "schedule": unit.schedule,
        "without": WITHOUT,
    }
