"""ControlNets beside SD3's and Flux's transformers, against diffusers' own pipelines."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import FluxControlNetModel, SD3ControlNetModel
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor, nn

from tests import tiny_flux, tiny_sd3
from tests.engine_parts import PlanMaker, difference, latents_of, load_pipeline, noise_of, plans_of
from tests.extensions.controlnet.control_parts import (
    HOLE,
    OTHER_HINT,
    awake,
    control_models,
    hooks_of,
    mask,
    shapes,
    steered,
    tokens_of,
    unit,
    write_file,
)
from webui.domain.models import Family
from webui.engine.engine import EngineOptions
from webui.engine.families import flux
from webui.engine.models import Models
from webui.errors import BadRequest

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
FLUX: dict[str, Any] = {
    "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": tiny_flux.WIDTHS[1],
    "pooled_projection_dim": tiny_flux.WIDTHS[0], "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
SD3: dict[str, Any] = {
    "sample_size": 16, "attention_head_dim": 16, "num_attention_heads": 3, "joint_attention_dim": tiny_sd3.STATES,
    "caption_projection_dim": 48, "pooled_projection_dim": sum(tiny_sd3.CLIP_WIDTHS), "pos_embed_max_size": 24,
}  # fmt: skip


@pytest.fixture(scope="module")
def steered_models(options: EngineOptions) -> Models:
    return control_models(options)


def exact(vae: Any) -> None:
    """Let a VAE's latents be the same whether their mean is taken or a sample."""
    with torch.no_grad():
        vae.encoder.conv_out.weight[16:] = 0
        vae.encoder.conv_out.bias[16:] = -30.0


@pytest.fixture(scope="module")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.make_folder(tmp_path_factory.mktemp("models") / "flux")


@pytest.fixture(scope="module")
def plan_flux(make_plan: PlanMaker, flux_folder: Path) -> PlanMaker:
    usual = {"guidance": 1.0, "distilled_guidance": 3.5}
    return plans_of(make_plan, Family.FLUX, path=flux_folder, **usual)


@pytest.fixture(scope="module")
def sd3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3.make_folder(tmp_path_factory.mktemp("models") / "sd3", t5=False)


@pytest.fixture(scope="module")
def plan_sd3(make_plan: PlanMaker, sd3_folder: Path) -> PlanMaker:
    return plans_of(make_plan, Family.SD3, path=sd3_folder, guidance=3.0)


NETWORKS = {
    "InstantX": {"num_layers": 1, "num_single_layers": 1, "guidance_embeds": True},
    "without single blocks": {"num_layers": 1, "num_single_layers": 0, "guidance_embeds": False},
    "union": {"num_layers": 1, "num_single_layers": 2, "guidance_embeds": True, "num_mode": 10},
    "x-flux": {"num_layers": 2, "num_single_layers": 0, "guidance_embeds": True, "conditioning_embedding_channels": 16,
               "patch_size": 2},
}  # fmt: skip


def make_flux(kind: str) -> FluxControlNetModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses what diffusers deprecates
        return FluxControlNetModel(**FLUX, **NETWORKS[kind])


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_flux_is_steered_as_by_diffusers(
    steered_models: Models, plan_flux: PlanMaker, flux_folder: Path, tmp_path: Path, kind: str
) -> None:
    torch.manual_seed(3)
    network = awake(make_flux(kind))
    weights = dict(network.state_dict())
    path = write_file(tmp_path / "net.safetensors", x_flux(network) if kind == "x-flux" else weights)
    pipeline = load_pipeline(diffusers.FluxControlNetPipeline, flux_folder, controlnet=network)
    exact(pipeline.vae)
    plan = plan_flux(steps=4)
    theirs = pipeline(
        plan.images[0].prompt, guidance_scale=3.5, width=64, height=64, num_inference_steps=4,
        latents=flux.pack(noise_of(plan)), output_type="latent", control_image=shapes(),
        control_mode=2 if kind == "union" else None, controlnet_conditioning_scale=0.6, control_guidance_end=0.8,
    ).images  # fmt: skip
    control = unit(path, weight=0.6, end=0.8, union_type="depth")
    ours = latents_of(steered(plan, control), steered_models)
    assert difference(ours, flux.unpack(theirs, 4, 4)) < 1e-3
    assert difference(ours, latents_of(plan, steered_models)) > 1e-2


