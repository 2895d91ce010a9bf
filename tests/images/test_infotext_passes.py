"""Second pass, refiner, guidance, tiling, VAE, starts and postprocessing in the text, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui import __version__
from webui.domain.models import Family
from webui.domain.passes import GuidanceOptions, Hires, Refiner
from webui.domain.plan import (
    GuidancePlan,
    HiresPlan,
    ImagePlan,
    ModelRef,
    PicturePlan,
    Plan,
    RefinerPlan,
    SamplingPlan,
    SeriesPlan,
    TaesdPlan,
    UpscaleImage,
    UpscalePlan,
    VaeRef,
)
from webui.domain.sampling import SAMPLERS, SCHEDULES
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, FromTiles
from webui.domain.upscaling import LATENT_UPSCALERS, UpscalerRef
from webui.images.infotext import read, write, write_sheet

PICTURE = "ab" * 32


def model(name: str = "m") -> ModelRef:
    return ModelRef(name=name, path=Path(f"/m/{name}"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)


def hires(**changes: Any) -> HiresPlan:
    facts: dict[str, Any] = {
        "width": 1024, "height": 1024, "enlarged": (1024, 1024), "upscaler": UpscalerRef(name="Latent", kind="latent"),
        "steps": 20, "strength": 0.7, "sampler": "Euler a", "schedule": "Automatic", "guidance": 7.0,
        "sampling": SamplingPlan(), "scale": 2.0,
    }  # fmt: skip
    return HiresPlan(**{**facts, **changes})


def plan(image: dict[str, Any] | None = None, **changes: Any) -> Plan:
    facts: dict[str, Any] = {
        "model": model(), "sampler": "Euler a", "schedule": "Automatic", "steps": 20, "guidance": 7.0, "width": 512,
        "height": 512, "images": (ImagePlan(index=0, seed=1, prompt="a cat", negative_prompt="", **(image or {})),),
    }  # fmt: skip
    return Plan(**{**facts, **changes})


def text(**changes: Any) -> str:
    return write(plan(**changes), 0)


def added(**changes: Any) -> str:
    """Return what a plan's parameters have besides those of the plainest one."""
    line = text(**changes).split("\n")[-1]
    plain = text().split("\n")[-1].split(", ")
    return ", ".join(part for part in line.split(", ") if part not in plain)


def test_a_second_pass_is_written_as_a1111_does() -> None:
    assert added(hires=hires()) == "Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: Latent"
    other = hires(
        sampler="Euler", schedule="Karras", guidance=5.5, steps=12, scale=None, model=model("n"), strength=0.4,
        upscaler=UpscalerRef(name="4x_net", kind="network", path=Path("/n.pth")),
    )  # fmt: skip
    assert added(hires=other, image={"hires_prompt": "a dog, big", "hires_negative_prompt": "x"}) == (
        'Denoising strength: 0.4, Hires checkpoint: n [ababababab], Hires sampler: Euler, Hires prompt: "a dog, big", '
        "Hires negative prompt: x, Hires schedule type: Karras, Hires CFG Scale: 5.5, Hires resize: 1024x1024, "
        "Hires steps: 12, Hires upscaler: 4x_net"
    )


@given(
    sampler=st.sampled_from([info.name for info in SAMPLERS]),
    schedule=st.sampled_from([info.label for info in SCHEDULES]),
    guidance=st.floats(0, 100),
    steps=st.integers(1, 150),
    strength=st.floats(0, 1),
    scale=st.none() | st.floats(1, 8),
    upscaler=st.sampled_from(sorted(LATENT_UPSCALERS)),
    prompts=st.tuples(*[st.none() | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)] * 2),
)
def test_a_second_pass_is_read_back(
    upscaler: str, prompts: tuple[str | None, str | None], scale: float | None, **changes: Any
) -> None:
    second = hires(scale=scale, upscaler=UpscalerRef(name=upscaler, kind="latent"), **changes)
    image = dict(zip(("hires_prompt", "hires_negative_prompt"), prompts, strict=True))
    found = read(text(hires=second, image=image))
    assert found.unmapped == () and found.start == {}
    assert found.request.hires == Hires(
        scale=2.0 if scale is None else scale,
        width=1024 if scale is None else None,
        height=1024 if scale is None else None,
        upscaler=upscaler,
        steps=changes["steps"] if changes["steps"] != 20 else None,
        strength=changes["strength"],
        sampler=changes["sampler"] if changes["sampler"] != "Euler a" else None,
        schedule=changes["schedule"] if changes["schedule"] != "Automatic" else None,
        guidance=changes["guidance"] if changes["guidance"] != 7 else None,
        prompt=(prompts[0] or "") if prompts[0] != "a cat" else "",
        negative_prompt=prompts[1] or "",
    )


