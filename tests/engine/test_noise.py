from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from webui.engine.brownian import BrownianTree
from webui.engine.noise import NoiseSource, Origin, centred, slerp

SHAPE = (4, 8, 8)


def same(tensor: Tensor) -> Tensor:
    return tensor


def plain(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def draw(seeds: list[int], times: int) -> list[Tensor]:
    source = NoiseSource(seeds, SHAPE, same)
    return [source.draw() for _ in range(times)]


@pytest.mark.parametrize("kind", ["CPU", "GPU", "NV"])
def test_each_image_has_its_own_noise_whatever_its_neighbours(kind: str) -> None:
    def noises(seeds: list[int]) -> list[Tensor]:
        source = NoiseSource(seeds, SHAPE, same, source=kind)  # type: ignore[arg-type]
        path = source.follow([9.0, 1.0])
        return [source.begin(), source.draw(), path.between(9.0, 4.0), path.between(4.0, 1.0)]

    together = noises([5, 6, 7])
    for row, seed in enumerate([5, 6, 7]):
        for batch, alone in zip(together, noises([seed]), strict=True):
            assert torch.equal(batch[row], alone[0])
    assert not torch.equal(together[0][0], together[0][1])


def test_first_noise_is_that_of_a_plain_generator() -> None:
    assert torch.equal(NoiseSource([2**53 - 1], SHAPE, same).begin()[0], plain(2**53 - 1))
    assert torch.equal(draw([2**53 - 1], 1)[0][0], plain(2**53 - 1))


def test_global_random_state_is_not_touched() -> None:
    before = torch.random.get_rng_state()
    draw([1], 2)
    NoiseSource([1], SHAPE, same).follow([9.0, 1.0]).between(9.0, 1.0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seed_delta_holds_after_the_first_noise() -> None:
    source = NoiseSource([5], SHAPE, same, seed_delta=31337)
    assert torch.equal(source.begin()[0], plain(5))
    assert torch.equal(source.draw()[0], plain(5 + 31337))


@pytest.mark.parametrize("strength", [0.25, 0.9])
def test_variation_lies_on_the_arc_between_two_noises(strength: float) -> None:
    origins = [Origin(5, 77, strength)]
    varied = NoiseSource(origins, (4, 64, 64), same).begin()[0]
    one, other = plain(5, (4, 64, 64)), plain(77, (4, 64, 64))
    assert abs(float(varied.std()) - 1) < 0.02
    cosine = float(torch.nn.functional.cosine_similarity(varied.flatten(), one.flatten(), 0))
    assert cosine == pytest.approx(math.cos(strength * math.pi / 2), abs=0.03)
    torch.testing.assert_close(slerp(one, other, 1.0), other, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(slerp(one, other, 0.0), one, atol=1e-5, rtol=1e-4)
    assert torch.equal(slerp(one, one, strength), one)


def test_variation_is_a_turn_of_each_column() -> None:
    one, other = torch.tensor([[[3.0], [0.0]]]), torch.tensor([[[0.0], [5.0]]])
    half = math.sin(math.pi / 4)
    torch.testing.assert_close(slerp(one, other, 0.5), torch.tensor([[[3 * half], [5 * half]]]))


@pytest.mark.parametrize(
    ("inner", "rows", "taken"),
    [(4, (2, 6), (0, 4)), (5, (1, 6), (0, 5)), (12, (0, 8), (2, 10)), (13, (0, 7), (3, 10))],
)
def test_resized_noise_is_put_into_the_middle(inner: int, rows: tuple[int, int], taken: tuple[int, int]) -> None:
    """The odd sizes are rounded as A1111 rounds them."""
    small, large = plain(1, (4, inner, inner)), plain(2)
    mixed = centred(small, large)
    inside, part = slice(*rows), slice(*taken)
    assert torch.equal(mixed[:, inside, inside], small[:, part, part])
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[inside, inside] = False
    assert torch.equal(mixed[:, outside], large[:, outside])


def test_seed_resize_keeps_the_noise_of_the_old_size() -> None:
    source = NoiseSource([Origin(5, size=(4, 6))], SHAPE, same)
    first = source.begin()[0]
    assert torch.equal(first[:, 2:6, 1:7], plain(5, (4, 4, 6)))
    assert torch.equal(first[:, 0], plain(5)[:, 0])


def normal(seed: int) -> Tensor:
    return plain(seed, (4, 4, 4))


def tree(seed: int = 1234567) -> BrownianTree:
    return BrownianTree(seed, 0.0291675, 14.614642, normal)


# From torchsde 0.2.6: BrownianTree(0.0291675, zeros(4, 4, 4), 14.614642, entropy=1234567)(start, end)[0, 0, :2]
TORCHSDE = {
    (5.1, 14.614642): [1.5676804, -3.2871623],
    (2.0, 5.1): [0.72599053, 0.97418278],
    (0.0291675, 0.1): [-0.046523727, 0.38324097],
    (9.0, 9.000001): [-0.0001668866, 0.00080788817],
    (3.3, 3.30001): [0.0063242959, -0.0021264115],
}


@pytest.mark.parametrize("times", list(TORCHSDE))
def test_brownian_paths_are_torchsdes(times: tuple[float, float]) -> None:
    torch.testing.assert_close(tree().between(*times)[0, 0, :2], torch.tensor(TORCHSDE[times]), atol=1e-6, rtol=1e-5)


def test_brownian_paths_do_not_depend_on_who_asked_before() -> None:
    asked = tree()
    for end in range(2, 14):
        asked.between(1.0, end)
    assert torch.equal(asked.between(3.0, 7.7), tree().between(3.0, 7.7))


def test_brownian_moves_add_up() -> None:
    path = tree()
    parts = path.between(1.0, 2.5) + path.between(2.5, 4.0)
    torch.testing.assert_close(parts, path.between(1.0, 4.0), atol=1e-5, rtol=1e-4)
    assert float(path.between(2.0, 2.0).abs().max()) == 0
    assert float(path.between(20.0, 30.0).abs().max()) == 0


def test_brownian_moves_have_the_variance_of_their_time_and_no_memory() -> None:
    path = BrownianTree(3, 0.0, 10.0, lambda seed: plain(seed, (1, 100, 100)))
    first, second = path.between(0.7, 2.2), path.between(2.2, 7.0)
    assert float(first.var()) == pytest.approx(1.5, rel=0.05)
    assert float(second.var()) == pytest.approx(4.8, rel=0.05)
    assert abs(float((first * second).mean())) < 0.1


def test_paths_fall_with_sigma_and_have_unit_variance() -> None:
    path = NoiseSource([3], (1, 100, 100), same, path_range=(0.03, 14.6)).follow([9.0, 1.0])
    down = path.between(9.0, 2.0)
    assert float(down.std()) == pytest.approx(1, rel=0.03)
    expected = BrownianTree(3, 0.03, 14.6, lambda seed: plain(seed, (1, 100, 100))).between(2.0, 9.0) / -math.sqrt(7)
    torch.testing.assert_close(down[0], expected, atol=2e-2, rtol=0)  # times are rounded to single precision


def test_part_of_a_schedule_follows_the_path_of_the_whole() -> None:
    whole = NoiseSource([3], SHAPE, same).follow([14.0, 9.0, 1.0])
    part = NoiseSource([3], SHAPE, same, path_range=(1.0, 14.0)).follow([9.0, 1.0])
    assert torch.equal(whole.between(9.0, 1.0), part.between(9.0, 1.0))
