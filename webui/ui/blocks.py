"""The whole page: checkpoint row, the tabs, and the two wires between Python and our scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio

from webui.domain.request import GenerationRequest
from webui.errors import EaselError
from webui.studio import Studio
from webui.ui import actions, groups
from webui.ui.actions import Outcome
from webui.ui.components import Factory
from webui.ui.form import Form
from webui.ui.picture_form import PictureFields
from webui.ui.tabs import extensions, extras, img2img, models, pnginfo, settings, txt2img
from webui.ui.texts import Texts

KEEP_UPLOADS = (3600, 86400)  # seconds: how often Gradio looks, how old one of its files may get

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
"""Events of ours: no overlay, no public endpoint, and raw values (the request model checks them, not Gradio)."""

# Python → scripts: a new value becomes a browser event. Scripts → Python: a browser event becomes a Gradio event.
WIRES = """
watch("value", () => window.dispatchEvent(new CustomEvent("easel:message", {detail: props.value})));
window.addEventListener("easel:send", (event) => trigger(event.detail.event, event.detail.content));
document.documentElement.dataset.wires = "ready";
window.dispatchEvent(new Event("easel:wires"));
"""


STYLES_CHANGED = """
(styles) => {{ window.dispatchEvent(new CustomEvent("easel:styles", {{detail: {{page: "{page}", styles}}}})); }}
"""
"""A browser event too: what is chosen cannot be read from the drawn list, and must survive a reload."""


@dataclass(frozen=True)
class Page:
    """The page and its forms: txt2img's, and img2img's two (what it has in common with txt2img, and the rest)."""

    blocks: gradio.Blocks
    form: Form[GenerationRequest]
    picture_form: Form[GenerationRequest]
    picture: Form[PictureFields]

    def element_ids(self) -> list[str]:
        """Return the ids the scripts may rely on once the page is drawn."""
        return [block.elem_id for block in self.blocks.blocks.values() if block.elem_id]

    def forms(self) -> dict[str, dict[str, Any]]:
        """Return page → its fields' element ids and labels, and its groups, for the scripts."""
        return {
            "txt2img": {
                "fields": self.form.element_ids(),
                "labels": self.form.labels(),
                **groups.described("txt2img"),
            },
            "img2img": {
                **groups.described("img2img"),
                "fields": {**self.picture_form.element_ids(), **self.picture.element_ids()},
                "labels": {**self.picture_form.labels(), **self.picture.labels()},
            },
        }


def build_blocks(studio: Studio, texts: Texts) -> Page:
    """Return the page with everything wired."""
    text = texts.gradio()
    form: Form[GenerationRequest] = Form(GenerationRequest)
    picture_form: Form[GenerationRequest] = Form(GenerationRequest)
    picture: Form[PictureFields] = Form(PictureFields)
    defaults = studio.defaults()
    with gradio.Blocks(
        title="Easel", analytics_enabled=False, fill_width=True, delete_cache=KEEP_UPLOADS, elem_id="easel"
    ) as blocks:
        wires = gradio.HTML("", html_template="", js_on_load=WIRES, visible="hidden", elem_id="easel_wires")
        shown = gradio.State(actions.current_name(studio))
        refresh = _build_quick_row(Factory("", text), form, studio, defaults)
        with gradio.Column(elem_id="tabs"):
            with gradio.Column(elem_id="tab_txt2img", elem_classes=["page"]):
                page = txt2img.build(Factory("txt2img", text), form, defaults, studio.names)
            with gradio.Column(elem_id="tab_img2img", elem_classes=["page"]):
                picture_form.bind(model=form.components["model"], clip_skip=form.components["clip_skip"])
                picture_page = img2img.build(Factory("img2img", text), picture_form, picture, defaults, studio.names)
            with gradio.Column(elem_id="tab_extras", elem_classes=["page"]):
                extras.build(Factory("extras", text))
            with gradio.Column(elem_id="tab_models", elem_classes=["page"]):
                models.build(Factory("models", text))
            with gradio.Column(elem_id="tab_pnginfo", elem_classes=["page"]):
                pnginfo.build(Factory("pnginfo", text))
            with gradio.Column(elem_id="tab_extensions", elem_classes=["page"]):
                extensions.build(Factory("extensions", text))
            with gradio.Column(elem_id="tab_settings", elem_classes=["page"]):
                settings.build(Factory("settings", text))
        Factory("", text).mount("footer")
        made = Page(blocks, form, picture_form, picture)
        _wire(studio, made, wires, shown, refresh)
        _wire_generate(studio, made, wires, page.generate, picture_page.generate)
    return made


def _build_quick_row(
    make: Factory, form: Form[GenerationRequest], studio: Studio, defaults: GenerationRequest
) -> gradio.Button:
    with gradio.Row(elem_id="quicksettings"):
        make.mount("easel_brand")
        form.bind(
            model=make.dropdown(
                "setting_sd_model_checkpoint",
                "Checkpoint",
                actions.model_choices(studio),
                actions.current_name(studio),
                scale=0,
            )
        )
        refresh = make.tool("refresh_sd_model_checkpoint", "refresh")
        make.mount("easel_vae")
        form.bind(
            clip_skip=make.slider("setting_CLIP_stop_at_last_layers", "Clip skip", 1, 12, 1, defaults.clip_skip or 1)
        )
        make.mount("easel_corner")
    return refresh


