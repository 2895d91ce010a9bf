"""IP-Adapters: what diffusers computes with the same files, for every kind; where, when, how many; all put back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from extensions.ip_adapter.facts import NAME
from extensions.ip_adapter.options import IpAdapterOptions
from extensions.ip_adapter.planning import tell
from extensions.ip_adapter.seeing import Seeing
from extensions.ip_adapter.towers import load_tower, look, to_pixels
from tests import tiny_xl
from tests.engine_parts import latents_of, load_pipeline, noise_of, with_second_pass
from tests.extensions.ip_adapter.pieces import HIDDEN, SIDE, adapter_of, make_tower, nested, scene, write_tower
from tests.extensions.parts import make_tools
from tests.tiny_models import SCHEDULER
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import Plan
from webui.domain.upscaling import UpscalerRef
from webui.engine.denoise import NoiseLevels
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.engine.schedules import find_sigmas
from webui.errors import BadFile, BadRequest, GenerationError, NotFound
from webui.extending.api import Tools
from webui.weights.checkpoint import NoiseSchedule
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
KINDS = ("plain", "plus", "full")
RED, BLUE, MASK, LEFT = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A folder with an adapter of every kind for the tiny model, and the image encoder."""
    folder = tmp_path_factory.mktemp("adapters")
    write_tower(folder / "tower.safetensors")
    unet = load_pipeline(StableDiffusionPipeline, tiny_folder, safety_checker=None, feature_extractor=None).unet
    for kind in KINDS:
        save_file(adapter_of(unet, kind), folder / f"{kind}.safetensors")
    torch.save(nested(adapter_of(unet, "plain")), folder / "pickled.bin")
    return folder


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [Modifier(NAME, patches=(Seeing().enter,))])


def tools_of(home: Path, family: Family | None = None, kind: Kind = Kind.IP_ADAPTER) -> Tools:
    encoder = ModelInfo(name="tower", path=home / "tower.safetensors", kind=Kind.IMAGE_ENCODER)

    def find(wanted: Kind, name: str) -> ModelInfo:
        path = next(home.glob(f"{name}.*"), home / name)
        return ModelInfo(name=name, path=path, kind=kind, family=family, sha256="12345678" * 8)

    return dataclasses.replace(make_tools(), find=find, models=lambda kind: (encoder,))


def asked(*pictures: Mapping[str, Any], **options: Any) -> IpAdapterOptions:
    usual = {"enabled": True, "image": RED, "model": "plain"}
    return IpAdapterOptions.model_validate({"pictures": [{**usual, **each} for each in pictures], **options})


@pytest.fixture
def told(home: Path) -> Callable[..., Plan]:
    def make(plan: Plan, *pictures: Mapping[str, Any], **options: Any) -> Plan:
        return tell(plan, asked(*pictures, **options), tools_of(home))

    return make


@contextlib.contextmanager
def stored(models: Models, plan: Plan) -> Iterator[None]:
    left = Image.new("L", (64, 64), 0)
    left.paste(255, (0, 0, 32, 64))
    pictures = {RED: scene("red"), BLUE: scene("blue"), MASK: Image.new("L", (64, 64), 255), LEFT: left}
    with models.fitted(plan, pictures):
        yield


def drawn(plan: Plan, models: Models) -> Tensor:
    with stored(models, plan):
        return latents_of(plan, models)


# -- the oracle


def run_theirs(
    pipeline: Any, plan: Plan, files: list[Mapping[str, Tensor]], pictures: list[list[str]], scale: float, **more: Any
) -> Tensor:
    """Return the latents that diffusers' pipeline makes with adapters, each told of some pictures."""
    pipeline.register_modules(image_encoder=make_tower())
    pipeline.load_ip_adapter([nested(each) for each in files], subfolder="", weight_name=[""] * len(files))
    pipeline.set_ip_adapter_scale([scale] * len(files))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(SCHEDULER, timestep_spacing="linspace", steps_offset=0)
    pipeline.scheduler.set_timesteps(plan.steps)
    seen = [torch.cat([to_pixels(scene(name), SIDE) for name in names]) for names in pictures]
    image = plan.images[0]
    levels = NoiseLevels(NoiseSchedule())
    start = noise_of(plan) * find_sigmas("Euler", "Automatic", plan.steps, levels)[0]
    return pipeline(
        image.prompt, negative_prompt=image.negative_prompt, ip_adapter_image=seen, num_inference_steps=plan.steps,
        latents=start / pipeline.scheduler.init_noise_sigma, guidance_scale=plan.guidance, height=64, width=64,
        output_type="latent", **more,
    ).images  # fmt: skip