def x_flux(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights under the names of x-flux's files."""
    hint = {f"conv_{end}": number for end, number in (("in", 0), ("out", 14))}
    hint |= {f"blocks.{number}": 2 * number + 2 for number in range(6)}
    named: dict[str, Tensor] = {}
    own = ("input_hint_block.", "controlnet_")
    for name, tensor in tiny_flux.transformer_weights(_Without(network, own)).items():
        named[name] = tensor
    for name, tensor in network.state_dict().items():
        layer, _, leaf = name.removeprefix("input_hint_block.").rpartition(".")
        if name.startswith("input_hint_block."):
            named[f"input_hint_block.{hint[layer]}.{leaf}"] = tensor
        elif name.startswith("controlnet_"):
            named[name.replace("controlnet_x_embedder", "pos_embed_input")] = tensor
    return named


class _Without(nn.Module):
    """A network of which some weights are not told."""

    def __init__(self, network: nn.Module, left_out: tuple[str, ...]) -> None:
        super().__init__()
        self._told = {name: each for name, each in network.state_dict().items() if not name.startswith(left_out)}

    def state_dict(self, *given: Any, **named: Any) -> dict[str, Tensor]:
        return self._told


def test_two_of_flux_are_added_up_though_one_has_fewer_blocks(
    steered_models: Models, plan_flux: PlanMaker, tmp_path: Path
) -> None:
    """By itself each adds its own; what both say of a block is summed before the network sees it."""
    torch.manual_seed(3)
    paths = []
    for name in ("InstantX", "without single blocks"):
        network = awake(make_flux(name))
        paths.append(write_file(tmp_path / f"{len(paths)}.safetensors", network.state_dict()))
    plan = plan_flux(steps=1)
    calls: list[dict[str, Any]] = []
    transformer = steered_models.get(plan.model).resident.network("transformer")
    units = unit(paths[0], weight=0.5), unit(paths[1], 1, image=OTHER_HINT)
    handle = transformer.register_forward_hook(
        lambda module, given, named, output: calls.append(dict(named)), with_kwargs=True
    )
    for chosen in ((units[0],), (units[1],), units):
        latents_of(steered(plan, *chosen), steered_models)
    handle.remove()
    first, second, both = (call["controlnet_block_samples"] for call in calls)
    assert torch.allclose(both[0], first[0] + second[0], atol=1e-6)
    assert "controlnet_single_block_samples" not in calls[1]
    assert len(calls[2]["controlnet_single_block_samples"]) == 2
    assert not hooks_of(transformer)


def test_a_union_needs_a_type_that_it_knows(steered_models: Models, plan_flux: PlanMaker, tmp_path: Path) -> None:
    network = make_flux("union")
    path = write_file(tmp_path / "union.safetensors", network.state_dict())
    with pytest.raises(BadRequest, match="unit 0 is a union and was told no type") as error:
        latents_of(steered(plan_flux(), unit(path)), steered_models)
    assert error.value.field == "extensions.controlnet.units.0.union_type"
    with pytest.raises(BadRequest, match="the type segmentation, which this network does not know"):
        latents_of(steered(plan_flux(), unit(path, union_type="segmentation")), steered_models)


SMALL = {"use_pos_embed": False, "force_zeros_for_pooled_projection": False}


@pytest.mark.parametrize("name", ["InstantX", "without places", "Stability AI's blur", "Stability AI's canny"])
def test_sd3_is_steered_as_by_diffusers(
    steered_models: Models, plan_sd3: PlanMaker, sd3_folder: Path, tmp_path: Path, name: str
) -> None:
    """Those with places of their own see no text as a whole; the others take the transformer's places; Stability AI's
    see no text at all, and edges at a scale of their own."""
    torch.manual_seed(3)
    of_stability = name.startswith("Stability")
    changes = {} if name == "InstantX" else SMALL
    changes = {**changes, "joint_attention_dim": None} if of_stability else {**changes, "qk_norm": "rms_norm"}
    network = awake(SD3ControlNetModel(**{**SD3, **changes}, num_layers=2))
    weights = stability(network) if of_stability else network.state_dict()
    path = write_file(tmp_path / f"{name}.safetensors", weights)
    without = {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = load_pipeline(diffusers.StableDiffusion3ControlNetPipeline, sd3_folder, controlnet=network, **without)
    exact(pipeline.vae)
    if name.endswith("canny"):  # as the network's card has it
        pipeline.image_processor = VaeImageProcessor(vae_scale_factor=8, do_normalize=False)
    plan = plan_sd3(steps=4)
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=3.0, width=64, height=64,
        num_inference_steps=4, sigmas=np.linspace(1, 1 / 4, 4), latents=noise_of(plan), output_type="latent",
        control_image=tokens_of(shapes()) * 127.5 + 0.5 if name.endswith("canny") else shapes(),
        controlnet_conditioning_scale=0.6, control_guidance_start=0.2,
    ).images  # fmt: skip
    ours = latents_of(steered(plan, unit(path, weight=0.6, start=0.2)), steered_models)
    assert difference(ours, theirs) < 1e-3
    assert difference(ours, latents_of(plan, steered_models)) > 1e-2


def stability(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights under the names of Stability AI's files."""
    names = {"attn.to_out.0": "attn.proj", "ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2",
             "norm1.linear": "adaLN_modulation.1"}  # fmt: skip
    weights, named = network.state_dict(), {}
    for name, tensor in weights.items():
        for ours, theirs in names.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        if ".attn.to_q." in name:
            thirds = [weights[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            named[name.replace("to_q", "qkv")] = torch.cat(thirds)
        elif ".attn.to_" not in name:
            named[name] = tensor
    return named


def test_sd3_paints_into_holes_as_by_diffusers(
    steered_models: Models, plan_sd3: PlanMaker, sd3_folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    network = awake(SD3ControlNetModel(**SD3, num_layers=2, extra_conditioning_channels=1))
    network.save_pretrained(tmp_path / "net")
    without = {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = load_pipeline(
        diffusers.StableDiffusion3ControlNetInpaintingPipeline, sd3_folder, controlnet=network, **without
    )
    exact(pipeline.vae)
    plan = plan_sd3(steps=4)
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=3.0, width=64, height=64,
        num_inference_steps=4, sigmas=np.linspace(1, 1 / 4, 4), latents=noise_of(plan), output_type="latent",
        control_image=shapes(), control_mask=mask(),
    ).images  # fmt: skip
    painting = unit(tmp_path / "net", preprocessor="inpaint", mask=HOLE)
    assert difference(latents_of(steered(plan, painting), steered_models), theirs) < 1e-3
    with pytest.raises(BadRequest, match="paints into holes"):
        latents_of(steered(plan, unit(tmp_path / "net")), steered_models)


def test_pictures_that_flux_looks_at_besides_are_not_steered(
    steered_models: Models, make_plan: PlanMaker, tmp_path: Path
) -> None:
    """Kontext has tokens of its own for them, behind those of the image."""
    folder = tiny_flux.make_folder(tmp_path / "kontext", "kontext")
    plan = plans_of(make_plan, Family.FLUX, path=folder, guidance=1.0, distilled_guidance=3.5, steps=1)()
    path = write_file(tmp_path / "net.safetensors", awake(make_flux("InstantX")).state_dict())
    told: dict[str, Any] = {}

    def look(network: nn.Module, given: Any, named: dict[str, Any]) -> Any:
        """Stand in for the family, which adds a picture's tokens where a plan begins with one."""
        doubled = {name: torch.cat([named[name]] * 2, -2) for name in ("hidden_states", "img_ids")}
        return given, {**named, **doubled}

    transformer = steered_models.get(plan.model).resident.network("transformer")
    before = transformer.register_forward_pre_hook(look, with_kwargs=True)
    after = transformer.register_forward_hook(lambda module, given, named, output: told.update(named), with_kwargs=True)
    latents_of(steered(plan, unit(path)), steered_models)
    before.remove(), after.remove()
    assert told["hidden_states"].shape[1] == 32
    for name in ("controlnet_block_samples", "controlnet_single_block_samples"):
        added = told[name][0]
        assert added.shape[1] == 32 and added[:, :16].any() and not added[:, 16:].any()
