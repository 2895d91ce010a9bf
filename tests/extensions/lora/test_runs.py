"""Whole runs with LoRAs on a tiny model: what acts when, in every memory mode, and that nothing of it stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from extensions.lora.options import LoraFacts, NetworkFile
from extensions.lora.working import Work
from tests.engine_parts import latents_of, with_second_pass
from tests.extensions.lora.lora_parts import all_weights, draw, load_model, write
from tests.tiny_models import INDEX, SCHEDULER, make_networks, write_folder, write_tokenizer
from webui.domain.events import Noted
from webui.domain.plan import Plan
from webui.domain.upscaling import UpscalerRef
from webui.engine.control import Control
from webui.engine.generate import Batch
from webui.engine.generate import draw as draw_batch
from webui.engine.models import Models
from webui.engine.run import Modifier, Run
from webui.errors import BadFile, GenerationError
from webui.weights.memory import EngineOptions

UNET = ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.attentions.0.proj_in", "conv_out")
TEXT = "encoder.layers.0.self_attn.q_proj"


def tensors_of(seed: int) -> dict[str, Tensor]:
    """Return a full difference for some layers of the UNet and one of the text encoder."""
    networks = make_networks()
    found = {}
    for number, name in enumerate(UNET):
        weight = networks["unet"].get_submodule(name).weight
        found[f"lora_unet_{name.replace('.', '_')}.diff"] = draw(*weight.shape, seed=seed + number, scale=0.3)
    shape = networks["text_encoder"].get_submodule(TEXT).weight.shape
    found[f"lora_te_text_model_{TEXT.replace('.', '_')}.diff"] = draw(*shape, seed=seed + 9, scale=0.3)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("Lora")
    return {name: write(folder / f"{name}.safetensors", tensors_of(seed)) for name, seed in (("one", 10), ("two", 50))}


@pytest.fixture
def told(make_plan: Callable[..., Plan], files: dict[str, Path]) -> Callable[..., Plan]:
    """Return a function that makes a plan with tags, as the extension would plan it."""

    def make(tags: str, combination: str = "Merge", switch_every: int = 1, **changes: object) -> Plan:
        networks = {name: NetworkFile(name=name, path=path, sha256=name, family="sd1") for name, path in files.items()}
        facts = LoraFacts(networks=networks, combination=combination, switch_every=switch_every)  # type: ignore[arg-type]
        return make_plan(prompt=f"a cat{tags}", **changes).told("lora", facts)

    return make


def extended(options: EngineOptions, *others: Modifier) -> Models:
    work = Work()
    return Models(options, [Modifier("lora", patches=(work.enter,), wraps=(work.wrap,)), *others])


@pytest.fixture(scope="module")
def with_loras(options: EngineOptions) -> Models:
    return extended(options)


def hand_merged(folder: Path, *strengths: tuple[int, float, float]) -> Path:
    """Write the tiny model with (seed, strength on the text encoder, on the UNet) of LoRAs in its weights."""
    networks = make_networks()
    with torch.no_grad():
        for seed, te, unet in strengths:
            tensors = tensors_of(seed)
            for name in UNET:
                layer = networks["unet"].get_submodule(name)
                layer.weight += unet * tensors[f"lora_unet_{name.replace('.', '_')}.diff"]
            layer = networks["text_encoder"].get_submodule(TEXT)
            layer.weight += te * tensors[f"lora_te_text_model_{TEXT.replace('.', '_')}.diff"]
    write_folder(folder, networks, INDEX, SCHEDULER)
    write_tokenizer(folder / "tokenizer")
    return folder


def test_two_loras_are_merged_as_strong_as_their_tags_say(
    told: Callable[..., Plan], make_plan: Callable[..., Plan], models: Models, with_loras: Models, tmp_path: Path
) -> None:
    merged = hand_merged(tmp_path / "merged", (10, 0.5, 0.8), (50, -1.0, 0.25))
    found = latents_of(told("<lora:one:0.5:0.8><lora:two:te=-1:unet=0.25>"), with_loras)
    torch.testing.assert_close(found, latents_of(make_plan(path=merged), models), rtol=1e-3, atol=1e-4)
    assert (found - latents_of(make_plan(), models)).abs().max() > 0.1


def test_the_text_encoder_alone_and_the_unet_alone(
    told: Callable[..., Plan], make_plan: Callable[..., Plan], models: Models, with_loras: Models, tmp_path: Path
) -> None:
    plain = latents_of(make_plan(), models)
    for number, (te, unet) in enumerate(((1.0, 0.0), (0.0, 1.0))):
        merged = hand_merged(tmp_path / f"merged{number}", (10, te, unet))
        found = latents_of(told(f"<lora:one:{te}:{unet}>"), with_loras)
        torch.testing.assert_close(found, latents_of(make_plan(path=merged), models), rtol=1e-3, atol=1e-4)
        assert (found - plain).abs().max() > 1e-3


@pytest.mark.parametrize("tags", ["", "<lora:one:0>", "<lora:one:0:0><lora:two:te=0:unet=0>"])
def test_at_strength_0_nothing_changes_to_the_bit(
    tags: str, told: Callable[..., Plan], make_plan: Callable[..., Plan], models: Models, with_loras: Models
) -> None:
    assert torch.equal(latents_of(told(tags), with_loras), latents_of(make_plan(), models))


def test_block_weights_leave_blocks_out(
    told: Callable[..., Plan], make_plan: Callable[..., Plan], models: Models, with_loras: Models, tmp_path: Path
) -> None:
    """Of the three layers two lie in blocks; without these, conv_out and the text encoder are left."""
    alone = latents_of(told("<lora:one:1:lbw=NONE>"), with_loras)
    networks = make_networks()
    with torch.no_grad():
        networks["unet"].conv_out.weight += tensors_of(10)["lora_unet_conv_out.diff"]
    write_folder(tmp_path / "merged", networks, INDEX, SCHEDULER)
    write_tokenizer(tmp_path / "merged" / "tokenizer")
    torch.testing.assert_close(alone, latents_of(make_plan(path=tmp_path / "merged"), models), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("tags", "combination"),
    [
        ("<lora:one:0.8><lora:two:0.5>", "Merge"),
        ("<lora:one:1:step=0.5-1><lora:two:0.5>", "Merge"),
        ("<lora:one:0.8><lora:two:0.5>", "Switch"),
        ("<lora:one:0.8><lora:two:0.5>", "Composite"),
    ],
)
def test_every_memory_mode_draws_the_same_and_keeps_its_weights(
    tags: str, combination: str, told: Callable[..., Plan], with_loras: Models, models: Models
) -> None:
    plan, drawn = told(tags, combination), []
    model = with_loras.get(plan.model).resident
    for mode in ("lowvram", "medvram", "normal"):
        model.change_placement(dataclasses.replace(model.placement, mode=mode))  # type: ignore[arg-type]
        with unchanged(with_loras, plan):
            drawn.append(latents_of(plan, with_loras))
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], latents_of(plan.replace(extensions={}), models))


def test_steps_in_which_a_lora_acts(
    told: Callable[..., Plan], make_plan: Callable[..., Plan], options: EngineOptions
) -> None:
    """The run is that with the LoRA for its steps, and that without it for the others: the same steps by hand."""
    seen: list[bool] = []
    network = tensors_of(10)[f"lora_unet_{UNET[0].replace('.', '_')}.diff"]

    def look(denoise: Callable[[Tensor, float], Tensor], run: Run) -> Callable[[Tensor, float], Tensor]:
        plain = load_model(run.plan.model.path).weights("unet")[f"{UNET[0]}.weight"]

        def looking(latents: Tensor, sigma: float) -> Tensor:
            now = run.model.weights("unet")[f"{UNET[0]}.weight"]
            assert torch.equal(now, plain) or torch.allclose(now, plain + network, atol=1e-6)
            seen.append(not torch.equal(now, plain))
            return denoise(latents, sigma)

        return looking

    work = Work()
    spy = Modifier("spy", wraps=(look,))
    models = Models(options, [spy, Modifier("lora", patches=(work.enter,), wraps=(work.wrap,))])
    for tags, expected in (
        ("<lora:one:0:1:step=0.25-0.75>", [False, True, True, False]),
        ("<lora:one:0:1:step=4-12>", [False, False, False, True]),
        ("<lora:one:0:1:stop=1>", [True, True, True, True]),
        ("<lora:one:0:1:start=3>", [False, False, True, True]),
    ):
        plan = told(tags)
        plan = plan.replace(extensions={"spy": {}, **plan.extensions})
        latents_of(plan, models)
        assert seen == expected, tags
        seen.clear()


@contextmanager
def unchanged(models: Models, plan: Plan) -> Iterator[None]:
    model = models.get(plan.model).resident
    before = all_weights(model)
    yield
    after = all_weights(model)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert model.wording == ()


@pytest.mark.parametrize("combination", ["Merge", "Switch", "Composite"])
def test_weights_are_back_after_an_interrupt_and_an_error(
    combination: str, told: Callable[..., Plan], make_plan: Callable[..., Plan], options: EngineOptions, models: Models
) -> None:
    def break_down(denoise: Callable[[Tensor, float], Tensor], run: Run) -> Callable[[Tensor, float], Tensor]:
        def broken(latents: Tensor, sigma: float) -> Tensor:
            if run.step_at(sigma) == 2:
                raise GenerationError("broken")
            return denoise(latents, sigma)

        return broken

    used = extended(options, Modifier("breaking", wraps=(break_down,)))
    plan = told("<lora:one:0.8><lora:two:0.5>", combination)
    with unchanged(used, plan):
        going = draw_batch(Batch(plan, plan.images), used, Control())
        for _ in range(2):
            next(going)
        going.close()
    control = Control()
    with unchanged(used, plan):
        going = draw_batch(Batch(plan, plan.images), used, control)
        next(going)
        control.interrupted = True
        assert len(list(going)) < plan.steps - 1
    with unchanged(used, plan), pytest.raises(GenerationError, match="broken"):
        latents_of(plan.replace(extensions={**plan.extensions, "breaking": {}}), used)
    assert torch.equal(latents_of(make_plan(), used), latents_of(make_plan(), models))


def test_prompts_are_encoded_anew_when_the_text_encoder_changes(
    told: Callable[..., Plan], make_plan: Callable[..., Plan], with_loras: Models
) -> None:
    plain = latents_of(make_plan(), with_loras)
    changed = latents_of(told("<lora:one:1:0>"), with_loras)
    stronger = latents_of(told("<lora:one:2:0>"), with_loras)
    assert not torch.equal(plain, changed) and not torch.equal(changed, stronger)
    assert torch.equal(latents_of(make_plan(), with_loras), plain)


def test_the_second_pass_has_its_own_prompt(told: Callable[..., Plan], with_loras: Models) -> None:
    plan = with_second_pass(told("<lora:one:1>"), UpscalerRef(name="Latent", kind="latent"))
    other = plan.images[0].replace(hires_prompt="a cat")
    same, without = latents_of(plan, with_loras), latents_of(plan.replace(images=(other,)), with_loras)
    assert not torch.equal(same, without)


def notes_of(plan: Plan, models: Models) -> list[str]:
    return [
        each.message
        for each in [*draw_batch(Batch(plan, plan.images), models, Control()), *models.take_notes()]
        if isinstance(each, Noted)
    ]


def test_networks_of_another_family_are_left_out_with_a_note(told: Callable[..., Plan], with_loras: Models) -> None:
    plan = told("<lora:one:1>")
    list(with_loras.take_notes())
    networks = {"one": {**plan.extensions["lora"]["networks"]["one"], "family": "sdxl"}}
    facts = {**plan.extensions["lora"], "networks": networks}
    assert notes_of(plan.replace(extensions={"lora": facts}), with_loras) == [
        "<lora:one> does not act on tiny: it is of another family."
    ]


def test_files_of_an_unknown_family_without_a_place_are_refused(
    told: Callable[..., Plan], with_loras: Models, tmp_path: Path
) -> None:
    plan = told("<lora:one:1>")
    other = write(tmp_path / "other.safetensors", {"lora_unet_nowhere.diff": draw(2, 2)})
    networks = {"one": {**plan.extensions["lora"]["networks"]["one"], "family": None, "path": str(other)}}
    plan = plan.replace(extensions={"lora": {**plan.extensions["lora"], "networks": networks}})
    with pytest.raises(BadFile, match="<lora:one>: none of its 1 keys has a place"):
        latents_of(plan, with_loras)


def test_the_user_is_told_how_much_of_a_file_fits(told: Callable[..., Plan], with_loras: Models) -> None:
    list(with_loras.take_notes())
    assert notes_of(told("<lora:one:1>"), with_loras) == ["one: 4/4 keys, SD1 ✓"]
