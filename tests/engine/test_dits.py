"""Families whose network is a transformer against diffusers' own pipelines, and what all families share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tests.engine_parts import (
    MASKED,
    PICTURE,
    PlanMaker,
    check_batch,
    check_inpainting,
    check_memory_mode,
    difference,
    latents_of,
    load_pipeline,
    noise_of,
    photo,
    picture_of,
    pictures_of,
    plans_of,
    preview_sizes,
)
from tests.tiny_dits import KINDS, PIPELINES, SCHEDULERS, make_folder
from webui.domain.models import Family
from webui.domain.plan import Plan, PreviewPlan
from webui.domain.start import FromImage
from webui.engine import families, previews, vae
from webui.engine.condition import Condition, Encoding, stack
from webui.engine.engine import Engine
from webui.engine.families.sana import read_instruction
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.engine.starts import latent_mask
from webui.errors import BadRequest
from webui.weights.loading.load import load
from webui.weights.memory import Resident
from webui.weights.recognition.identify import identify

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 5
LONG = "dog castle, " * 200


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """All tests of one kind run one after the other: its model is loaded once."""
    return str(request.param)


@pytest.fixture(scope="module")
def pipeline(folders: dict[str, Path], kind: str) -> Any:
    return load_pipeline(getattr(diffusers, PIPELINES[kind]), folders[kind])


@pytest.fixture(scope="module")
def plan_dit(make_plan: PlanMaker, folders: dict[str, Path]) -> PlanMaker:
    """Return a function like `make_plan` for a tiny model of a kind."""

    def make(kind: str, **changes: Any) -> Plan:
        flow = Family(kind).is_flow
        usual = {
            "steps": STEPS,
            "sampler": "Euler",
            "schedule": "Simple" if flow else "Uniform",
            "negative": "dull dog",
        }
        return plans_of(make_plan, Family(kind), path=folders[kind], **usual)(**changes)

    return make


def model_of(models: Models, plan: Plan) -> Resident:
    return models.get(plan.model).resident


# Texts


def encode(model: Resident, text: str, negative: bool = False, **encoding: Any) -> Condition:
    rules = families.find(model.checkpoint.family)
    return rules.encode(model, text, Encoding(**encoding), negative=negative)


def encode_theirs(pipeline: Any, kind: str, text: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the pipeline's states and mask of a text and of the same text as a negative prompt."""
    if kind == "hunyuan_dit":
        return encode_theirs_twice(pipeline, text)
    told = {"complex_human_instruction": read_instruction().split("\n")} if kind == "sana" else {}
    with torch.no_grad():
        given = pipeline.encode_prompt(text, negative_prompt=text, do_classifier_free_guidance=True, **told)
    return given


