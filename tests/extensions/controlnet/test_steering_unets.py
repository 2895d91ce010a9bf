"""ControlNets, unions and T2I-Adapters beside UNets, against diffusers' own pipelines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from safetensors.torch import load_file
from torch import Tensor

from tests.engine_parts import PlanMaker, difference, latents_of, load_pipeline, noise_of, plans_of
from tests.extensions.controlnet.control_parts import (
    HOLE,
    OTHER_HINT,
    awake,
    control_models,
    hooks_of,
    mask,
    original_controlnet,
    shapes,
    steered,
    tokens_of,
    unit,
    write_file,
)
from tests.tiny_models import SCHEDULER, make_networks
from tests.tiny_xl import make_folder as make_xl
from tests.tiny_xl import make_networks as make_xl_networks
from webui.domain.models import Family, Kind
from webui.domain.plan import Plan
from webui.engine.engine import EngineOptions
from webui.engine.families import sd1
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def steered_models(options: EngineOptions) -> Models:
    return control_models(options)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nets")


@pytest.fixture(scope="module")
def net(nets: Path) -> Path:
    """A ControlNet for the tiny SD1, in diffusers' layout as one file without configuration."""
    network = awake(ControlNetModel.from_unet(make_networks()["unet"]))
    return write_file(nets / "net.safetensors", network.state_dict())


@pytest.fixture(scope="module")
def second_net(nets: Path) -> Path:
    """Another one as a diffusers folder."""
    awake(ControlNetModel.from_unet(make_networks(seed=4)["unet"]), seed=9).save_pretrained(nets / "second")
    return nets / "second"


@pytest.fixture(scope="module")
def xl_folder(nets: Path) -> Path:
    return make_xl(nets / "xl")


@pytest.fixture(scope="module")
def plan_xl(make_plan: PlanMaker, xl_folder: Path) -> PlanMaker:
    return plans_of(make_plan, Family.SDXL, path=xl_folder)


def theirs(pipeline: Any, plan: Plan, models: Models, **told: Any) -> Tensor:
    """Return what diffusers' pipeline draws by Euler's method from the same noise."""
    levels = sd1.noise_levels(models.get(plan.model).resident)
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        dict(SCHEDULER), timestep_spacing="linspace", steps_offset=0
    )
    # diffusers multiplies by its own first sigma, sqrt(sigma² + 1) or sigma, whichever its spacing asks for.
    sigma = find_sigmas(plan.sampler, plan.schedule, plan.steps, levels)[0]
    pipeline.scheduler.set_timesteps(plan.steps)
    noise = noise_of(plan) * sigma / pipeline.scheduler.init_noise_sigma
    image = plan.images[0]
    return pipeline(
        image.prompt, negative_prompt=image.negative_prompt, guidance_scale=plan.guidance, width=64, height=64,
        num_inference_steps=plan.steps, latents=noise, output_type="latent", **told,
    ).images  # fmt: skip


@pytest.fixture(scope="module")
def pipeline_of(tiny_folder: Path) -> Callable[..., Any]:
    def load(kind: Any, **parts: Any) -> Any:
        return load_pipeline(kind, tiny_folder, safety_checker=None, feature_extractor=None, **parts)

    return load


def controlnet_of(path: Path) -> ControlNetModel:
    if path.is_dir():
        return ControlNetModel.from_pretrained(path)
    network = ControlNetModel.from_unet(make_networks()["unet"])
    network.load_state_dict(load_file(path))
    return network


