from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor

from webui.domain.plan import GuidancePlan, Plan
from webui.engine.condition import Condition
from webui.engine.conditioning import Conditioning
from webui.engine.control import Control
from webui.engine.denoise import NoiseLevels
from webui.engine.engine import Engine, ImageReady
from webui.engine.guidance import Shaping, guide, needs_negative
from webui.prompt.schedule import Schedule, Segment
from webui.weights.checkpoint import NoiseSchedule

PlanMaker = Callable[..., Plan]


class Network:
    """Predicts the mean of each row's condition, plus the latents; remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, latents: Tensor, sigma: float, condition: Condition) -> Tensor:
        context = condition.states
        self.calls.append(tuple(context.shape[:2]))
        assert latents.shape[0] == context.shape[0]
        return latents + context.mean(dim=(1, 2)).view(-1, 1, 1, 1)


def branch(value: float, length: int = 77, weight: float = 1.0) -> Conditioning:
    return Conditioning(Schedule((Segment(9, "a"),), weight), (Condition(torch.full((length, 8), value)),))


def edited(*segments: tuple[int, float]) -> Conditioning:
    """Return a branch with (end, value) for each segment."""
    schedule = Schedule(tuple(Segment(end, str(value)) for end, value in segments))
    return Conditioning(schedule, tuple(Condition(torch.full((77, 8), value)) for _, value in segments))


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


def test_conditions_of_other_lengths_are_not_padded() -> None:
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
    short = Conditioning(Schedule((Segment(9, "a"),)), (Condition(ramp),))
    guided = guide(network, [[short, branch(0.0, 154)], [branch(0.0)]], [branch(0.0), branch(0.0)], 1.0)
    padded = (float(ramp.mean()) + 76) / 2
    assert guided(LATENTS, 1.0)[:, 0, 0, 0].tolist() == [padded, 1.0]
    assert sorted(network.calls) == [(2, 154), (3, 77)]


def test_each_call_gets_the_conditions_that_hold_in_it() -> None:
    network = Network()
    positive = [[edited((2, 3.0), (9, 4.0))], [edited((1, 5.0), (3, 6.0), (9, 7.0))]]
    guided = guide(network, positive, [edited((3, 0.0), (9, 1.0)), branch(0.0)], 2.0)
    results = [guided(LATENTS * 0, 1.0)[:, 0, 0, 0].tolist() for _ in range(6)]
    assert results == [[6, 10], [6, 10], [6, 12], [8, 12], [1 + 2 * 3, 14], [7, 14]]


def test_each_call_counts_without_a_negative_prompt_too() -> None:
    guided = guide(Network(), [[edited((1, 3.0), (9, 4.0))]], [], 1)
    assert [guided(LATENTS[:1], 1.0)[0, 0, 0, 0].item() for _ in range(4)] == [3, 3, 4, 4]


def test_what_the_network_sees_beside_the_latents_goes_to_each_images_rows() -> None:
    seen: list[Tensor] = []

    def network(latents: Tensor, sigma: float, condition: Condition) -> Tensor:
        seen.append(latents)
        return latents[:, :4] + condition.states.mean(dim=(1, 2)).view(-1, 1, 1, 1)

    beside = torch.tensor([10.0, 20.0]).view(2, 1, 1, 1).expand(2, 5, 2, 2)
    positive = [[branch(3.0), branch(7.0)], [branch(5.0, 154)]]
    result = guide(network, positive, [branch(1.0), branch(2.0)], 4.0, beside=beside)(LATENTS, 1.0)
    assert result[:, 0, 0, 0].tolist() == [0 + 1 + 4 * (3 - 1) + 4 * (7 - 1), 1 + 2 + 4 * (5 - 2)]
    rows = torch.cat(seen)
    assert rows.shape == (5, 9, 2, 2)
    assert sorted(rows[:, 4:].mean((1, 2, 3)).tolist()) == [10, 10, 10, 20, 20]
    assert (rows[:, 4:].mean((1, 2, 3)) == 10 + 10 * rows[:, 0, 0, 0]).all(), "an image's rows keep its own"


# When guidance acts

SIGMAS = [float(sigma) for sigma in range(10, -1, -1)]  # step k goes from 10 - k to 9 - k
LEVELS = NoiseLevels(NoiseSchedule())


def guided_steps(sigmas: list[float] = SIGMAS, **options: float) -> list[int]:
    """Return the steps of a run, one call each, whose negative branch was computed."""
    network = Network()
    shaping = Shaping(GuidancePlan(**options), sigmas, LEVELS)
    guided = guide(network, [[branch(3.0)]], [branch(1.0)], 4.0, shaping=shaping)
    steps = []
    for step, sigma in enumerate(sigmas[:-1]):
        network.calls.clear()
        result = guided(LATENTS[:1], sigma)[0, 0, 0, 0].item()
        rows = sum(count for count, _ in network.calls)
        assert (rows, result) in [(1, 3), (2, 1 + 4 * (3 - 1))]
        if rows == 2:
            steps.append(step)
    return steps


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [
        (0.0, 1.0, list(range(10))),
        (0.3, 1.0, [4, 5, 6, 7, 8, 9]),  # A1111's "Ignore negative prompt during early sampling" leaves out step 3 too
        (0.25, 1.0, [3, 4, 5, 6, 7, 8, 9]),
        (0.0, 0.3, [0, 1, 2]),
        (0.2, 0.6, [3, 4, 5]),
        (0.0, 0.0, []),
        (1.0, 1.0, []),
    ],
)
def test_guidance_acts_in_an_interval_of_the_steps(start: float, end: float, steps: list[int]) -> None:
    assert guided_steps(start=start, end=end) == steps


def test_below_the_least_sigma_every_second_step_goes_without() -> None:
    assert guided_steps(minimum=4.5) == [0, 1, 2, 3, 4, 5, 6, 8]
    assert guided_steps(minimum=4.5, end=0.7) == [0, 1, 2, 3, 4, 5, 6]
    assert guided_steps(minimum=0.0) == list(range(10))


def test_calls_between_two_levels_belong_to_the_step_above() -> None:
    shaping = Shaping(GuidancePlan(end=0.3), SIGMAS, LEVELS)
    assert [shaping.acts(sigma, 0) for sigma in (14.0, 10.0, 7.5, 7.0, 6.9)] == [True, True, True, False, False]


def test_without_the_negative_prompt_the_first_branch_stands_in() -> None:
    """As A1111 has it: first + Σ weight · (branch - first)."""
    network = Network()
    positive = [[branch(3.0), branch(7.0, weight=0.5)], [branch(5.0, weight=2.0)]]
    unguided: list[Tensor] = []
    shaping = Shaping(GuidancePlan(end=0.0), SIGMAS, LEVELS)
    guided = guide(network, positive, [branch(1.0), branch(2.0)], 4.0, unguided.append, shaping)
    assert guided(LATENTS, 5.0)[:, 0, 0, 0].tolist() == [3 + 0.5 * (7 - 3), 1 + 5]
    assert sum(count for count, _ in network.calls) == 3
    assert unguided[0][:, 0, 0, 0].tolist() == [3, 1 + 5]


def test_edits_hold_whether_guidance_acts_or_not() -> None:
    positive = [[edited((2, 3.0), (4, 4.0), (9, 5.0))]]
    shaping = Shaping(GuidancePlan(start=0.05, end=0.5), SIGMAS, LEVELS)
    guided = guide(Network(), positive, [edited((3, 0.0), (9, 1.0))], 2.0, shaping=shaping)
    results = [guided(LATENTS[:1], sigma)[0, 0, 0, 0].item() for sigma in SIGMAS[:7]]
    assert results == [3, 2 * 3, 2 * 3, 2 * 4, 1 + 2 * (4 - 1), 5, 5]


# Rescaling


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("sigma", [0.4, 9.0])
def test_rescaling_equals_diffusers(prediction: str, share: float, sigma: float) -> None:
    levels = NoiseLevels(NoiseSchedule(prediction=prediction))
    latents = random(2, 4, 8, 8, seed=0) * (1 + sigma)
    without, prompt = random(2, 4, 8, 8, seed=1), random(2, 4, 8, 8, seed=2)

    def network(noisy: Tensor, sigma: float, condition: Condition) -> Tensor:
        return levels.clean(noisy, torch.cat([without, prompt]), sigma)

    shaping = Shaping(GuidancePlan(rescale=share), [sigma, 0.0], levels)
    guided = guide(network, [[branch(3.0)], [branch(5.0)]], [branch(1.0), branch(2.0)], 7.0, shaping=shaping)
    output = rescale_noise_cfg(without + 7.0 * (prompt - without), prompt, guidance_rescale=share)
    expected = levels.clean(latents, output, sigma)
    assert torch.allclose(guided(latents, sigma), expected, atol=1e-4 * sigma)
    plain = levels.clean(latents, without + 7.0 * (prompt - without), sigma)
    assert not torch.allclose(expected, plain, atol=1e-2 * sigma)


def test_rescaling_brings_several_branches_to_the_spread_of_their_sum() -> None:
    latents, sigma = random(1, 4, 8, 8, seed=0) * 5, 5.0
    outputs = [random(1, 4, 8, 8, seed=seed) for seed in (1, 2, 3)]

    def network(noisy: Tensor, sigma: float, condition: Condition) -> Tensor:
        rows = [outputs[int(value)] for value in condition.states[:, 0, 0].tolist()]
        return LEVELS.clean(noisy, torch.cat(rows), sigma)

    positive = [[branch(1.0), branch(2.0, weight=0.5)]]
    shaping = Shaping(GuidancePlan(rescale=1.0), [sigma, 0.0], LEVELS)
    clean = guide(network, positive, [branch(0.0)], 6.0, shaping=shaping)(latents, sigma)
    summed = outputs[0] + (outputs[1] - outputs[0]) + 0.5 * (outputs[2] - outputs[0])
    assert ((latents - clean) / sigma).std().item() == pytest.approx(summed.std().item(), rel=1e-4)


@pytest.mark.parametrize("sampler", ["DDIM CFG++", "Euler", "Heun"])
def test_a_run_without_guidance_is_that_of_the_prompt_alone(engine: Engine, make_plan: PlanMaker, sampler: str) -> None:
    """CFG++ goes on from what is predicted without guidance: there, the prompt itself. Its guidance 12.5 is a whole."""
    whole = 12.5 if sampler == "DDIM CFG++" else 1.0

    def draw(**changes: object) -> object:
        happened = engine.run(make_plan(sampler=sampler, **changes), Control())
        return next(item.image for item in happened if isinstance(item, ImageReady))

    never = draw(guidance=9.0, guiding=GuidancePlan(end=0.0, rescale=0.7))
    assert never == draw(guidance=whole)
    assert never != draw(guidance=9.0)
    assert draw(guidance=9.0, guiding=GuidancePlan(minimum=15.0)) not in (never, draw(guidance=9.0))
