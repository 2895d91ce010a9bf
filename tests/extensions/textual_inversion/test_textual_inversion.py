"""Textual inversion: words of prompts stand for vectors from files, of whatever program, and only where they fit."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

from extensions.textual_inversion.extension import NAME, tell
from extensions.textual_inversion.teaching import read_tables, teach
from tests import tiny_flux, tiny_xl
from tests.engine_parts import latents_of, load_pipeline, noise_of, with_second_pass
from tests.extensions.parts import make_tools
from tests.tiny_models import SCHEDULER
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import Plan
from webui.domain.upscaling import UpscalerRef
from webui.engine.families import sd1
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.engine.schedules import find_sigmas
from webui.errors import BadFile
from webui.extending.api import NoOptions, Tools
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
WIDTH = 64


def vectors(count: int, width: int = WIDTH, seed: int = 1) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def info(path: Path, family: Family | None = None) -> ModelInfo:
    content = path.read_bytes() if path.is_file() else b""
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelInfo(name=path.stem, path=path, kind=Kind.EMBEDDING, family=family, sha256=sha256)


def tools_with(*models: ModelInfo) -> Tools:
    known = {model.name: model for model in models}
    return dataclasses.replace(make_tools(), models=lambda kind: models, find=lambda kind, name: known[name])


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [Modifier(NAME, patches=(teach,))])


@pytest.fixture(scope="module")
def zorblax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embeddings") / "zorblax.safetensors"
    save_file({"emb_params": vectors(3)}, path)
    return path


def told(plan: Plan, *models: ModelInfo) -> Plan:
    return tell(plan, NoOptions(), tools_with(*models))


# -- planning


@pytest.mark.parametrize("place", ["prompt", "negative", "hires", "hires_negative"])
def test_words_are_found_in_every_prompt(make_plan: PlanMaker, place: str) -> None:
    plan = make_plan(prompt="a (ZorBlax:1.2)" if place == "prompt" else "a cat", negative="x")
    names = {"negative": "negative_prompt", "hires": "hires_prompt", "hires_negative": "hires_negative_prompt"}
    if place in names:
        image = plan.images[0].replace(**{names[place]: "dull, zorblax"})
        plan = plan.replace(images=(image,))
    planned = told(plan, info(Path("zorblax.pt"), Family.SD1))
    assert [each["word"] for each in planned.extensions[NAME]["words"]] == ["zorblax"]
    assert planned.facts == {"TI hashes": f"zorblax: {hashlib.sha256().hexdigest()[:10]}"}


def test_a_plan_without_such_words_stays_as_it_is(make_plan: PlanMaker) -> None:
    plan = make_plan(prompt="zorblaxes <lora:zorblax:1>")
    assert told(plan, info(Path("zorblax.pt"), Family.SD1)) is plan
    assert told(make_plan(prompt="zorblax"), info(Path("zorblax.pt")).replace(problem="broken")).extensions == {}


def test_one_for_another_family_is_left_as_words_and_a_note_says_so(make_plan: PlanMaker) -> None:
    planned = told(make_plan(prompt="zorblax"), info(Path("zorblax.pt"), Family.SDXL))
    assert NAME not in planned.extensions
    assert planned.notes == ("The textual inversion zorblax is for SDXL: a model of SD 1 reads its name as words.",)


def test_one_for_the_model_of_the_second_pass_is_told_as_well(make_plan: PlanMaker) -> None:
    plan = with_second_pass(make_plan(prompt="zorblax"), UpscalerRef(name="Latent", kind="latent"))
    assert plan.hires is not None
    other = plan.hires.replace(model=plan.model.replace(family=Family.SDXL))
    planned = told(plan.replace(hires=other), info(Path("zorblax.pt"), Family.SDXL))
    assert NAME in planned.extensions and planned.notes == ()


# -- files


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.safetensors", {"emb_params": vectors(2)}, {"only": (2, WIDTH)}),
        ("a.safetensors", {"clip_l": vectors(2, 32), "clip_g": vectors(2, 48)}, {"clip_l": (2, 32), "clip_g": (2, 48)}),
        ("a.safetensors", {"text_encoders_0": vectors(1, 32), "text_encoders_1": vectors(1, 48)},
         {"clip_l": (1, 32), "clip_g": (1, 48)}),
        ("a.pt", {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": vectors(4)}, "name": "x",
                  "step": 500, "sd_checkpoint": None}, {"only": (4, WIDTH)}),
        ("a.bin", {"<cat-toy>": vectors(1, 768)[0]}, {"only": (1, 768)}),
    ],
)  # fmt: skip
def test_files_of_all_programs_are_read(
    name: str, content: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], tmp_path: Path
) -> None:
    (save_file if name.endswith(".safetensors") else torch.save)(content, tmp_path / name)
    assert {table: tuple(each.shape) for table, each in read_tables(tmp_path / name).items()} == expected


def test_a_file_without_vectors_is_refused(tmp_path: Path) -> None:
    save_file({"emb_params": torch.zeros(1, 2, 3)}, tmp_path / "a.safetensors")
    with pytest.raises(BadFile, match="no vectors"):
        read_tables(tmp_path / "a.safetensors")


# -- pictures


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_the_picture_is_that_of_diffusers(
    make_plan: PlanMaker, extended: Models, zorblax: Path, tiny_folder: Path
) -> None:
    pipeline = load_pipeline(StableDiffusionPipeline, tiny_folder, safety_checker=None, feature_extractor=None)
    pipeline.load_textual_inversion(str(zorblax), token="zorblax")
    pipeline.scheduler = EulerDiscreteScheduler.from_config(SCHEDULER, timestep_spacing="linspace", steps_offset=0)
    plan = told(make_plan(prompt="a zorblax cat", negative="zorblax"), info(zorblax))
    levels = sd1.noise_levels(extended.get(plan.model).resident)
    pipeline.scheduler.set_timesteps(plan.steps)
    noise = noise_of(plan) * find_sigmas("Euler", "Automatic", plan.steps, levels)[0]
    wanted = pipeline(
        "a zorblax cat", negative_prompt="zorblax", latents=noise / pipeline.scheduler.init_noise_sigma,
        num_inference_steps=plan.steps, guidance_scale=plan.guidance, height=64, width=64, output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(latents_of(plan, extended), wanted, rtol=1e-4, atol=1e-4)


def test_words_change_the_picture_and_all_is_put_back(make_plan: PlanMaker, extended: Models, zorblax: Path) -> None:
    plain = latents_of(make_plan(prompt="a zorblax"), extended)
    before = {name: tensor.clone() for name, tensor in _weights(extended).items()}
    taught = latents_of(told(make_plan(prompt="a zorblax"), info(zorblax)), extended)
    assert float((taught - plain).abs().max()) > 0.05
    assert all(torch.equal(tensor, before[name]) for name, tensor in _weights(extended).items())
    assert torch.equal(latents_of(make_plan(prompt="a zorblax"), extended), plain)


def _weights(models: Models) -> Mapping[str, Tensor]:
    assert models.latest is not None
    return models.latest[1].weights("text_encoder")


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"emb_params": vectors(1, 32)}, "its vectors have 32 numbers, those of the model's text_encoder 64"),
        ({"emb_params": vectors(76)}, "more than 75 vectors"),
        ({"clip_l": vectors(1), "clip_g": vectors(2, 48)}, ""),
    ],
)
def test_what_the_text_encoder_cannot_read_stays_words(
    make_plan: PlanMaker, extended: Models, tables: dict[str, Tensor], words: str, tmp_path: Path
) -> None:
    save_file(tables, tmp_path / "odd.safetensors")
    plain = latents_of(make_plan(prompt="odd"), extended)
    list(extended.take_notes())
    drawn = latents_of(told(make_plan(prompt="odd"), info(tmp_path / "odd.safetensors")), extended)
    notes = " ".join(note.message for note in extended.take_notes())
    assert torch.equal(drawn, plain) is bool(words)
    assert words in notes if words else not notes


@pytest.mark.parametrize(
    ("family", "tables", "is_read"),
    [
        (Family.SDXL, {"clip_l": vectors(2, tiny_xl.WIDTHS[0]), "clip_g": vectors(2, tiny_xl.WIDTHS[1])}, True),
        (Family.SDXL, {"clip_l": vectors(2, tiny_xl.WIDTHS[0]), "clip_g": vectors(3, tiny_xl.WIDTHS[1])}, False),
        (Family.SDXL, {"emb_params": vectors(2, tiny_xl.WIDTHS[0])}, False),
        (Family.FLUX, {"emb_params": vectors(2, tiny_flux.WIDTHS[0])}, True),
    ],
)
def test_other_families_read_them_with_the_encoders_they_have(
    make_plan: PlanMaker, options: EngineOptions, tmp_path: Path, family: Family, tables: Any, is_read: bool
) -> None:
    make_folder = {Family.SDXL: tiny_xl.make_folder, Family.FLUX: tiny_flux.make_folder}[family]
    usual = {Family.FLUX: {"distilled_guidance": 3.5, "guidance": 1.0}}.get(family, {})
    save_file(tables, tmp_path / "zorblax.safetensors")
    plan = make_plan(path=make_folder(tmp_path / "model"), prompt="a zorblax cat", steps=1, **usual)
    plan = plan.replace(model=plan.model.replace(family=family))
    models = Models(options, [Modifier(NAME, patches=(teach,))])
    plain = latents_of(plan, models)
    taught = latents_of(told(plan, info(tmp_path / "zorblax.safetensors")), models)
    assert torch.equal(taught, plain) is not is_read
    assert bool(list(models.take_notes())) is not is_read
    assert torch.equal(latents_of(plan, models), plain)
