"""Chroma, Flux.2, Qwen-Image and Z-Image: their whole road, against diffusers' own pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from tests import tiny_chroma, tiny_flux2, tiny_qwen_image, tiny_z_image
from tests.engine_parts import (
    PlanMaker,
    check_batch,
    difference,
    latents_of,
    load_pipeline,
    noise_of,
    picture_of,
    plans_of,
    preview_sizes,
)
from webui.domain.models import Family
from webui.domain.plan import Plan, PreviewPlan
from webui.engine import coders, families
from webui.engine.condition import Encoding
from webui.engine.engine import Engine
from webui.engine.families.flux import pack
from webui.engine.models import Models
from webui.weights.memory import Resident

pytestmark = [
    # diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]
KINDS = {
    Family.CHROMA: (tiny_chroma.make_folder, diffusers.ChromaPipeline),
    Family.FLUX2: (tiny_flux2.make_folder, diffusers.Flux2KleinPipeline),
    Family.QWEN_IMAGE: (tiny_qwen_image.make_folder, diffusers.QwenImagePipeline),
    Family.Z_IMAGE: (tiny_z_image.make_folder, diffusers.ZImagePipeline),
}


@pytest.fixture(scope="module", params=KINDS)
def family(request: pytest.FixtureRequest) -> Family:
    """All tests of one family run one after the other: its model is loaded once."""
    return Family(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, family: Family) -> Path:
    return KINDS[family][0](tmp_path_factory.mktemp("models") / family.value)


@pytest.fixture(scope="module")
def pipeline(folder: Path, family: Family) -> Any:
    return load_pipeline(KINDS[family][1], folder)


@pytest.fixture(scope="module")
def plan_flow(make_plan: PlanMaker, folder: Path, family: Family) -> PlanMaker:
    """Return a function like `make_plan` for a tiny model of the family; Flux.2 knows no negative prompts."""
    negative = "" if family is Family.FLUX2 else "dull dog"
    return plans_of(make_plan, family, path=folder, guidance=3.0, negative=negative)


@pytest.fixture(scope="module")
def model(models: Models, plan_flow: PlanMaker) -> Resident:
    return models.get(plan_flow().model).resident


# Texts


def encode_theirs(pipeline: Any, family: Family, text: str) -> tuple[Tensor, Tensor | None]:
    """Return the pipeline's states [T,D] and their mask [T], if it has one."""
    with torch.no_grad():
        if family is Family.CHROMA:
            states, _, mask, *_ = pipeline.encode_prompt(text, do_classifier_free_guidance=False)
            return states[0], mask[0].bool()
        if family is Family.FLUX2:
            return pipeline.encode_prompt(text)[0][0], None
        told = {"max_sequence_length": 512} if family is Family.QWEN_IMAGE else {"do_classifier_free_guidance": False}
        states = pipeline.encode_prompt(text, **told)[0][0]
    return states, torch.ones(len(states), dtype=torch.bool)


@pytest.mark.parametrize("text", ["a photo of a cat, at night", "", "dog " * 600])
def test_texts_are_encoded_as_by_diffusers(pipeline: Any, family: Family, model: Resident, text: str) -> None:
    states, mask = encode_theirs(pipeline, family, text)
    condition = families.find(family).encode(model, text, Encoding())
    assert condition.states.shape == states.shape
    assert difference(condition.states, states) < 1e-4
    if mask is not None:
        assert condition.mask is not None
        assert torch.equal(condition.mask, mask)


def test_weights_act_on_the_states(family: Family, model: Resident) -> None:
    encode, encoding = families.find(family).encode, Encoding(emphasis="No norm")
    plain, heavy = (encode(model, text, encoding) for text in ("a cat", "a (cat:1.5)"))
    changed = (plain.states != heavy.states).any(1)
    assert changed.sum() == 1
    assert torch.allclose(heavy.states[changed], plain.states[changed] * 1.5, atol=1e-5)
    if family is Family.CHROMA:  # of "a", "cat" and the end, the second
        assert changed[1]


# Whole pictures


def told(family: Family, plan: Plan) -> dict[str, Any]:
    """Return what the pipeline is asked for `plan`; Z-Image's guidance counts what is added to the prompt's picture."""
    image = plan.images[0]
    asked: dict[str, Any] = {
        "prompt": image.prompt, "width": plan.width, "height": plan.height, "num_inference_steps": plan.steps,
    }  # fmt: skip
    if family is Family.FLUX2:
        return asked | {"guidance_scale": plan.guidance}
    asked["negative_prompt"] = image.negative_prompt
    if family is Family.CHROMA:
        return asked | {"guidance_scale": plan.guidance}
    if family is Family.QWEN_IMAGE:
        return asked | {"true_cfg_scale": plan.guidance}
    levels = np.linspace(1, 1 / plan.steps, plan.steps).tolist()
    return asked | {"guidance_scale": plan.guidance - 1, "sigmas": levels}


def as_theirs(family: Family, latents: Tensor) -> Tensor:
    """Return noise, or latents [N,C,h,w], as the pipeline takes them."""
    if family is Family.FLUX2:
        return pixel_unshuffle(latents, 2)
    return latents if family is Family.Z_IMAGE else pack(latents)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_the_same_latents_as_diffusers(
    pipeline: Any, family: Family, models: Models, model: Resident, plan_flow: PlanMaker, size: tuple[int, int],
    guidance: float,
) -> None:  # fmt: skip
    """Norms are kept token by token in Qwen-Image; Flux.2's latents come as the VAE decodes them."""
    plan = plan_flow(guidance=guidance, width=size[0], height=size[1], steps=5)
    start = as_theirs(family, noise_of(plan))
    theirs = pipeline(**told(family, plan), latents=start, output_type="latent").images
    ours = latents_of(plan, models)
    ours = coders.denormalised(model.network("vae"), ours) if family is Family.FLUX2 else as_theirs(family, ours)
    assert ours.shape == theirs.shape
    assert difference(ours, theirs) < 1e-3


def test_the_same_picture_as_diffusers(pipeline: Any, family: Family, engine: Engine, plan_flow: PlanMaker) -> None:
    """From the seed alone, but of Flux.2, whose pipeline draws noise in another order."""
    plan = plan_flow()
    start: dict[str, Any] = {"generator": torch.Generator().manual_seed(plan.images[0].seed)}
    if family is Family.FLUX2:
        start = {"latents": as_theirs(family, noise_of(plan))}
    theirs = pipeline(**told(family, plan), **start).images[0]
    assert np.abs(picture_of(engine, plan) - np.asarray(theirs, np.int16)).max() <= 1


def test_batches_are_single_images(models: Models, plan_flow: PlanMaker) -> None:
    """With texts of different length, one of which changes on the way."""
    check_batch(plan_flow(count=3), ("a cat", "dog " * 90, "a [castle:dog:2], " * 20), models)


def test_sides_of_an_odd_number_of_latents(family: Family, models: Models, plan_flow: PlanMaker) -> None:
    latents = latents_of(plan_flow(width=72, height=88), models)
    assert latents.shape == (1, 32 if family is Family.FLUX2 else 16, 11, 9)
    assert torch.isfinite(latents).all()


def test_previews(engine: Engine, plan_flow: PlanMaker) -> None:
    assert preview_sizes(engine, plan_flow(preview=PreviewPlan(every=1))) == [(64, 64)] * 3
