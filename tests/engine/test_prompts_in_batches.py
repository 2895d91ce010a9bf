"""Each image of a batch is the one its own prompt and seed give alone, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from webui.domain.plan import ImagePlan, Plan
from webui.engine.engine import Control, Engine, ImageReady

PlanMaker = Callable[..., Plan]
PROMPTS = (
    ("a cat", "dull"),
    ("a [cat:dog BREAK sat:2]", "dull"),
    ("a cat AND a dog BREAK sat :0.5 AND [red|blue]", "[dull:grey:1] AND"),
    ("a (cat:1.4) " + "word " * 90, ""),
    ("{unchanged} <lora:none:1>", "word " * 90),
)


def draw(engine: Engine, plan: Plan) -> list[np.ndarray]:
    outputs = engine.run(plan, Control())
    return [np.asarray(output.image, dtype=int) for output in outputs if isinstance(output, ImageReady)]


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM++ 2M"])
def test_neighbours_change_nothing(engine: Engine, make_plan: PlanMaker, sampler: str) -> None:
    images = tuple(
        ImagePlan(index=index, seed=index, prompt=prompt, negative_prompt=negative)
        for index, (prompt, negative) in enumerate(PROMPTS)
    )
    together = draw(engine, make_plan(images=images, batch_size=len(images), sampler=sampler))
    alone = draw(engine, make_plan(images=images, batch_size=1, sampler=sampler))
    for one, other in zip(together, alone, strict=True):
        assert abs(one - other).max() <= 1
    differences = [abs(one - other).max() for one in together for other in together if one is not other]
    assert min(differences) > 8


def test_every_part_of_the_language_changes_the_picture(engine: Engine, make_plan: PlanMaker) -> None:
    prompts = ["a cat dog", "a [cat:dog:1]", "a [cat|dog]", "a cat AND a dog", "a cat BREAK dog", "a (cat:1.5) dog",
               "a [cat] dog"]  # fmt: skip
    images = tuple(
        ImagePlan(index=index, seed=1, prompt=prompt, negative_prompt="") for index, prompt in enumerate(prompts)
    )
    drawn = draw(engine, make_plan(images=images, batch_size=1, steps=8))
    for first in range(len(drawn)):
        for second in range(first):
            assert abs(drawn[first] - drawn[second]).max() > 2, (prompts[first], prompts[second])