def _wire_generate(
    studio: Studio, page: Page, wires: gradio.HTML, generate: gradio.Button, generate_picture: gradio.Button
) -> None:
    at_once: dict[str, Any] = {"outputs": wires, "queue": False, "trigger_mode": "multiple", **QUIET}

    def on_generate(**values: Any) -> Mapping[str, Any]:
        return actions.submit(studio, page.form, values)

    def on_generate_picture(**values: Any) -> Mapping[str, Any]:
        return actions.submit_picture(studio, page.picture_form, page.picture, values)

    generate.click(on_generate, inputs_kwargs=page.form.components, **at_once)
    both = {**page.picture_form.components, **page.picture.components}
    generate_picture.click(on_generate_picture, inputs_kwargs=both, **at_once)


def _wire(studio: Studio, page: Page, wires: gradio.HTML, shown: gradio.State, refresh: gradio.Button) -> None:
    form, checkpoint = page.form, page.form.components["model"]
    pictures = {f"picture_{name}": component for name, component in page.picture_form.components.items()}

    def show(outcome: Outcome, on: Form[GenerationRequest] = form) -> dict[Any, Any]:
        updates = {wires: outcome.message, **on.show(outcome.values)}
        if "model" in outcome.values:
            name = outcome.values["model"]
            updates |= {
                shown: name,
                checkpoint: gradio.Dropdown(choices=actions.model_choices(studio), value=name),
            }
        return updates

    def on_model(shown_name: str | None, **values: Any) -> Any:
        if values["model"] == shown_name:  # Gradio reports our own answer as input once more
            return gradio.skip()
        before = actions.proposal(studio, shown_name)
        outcome = actions.choose_model(studio, shown_name, values["model"], values)
        after = actions.proposal(studio, outcome.values["model"])
        others = {name: values[f"picture_{name}"] for name in page.picture_form.components}
        return {**page.picture_form.show(actions.changes(before, after, others)), **show(outcome)}

    def on_refresh(shown_name: str | None) -> dict[Any, Any]:
        studio.refresh_models()
        outcome = actions.open_page(studio, {"keep": True})
        return show(Outcome(outcome.message, {"model": outcome.values["model"]}))

    def on_apply(event: gradio.EventData, shown_name: str | None, **values: Any) -> Any:
        content = event._data
        if "checkpoint" in content:  # of a card on the Models page
            return on_model(shown_name, **{**values, "model": content["checkpoint"]})
        unmapped = tuple(content.get("unmapped", ()))
        try:
            asked = actions.asked_for(studio, content)
        except EaselError as error:
            return {wires: actions.problem(error, content["page"])}
        if content["page"] != "img2img":
            return show(actions.apply(studio, asked, unmapped))
        settings = actions.picture_values(asked, content.get("picture") or {})
        outcome = actions.apply(studio, asked, unmapped, "img2img")
        outcome = Outcome({**outcome.message, "picture": settings}, outcome.values)
        return {**show(outcome, page.picture_form), **page.picture.show(settings)}

    def on_upscale(event: gradio.EventData) -> Mapping[str, Any]:
        content = event._data
        return actions.upscale(studio, content["job"], content["index"], content["hires"])

    def on_open(event: gradio.EventData) -> dict[Any, Any]:
        stored = event._data.get("stored") or {}
        of_picture = stored.get("img2img") or {}
        outcome = actions.open_page(studio, stored.get("txt2img") or {})
        other = actions.open_page(studio, of_picture)
        styles = actions.style_names(studio)
        return {
            **page.picture_form.show(other.values),
            **page.picture.show(actions.restored_choices(of_picture)),
            **show(outcome),
            form.components["styles"]: gradio.Dropdown(choices=styles, value=outcome.values["styles"]),
            page.picture_form.components["styles"]: gradio.Dropdown(choices=styles, value=other.values["styles"]),
        }

    everything = [wires, shown, *form.components.values(), *pictures.values(), *page.picture.components.values()]
    everything = list(dict.fromkeys(everything))
    asked = {**form.components, **pictures}
    checkpoint.input(
        on_model, inputs=[shown], inputs_kwargs=asked, outputs=everything, trigger_mode="always_last", **QUIET
    )
    refresh.click(on_refresh, inputs=[shown], outputs=everything, **QUIET)
    wires.apply(on_apply, inputs=[shown], inputs_kwargs=asked, outputs=everything, **QUIET)
    wires.submit(on_open, outputs=everything, queue=False, **QUIET)
    wires.retry(on_upscale, outputs=wires, **QUIET)
    for name, each in (("txt2img", form), ("img2img", page.picture_form)):
        each.components["styles"].change(None, each.components["styles"], js=STYLES_CHANGED.format(page=name))
