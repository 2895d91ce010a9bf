"""A graph of ComfyUI: nodes by id, each with a class and inputs, which are values or `[id, number of the output]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from webui.images.dialects.told import as_list, as_mapping, as_text

MOST_NODES = 10_000
LONGEST_WAY = 500  # nodes that are followed for one question

_SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"})
_PICTURES = ("images", "image", "samples", "pixels", "latent", "latent_image", "latents")
_MODELS = ("model", "unet", "base_model")
_CONDITIONS = ("conditioning", "conditioning_1", "conditioning_to", "positive", "negative", "cond")
_TEXTS = ("text", "text_g", "text_l", "t5xxl", "clip_l", "populated_text", "wildcard_text", "prompt", "string")
_VALUES = ("value", "seed", "noise_seed", "int", "float", "number", "string", "text", "text_a", "string_a", "prompt")
_SIZES = (("empty_latent_width", "empty_latent_height"), ("width", "height"))
_PARTS = ("sampler", "sigmas", "noise", "guider")
"""Inputs of a custom sampler that hold what others have themselves."""

_KNOWN = _SAMPLERS | {
    "KSamplerSelect", "BasicScheduler", "KarrasScheduler", "ExponentialScheduler", "PolyexponentialScheduler",
    "SGMUniformScheduler", "AlignYourStepsScheduler", "BetaSamplingScheduler", "RandomNoise", "CFGGuider",
    "BasicGuider", "CLIPTextEncode", "CLIPTextEncodeSDXL", "CheckpointLoaderSimple", "CheckpointLoader", "UNETLoader",
    "LoraLoader", "LoraLoaderModelOnly", "VAELoader", "VAEDecode", "VAEEncode", "VAEDecodeTiled", "VAEEncodeTiled",
    "CLIPSetLastLayer", "EmptyLatentImage", "LatentUpscale", "LatentUpscaleBy", "ImageScale", "ImageScaleBy",
    "ImageUpscaleWithModel", "UpscaleModelLoader", "SaveImage", "PreviewImage", "RescaleCFG", "Reroute",
    "PrimitiveNode", "Note", "LoadImage", "CLIPLoader", "ConditioningZeroOut",
    "Efficient Loader", "KSampler (Efficient)", "Power Lora Loader (rgthree)",
}  # fmt: skip

_SCHEDULERS = {
    "KarrasScheduler": "karras",
    "ExponentialScheduler": "exponential",
    "PolyexponentialScheduler": "Polyexponential",
    "SGMUniformScheduler": "sgm_uniform",
    "AlignYourStepsScheduler": "align_your_steps",
    "BetaSamplingScheduler": "beta",
}


@dataclass(frozen=True)
class Node:
    id: str
    kind: str
    inputs: Mapping[str, Any]


@dataclass
class Models:
    """What a sampler's model was made of. LoRAs in the order they were loaded."""

    checkpoint: str = ""
    vae: str = ""
    clip_layer: Any = None
    rescale: Any = None
    loras: list[tuple[str, Any]] = field(default_factory=list)


@dataclass
class Enlarging:
    """What lies between two samplers."""

    network: str = ""
    method: str = ""
    factor: Any = None
    width: Any = None
    height: Any = None


