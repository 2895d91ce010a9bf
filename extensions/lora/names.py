"""Where in a model the layers that LoRA files name are; all layouts' names lead to the network's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from extensions.lora.blocks import block_of

if TYPE_CHECKING:
    from webui.extending.computing import Resident

_DENOISER = re.compile(
    r"(base_model\.model\.)?(lora_(unet|transformer|prior_unet)_|lycoris_|(unet|transformer)\."
    r"|(model\.)?diffusion_model\.)?(base_model\.model\.)?"
)
_TEXT = re.compile(
    r"(base_model\.model\.)?(lora_te(?P<number>\d?)_|te(?P<short>\d)_|text_encoder(_(?P<place>\d))?\."
    r"|text_encoders\.(?P<name>\w+)\.(transformer\.)?)(text_model[._])?"
)
_OLD_TEXT = re.compile(r"self_attn_to_(q|k|v|out)$")
_COMFY = {"clip_l": 1, "clip_h": 1, "clip_g": 2, "t5xxl": 0}
"""ComfyUI's names of text encoders → their number in a model, 0 for the last."""
_XLABS = re.compile(r"(double|single)_blocks_(\d+)_processor_(qkv|proj)(?:_lora([12]))?")
_SD3_TOP = {
    "x_embedder.proj": "pos_embed.proj", "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out", "final_layer.adaLN_modulation.1": "norm_out.linear",
}  # fmt: skip
_SD3_BLOCK = {
    "x_block.adaLN_modulation.1": ("norm1.linear",), "context_block.adaLN_modulation.1": ("norm1_context.linear",),
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn.proj": ("attn.to_out.0",), "context_block.attn.proj": ("attn.to_add_out",),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "x_block.mlp.fc1": ("ff.net.0.proj",), "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",), "context_block.mlp.fc2": ("ff_context.net.2",),
}  # fmt: skip

_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.")
_LAST = "final_layer.adaLN_modulation.1"

Place = Callable[[str], "tuple[str, int, int] | None"]
"""A layer → (the original one that it is, or is a part of; which part; of how many)."""


@dataclass(frozen=True)
class Site:
    """A layer of a LoRA's network: in the model it is the layers `modules` of `component`, their rows one below the
    other. `swapped`: its two halves stand the other way round there. `block` is that of block weights."""

    component: str
    modules: tuple[str, ...]
    swapped: bool = False
    block: str | None = None


@dataclass(frozen=True)
class Index:
    """The sites of a model by component and name, with `_` for every dot."""

    denoiser: str
    encoders: tuple[str, ...]
    sites: Mapping[str, Mapping[str, Site]] = field(repr=False)

    def find(self, place: str) -> Site | None:
        """Return the site that a file calls `place`; None where the model has none."""
        match = _TEXT.match(place)
        if match is not None:
            return self._find_text(self._encoder(match), _flat(place[match.end() :]))
        match = _DENOISER.match(place)
        name = _flat(place[match.end() if match else 0 :])
        for candidate in _spellings(name):
            if candidate in self.sites[self.denoiser]:
                return self.sites[self.denoiser][candidate]
        return self._find_text(None, name.removeprefix("text_model_")) if place.startswith("lycoris_") else None

    def _encoder(self, match: re.Match[str]) -> str | None:
        if match["name"]:
            number = _COMFY.get(match["name"], 0) or len(self.encoders)
        else:
            number = int(match["number"] or match["short"] or match["place"] or 1)
        return self.encoders[number - 1] if number <= len(self.encoders) else None

    def _find_text(self, encoder: str | None, name: str) -> Site | None:
        """Return the site in `encoder`, or else in the only one that has it: files number them differently."""
        name = _OLD_TEXT.sub(lambda match: f"self_attn_{match[1]}_proj", name)
        if encoder is not None and name in self.sites[encoder]:
            return self.sites[encoder][name]
        found = [self.sites[each][name] for each in self.encoders if name in self.sites[each]]
        return found[0] if len(found) == 1 else None


