"""LoRAs that a region's part of the prompt names act in that region alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from extensions.lora.options import LoraFacts, NetworkFile
from extensions.lora.working import Work
from extensions.regional_prompts.combining import confine
from extensions.regional_prompts.extension import tell
from extensions.regional_prompts.options import RegionalPrompts
from tests.engine_parts import difference, latents_of
from tests.extensions.lora.lora_parts import all_weights, draw, write
from tests.extensions.parts import make_tools
from tests.tiny_models import make_networks
from webui.domain.plan import Plan
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
LAYERS = ("mid_block.attentions.0.proj_in", "conv_out")


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    work = Work()
    lora = Modifier("lora", patches=(work.enter,), wraps=(work.wrap,), guidance=(work.guide,))
    return Models(options, [lora, Modifier("regional_prompts", guidance=(confine,))])


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NetworkFile]:
    """Networks that change layers of the UNet alone."""
    folder = tmp_path_factory.mktemp("Lora")
    unet, found = make_networks()["unet"], {}
    for seed, name in enumerate(("one", "two")):
        tensors = {
            f"lora_unet_{layer.replace('.', '_')}.diff": draw(*unet.get_submodule(layer).weight.shape, seed=seed + 10,
                                                              scale=0.3)
            for layer in LAYERS
        }  # fmt: skip
        path = write(folder / f"{name}.safetensors", tensors)
        found[name] = NetworkFile(name=name, path=path, sha256=name, family="sd1")
    return found


@pytest.fixture
def planned(make_plan: PlanMaker, networks: dict[str, NetworkFile]) -> Callable[..., Plan]:
    """Return a function that plans a prompt as both extensions do; regions only if the prompt has any."""

    def plan(prompt: str, **changes: object) -> Plan:
        told = make_plan(prompt=prompt, negative="", **changes).told("lora", LoraFacts(networks=networks))
        return tell(told, RegionalPrompts(enabled="BREAK" in prompt or "ADD" in prompt), make_tools())

    return plan


def test_each_half_is_drawn_under_its_own_network(extended: Models, planned: Callable[..., Plan]) -> None:
    """At guidance 1, after one step in which no place knows of the others, each half is that of its network alone."""
    plan = {"steps": 1, "guidance": 1.0}
    both = latents_of(planned("a cat <lora:one:1> BREAK a cat <lora:two:1>", **plan), extended)
    one, two = (latents_of(planned(f"a cat <lora:{name}:1>", **plan), extended) for name in ("one", "two"))
    assert difference(one, two) > 1e-2
    assert difference(both[..., :4], one[..., :4]) < 1e-4 and difference(both[..., 4:], two[..., 4:]) < 1e-4


def test_a_region_without_networks_has_none(extended: Models, planned: Callable[..., Plan]) -> None:
    plan = {"steps": 1, "guidance": 1.0}
    both = latents_of(planned("a cat BREAK a cat <lora:two:0.5>", **plan), extended)
    plain, two = (latents_of(planned(f"a cat{tag}", **plan), extended) for tag in ("", "<lora:two:0.5>"))
    assert difference(both[..., :4], plain[..., :4]) < 1e-4 and difference(both[..., 4:], two[..., 4:]) < 1e-4


def test_a_network_of_the_common_part_acts_once_and_everywhere(extended: Models, planned: Callable[..., Plan]) -> None:
    together = latents_of(planned("<lora:one:1> a cat ADDCOMM ADDBASE BREAK "), extended)
    assert difference(together, latents_of(planned("a cat <lora:one:1>"), extended)) < 1e-4


def test_the_negative_prompt_is_under_no_regions_network(extended: Models, planned: Callable[..., Plan]) -> None:
    """Guidance moves away from the plain model: negative + scale · (branch - negative)."""
    plan = {"steps": 1}
    scale = 5.0
    ours = latents_of(planned("a cat BREAK a cat <lora:two:1>", guidance=scale, **plan), extended)
    two = latents_of(planned("a cat <lora:two:1>", guidance=1.0, **plan), extended)
    plain = latents_of(planned("", guidance=1.0, **plan), extended)
    expected = plain + scale * (two - plain)
    assert difference(ours[..., 4:], expected[..., 4:]) < 1e-4


def test_weights_are_back_to_the_bit(extended: Models, planned: Callable[..., Plan]) -> None:
    plan = planned("a cat <lora:one:1> BREAK a cat <lora:two:1>", count=2)
    model = extended.get(plan.model).resident
    before = all_weights(model)
    latents_of(plan, extended)
    after = all_weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_may_act_in_some_steps_of_its_region(extended: Models, planned: Callable[..., Plan]) -> None:
    early = planned("a cat BREAK a cat <lora:two:1:step=0-0.5>")
    whole = planned("a cat BREAK a cat <lora:two:1>")
    assert difference(latents_of(early, extended), latents_of(whole, extended)) > 1e-3
