"""Networks put into a model's weights, and beside those that are quantised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from extensions.lora.algorithms import Adapter, change, change_bias, scale_of
from extensions.lora.names import Site
from webui.extending.api import BadFile
from webui.extending.computing import Resident, dequantise, fetch, is_quantised


@dataclass(frozen=True, eq=False)
class Part:
    """A network's change of one layer, and how strongly it acts; `name` is that of the network."""

    name: str
    site: Site
    adapter: Adapter
    strength: float
    rank: int | None = None


@contextmanager
def merged(model: Resident, component: str, parts: Sequence[Part], key: str) -> Iterator[None]:
    """Let `component` compute with the sum of `parts` in its weights while the block runs.

    Parts of quantised layers act beside these; so do those that can where memory has no room for changed weights.
    """
    if not parts:
        yield
        return
    beside = _beside_which(model, component, parts)
    with ExitStack() as stack:
        within = [part for part in parts if part not in beside]
        stack.enter_context(model.altered(component, merge(model, component, within), key))
        for part in beside:
            stack.enter_context(_beside(model, part))
        yield


def _beside_which(model: Resident, component: str, parts: Sequence[Part]) -> list[Part]:
    weights, network = model.weights(component), model.network(component)
    quantised = {name for name, tensor in weights.items() if is_quantised(tensor)}
    is_home = next(iter(weights.values())).device.type == "cpu"  # on a GPU own tensors give way to changed ones
    is_large = is_home and size_of(model, component, parts) > model.room(component)

    def acts_beside(part: Part) -> bool:
        names = part.site.modules
        if any(f"{name}.weight" in quantised for name in names):
            return True
        linear = all(isinstance(network.get_submodule(name), nn.Linear) for name in names)
        return is_large and linear and part.adapter.is_low_rank

    return [part for part in parts if acts_beside(part)]


def size_of(model: Resident, component: str, parts: Sequence[Part]) -> int:
    """Return the bytes of all tensors that `parts` may change."""
    weights = model.weights(component)
    names = {f"{module}.{leaf}" for part in parts for module in part.site.modules for leaf in ("weight", "bias")}
    return sum(weights[name].numel() * weights[name].itemsize for name in names if name in weights)


