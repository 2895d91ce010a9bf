"""InvokeAI's metadata of three generations."""

from __future__ import annotations

import json
from typing import Any

from webui.domain.passes import Hires, Refiner
from webui.domain.request import GenerationRequest
from webui.images.dialects.interpret import Interpretation, interpret


def found(texts: dict[str, str]) -> Interpretation:
    interpretation = interpret(texts)
    assert interpretation is not None and interpretation.program == "InvokeAI"
    return interpretation


METADATA: dict[str, Any] = {
    "generation_mode": "txt2img", "positive_prompt": "a (red)1.3 boat++, sea-", "negative_prompt": "fog", "width": 512,
    "height": 640, "seed": 9, "rand_device": "cpu", "cfg_scale": 7.5, "cfg_rescale_multiplier": 0, "steps": 30,
    "scheduler": "dpmpp_2m_k", "clip_skip": 1, "model": {"name": "Boats", "base": "sd-1", "type": "main"},
    "vae": {"name": "soft-vae"}, "loras": [{"model": {"name": "ink"}, "weight": 0.75}, {"lora": {"model_name": "old"}}],
    "seamless_x": True, "seamless_y": False, "app_version": "5.0.0",
}  # fmt: skip


def test_metadata() -> None:
    told = found({"invokeai_metadata": json.dumps(METADATA)})
    request = told.request
    assert told.unmapped == ()
    assert request == GenerationRequest(
        prompt="a (red:1.3) (boat:1.21), (sea:0.9) <lora:ink:0.75> <lora:old:1>", negative_prompt="fog", model="Boats",
        vae="soft-vae", sampler="DPM++ 2M", schedule="Karras", steps=30, guidance=7.5, seed=9, width=512, height=640,
        clip_skip=2, tiling="x", sampling=request.sampling.replace(noise_source="CPU"),
    )  # fmt: skip
    assert found({"parameters": json.dumps(METADATA)}) == told, "as copied from its page"


def test_refiner_high_resolution_and_what_is_missing() -> None:
    more = {
        **METADATA, "refiner_model": {"name": "fine"}, "refiner_start": 0.8, "hrf_enabled": True, "hrf_strength": 0.45,
        "controlnets": [{}], "scheduler": "euler_a", "cfg_rescale_multiplier": 0.7,
    }  # fmt: skip
    told = found({"invokeai_metadata": json.dumps(more)})
    assert told.request.refiner == Refiner(model="fine", switch_at=0.8)
    assert told.request.hires == Hires(scale=2, strength=0.45, upscaler="Latent")
    assert (told.request.sampler, told.request.schedule, told.request.guiding.rescale) == ("Euler a", "Automatic", 0.7)
    assert told.unmapped == ("controlnets: 1 in use (not available here)",)


def test_the_second_generation() -> None:
    old = {
        "model": "stable diffusion", "model_weights": "boats-1", "app_version": "2.3.0",
        "image": {
            "prompt": [{"prompt": "a boat [fog, rain] at sea", "weight": 1}], "steps": 40, "cfg_scale": 8,
            "height": 512, "width": 768, "seed": 3, "seamless": True, "sampler": "k_lms",
            "variations": [], "perlin": 0.2,
        },
    }  # fmt: skip
    told = found({"sd-metadata": json.dumps(old)})
    assert (told.request.prompt, told.request.negative_prompt) == ("a boat at sea", "fog, rain")
    assert (told.request.sampler, told.request.width, told.request.tiling) == ("LMS", 768, "both")
    assert told.request.model == "boats-1"
    assert told.unmapped == ("perlin (a method of InvokeAI that is not taken over)",)


def test_the_command_line() -> None:
    request = found({"Dream": '"a boat [fog]" -s50 -S 123 -W 512 -H 448 -C 7.5 -A k_euler_a'}).request
    assert request.prompt == "a boat" and request.negative_prompt == "fog"
    assert (request.steps, request.seed, request.width, request.height) == (50, 123, 512, 448)
    assert (request.guidance, request.sampler) == (7.5, "Euler a")
    assert found({"Dream": 'a "boat -s 5'}).request.steps == 5, "quotes that are never closed"


def test_damaged_metadata_says_nothing() -> None:
    for damaged in ("", "{", "[]", '{"model": [], "loras": {"a": 1}, "steps": {}}'):
        assert found({"invokeai_metadata": damaged}).request == GenerationRequest()
        assert found({"sd-metadata": damaged}).request == GenerationRequest()
