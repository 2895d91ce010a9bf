"""Every sort of network against its formula, written out element by element or as its paper has it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from extensions.lora.algorithms import Adapter, change, change_bias, tell_kind
from tests.extensions.lora.lora_parts import draw

OUT, IN, KERNEL, RANK = 8, 6, 3, 2
LINEAR, CONV = (OUT, IN), (OUT, IN, KERNEL, KERNEL)


def adapter(alpha: float | None = None, **tensors: Tensor) -> Adapter:
    kind = tell_kind(tensors)
    assert kind is not None
    return Adapter(kind, tensors, alpha)


def weight(shape: tuple[int, ...]) -> Tensor:
    return draw(*shape, seed=99, scale=1.0)


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (1.0, 0.5), (4.0, 2.0)])
def test_lora(alpha: float | None, scale: float) -> None:
    up, down = draw(OUT, RANK), draw(RANK, IN, seed=1)
    found = change(weight(LINEAR), adapter(alpha, up=up, down=down))
    wanted = torch.tensor(
        [[scale * sum(up[o, r] * down[r, i] for r in range(RANK)) for i in range(IN)] for o in range(OUT)]
    )
    same(found, wanted)


def test_lora_of_fewer_ranks_keeps_its_scale() -> None:
    up, down = draw(OUT, RANK), draw(RANK, IN, seed=1)
    same(change(weight(LINEAR), adapter(1.0, up=up, down=down), rank=1), 0.5 * up[:, :1] @ down[:1])


def test_locon_is_one_convolution_after_the_other() -> None:
    up, down = draw(OUT, RANK, 1, 1), draw(RANK, IN, KERNEL, KERNEL, seed=1)
    x = draw(1, IN, 5, 5, seed=2)
    found = change(weight(CONV), adapter(None, up=up, down=down))
    conv = torch.nn.functional.conv2d
    same(conv(x, found), conv(conv(x, down), up))


def test_locon_with_a_core_is_three_convolutions() -> None:
    up, mid, down = draw(OUT, RANK, 1, 1), draw(RANK, RANK, KERNEL, KERNEL, seed=1), draw(RANK, IN, 1, 1, seed=2)
    x = draw(1, IN, 5, 5, seed=3)
    found = change(weight(CONV), adapter(1.0, up=up, down=down, mid=mid))
    conv = torch.nn.functional.conv2d
    same(conv(x, found), 0.5 * conv(conv(conv(x, down), mid), up))


@pytest.mark.parametrize("shape", [LINEAR, CONV])
def test_loha(shape: tuple[int, ...]) -> None:
    columns = IN * (KERNEL**2 if len(shape) == 4 else 1)
    first, second = (
        (draw(OUT, RANK), draw(RANK, columns, seed=1)),
        (draw(OUT, RANK, seed=2), draw(RANK, columns, seed=3)),
    )
    net = adapter(1.0, hada_w1_a=first[0], hada_w1_b=first[1], hada_w2_a=second[0], hada_w2_b=second[1])
    wanted = torch.empty(OUT, columns)
    for o in range(OUT):
        for i in range(columns):
            wanted[o, i] = 0.5 * (first[0][o] @ first[1][:, i]) * (second[0][o] @ second[1][:, i])
    same(change(weight(shape), net), wanted.reshape(shape))


def test_loha_with_cores() -> None:
    tensors = {f"hada_t{n}": draw(RANK, RANK, KERNEL, KERNEL, seed=n) for n in (1, 2)}
    tensors |= {f"hada_w{n}_a": draw(RANK, OUT, seed=10 + n) for n in (1, 2)}
    tensors |= {f"hada_w{n}_b": draw(RANK, IN, seed=20 + n) for n in (1, 2)}
    factors = [
        torch.einsum("pqkl,po,qi->oikl", tensors[f"hada_t{n}"], tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"])
        for n in (1, 2)
    ]
    same(change(weight(CONV), adapter(None, **tensors)), factors[0] * factors[1])


def kron(first: Tensor, second: Tensor) -> Tensor:
    rows, columns = first.shape[0] * second.shape[0], first.shape[1] * second.shape[1]
    wanted = torch.empty(rows, columns, *second.shape[2:])
    for o in range(rows):
        for i in range(columns):
            left = first[o // second.shape[0], i // second.shape[1]]
            wanted[o, i] = left * second[o % second.shape[0], i % second.shape[1]]
    return wanted


def test_lokr_of_whole_factors_has_no_scale() -> None:
    first, second = draw(2, 3), draw(4, 2, seed=1)
    same(change(weight(LINEAR), adapter(1.0, lokr_w1=first, lokr_w2=second)), kron(first, second))


def test_lokr_of_low_rank_factors() -> None:
    tensors = {"lokr_w1_a": draw(2, RANK), "lokr_w1_b": draw(RANK, 3, seed=1)}
    tensors |= {"lokr_w2_a": draw(4, RANK, seed=2), "lokr_w2_b": draw(RANK, 2, seed=3)}
    first, second = tensors["lokr_w1_a"] @ tensors["lokr_w1_b"], tensors["lokr_w2_a"] @ tensors["lokr_w2_b"]
    same(change(weight(LINEAR), adapter(1.0, **tensors)), 0.5 * kron(first, second))


@pytest.mark.parametrize("core", [False, True])
def test_lokr_of_convolutions(core: bool) -> None:
    first = draw(2, 3)
    if core:
        tensors = {"lokr_t2": draw(RANK, RANK, KERNEL, KERNEL, seed=1), "lokr_w2_a": draw(RANK, 4, seed=2)}
        tensors["lokr_w2_b"] = draw(RANK, 2, seed=3)
        second = torch.einsum("pqkl,po,qi->oikl", *tensors.values())
    else:
        tensors = {"lokr_w2_a": draw(4, RANK, seed=2), "lokr_w2_b": draw(RANK, 2 * KERNEL**2, seed=3)}
        second = (tensors["lokr_w2_a"] @ tensors["lokr_w2_b"]).reshape(4, 2, KERNEL, KERNEL)
    same(change(weight(CONV), adapter(4.0, lokr_w1=first, **tensors)), 2 * kron(first, second))


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize("on", ["output", "vector", "input"])
def test_dora(shape: tuple[int, ...], on: str) -> None:
    up = draw(OUT, RANK, *[1] * (len(shape) - 2))
    down, own = draw(RANK, *shape[1:], seed=1), weight(shape)
    ones = [1] * (len(shape) - 2)
    magnitude = {
        "output": draw(OUT, 1, *ones, seed=2).abs(), "vector": draw(OUT, seed=2).abs(),
        "input": draw(1, IN, *ones, seed=2).abs(),
    }[on]  # fmt: skip
    merged = own + 0.5 * (up.flatten(1) @ down.flatten(1)).reshape(shape)
    wanted = merged.clone()
    if on == "input":
        for i in range(IN):
            wanted[:, i] = magnitude.flatten()[i] * merged[:, i] / merged[:, i].norm()
    else:
        for o in range(OUT):
            wanted[o] = magnitude.flatten()[o] * merged[o] / merged[o].norm()
    same(own + change(own, adapter(1.0, up=up, down=down, dora_scale=magnitude)), wanted)


def rotation(block: Tensor) -> Tensor:
    skew, identity = block - block.T, torch.eye(len(block))
    return (identity + skew) @ torch.linalg.inv(identity - skew)


@pytest.mark.parametrize("shape", [LINEAR, CONV])
def test_oft_turns_blocks_of_outputs(shape: tuple[int, ...]) -> None:
    blocks, own = draw(2, 4, 4), weight(shape)
    wanted = torch.cat([torch.tensordot(rotation(blocks[k]).T, own[4 * k : 4 * k + 4], 1) for k in range(2)])
    found = own + change(own, adapter(None, oft_blocks=blocks))
    same(found, wanted)
    same(found.flatten(1).norm(dim=0), own.flatten(1).norm(dim=0))


def test_oft_within_its_constraint() -> None:
    blocks, own, alpha = draw(2, 4, 4), weight(LINEAR), 0.01
    skew = blocks - blocks.transpose(1, 2)
    assert skew.norm() > alpha * OUT
    smaller = blocks * (alpha * OUT / skew.norm())
    wanted = change(own, adapter(None, oft_blocks=smaller))
    same(change(own, adapter(alpha, oft_blocks=blocks)), wanted)


def test_oft_with_rotations_and_lengths() -> None:
    rotations, rescale, own = draw(2, 4, 4), draw(OUT, 1, seed=1), weight(LINEAR)
    turned = torch.cat([rotations[k].T @ own[4 * k : 4 * k + 4] for k in range(2)])
    same(own + change(own, adapter(None, oft_diag=rotations, rescale=rescale)), rescale * turned)


def test_boft_is_a_product_of_permuted_block_rotations() -> None:
    """Liu et al., equation 4: each factor turns pairs of outputs that are further apart; block size 2 of 8 outputs."""
    blocks, own = draw(3, 4, 2, 2), weight(LINEAR)
    wanted = own.clone()
    for level in range(3):
        stride, turned = 2**level, wanted.clone()
        pairs = [low for low in range(OUT) if not low & stride]
        for number, low in enumerate(pairs):
            rows = torch.tensor([low, low + stride])
            turned[rows] = rotation(blocks[level, number]) @ wanted[rows]
        wanted = turned
    found = own + change(own, adapter(None, oft_blocks=blocks))
    same(found, wanted)
    same(found.norm(dim=0), own.norm(dim=0))


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize("old", [False, True])
def test_glora(shape: tuple[int, ...], old: bool) -> None:
    ones = [1] * (len(shape) - 2)
    own = weight(shape)
    a1, a2 = draw(IN, RANK, *ones), draw(RANK, IN, *ones, seed=1)
    b1, b2 = draw(OUT, RANK, *ones, seed=2), draw(RANK, *shape[1:], seed=3)
    mixing = a1.flatten(1) @ a2.flatten(1)
    inner = torch.einsum("oi...,ij->oj...", own, mixing) + (b1.flatten(1) @ b2.flatten(1)).reshape(shape)
    tensors = {"a1": a2, "a2": a1, "b1": b2, "b2": b1} if old else {"a1": a1, "a2": a2, "b1": b1, "b2": b2}
    same(change(own, adapter(1.0, **tensors)), 0.5 * inner)


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize("on_input", [False, True])
def test_ia3(shape: tuple[int, ...], on_input: bool) -> None:
    own, factor = weight(shape), draw(IN if on_input else OUT)
    found = change(own, adapter(None, weight=factor, on_input=torch.tensor(int(on_input))))
    for o in range(OUT):
        for i in range(IN):
            same(found[o, i], own[o, i] * factor[i if on_input else o])


def test_differences_of_weights_norms_and_biases() -> None:
    same(change(weight(LINEAR), adapter(diff=draw(*LINEAR))), draw(*LINEAR))
    same(change(weight((OUT,)), adapter(w_norm=draw(OUT))), draw(OUT))
    assert torch.equal(change_bias(adapter(diff=draw(*LINEAR), diff_b=draw(OUT))), draw(OUT))
    assert torch.equal(change_bias(adapter(w_norm=draw(OUT), b_norm=draw(OUT, seed=1))), draw(OUT, seed=1))
    biased = adapter(1.0, up=draw(OUT, RANK), down=draw(RANK, IN), up_bias=draw(OUT))
    same(change_bias(biased), 0.5 * draw(OUT))
    assert change_bias(adapter(diff=draw(*LINEAR))) is None


@pytest.mark.parametrize(
    "net",
    [
        adapter(diff=draw(3, 3)),
        adapter(up=draw(5, RANK), down=draw(RANK, 5)),
        adapter(oft_blocks=draw(2, 3, 3)),
        adapter(oft_blocks=draw(1, 2, 3, 3)),
    ],
)
def test_networks_for_another_shape(net: Adapter) -> None:
    with pytest.raises(ValueError, match="made for"):
        change(weight(LINEAR), net)


def test_what_is_no_whole_network_has_no_kind() -> None:
    assert tell_kind({"up": draw(2, 2)}) is None
    assert tell_kind({"lokr_w1_a": draw(2, 2), "lokr_w2": draw(2, 2)}) is None
    assert tell_kind({"diff_b": draw(2)}) == "bias"
