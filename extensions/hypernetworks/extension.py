"""Hypernetworks: small networks that change what a UNet's attention takes its keys and values from."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from webui.extending.api import (
    BadRequest,
    Data,
    ExtensionApi,
    Family,
    Kind,
    ModelInfo,
    Networks,
    NoOptions,
    Plan,
    Tag,
    Tools,
    extract,
)

if TYPE_CHECKING:
    from webui.extending.computing import Run

NAME = "hypernetworks"
TAG = "hypernet"
FAMILIES = Family.SD1, Family.SD2, Family.SDXL, Family.SDXL_REFINER, Family.PLAYGROUND
MOST = 10  # either way


class Hypernetwork(Data):
    """A file, and its strength for each image of the plan, in the first pass and in the second."""

    name: str
    path: Path
    strengths: tuple[float, ...]
    second: tuple[float, ...]


class Hypernetworks(Data):
    """Those of a plan in the order in which they act; `images` are the indices that the strengths are for."""

    images: tuple[int, ...]
    networks: tuple[Hypernetwork, ...]


Called = tuple[str, int]
"""The name of a hypernetwork, and how many tags of that name stand before it: each tag acts for itself (A1111)."""


def register(api: ExtensionApi) -> None:
    api.claim_tags(TAG)
    api.add_networks(Networks(Kind.HYPERNETWORK, title="Hypernetworks", tag="<hypernet:{name}:1>"))
    api.change_plan(tell)
    api.patch(_apply)


def tell(plan: Plan, options: NoOptions, tools: Tools) -> Plan:
    """Return `plan` with the hypernetworks that tags in its prompts name.

    Raises `BadRequest` for tags that say no strength and for checkpoints of other families, `NotFound` for unknown
    names.
    """
    first = [_read(image.prompt) for image in plan.images]
    second = [_read(image.prompt if image.hires_prompt is None else image.hires_prompt) for image in plan.images]
    called = dict.fromkeys(each for strengths in (*first, *second) for each, strength in strengths.items() if strength)
    if not called:
        return plan
    if plan.model.family not in FAMILIES:
        raise BadRequest(
            f"Hypernetworks do not work with {plan.model.family.value} models.",
            hint="They are for SD1, SD2 and SDXL. Take the <hypernet:…> tags out of the prompt.",
            field="prompt",
        )
    networks = tuple(
        Hypernetwork(
            name=each[0],
            path=_find(each[0], plan, tools).path,
            strengths=tuple(strengths.get(each, 0.0) for strengths in first),
            second=tuple(strengths.get(each, 0.0) for strengths in second),
        )
        for each in called
    )
    return plan.told(NAME, Hypernetworks(images=tuple(image.index for image in plan.images), networks=networks))


def _read(prompt: str) -> dict[Called, float]:
    """Return the strengths that the tags of a prompt give."""
    strengths: dict[Called, float] = {}
    for tag in _tags(extract(prompt)[1]):
        name = tag.arguments[0] if tag.arguments else ""
        before = sum(each == name for each, _ in strengths)
        strengths[name, before] = _strength(tag)
    return strengths


def _tags(tags: Iterable[Tag]) -> list[Tag]:
    return [tag for tag in tags if tag.kind.lower() == TAG]


def _strength(tag: Tag) -> float:
    told = tag.arguments[1] if len(tag.arguments) > 1 else "1"
    try:
        strength = float(told)
    except ValueError:
        strength = float("nan")
    if not -MOST <= strength <= MOST:
        raise BadRequest(
            f"<{TAG}:{':'.join(tag.arguments)[:80]}>: its strength {told[:20]!r} is no number from -{MOST} to {MOST}.",
            hint=f"Write <{TAG}:name:0.8>.",
            field="prompt",
        )
    return strength


def _find(name: str, plan: Plan, tools: Tools) -> ModelInfo:
    found = tools.find(Kind.HYPERNETWORK, name)
    if found.family is not None and found.family is not _kin(plan.model.family):
        raise BadRequest(
            f"The hypernetwork {name} is for {found.family.value}, the model for {plan.model.family.value}.",
            hint="Use one that was trained for this kind of model.",
            field="prompt",
        )
    return found


def _kin(family: Family) -> Family:
    """Return the family whose hypernetworks fit."""
    return Family.SDXL if family in (Family.SDXL_REFINER, Family.PLAYGROUND) else family


def _apply(run: Run) -> AbstractContextManager[None]:
    from extensions.hypernetworks.applying import apply

    return apply(run)