@pytest.mark.parametrize("weight, start, end", [(1.0, 0.0, 1.0), (0.6, 0.25, 0.75)])
def test_sd1_is_steered_as_by_diffusers(
    steered_models: Models, make_plan: PlanMaker, pipeline_of: Callable[..., Any], net: Path, weight: float,
    start: float, end: float,
) -> None:  # fmt: skip
    plan = make_plan(steps=5)
    pipeline = pipeline_of(diffusers.StableDiffusionControlNetPipeline, controlnet=controlnet_of(net))
    expected = theirs(
        pipeline, plan, steered_models, image=shapes(), controlnet_conditioning_scale=weight,
        control_guidance_start=start, control_guidance_end=end,
    )  # fmt: skip
    ours = latents_of(steered(plan, unit(net, weight=weight, start=start, end=end)), steered_models)
    assert difference(ours, expected) < 1e-4
    assert difference(ours, latents_of(plan, steered_models)) > 1e-2, "a unit that changes nothing proves nothing"


def test_several_units_are_added_up(
    steered_models: Models, make_plan: PlanMaker, pipeline_of: Callable[..., Any], net: Path, second_net: Path
) -> None:
    plan = make_plan()
    both = [controlnet_of(net), controlnet_of(second_net)]
    pipeline = pipeline_of(diffusers.StableDiffusionControlNetPipeline, controlnet=both)
    other = steered_models.inputs[OTHER_HINT]
    expected = theirs(
        pipeline, plan, steered_models, image=[shapes(), other], controlnet_conditioning_scale=[0.5, 0.9]
    )  # fmt: skip
    units = unit(net, weight=0.5), unit(second_net, 1, weight=0.9, image=OTHER_HINT)
    assert difference(latents_of(steered(plan, *units), steered_models), expected) < 1e-4


@pytest.mark.parametrize("weight", [0.7, 1.0])
def test_sdxl_is_steered_as_by_diffusers(
    steered_models: Models, plan_xl: PlanMaker, xl_folder: Path, nets: Path, weight: float
) -> None:
    network = awake(ControlNetModel.from_unet(make_xl_networks()["unet"]))
    path = write_file(nets / "xl-net.safetensors", original_controlnet(network.state_dict(), 1))
    pipeline = load_pipeline(diffusers.StableDiffusionXLControlNetPipeline, xl_folder, controlnet=network)
    plan = plan_xl()
    expected = theirs(pipeline, plan, steered_models, image=shapes(), controlnet_conditioning_scale=weight)
    assert difference(latents_of(steered(plan, unit(path, weight=weight)), steered_models), expected) < 1e-4


@pytest.mark.parametrize("kind, number", [("depth", 1), ("tile", 6)])
def test_a_union_is_told_its_type_as_by_diffusers(
    steered_models: Models, plan_xl: PlanMaker, xl_folder: Path, nets: Path, kind: str, number: int
) -> None:
    unet = make_xl_networks()["unet"]
    names = ("block_out_channels", "layers_per_block", "down_block_types", "transformer_layers_per_block",
             "attention_head_dim", "cross_attention_dim", "norm_num_groups", "use_linear_projection",
             "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim")  # fmt: skip
    torch.manual_seed(1)
    network = awake(
        ControlNetUnionModel(
            **{name: unet.config[name] for name in names}, num_control_type=8, num_trans_channel=32, num_proj_channel=32
        )
    )
    path = write_file(nets / "union.safetensors", network.state_dict())
    pipeline = load_pipeline(diffusers.StableDiffusionXLControlNetUnionPipeline, xl_folder, controlnet=network)
    plan = plan_xl()
    expected = theirs(pipeline, plan, steered_models, control_image=[shapes()], control_mode=[number])
    ours = latents_of(steered(plan, unit(path, union_type=kind)), steered_models)
    assert difference(ours, expected) < 1e-4


