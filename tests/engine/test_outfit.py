"""Another VAE, TAESD and seamless edges through the whole engine: they act in their plan and in no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import save_file

from tests.tiny_models import make_networks, make_taesd, taesd_weights, vae_weights
from webui.domain.plan import Plan, PreviewPlan, TaesdPlan, VaeRef
from webui.engine import outfit, previews
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady, PreviewImage
from webui.engine.outfit import Outfit, Wardrobe
from webui.engine.vae import encode, to_image, to_pixels
from webui.errors import BadFile
from webui.weights.loading.load import load
from webui.weights.memory import Placement, Resident
from webui.weights.recognition.identify import identify
from webui.weights.recognition.vae_files import identify_vae

PlanMaker = Callable[..., Plan]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("VAE")
    contents = {
        "own": vae_weights(0),
        "other": vae_weights(5),
        "bent": {**vae_weights(5), "decoder.norm_out.weight": torch.zeros(7)},
        "encoder": taesd_weights("encoder"),
        "decoder": taesd_weights("decoder"),
    }
    for name, weights in contents.items():
        save_file(weights, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in contents}


@pytest.fixture(scope="module")
def engine(options: EngineOptions) -> Engine:
    return Engine(options)


def refer(file: Path) -> VaeRef:
    return VaeRef(name=file.name, path=file, sha256=file.stem.encode().hex())


def draw(engine: Engine, plan: Plan) -> Image.Image:
    (image,) = (item.image for item in engine.run(plan, Control()) if isinstance(item, ImageReady))
    return image


def differ(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


def latents_of(engine: Engine, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Return the finished latents [1,C,h,w] of a plan: what its last preview would have shown."""
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(previews, "is_due", lambda *_: True)
    monkeypatch.setattr(previews, "render", lambda model, denoised, *_: seen.append(denoised))
    list(engine.run(plan, Control()))
    monkeypatch.undo()
    return seen[-1]


