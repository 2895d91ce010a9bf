"""The axes of the plot: what each changes in a request, in A1111's order, because programs name them by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from webui.extending.api import (
    BadRequest,
    FromNoise,
    GenerationRequest,
    NameKind,
    Page,
    Refiner,
    Variation,
    find_sampler,
    find_schedule,
    split_combined,
)

Apply = Callable[[GenerationRequest, Any, Sequence[Any]], GenerationRequest]
"""(request, value of this cell, all values of the axis) → request of this cell."""

Values = Literal["whole", "fraction", "text", "orders"]


@dataclass(frozen=True)
class Axis:
    """One axis. `cost` orders the cells: what takes long to change is changed least often.

    `setting`: it changes A1111's option of that name and not the request. `page` None: on both. `missing` says why the
    axis cannot be used here. `needs` says what a request lacks for it.
    """

    label: str
    values: Values = "text"
    apply: Apply = lambda request, value, values: request
    show: Callable[[str, Any], str] = lambda label, value: f"{label}: {value}"
    cost: float = 0.0
    page: Page | None = None
    choices: NameKind | tuple[str, ...] | None = None
    setting: str = ""
    missing: str = ""
    needs: Literal["", "hires", "refiner", "picture"] = ""


def _alone(label: str, value: Any) -> str:
    return str(value)


def _file(label: str, value: str) -> str:
    return value.replace("\\", "/").rpartition("/")[2]


def _field(name: str) -> Apply:
    return lambda request, value, values: request.replace(**{name: value})


def _inner(outer: str, name: str) -> Apply:
    """Return what changes field `name` of the part `outer` of a request; `needs` has seen to it that there is one."""
    return lambda request, value, values: request.replace(**{outer: getattr(request, outer).replace(**{name: value})})


def _variation(name: str) -> Apply:
    return lambda request, value, values: request.replace(
        variation=(request.variation or Variation()).replace(**{name: value})
    )


def _replace_text(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    wanted = values[0]
    if not wanted or (wanted not in request.prompt and wanted not in request.negative_prompt):
        raise BadRequest(
            f"Prompt S/R: {wanted!r} is neither in the prompt nor in the negative prompt.",
            hint="The first value is the text that the others replace.",
            field="script",
        )
    return request.replace(
        prompt=request.prompt.replace(wanted, value), negative_prompt=request.negative_prompt.replace(wanted, value)
    )


def _reorder(request: GenerationRequest, value: Sequence[str], values: Sequence[Sequence[str]]) -> GenerationRequest:
    """Put the words of `value` where any of them stand in the prompt, in this order."""
    parts, rest = [], request.prompt
    for word in sorted(value, key=request.prompt.find):
        before, found, rest = rest.partition(word)
        if not word or not found:
            raise BadRequest(
                f"Prompt order: {word!r} is not in the prompt, or only inside of another value.",
                hint="Name words of the prompt that do not overlap.",
                field="script",
            )
        parts.append(before)
    return request.replace(prompt="".join(before + word for before, word in zip(parts, value, strict=True)) + rest)


def _sampler(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    sampler, schedule = split_combined(value)
    found = find_sampler(sampler).name
    return (
        request.replace(sampler=found) if schedule == "Automatic" else request.replace(sampler=found, schedule=schedule)
    )


def _hires_sampler(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    assert request.hires is not None
    return request.replace(hires=request.hires.replace(sampler=find_sampler(value).name))


def _hires_steps(request: GenerationRequest, value: int, values: Sequence[int]) -> GenerationRequest:
    assert request.hires is not None
    return request.replace(hires=request.hires.replace(steps=value or None))  # A1111's 0: as many as the first pass


def _schedule(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    return request.replace(schedule=find_schedule(value).label)


def _strength(request: GenerationRequest, value: float, values: Sequence[float]) -> GenerationRequest:
    if isinstance(request.start, FromNoise):
        return _inner("hires", "strength")(request, value, values)
    return _inner("start", "strength")(request, value, values)


def _styles(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    added = tuple(name.strip() for name in value.split(",") if name.strip() not in ("", "None"))
    return request.replace(styles=request.styles + added)


def _refiner(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    if value.strip().lower() in ("", "none"):
        return request.replace(refiner=None)
    return request.replace(refiner=(request.refiner or Refiner(model=value)).replace(model=value))


def _switch(request: GenerationRequest, value: float, values: Sequence[float]) -> GenerationRequest:
    return request if request.refiner is None else _inner("refiner", "switch_at")(request, value, values)


def _size(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    width, cross, height = value.lower().replace("×", "x").partition("x")
    if not (cross and width.strip().isdecimal() and height.strip().isdecimal()):
        raise BadRequest(f"Size: {value!r} is not a size.", hint="Write 512x768.", field="script")
    return request.replace(width=int(width), height=int(height))


def _truth(apply: Apply) -> Apply:
    def apply_truth(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
        return apply(request, _read_truth(value), values)

    return apply_truth


def _read_truth(value: str) -> bool:
    if value.strip().lower() not in ("true", "false"):
        raise BadRequest(f"{value!r} is neither True nor False.", hint="Write True, False.", field="script")
    return value.strip().lower() == "true"


TRUTHS = ("False", "True")
SOURCES = ("CPU", "GPU", "NV")

AXES: tuple[Axis, ...] = (
    Axis("Nothing", show=lambda label, value: ""),
    Axis("Seed", "whole", _field("seed")),
    Axis("Var. seed", "whole", _variation("seed")),
    Axis("Var. strength", "fraction", _variation("strength")),
    Axis("Steps", "whole", _field("steps")),
    Axis("Hires steps", "whole", _hires_steps, page="txt2img", needs="hires"),
    Axis("CFG Scale", "fraction", _field("guidance")),
    Axis("Image CFG Scale", page="img2img", missing="only InstructPix2Pix checkpoints know it, and none is supported"),
    Axis("Prompt S/R", apply=_replace_text, show=_alone),
    Axis("Prompt order", "orders", _reorder, show=lambda label, value: ", ".join(value)),
    Axis("Sampler", apply=_sampler, show=_alone, page="txt2img", choices="sampler"),
    Axis("Hires sampler", apply=_hires_sampler, page="txt2img", choices="sampler", needs="hires"),
    Axis("Sampler", apply=_sampler, show=_alone, page="img2img", choices="sampler"),
    Axis("Checkpoint name", apply=_field("model"), show=_file, cost=1.0, choices="checkpoint"),
    Axis("Negative Guidance minimum sigma", "fraction", _inner("guiding", "minimum")),
    Axis("Sigma Churn", "fraction", _inner("sampling", "churn")),
    Axis("Sigma min", "fraction", _inner("sampling", "tmin")),
    Axis("Sigma max", "fraction", _inner("sampling", "tmax")),
    Axis("Sigma noise", "fraction", _inner("sampling", "noise")),
    Axis("Schedule type", apply=_schedule, choices="schedule"),
    Axis("Schedule min sigma", "fraction", _inner("sampling", "sigma_min")),
    Axis("Schedule max sigma", "fraction", _inner("sampling", "sigma_max")),
    Axis("Schedule rho", "fraction", _inner("sampling", "rho")),
    Axis("Eta", "fraction", _inner("sampling", "eta")),
    Axis("Clip skip", "whole", _field("clip_skip")),
    Axis("Denoising", "fraction", _strength, needs="picture"),
    Axis("Initial noise multiplier", "fraction", setting="initial_noise_multiplier"),
    Axis("Extra noise", "fraction", setting="img2img_extra_noise"),
    Axis("Hires upscaler", apply=_inner("hires", "upscaler"), page="txt2img", choices="upscaler", needs="hires"),
    Axis("Cond. Image Mask Weight", "fraction", page="img2img", setting="inpainting_mask_weight"),
    Axis("VAE", apply=_field("vae"), cost=0.7, choices="vae"),
    Axis("Styles", apply=_styles, choices="style"),
    Axis("UniPC Order", missing="the order of UniPC is fixed"),
    Axis("Face restore", missing="there is no face restoration"),
    Axis("Token merging ratio", missing="there is no token merging"),
    Axis("Token merging ratio high-res", missing="there is no token merging"),
    Axis("Always discard next-to-last sigma", apply=_truth(_inner("sampling", "discard_penultimate")), choices=TRUTHS),
    Axis("SGM noise multiplier", missing="initial noise always matches the first noise level"),
    Axis("Refiner checkpoint", apply=_refiner, show=_file, cost=1.0, choices="checkpoint"),
    Axis("Refiner switch at", "fraction", _switch, needs="refiner"),
    Axis("RNG source", apply=_inner("sampling", "noise_source"), choices=SOURCES),
    Axis("FP8 mode", missing="weights are not kept in 8 bits"),
    Axis("Size", apply=_size),
)

USABLE = tuple(dict.fromkeys(axis.label for axis in AXES if not axis.missing))
"""The labels a user can choose from."""


def find_axis(wanted: int | str, page: Page) -> Axis:
    """Return an axis of `page` by its label, in any case, or by A1111's number; `BadRequest` names what exists."""
    axes = [axis for axis in AXES if axis.page in (None, page)]
    if isinstance(wanted, int):
        found = axes[wanted] if 0 <= wanted < len(axes) else None
    else:
        found = next((axis for axis in axes if axis.label.lower() == wanted.strip().lower()), None)
    if found is None or found.missing:
        why = (
            f"Axis {found.label!r} cannot be used: {found.missing}." if found else f"There is no axis {wanted!r} here."
        )
        known = ", ".join(axis.label for axis in axes if not axis.missing)
        raise BadRequest(why, hint=f"Use one of: {known}.", field="script")
    return found
