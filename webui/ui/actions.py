"""What the page does when something is pressed, without Gradio: values in, a message and new values out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from webui.domain.models import ModelInfo
from webui.domain.passes import Hires
from webui.domain.request import GenerationRequest
from webui.errors import EaselError
from webui.studio import Studio
from webui.ui import groups
from webui.ui.choices import all_choices
from webui.ui.form import Form, FormError, explain
from webui.ui.known_names import shown_parts
from webui.ui.picture_form import CONTENTS, RESIZES, PictureFields, fields_given, fields_of
from webui.ui.replay import onward_request, request_of, upscale_request

PROPOSED = ("width", "height", "steps", "guidance", "sampler", "schedule")
PICTURE_CHOICES = {
    "resize": tuple(value for _, value in RESIZES),
    "content": tuple(value for _, value in CONTENTS),
    "extension_content": tuple(value for _, value in CONTENTS),
    "area": ("whole", "masked"),
}

NOT_SHOWN = ("kind", "model", "keep", "start", "emphasis", "sampling", *groups.PARTS)
"""What of a request is not a component of the form."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A message for the scripts, and new values of form fields."""

    message: Message
    values: Mapping[str, Any] = field(default_factory=dict)


def message(kind: str, **content: Any) -> Message:
    """Return a message no earlier one equals, so that the page notices it."""
    return {"id": secrets.token_hex(8), "kind": kind, **content}


def problem(error: EaselError, page: str = "txt2img") -> Message:
    problems = [{"field": error.field, "text": error.message, "hint": error.hint}]
    return message("problems", page=page, problems=problems)


def submit(studio: Studio, form: Form[GenerationRequest], values: Mapping[str, Any]) -> Message:
    """Queue what the form asks for; the message carries the job's id or says which field is wrong."""
    return _submit(studio, lambda: form.read(values), "txt2img")


def submit_picture(
    studio: Studio, form: Form[GenerationRequest], picture: Form[PictureFields], values: Mapping[str, Any]
) -> Message:
    """The same for the img2img page, whose request comes from two forms. A batch is only begun."""
    if values["mode"] == "batch":
        return begin_batch(form, picture, values)

    def read() -> GenerationRequest:
        fields, request = _read_picture(form, picture, values)
        try:
            return fields.complete(request)
        except ValidationError as error:
            raise FormError(tuple(explain(details) for details in error.errors())) from error

    return _submit(studio, read, "img2img")


def begin_batch(form: Form[GenerationRequest], picture: Form[PictureFields], values: Mapping[str, Any]) -> Message:
    """Return the request that the scripts send once for each file of a batch, lacking only its picture."""
    try:
        fields, request = _read_picture(form, picture, values)
        return message("batch", page="img2img", request=fields.template(request))
    except FormError as error:
        return message("problems", page="img2img", problems=[vars(each) for each in error.problems])


def _read_picture(
    form: Form[GenerationRequest], picture: Form[PictureFields], values: Mapping[str, Any]
) -> tuple[PictureFields, GenerationRequest]:
    fields = picture.read({name: values[name] for name in picture.components})
    return fields, form.read({name: values[name] for name in form.components})


def _submit(studio: Studio, read: Callable[[], GenerationRequest], page: str) -> Message:
    try:
        job = studio.submit(read(), source="ui")
    except FormError as error:
        return message("problems", page=page, problems=[vars(each) for each in error.problems])
    except EaselError as error:
        return problem(error, page)
    return message("submitted", page=page, job=job.id, notes=list(job.plan.notes))


def model_choices(studio: Studio) -> list[tuple[str, str]]:
    """Return (title, name) of every checkpoint; unusable ones say so and explain themselves when chosen."""
    return [(model.title if model.problem is None else f"{model.name} (⚠)", model.name) for model in studio.models()]


def style_names(studio: Studio) -> list[str]:
    return [style.name for style in studio.styles()]


def current_name(studio: Studio) -> str | None:
    model = studio.current_model()
    return model.name if model else None


def proposal(studio: Studio, name: str | None) -> dict[str, Any]:
    """Return field → value the model proposes."""
    try:
        filled = studio.defaults(name)
    except EaselError:  # the model is gone or broken: it proposes nothing
        return {}
    return {each: getattr(filled, each) for each in PROPOSED}


