"""What tags mean, which files they stand for, and what the infotext says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from extensions.lora.blocks import block_of, read_blocks
from extensions.lora.infotext import read
from extensions.lora.metadata import hash_of
from extensions.lora.options import LoraFacts, LoraOptions
from extensions.lora.planning import add_default, change_plan, suits
from extensions.lora.tags import Ask, Steps, read_tags
from tests.extensions.lora.lora_parts import write
from tests.extensions.parts import make_tools
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.errors import BadRequest, NotFound
from webui.extending.scripts import Tools

PlanMaker = Callable[..., Plan]


@pytest.mark.parametrize(
    ("tag", "ask"),
    [
        ("<lora:a>", Ask(name="a")),
        ("<lora:a:0.8>", Ask(name="a", te=0.8, unet=0.8)),
        ("<lyco:a:0.8>", Ask(name="a", te=0.8, unet=0.8)),
        ("<lora:a:0.8:0.5>", Ask(name="a", te=0.8, unet=0.5)),
        ("<lora:a:0.8:0.5:4>", Ask(name="a", te=0.8, unet=0.5, rank=4)),
        ("<lora:a:te=0.2>", Ask(name="a", te=0.2, unet=0.2)),
        ("<lora:a:0.8:unet=0.5>", Ask(name="a", te=0.8, unet=0.5)),
        ("<lora:a:0.8:0.3:te=0.1:unet=0.5:dyn=2>", Ask(name="a", te=0.1, unet=0.5, rank=2)),
        ("<lora:a b:-1:lbw=MIDD>", Ask(name="a b", te=-1, unet=-1, blocks="MIDD")),
        ("<lora:a:1:step=0.2-0.8>", Ask(name="a", steps=Steps(first=0.2, last=0.8))),
        ("<lora:a:1:step=-0.5>", Ask(name="a", steps=Steps(last=0.5))),
        ("<lora:a:1:step=0-1>", Ask(name="a")),
        ("<lora:a:1:step=4-12>", Ask(name="a", steps=Steps(first=4, last=12, shares=False))),
        ("<lora:a:1:start=10>", Ask(name="a", steps=Steps(first=10, last=1e6, shares=False))),
        ("<lora:a:1:stop=10>", Ask(name="a", steps=Steps(first=0, last=10, shares=False))),
    ],
)
def test_tags(tag: str, ask: Ask) -> None:
    """The first strength holds for both where no other is told (A1111)."""
    assert read_tags(f"a cat {tag}, outside") == (ask,)


def test_tags_without_strength_and_of_others_ask_for_nothing() -> None:
    assert read_tags("<lora:a:0> <lora:b:0:0> <hypernet:c:1>") == ()


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("<lora::1>", "names no file"),
        ("<lora:a:much>", "'much' is no strength"),
        ("<lora:a:nan>", "'nan' is no strength"),
        ("<lora:a:1:1:x>", "'x' is no rank"),
        ("<lora:a:1:1:1:1>", "has 5 parts"),
        ("<lora:a:1:weight=2>", "there is no 'weight'"),
        ("<lora:a:1:step=x>", "are no steps"),
        ("<lora:a:1:step=0.8-0.2>", "end before they begin"),
        ("<lora:a:1:step=0.5-7>", "behind the last one"),
    ],
)
def test_tags_that_cannot_be_read(tag: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        read_tags(tag)
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    ("steps", "held"),
    [
        (Steps(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Steps(first=0.2, last=0.8), [2, 3, 4, 5, 6, 7]),
        (Steps(first=2, last=4, shares=False), [1, 2, 3]),
        (Steps(first=0.0, last=0.0), []),
    ],
)
def test_ranges_of_steps(steps: Steps, held: list[int]) -> None:
    assert [step for step in range(10) if steps.holds(step, 10)] == held


def test_block_weights_in_all_orders() -> None:
    numbers = [str(number / 10) for number in range(26)]
    whole = read_blocks(",".join(numbers), Family.SD1)
    assert (whole["BASE"], whole["IN00"], whole["M00"], whole["OUT11"]) == (0, 0.1, 1.3, 2.5)
    short = read_blocks(",".join(numbers[:17]), Family.SD1)
    assert (short["IN01"], short["IN04"], short["M00"], short["OUT03"], short["OUT11"]) == (0.1, 0.3, 0.7, 0.8, 1.6)
    assert "IN00" not in short
    large = read_blocks(",".join(numbers[:12]), Family.SDXL)
    assert (large["IN04"], large["M00"], large["OUT00"], large["OUT05"]) == (0.1, 0.5, 0.6, 1.1)
    middle = read_blocks("midd", Family.SD1)
    assert [block for block, weight in middle.items() if weight] == [
        "BASE", "IN05", "IN07", "IN08", "M00", "OUT03", "OUT04", "OUT05", "OUT06",
    ]  # fmt: skip
    assert set(read_blocks("ALL0.5", Family.SD1).values()) == {0.5}
    assert read_blocks("", Family.FLUX) == {}


@pytest.mark.parametrize(
    ("text", "family", "message"),
    [
        ("1,2", Family.SD1, "2 block weights, it takes 17 or 26"),
        ("WHAT", Family.SD1, "neither a preset nor numbers"),
        ("ALL", Family.FLUX, "known for SD1, SD2 and SDXL alone"),
    ],
)
def test_block_weights_that_cannot_be(text: str, family: Family, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read_blocks(text, family)


def test_blocks_of_layers() -> None:
    names = ("input_blocks.4.1.proj_in", "middle_block.1", "output_blocks.11.0", "time_embed.0", None)
    assert [block_of(name) for name in names] == ["IN04", "M00", "OUT11", None, None]


# -- plans -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """There are `one` for SD1, which was trained as `Trained`, `large` for SDXL and `free` for nobody knows what."""
    families = {"one": Family.SD1, "large": Family.SDXL, "free": None}
    there = {}
    for name, family in families.items():
        metadata = {"ss_output_name": "Trained"} if name == "one" else {}
        path = write(tmp_path / f"{name}.safetensors", {"a": torch.ones(2)}, **metadata)
        there[name] = ModelInfo(name=name, path=path, kind=Kind.LORA, family=family, sha256=name.encode().hex())

    def find(kind: Kind, name: str) -> ModelInfo:
        assert kind is Kind.LORA
        if name not in there:
            raise NotFound(f"LoRA not found: {name!r}.", hint="Did you mean: one?", field="lora")
        return there[name]

    usual = make_tools()
    return Tools(**{**vars(usual), "find": find, "models": lambda kind: tuple(there.values())})


def facts_of(plan: Plan) -> LoraFacts:
    return LoraFacts.model_validate(dict(plan.extensions["lora"]))


def test_the_plan_holds_the_files(make_plan: PlanMaker, tools: Tools) -> None:
    plan = make_plan(prompt="a cat<lora:one:0.8><lora:Trained:0.2><lora:free>")
    told = change_plan(plan, LoraOptions(combination="Switch", switch_every=2), tools)
    facts = facts_of(told)
    assert {name: file.name for name, file in facts.networks.items()} == {
        "one": "one",
        "Trained": "one",
        "free": "free",
    }
    assert (facts.combination, facts.switch_every, facts.networks["one"].sha256) == ("Switch", 2, b"one".hex())
    assert told.facts["LoRA combination"] == "Switch (2)"
    assert told.images == plan.images


@pytest.mark.parametrize("prompt", ["a cat", "a cat<lora:one:0>", "<hypernet:x:1>"])
def test_plans_without_networks_stay_what_they_are(prompt: str, make_plan: PlanMaker, tools: Tools) -> None:
    plan = make_plan(prompt=prompt)
    assert change_plan(plan, LoraOptions(combination="Composite"), tools) == plan


def test_one_network_is_not_combined(make_plan: PlanMaker, tools: Tools) -> None:
    told = change_plan(make_plan(prompt="<lora:one>"), LoraOptions(combination="Composite"), tools)
    assert set(told.facts) == {"Lora hashes"}


def test_unknown_names_and_other_families_are_refused(make_plan: PlanMaker, tools: Tools) -> None:
    with pytest.raises(NotFound, match="'none'") as missing:
        change_plan(make_plan(prompt="<lora:none>"), LoraOptions(), tools)
    assert (missing.value.field, missing.value.hint) == ("prompt", "Did you mean: one?")
    with pytest.raises(BadRequest, match="<lora:large> was made for SDXL, the checkpoint tiny is SD1"):
        change_plan(make_plan(prompt="<lora:large>"), LoraOptions(), tools)
    with pytest.raises(BadRequest, match="block weights"):
        change_plan(make_plan(prompt="<lora:one:1:lbw=1,2>"), LoraOptions(), tools)


def test_pipelines_of_diffusers_take_none(make_plan: PlanMaker, tools: Tools) -> None:
    plan = make_plan(prompt="<lora:one>")
    with pytest.raises(BadRequest, match="diffusers' own pipeline"):
        change_plan(plan.replace(model=plan.model.replace(family=Family.OTHER)), LoraOptions(), tools)


def test_images_with_different_networks_are_made_one_by_one(make_plan: PlanMaker, tools: Tools) -> None:
    plan = make_plan(prompt="<lora:one>", count=2)
    assert change_plan(plan, LoraOptions(), tools).batch_size == 2
    other = plan.images[1].replace(prompt="<lora:one:0.5>")
    told = change_plan(plan.replace(images=(plan.images[0], other)), LoraOptions(), tools)
    assert [len(batch) for batch in told.batches] == [1, 1]
    assert any("made by itself" in note for note in told.notes)


def test_tags_in_negative_prompts_have_no_effect_and_a_note_says_so(make_plan: PlanMaker, tools: Tools) -> None:
    told = change_plan(make_plan(negative="<lora:one>"), LoraOptions(), tools)
    assert not told.extensions and told.notes == ("Tags <lora:…> in the negative prompt have no effect.",)


def test_networks_of_the_second_prompt_count(make_plan: PlanMaker, tools: Tools) -> None:
    plan = make_plan()
    image = plan.images[0].replace(hires_prompt="a cat<lora:one>")
    assert set(facts_of(change_plan(plan.replace(images=(image,)), LoraOptions(), tools)).networks) == {"one"}


@pytest.mark.parametrize(("setting", "prompt"), [("None", "a cat"), ("one", "a cat<lora:one:0.7>")])
def test_the_network_of_the_settings_is_added(setting: str, prompt: str, tools: Tools) -> None:
    settings: dict[str, Any] = {"sd_lora": setting, "extra_networks_default_multiplier": 0.7}
    told = Tools(**{**vars(tools), "setting": settings.__getitem__})
    request = add_default(GenerationRequest(prompt="a cat"), LoraOptions(), told)
    assert request.prompt == prompt
    assert add_default(request, LoraOptions(), told) == request


def test_families_that_are_alike() -> None:
    assert suits(None, Family.SD1) and suits("sdxl", Family.PLAYGROUND) and suits("flux", Family.CHROMA)
    assert not suits("sd1", Family.SD2) and not suits("sdxl", Family.SD1)


# -- infotext ----------------------------------------------------------------------------------------------------------


def test_hashes_are_of_the_tensors_alone(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.safetensors", {"a": torch.ones(2)})
    edited = write(tmp_path / "b.safetensors", {"a": torch.ones(2)}, title="edited")
    wanted = hashlib.sha256(torch.ones(2).numpy().tobytes()).hexdigest()[:12]
    assert hash_of(plain, "1" * 64) == hash_of(edited, "2" * 64) == wanted
    said = write(tmp_path / "c.safetensors", {"a": torch.ones(2)}, sshs_model_hash="ab" * 32)
    assert hash_of(said, "3" * 64) == "ab" * 6
    lying = write(tmp_path / "d.safetensors", {"a": torch.ones(2)}, sshs_model_hash='x", Steps: 1')
    assert hash_of(lying, "4" * 64) == wanted


def test_what_is_written_is_read_back() -> None:
    assert read({"LoRA combination": "Switch (2)"}) == {"combination": "Switch", "switch_every": 2}
    assert read({"LoRA combination": "Composite"}) == {"combination": "Composite"}
    assert read({"Lora hashes": "a: 123"}) is None and read({"LoRA combination": "Else (9)"}) is None
