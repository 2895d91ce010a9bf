"""Makes components with A1111's element ids and with the CSS classes its users' scripts look for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio

Choices = Sequence[str | tuple[str, str]]


@dataclass(frozen=True)
class Factory:
    """Components of one page. `prefix` starts every element id (`txt2img_steps`); `text` translates a label."""

    prefix: str
    text: Callable[[str], Any]

    def identity(self, name: str) -> str:
        return f"{self.prefix}_{name}" if self.prefix else name

    def prompt(self, name: str, label: str, placeholder: str, lines: int) -> gradio.Textbox:
        return gradio.Textbox(
            label=self.text(label),
            placeholder=self.text(placeholder),
            show_label=False,
            lines=lines,
            max_lines=24,
            elem_id=self.identity(name),
            elem_classes=["prompt", "gradio-textbox"],
        )

    def slider(self, name: str, label: str, least: float, most: float, step: float, value: float) -> gradio.Slider:
        return gradio.Slider(
            least,
            most,
            value,
            step=step,
            label=self.text(label),
            elem_id=self.identity(name),
            elem_classes=["gradio-slider"],
            buttons=[],
            min_width=100,
        )

    def number(self, name: str, label: str, value: int | None) -> gradio.Number:
        return gradio.Number(
            value,
            label=self.text(label),
            elem_id=self.identity(name),
            elem_classes=["gradio-number"],
            min_width=80,
        )

    def dropdown(self, name: str, label: str, choices: Choices, value: str | None, **more: Any) -> gradio.Dropdown:
        return gradio.Dropdown(
            choices,
            value=value,
            label=self.text(label),
            elem_id=self.identity(name),
            elem_classes=["gradio-dropdown"],
            min_width=100,
            **more,
        )

    def checkbox(self, name: str, label: str) -> gradio.Checkbox:
        return gradio.Checkbox(
            label=self.text(label), elem_id=self.identity(name), elem_classes=["gradio-checkbox"], min_width=100
        )

    def hidden(self, name: str, label: str) -> gradio.Textbox:
        """Return a field that only the scripts write."""
        return gradio.Textbox(label=self.text(label), visible="hidden", elem_id=self.identity(name))

    def button(self, name: str, label: str, variant: Any = "secondary") -> gradio.Button:
        return gradio.Button(
            self.text(label),
            variant=variant,
            elem_id=self.identity(name),
            elem_classes=["gradio-button"],
            min_width=60,
        )

    def tool(self, name: str, icon: str) -> gradio.Button:
        """Return a small square button. The scripts give it its accessible name (`static/tools.js`)."""
        return gradio.Button(
            "",
            variant="secondary",
            elem_id=self.identity(name),
            elem_classes=["gradio-button", "tool", f"icon-{icon}"],
            min_width=32,
            scale=0,
        )

    def mount(self, name: str) -> gradio.HTML:
        """Return an empty place that a script fills."""
        return gradio.HTML("", elem_id=self.identity(name), elem_classes=["mount"], js_on_load=None)