def choose_model(studio: Studio, shown: str | None, wanted: str, values: Mapping[str, Any]) -> Outcome:
    """Make `wanted` the current model and propose its values for the fields that still hold `shown`'s proposal."""
    before = proposal(studio, shown)
    try:
        model = studio.select_model(wanted)
    except EaselError as error:
        return Outcome({**problem(error), "field": "model"}, {"model": shown})
    after = proposal(studio, model.name)
    changed = changes(before, after, values)
    kept = sorted(name for name in after if name not in changed and values.get(name) not in (after[name], None))
    return Outcome(
        {**message("model", **about(model)), "changed": changed, "kept": kept}, {**changed, "model": model.name}
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new proposals for the fields that still hold the old ones."""
    return {
        name: value
        for name, value in after.items()
        if value is not None and values.get(name) != value and values.get(name) == before.get(name)
    }


def about(model: ModelInfo | None) -> dict[str, Any]:
    """Return what the page shows of a model."""
    if model is None:
        return {
            "name": None,
            "title": None,
            "family": None,
            "description": "",
            "examples": [],
            "told_guidance": None,
            "is_hashed": False,
        }
    return {
        "name": model.name,
        "title": model.title,
        "family": model.family.value if model.family else None,
        "description": model.description,
        "examples": list(model.examples),
        "told_guidance": model.defaults.distilled_guidance,
        "is_hashed": model.sha256 is not None,
    }


def apply(studio: Studio, asked: Mapping[str, Any], unmapped: tuple[str, ...] = (), page: str = "txt2img") -> Outcome:
    """Put a request (of an image or an old job) into the form of `page`; blanks leave their field as it is."""
    request = GenerationRequest.model_validate(asked)
    values = {name: value for name, value in request if value is not None and name not in NOT_SHOWN}
    chosen = studio.current_model()
    notes = list(unmapped)
    known = style_names(studio)
    values["styles"] = [name for name in request.styles if name in known]
    notes += [f"styles: there is no style {name!r} any more" for name in request.styles if name not in known]
    if request.model:
        try:
            chosen = studio.select_model(request.model)
            values["model"] = chosen.name
        except EaselError as error:
            notes.append(f"model: {error.message}")
    if page == "img2img" and request.hires:
        notes.append("hires: a second pass follows txt2img only")
    parts, unknown = shown_parts(studio, request)
    notes += unknown
    parts |= studio.unlike_settings(request.replace(modules=tuple(parts.pop("modules"))))
    return Outcome({**message("applied", page=page, **about(chosen)), "notes": notes, "parts": parts}, values)


def asked_for(studio: Studio, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request that settings are to be taken from: the one given, or that of image `index` of a `job`.

    With `onwards` it begins with that image: its size, any seed, no second pass.
    """
    if "job" not in content:
        asked: Mapping[str, Any] = content["request"]
        return asked
    build = onward_request if content.get("onwards") else request_of
    return build(studio.job(content["job"]), content["index"]).model_dump(mode="json")


def upscale(studio: Studio, job_id: str, index: int, hires: Mapping[str, Any]) -> Message:
    """Queue a second pass over one finished image, with the settings of "Hires. fix" on the page."""

    def read() -> GenerationRequest:
        try:
            wanted = Hires.model_validate(hires)
        except ValidationError as error:
            problems = [explain(details) for details in error.errors()]
            raise FormError(tuple(replace(each, field=f"hires.{each.field}") for each in problems)) from error
        picture = studio.add_input(studio.image_path(job_id, index).read_bytes())
        return upscale_request(studio.job(job_id), index, picture.id, wanted)

    return _submit(studio, read, "txt2img")


def picture_values(asked: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the img2img page shows of a request's start, changed by `given` fields (each checked)."""
    values = fields_of(GenerationRequest.model_validate(asked).start)
    values |= fields_given(given)
    return {name: value for name, value in PictureFields.model_validate(values) if name in values}


def restored_choices(stored: Mapping[str, Any]) -> dict[str, str]:
    """Return the choices of the img2img page made before a reload, as far as they still exist."""
    return {name: stored[name] for name, values in PICTURE_CHOICES.items() if stored.get(name) in values}


def open_page(studio: Studio, stored: Mapping[str, Any]) -> Outcome:
    """Return what a page that was just loaded shows: the current model, and the choices made before a reload."""
    model = studio.current_model()
    defaults = studio.defaults()
    names = ("sampler", "schedule") if stored else (*PROPOSED, "clip_skip")
    known_names = {"sampler": studio.names("sampler"), "schedule": studio.names("schedule")}
    values = {
        name: stored[name] if stored.get(name) in known_names.get(name, ()) else getattr(defaults, name)
        for name in names
    }
    known = style_names(studio)
    values["styles"] = [name for name in stored.get("styles") or () if name in known]
    greeting = message("opened", **about(model), choices=all_choices(studio), vae=studio.settings().vae)
    if model is None:
        greeting["problems"] = [_missing_model(studio)]
    return Outcome(greeting, {**values, "model": model.name if model else None})


def _missing_model(studio: Studio) -> dict[str, str]:
    return {
        "field": "model",
        "text": "There is no usable checkpoint.",
        "hint": f"Put a .safetensors file into {studio.config.checkpoint_dirs[0]} and press refresh.",
    }