def test_a_second_pass_over_a_finished_picture_is_told_like_both() -> None:
    found = read(text(hires=hires(strength=0.3), start=FromImage(images=(PICTURE,), strength=0.9)))
    assert found.unmapped == () and found.start == {}
    assert found.request.hires is not None and found.request.hires.strength == 0.3
    both = read("a\nSteps: 20, Seed: 1, Denoising strength: 0.9, Hires upscale: 2, Hires strength: 0.3")
    assert both.start == {"strength": 0.9} and both.request.hires == Hires(strength=0.3)


def test_the_refiner() -> None:
    written = added(refiner=RefinerPlan(model=model("other"), switch_at=0.75))
    assert written == "Refiner: other [ababababab], Refiner switch at: 0.75"
    assert read(f"a\nSteps: 2, Seed: 3, {written}").request.refiner == Refiner(
        model="other [ababababab]", switch_at=0.75
    )
    alone = read("a\nSteps: 2, Seed: 3, Refiner switch at: 0.5")
    assert alone.request.refiner is None
    assert alone.unmapped == ("Refiner switch at: 0.5 (no refiner is named)",)
    wrong = read("a\nSteps: 2, Seed: 3, Refiner: x, Refiner switch at: 7")
    assert wrong.request.refiner == Refiner(model="x") and len(wrong.unmapped) == 1


@pytest.mark.parametrize(("tiling", "value"), [("both", "True"), ("x", "x"), ("y", "y")])
def test_tiling(tiling: str, value: str) -> None:
    assert added(tiling=tiling) == f"Tiling: {value}"
    assert read(text(tiling=tiling)).request.tiling == tiling
    assert read("a\nSteps: 1, Seed: 1, Tiling: False").request.tiling == "none"


def test_a_vae_file() -> None:
    vae = VaeRef(name="sub/soft", path=Path("/v/sub/soft.safetensors"), sha256="12" * 32)
    assert added(vae=vae) == "VAE hash: 1212121212, VAE: soft.safetensors"
    assert read(text(vae=vae)).request.vae == "soft.safetensors"
    assert read(text()).request.vae == "None"  # whatever the settings say by now


def test_guidance() -> None:
    shaped = GuidancePlan(rescale=0.7, start=0.1, end=0.9, minimum=2, image=1.5)
    assert added(guiding=shaped) == (
        "CFG rescale: 0.7, Skip Early CFG: 0.1, CFG end: 0.9, NGMS: 2, Image CFG scale: 1.5"
    )
    assert read(text(guiding=shaped)).request.guiding == GuidanceOptions(**dict(shaped))
    assert read(text()).request.guiding == GuidanceOptions(minimum=0)


STARTS = st.one_of(
    st.builds(FromImage, images=st.just((PICTURE,)), strength=st.floats(0, 1),
              resize=st.sampled_from(["just_resize", "crop", "fill", "latent"]),
              background=st.sampled_from([None, "#ffffff", "#00ff80"])),
    st.builds(FromMaskedImage, images=st.just((PICTURE,)), mask=st.just(PICTURE), mask_blur=st.integers(0, 64),
              content=st.sampled_from(["fill", "original", "latent_noise", "latent_nothing"]), invert=st.booleans(),
              area=st.sampled_from(["whole", "masked"]), padding=st.integers(0, 256), soft=st.booleans()),
    st.builds(FromExtendedImage, images=st.just((PICTURE,)), left=st.integers(0, 9).map(lambda n: n * 8),
              down=st.integers(0, 9).map(lambda n: n * 8), overlap=st.integers(0, 128),
              content=st.sampled_from(["fill", "original"])),
    st.builds(FromTiles, images=st.just((PICTURE,)), factor=st.floats(1, 4),
              upscaler=st.sampled_from(["Lanczos", "x: y"]), overlap=st.integers(0, 9).map(lambda n: n * 8)),
)  # fmt: skip


