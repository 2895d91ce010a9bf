"""What control networks say about a call of the denoiser, for each kind of them.

A `Steer` is told the arguments of the denoiser's call for the rows that it guides, and which image of the batch each of
them is for, and returns residuals for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.families import FIELD
from extensions.controlnet.hints import Hints, for_images, hole_of, latents_of, padded, pixels_of
from extensions.controlnet.lodgings import Lodged
from extensions.controlnet.options import UnionType
from extensions.controlnet.strength import Residuals
from webui.extending.api import BadRequest
from webui.extending.computing import Run, fill_up, pack

Arguments = Mapping[str, Any]
Steer = Callable[[Arguments, Sequence[int]], Residuals]

DOWN, MIDDLE = "down_block_additional_residuals", "mid_block_additional_residual"
WITHIN = "down_intrablock_additional_residuals"
DOUBLE, SINGLE = "controlnet_block_samples", "controlnet_single_block_samples"
JOINT = "block_controlnet_hidden_states"

UNION_NUMBERS: Mapping[UnionType, int] = {
    "openpose": 0, "depth": 1, "soft_edge": 2, "hard_edge": 3, "normal_map": 4, "segmentation": 5, "tile": 6,
    "inpaint": 7,
}  # fmt: skip
"""What SDXL's unions call the sorts of control (github.com/xinsir6/ControlNetPlus; ProMax has the last two)."""
FLUX_NUMBERS: Mapping[UnionType, int] = {"hard_edge": 0, "tile": 1, "depth": 2, "openpose": 4}
"""The same for Flux's (huggingface.co/InstantX/FLUX.1-dev-Controlnet-Union)."""
_CANNY = "canny"  # in the names of Stability AI's networks that were trained on edges of another scale
_CANNY_SCALE = 127.5  # from black, which is 0.5, to white (their card)
_USUAL_GUIDANCE = 3.5  # of Flux, in diffusers' pipelines


def steer_unet(unit: UnitFacts, network: nn.Module, lodged: Lodged, hints: Hints, run: Run) -> Steer:
    """Return how a ControlNet of one sort, or a union, steers a UNet."""
    union = hasattr(network, "task_embedding")
    hint = pixels_of(hints.pictures(unit, run), run)
    hole = hole_of(unit, hints, run)
    if hole is not None:  # unions were trained to paint what is black, others what is less than black
        hint = hint * (1 - hole) - (0 if union else 1) * hole
    hint = _of_channels(hint, network.config["conditioning_channels"])
    channels = network.config["in_channels"]
    number = _union_number(unit, UNION_NUMBERS, network.config["num_control_type"]) if union else 0

    def steer(given: Arguments, images: Sequence[int]) -> Residuals:
        sample = given["sample"][:, :channels]
        shown = for_images(hint, images)
        told: dict[str, Any] = {"controlnet_cond": shown}
        if union:
            kinds = torch.zeros(len(sample), network.config["num_control_type"], dtype=hint.dtype, device=hint.device)
            kinds[:, number] = 1
            told = {"controlnet_cond": [shown], "control_type": kinds, "control_type_idx": [number]}
        with lodged() as there:
            down, middle = there(
                sample=sample,
                timestep=given["timestep"],
                encoder_hidden_states=given["encoder_hidden_states"],
                added_cond_kwargs=given.get("added_cond_kwargs"),
                return_dict=False,
                **told,
            )
        return {DOWN: list(down), MIDDLE: [middle]}

    return steer


def steer_adapter(unit: UnitFacts, network: nn.Module, lodged: Lodged, hints: Hints, run: Run) -> Steer:
    """Return how a T2I-Adapter steers a UNet: it looks at the picture once."""
    config = network.config
    hint = _of_channels(pixels_of(hints.pictures(unit, run), run), config["in_channels"])
    with torch.inference_mode(), lodged() as there:
        features = there(padded(hint, config["downscale_factor"]))

    def steer(given: Arguments, images: Sequence[int]) -> Residuals:
        return {WITHIN: [for_images(feature, images) for feature in features]}

    return steer


def steer_flux(unit: UnitFacts, network: nn.Module, lodged: Lodged, hints: Hints, run: Run) -> Steer:
    """Return how a ControlNet steers a Flux transformer."""
    _refuse_hole(unit)
    pixels, repeats = pixels_of(hints.pictures(unit, run), run), network.input_hint_block is not None
    hint = padded(pixels, 16) * 2 - 1 if repeats else pack(fill_up(latents_of(pixels, run))).to(run.dtype)
    tokens = hint.shape[-2] * hint.shape[-1] // 16**2 if repeats else hint.shape[1]
    channels = network.config["in_channels"]
    modes = network.config["num_mode"]
    number = _union_number(unit, FLUX_NUMBERS, modes) if modes else None
    doubles, singles = len(run.network.transformer_blocks), len(run.network.single_transformer_blocks)

    def steer(given: Arguments, images: Sequence[int]) -> Residuals:
        seen = given["hidden_states"][:, :tokens, :channels]  # behind it are pictures that are looked at besides
        rows = len(seen)
        mode = None if number is None else torch.full((rows, 1), number, dtype=torch.long, device=seen.device)
        with lodged() as there:
            double, single = there(
                hidden_states=seen,
                controlnet_cond=for_images(hint, images),
                controlnet_mode=mode,
                encoder_hidden_states=given["encoder_hidden_states"],
                pooled_projections=given["pooled_projections"],
                timestep=given["timestep"],
                img_ids=given["img_ids"][:tokens],
                txt_ids=given["txt_ids"],
                guidance=_guidance(given, seen) if network.config["guidance_embeds"] else None,
                return_dict=False,
            )
        found = {DOUBLE: _spread(double, doubles, repeats), SINGLE: _spread(single, singles, False)}
        return {argument: tensors for argument, tensors in found.items() if tensors}

    return steer