def test_a_plan_draws_with_its_vae_and_the_next_with_its_own(
    engine: Engine, make_plan: PlanMaker, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    own = draw(engine, plan)
    other = draw(engine, plan.replace(vae=refer(files["other"])))
    latents = latents_of(engine, plan, monkeypatch)
    vae = make_networks(5)["vae"]
    with torch.inference_mode():
        expected = to_image(vae.decode(latents / 0.18215, return_dict=False)[0][0])
    assert differ(other, expected) < 0.01
    assert differ(other, own) > 3
    assert draw(engine, plan) == own
    assert draw(engine, plan.replace(vae=refer(files["own"]))) == own


def test_pictures_are_read_by_them_too(tiny: Resident, make_plan: PlanMaker, files: dict[str, Path]) -> None:
    picture = Image.effect_noise((64, 48), 80).convert("RGB")
    pixels = to_pixels(picture).unsqueeze(0) * 2 - 1
    own = encode(tiny, picture)
    with torch.inference_mode():
        by_other = make_networks(5)["vae"].encode(pixels).latent_dist.mean[0] * 0.18215
        by_taesd = make_taesd().encode(pixels, return_dict=False)[0][0]
    wardrobe = Wardrobe()
    for plan, expected in (
        (make_plan(vae=refer(files["other"])), by_other),
        (make_plan(taesd=TaesdPlan(encoder=files["encoder"])), by_taesd),
        (make_plan(vae=refer(files["other"]), taesd=TaesdPlan(encoder=files["encoder"])), by_taesd),
        (make_plan(taesd=TaesdPlan(decoder=files["decoder"])), own),
    ):
        with Outfit(plan, wardrobe) as worn:
            worn.put_on(tiny)
            worn.put_on(tiny)
            assert torch.allclose(encode(tiny, picture), expected, atol=1e-5)
        assert torch.equal(encode(tiny, picture), own)
    assert not torch.allclose(own, by_other, atol=1e-2) and not torch.allclose(own, by_taesd, atol=1e-2)


def test_files_are_read_once(
    tiny: Resident, make_plan: PlanMaker, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wardrobe, plan = Wardrobe(), make_plan(vae=refer(files["other"]))
    read: list[Path] = []
    monkeypatch.setattr(outfit, "identify_vae", lambda path: read.append(path) or identify_vae(path))
    for each in (plan, plan, make_plan(), plan, make_plan(vae=refer(files["own"])), plan):
        with Outfit(each, wardrobe) as worn:
            worn.put_on(tiny)
    assert read == [files["other"], files["own"], files["other"]]


def test_taesd_draws_pictures(
    engine: Engine, make_plan: PlanMaker, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    own = draw(engine, plan)
    latents = latents_of(engine, plan, monkeypatch)
    drawn = draw(engine, plan.replace(taesd=TaesdPlan(decoder=files["decoder"])))
    with torch.inference_mode():
        expected = to_image(make_taesd().decode(latents, return_dict=False)[0][0])
    assert differ(drawn, expected) < 0.01
    assert draw(engine, plan) == own


def test_taesd_draws_previews_alone(engine: Engine, make_plan: PlanMaker, files: dict[str, Path]) -> None:
    usual = make_plan(preview=PreviewPlan(every=2))
    taesd = usual.replace(preview=PreviewPlan(every=2, method="TAESD"), taesd=TaesdPlan(preview=files["decoder"]))
    first, second = (list(engine.run(plan, Control())) for plan in (usual, taesd))
    shown = [[item.image for item in each if isinstance(item, PreviewImage)] for each in (first, second)]
    assert len(shown[0]) == len(shown[1]) == 1
    assert differ(shown[0][0], shown[1][0]) > 3
    done = [[item.image for item in each if isinstance(item, ImageReady)] for each in (first, second)]
    assert done[0] == done[1]


def test_a_vae_that_does_not_fit_says_so_and_changes_nothing(
    engine: Engine, make_plan: PlanMaker, files: dict[str, Path]
) -> None:
    plan = make_plan()
    own = draw(engine, plan)
    for wrong in (
        plan.replace(vae=refer(files["bent"])),
        plan.replace(vae=refer(files["other"]), taesd=TaesdPlan(decoder=files["encoder"])),
    ):
        with pytest.raises(BadFile, match=r"(bent|encoder)\.safetensors") as raised:
            draw(engine, wrong)
        assert raised.value.field == "vae"
        assert draw(engine, plan) == own


@pytest.mark.parametrize("tiling", ["both", "x", "y"])
def test_seamless_edges_hold_for_their_plan(engine: Engine, make_plan: PlanMaker, tiling: str) -> None:
    plan = make_plan()
    own = draw(engine, plan)
    assert differ(draw(engine, plan.replace(tiling=tiling)), own) > 1
    assert draw(engine, plan) == own


def test_a_run_that_is_given_up_is_undone_as_well(engine: Engine, make_plan: PlanMaker, files: dict[str, Path]) -> None:
    plan = make_plan()
    own = draw(engine, plan)
    running = engine.run(plan.replace(vae=refer(files["other"]), tiling="both"), Control())
    next(running)
    running.close()
    assert draw(engine, plan) == own


def test_models_that_take_turns_have_a_vae_each(
    tiny_folder: Path, tiny_file: Path, make_plan: PlanMaker, files: dict[str, Path]
) -> None:
    """With the meta device in the GPU's place: what is on it is visible."""
    precision = dict.fromkeys(("unet", "vae", "text_encoder"), torch.float32)
    first, second, third = (
        Resident(load(identify(path), precision), Placement(torch.device("meta"), precision))
        for path in (tiny_folder, tiny_file, tiny_folder)
    )

    def place(model: Resident) -> str:
        return next(model.network("vae").parameters()).device.type

    own = [model.network("vae") for model in (first, second, third)]
    with Outfit(make_plan(vae=refer(files["other"])), Wardrobe()) as worn:
        worn.put_on(first)
        worn.put_on(second)
        assert first.network("vae") is not second.network("vae")
        first.rest()
        assert (place(first), place(second)) == ("cpu", "meta")
        taken_off = first.network("vae")
        worn.keep_only([second])
        assert first.network("vae") is own[0]
        worn.put_on(third)
        assert third.network("vae") is taken_off, "it is free again"
        assert (place(second), place(third)) == ("meta", "meta")
    assert [model.network("vae") for model in (first, second, third)] == own


def test_a_taesd_of_another_kind_of_model_says_so(
    engine: Engine, make_plan: PlanMaker, files: dict[str, Path], tmp_path: Path
) -> None:
    own = draw(engine, make_plan())
    save_file(AutoencoderTiny(latent_channels=16).state_dict(), tmp_path / "taef1.safetensors")
    with pytest.raises(BadFile, match=r"TAESD of this plan has latents of 16 channels, tiny needs 4") as raised:
        draw(engine, make_plan(taesd=TaesdPlan(decoder=tmp_path / "taef1.safetensors")))
    assert raised.value.hint and raised.value.field == "vae"
    assert draw(engine, make_plan()) == own


def test_a_vae_scales_latents_as_the_checkpoint_does(files: dict[str, Path]) -> None:
    """SD1 and SDXL have VAEs of one shape and latents of different scales; the file does not tell."""
    wardrobe, reference = Wardrobe(), refer(files["other"])
    first, second = (
        wardrobe.vae(reference, torch.float32, {"scaling_factor": scale}, 0) for scale in (0.18215, 0.13025)
    )
    assert (first.config.scaling_factor, second.config.scaling_factor) == (0.18215, 0.13025)
