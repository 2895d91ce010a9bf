"""Fooocus's JSON, and its texts in A1111's form."""

from __future__ import annotations

import json
from typing import Any

from webui.domain.passes import Refiner
from webui.domain.request import GenerationRequest
from webui.images.dialects.interpret import Interpretation, interpret

PARAMETERS: dict[str, Any] = {
    "prompt": "a boat", "negative_prompt": "fog", "prompt_expansion": "a boat, glow", "styles": "['Fooocus V2']",
    "performance": "Speed", "steps": 30, "resolution": "(1152, 896)", "guidance_scale": 4, "sharpness": 2,
    "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "boats_v1.safetensors", "base_model_hash": "0123456789",
    "refiner_model": "None", "refiner_switch": 0.5, "clip_skip": 2, "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "vae": "Default (model)", "seed": "123", "loras": [["ink.safetensors", 0.5, "abcdef"]],
    "lora_combined_1": "ink : 0.5",
    "metadata_scheme": "fooocus", "version": "Fooocus v2.5.0",
}  # fmt: skip


def found(parameters: dict[str, Any]) -> Interpretation:
    interpretation = interpret({"fooocus_scheme": "fooocus", "parameters": json.dumps(parameters)})
    assert interpretation is not None and interpretation.program == "Fooocus"
    return interpretation


def test_json() -> None:
    told = found(PARAMETERS)
    request = told.request
    assert request == GenerationRequest(
        prompt="a boat <lora:ink:0.5>", negative_prompt="fog", model="boats_v1 [0123456789]", sampler="DPM++ 2M SDE",
        schedule="Karras", steps=30, guidance=4, seed=123, width=1152, height=896, clip_skip=2,
        sampling=request.sampling.replace(noise_source="CPU"),
    )  # fmt: skip
    assert [line.partition(":")[0] for line in told.unmapped] == [
        "Sharpness", "ADM Guidance", "Styles", "Prompt expansion",
    ]  # fmt: skip


def test_refiner_vae_and_older_loras() -> None:
    told = found({**PARAMETERS, "refiner_model": "fine.safetensors", "vae": "soft.pt", "loras": []})
    assert told.request.refiner == Refiner(model="fine", switch_at=0.5)
    assert told.request.vae == "soft.pt" and told.request.prompt == "a boat <lora:ink:0.5>"


def test_its_texts_in_a1111s_form() -> None:
    told = interpret(
        {
            "fooocus_scheme": "a1111",
            "parameters": "a boat\nNegative prompt: fog\nSteps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 5, "
            'Size: 1152x896, CFG scale: 4, Sharpness: 2, ADM Guidance: "(1.5, 0.8, 0.3)", Model: boats_v1, '
            "Performance: Speed, Scheduler: karras, VAE: Default (model), Version: Fooocus v2.5.5",
        }
    )
    assert told is not None and told.program == "Fooocus"
    assert (told.request.sampler, told.request.schedule, told.request.vae) == ("DPM++ 2M SDE", "Karras", None)
    assert [line.partition(":")[0] for line in told.unmapped] == ["Sharpness", "ADM Guidance", "Performance"]


def test_other_json_is_not_taken_for_it() -> None:
    assert interpret({"fooocus_scheme": "fooocus", "parameters": "{}"}) is not None  # a prompt, at worst
    told = interpret({"parameters": '{"prompt": "a"}'})
    assert told is not None and told.program == ""
