"""What the page does when something is pressed, on a real studio, without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio.components import Component

from tests import tiny_flux
from tests.api.site import Site, make_model, open_site
from tests.serving import run_async
from webui.domain.request import GenerationRequest
from webui.studio import Studio
from webui.ui import actions
from webui.ui.blocks import Page, build_blocks
from webui.ui.form import Form
from webui.ui.texts import Texts

CARD = {"defaults": {"width": 128, "height": 128, "steps": 12, "sampler": "Euler a"}, "examples": ["a cat"]}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    models = tmp_path / "models" / "Stable-diffusion"
    (make_model(models, "pocket") / "easel.json").write_text(json.dumps(CARD))
    (models / "broken.safetensors").write_bytes(b"no model")
    with open_site(tmp_path, models=("large",)) as opened:
        opened.studio.select_model("pocket")
        yield opened


@pytest.fixture
def studio(site: Site) -> Studio:
    return site.studio


def build(studio: Studio) -> Page:
    """Build the page inside an event loop: outside of one Gradio makes its own and never closes it."""

    async def inside() -> Page:
        return build_blocks(studio, Texts.load())

    return run_async(inside())


@pytest.fixture
def page(studio: Studio) -> Page:
    return build(studio)


@pytest.fixture
def form(page: Page) -> Form[GenerationRequest]:
    return page.form


def values(**changes: Any) -> dict[str, Any]:
    shown = {"prompt": "", "width": 128, "height": 128, "steps": 12, "guidance": 7.0, "sampler": "Euler a"}
    return {**shown, "schedule": "Automatic", "seed": -1, "model": "pocket", **changes}


def test_submitting_queues_what_the_form_says(studio: Studio, form: Form[GenerationRequest]) -> None:
    answer = actions.submit(studio, form, values(prompt="a dog", seed=4, steps=3))
    assert answer["kind"] == "submitted"
    job = studio.wait(answer["job"])
    assert (job.state, job.source, job.request.prompt, job.images[0].seed) == ("finished", "ui", "a dog", 4)


def test_a_problem_queues_nothing(studio: Studio, form: Form[GenerationRequest]) -> None:
    answer = actions.submit(studio, form, values(steps=0, width=65))
    assert answer["kind"] == "problems"
    assert {one["field"] for one in answer["problems"]} == {"steps", "width"}
    assert studio.jobs() == ()


def test_an_unusable_model_is_a_problem_of_its_field(studio: Studio, form: Form[GenerationRequest]) -> None:
    answer = actions.submit(studio, form, values(model="nowhere"))
    assert answer["kind"] == "problems"
    assert "nowhere" in answer["problems"][0]["text"]


def test_equal_messages_differ_so_that_the_page_notices(studio: Studio, form: Form[GenerationRequest]) -> None:
    first, second = (actions.submit(studio, form, values(steps=0)) for _ in range(2))
    assert first != second
    assert {**first, "id": ""} == {**second, "id": ""}


def test_a_model_proposes_for_untouched_fields_only(studio: Studio) -> None:
    outcome = actions.choose_model(studio, "pocket", "large", values(width=256))
    assert outcome.values["height"] == 512
    assert "width" not in outcome.values
    assert outcome.message["kept"] == ["width"]
    assert studio.current_model() is not None and studio.current_model().name == "large"  # type: ignore[union-attr]


def test_a_broken_model_changes_nothing(studio: Studio) -> None:
    outcome = actions.choose_model(studio, "pocket", "broken", values())
    assert outcome.message["kind"] == "problems"
    assert outcome.message["problems"][0]["field"] == "model"
    assert outcome.values == {"model": "pocket"}
    assert studio.current_model().name == "pocket"  # type: ignore[union-attr]


def test_every_model_can_be_chosen_by_its_title(studio: Studio) -> None:
    choices = dict(actions.model_choices(studio))
    assert set(choices.values()) == {"pocket", "large", "broken"}
    assert [title for title, name in choices.items() if name == "broken"] == ["broken (⚠)"]


def test_applying_leaves_blanks_alone_and_says_what_is_missing(studio: Studio) -> None:
    asked = {"prompt": "a fish", "steps": 5, "model": "nowhere", "seed": 3}
    outcome = actions.apply(studio, asked, ("Tiling: 7",))
    assert (outcome.values["prompt"], outcome.values["steps"], outcome.values["seed"]) == ("a fish", 5, 3)
    assert "width" not in outcome.values and "model" not in outcome.values
    assert outcome.message["notes"][0] == "Tiling: 7"
    assert "nowhere" in outcome.message["notes"][1]


def test_applying_takes_the_model_along(studio: Studio) -> None:
    assert actions.apply(studio, {"model": "large"}).values["model"] == "large"


def test_opening_shows_the_current_model_and_its_proposals(studio: Studio) -> None:
    outcome = actions.open_page(studio, {})
    assert outcome.message["examples"] == ["a cat"]
    assert (outcome.values["model"], outcome.values["width"], outcome.values["sampler"]) == ("pocket", 128, "Euler a")


def test_opening_after_a_reload_keeps_what_was_chosen(studio: Studio) -> None:
    outcome = actions.open_page(studio, {"sampler": "Heun", "schedule": "made up", "width": "320"})
    assert outcome.values == {"sampler": "Heun", "schedule": "Automatic", "model": "pocket", "styles": []}


def test_without_any_model_the_page_opens_and_says_so(tmp_path: Path) -> None:
    with open_site(tmp_path, models=()) as empty:
        page = build(empty.studio)
        outcome = actions.open_page(empty.studio, {})
        answer = actions.submit(empty.studio, page.form, values(model=None))
    assert outcome.values["model"] is None
    assert str(empty.config.checkpoint_dirs[0]) in outcome.message["problems"][0]["hint"]
    assert answer["problems"][0]["field"] == "model"


def test_the_page_binds_every_field_it_shows_and_stays_small(page: Page) -> None:
    shown = "prompt negative_prompt model sampler schedule steps guidance width height seed clip_skip styles"
    shown += " batch_size batch_count parts distilled_guidance"
    assert page.form.components.keys() == set(shown.split())
    blocks = page.blocks.blocks.values()
    assert len([block for block in blocks if isinstance(block, Component)]) <= 100, "each costs time at every click"
    assert len(blocks) <= 170, "with rows and columns"


def test_every_text_of_the_components_is_known(page: Page) -> None:
    known = Texts.load().translations["en"]
    found = set()
    for block in page.blocks.blocks.values():
        for name in ("label", "placeholder", "value", "info"):
            marked = re.search(r'"key": ("(?:[^"\\\\]|\\\\.)*")', str(getattr(block, name, "")))
            if marked:
                found.add(json.loads(marked[1]))
    assert {"Generate", "Sampling steps", "Negative prompt"} <= found
    assert found - known.keys() == set()


def test_no_handler_is_a_public_endpoint(page: Page) -> None:
    assert page.blocks.get_api_info()["named_endpoints"] == {}
    assert page.blocks.get_api_info()["unnamed_endpoints"] == {}


def test_styles_of_an_old_job_are_chosen_again_and_missing_ones_told(studio: Studio) -> None:
    (studio.config.data_dir / "styles.csv").write_text("name,prompt\nfilm,grain\n", encoding="utf-8")
    assert actions.style_names(studio) == ["film"]
    outcome = actions.apply(studio, {"prompt": "a", "styles": ["film", "ink"]})
    assert outcome.values["styles"] == ["film"]
    assert outcome.message["notes"] == ["styles: there is no style 'ink' any more"]


def test_a_tag_without_effect_is_told(studio: Studio, form: Form[GenerationRequest]) -> None:
    answer = actions.submit(studio, form, values(prompt="a <other:x:1> cat"))
    assert answer["kind"] == "submitted" and "<other:" in answer["notes"][0]


def test_what_differs_from_the_settings_comes_along(studio: Studio) -> None:
    sampling = {"seed_delta": 31337, "noise_source": "CPU", "eta": 0.5}
    asked = {"sampler": "Euler a", "sampling": sampling, "emphasis": "No norm", "hires": {"scale": 2}}
    parts = actions.apply(studio, asked).message["parts"]
    assert (parts["sampling"], parts["emphasis"]) == ({"seed_delta": 31337, "eta": 0.5}, "No norm")
    assert (parts["hires"]["scale"], parts["refiner"], parts["tiling"]) == (2, None, "none")
    studio.change_settings({"eta_noise_seed_delta": 31337, "eta_ancestral": 0.5, "emphasis": "No norm"})
    assert not {"sampling", "emphasis"} & actions.apply(studio, asked).message["parts"].keys()


def test_options_of_extensions_come_along_as_far_as_there_are_panels(studio: Studio) -> None:
    asked = {"extensions": {"free_u": {"enabled": True, "b1": 1.2}, "gone": {"x": 1}}}
    message = actions.apply(studio, asked).message
    assert message["parts"]["extensions"] == {"free_u": {"enabled": True, "b1": 1.2}}
    assert message["notes"] == ["extensions.gone: there is no such extension"]


def test_parts_of_a_model_come_along_unless_it_takes_them_by_itself(studio: Studio) -> None:
    home = tiny_flux.make_part_files(studio.config.models_dir)
    tiny_flux.make_single_file(home / "Stable-diffusion" / "flux1-dev.safetensors", parts=False)
    (home / "text_encoder" / "my clip.safetensors").write_bytes((home / "text_encoder/clip_l.safetensors").read_bytes())
    studio.refresh_models()
    usual = actions.apply(studio, {"model": "flux1-dev", "modules": ["ae", "my clip", "t5xxl_fp16"]})
    assert "modules" not in usual.message["parts"]
    other = actions.apply(studio, {"model": "flux1-dev", "modules": ["/elsewhere/clip_l.safetensors", "gone"]})
    assert other.message["parts"]["modules"] == ["clip_l"]
    assert other.message["notes"][0].startswith("modules: VAE or text encoder not found: 'gone'.")


def test_img2img_says_that_it_has_no_second_pass(studio: Studio) -> None:
    outcome = actions.apply(studio, {"hires": {"scale": 2}}, page="img2img")
    assert outcome.message["notes"] == ["hires: a second pass follows txt2img only"]


def test_the_page_learns_what_there_is_to_choose(studio: Studio) -> None:
    choices = actions.open_page(studio, {}).message["choices"]
    assert {"Latent", "Lanczos"} <= set(choices["names"]["upscaler"])
    assert choices["names"]["vae"][:2] == ["Automatic", "None"]
    assert {model["value"] for model in choices["models"]} == {"pocket", "large"}
    script = next(each for each in choices["scripts"] if each["value"] == "X/Y/Z plot")
    assert "x_values" in script["schema"]["properties"] and script["pages"] == ["txt2img", "img2img"]


def test_names_of_parts_are_brought_to_those_of_the_lists(studio: Studio) -> None:
    hires = {"model": "LARGE", "upscaler": "lanczos", "sampler": "k_euler_a", "schedule": "karras"}
    refiner = {"model": studio_title(studio, "large"), "switch_at": 0.5}
    outcome = actions.apply(studio, {"hires": hires, "refiner": refiner})
    parts = outcome.message["parts"]
    assert [parts["hires"][name] for name in hires] == ["large", "Lanczos", "Euler a", "Karras"]
    assert parts["refiner"] == {"model": "large", "switch_at": 0.5}
    assert outcome.message["notes"] == []


def test_names_nothing_answers_to_are_told(studio: Studio) -> None:
    asked = {
        "vae": "gone.pt",
        "hires": {"model": "gone", "upscaler": "gone"},
        "refiner": {"model": "gone"},
        "script": {"name": "gone"},
    }
    outcome = actions.apply(studio, asked)
    parts = outcome.message["parts"]
    assert (parts["vae"], parts["refiner"], parts["script"]) == (None, None, None)
    assert (parts["hires"]["model"], parts["hires"]["upscaler"]) == (None, "Latent")
    fields = [note.partition(":")[0] for note in outcome.message["notes"]]
    assert fields == ["vae", "hires.upscaler", "hires.model", "refiner.model", "script"]


def studio_title(studio: Studio, name: str) -> str:
    """Return the title with the hash, as an infotext has it."""
    before = studio.current_model()
    title = studio.select_model(name).title
    assert before is not None
    studio.select_model(before.name)
    return title


@pytest.mark.parametrize("told", [3.5, None])
def test_the_page_knows_whether_a_model_is_told_a_guidance(studio: Studio, told: float | None) -> None:
    model = studio.current_model()
    assert model is not None
    model = model.replace(defaults=model.defaults.replace(distilled_guidance=told))
    assert actions.about(model)["told_guidance"] == told
