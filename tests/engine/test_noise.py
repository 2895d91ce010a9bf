from __future__ import annotations

import torch

from webui.engine.noise import NoiseSource


def draw(seeds: list[int], times: int) -> list[torch.Tensor]:
    source = NoiseSource(seeds, (4, 8, 8), lambda tensor: tensor)
    return [source.draw() for _ in range(times)]


def test_each_image_has_its_own_noise_whatever_its_neighbours() -> None:
    together = draw([5, 6, 7], 3)
    for row, seed in enumerate([5, 6, 7]):
        for batch, alone in zip(together, draw([seed], 3), strict=True):
            assert torch.equal(batch[row], alone[0])


def test_first_noise_is_that_of_a_plain_generator() -> None:
    expected = torch.randn(1, 4, 8, 8, generator=torch.Generator("cpu").manual_seed(2**53 - 1))
    assert torch.equal(draw([2**53 - 1], 1)[0], expected)


def test_global_random_state_is_not_touched() -> None:
    before = torch.random.get_rng_state()
    draw([1], 2)
    assert torch.equal(torch.random.get_rng_state(), before)
