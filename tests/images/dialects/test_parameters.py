"""A1111's form and who wrote it: names of their own become A1111's."""

from __future__ import annotations

import pytest

from webui.domain.passes import Refiner
from webui.images.dialects.interpret import Interpretation, interpret

PLAIN = "a boat\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"


def found(more: str) -> Interpretation:
    told = interpret({"parameters": f"{PLAIN}, {more}" if more else PLAIN})
    assert told is not None and told.infotext.startswith(PLAIN) and told.request.seed == 5
    return told


@pytest.mark.parametrize(
    ("more", "program"),
    [
        ("Version: easel-1.0", "Easel"),
        ("Version: v1.10.1", "A1111"),
        ("Version: 1.6.0", "A1111"),
        ("", "A1111"),
        ("Version: f2.0.1v1.10.1-previous-519-g44eb4ea8", "Forge"),
        ("Version: neo", "Forge"),
        ("App: SD.Next, Version: 6f5f3d2", "SD.Next"),
        ("Backend: Diffusers", "SD.Next"),
        ("Version: ComfyUI", "ComfyUI"),
        ('Civitai resources: [{"type":"checkpoint","modelVersionId":1}]', "Civitai"),
    ],
)
def test_the_program(more: str, program: str) -> None:
    assert found(more).program == program


def test_a_prompt_alone_is_nobodys() -> None:
    told = interpret({"parameters": "a boat"})
    assert told is not None and (told.program, told.request.prompt) == ("", "a boat")
    assert interpret({"parameters": " \n"}) is None and interpret({}) is None and interpret({"Title": "x"}) is None


def test_forge() -> None:
    told = found(
        "Schedule type: Karras, Module 1: soft-vae, Module 2: clip_l, Hires Module 1: Use same choices, "
        "Hires upscale: 2, Hires CFG Scale: 5, Denoising strength: 0.5, Version: f2.0.1v1.10.1"
    )
    assert told.request.vae == "soft-vae"
    assert told.request.hires is not None and told.request.hires.guidance == 5
    assert told.unmapped == () and told.request is not None and told.request.modules == ("clip_l",)


def test_sd_next() -> None:
    told = found(
        "App: SD.Next, Version: 6f5f3d2, Pipeline: StableDiffusionPipeline, Operations: txt2img; hires, "
        "Hires upscale: 2, Hires strength: 0.4, Hires CFG scale: 5, CFG rescale: 0.7, CFG end: 0.8, Refiner: fine, "
        "Refine start: 0.6, Parser: native"
    )
    assert told.request.hires is not None
    assert (told.request.hires.strength, told.request.hires.guidance) == (0.4, 5)
    assert (told.request.guiding.rescale, told.request.guiding.end) == (0.7, 0.8)
    assert told.request.refiner == Refiner(model="fine", switch_at=0.6)
    assert told.unmapped == ("Parser: native (not used here)",)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("euler_ancestral", ("Euler a", "Automatic")),
        ("dpmpp_2m_karras", ("DPM++ 2M", "Karras")),
        ("Euler", ("Euler", "Automatic")),
    ],
)
def test_nodes_of_comfyui_that_write_a1111s_form(sampler: str, expected: tuple[str, str]) -> None:
    text = PLAIN.replace("Euler a", sampler) + ", Model: sub/boats.safetensors, Version: ComfyUI"
    told = interpret({"parameters": text})
    assert told is not None and (told.request.sampler, told.request.schedule) == expected
    assert told.request.model == "sub/boats" and told.infotext == text
