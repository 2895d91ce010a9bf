"""What each sort of network makes of a weight: LoRA and its relatives, as LyCORIS (github.com/KohakuBlueleaf/LyCORIS,
Yeh et al. 2023, arXiv:2309.14859), kohya-ss/sd-scripts and peft define them. All in float32.

W [O,I] or [O,I,k,k] is the layer's own weight, Δ of its shape what is added to it at strength 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Adapter:
    """One layer of a network: its tensors by their short names; `alpha` None where the file gives none."""

    kind: str
    tensors: Tensors = field(repr=False)
    alpha: float | None = None

    @property
    def changes_weight(self) -> bool:
        return self.kind != "bias"

    @property
    def is_low_rank(self) -> bool:
        """Whether Δ is up · down alone, the same for every W."""
        return self.kind == "lora" and "dora_scale" not in self.tensors and "mid" not in self.tensors


def tell_kind(names: Tensors) -> str | None:
    """Return the sort of network that has tensors of these names; None if they are not enough for any."""
    for kind, needed in _NEEDED.items():
        if any(all(name in names for name in each) for each in needed):
            return kind
    return None


_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "loha": (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),),
    "lokr": tuple(
        (*first, *second)
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))
    ),
    "oft": (("oft_blocks",), ("oft_diag",)),
    "glora": (("a1", "a2", "b1", "b2"),),
    "ia3": (("weight", "on_input"),),
    "lora": (("up", "down"),),
    "full": (("diff",),),
    "norm": (("w_norm",),),
    "bias": (("diff_b",), ("b_norm",)),
}


def change(weight: Tensor, adapter: Adapter, rank: int | None = None) -> Tensor:
    """Return Δ, float32, for `weight`, float32. `rank`: only so many ranks of it count.

    Raises `ValueError` when the network is made for a weight of another shape.
    """
    delta = _KINDS[adapter.kind](weight, adapter, rank)
    if delta.numel() != weight.numel():
        raise ValueError(f"made for {list(delta.shape)}, the layer has {list(weight.shape)}")
    delta = delta.reshape(weight.shape)
    scale = adapter.tensors.get("dora_scale")
    return delta if scale is None else _decompose(weight, delta, scale.float())


def change_bias(adapter: Adapter) -> Tensor | None:
    """Return what is added to the layer's bias at strength 1, float32; None: nothing."""
    for name in ("diff_b", "b_norm"):
        if name in adapter.tensors:
            return adapter.tensors[name].float()
    if "up_bias" in adapter.tensors:
        return adapter.tensors["up_bias"].float() * scale_of(adapter, len(adapter.tensors["down"]))
    return None


def scale_of(adapter: Adapter, rank: int) -> float:
    """Return alpha / rank; 1 without alpha."""
    return 1.0 if adapter.alpha is None or rank == 0 else adapter.alpha / rank


def _decompose(weight: Tensor, delta: Tensor, scale: Tensor) -> Tensor:
    """DoRA (Liu et al. 2024, arXiv:2402.09353): the direction of W + Δ at a learnt magnitude, for each output (peft,
    LyCORIS' `wd_on_output`) or each input (LyCORIS)."""
    merged = weight + delta
    per_output = scale.dim() < 2 or scale.shape[0] == weight.shape[0]
    if per_output:
        norm = merged.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
        magnitude = scale.reshape(norm.shape)
    else:
        norm = merged.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (weight.dim() - 2))
        magnitude = scale.reshape(norm.shape)
    return merged * (magnitude / norm) - weight


def _tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return Σ_pq left[p,o] core[p,q,…] right[q,i], shape [o,i,…]."""
    return torch.einsum("p q ..., p o, q i -> o i ...", core, left, right)


def _lora(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """Hu et al. 2021, arXiv:2106.09685, equation 3; with `mid` LoCon's CP decomposition (LyCORIS, equation 7)."""
    up, down = adapter.tensors["up"].float(), adapter.tensors["down"].float()
    scale = scale_of(adapter, down.shape[0])
    kept = slice(None, rank)
    flat_up = up.flatten(1)[:, kept]
    if "mid" in adapter.tensors:
        mid = adapter.tensors["mid"].float()[kept, kept]
        return scale * _tucker(mid, flat_up.T, down.flatten(1)[kept])
    return scale * (flat_up @ down.flatten(1)[kept])


