"""A1111's patterns give the names A1111's users expect, and never a path, a hidden file or a device."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.domain.models import Family
from webui.domain.plan import HiresPlan, ImagePlan, ModelRef, Plan, RefinerPlan, SamplingPlan, SavePlan, VaeRef
from webui.domain.start import FromImage
from webui.domain.upscaling import UpscalerRef
from webui.images.naming import MAX_NAME_BYTES, TOKENS, Naming, fill, image_folder, image_names
from webui.images.save import contained

MOMENT = datetime(2026, 11, 20, 9, 5, 7, tzinfo=timezone.utc)
STARTED = datetime(2026, 11, 20, 9, 4, 1)


def naming(prompt: str = "a cat, (on a mat:1.2)", index: int = 0, images: int = 1, **changes: Any) -> Naming:
    facts: dict[str, Any] = {
        "model": ModelRef(
            name="sub/pocket", path=Path("/m"), family=Family.SD1, layout="diffusers", sha256="abcdef1234" + "0" * 54
        ),
        "sampler": "DPM++ 2M",
        "schedule": "Karras",
        "steps": 20,
        "guidance": 7.5,
        "width": 512,
        "height": 768,
        "images": tuple(
            ImagePlan(index=number, seed=123 + number, prompt=prompt, negative_prompt="") for number in range(images)
        ),
    }
    plan = Plan(**{**facts, **changes})
    return Naming(plan, plan.images[index], MOMENT, STARTED, plan.size, b"png")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[seed]", "123"),
        ("[SEED]-[steps]-[cfg]", "123-20-7.5"),
        ("[width]x[height]", "512x768"),
        ("[sampler] [scheduler]", "DPM++ 2M karras"),
        ("[model_name] [model_hash]", "sub_pocket abcdef1234"),
        ("[date]", "2026-11-20"),
        ("[datetime]", MOMENT.astimezone().strftime("%Y%m%d%H%M%S")),
        ("[datetime<%H-%M><UTC>]", "09-05"),
        ("[datetime<%H-%M><Asia/Tokyo>]", "18-05"),
        ("[datetime<%Y/../%m><UTC>]", "2026_.._11"),
        ("x-[datetime<%H><Nowhere/Else>]", ""),
        ("[datetime<><../../etc/passwd>]", ""),
        ("[prompt]", "a_cat,_(on_a_mat_1.2)"),
        ("[prompt_spaces]", "a cat, (on a mat_1.2)"),
        ("[prompt_words]", "a cat on a mat 1 2"),
        ("[hasprompt<cat><dog|nodog>]", "catnodog"),
        ("[clip_skip]", "1"),
        ("[seed_first]-[seed_last]", "123"),
        ("[job_timestamp]", "20261120090401"),
        ("[styles]", "None"),
        ("[prompt_hash<4>]", hashlib.sha256(b"a cat, (on a mat:1.2)").hexdigest()[:4]),
        ("[prompt_hash<-1>]", hashlib.sha256(b"a cat, (on a mat:1.2)").hexdigest()[:8]),
        ("[image_hash]", hashlib.sha256(b"png").hexdigest()),
        ("[image_hash<6>]", hashlib.sha256(b"png").hexdigest()[:6]),
        ("[seed]-[denoising]-[vae_filename]-[hires_upscaler]-[hires_steps]-[refiner]-[user]", "123"),
        ("[unknown] [seed]", "[unknown] 123"),
        ("[seed]-[batch_number]", "123"),
        ("[seed]-[generation_number]-x", "123-x"),
        ("[none][seed]", "123"),
        ("../[seed]/..", "_123_"),
        ("CON", "_CON"),
        ("nul.[seed]", "_nul.123"),
        ("[", "["),
        ("", ""),
    ],
)
def test_patterns(pattern: str, expected: str) -> None:
    assert fill(pattern, naming()) == expected


def test_numbers_within_a_batch_and_a_job() -> None:
    third = naming(index=2, images=4, batch_size=2)
    assert fill("[batch_number]-[generation_number]-[batch_size]-[seed]", third) == "1-3-2-125"


def test_the_seeds_of_a_batch() -> None:
    third = naming(index=2, images=4, batch_size=2)
    assert fill("[seed]-[seed_first]-[seed_last]", third) == "125-123-126"
    assert fill("[seed]-[seed_first]-[seed_last]", naming(index=2, images=4)) == "125-125"


def test_styles_and_what_was_typed() -> None:
    save = SavePlan(styles=("Ink", "a/b"), typed_prompt="a cat")
    assert fill("[styles]-[prompt_no_styles]", naming("a cat, ink", save=save)) == "Ink, a_b-a cat"


def test_what_a_plan_has_besides() -> None:
    model = ModelRef(name="x/fine", path=Path("/m"), family=Family.SD1, layout="diffusers", sha256="0" * 64)
    second = HiresPlan(
        width=1024, height=1536, enlarged=(1024, 1536), upscaler=UpscalerRef(name="4x: sharp", kind="network"), steps=9,
        strength=0.5, sampler="Euler", schedule="Karras", guidance=7, sampling=SamplingPlan(),
    )  # fmt: skip
    more = naming(
        hires=second,
        refiner=RefinerPlan(model=model, switch_at=0.8),
        vae=VaeRef(name="soft", path=Path("/v/soft.v1.safetensors"), sha256="0" * 64),
    )
    assert fill("[width]x[height] [denoising] [hires_upscaler] [hires_steps]", more) == "1024x1536 0.5 4x_ sharp 9"
    assert fill("[vae_filename] [refiner]", more) == "soft.v1 x_fine"
    painted = naming(start=FromImage(images=("0" * 64,), strength=0.25))
    assert fill("[denoising]", painted) == "0.25"


def test_hashes_tell_prompts_apart() -> None:
    pattern = "[prompt_hash]-[negative_prompt_hash]-[full_prompt_hash]"
    assert fill(pattern, naming("a")) != fill(pattern, naming("b"))
    assert fill(pattern, naming("a")) == fill(pattern, naming("a"))


def test_words_are_counted() -> None:
    assert fill("[prompt_words]", naming("one two three four", save=SavePlan(prompt_words=2))) == "one two"
    assert fill("[prompt_words]", naming("")) == "empty"


def test_the_default_names() -> None:
    names = image_names(SavePlan(), naming())
    assert [names(0), names(12), names(123456)] == ["00000-123.png", "00012-123.png", "123456-123.png"]
    assert image_folder(SavePlan(), naming()) == "txt2img-images/2026-11-20"


def test_names_without_numbers_and_without_anything() -> None:
    names = image_names(SavePlan(name="[model_hash]", number=False), naming())
    assert [names(0), names(1)] == ["abcdef1234.png", "abcdef1234-1.png"]
    assert image_names(SavePlan(name="[none]", number=False), naming())(3) == "00003.png"
    assert image_names(SavePlan(name="[seed]"), naming(), ".jpg")(3) == "00003-123.jpg"


def test_folders_in_folders() -> None:
    save = SavePlan(folder="mine/txt2img", directory="[model_name]/[date]//[none]/../[prompt]")
    assert image_folder(save, naming("../x/y")) == "mine/txt2img/sub_pocket/2026-11-20/_x_y"
    assert image_folder(SavePlan(folder="a", directory=""), naming()) == "a"


HOSTILE = [
    "../x",
    "..\\x",
    "/etc/passwd",
    "a\0b",
    "CON",
    "x" * 1000,
    "猫" * 300,
    "\u202eabc",
    ".",
    "a. ",
    "~",
    "$HOME",
    "-x",
]


@pytest.mark.parametrize("prompt", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_prompts_give_harmless_names(tmp_path: Path, prompt: str) -> None:
    for pattern in ("[prompt]", "[prompt_spaces]", "[prompt_words]", ".[prompt].", "[hasprompt<x|../../y>]"):
        name = image_names(SavePlan(name=pattern, number=False), naming(prompt))(0)
        assert contained(tmp_path, name).parent == tmp_path.resolve()
        assert not name.startswith(".")
        assert "\u202e" not in name


@given(pattern=st.text(max_size=80), prompt=st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
def test_any_pattern_gives_a_name_that_can_be_saved(pattern: str, prompt: str) -> None:
    root = Path("/outputs")
    found = naming(prompt)
    name = image_names(SavePlan(name=pattern + "[prompt]", number=False), found)(0)
    assert contained(root, name).parent == root
    assert len(name.encode()) <= MAX_NAME_BYTES + len("_.png")
    folder = image_folder(SavePlan(directory=pattern + "[prompt_spaces]/" + pattern), found)
    assert contained(root, folder).is_relative_to(root / "txt2img-images")


def test_every_token_is_documented() -> None:
    documented = (Path(__file__).resolve().parents[2] / "docs" / "filename-patterns.md").read_text()
    assert set(re.findall(r"`\[(\w+)", documented)) == set(TOKENS)