def encode_theirs_twice(pipeline: Any, text: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return HunyuanDiT's states, BERT's with zeros behind them and then T5's."""
    given = {"do_classifier_free_guidance": True, "negative_prompt": text}
    with torch.no_grad():
        bert, t5 = (pipeline.encode_prompt(text, text_encoder_index=number, **given) for number in (0, 1))
    missing = t5[0].shape[-1] - bert[0].shape[-1]
    states = [
        torch.cat([functional.pad(one, (0, missing)), other], 1) for one, other in zip(bert[:2], t5[:2], strict=True)
    ]
    masks = [torch.cat(both, 1) for both in zip(bert[2:], t5[2:], strict=True)]
    return states[0], masks[0], states[1], masks[1]


@pytest.mark.parametrize("text", ["A photo of a cat, at night", "", LONG])
def test_texts_are_encoded_as_by_diffusers(
    pipeline: Any, models: Models, plan_dit: PlanMaker, kind: str, text: str
) -> None:
    model = model_of(models, plan_dit(kind))
    states, mask, negative_states, negative_mask = encode_theirs(pipeline, kind, text)
    for ours, theirs, seen in (
        (encode(model, text), states[0], mask[0].bool()),
        (encode(model, text, negative=True), negative_states[0], negative_mask[0].bool()),
    ):
        if ours.mask is None:
            assert difference(ours.states, theirs) < 1e-4
            continue
        assert torch.equal(ours.mask, seen)
        assert difference(ours.states[seen], theirs[seen]) < 1e-4


def test_weights_act_on_the_states_of_their_words(models: Models, plan_dit: PlanMaker, kind: str) -> None:
    model = model_of(models, plan_dit(kind))
    plain, heavy = encode(model, "a cat"), encode(model, "a (cat:1.5)", emphasis="No norm")
    ratio = (heavy.states / plain.states).nan_to_num(1.0).median(-1).values
    assert 1 <= (ratio > 1.49).sum() <= 3 and torch.allclose(ratio[ratio < 1.49], torch.ones(()))
    assert torch.equal(encode(model, "a (cat:1.5)", emphasis="Ignore").states, plain.states)


# Whole pictures


def latents_of_theirs(pipeline: Any, plan: Plan, models: Models) -> Tensor:
    """Run the pipeline with our noise, along our noise levels."""
    kind, image, given = plan.model.family.value, plan.images[0], {}
    start = noise_of(plan)
    if plan.model.family.is_flow:
        given["sigmas"] = list(np.linspace(1.0, 1 / plan.steps, plan.steps))
    else:
        scheduler = diffusers.EulerDiscreteScheduler.from_config(
            dict(SCHEDULERS[kind]), timestep_spacing="linspace", steps_offset=0
        )
        pipeline.scheduler = scheduler
        scheduler.set_timesteps(plan.steps)
        levels = families.find(plan.model.family).noise_levels(model_of(models, plan), (plan.width, plan.height))
        start = start * find_sigmas("Euler", "Uniform", plan.steps, levels)[0] / scheduler.init_noise_sigma
    if kind == "sana":
        shift = SCHEDULERS[kind]["flow_shift"]
        pipeline.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    if kind == "lumina2":
        given["cfg_normalization"] = False
    if kind in ("pixart_alpha", "pixart_sigma", "sana", "hunyuan_dit"):
        given["use_resolution_binning"] = False
    return pipeline(
        image.prompt, negative_prompt=image.negative_prompt, guidance_scale=plan.guidance, width=plan.width,
        height=plan.height, num_inference_steps=plan.steps, latents=start, output_type="latent", **given,
    ).images  # fmt: skip


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_the_same_latents_as_diffusers(
    pipeline: Any, models: Models, plan_dit: PlanMaker, kind: str, size: tuple[int, int], guidance: float
) -> None:
    """With and without classifier-free guidance."""
    plan = plan_dit(kind, guidance=guidance, width=size[0], height=size[1])
    assert difference(latents_of(plan, models), latents_of_theirs(pipeline, plan, models)) < 1e-3


def test_the_same_picture_as_diffusers(
    pipeline: Any, engine: Engine, models: Models, plan_dit: PlanMaker, kind: str
) -> None:
    """Decoded with the scale and the shift of the model."""
    plan, coder = plan_dit(kind), pipeline.vae
    own = latents_of(plan, models) / coder.config.scaling_factor + (getattr(coder.config, "shift_factor", None) or 0)
    with torch.inference_mode():
        theirs = coder.decode(own, return_dict=False)[0]
    expected = ((theirs[0] / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    assert np.abs(picture_of(engine, plan) - expected).max() <= 1


def test_batches_are_single_images(models: Models, plan_dit: PlanMaker, kind: str) -> None:
    """With prompts of different length, one that changes on the way, and one of two branches."""
    plan = plan_dit(kind, count=3, sampler="DPM++ 2M", guidance=2.0)
    prompts = "bird " * 80, "a [castle:dog:2]", "a cat AND a castle at night :0.5"
    check_batch(plan, prompts, models, 1e-3)


@pytest.mark.parametrize("prompt", ["a castle", "a cat AND a castle", "a [cat:castle:1]"])
def test_prompts_matter(models: Models, plan_dit: PlanMaker, kind: str, prompt: str) -> None:
    plan = plan_dit(kind, prompt=prompt)
    assert difference(latents_of(plan, models), latents_of(plan_dit(kind, prompt="a cat"), models)) > 1e-3


@pytest.mark.parametrize("size", [(72, 88), (104, 64)])
def test_every_size_that_can_be_chosen(engine: Engine, plan_dit: PlanMaker, kind: str, size: tuple[int, int]) -> None:
    picture = picture_of(engine, plan_dit(kind, width=size[0], height=size[1]))
    assert picture.shape == (size[1], size[0], 3)


def test_a_picture_is_gone_on_with(engine: Engine, plan_dit: PlanMaker, kind: str) -> None:
    """The less strength, the more is left of it; all of a picture that the VAE can keep."""
    weak, strong = (
        picture_of(engine, plan_dit(kind, start=FromImage(images=(PICTURE,), strength=strength)), a=photo())
        for strength in (0.2, 1.0)
    )
    assert np.abs(weak - strong).mean() > 1


def test_inpainting_keeps_what_is_not_masked(engine: Engine, plan_dit: PlanMaker, kind: str) -> None:
    check_inpainting(engine, plan_dit(kind, start=MASKED))


@pytest.mark.parametrize("method", ["Approx", "Full"])
def test_previews(engine: Engine, plan_dit: PlanMaker, kind: str, method: str) -> None:
    plan = plan_dit(kind, preview=PreviewPlan(every=2, method=method))
    assert preview_sizes(engine, plan) == [(64, 64)] * 2


@pytest.mark.parametrize("mode", ["medvram", "lowvram"])
def test_every_memory_mode_draws_the_same(
    models: Models, plan_dit: PlanMaker, kind: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_memory_mode(plan_dit(kind), models, mode, monkeypatch)


def test_half_precision(models: Models, plan_dit: PlanMaker, folders: dict[str, Path], kind: str) -> None:
    """Everything the network is given is in its precision, or is brought into it."""
    exact, checkpoint = model_of(models, plan_dit(kind)), identify(folders[kind])
    dtypes = dict.fromkeys(checkpoint.components, torch.bfloat16)
    rules, half = families.find(Family(kind)), Resident(load(checkpoint, dtypes), exact.placement)
    latents, outputs = noise_of(plan_dit(kind)), []
    for model, dtype in ((exact, torch.float32), (half, torch.bfloat16)):
        condition = stack([encode(model, "a cat").to(dtype)])
        with model.on_device("transformer") as network, torch.inference_mode():
            outputs.append(rules.make_predict(model, network)(latents, torch.tensor(500.0), condition))
    assert outputs[1].dtype == torch.float32
    assert difference(outputs[1], outputs[0]) < 0.3


# What one family alone knows


def test_pixart_alpha_is_told_the_size(models: Models, plan_dit: PlanMaker) -> None:
    model = model_of(models, plan_dit("pixart_alpha"))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    condition = encode(model, "a cat")
    told: list[dict[str, Tensor]] = []

    class Fake(torch.nn.Module):
        def forward(self, latents: Tensor, added_cond_kwargs: dict[str, Tensor], **_: object) -> Any:
            told.append(added_cond_kwargs)
            return (latents,)

    predict = families.find(Family.PIXART_ALPHA).make_predict(model, Fake())
    predict(latents.expand(2, 4, 8, 8).repeat(1, 1, 1, 2), torch.tensor(1.0), condition)
    assert told[0]["resolution"].tolist() == [[64, 128]] * 2 and told[0]["aspect_ratio"].tolist() == [[0.5]] * 2


def test_auraflow_knows_so_many_places(engine: Engine, plan_dit: PlanMaker) -> None:
    assert len(pictures_of(engine, plan_dit("auraflow", width=128, height=128))) == 1
    with pytest.raises(BadRequest, match="at most 128 pixels"):
        pictures_of(engine, plan_dit("auraflow", width=136, height=64))


def test_masks_of_pictures_that_are_no_whole_latents() -> None:
    """The edge of a mask lies where it does in the picture, whose last latents reach beyond it."""
    mask = Image.new("L", (72, 64), 0)
    mask.paste(255, (64, 0, 72, 64))
    assert latent_mask(mask, (2, 3), 32, soft=False).tolist() == [[[0, 0, 1], [0, 0, 1]]]


@pytest.mark.parametrize("colour", range(3))
def test_previews_of_sana_have_the_colours_of_its_vae(models: Models, plan_dit: PlanMaker, colour: int) -> None:
    model = model_of(models, plan_dit("sana"))
    painted = Image.new("RGB", (256, 256), tuple(220 if channel == colour else 40 for channel in range(3)))
    seen = np.asarray(previews.approximate(model, vae.encode(model, painted))).reshape(-1, 3).mean(0)
    assert seen.argmax() == colour and seen.max() - seen.min() > 40
