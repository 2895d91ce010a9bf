"""What is planned, written, read and planned again is the same picture, whatever the settings say by then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, reject
from hypothesis import strategies as st

from tests.planner_parts import FakeShelf
from webui.domain.models import Family, ModelInfo
from webui.domain.passes import GuidanceOptions, Hires, Refiner
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SAMPLERS, SCHEDULES, find_sampler
from webui.domain.sampling_options import SamplingOptions, Variation
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, FromNoise, FromTiles, Start
from webui.domain.upscaling import LATENT_UPSCALERS
from webui.errors import BadRequest
from webui.images.infotext import read, write
from webui.planner import plan_generation
from webui.settings import Settings

PICTURE = "ab" * 32


def model(name: str) -> ModelInfo:
    return ModelInfo(
        name=name, path=Path(f"/m/{name}"), family=Family.SD1, layout="diffusers", sha256="0123456789" + "0" * 54
    )


@dataclass(frozen=True)
class Shelf(FakeShelf):
    """Knows models by their titles and files as well, as the real one does."""

    def checkpoint(self, name: str | None) -> ModelInfo:
        return super().checkpoint(name.partition(" [")[0] if name else None)

    def vae(self, name: str, checkpoint: ModelInfo) -> ModelInfo | None:
        return super().vae("soft" if name == "Automatic" else name.removesuffix(".safetensors"), checkpoint)


SHELF = Shelf(model("first"), {"second": model("second")})

texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="#{}_<>"), max_size=20)
samplers = st.none() | st.sampled_from([info.name for info in SAMPLERS])
schedules = st.none() | st.sampled_from([info.label for info in SCHEDULES])
guidances = st.none() | st.floats(0, 100)
shares = st.floats(0, 1)
sizes = st.none() | st.integers(8, 64).map(lambda eighth: eighth * 8)
larger = st.none() | st.integers(64, 160).map(lambda eighth: eighth * 8)
second_passes = st.builds(
    Hires, scale=st.floats(1, 4), width=larger, height=larger,
    upscaler=st.sampled_from([*LATENT_UPSCALERS, "Lanczos", "net"]),
    steps=st.none() | st.integers(1, 50), strength=shares, sampler=samplers, schedule=schedules, guidance=guidances,
    model=st.sampled_from([None, "first", "second"]), prompt=texts, negative_prompt=texts,
)  # fmt: skip
options = st.builds(
    SamplingOptions, eta=st.none() | shares, churn=st.none() | st.floats(0, 100), noise=st.none() | st.floats(0, 2),
    sigma_max=st.none() | st.floats(0, 60), rho=st.none() | st.floats(0, 20), beta_alpha=st.none() | st.floats(0.01, 5),
    discard_penultimate=st.none() | st.booleans(), noise_source=st.sampled_from([None, "CPU", "GPU", "NV"]),
    seed_delta=st.none() | st.integers(-9, 9),
)  # fmt: skip
common = {"images": st.just((PICTURE,)), "strength": shares, "background": st.sampled_from([None, "#00ff80"])}
starts: st.SearchStrategy[Start] = st.one_of(
    st.just(FromNoise()),
    st.builds(FromImage, resize=st.sampled_from(["just_resize", "crop", "fill", "latent"]), **common),
    st.builds(FromMaskedImage, mask=st.just(PICTURE), mask_blur=st.integers(0, 64), invert=st.booleans(),
              area=st.sampled_from(["whole", "masked"]), content=st.sampled_from(["fill", "latent_noise"]), **common),
    st.builds(FromExtendedImage, left=st.just(64), up=st.integers(0, 4).map(lambda eighth: eighth * 8), **common),
    st.builds(FromTiles, upscaler=st.sampled_from(["Lanczos", "net"]), overlap=st.just(32), **common),
)  # fmt: skip
requests = st.builds(
    GenerationRequest, prompt=texts, negative_prompt=texts, sampler=samplers, schedule=schedules,
    steps=st.none() | st.integers(1, 99), guidance=guidances, width=sizes, height=sizes, seed=st.integers(0, 2**50),
    clip_skip=st.none() | st.integers(1, 12), emphasis=st.sampled_from([None, "Original", "No norm", "None"]),
    vae=st.sampled_from([None, "Automatic", "None", "hard"]), tiling=st.sampled_from(["none", "both", "x", "y"]),
    guiding=st.builds(GuidanceOptions, rescale=shares, start=st.floats(0, 0.4), end=st.floats(0.5, 1),
                      minimum=st.none() | st.floats(0, 15)),
    variation=st.none() | st.builds(Variation, seed=st.integers(0, 99), strength=shares, resize_from_width=sizes),
    sampling=options, hires=st.none() | second_passes,
    refiner=st.none() | st.builds(Refiner, model=st.just("second"), switch_at=st.floats(0.01, 1)),
    start=starts, batch_count=st.integers(1, 3),
)  # fmt: skip

OTHER_SETTINGS = Settings(
    clip_skip=3, emphasis="No norm", vae="Automatic", guidance_minimum=1.5, noise_source="NV", churn=5, tmin=1, tmax=7,
    noise=1.5, sigma_min=0.5, sigma_max=20, rho=3, seed_delta=99, discard_penultimate=True, beta_alpha=0.9,
    background="#123456",
)  # fmt: skip


def planned(request: GenerationRequest, settings: Settings) -> Plan:
    return plan_generation(request, settings, SHELF, lambda: 77)


def picture_of(plan: Plan, index: int) -> dict[str, Any]:
    """Return everything that image `index` depends on."""
    facts = plan.replace(images=(plan.images[index].replace(index=0),), batch_size=1, notes=()).model_dump()
    for name in ("save", "sheets", "preview", "infotext"):
        del facts[name]
    return facts


@given(request=requests, index=st.integers(0, 2), begins_with_other_settings=st.booleans())
def test_a_picture_is_asked_for_again(request: GenerationRequest, index: int, begins_with_other_settings: bool) -> None:
    if not isinstance(request.start, FromNoise):
        request = request.replace(hires=None)  # one picture may stand for a first pass, but a text does not say which
    settings = (Settings(), OTHER_SETTINGS)
    before, after = settings[::-1] if begins_with_other_settings else settings
    try:
        plan = planned(request, before)
    except BadRequest:  # such as a second pass far too wide
        reject()
    index %= len(plan.images)
    found = read(write(plan, index))
    assert found.unmapped == ()
    again = planned(found.request.replace(start=started_again(plan.start, found.start)), after)
    assert write(again, 0) == write(plan, index)
    assert heeded(picture_of(again, 0)) == heeded(picture_of(plan, index))


def started_again(start: Start, told: dict[str, Any]) -> Start:
    """Return the start a text tells, with the picture and the mask that it cannot hold."""
    pictures = {name: PICTURE for name in ("mask",) if name in type(start).model_fields}
    images = {} if isinstance(start, FromNoise) else {"images": (PICTURE,)}
    return type(start).model_validate(
        {**images, **pictures, **{"background": "#ffffff", **told, "kind": start.kind}} if images else told
    )


def heeded(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a plan without the options that the sampler of a pass, or a prompt, does not know."""
    image = facts["images"][0]
    written = [image[name] or "" for name in ("prompt", "negative_prompt", "hires_prompt", "hires_negative_prompt")]
    for name in ("prompt", "negative_prompt"):
        if image[f"hires_{name}"] == image[name]:
            image[f"hires_{name}"] = None  # the same as the first pass's, said twice
    if not any(bracket in text for text in written for bracket in "(["):
        del facts["emphasis"]
    for part in [facts, *([facts["hires"]] if facts["hires"] else [])]:
        sampler, sampling = find_sampler(part["sampler"]), part["sampling"]
        unknown = [
            *(() if sampler.churns else ("churn", "tmin", "tmax")),
            *(() if sampler.churns or sampler.stochastic else ("noise",)),
            *(() if part["schedule"] == "Beta" else ("beta_alpha", "beta_beta")),
            *(("discard_penultimate",) if sampler.discards_penultimate else ()),
            *(() if sampler.uses_seed_delta and sampling["eta"] else ("seed_delta",)),
        ]
        for name in unknown:
            del sampling[name]
    return facts
