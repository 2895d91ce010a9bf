"""From what was asked to what the worker is told: adapters and image encoders found, pictures grouped."""

from __future__ import annotations

from pathlib import Path

from extensions.ip_adapter.facts import NAME, Group, IpAdapterFacts
from extensions.ip_adapter.infotext import write
from extensions.ip_adapter.options import ImagePrompt, IpAdapterOptions
from extensions.ip_adapter.shapes import FIELD, gives, read_need, weights_of
from webui.extending.api import (
    BadFile,
    BadRequest,
    EaselError,
    Family,
    Header,
    Kind,
    ModelInfo,
    NotFound,
    Plan,
    Tools,
    read_header,
)

FAMILIES = Family.SD1, Family.SD2, Family.SDXL, Family.PLAYGROUND, Family.FLUX


def tell(plan: Plan, options: IpAdapterOptions, tools: Tools) -> Plan:
    """Return the plan with what its pictures need in the worker; the same plan where none acts.

    Raises `NotFound` for adapters that there are not and where the image encoder is missing, `BadRequest` for pictures
    that lack something, `BadFile` for adapters of another family.
    """
    if not options.active:
        return plan
    if plan.model.family not in FAMILIES:
        raise BadRequest(
            f"IP-Adapters do not work with {plan.model.family.value} models.",
            hint="Switch the pictures off, or use SD1, SDXL or Flux.",
            field=FIELD,
        )
    groups: dict[tuple[object, ...], Group] = {}
    said: dict[str, str] = {}
    for number, each in options.active:
        found = _find(number, each, plan, tools)
        group = _group(number, each, found, tools, options)
        together = (found.name, each.weight, each.start, each.end, each.region, each.hires)
        key = (*together, number) if options.combination == "add" else together
        before = groups[key].pictures if key in groups else ()
        groups[key] = group.replace(pictures=(*before, *group.pictures))
        said |= write(number, each, found.name, found.sha256, options.combination)
    pictures = [each for group in groups.values() for each in (*group.pictures, group.region) if each]
    facts = IpAdapterFacts(groups=tuple(groups.values()), negative=options.negative)
    return plan.told(NAME, facts, said, pictures=[*pictures, *([options.negative] if options.negative else [])])


def _group(number: int, asked: ImagePrompt, found: ModelInfo, tools: Tools, options: IpAdapterOptions) -> Group:
    if asked.image is None:
        raise BadRequest(
            f"IP-Adapter picture {number} is empty.",
            hint="Choose a picture, or switch it off.",
            field=f"{FIELD}.{number}.image",
        )
    return Group(
        name=found.name,
        path=found.path,
        sha256=found.sha256 or "",
        encoder=_find_encoder(number, found, tools),
        pictures=(asked.image,),
        is_mean=options.combination == "average",
        weight=asked.weight,
        start=asked.start,
        end=asked.end,
        region=asked.region,
        hires=asked.hires,
    )


def _find(number: int, asked: ImagePrompt, plan: Plan, tools: Tools) -> ModelInfo:
    field = f"{FIELD}.{number}.model"
    if asked.model is None:
        raise BadRequest(
            f"IP-Adapter picture {number} has no model.", hint="Choose one, or switch the picture off.", field=field
        )
    found = tools.find(Kind.IP_ADAPTER, asked.model)
    if found.kind is not Kind.IP_ADAPTER:
        raise BadRequest(
            f"{found.name} is no IP-Adapter but a {found.kind.value.replace('_', ' ')}.",
            hint="Choose an IP-Adapter.",
            field=field,
        )
    family = Family.SDXL if plan.model.family is Family.PLAYGROUND else plan.model.family
    if found.family not in (None, family):
        assert found.family is not None
        raise BadFile(
            f"{found.name}: it was made for {found.family.value}, the checkpoint is {plan.model.family.value}.",
            hint="Choose an IP-Adapter of the checkpoint's family.",
            field=field,
        )
    return found


def _find_encoder(number: int, adapter: ModelInfo, tools: Tools) -> Path:
    """Return the image encoder whose numbers an adapter reads; raise `NotFound` when there is none."""
    need = read_need(adapter.path)
    for each in tools.models(Kind.IMAGE_ENCODER):
        if each.problem is None and gives(_header(each), need):
            return each.path
    raise NotFound(
        f"{adapter.name} needs an image encoder that is not there: {need.words}.",
        hint="Put it (image_encoder/model.safetensors beside the adapter's download) into models/clip_vision.",
        field=f"{FIELD}.{number}.model",
    )


def _header(encoder: ModelInfo) -> Header:
    """Return the tensors of an encoder, none if its file is damaged: another may fit."""
    try:
        return read_header(weights_of(encoder.path))
    except EaselError:
        return {}