def _loha(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """The elementwise product of two low-rank matrices (Hyeon-Woo et al. 2021, arXiv:2108.06098)."""
    get = {name: tensor.float() for name, tensor in adapter.tensors.items()}
    scale = scale_of(adapter, get["hada_w1_b"].shape[0])
    factors = []
    for number in ("1", "2"):
        left, right = get[f"hada_w{number}_a"], get[f"hada_w{number}_b"]
        core = get.get(f"hada_t{number}")
        factors.append(left @ right if core is None else _tucker(core, left, right))
    return scale * factors[0] * factors[1] * _scalar(get)


def _lokr(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """The Kronecker product of two matrices, each of which may be low-rank (LyCORIS, equation 9)."""
    get = {name: tensor.float() for name, tensor in adapter.tensors.items()}
    ranks = [get[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in get]
    first = get["lokr_w1"] if "lokr_w1" in get else get["lokr_w1_a"] @ get["lokr_w1_b"]
    if "lokr_w2" in get:
        second = get["lokr_w2"]
    elif "lokr_t2" in get:
        second = _tucker(get["lokr_t2"], get["lokr_w2_a"], get["lokr_w2_b"])
    else:
        second = get["lokr_w2_a"] @ get["lokr_w2_b"].flatten(1)
    if second.dim() == 2 and weight.dim() == 4 and "lokr_w2" not in get and "lokr_t2" not in get:
        second = second.reshape(second.shape[0], -1, *weight.shape[2:])
    first = first.reshape(*first.shape, *[1] * (second.dim() - first.dim()))
    scale = scale_of(adapter, ranks[0]) if ranks else 1.0
    return scale * torch.kron(first, second.contiguous()) * _scalar(get)


def _scalar(tensors: Tensors) -> Tensor | float:
    return tensors.get("scalar", 1.0)


def _oft(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """Orthogonal rotations of the outputs, block by block (Qiu et al. 2023, arXiv:2306.07280), by Cayley's transform;
    blocks of four dimensions are the layers of a butterfly (BOFT: Liu et al. 2023, arXiv:2311.06243)."""
    get = {name: tensor.float() for name, tensor in adapter.tensors.items()}
    if "oft_diag" in get:  # older LyCORIS: the rotations themselves
        rotated = _rotate(weight, get["oft_diag"])
    else:
        rotations = _cayley(get["oft_blocks"], (adapter.alpha or 0.0) * weight.shape[0])
        rotated = _rotate(weight, rotations) if rotations.dim() == 3 else _butterfly(weight, rotations)
    if "rescale" in get:
        rotated = rotated * get["rescale"].reshape(-1, *[1] * (weight.dim() - 1))
    return rotated - weight


def _cayley(blocks: Tensor, constraint: float) -> Tensor:
    """Return (I + Q)(I - Q)⁻¹ for the skew-symmetric Q = B - Bᵀ of `blocks` [...,b,b], whose norm is at most
    `constraint` unless that is 0."""
    skew = blocks - blocks.transpose(-1, -2)
    if constraint > 0:
        norm = skew.norm() + 1e-8
        if norm > constraint:
            skew = skew * (constraint / norm)
    identity = torch.eye(skew.shape[-1], device=skew.device)
    return (identity + skew) @ torch.linalg.inv(identity - skew)


def _rotate(weight: Tensor, rotations: Tensor) -> Tensor:
    """Return W with each block of outputs turned: Σ_n R[k,n,m] W[k,n,…]."""
    count, size, _ = rotations.shape
    if count * size != weight.shape[0]:
        raise ValueError(f"made for {count * size} outputs, the layer has {weight.shape[0]}")
    turned = torch.einsum("k n m, k n ... -> k m ...", rotations, weight.unflatten(0, (count, size)))
    return turned.flatten(0, 1)


def _butterfly(weight: Tensor, rotations: Tensor) -> Tensor:
    """Return W turned by `rotations` [m,d,b,b]: in each layer other outputs meet in a block."""
    _, count, size, _ = rotations.shape
    if count * size != weight.shape[0]:
        raise ValueError(f"made for {count * size} outputs, the layer has {weight.shape[0]}")
    for level, rotation in enumerate(rotations):
        stride = 2**level * (size // 2)
        weight = weight.unflatten(0, (-1, 2, stride)).transpose(1, 2).flatten(0, 2).unflatten(0, (-1, size))
        weight = torch.einsum("d i j, d j ... -> d i ...", rotation, weight)
        weight = weight.flatten(0, 1).unflatten(0, (-1, stride, 2)).transpose(1, 2).flatten(0, 2)
    return weight


def _glora(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """W·A + B with low-rank A and B (Chavan et al. 2023, arXiv:2306.07967). Before LyCORIS 2 the factors stood the
    other way round, which the shapes tell."""
    a1, a2, b1, b2 = (adapter.tensors[name].float().flatten(1) for name in ("a1", "a2", "b1", "b2"))
    flat = weight.flatten(2) if weight.dim() > 2 else weight
    if a2.shape[0] == a1.shape[1] == b1.shape[1] == b2.shape[0] and b1.shape[0] == weight.shape[0]:
        ranks, ours, theirs = a2.shape[0], (a1, a2), b1 @ b2
    else:
        ranks, ours, theirs = a1.shape[0], (a2, a1), b2 @ b1
    mixed = torch.einsum("o i ..., i r, r j -> o j ...", flat, *ours).reshape(weight.shape)
    return scale_of(adapter, ranks) * (mixed + theirs.reshape(weight.shape))


def _ia3(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """Liu et al. 2022, arXiv:2205.05638: each output, or each input, learns a factor, kept as its distance from 1."""
    factor = adapter.tensors["weight"].float().flatten()
    on_input = bool(adapter.tensors["on_input"])
    shape = (1, -1) if on_input else (-1, 1)
    return weight * factor.reshape(*shape, *[1] * (weight.dim() - 2))


def _full(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """The difference itself."""
    return adapter.tensors["diff"].float()


def _norm(weight: Tensor, adapter: Adapter, rank: int | None) -> Tensor:
    """The difference of a norm's weight (LyCORIS)."""
    return adapter.tensors["w_norm"].float()


_KINDS: Mapping[str, Callable[[Tensor, Adapter, int | None], Tensor]] = {
    "lora": _lora, "loha": _loha, "lokr": _lokr, "oft": _oft, "glora": _glora, "ia3": _ia3, "full": _full,
    "norm": _norm,
}  # fmt: skip