ADAPTERS = {
    "full": {"channels": (32, 64, 64), "adapter_type": "full_adapter", "in_channels": 3},
    "gray": {"channels": (32, 64, 64), "adapter_type": "full_adapter", "in_channels": 1},
    "light": {"channels": (32, 64), "adapter_type": "light_adapter", "num_res_blocks": 3, "in_channels": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", list(ADAPTERS))
@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_sd1_adapters_add_what_those_of_diffusers_add(
    steered_models: Models, make_plan: PlanMaker, pipeline_of: Callable[..., Any], nets: Path, name: str, layout: str
) -> None:
    torch.manual_seed(2)
    network = T2IAdapter(**ADAPTERS[name]).eval()
    weights = network.state_dict()
    if layout == "original":
        weights = {_original_adapter(key, name == "light"): tensor for key, tensor in weights.items()}
    path = write_file(nets / f"{name}-{layout}.safetensors", weights)
    pipeline = pipeline_of(diffusers.StableDiffusionAdapterPipeline, adapter=network)
    plan = make_plan()
    hint = tokens_of(shapes())
    hint = hint if name != "gray" else hint.mean(1, keepdim=True)
    expected = theirs(pipeline, plan, steered_models, image=hint, adapter_conditioning_scale=0.8)
    ours = latents_of(steered(plan, unit(path, kind=Kind.T2I_ADAPTER, weight=0.8)), steered_models)
    assert difference(ours, expected) < 1e-4
    assert difference(ours, latents_of(plan, steered_models)) > 1e-3


def _original_adapter(name: str, light: bool) -> str:
    """Return the name of a weight in TencentARC's files."""
    parts = name.removeprefix("adapter.").split(".")
    if parts[0] == "conv_in":
        return ".".join(parts)
    if light:
        return ".".join(["body" if part == "resnets" else part for part in parts])
    if parts[2] == "in_conv":
        return f"body.{2 * int(parts[1])}.in_conv.{parts[3]}"
    return f"body.{2 * int(parts[1]) + int(parts[3])}.{parts[4]}.{parts[5]}"


def test_sdxl_adapters_add_what_those_of_diffusers_add(
    steered_models: Models, plan_xl: PlanMaker, xl_folder: Path, nets: Path
) -> None:
    torch.manual_seed(2)
    network = T2IAdapter(channels=(32, 64, 128, 128), adapter_type="full_adapter_xl", downscale_factor=16).eval()
    path = write_file(nets / "adapter-xl.safetensors", network.state_dict())
    pipeline = load_pipeline(diffusers.StableDiffusionXLAdapterPipeline, xl_folder, adapter=network)
    plan = plan_xl()
    expected = theirs(pipeline, plan, steered_models, image=shapes(), adapter_conditioning_scale=0.8)
    ours = latents_of(steered(plan, unit(path, kind=Kind.T2I_ADAPTER, weight=0.8)), steered_models)
    assert difference(ours, expected) < 1e-4


def test_a_network_for_inpainting_is_shown_a_hole(
    steered_models: Models, make_plan: PlanMaker, pipeline_of: Callable[..., Any], net: Path
) -> None:
    """White of the mask is -1 in the picture, as in diffusers' example of control_v11p_sd15_inpaint."""
    hint = tokens_of(shapes())
    hint[:, :, torch.from_numpy(np.array(mask())) > 127] = -1
    plan = make_plan()
    pipeline = pipeline_of(diffusers.StableDiffusionControlNetPipeline, controlnet=controlnet_of(net))
    expected = theirs(pipeline, plan, steered_models, image=hint)
    ours = latents_of(steered(plan, unit(net, preprocessor="inpaint", mask=HOLE)), steered_models)
    assert difference(ours, expected) < 1e-4


def test_everything_is_put_back(steered_models: Models, make_plan: PlanMaker, net: Path) -> None:
    plan = make_plan()
    before = latents_of(plan, steered_models)
    resident = steered_models.get(plan.model).resident
    weights = {name: tensor.clone() for name, tensor in resident.network("unet").state_dict().items()}
    units = unit(net), unit(net, 1, low_memory=True, image=OTHER_HINT), unit(None, 2, preprocessor="reference_only")
    latents_of(steered(plan, *units), steered_models)
    assert not hooks_of(resident.network("unet"))
    assert set(resident.parts) == {"unet", "vae", "text_encoder"}
    after = resident.network("unet").state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    assert torch.equal(latents_of(plan, steered_models), before)