@given(STARTS)
def test_starts_are_read_back(start: FromImage | FromMaskedImage | FromExtendedImage | FromTiles) -> None:
    found = read(text(start=start))
    assert found.unmapped == ()
    pictures = {name: PICTURE for name in ("mask",) if name in type(start).model_fields}
    kind = {} if "kind" in found.start else {"kind": start.kind}
    again = type(start).model_validate({"images": (PICTURE,), **pictures, **found.start, **kind})
    shown = {"background": None if start.background == "#ffffff" else start.background}
    if isinstance(start, FromMaskedImage) and start.area == "whole":
        shown["padding"] = again.padding  # type: ignore[union-attr]  # nothing depends on it
    assert again == start.replace(**shown)


def test_what_the_settings_add_to_a_picture_is_written() -> None:
    picture = PicturePlan(noise_multiplier=1.1, extra_noise=0.05, mask_weight=0.5)
    masked = FromMaskedImage(images=(PICTURE,), mask=PICTURE)
    assert "Conditional mask weight: 0.5, Noise multiplier: 1.1, Extra noise: 0.05" in text(
        start=masked, picture=picture
    )
    assert "Noise multiplier" not in text(picture=picture)
    assert "Extra noise" not in text(picture=picture)
    assert "Extra noise: 0.05" in text(picture=picture, hires=hires())


def test_a_substitute_for_the_vae_is_written() -> None:
    file = Path("/m/taesd.safetensors")
    assert "VAE Encoder: TAESD, VAE Decoder: TAESD" in text(taesd=TaesdPlan(encoder=file, decoder=file))
    assert "TAESD" not in text(taesd=TaesdPlan(preview=file))
    assert "VAE type for decode" in read(text(taesd=TaesdPlan(decoder=file))).unmapped[0]


def test_a_series_names_its_script_on_its_sheets_alone() -> None:
    series = SeriesPlan(
        script="X/Y/Z plot", parts=(plan(), plan().replace(images=(plan().images[0].replace(index=1),)))
    )
    assert write(series, 1) == write(plan(), 0)
    assert write_sheet(series, 1).endswith(f"Version: easel-{__version__}, Script: X/Y/Z plot")
    assert write_sheet(plan(), 0) == write(plan(), 0)
    assert read(write_sheet(series, 0)).unmapped == (
        "Script: X/Y/Z plot (what a script made is asked for with that script)",
    )


def enlarged(infotext: str, **changes: Any) -> str:
    images = (UpscaleImage(index=0, picture=PICTURE, infotext=infotext),)
    lanczos = UpscalerRef(name="Lanczos", kind="plain")
    return write(UpscalePlan(images=images, upscaler=lanczos, **changes), 0)


def test_an_enlarged_picture_keeps_how_it_was_made() -> None:
    written = enlarged(text())
    assert written == f"{text()}, Postprocess upscale by: 4, Postprocess upscaler: Lanczos"
    found = read(written)
    assert found.request == read(text()).request
    assert [line.partition(" (")[0] for line in found.unmapped] == [
        "Postprocess upscale by: 4",
        "Postprocess upscaler: Lanczos",
    ]


@pytest.mark.parametrize("prompt", ["", "a cat", "a cat\n"])
def test_an_enlarged_picture_may_say_little(prompt: str) -> None:
    second = UpscalerRef(name="Nearest", kind="plain")
    written = enlarged(prompt, width=64, height=32, second_upscaler=second, second_share=0.25)
    assert written.split("\n")[-1] == (
        "Postprocess upscale to: 64x32, Postprocess upscaler: Lanczos, Postprocess upscaler 2: Nearest, "
        "Postprocess upscaler 2 visibility: 0.25"
    )
    assert read(written).request.prompt == prompt.strip()
    assert read(enlarged(prompt)).request.prompt == prompt.strip()


