"""Civitai, SwarmUI, Easy Diffusion and Draw Things."""

from __future__ import annotations

import html
import json

from webui.domain.request import GenerationRequest
from webui.images.dialects.interpret import Interpretation, interpret


def found(texts: dict[str, str], program: str) -> Interpretation:
    told = interpret(texts)
    assert told is not None and told.program == program
    return told


SUMMARY = {
    "prompt": "a boat", "negativePrompt": "fog", "steps": 25, "cfgScale": 6, "sampler": "DPM++ 2M Karras", "seed": 8,
    "clipSkip": 2, "resources": [{"modelVersionId": 4321, "strength": 1}],
}  # fmt: skip


def test_civitai() -> None:
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 8, "steps": 9, "positive": ["2", 0], "scheduler": "simple",
                                                   "latent_image": ["3", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "other"}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 512}},
        "extra": {"airs": []},
        "extraMetadata": json.dumps(SUMMARY),
    }  # fmt: skip
    told = found({"parameters": json.dumps(graph)}, "Civitai")
    request = told.request
    assert request == GenerationRequest(
        prompt="a boat", negative_prompt="fog", sampler="DPM++ 2M", schedule="Karras", steps=25, guidance=6, seed=8,
        width=640, height=512, clip_skip=2, sampling=request.sampling.replace(noise_source="CPU"),
    )  # fmt: skip
    assert told.unmapped == ("Resource: 4321 (a model by its number at Civitai: choose your copy of it)",)
    alone = found(
        {"parameters": json.dumps({"extraMetadata": json.dumps({**SUMMARY, "width": 64, "height": 64})})}, "Civitai"
    )
    assert (alone.request.prompt, alone.request.width) == ("a boat", 64)


def test_swarmui() -> None:
    parameters = {
        "prompt": "a boat", "negativeprompt": "fog", "model": "sub/boats.safetensors", "seed": 3, "steps": 20,
        "cfgscale": 7, "width": 512, "height": 512, "sampler": "euler_ancestral", "scheduler": "karras",
        "vae": "Automatic", "clipstopatlayer": -2, "loras": ["ink", "line"], "loraweights": ["0.5"],
        "refinerupscale": 2, "swarm_version": "0.9",
    }  # fmt: skip
    told = found({"parameters": json.dumps({"sui_image_params": parameters})}, "SwarmUI")
    request = told.request
    assert request == GenerationRequest(
        prompt="a boat <lora:ink:0.5> <lora:line:1>", negative_prompt="fog", model="sub/boats", sampler="Euler a",
        schedule="Karras", steps=20, guidance=7, seed=3, width=512, height=512, clip_skip=2,
        sampling=request.sampling.replace(noise_source="CPU"),
    )  # fmt: skip
    assert told.unmapped == ("refinerupscale: 2 (a step of SwarmUI that is not taken over)",)


EASY = {
    "prompt": "a boat", "negative_prompt": "fog", "seed": "5", "num_inference_steps": "30", "guidance_scale": "7.5",
    "width": "512", "height": "640", "use_stable_diffusion_model": "boats", "sampler_name": "dpmpp_2m", "tiling": "xy",
    "use_vae_model": "", "clip_skip": "True", "use_lora_model": "['ink', 'line']", "lora_alpha": "[0.5, 0.25]",
    "use_face_correction": "GFPGAN", "use_upscale": "None",
}  # fmt: skip


def test_easy_diffusion() -> None:
    told = found(EASY, "Easy Diffusion")
    assert told.request == GenerationRequest(
        prompt="a boat <lora:ink:0.5> <lora:line:0.25>", negative_prompt="fog", model="boats", sampler="DPM++ 2M",
        schedule="Automatic", steps=30, guidance=7.5, seed=5, width=512, height=640, clip_skip=2, tiling="both",
    )  # fmt: skip
    assert told.unmapped == ("use_face_correction: GFPGAN (not available here)",)
    single = {**EASY, "use_lora_model": "ink", "lora_alpha": 0.5, "seed": 5}
    assert found({"parameters": json.dumps(single)}, "Easy Diffusion").request.prompt == "a boat <lora:ink:0.5>"


def test_draw_things() -> None:
    content = {
        "c": "a boat & <sea>", "uc": "fog", "model": "boats_f16.ckpt", "sampler": "Euler a", "scale": 7, "seed": 4,
        "size": "512x512", "steps": 20, "strength": 1, "lora": [{"model": "ink.ckpt", "weight": 0.5}],
    }  # fmt: skip
    xmp = (
        "<x:xmpmeta><rdf:RDF><rdf:Description><exif:UserComment><rdf:Alt>"
        f'<rdf:li xml:lang="x-default">{html.escape(json.dumps(content))}</rdf:li>'
        "</rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    told = found({"XMP": xmp}, "Draw Things")
    assert told.request == GenerationRequest(
        prompt="a boat & <sea> <lora:ink:0.5>", negative_prompt="fog", model="boats_f16", sampler="Euler a",
        schedule="Automatic", steps=20, guidance=7, seed=4, width=512, height=512,
    )  # fmt: skip
    assert told.start == {}
    for damaged in (xmp[:-100], xmp.replace("<rdf:li", "<x"), "<exif:UserComment>", ""):
        assert interpret({"XMP": damaged}) is None