@pytest.mark.parametrize("guidance", [5.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_those_of_diffusers(
    make_plan: PlanMaker, extended: Models, told: Any, tiny_folder: Path, kind: str, guidance: float
) -> None:
    plan = make_plan(guidance=guidance)
    pipeline = load_pipeline(StableDiffusionPipeline, tiny_folder, safety_checker=None, feature_extractor=None)
    adapter = adapter_of(pipeline.unet, kind)
    ours = drawn(told(plan, {"model": kind, "weight": 0.7}), extended)
    wanted = run_theirs(pipeline, plan, [adapter], [["red"]], 0.7)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)
    assert float((ours - drawn(plan, extended)).abs().max()) > 0.05


def test_several_pictures_are_seen_together_and_adapters_add_up(
    make_plan: PlanMaker, extended: Models, told: Any, tiny_folder: Path
) -> None:
    pipeline = load_pipeline(StableDiffusionPipeline, tiny_folder, safety_checker=None, feature_extractor=None)
    files = [adapter_of(pipeline.unet, "plus"), adapter_of(pipeline.unet, "plain")]
    plan = make_plan()
    ours = told(plan, {"model": "plus"}, {"model": "plus", "image": BLUE}, {"image": BLUE})
    wanted = run_theirs(pipeline, plan, files, [["red", "blue"], ["blue"]], 1.0)
    torch.testing.assert_close(drawn(ours, extended), wanted, rtol=1e-3, atol=1e-3)


def test_pickled_files_are_read_as_well(make_plan: PlanMaker, extended: Models, told: Any) -> None:
    plan = make_plan()
    wanted = drawn(told(plan, {"model": "plain"}), extended)
    assert torch.equal(drawn(told(plan, {"model": "pickled"}), extended), wanted)


def test_sdxl(tmp_path: Path, make_plan: PlanMaker, options: EngineOptions) -> None:
    folder = tiny_xl.make_folder(tmp_path / "xl")
    pipeline = load_pipeline(StableDiffusionXLPipeline, folder)
    adapter = adapter_of(pipeline.unet, "plus")
    save_file(adapter, tmp_path / "plus.safetensors")
    write_tower(tmp_path / "tower.safetensors")
    plan = make_plan(path=folder)
    plan = plan.replace(model=plan.model.replace(family=Family.SDXL))
    models = Models(options, [Modifier(NAME, patches=(Seeing().enter,))])
    ours = drawn(tell(plan, asked({"model": "plus"}), tools_of(tmp_path)), models)
    wanted = run_theirs(pipeline, plan, [adapter], [["red"]], 1.0)
    torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-3)


# -- when, where, how


def test_it_acts_in_the_steps_that_were_named(make_plan: PlanMaker, extended: Models, told: Any) -> None:
    plan = make_plan()
    plain, whole = drawn(plan, extended), drawn(told(plan, {}), extended)
    half = drawn(told(plan, {"end": 0.5}), extended)
    late = drawn(told(plan, {"start": 0.5}), extended)
    assert not torch.equal(half, whole) and not torch.equal(half, plain) and not torch.equal(late, half)


