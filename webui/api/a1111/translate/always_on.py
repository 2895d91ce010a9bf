"""`alwayson_scripts`: A1111's own, whose arguments stand for fields of the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from webui.api.a1111.schemas.processing import Processing, StableDiffusionProcessingImg2Img
from webui.errors import BadRequest

ReadPanel = Callable[[str, str, Sequence[object]], tuple[str, Mapping[str, Any]] | None]
"""(title, page, arguments) → the extension that is called so and the options they mean, None if there is none."""

WITHOUT_ARGUMENTS = ("comments", "extra options")
"""Scripts that take none as long as nobody added any: what they do is in the settings."""

SOFT_INPAINTING = "soft inpainting"
SOFT_ARGUMENTS = ("Schedule bias", "Preservation strength", "Transition contrast boost", "Mask influence",
                  "Difference threshold", "Difference contrast")  # fmt: skip
SOFT_DEFAULTS = (1, 0.5, 4, 0, 0.5, 2)

ALWAYS_ON: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sampler": ("steps", "sampler_name", "scheduler"),
        "seed": ("seed", "", "subseed", "subseed_strength", "seed_resize_from_w", "seed_resize_from_h"),
        "refiner": ("", "refiner_checkpoint", "refiner_switch_at"),
        SOFT_INPAINTING: (),
        **dict.fromkeys(WITHOUT_ARGUMENTS, ()),
    }
)
"""Script → the request's field that each of its arguments stands for; empty: it switches the others on.

The three that stand for fields take part in no request to A1111, which reads the fields alone. Here they fill fields
that were not sent, so that a client that sends either gets what it asked for.
"""

SWITCHED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "seed": ("subseed", "subseed_strength", "seed_resize_from_w", "seed_resize_from_h"),
        "refiner": ("refiner_checkpoint", "refiner_switch_at"),
    }
)
"""Script → the fields that count only when its switch is on."""


def always_on(page: str) -> list[str]:
    """Return the scripts of one page, `txt2img` or `img2img`, by name."""
    return sorted(name for name in ALWAYS_ON if page == "img2img" or name != SOFT_INPAINTING)


def fields_of_always_on(asked: Processing) -> dict[str, object]:
    """Return the fields that arguments stand for."""
    fields: dict[str, object] = {}
    for name, arguments in _calls(asked):
        places = ALWAYS_ON[name]
        given = dict(zip(places, arguments, strict=False))
        is_on = bool(given.pop("", True))
        fields |= {field: value for field, value in given.items() if is_on or field not in SWITCHED.get(name, ())}
    return fields


def wants_soft_inpainting(asked: Processing) -> bool:
    """Return whether soft inpainting is switched on; raise `BadRequest` for values that Easel's has none of."""
    for name, arguments in _calls(asked):
        if name == SOFT_INPAINTING and arguments and arguments[0]:
            _check_soft(arguments[1:])
            return True
    return False


def extensions_of(asked: Processing, read_panel: ReadPanel) -> dict[str, Mapping[str, Any]]:
    """Return the options of extensions that were sent, by extension. Raises `BadRequest` for scripts there are none
    of, and for arguments that cannot be."""
    page = _page(asked)
    options: dict[str, Mapping[str, Any]] = {}
    for title, call in asked.alwayson_scripts.items():
        if title.lower() in always_on(page):
            continue
        read = read_panel(title, page, _arguments(title, call))
        if read is None:
            raise BadRequest(
                f"alwayson_scripts: always on script {title[:60]} not found.",
                hint="GET /sdapi/v1/scripts lists them.",
                field="alwayson_scripts",
            )
        options[read[0]] = read[1]
    return options


def _page(asked: Processing) -> str:
    return "img2img" if isinstance(asked, StableDiffusionProcessingImg2Img) else "txt2img"


def _calls(asked: Processing) -> list[tuple[str, Sequence[object]]]:
    """Return A1111's own scripts that were sent, in lower case, with their arguments."""
    own = always_on(_page(asked))
    return [
        (title.lower(), _arguments(title, call))
        for title, call in asked.alwayson_scripts.items()
        if title.lower() in own
    ]


def _arguments(title: str, call: Any) -> Sequence[object]:
    arguments = call.get("args", []) if isinstance(call, Mapping) else None
    if not isinstance(arguments, list):
        raise BadRequest(
            f"alwayson_scripts.{title[:60]}: its arguments are not a list.",
            hint='Send {"args": […]}.',
            field="alwayson_scripts",
        )
    if title.lower() in WITHOUT_ARGUMENTS and any(arguments):
        raise BadRequest(
            f"alwayson_scripts.{title[:60]} takes no arguments here.",
            hint="Send its options as override_settings.",
            field="alwayson_scripts",
        )
    return arguments


def _check_soft(arguments: Sequence[object]) -> None:
    for label, value, usual in zip(SOFT_ARGUMENTS, arguments, SOFT_DEFAULTS, strict=False):
        if value is not None and value != usual:
            raise BadRequest(
                f"alwayson_scripts.Soft inpainting: {label} cannot be set (given: {str(value)[:60]!r}).",
                hint=f"Send {usual}, or the first argument alone.",
                field="alwayson_scripts",
            )