class Graph:
    """Answers questions by following inputs; circles and missing nodes end a way."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._nodes: dict[str, Node] = {}
        for id, node in list(content.items())[:MOST_NODES]:
            facts = as_mapping(node)
            if isinstance(facts.get("class_type"), str):
                self._nodes[id] = Node(id, facts["class_type"], as_mapping(facts.get("inputs")))

    def last_sampler(self) -> Node | None:
        """Return the sampler behind the picture that was saved, else one that no other sampler begins with."""
        outputs = [node for node in self._nodes.values() if "Save" in node.kind or "Preview" in node.kind]
        samplers = [node for node in self._nodes.values() if _is_sampler(node)]
        saved = next((node for node in self._before(outputs) if _is_sampler(node)), None)
        begun_with = {node.id for node in self._before(samplers) if _is_sampler(node)}
        return saved or next(
            (node for node in samplers if node.id not in begun_with), samplers[0] if samplers else None
        )

    def first_of(self, sampler: Node) -> Node:
        """Return the sampler that the way to `sampler` begins with."""
        return [node for node in self._way(sampler, _PICTURES) if _is_sampler(node)][-1]

    def value(self, sampler: Node, *names: str) -> Any:
        """Return a value of a sampler, or of the parts it is put together from; it may come from a node of its own."""
        for node in (sampler, *self._parts(sampler)):
            for name in names:
                if name in node.inputs:
                    return self._literal(node.inputs[name])
            if "scheduler" in names and node.kind in _SCHEDULERS:
                return _SCHEDULERS[node.kind]
        return None

    def text_of(self, sampler: Node, name: str) -> str:
        """Return the prompt that reaches the input `name` (positive or negative) of a sampler."""
        for node in (sampler, *self._parts(sampler)):
            wanted = node.inputs.get(name, node.inputs.get("conditioning") if name == "positive" else None)
            if wanted is not None:
                return self._prompt(wanted, name)
        return ""

    def size_of(self, sampler: Node) -> tuple[Any, Any]:
        """Return the size of the empty latents a sampler begins with, nothing if it begins with a picture."""
        for node in self._way(sampler, _PICTURES):
            for width, height in _SIZES if node.kind.startswith("Empty") else _SIZES[:1]:
                if width in node.inputs and height in node.inputs:
                    return self._literal(node.inputs[width]), self._literal(node.inputs[height])
        return None, None

    def models_of(self, sampler: Node) -> Models:
        models = Models()
        guider = [node for node in self._parts(sampler) if "model" in node.inputs]
        for node in self._way(sampler if "model" in sampler.inputs or not guider else guider[0], _MODELS):
            inputs = node.inputs
            models.checkpoint = models.checkpoint or as_text(inputs.get("ckpt_name") or inputs.get("unet_name"))
            models.loras = [*self._loras(node), *models.loras]
            if node.kind == "RescaleCFG":
                models.rescale = self._literal(inputs.get("multiplier"))
        for node in self._nodes.values():
            if node.kind == "CLIPSetLastLayer" and models.clip_layer is None:
                models.clip_layer = self._literal(node.inputs.get("stop_at_clip_layer"))
            if node.kind == "VAELoader" and not models.vae:
                models.vae = as_text(node.inputs.get("vae_name"))
        return models

    def enlarging_before(self, sampler: Node) -> Enlarging:
        """Return how the picture grew between the sampler before and this one."""
        found = Enlarging()
        for node in list(self._way(sampler, _PICTURES))[1:]:
            if _is_sampler(node):
                break
            inputs = node.inputs
            loader = self._node(inputs.get("upscale_model"))
            found.network = found.network or (as_text(loader.inputs.get("model_name")) if loader else "")
            found.factor = found.factor or self._literal(inputs.get("scale_by"))
            if "upscale_method" in inputs:
                found.method = found.method or as_text(inputs["upscale_method"])
                found.width = found.width or self._literal(inputs.get("width"))
                found.height = found.height or self._literal(inputs.get("height"))
        return found

    def extras(self, sampler: Node) -> list[str]:
        """Return the kinds of nodes on the ways to a sampler that nothing is known about."""
        ways = [*self._way(sampler, _PICTURES), *self._way(sampler, _MODELS)]
        for name in ("positive", "negative"):
            ways += self._way_from(sampler.inputs.get(name), _CONDITIONS)
        unknown = {node.kind: None for node in ways if node.kind not in _KNOWN and not node.kind.startswith("Empty")}
        return [kind[:100] for kind in list(unknown)[:20]]

    def _loras(self, node: Node) -> list[tuple[str, Any]]:
        """Return the LoRAs a node loads: one by name, or several switches that each are an object."""
        inputs = node.inputs
        found = [(as_text(inputs.get("lora_name")), inputs.get("strength_model", inputs.get("lora_model_strength")))]
        switches = [as_mapping(value) for value in inputs.values()]
        found += [(as_text(each.get("lora")), each.get("strength")) for each in switches if each.get("on") is True]
        return [(name, self._literal(weight)) for name, weight in found if name not in ("", "None")]

    def _parts(self, sampler: Node) -> list[Node]:
        """Return the nodes a custom sampler is put together from."""
        parts = [self._node(sampler.inputs.get(name)) for name in _PARTS]
        return [part for part in parts if part is not None]

    def _prompt(self, link: Any, name: str) -> str:
        for node in self._way_from(link, _CONDITIONS):
            if node.kind == "ConditioningZeroOut":
                return ""
            texts = [self._literal(node.inputs.get(key)) for key in _TEXTS]
            for text in (*texts, node.inputs.get(name)):  # a loader that has the prompts as well
                if isinstance(text, str):
                    return text.strip()
        return ""

    def _literal(self, value: Any) -> Any:
        """Return a value, following links to nodes that hold one."""
        for _ in range(LONGEST_WAY):
            node = self._node(value)
            if node is None:
                return None if isinstance(value, list | dict) else value
            value = next((node.inputs[name] for name in _VALUES if name in node.inputs), None)
        return None

    def _way(self, node: Node, names: tuple[str, ...]) -> Iterator[Node]:
        """Yield `node` and what lies before it, following the first of its inputs in `names` that is a link."""
        seen: set[str] = set()
        following: Node | None = node
        while following is not None and following.id not in seen and len(seen) < LONGEST_WAY:
            yield following
            seen.add(following.id)
            links = (self._node(following.inputs.get(name)) for name in (*names, ""))
            following = next((link for link in links if link is not None), None)

    def _before(self, nodes: list[Node]) -> Iterator[Node]:
        """Yield what lies before several nodes; a way that another one went already is not gone again."""
        seen: set[str] = set()
        for start in nodes:
            for node in self._way(start, _PICTURES):
                if node is not start:
                    yield node
                if node.id in seen:
                    break
                seen.add(node.id)

    def _way_from(self, link: Any, names: tuple[str, ...]) -> Iterator[Node]:
        node = self._node(link)
        return self._way(node, names) if node else iter(())

    def _node(self, link: Any) -> Node | None:
        """Return the node a link leads to, None if it is none."""
        parts = as_list(link)
        return self._nodes.get(str(parts[0])) if len(parts) == 2 and isinstance(parts[0], str | int) else None


def _is_sampler(node: Node) -> bool:
    """Tell whether a node is a sampler, also one of an extension."""
    inputs = node.inputs
    is_like_one = "positive" in inputs and "steps" in inputs and bool({"seed", "noise_seed"} & set(inputs))
    return node.kind in _SAMPLERS or is_like_one
