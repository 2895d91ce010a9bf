"""The detailer: regions of finished pictures are found and painted again at a higher resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.detailer.arguments import FIELD, read, read_arguments, write
from extensions.detailer.options import PAINTED, RECTANGLES, Detailer, Details, PlannedUnit, Unit
from webui.extending.api import (
    BadRequest,
    Call,
    ExtensionApi,
    Family,
    FromImage,
    GenerationRequest,
    Infotext,
    Kind,
    ModelInfo,
    NotFound,
    Panel,
    Plan,
    Route,
    Tools,
    find_sampler,
    find_schedule,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from webui.extending.computing import ImageRun


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="ADetailer",
            options=Detailer,
            aliases=("detailer",),
            description="Finds faces, hands or what you name in the finished picture and paints it again, enlarged.",
            read_arguments=read_arguments,
        )
    )
    api.add_infotext(Infotext(read=read, prefixes=("ADetailer ",)))
    api.add_route(Route("GET", "/adetailer/v1/ad_model", list_detectors, "The detectors there are."))
    api.change_request(skip_img2img)
    api.change_plan(tell)
    api.change_image(_detail)


def skip_img2img(request: GenerationRequest, options: Detailer, tools: Tools) -> GenerationRequest:
    """Return `request` with as little of img2img as there can be, where it is skipped."""
    if not options.active or not options.skip_img2img or not isinstance(request.start, FromImage):
        return request
    return request.replace(start=request.start.replace(strength=0.0))


def tell(plan: Plan, options: Detailer, tools: Tools) -> Plan:
    """Return `plan` with what the worker needs, if anything is asked for."""
    if not options.active:
        return plan
    if plan.model.family is Family.OTHER:
        raise BadRequest(
            "The detailer does not reach models that run through a pipeline of diffusers.",
            hint="Switch it off for this model.",
            field="extensions.detailer.enabled",
        )
    units = tuple(_plan_unit(unit, tools) for unit in options.active)
    original = plan.start.images if options.skip_img2img and isinstance(plan.start, FromImage) else ()
    prompts = tuple(text for unit in options.active for text in (unit.prompt, unit.negative_prompt) if text)
    details = Details(units=units, prompts=prompts, original=original)
    return plan.told("detailer", details, write([planned.unit for planned in units]))


def _plan_unit(unit: Unit, tools: Tools) -> PlannedUnit:
    """Return a unit with proper names and the file of its detector."""
    if unit.detector == RECTANGLES and not unit.rectangles.strip():
        raise BadRequest("The detailer is told no rectangle.", hint="Write x, y, width, height.", field=FIELD)
    if unit.detector == PAINTED and unit.mask is None:
        raise BadRequest("The detailer is given no mask.", hint="Paint one, or choose another detector.", field=FIELD)
    sampler = None if unit.sampler is None else find_sampler(unit.sampler).name
    schedule = None if unit.schedule is None else find_schedule(unit.schedule).label
    proper = unit.replace(sampler=sampler, schedule=schedule)
    if unit.detector in (RECTANGLES, PAINTED):
        return PlannedUnit(unit=proper)
    model = find_detector(unit.detector, tools)
    return PlannedUnit(unit=proper, path=model.path, sha256=model.sha256 or "")


def find_detector(name: str, tools: Tools) -> ModelInfo:
    """Return the file that `name` means; "face_yolov8n.pt" also means the .onnx that was made of it.

    Raises `BadRequest` with the way to such a file where there is none.
    """
    bare = name.strip().lower().removesuffix(".pt").removesuffix(".onnx")
    for model in tools.models(Kind.DETECTOR):
        if model.problem is None and bare in (model.name.lower(), model.path.stem.lower()):
            return tools.find(Kind.DETECTOR, model.name)
    try:
        return tools.find(Kind.DETECTOR, name)
    except NotFound as error:
        ways = "Rectangles and Mask need no detector."
        if bare.startswith("mediapipe"):
            ways = f"MediaPipe's are not there; YuNet (face_detection_yunet_2023mar.onnx) finds faces. {ways}"
        elif name.strip().lower().endswith(".pt"):
            ways = f"Of a YOLO .pt that you trust make an .onnx: yolo export model={name.strip()} format=onnx. {ways}"
        raise BadRequest(
            f"Detector not found: {name[:100]!r}.",
            hint=f"Put an .onnx into models/adetailer. {ways}",
            field=FIELD,
        ) from error


def list_detectors(call: Call) -> dict[str, list[str]]:
    """Return what `ad_model` can name, as ADetailer's route does."""
    usable = [model.path.name for model in call.tools.models(Kind.DETECTOR) if model.problem is None]
    return {"ad_model": [*usable, RECTANGLES, PAINTED]}


def _detail(picture: Image, run: ImageRun) -> Image:
    from extensions.detailer.detailing import detail

    return detail(picture, run)