def index(model: Resident) -> Index:
    """Return where the layers of `model` are."""
    denoiser = model.denoiser
    encoders = tuple(part for part in model.checkpoint.text_encoders if part in model.parts)
    sites = {encoder: _text_sites(encoder, model.weights(encoder)) for encoder in encoders}
    network = model.network(denoiser)
    layers = _layers(model.weights(denoiser))
    place = _placer(type(network).__name__, network.config, layers)
    last = max((int(match[1]) for layer in layers if (match := _BLOCK.match(layer))), default=0)
    swapped = frozenset((_LAST, f"joint_blocks.{last}.context_block.adaLN_modulation.1"))
    sites[denoiser] = _denoiser_sites(denoiser, layers, place, swapped)
    return Index(denoiser, encoders, sites)


def _layers(weights: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in weights))


def _text_sites(component: str, weights: Iterable[str]) -> dict[str, Site]:
    return {_flat(layer).removeprefix("text_model_"): Site(component, (layer,)) for layer in _layers(weights)}


def _denoiser_sites(component: str, layers: Iterable[str], place: Place, swapped: frozenset[str]) -> dict[str, Site]:
    """Return the sites under diffusers' names, and under those of the makers, whose halves are swapped in some."""
    sites: dict[str, Site] = {}
    fused: dict[str, dict[int, str]] = {}
    counts: dict[str, int] = {}
    for layer in layers:
        found = place(layer)
        site = Site(component, (layer,), block=block_of(found[0] if found else None))
        sites[_flat(layer)] = site
        if found is not None:
            fused.setdefault(found[0], {})[found[1]] = layer
            counts[found[0]] = found[2]
    for original, parts in fused.items():
        modules = tuple(parts[number] for number in sorted(parts))
        if len(modules) == counts[original]:
            whole = Site(component, modules, original in swapped, block_of(original))
            sites.setdefault(_flat(original), whole)
            if original.startswith("single_blocks.") and len(modules) > 1:
                sites[_flat(original).replace("linear1", "qkv")] = Site(component, modules[:3])
    return sites


def _placer(network: str, config: Mapping[str, object], layers: tuple[str, ...]) -> Place:
    if network == "UNet2DConditionModel":
        from webui.extending.computing import attending_blocks

        number = config["layers_per_block"]
        return partial(_unet_place, number if isinstance(number, int) else 2, attending_blocks(layers))
    if network in ("FluxTransformer2DModel", "ChromaTransformer2DModel"):
        return _flux_place
    return _sd3_place if network == "SD3Transformer2DModel" else lambda layer: None


def _unet_place(number: int, attending: frozenset[int], layer: str) -> tuple[str, int, int] | None:
    from webui.extending.computing import original_name

    original = original_name(f"{layer}.weight", number, attending)
    return None if original is None else (original.removesuffix(".weight"), 0, 1)


def _flux_place(layer: str) -> tuple[str, int, int] | None:
    from webui.extending.computing import original_place

    try:
        return original_place(layer)
    except StopIteration:  # Chroma has layers that Flux has not
        return None


def _sd3_place(layer: str) -> tuple[str, int, int] | None:
    match = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", layer)
    if match is None:
        return next(((old, 0, 1) for old, new in _SD3_TOP.items() if new == layer), None)
    for old, parts in _SD3_BLOCK.items():
        if match[2] in parts:
            return f"joint_blocks.{match[1]}.{old}", parts.index(match[2]), len(parts)
    return None


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _spellings(name: str) -> Iterable[str]:
    """Yield the names that a layer may have in the index: as it is, and without what older programs write into it."""
    yield name
    match = _XLABS.fullmatch(name)
    if match is not None:
        yield _xlabs(match)
    plain = name.replace("_processor_", "_")
    yield plain
    yield f"{plain}_0"  # to_out


def _xlabs(match: re.Match[str]) -> str:
    """Return what Black Forest Labs call a layer, by the name that x-flux has for it."""
    kind, number, part, stream = match.groups()
    if kind == "double":
        return f"double_blocks_{number}_{'txt' if stream == '2' else 'img'}_attn_{part}"
    return f"single_blocks_{number}_{'qkv' if part == 'qkv' else 'linear2'}"
