from __future__ import annotations

import torch
from torch import Tensor

from webui.engine.conditioning import Conditioning
from webui.engine.guidance import guide, needs_negative
from webui.prompt.schedule import Schedule, Segment


class Network:
    """Predicts the mean of each row's context, plus the latents; remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, latents: Tensor, sigma: float, context: Tensor) -> Tensor:
        self.calls.append(tuple(context.shape[:2]))
        assert latents.shape[0] == context.shape[0]
        return latents + context.mean(dim=(1, 2)).view(-1, 1, 1, 1)


def branch(value: float, length: int = 77, weight: float = 1.0) -> Conditioning:
    return Conditioning(Schedule((Segment(9, "a"),), weight), (torch.full((length, 8), value),))


def edited(*segments: tuple[int, float]) -> Conditioning:
    """Return a branch with (end, value) for each segment."""
    schedule = Schedule(tuple(Segment(end, str(value)) for end, value in segments))
    return Conditioning(schedule, tuple(torch.full((77, 8), value) for _, value in segments))


LATENTS = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 4, 2, 2)


def test_combines_the_branches() -> None:
    network = Network()
    guided = guide(network, [[branch(3.0)], [branch(5.0)]], [branch(1.0), branch(2.0)], 4.0)
    result = guided(LATENTS, 1.0)
    assert result[:, 0, 0, 0].tolist() == [0 + 1 + 4 * (3 - 1), 1 + 2 + 4 * (5 - 2)]
    assert network.calls == [(4, 77)]


def test_guidance_1_computes_the_prompt_alone() -> None:
    network = Network()
    positive = [[branch(3.0)], [branch(5.0)]]
    assert not needs_negative(positive, 1)
    assert guide(network, positive, [], 1)(LATENTS, 1.0)[:, 0, 0, 0].tolist() == [3, 6]
    assert network.calls == [(2, 77)]


def test_a_weight_or_a_second_branch_needs_the_negative_prompt_also_at_guidance_1() -> None:
    assert needs_negative([[branch(3.0, weight=0.5)]], 1) and needs_negative([[branch(3.0), branch(2.0)]], 1)
    result = guide(Network(), [[branch(3.0, weight=0.5)]], [branch(1.0)], 1)(LATENTS[:1], 1.0)
    assert result[:, 0, 0, 0].tolist() == [1 + 0.5 * (3 - 1)]


def test_contexts_of_other_lengths_are_not_padded() -> None:
    network = Network()
    positive, negative = [[branch(3.0, 154)], [branch(5.0)]], [branch(1.0), branch(2.0)]
    result = guide(network, positive, negative, 4.0)(LATENTS, 1.0)
    assert result[:, 0, 0, 0].tolist() == [0 + 1 + 4 * (3 - 1), 1 + 2 + 4 * (5 - 2)]
    assert network.calls == [(3, 77), (1, 154)]


def test_and_adds_what_each_branch_pulls() -> None:
    network = Network()
    positive = [[branch(3.0), branch(7.0, weight=-0.5)], [branch(5.0)]]
    result = guide(network, positive, [branch(1.0), branch(2.0)], 4.0)(LATENTS, 1.0)
    assert result[:, 0, 0, 0].tolist() == [0 + 1 + 4 * (3 - 1) - 2 * (7 - 1), 1 + 2 + 4 * (5 - 2)]
    assert network.calls == [(4, 77), (1, 77)]  # never more rows at once than with one branch per image


def test_branches_of_one_image_are_brought_to_one_length_by_their_last_vector() -> None:
    network = Network()
    ramp = torch.arange(77.0).view(77, 1).expand(77, 8)
    short = Conditioning(Schedule((Segment(9, "a"),)), (ramp,))
    guided = guide(network, [[short, branch(0.0, 154)], [branch(0.0)]], [branch(0.0), branch(0.0)], 1.0)
    padded = (float(ramp.mean()) + 76) / 2
    assert guided(LATENTS, 1.0)[:, 0, 0, 0].tolist() == [padded, 1.0]
    assert sorted(network.calls) == [(2, 154), (3, 77)]


def test_each_call_gets_the_contexts_that_hold_in_it() -> None:
    network = Network()
    positive = [[edited((2, 3.0), (9, 4.0))], [edited((1, 5.0), (3, 6.0), (9, 7.0))]]
    guided = guide(network, positive, [edited((3, 0.0), (9, 1.0)), branch(0.0)], 2.0)
    results = [guided(LATENTS * 0, 1.0)[:, 0, 0, 0].tolist() for _ in range(6)]
    assert results == [[6, 10], [6, 10], [6, 12], [8, 12], [1 + 2 * 3, 14], [7, 14]]


def test_each_call_counts_without_a_negative_prompt_too() -> None:
    guided = guide(Network(), [[edited((1, 3.0), (9, 4.0))]], [], 1)
    assert [guided(LATENTS[:1], 1.0)[0, 0, 0, 0].item() for _ in range(4)] == [3, 3, 4, 4]
