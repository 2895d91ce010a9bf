"""Perturbed-attention guidance: away from what the network sees when its self-attention looks nowhere.

(Ahn et al. 2024, arXiv:2403.17377.) In chosen layers each place of the picture attends to itself alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from extensions.perturbed_attention.options import PerturbedAttention
from webui.extending.api import BadRequest
from webui.extending.computing import Combine, Guiding, Run

LEVELS = 1000  # of noise, in diffusers' adaptive scale


def perturb_attention(default: Combine, run: Run) -> Combine:
    """Return how predictions are combined: as `default` does, plus scale · Σ weight · (prediction - perturbed one)."""
    options = PerturbedAttention.model_validate(run.facts)
    layers = find_layers(run.network, options.layer_names)
    steps = max(len(run.sigmas) - 1, 1)

    def combine(guiding: Guiding) -> Tensor:
        guided = default(guiding)
        if not options.start <= run.step_at(guiding.sigma) / steps < options.end:
            return guided
        noise = run.levels.position(guiding.sigma) / run.levels.count
        scale = options.scale - options.adaptive_scale * LEVELS * (1 - noise)
        if scale <= 0:
            return guided
        with perturbed(layers):
            moved = scale * (guiding.positive - guiding.again())
        weights = torch.tensor(guiding.weights).to(moved).reshape(-1, 1, 1, 1)
        return guided.index_add(0, torch.tensor(guiding.owners, device=moved.device), moved * weights)

    return combine


def find_layers(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the self-attention layers whose names hold one of `names` as whole parts; without names those in the
    middle: a UNet's middle block, a transformer's middle layer.

    Raises `BadRequest` for a network without such layers and for a name that none has.
    """
    known = {name: layer for name, layer in network.named_modules() if _is_self_attention(layer)}
    if not known:
        raise BadRequest(
            "Perturbed attention does not know the attention of this model.",
            hint="Switch it off; it works with SD1, SD2, SDXL, SD3, PixArt, HunyuanDiT and Sana.",
            field="extensions.perturbed_attention.enabled",
        )
    if not names:
        middle = [layer for name, layer in known.items() if name.startswith("mid_block.")]
        return middle or [list(known.values())[len(known) // 2]]
    chosen: dict[str, nn.Module] = {}
    for wanted in names:
        found = {name: layer for name, layer in known.items() if _names(wanted, name)}
        if not found:
            raise BadRequest(
                f"No self-attention of this model is called {wanted!r}.",
                hint=f"There are: {', '.join(list(known)[:12])}{', …' if len(known) > 12 else ''}",
                field="extensions.perturbed_attention.layers",
            )
        chosen |= found
    return list(chosen.values())


def _names(wanted: str, name: str) -> bool:
    """Tell whether `wanted` stands in `name` up to the end of a part: "blocks.1" is in transformer_blocks.1.attn, not
    in transformer_blocks.10.attn; "mid" and "down" are the blocks of a UNet."""
    if wanted in ("mid", "down", "up"):
        return name.startswith(f"{wanted}_block")
    return f"{wanted}." in f"{name}."


def _is_self_attention(layer: nn.Module) -> bool:
    has_parts = all(hasattr(layer, part) for part in ("set_processor", "to_q", "to_v", "to_out"))
    return has_parts and not getattr(layer, "is_cross_attention", True) and type(layer.processor).__name__ in _PERTURBED


@contextmanager
def perturbed(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Let each place in `layers` attend to itself alone until the end."""
    before = [layer.processor for layer in layers]
    try:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(_PERTURBED[type(processor).__name__]())
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


class AttendingToItself:
    """Self-attention whose map is the identity: what comes out are the values (the paper's equation 13)."""

    def __call__(
        self,
        attention: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        image_rotary_emb: object = None,
    ) -> Tensor:
        """Return the layer's output for `hidden_states` [B,T,D] or [B,D,h,w]; nothing else counts."""
        states, shape = hidden_states, hidden_states.shape
        if len(shape) == 4:
            states = states.flatten(2).transpose(1, 2)
        if getattr(attention, "group_norm", None) is not None:
            states = attention.group_norm(states.transpose(1, 2)).transpose(1, 2)
        states = attention.to_v(states)
        for part in attention.to_out:
            states = part(states)
        if len(shape) == 4:
            states = states.transpose(1, 2).reshape(shape)
        if attention.residual_connection:
            states = states + hidden_states
        return states / attention.rescale_output_factor


class AttendingToItselfAndText:
    """Joint attention (SD3) in which places of the picture see themselves and the text, as diffusers' PAG has it."""

    def __call__(
        self,
        attention: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the layer's output for a picture [B,T,D] and, where it is given, a text [B,S,D]."""
        places = hidden_states.shape[1]
        query, key, value = _project(attention, hidden_states, "to_q to_k to_v", "norm_q norm_k")
        if encoder_hidden_states is not None:
            names = "add_q_proj add_k_proj add_v_proj", "norm_added_q norm_added_k"
            added = _project(attention, encoder_hidden_states, *names)
            query, key, value = (torch.cat(pair, 2) for pair in zip((query, key, value), added, strict=True))
        mask = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device)
        mask[:places, :places] = torch.eye(places, dtype=torch.bool, device=query.device)
        states = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        states = states.transpose(1, 2).flatten(2)
        picture = states[:, :places]
        for part in attention.to_out:
            picture = part(picture)
        if encoder_hidden_states is None:
            return picture
        text = states[:, places:]
        return picture, text if attention.context_pre_only else attention.to_add_out(text)


def _project(attention: nn.Module, states: Tensor, projections: str, norms: str) -> list[Tensor]:
    """Return query, key and value [B,heads,T,d] of `states`."""
    made = [getattr(attention, name)(states) for name in projections.split()]
    heads = [each.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for each in made]
    for number, name in enumerate(norms.split()):
        norm = getattr(attention, name, None)
        heads[number] = heads[number] if norm is None else norm(heads[number])
    return heads


_PERTURBED: dict[str, type[AttendingToItself] | type[AttendingToItselfAndText]] = {
    "AttnProcessor": AttendingToItself,
    "AttnProcessor2_0": AttendingToItself,
    "HunyuanAttnProcessor2_0": AttendingToItself,
    "SanaLinearAttnProcessor2_0": AttendingToItself,
    "JointAttnProcessor2_0": AttendingToItselfAndText,
}
"""By the name of a layer's processor, the one that perturbs it."""
