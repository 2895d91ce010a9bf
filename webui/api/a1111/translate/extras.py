"""Pictures to be enlarged: extra-single-image and extra-batch-images."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from webui.api.a1111.schemas.pictures import ExtrasBaseRequest
from webui.api.a1111.translate.fields import checked_extras
from webui.api.a1111.translate.pictures import NO_PICTURE, Store, read_base64_image
from webui.domain.jobs import JobView
from webui.domain.plan import UpscalePlan
from webui.domain.request import UpscaleRequest
from webui.errors import BadRequest

NO_UPSCALER = "None"
FACES = ("gfpgan_visibility", "codeformer_visibility")


ReadText = Callable[[bytes], str]
"""Returns what a picture's file says about how it was made, empty if nothing."""


def to_upscale_request(
    asked: ExtrasBaseRequest, pictures: Sequence[str], store: Store, read_text: ReadText, field: str = "image"
) -> UpscaleRequest:
    """Return what `asked` means; raise `BadRequest` naming its field. Without an upscaler a picture stays as it is.

    `store` keeps each of the pictures (base64 in the body's `field`) and returns the reference to it.
    """
    _refuse_faces(asked)
    if not pictures:
        raise BadRequest(f"{field}: no picture was sent.", hint="Send at least one as base64.", field=field)
    values: dict[str, object] = {"images": (NO_PICTURE,), "upscaler": asked.upscaler_1, "keep": False, **_size(asked)}
    if asked.upscaler_2 != NO_UPSCALER and asked.extras_upscaler_2_visibility > 0:
        values |= {"second_upscaler": asked.upscaler_2, "second_share": asked.extras_upscaler_2_visibility}
    checked_extras(values)  # before anything is stored
    contents = [read_base64_image(text, field) for text in pictures]
    texts = tuple(map(read_text, contents))
    return checked_extras({**values, "images": tuple(map(store, contents)), "infotexts": texts})


def _size(asked: ExtrasBaseRequest) -> dict[str, object]:
    if asked.upscaler_1 == NO_UPSCALER:
        return {"scale": 1}
    if asked.resize_mode == 0:
        return {"scale": asked.upscaling_resize}
    return {"width": asked.upscaling_resize_w, "height": asked.upscaling_resize_h, "crop": asked.upscaling_crop}


def _refuse_faces(asked: ExtrasBaseRequest) -> None:
    for field in FACES:
        if getattr(asked, field) > 0:
            raise BadRequest(
                f"{field}: Easel has no face restoration (given: {getattr(asked, field)}).",
                hint=f"Leave {field} out or send 0.",
                field=field,
            )


def to_html_info(job: JobView) -> str:
    """Return what was done to the pictures, as a paragraph of HTML under A1111's names."""
    plan = job.plan
    assert isinstance(plan, UpscalePlan)
    if plan.upscaler.name == NO_UPSCALER:
        return "<p></p>"
    facts = {"Postprocess upscale by": f"{plan.scale:g}"}
    if plan.width and plan.height:
        facts = {"Postprocess upscale to": f"{plan.width}x{plan.height}"}
    facts["Postprocess upscaler"] = plan.upscaler.name
    if plan.second_upscaler is not None:
        facts["Postprocess upscaler 2"] = plan.second_upscaler.name
    return f"<p>{html.escape(', '.join(f'{key}: {value}' for key, value in facts.items()))}</p>"