def test_it_acts_in_the_pass_that_was_named(make_plan: PlanMaker, extended: Models, told: Any) -> None:
    plan = make_plan(steps=2)
    plain, whole = drawn(plan, extended), drawn(told(plan, {}), extended)
    assert torch.equal(drawn(told(plan, {"hires": "low"}), extended), whole)
    assert torch.equal(drawn(told(plan, {"hires": "high"}), extended), plain)
    both = with_second_pass(plan, UpscalerRef(name="Latent", kind="latent"))
    passes = {name: drawn(told(both, {"hires": name}), extended) for name in ("low", "high", "both")}
    assert not torch.equal(passes["high"], drawn(both, extended))
    assert not torch.equal(passes["low"], passes["both"]) and not torch.equal(passes["high"], passes["both"])


def test_a_region_keeps_it_to_a_place(make_plan: PlanMaker, extended: Models, told: Any) -> None:
    plan = make_plan(steps=1)
    plain, whole = drawn(plan, extended), drawn(told(plan, {}), extended)
    assert torch.equal(drawn(told(plan, {"region": MASK}), extended), whole)
    left = drawn(told(plan, {"region": LEFT}), extended) - plain
    assert float(left[..., :4].abs().mean()) > float(left[..., 4:].abs().mean())


def test_pictures_can_be_seen_as_their_mean_or_each_alone(make_plan: PlanMaker, extended: Models, told: Any) -> None:
    plan = make_plan()
    mean, alone, together = (
        drawn(told(plan, {}, {"image": BLUE}, combination=way), extended) for way in ("average", "add", "concat")
    )
    assert not torch.equal(mean, together) and not torch.equal(alone, together)
    same = drawn(told(plan, {}, {}, combination="average"), extended)
    torch.testing.assert_close(same, drawn(told(plan, {}), extended), rtol=1e-4, atol=1e-4)


def test_a_negative_picture_is_what_the_image_stays_away_from(
    make_plan: PlanMaker, extended: Models, told: Any
) -> None:
    plan = make_plan()
    plain = drawn(told(plan, {}), extended)
    assert not torch.equal(drawn(told(plan, {}, negative=BLUE), extended), plain)
    alone = make_plan(guidance=1.0)
    assert torch.equal(drawn(told(alone, {}, negative=BLUE), extended), drawn(told(alone, {}), extended))


def test_nothing_stays_behind(make_plan: PlanMaker, extended: Models, told: Any) -> None:
    plan = make_plan(count=2)
    plain = drawn(plan, extended)
    resident = extended.get(plan.model).resident
    before = {name: each.clone() for name, each in resident.weights("unet").items()}
    assert not torch.equal(drawn(told(plan, {"model": "plus"}), extended), plain)
    assert torch.equal(drawn(plan, extended), plain)
    unet = resident.network("unet")
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in unet.modules())
    assert all(torch.equal(each, before[name]) for name, each in resident.weights("unet").items())
    assert not {"IP-Adapter", "image encoder"} & set(resident.parts)