def merge(model: Resident, component: str, parts: Sequence[Part]) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights and biases that `parts` change, with the changes added, where the own ones are."""
    weights = model.weights(component)
    for modules, group in _groups(parts):
        with torch.inference_mode(False), torch.no_grad():
            yield from list(_merge_group(model, component, weights, modules, group))


def _groups(parts: Sequence[Part]) -> Iterator[tuple[tuple[str, ...], list[Part]]]:
    """Yield layers and the parts that change any of them, so that no layer is in two groups."""
    owner: dict[str, list[str]] = {}
    for part in parts:
        joined = list(dict.fromkeys(name for module in part.site.modules for name in owner.get(module, [module])))
        for module in joined:
            owner[module] = joined
    by_group: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        by_group.setdefault(tuple(owner[part.site.modules[0]]), []).append(part)
    yield from by_group.items()


def _merge_group(
    model: Resident, component: str, weights: Mapping[str, Tensor], modules: Sequence[str], parts: Sequence[Part]
) -> Iterator[tuple[str, Tensor]]:
    own = {module: _number(model, component, weights[f"{module}.weight"]) for module in modules}
    sums: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    for part in parts:
        names = part.site.modules
        if part.adapter.changes_weight:
            delta = _change(part, torch.cat([own[name] for name in names]) if len(names) > 1 else own[names[0]], model)
            for name, rows in zip(names, _rows(delta, [len(own[name]) for name in names]), strict=True):
                sums[name] = sums.get(name, own[name]) + rows
        for name, rows in _bias_rows(part, own, model):
            bias = biases.get(name)
            if bias is None:
                bias = _bias(model, component, weights, name, part)
            biases[name] = bias + rows
    for leaf, found in (("weight", sums), ("bias", biases)):
        for name, tensor in found.items():
            before = weights[f"{name}.{leaf}"]
            tensor = tensor.to(before.dtype)
            yield f"{name}.{leaf}", fetch(tensor) if before.device.type == "cpu" else tensor


def _number(model: Resident, component: str, tensor: Tensor) -> Tensor:
    return model.place(tensor.detach(), component).float()


def _rows(tensor: Tensor, counts: Sequence[int]) -> Sequence[Tensor]:
    return tensor.split(list(counts)) if len(counts) > 1 else (tensor,)


def _placed(part: Part, model: Resident) -> Adapter:
    tensors = {name: model.place(tensor, part.site.component) for name, tensor in part.adapter.tensors.items()}
    return Adapter(part.adapter.kind, tensors, part.adapter.alpha)


def _change(part: Part, weight: Tensor, model: Resident) -> Tensor:
    """Return what a part adds to `weight`, its strength included."""
    try:
        delta = change(_swap(weight, part), _placed(part, model), part.rank)
    except (ValueError, RuntimeError) as error:
        raise BadFile(
            f"<lora:{part.name}> does not fit the layer {part.site.modules[0]}: {error}.",
            hint="It was made for another model.",
            field="prompt",
        ) from error
    return part.strength * _swap(delta, part)


def _swap(rows: Tensor, part: Part) -> Tensor:
    return torch.cat(rows.chunk(2)[::-1]) if part.site.swapped else rows


def _bias_rows(part: Part, own: Mapping[str, Tensor], model: Resident) -> Iterator[tuple[str, Tensor]]:
    delta = change_bias(part.adapter)
    if delta is None:
        return
    names = part.site.modules
    rows = part.strength * _swap(model.place(delta, part.site.component), part)
    if len(rows) != sum(len(own[name]) for name in names):
        raise BadFile(f"<lora:{part.name}> does not fit the bias of {names[0]}.", field="prompt")
    yield from zip(names, _rows(rows, [len(own[name]) for name in names]), strict=True)


def _bias(model: Resident, component: str, weights: Mapping[str, Tensor], name: str, part: Part) -> Tensor:
    if f"{name}.bias" not in weights:
        raise BadFile(f"<lora:{part.name}> changes the bias of {name}, which has none.", field="prompt")
    return _number(model, component, weights[f"{name}.bias"])


# -- quantised weights -------------------------------------------------------------------------------------------------


@contextmanager
def _beside(model: Resident, part: Part) -> Iterator[None]:
    """Let the layers of a part, whose weights are quantised, give what they would with the part in them: to their
    output up(down(x)) is added, or Δx where Δ is of another sort. Only linear layers are ever quantised."""
    network = model.network(part.site.component)
    layers = [network.get_submodule(name) for name in part.site.modules]
    with ExitStack() as stack:
        for layer, add in zip(layers, _additions(model, part, layers), strict=True):
            handle = layer.register_forward_hook(_adding(add))
            stack.callback(handle.remove)
        yield


def _adding(add: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + add(inputs[0]).to(output.dtype)

    return hook


def _additions(model: Resident, part: Part, layers: Sequence[nn.Module]) -> Iterator[Callable[[Tensor], Tensor]]:
    counts = [layer.out_features for layer in layers]
    dtype = model.dtype(part.site.component)
    adapter, bias = _placed(part, model), change_bias(part.adapter)
    offsets = [None] * len(counts) if bias is None else _rows(
        _swap(model.place(bias, part.site.component), part) * part.strength, counts
    )  # fmt: skip
    if adapter.is_low_rank:
        down, up = adapter.tensors["down"].flatten(1), _swap(adapter.tensors["up"].flatten(1), part)
        strength = part.strength * scale_of(adapter, down.shape[0])
        down, up = down[: part.rank].to(dtype), (up[:, : part.rank].float() * strength).to(dtype)
        for rows, offset in zip(_rows(up, counts), offsets, strict=True):
            yield _low_rank(down, rows, offset)
        return
    if adapter.changes_weight:
        plain = [_number(model, part.site.component, dequantise(layer.weight, torch.float32)) for layer in layers]
        deltas = _rows(_change(part, torch.cat(plain), model), counts)
        for rows, offset in zip(deltas, offsets, strict=True):
            yield _dense(rows.to(dtype), offset)
        return
    for offset in offsets:
        yield _dense(None, offset)


def _low_rank(down: Tensor, up: Tensor, offset: Tensor | None) -> Callable[[Tensor], Tensor]:
    def add(x: Tensor) -> Tensor:
        return functional.linear(functional.linear(x.to(down.dtype), down), up, _like(offset, up))

    return add


def _dense(delta: Tensor | None, offset: Tensor | None) -> Callable[[Tensor], Tensor]:
    def add(x: Tensor) -> Tensor:
        if delta is None:
            assert offset is not None
            return offset
        return functional.linear(x.to(delta.dtype), delta, _like(offset, delta))

    return add


def _like(offset: Tensor | None, other: Tensor) -> Tensor | None:
    return None if offset is None else offset.to(other.dtype)
