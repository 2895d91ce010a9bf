"""The whole page: checkpoint row, the tabs, and the two wires between Python and our scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio

from webui.domain.request import GenerationRequest
from webui.studio import Studio
from webui.ui import actions
from webui.ui.actions import Outcome
from webui.ui.components import Factory
from webui.ui.form import Form
from webui.ui.tabs import pnginfo, settings, txt2img
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


@dataclass(frozen=True)
class Page:
    blocks: gradio.Blocks
    form: Form[GenerationRequest]

    def element_ids(self) -> list[str]:
        """Return the ids the scripts may rely on once the page is drawn."""
        return [block.elem_id for block in self.blocks.blocks.values() if block.elem_id]


def build_blocks(studio: Studio, texts: Texts) -> Page:
    """Return the page with everything wired."""
    text = texts.gradio()
    form: Form[GenerationRequest] = Form(GenerationRequest)
    defaults = studio.defaults()
    with gradio.Blocks(
        title="Easel", analytics_enabled=False, fill_width=True, delete_cache=KEEP_UPLOADS, elem_id="easel"
    ) as blocks:
        wires = gradio.HTML("", html_template="", js_on_load=WIRES, visible="hidden", elem_id="easel_wires")
        shown = gradio.State(actions.current_name(studio))
        refresh = _build_quick_row(Factory("", text), form, studio, defaults)
        with gradio.Column(elem_id="tabs"):
            with gradio.Column(elem_id="tab_txt2img", elem_classes=["page"]):
                page = txt2img.build(Factory("txt2img", text), form, defaults, actions.style_names(studio))
            with gradio.Column(elem_id="tab_pnginfo", elem_classes=["page"]):
                pnginfo.build(Factory("pnginfo", text))
            with gradio.Column(elem_id="tab_settings", elem_classes=["page"]):
                settings.build(Factory("settings", text))
        Factory("", text).mount("footer")
        _wire(studio, form, wires, shown, page.generate, refresh)
    return Page(blocks, form)


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
        form.bind(
            clip_skip=make.slider("setting_CLIP_stop_at_last_layers", "Clip skip", 1, 12, 1, defaults.clip_skip or 1)
        )
        make.mount("easel_corner")
    return refresh


def _wire(
    studio: Studio,
    form: Form[GenerationRequest],
    wires: gradio.HTML,
    shown: gradio.State,
    generate: gradio.Button,
    refresh: gradio.Button,
) -> None:
    fields = list(form.components.values())
    checkpoint, styles = form.components["model"], form.components["styles"]

    def show(outcome: Outcome) -> dict[Any, Any]:
        updates = {wires: outcome.message, **form.show(outcome.values)}
        if "model" in outcome.values:
            name = outcome.values["model"]
            updates |= {
                shown: name,
                checkpoint: gradio.Dropdown(choices=actions.model_choices(studio), value=name),
            }
        return updates

    def on_generate(**values: Any) -> Mapping[str, Any]:
        return actions.submit(studio, form, values)

    def on_model(shown_name: str | None, **values: Any) -> Any:
        if values["model"] == shown_name:  # Gradio reports our own answer as input once more
            return gradio.skip()
        return show(actions.choose_model(studio, shown_name, values["model"], values))

    def on_refresh(shown_name: str | None) -> dict[Any, Any]:
        studio.refresh_models()
        outcome = actions.open_page(studio, {"keep": True})
        return show(Outcome(outcome.message, {"model": outcome.values["model"]}))

    def on_apply(event: gradio.EventData) -> dict[Any, Any]:
        content = event._data
        return show(actions.apply(studio, content["request"], tuple(content.get("unmapped", ()))))

    def on_open(event: gradio.EventData) -> dict[Any, Any]:
        updates = show(actions.open_page(studio, event._data.get("stored") or {}))
        return {**updates, styles: gradio.Dropdown(choices=actions.style_names(studio))}

    everything = [wires, shown, *fields]
    generate.click(
        on_generate, inputs_kwargs=form.components, outputs=wires, queue=False, trigger_mode="multiple", **QUIET
    )
    checkpoint.input(
        on_model, inputs=[shown], inputs_kwargs=form.components, outputs=everything, trigger_mode="always_last", **QUIET
    )
    refresh.click(on_refresh, inputs=[shown], outputs=everything, **QUIET)
    wires.apply(on_apply, outputs=everything, **QUIET)
    wires.submit(on_open, outputs=everything, queue=False, **QUIET)
