"""What regional prompts can be told, by name and as Regional Prompter's arguments, and how the infotext says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from extensions.regional_prompts.layout import MOST_REGIONS, USUAL, Box
from webui.extending.api import BadRequest, Data, Reference, Tools

Mode = Literal["Columns", "Rows", "Masks"]
Method = Literal["Latent", "Attention"]
_BOXES = {"shown_if": {"mode": ["Columns", "Rows"]}}


class RegionalPrompts(Data):
    """How a picture is divided, and how its prompt is; see `prompts.divide` for the keywords."""

    enabled: Annotated[
        bool,
        Field(
            title="Enable",
            description="The parts of the prompt between BREAK (or ADDCOL, ADDROW, AND) each hold in a region of their "
            "own. ADDCOMM and ADDBASE end what is common to all and what lies beneath all.",
        ),
    ] = False
    mode: Annotated[Mode, Field(title="Regions", description="Side by side, one below the other, or painted.")] = (
        "Columns"
    )
    ratios: Annotated[
        str,
        Field(
            title="Divide ratio",
            description="1,1,2 are three columns; 1,2,3;1 is an upper row (ratio 1) of two columns (2 and 3) and "
            "a lower one.",
            max_length=500,
            json_schema_extra=_BOXES,
        ),
    ] = USUAL
    masks: Annotated[
        tuple[Reference, ...],
        Field(
            title="Masks",
            description="One picture for each region, white where it is, in the order of the prompt's parts.",
            max_length=MOST_REGIONS,
            json_schema_extra={"picture": True, "mask_of": "result", "shown_if": {"mode": "Masks"}},
        ),
    ] = ()
    base_ratios: Annotated[
        str,
        Field(
            title="Base ratio",
            description="How much of each region is the base prompt's: one number for all, or one for each.",
            max_length=500,
        ),
    ] = "0.2"
    use_base: Annotated[bool, Field(title="Use base prompt", description="The first part is beneath all regions.")] = (
        False
    )
    use_common: Annotated[
        bool, Field(title="Use common prompt", description="The first part is put before that of each region.")
    ] = False
    flip: Annotated[
        bool,
        Field(title='Flip "," and ";"', description="In the divide ratio.", json_schema_extra={"rare": True}),
    ] = False
    method: Annotated[
        Method,
        Field(
            title="Method",
            description="Latent: each part paints its region, one more row for each. Attention: places look at their "
            "part of the prompt alone; quicker, and softer at the edges. SD1, SD2, SDXL.",
        ),
    ] = "Latent"


class Regions(Data):
    """What the worker needs: which branch of the prompt holds where.

    Each region is a box or the picture of a mask. With `has_base` the first branch lies beneath all regions, with the
    share that `base_shares` say for each. `in_attention`: branches are chunks of one prompt.
    """

    boxes: tuple[Box, ...] = ()
    masks: tuple[Reference, ...] = ()
    has_base: bool = False
    base_shares: tuple[float, ...] = ()
    in_attention: bool = False

    @property
    def branches(self) -> int:
        """How many branches a prompt has."""
        return (len(self.boxes) or len(self.masks)) + self.has_base


def read_arguments(arguments: Sequence[object], tools: Tools) -> Mapping[str, Any]:
    """Return the options that Regional Prompter's 20 arguments mean; those left out at the end are as usual."""
    given = dict(zip(_ARGUMENTS, arguments, strict=False))
    tab = given.get("tab", "Matrix")
    if tab not in ("Matrix", "Nope", None):
        raise BadRequest(
            f"Regional Prompter's mode {tab!r} is not known here.",
            hint="Send Matrix; painted regions go by name: mode Masks, one picture for each region.",
            field="extensions.regional_prompts.mode",
        )
    if any(given.get(name) not in (None, "", 0, "0") for name in ("lora_stop", "lora_hires_stop")):
        raise BadRequest(
            "Regions do not stop their LoRAs at a step.", hint="Leave it 0.", field="extensions.regional_prompts"
        )
    mode = {"Horizontal": "Columns", "Vertical": "Rows", None: "Columns"}.get(
        given.get("matrix"),
        given.get("matrix"),  # type: ignore[call-overload]
    )
    read: dict[str, Any] = {name: given[name] for name in _SAME if given.get(name) is not None}
    return read | {"mode": mode, "method": given.get("calculation") or "Attention"}


_ARGUMENTS = (
    "enabled", "debug", "tab", "matrix", "mask_mode", "prompt_mode", "ratios", "base_ratios", "use_base", "use_common",
    "use_common_negative", "calculation", "options", "lora_text", "lora_unet", "threshold", "mask", "lora_stop",
    "lora_hires_stop", "flip",
)  # fmt: skip
_SAME = ("enabled", "ratios", "base_ratios", "use_base", "use_common", "flip")

ENABLED, MASKS = "RP Active", "RP Masks"
_KEYS: Mapping[str, str] = {
    "mode": "RP Matrix submode", "ratios": "RP Ratios", "base_ratios": "RP Base Ratios", "use_base": "RP Use Base",
    "use_common": "RP Use Common", "flip": "RP Flip", "method": "RP Calc Mode",
}  # fmt: skip


def write(options: RegionalPrompts) -> dict[str, str]:
    """Return what the infotext says, under Regional Prompter's keys."""
    said = {ENABLED: "True", "RP Calc Mode": options.method}
    if options.mode == "Masks":
        said |= {"RP Divide mode": "Mask", MASKS: ";".join(options.masks)}
    else:
        said |= {"RP Divide mode": "Matrix", "RP Matrix submode": options.mode, "RP Ratios": options.ratios}
    if options.use_base:
        said |= {"RP Base Ratios": options.base_ratios, "RP Use Base": "True"}
    return said


def read(parameters: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the options that an infotext's `parameters` say, None where they say nothing of regions."""
    if parameters.get(ENABLED) != "True":
        return None
    options: dict[str, Any] = {"enabled": True}
    options |= {name: parameters[key] for name, key in _KEYS.items() if key in parameters}
    if options.get("mode") in ("Horizontal", "Vertical"):
        options["mode"] = {"Horizontal": "Columns", "Vertical": "Rows"}[options["mode"]]
    if parameters.get("RP Divide mode") == "Mask":
        options |= {"mode": "Masks", "masks": tuple(filter(None, parameters.get(MASKS, "").split(";")))}
    return options
