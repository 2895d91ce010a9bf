"""What a plan says about its own size: steps, batches, passes."""

from __future__ import annotations

import pytest

from tests.jobs_parts import make_plan
from webui.domain.plan import HiresPlan, Plan, SamplingPlan
from webui.domain.start import FromImage
from webui.domain.upscaling import UpscalerRef

HIRES = HiresPlan(
    width=128, height=128, enlarged=(128, 128), upscaler=UpscalerRef(name="Latent", kind="latent"), steps=6,
    strength=0.5, sampler="Euler", schedule="Automatic", guidance=5.0, sampling=SamplingPlan(),
)  # fmt: skip


def plan(**changes: object) -> Plan:
    return make_plan(steps=20).replace(hires=HIRES, **changes)


def test_the_second_pass_counts_behind_the_first() -> None:
    assert (plan().run_steps, plan().total_steps, plan().size) == (20, 26, (128, 128))


def test_a_finished_picture_stands_for_the_first_pass() -> None:
    made = plan(start=FromImage(images=("1" * 64,), strength=0.5))
    assert made.begins_with_second_pass and not plan().begins_with_second_pass
    assert (made.run_steps, made.total_steps) == (0, 6)


@pytest.mark.parametrize(("strength", "steps"), [(0.5, 12), (1.0, 6), (0.25, 24), (0.0, 1000)])
def test_the_second_pass_is_the_end_of_a_longer_schedule(strength: float, steps: int) -> None:
    assert HIRES.replace(strength=strength).schedule_steps == steps


def test_a_sampler_of_the_second_pass_can_ask_for_single_images() -> None:
    several = make_plan(images=4, batch_size=2)
    assert [len(batch) for batch in several.batches] == [2, 2]
    alone = several.replace(hires=HIRES.replace(sampler="DPM adaptive"))
    assert [len(batch) for batch in alone.batches] == [1, 1, 1, 1]