def test_an_adapter_with_other_layers_is_refused(
    make_plan: PlanMaker, extended: Models, home: Path, tmp_path: Path
) -> None:
    tensors = load_file(home / "plain.safetensors")
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("ip_adapter."))
    less = {name: each for name, each in tensors.items() if not name.startswith(f"ip_adapter.{last}.")}
    save_file(less, tmp_path / "less.safetensors")
    write_tower(tmp_path / "tower.safetensors")
    with pytest.raises(GenerationError, match="other layers than this model"):
        drawn(tell(make_plan(), asked({"model": "less"}), tools_of(tmp_path)), extended)
    save_file({**tensors, "image_proj.more": torch.ones(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(BadFile, match="no whole IP-Adapter"):
        drawn(tell(make_plan(), asked({"model": "odd"}), tools_of(tmp_path)), extended)


# -- image encoders


def test_encoders_come_from_files_and_folders(tmp_path: Path) -> None:
    own = make_tower()
    own.save_pretrained(tmp_path / "folder")
    write_tower(tmp_path / "file.safetensors")
    pixels = to_pixels(scene("red"), SIDE)
    for path in (tmp_path / "folder", tmp_path / "file.safetensors"):
        tower = load_tower(path)
        for states in (True, False):
            assert torch.equal(look(tower, pixels, states), look(own, pixels, states))
    half = make_tower().half()
    half.save_pretrained(tmp_path / "half")
    assert torch.equal(look(load_tower(tmp_path / "half"), pixels, False), look(half.float(), pixels, False))
    save_file({"vision_model.x": torch.ones(1)}, tmp_path / "bad.safetensors")
    with pytest.raises(BadFile, match="no image encoder"):
        load_tower(tmp_path / "bad.safetensors")


def test_the_middle_square_is_seen() -> None:
    wide = Image.new("RGB", (3 * SIDE, SIDE), "blue")
    wide.paste("red", (SIDE, 0, 2 * SIDE, SIDE))
    assert torch.equal(to_pixels(wide, SIDE), to_pixels(Image.new("RGB", (SIDE, SIDE), "red"), SIDE))


# -- planning


def test_what_does_not_act_is_not_in_the_plan(make_plan: PlanMaker, told: Any) -> None:
    plan = make_plan()
    assert told(plan) is plan
    for nothing in ({"enabled": False}, {"weight": 0}, {"start": 0.5, "end": 0.5}):
        assert told(plan, nothing) is plan


def test_the_plan_holds_pictures_and_the_infotext_says_them(make_plan: PlanMaker, told: Any) -> None:
    plan = told(make_plan(), {"weight": 0.5, "region": LEFT}, {"image": BLUE, "model": "plus"}, negative=MASK)
    assert set(plan.pictures) == {RED, BLUE, LEFT, MASK}
    assert plan.facts["IP-Adapter 0"] == "Model: plain [12345678], Weight: 0.5, Start: 0, End: 1, Combination: concat"
    assert "IP-Adapter 1" in plan.facts


@pytest.mark.parametrize(
    ("picture", "error", "words"),
    [
        ({"image": None}, BadRequest, "picture 0 is empty"),
        ({"model": None}, BadRequest, "has no model"),
    ],
)
def test_pictures_that_lack_something_are_refused(
    make_plan: PlanMaker, told: Any, picture: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        told(make_plan(), picture)


def test_other_families_and_kinds_are_refused(make_plan: PlanMaker, home: Path) -> None:
    plan = make_plan()
    with pytest.raises(BadFile, match="was made for sdxl"):
        tell(plan, asked({}), tools_of(home, Family.SDXL))
    with pytest.raises(BadRequest, match="no IP-Adapter but a controlnet"):
        tell(plan, asked({}), tools_of(home, kind=Kind.CONTROLNET))
    with pytest.raises(BadRequest, match="do not work with sd3"):
        tell(plan.replace(model=plan.model.replace(family=Family.SD3)), asked({}), tools_of(home))


def test_a_missing_encoder_is_named(make_plan: PlanMaker, home: Path, tmp_path: Path) -> None:
    save_file({"image_proj.proj.weight": torch.zeros(8, 1024)}, tmp_path / "vit.safetensors")
    write_tower(tmp_path / "tower.safetensors")
    with pytest.raises(NotFound, match="image encoder that is not there: CLIP ViT-H") as caught:
        tell(make_plan(), asked({"model": "vit"}), tools_of(tmp_path))
    assert "models/clip_vision" in caught.value.hint
    (tmp_path / "tower.safetensors").write_bytes(b"damaged")
    with pytest.raises(NotFound, match="CLIP ViT-H"):
        tell(make_plan(), asked({"model": "vit"}), tools_of(tmp_path))


def test_face_ids_are_refused(make_plan: PlanMaker, tmp_path: Path) -> None:
    for number, names in enumerate((("proj.0.weight", "norm.weight"), ("perceiver_resampler.proj_in.weight",))):
        path = tmp_path / f"face{number}.safetensors"
        save_file({f"image_proj.{name}": torch.zeros(4, HIDDEN) for name in names}, path)
        with pytest.raises(BadRequest, match="face recogniser"):
            tell(make_plan(), asked({"model": path.stem}), tools_of(tmp_path))
