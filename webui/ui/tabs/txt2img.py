"""The txt2img page: prompts, controls, results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import gradio

from webui.domain.request import GenerationRequest
from webui.ui.components import Factory
from webui.ui.form import Form

Names = Callable[[Literal["style", "sampler", "schedule"]], Sequence[str]]
"""What there is of a kind, in the order users see it."""


@dataclass(frozen=True)
class Txt2imgPage:
    generate: gradio.Button


def build(make: Factory, form: Form[GenerationRequest], defaults: GenerationRequest, names: Names) -> Txt2imgPage:
    """Make the page and bind its fields to `form`, showing `defaults`; `names` are what can be chosen, by kind."""
    generate = build_top(make, form, names("style"))
    with gradio.Row(elem_classes=["workspace"], equal_height=False):
        with gradio.Column(elem_id=make.identity("settings"), elem_classes=["controls"], scale=5, min_width=320):
            build_controls(make, form, defaults, names)
        with gradio.Column(elem_id=make.identity("results"), elem_classes=["results"], scale=7, min_width=320):
            make.mount("progress")
            make.mount("gallery")
            gradio.HTML("", elem_id="html_info_txt2img", elem_classes=["mount"], js_on_load=None)
    return Txt2imgPage(generate)


def build_top(make: Factory, form: Form[GenerationRequest], styles: Sequence[str]) -> gradio.Button:
    """Make the prompts and the buttons beside them; return Generate."""
    with gradio.Row(elem_id=make.identity("toprow"), elem_classes=["toprow"]):
        with gradio.Column(elem_id=make.identity("prompt_container"), elem_classes=["prompts"], scale=6):
            _build_prompts(make, form)
        with gradio.Column(elem_id=make.identity("actions_column"), elem_classes=["actions"], scale=1, min_width=220):
            generate = _build_actions(make, form, styles)
    return generate


def _build_prompts(make: Factory, form: Form[GenerationRequest]) -> None:
    form.bind(
        prompt=make.prompt(
            "prompt",
            "Prompt",
            "Prompt: what should be in the picture (Ctrl+Enter generates, drop a PNG to reuse it)",
            3,
        ),
        negative_prompt=make.prompt(
            "neg_prompt", "Negative prompt", "Negative prompt: what should not be in the picture", 2
        ),
    )
    make.mount("examples")


def _build_actions(make: Factory, form: Form[GenerationRequest], styles: Sequence[str]) -> gradio.Button:
    generate = make.button("generate", "Generate", variant="primary")
    with gradio.Row(elem_classes=["stoppers"]):
        make.button("interrupt", "Interrupt")
        make.button("skip", "Skip")
    with gradio.Row(elem_id=make.identity("tools"), elem_classes=["tools"]):
        make.tool("paste", "paste")
        make.tool("clear_prompt", "clear")
        form.bind(styles=make.dropdown("styles", "Styles", styles, None, multiselect=True, show_label=False))
    return generate


def build_controls(make: Factory, form: Form[GenerationRequest], defaults: GenerationRequest, names: Names) -> None:
    """Make everything that a job can be told besides its prompts."""
    make.mount("note")
    with gradio.Row(elem_id=make.identity("sampler_selection")):
        form.bind(
            sampler=make.dropdown("sampling", "Sampling method", names("sampler"), defaults.sampler),
            schedule=make.dropdown("scheduler", "Schedule type", names("schedule"), defaults.schedule),
        )
    form.bind(steps=make.slider("steps", "Sampling steps", 1, 150, 1, defaults.steps or 20))
    with gradio.Row(elem_id=make.identity("dimensions"), elem_classes=["dimensions"]):
        with gradio.Column(scale=4, min_width=180):
            form.bind(
                width=make.slider("width", "Width", 64, 2048, 8, defaults.width or 512),
                height=make.slider("height", "Height", 64, 2048, 8, defaults.height or 512),
            )
        with gradio.Column(scale=0, min_width=36, elem_classes=["dimension-tools"]):
            make.tool("res_switch_btn", "swap")
        with gradio.Column(scale=3, min_width=140):
            form.bind(
                batch_count=make.slider("batch_count", "Batch count", 1, 100, 1, 1),
                batch_size=make.slider("batch_size", "Batch size", 1, 16, 1, 1),
            )
    form.bind(
        guidance=make.slider("cfg_scale", "CFG scale", 1, 30, 0.5, defaults.guidance or 7.0),
        distilled_guidance=make.number("distilled_cfg_scale", "Distilled CFG scale", None),
    )
    with gradio.Row(elem_id=make.identity("seed_row"), elem_classes=["seed-row"]):
        form.bind(seed=make.number("seed", "Seed", -1))
        make.tool("random_seed", "dice")
        make.tool("reuse_seed", "reuse")
    make.mount("groups")
    form.bind(parts=make.hidden("parts", "Groups"))