# Written by others


def test_names_that_mean_the_same_as_in_the_first_pass() -> None:
    found = read(
        "a\nSteps: 20, Sampler: Euler a, Schedule type: Karras, Denoising strength: 0.5, Hires resize: 1024x0, "
        "Hires steps: 0, Hires upscaler: Latent (nearest), Hires checkpoint: Use same checkpoint, "
        "Hires sampler: Use same sampler, Hires schedule type: Use same scheduler"
    )
    assert found.unmapped == ()
    assert found.request.hires == Hires(width=1024, upscaler="Latent (nearest)", strength=0.5)


def test_a_second_pass_before_1_9() -> None:
    old = "a\nSteps: 20, Sampler: DPM++ 2M Karras, Denoising strength: 0.5, Hires upscale: 1.5, Hires sampler: "
    combined, plain = read(old + "DPM++ SDE Karras").request.hires, read(old + "Euler a").request.hires
    assert combined is not None and (combined.sampler, combined.schedule) == ("DPM++ SDE", "Karras")
    assert plain is not None and (plain.sampler, plain.schedule) == ("Euler a", "Automatic")


@pytest.mark.parametrize(
    ("first", "finished", "expected"),
    [("640x512", "1280x1024", (640, 512)), ("0x0", "1024x1024", (512, 512)), ("0x0", "768x1344", (448, 704))],
)
def test_the_second_pass_of_a1111s_first_versions(first: str, finished: str, expected: tuple[int, int]) -> None:
    found = read(f"a\nSteps: 20, Sampler: Euler a, Size: {finished}, Denoising strength: 0.7, First pass size: {first}")
    assert found.unmapped == () and found.start == {}
    assert (found.request.width, found.request.height) == expected
    assert found.request.hires is not None
    assert f"{found.request.hires.width}x{found.request.hires.height}" == finished


@pytest.mark.parametrize(
    "pair",
    [
        "Hires upscale: 99", "Hires upscale: nan", "Hires resize: big", "Hires resize: 9x9", "Hires steps: -1",
        "Hires sampler: none such", "Hires schedule type: none such", "Hires CFG Scale: inf", "Hires strength: 2",
        f"Hires prompt: {'a' * 50_001}",
    ],
)  # fmt: skip
def test_nonsense_in_a_second_pass_is_told_and_left_out(pair: str) -> None:
    found = read(f"a\nSteps: 20, Seed: 1, Denoising strength: 0.5, Hires upscaler: Latent, {pair}")
    assert [line.partition(":")[0] for line in found.unmapped] == [pair.partition(":")[0]]
    assert found.request.hires is not None and found.request.hires.upscaler == "Latent"


def test_a_second_pass_must_be_named() -> None:
    found = read("a\nSteps: 20, Seed: 1, Hires steps: 5")
    assert found.request.hires is None
    assert found.unmapped == ("Hires steps: 5 (no second pass is named)",)
    assert read("a\nSteps: 2, Seed: 1, First pass size: x, Size: 512x512").unmapped[0].startswith("First pass size: x")
    assert read("a\nSteps: 2, Seed: 1, First pass size: 0x0, Size: 0x0").request.hires is None


def test_old_names_are_understood() -> None:
    found = read("a\nSteps: 20, Sampler: Euler a, KDiff Sched Type: karras, KDiff Sched max sigma: 10, Seed: 1")
    assert found.unmapped == () and "KDiff Sched Type" in found.fields
    assert (found.request.schedule, found.request.sampling.sigma_max) == ("Karras", 10)


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        ("Face restoration: CodeFormer", "faces are not restored here"),
        ("ControlNet 0: x", "ControlNet cannot be used here"),
        ("Hires Module 1: ae", "both passes have the same text encoders here"),
        ("X Type: Steps", "what a script made is asked for with that script"),
        ("Unheard of: 5", "not used here"),
    ],
)
def test_what_cannot_be_asked_for_has_a_reason(pair: str, why: str) -> None:
    assert read(f"a\nSteps: 20, Seed: 1, {pair}").unmapped == (f"{pair} ({why})",)