def _guidance(given: Arguments, seen: Tensor) -> Tensor:
    """Return the guidance that a network is told beside a checkpoint that is told some, or is not (schnell)."""
    told = given.get("guidance")
    return torch.full((len(seen),), _USUAL_GUIDANCE, device=seen.device) if told is None else told


def steer_sd3(unit: UnitFacts, network: nn.Module, lodged: Lodged, hints: Hints, run: Run) -> Steer:
    """Return how a ControlNet steers an SD3 transformer."""
    config = network.config
    wordless = config["force_zeros_for_pooled_projection"]
    pixels = pixels_of(hints.pictures(unit, run), run)
    if config["extra_conditioning_channels"]:
        hint = _with_hole(unit, pixels, hints, run)
    else:
        _refuse_hole(unit)
        if not config["use_pos_embed"] and unit.model is not None and _CANNY in unit.model.name.lower():
            pixels = (pixels * _CANNY_SCALE + 0.5 + 1) / 2
        # Those that see no text as a whole were trained on latents that are scaled and not shifted.
        hint = latents_of(pixels, run, shifted=not wordless)
    hint = fill_up(hint).to(run.dtype)
    blocks = len(run.network.transformer_blocks)

    def steer(given: Arguments, images: Sequence[int]) -> Residuals:
        seen, pooled = given["hidden_states"], given["pooled_projections"]
        if not config["use_pos_embed"]:
            seen = run.network.pos_embed(seen)
        texts = given["encoder_hidden_states"] if config["joint_attention_dim"] is not None else None
        with lodged() as there:
            (found,) = there(
                hidden_states=seen,
                controlnet_cond=for_images(hint, images),
                encoder_hidden_states=texts,
                pooled_projections=torch.zeros_like(pooled) if wordless else pooled,
                timestep=given["timestep"],
                return_dict=False,
            )
        return {JOINT: _spread(found, blocks, False, rounds_up=False)}

    return steer


def _with_hole(unit: UnitFacts, pixels: Tensor, hints: Hints, run: Run) -> Tensor:
    """Return what an SD3 network for inpainting is shown [1,C+1,h,w]: the latents of the picture, grey less than black
    in its hole, and where there is none (alimama-creative/SD3-Controlnet-Inpainting)."""
    hole = hole_of(unit, hints, run)
    if hole is None:
        raise BadRequest(
            f"The network of ControlNet unit {unit.number} paints into holes.",
            hint="Choose the preprocessor inpaint_only and paint a mask.",
            field=f"{FIELD}.{unit.number}.preprocessor",
        )
    latents = latents_of(pixels * (1 - hole), run)
    kept = 1 - torch.nn.functional.interpolate(hole, latents.shape[-2:])
    return torch.cat([latents, kept.to(latents.dtype)], 1)


def _of_channels(hint: Tensor, channels: int) -> Tensor:
    return hint if channels == hint.shape[1] else hint.mean(1, keepdim=True).expand(-1, channels, -1, -1)


def _union_number(unit: UnitFacts, numbers: Mapping[UnionType, int], most: int) -> int:
    """Return what a union calls the unit's sort of control."""
    kind = unit.union_type
    if kind is None or numbers.get(kind, most) >= most:
        known = [name for name, number in numbers.items() if number < most]
        reason = "no type" if kind is None else f"the type {kind}, which this network does not know"
        raise BadRequest(
            f"ControlNet unit {unit.number} is a union and was told {reason}.",
            hint=f"Choose as its union control type one of: {', '.join(known)}.",
            field=f"{FIELD}.{unit.number}.union_type",
        )
    return numbers[kind]


def _refuse_hole(unit: UnitFacts) -> None:
    if unit.paints:
        raise BadRequest(
            f"The network of ControlNet unit {unit.number} cannot be shown a picture with a hole.",
            hint="Choose another preprocessor.",
            field=f"{FIELD}.{unit.number}.preprocessor",
        )


def _spread(found: Any, blocks: int, repeats: bool, *, rounds_up: bool = True) -> list[Tensor]:
    """Return one residual for each of a transformer's blocks, of fewer that a ControlNet gives: each for as many blocks
    in a row, or the whole row again and again (as diffusers' transformers have it)."""
    if not found:
        return []
    share = blocks / len(found)
    step = -(-blocks // len(found)) if rounds_up else share
    return [found[block % len(found) if repeats else int(block / step)] for block in range(blocks)]
