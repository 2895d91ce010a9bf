"""The groups of controls that switch something on besides the plain road: what `static/groups.js` draws, as data.

None of their fields is a Gradio component: each of those costs browser time at every click, and a closed accordion
would never be drawn. Their values travel together in the form's field `form.PARTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from webui.domain.frozen import Data
from webui.domain.passes import GuidanceOptions, Hires, Refiner
from webui.domain.request import GenerationRequest
from webui.domain.sampling_options import Variation

Widget = Literal["slider", "number", "select", "text"]
Source = Literal["upscaler", "models", "sampler", "schedule"]


@dataclass(frozen=True)
class Control:
    """How one field of a part is shown. `identity` is A1111's element id, in which `{page}` stands for the page.

    `blank` is what is shown for None; `zero` says that 0 means None. `most` is where a slider ends, if that is before
    the limit. `span` is of twelve columns.
    """

    field: str
    label: str
    identity: str
    widget: Widget
    span: int = 6
    step: float = 1
    choices: Source | None = None
    blank: str | None = None
    zero: bool = False
    most: float | None = None
    is_rare: bool = False


@dataclass(frozen=True)
class Group:
    """A part of the request with a switch. Off, the request says nothing of it."""

    part: str
    title: str
    identity: str
    switch: str  # the element id of the checkbox
    model: type[Data]
    controls: tuple[Control, ...]


HIRES = Group(
    "hires",
    "Hires. fix",
    "{page}_hr",
    "{page}_hr-checkbox",
    Hires,
    (
        Control("upscaler", "Upscaler", "{page}_hr_upscaler", "select", choices="upscaler"),
        Control("scale", "Upscale by", "{page}_hr_scale", "slider", step=0.05, most=4),
        Control("steps", "Hires steps", "{page}_hires_steps", "slider", zero=True),
        Control("strength", "Denoising strength", "{page}_denoising_strength", "slider", step=0.01),
        Control("width", "Resize width to", "{page}_hr_resize_x", "number", step=8, zero=True, blank="auto"),
        Control("height", "Resize height to", "{page}_hr_resize_y", "number", step=8, zero=True, blank="auto"),
        Control("model", "Checkpoint", "hr_checkpoint", "select", choices="models", blank="The same", is_rare=True),
        Control("guidance", "CFG scale", "{page}_hr_cfg", "number", step=0.5, blank="the same", is_rare=True),
        Control(
            "sampler", "Sampling method", "hr_sampler", "select", choices="sampler", blank="The same", is_rare=True
        ),
        Control(
            "schedule",
            "Schedule type",
            "hr_scheduler",
            "select",
            choices="schedule",
            blank="The same",
            is_rare=True,
        ),
        Control("prompt", "Hires prompt", "hires_prompt", "text", 12, blank="The same prompt", is_rare=True),
        Control(
            "negative_prompt", "Hires negative prompt", "hires_neg_prompt", "text", 12, blank="The same", is_rare=True
        ),
    ),
)

REFINER = Group(
    "refiner",
    "Refiner",
    "{page}_enable",
    "{page}_enable-checkbox",
    Refiner,
    (
        Control("model", "Checkpoint", "{page}_checkpoint", "select", choices="models"),
        Control("switch_at", "Switch at", "{page}_switch_at", "slider", step=0.01),
    ),
)

VARIATION = Group(
    "variation",
    "Variation",
    "{page}_seed_extras",
    "{page}_subseed_show",
    Variation,
    (
        Control("seed", "Variation seed", "{page}_subseed", "number"),
        Control("strength", "Variation strength", "{page}_subseed_strength", "slider", step=0.01),
        Control(
            "resize_from_width", "Resize seed from width", "{page}_seed_resize_from_w", "number",
            step=8, zero=True, blank="off",
        ),
        Control(
            "resize_from_height", "Resize seed from height", "{page}_seed_resize_from_h", "number",
            step=8, zero=True, blank="off",
        ),
    ),
)  # fmt: skip

GUIDANCE = Group(
    "guiding",
    "Guidance",
    "{page}_guidance",
    "{page}_guidance-checkbox",
    GuidanceOptions,
    (
        Control("rescale", "CFG rescale", "{page}_cfg_rescale", "slider", step=0.01),
        Control("minimum", "Minimum sigma", "{page}_s_min_uncond", "number", step=0.01, blank="as set"),
        Control("start", "Guide from", "{page}_guidance_start", "slider", step=0.01),
        Control("end", "Guide until", "{page}_guidance_end", "slider", step=0.01),
        Control("image", "Image CFG scale", "{page}_image_cfg_scale", "number", step=0.05, blank="usual"),
    ),
)

GROUPS = {"txt2img": (HIRES, REFINER, VARIATION, GUIDANCE), "img2img": (REFINER, VARIATION, GUIDANCE)}

PARTS = ("hires", "refiner", "variation", "guiding", "tiling", "vae", "script", "extensions")
"""What of a request the page's groups show."""

TILINGS = (("Off", "none"), ("Both directions", "both"), ("Left to right", "x"), ("Top to bottom", "y"))
"""Label and value of the choices of `GenerationRequest.tiling`."""


def described(page: str) -> dict[str, Any]:
    """Return the groups of a page for the scripts, with limits and defaults from the models they stand for."""
    groups = [describe_group(group, page) for group in GROUPS[page]]
    return {"groups": groups, "tilings": [{"label": label, "value": value} for label, value in TILINGS]}


def describe_group(group: Group, page: str) -> dict[str, Any]:
    if group.part not in GenerationRequest.model_fields:
        raise ValueError(f"A request has no part {group.part!r}")
    properties = group.model.model_json_schema()["properties"]
    return {
        "part": group.part,
        "title": group.title,
        "id": group.identity.format(page=page),
        "switch": group.switch.format(page=page),
        "controls": [_describe_control(control, properties[control.field], page) for control in group.controls],
    }


def _describe_control(control: Control, schema: dict[str, Any], page: str) -> dict[str, Any]:
    limits: dict[str, Any] = next((each for each in (schema, *schema.get("anyOf", ())) if "minimum" in each), {})
    return {
        "name": control.field,
        "label": control.label,
        "id": control.identity.format(page=page),
        "widget": control.widget,
        "span": control.span,
        "step": control.step,
        "choices": control.choices,
        "blank": control.blank,
        "zero": control.zero,
        "minimum": 0 if control.zero else limits.get("minimum"),
        "maximum": control.most or limits.get("maximum"),
        "default": schema.get("default"),
        "isRare": control.is_rare,
    }
