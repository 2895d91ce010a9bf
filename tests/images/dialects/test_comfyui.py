"""ComfyUI's graphs: found in PNG, WebP and JPEG, followed from the sampler backwards, and hostile ones survived."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.domain.passes import Hires
from webui.domain.request import GenerationRequest
from webui.images.dialects.interpret import Interpretation, interpret
from webui.images.infotext import read

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def plain() -> Graph:
    return {
        "3": node(
            "KSampler", seed=42, steps=25, cfg=6.5, sampler_name="dpmpp_2m", scheduler="karras", denoise=1.0,
            model=["10", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="sd\\fine.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "6": node("CLIPTextEncode", text="a [small] (cat:1.2), embedding:charm", clip=["10", 1]),
        "7": node("CLIPTextEncode", text=["20", 0], clip=["10", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["14", 0]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
        "10": node("LoraLoader", lora_name="line.safetensors", strength_model=0.8, model=["11", 0], clip=["13", 0]),
        "11": node("LoraLoader", lora_name="ink.safetensors", strength_model=1.0, model=["4", 0], clip=["4", 1]),
        "13": node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["11", 1]),
        "14": node("VAELoader", vae_name="soft.pt"),
        "20": node("PrimitiveString", value="blurry"),
    }  # fmt: skip


def found(graph: Any, name: str = "prompt") -> Interpretation:
    interpretation = interpret({name: json.dumps(graph)})
    assert interpretation is not None
    return interpretation


def test_a_plain_graph() -> None:
    read_graph = found(plain())
    assert (read_graph.program, read_graph.unmapped, read_graph.start) == ("ComfyUI", (), {})
    request = read_graph.request
    assert request == GenerationRequest(
        prompt=r"a \[small\] (cat:1.2), charm <lora:ink:1> <lora:line:0.8>",
        negative_prompt="blurry",
        model="sd/fine",
        vae="soft.pt",
        sampler="DPM++ 2M",
        schedule="Karras",
        steps=25,
        guidance=6.5,
        seed=42,
        width=512,
        height=768,
        clip_skip=2,
        emphasis="No norm",
        sampling=request.sampling.replace(noise_source="CPU"),
    )
    assert read(read_graph.infotext).request == request, "the text says the same in A1111's form"


@pytest.mark.parametrize(
    "texts",
    [
        {"Model": "prompt:" + json.dumps(plain())},
        {"Make": "Prompt:" + json.dumps(plain()), "Model": "workflow:{}"},
        {"parameters": json.dumps(plain())},
        {"prompt": json.dumps(plain()), "workflow": json.dumps({"nodes": [], "links": []})},
    ],
)
def test_it_is_found_wherever_it_is(texts: dict[str, str]) -> None:
    interpretation = interpret(texts)
    assert interpretation is not None and interpretation == found(plain())


def test_a_second_sampler_is_a_second_pass() -> None:
    graph = plain() | {
        "8": node("VAEDecode", samples=["31", 0], vae=["14", 0]),
        "30": node("LatentUpscaleBy", upscale_method="nearest-exact", scale_by=1.5, samples=["3", 0]),
        "31": node(
            "KSampler", seed=43, steps=12, cfg=8, sampler_name="euler_ancestral", scheduler="normal", denoise=0.55,
            model=["10", 0], positive=["6", 0], negative=["7", 0], latent_image=["30", 0],
        ),
    }  # fmt: skip
    told = found(graph)
    assert told.request.hires == Hires(
        scale=1.5, upscaler="Latent (nearest-exact)", steps=12, strength=0.55, sampler="Euler a", schedule="Normal",
        guidance=8,
    )  # fmt: skip
    assert (told.request.seed, told.request.steps) == (42, 25)
    assert told.unmapped == ("Seed of the second sampler: 43 (the second pass goes on with the first one's)",)
    graph["32"] = node("ImageUpscaleWithModel", upscale_model=["33", 0], image=["34", 0])
    graph["33"] = node("UpscaleModelLoader", model_name="4x_sharp.pth")
    graph["34"] = node("VAEDecode", samples=["3", 0])
    graph["30"] = node("VAEEncode", pixels=["35", 0])
    graph["35"] = node("ImageScale", upscale_method="lanczos", width=1024, height=1536, image=["32", 0])
    hires = found(graph).request.hires
    assert hires is not None and (hires.upscaler, hires.width, hires.height) == ("4x_sharp", 1024, 1536)


def test_a_sampler_of_parts() -> None:
    graph = plain()
    graph["3"] = node(
        "SamplerCustomAdvanced", noise=["40", 0], guider=["41", 0], sampler=["42", 0], sigmas=["43", 0],
        latent_image=["5", 0],
    )  # fmt: skip
    graph["40"] = node("RandomNoise", noise_seed=7)
    graph["41"] = node("CFGGuider", cfg=5, positive=["6", 0], negative=["7", 0], model=["44", 0])
    graph["42"] = node("KSamplerSelect", sampler_name="dpmpp_2m_sde_gpu")
    graph["43"] = node("KarrasScheduler", steps=30, sigma_max=14.6)
    graph["44"] = node("RescaleCFG", multiplier=0.7, model=["10", 0])
    request = found(graph).request
    assert (request.seed, request.guidance, request.steps) == (7, 5, 30)
    assert (request.sampler, request.schedule, request.guiding.rescale) == ("DPM++ 2M SDE", "Karras", 0.7)
    assert (request.model, request.negative_prompt) == ("sd/fine", "blurry")


def test_nodes_of_extensions_that_do_several_things_at_once() -> None:
    switches = {
        "lora_1": {"on": True, "lora": "ink.safetensors", "strength": 0.5},
        "lora_2": {"on": False, "lora": "no"},
    }
    graph = {
        "1": node(
            "Efficient Loader", ckpt_name="fine.safetensors", lora_name="None", positive="a cat", negative="fog",
            empty_latent_width=640, empty_latent_height=512,
        ),
        "2": node("Power Lora Loader (rgthree)", model=["1", 0], **switches),
        "3": node(
            "KSampler (Efficient)", seed=5, steps=9, cfg=4, sampler_name="euler", scheduler="normal", denoise=1,
            model=["2", 0], positive=["1", 1], negative=["1", 2], latent_image=["1", 3],
        ),
    }  # fmt: skip
    assert found(graph).unmapped == ()
    request = found(graph).request
    assert (request.prompt, request.negative_prompt) == ("a cat <lora:ink:0.5>", "fog")
    assert (request.model, request.width, request.height) == ("fine", 640, 512)


def test_a_picture_as_the_start_has_a_strength() -> None:
    graph = plain() | {"5": node("VAEEncode", pixels=["50", 0]), "50": node("LoadImage", image="a.png")}
    graph["3"]["inputs"]["denoise"] = 0.4
    told = found(graph)
    assert told.start == {"strength": 0.4} and told.request.hires is None and told.request.width is None


def test_nodes_that_are_not_known_are_named() -> None:
    graph = plain() | {"60": node("ControlNetApply", conditioning=["6", 0], strength=1)}
    graph["3"]["inputs"] |= {"positive": ["60", 0], "sampler_name": "res_multistep"}
    told = found(graph)
    assert told.request.prompt.startswith("a ")
    assert told.unmapped == (
        "Sampler: res_multistep (no such sampler here)",
        "ControlNetApply (a node of ComfyUI that is not taken over)",
    )


def test_a_workflow_alone_is_recognised() -> None:
    told = interpret({"workflow": json.dumps({"nodes": [], "links": []})})
    assert told is not None and told.program == "ComfyUI"
    assert told.request == GenerationRequest() and "open it in ComfyUI" in told.unmapped[0]


def test_what_is_no_graph_is_nothing() -> None:
    for text in ("{}", "[]", "{", '{"1": {"class_type": "Note", "inputs": {}}}', "null", '"x"', "{" * 100_000):
        assert interpret({"prompt": text}) is None


def test_circles_end() -> None:
    graph = plain()
    graph["10"]["inputs"]["model"] = ["10", 0]
    graph["20"]["inputs"]["value"] = ["20", 0]
    graph["5"] = node("LatentUpscale", samples=["3", 0])
    told = found(graph)
    assert told.request.seed == 42 and told.request.negative_prompt == ""


@pytest.mark.parametrize("kind", ["Reroute", "KSampler"])
def test_long_chains_are_survived(kind: str) -> None:
    chain = {
        str(number): node(
            kind, samples=[str(number + 1), 0], seed=1, steps=2, positive=["6", 0], value=[str(number + 1), 0]
        )
        for number in range(5_000)
    }
    interpret({"prompt": json.dumps(chain)})
    interpret({"prompt": json.dumps({**chain, **{f"x{key}": value for key, value in plain().items()}})})


LINKS = st.tuples(st.sampled_from(list("0123456789")), st.integers(0, 2)).map(list)
VALUES = st.one_of(LINKS, st.text(max_size=9), st.floats(), st.integers(), st.none(), st.just({}), st.just([["3"], 0]))
NAMES = sorted(
    {name for each in plain().values() for name in each["inputs"]} | {"conditioning", "upscale_model", "noise"}
)
KINDS = sorted({each["class_type"] for each in plain().values()} | {"KSamplerAdvanced", "SamplerCustom", "Reroute"})


@given(
    st.dictionaries(
        st.sampled_from(list("0123456789")),
        st.builds(lambda kind, inputs: {"class_type": kind, "inputs": inputs}, st.sampled_from(KINDS),
                  st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)) | VALUES,
    )
)  # fmt: skip
def test_any_graph_is_read(graph: Graph) -> None:
    told = interpret({"prompt": json.dumps(graph)})
    assert told is None or told.program == "ComfyUI"
