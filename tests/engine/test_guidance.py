from __future__ import annotations

import torch
from torch import Tensor

from webui.engine.guidance import guide


class Network:
    """Predicts the mean of each row's context; remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, latents: Tensor, sigma: float, context: Tensor) -> Tensor:
        self.calls.append(tuple(context.shape[:2]))
        assert latents.shape[0] == context.shape[0]
        return latents + context.mean(dim=(1, 2)).view(-1, 1, 1, 1)


def context(value: float, length: int = 77) -> Tensor:
    return torch.full((length, 8), value)


LATENTS = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 4, 2, 2)


def test_combines_the_branches() -> None:
    network = Network()
    guided = guide(network, [context(3.0), context(5.0)], [context(1.0), context(2.0)], 4.0)
    result = guided(LATENTS, 1.0)
    assert result[:, 0, 0, 0].tolist() == [0 + 1 + 4 * (3 - 1), 1 + 2 + 4 * (5 - 2)]
    assert network.calls == [(4, 77)]


def test_guidance_1_computes_the_prompt_alone() -> None:
    network = Network()
    result = guide(network, [context(3.0), context(5.0)], [], 1)(LATENTS, 1.0)
    assert result[:, 0, 0, 0].tolist() == [3, 6]
    assert network.calls == [(2, 77)]


def test_contexts_of_other_lengths_are_not_padded() -> None:
    network = Network()
    positive, negative = [context(3.0, 154), context(5.0)], [context(1.0), context(2.0)]
    result = guide(network, positive, negative, 4.0)(LATENTS, 1.0)
    assert result[:, 0, 0, 0].tolist() == [0 + 1 + 4 * (3 - 1), 1 + 2 + 4 * (5 - 2)]
    assert network.calls == [(3, 77), (1, 154)]
