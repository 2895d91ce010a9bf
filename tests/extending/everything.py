"""An extension that does a little of everything, for tests; see `write_extension`."""

from __future__ import annotations

from pathlib import Path

CODE = '''
"""Adds a colour to pictures, and more."""

from typing import Annotated

from pydantic import Field

from webui.extending.api import (
    BadRequest, Call, Data, ExtraSampler, ExtraSchedule, ExtraUpscaler, File, GenerationRequest, Infotext, Kind,
    Networks, Panel, Plan, PreprocessRequest, Preprocessor, Reference, Route, SettingsSection, Tools, extract,
)


class Options(Data):
    amount: Annotated[float, Field(ge=0, le=1)] = 0.0
    words: str = ""
    picture: Reference | None = None


class Facts(Data):
    amount: float


class Preferences(Data):
    tint_most: Annotated[float, Field(ge=0, le=1)] = 1.0


class Shades(Data):
    threshold: Annotated[int, Field(ge=0, le=255)] = 128


heard = []


def change_request(request, options, tools):
    return request.replace(prompt=f"{request.prompt}{options.words}") if options.words else request


def change_plan(plan, options, tools):
    tags = [tag for image in plan.images for tag in extract(image.prompt)[1] if tag.kind == "tint"]
    amount = max([options.amount, *(float(tag.arguments[0]) for tag in tags)])
    if amount > tools.setting("tint_most"):
        raise BadRequest("Too much tint.", field="extensions.tint.amount")
    if not amount:
        return plan
    return plan.told("tint", Facts(amount=amount), {"Tint amount": str(amount)}, [f"Tinted by {amount}."])


def read(parameters):
    return {"amount": float(parameters["Tint amount"])} if "Tint amount" in parameters else None


def wrap_denoise(denoise, run):
    amount = run.facts["amount"]
    return lambda latents, sigma: denoise(latents, sigma) + amount


def answer(call: Call):
    if call.query.get("fail"):
        raise RuntimeError("no")
    if call.query.get("file"):
        return File(b"hello", "text/plain")
    if call.body:
        picture = call.tools.store_picture(bytes.fromhex(call.body["picture"]))
        files = call.run(PreprocessRequest(image=picture, preprocessor="shades", options={"threshold": 7}))
        return {"files": len(files)}
    return {"most": call.tools.setting("tint_most"), "heard": len(heard)}


def shade(picture, options):
    return picture.convert("L").point(lambda value: 255 if value >= options.threshold else 0)


def sample(denoise, latents, sigmas, noise, setup):
    from webui.extending.computing import Step

    for index, sigma in enumerate(sigmas[:-1]):
        denoised = denoise(latents, sigma)
        latents = denoised + (latents - denoised) * (sigmas[index + 1] / sigma)
        yield Step(index, latents, denoised)


def halves(steps, lowest, highest):
    return [highest / 2**step for step in range(steps)]


def stretch(picture, width, height):
    return picture.resize((width, height), 0).point(lambda value: 255 - value)


def register(api):
    api.add_options(Panel("Tint", Options, aliases=("tinting",), description="Adds a colour."))
    api.add_settings(SettingsSection("Tint", Preferences))
    api.change_request(change_request)
    api.change_plan(change_plan)
    api.claim_tags("tint")
    api.add_infotext(Infotext(read, keys=("Tint amount",)))
    api.add_networks(Networks(Kind.LORA, "Tints", "<tint:{name}>"))
    api.add_route(Route("GET", "/tint/state", answer, "How it is."))
    api.add_route(Route("POST", "/tint/shade", answer))
    api.add_preprocessor(Preprocessor("shades", "Shades", Shades, shade))
    api.add_sampler(ExtraSampler("Plain", sample))
    api.add_schedule(ExtraSchedule("Halves", halves))
    api.add_upscaler(ExtraUpscaler("Negative", stretch))
    api.wrap_denoise(wrap_denoise)
    api.watch(lambda job, event: heard.append(event))
'''


def write_extension(folder: Path, name: str = "tint", code: str = CODE) -> Path:
    """Write an extension into a folder of extensions, and return that folder."""
    (folder / name).mkdir(parents=True)
    (folder / name / "extension.py").write_text(code, "utf-8")
    return folder
