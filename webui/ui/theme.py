"""Colours and measures given to Gradio; `static/easel.css` does the rest. System fonts only."""

from __future__ import annotations

import gradio
from gradio.themes.utils import colors, sizes

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Ubuntu", "Cantarell", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "Consolas", "DejaVu Sans Mono", "monospace")

EMBER = colors.Color(
    name="ember",
    c50="#fff6ef",
    c100="#ffe8d6",
    c200="#ffcda8",
    c300="#ffab72",
    c400="#fb8a45",
    c500="#ee6c1f",
    c600="#d65712",
    c700="#b04310",
    c800="#8a3814",
    c900="#6f3014",
    c950="#3d1607",
)


def build_theme() -> gradio.themes.Base:
    """Return a dense theme with one warm accent on cool greys, in a light and a dark form."""
    theme = gradio.themes.Base(
        primary_hue=EMBER,
        secondary_hue=EMBER,
        neutral_hue=colors.slate,
        text_size=sizes.text_sm,
        spacing_size=sizes.spacing_sm,
        radius_size=sizes.radius_md,
        font=FONT,
        font_mono=MONO,
    )
    return theme.set(
        body_background_fill="#f3f5f8",
        body_background_fill_dark="#12151b",
        body_text_color="#1c2430",
        body_text_color_dark="#e4e8ee",
        body_text_color_subdued="#5b6675",
        body_text_color_subdued_dark="#98a3b3",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1a1f27",
        background_fill_secondary="#f8fafc",
        background_fill_secondary_dark="#161a21",
        border_color_primary="#dde3ea",
        border_color_primary_dark="#2b323d",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_padding="0",
        block_label_background_fill="transparent",
        block_title_text_color="#4a5563",
        block_title_text_color_dark="#a7b1c0",
        block_title_text_weight="500",
        block_shadow="none",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1d232c",
        input_border_color="#d3dae3",
        input_border_color_dark="#333b48",
        input_border_width="1px",
        input_border_color_focus="#ee6c1f",
        input_border_color_focus_dark="#fb8a45",
        input_shadow="none",
        input_shadow_focus="0 0 0 3px #ee6c1f26",
        input_shadow_focus_dark="0 0 0 3px #fb8a4530",
        input_padding="6px 10px",
        slider_color="#ee6c1f",
        slider_color_dark="#fb8a45",
        button_primary_background_fill="#c74d0c",
        button_primary_background_fill_hover="#b04310",
        button_primary_background_fill_dark="#c74d0c",
        button_primary_background_fill_hover_dark="#b04310",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#eef2f6",
        button_secondary_background_fill_dark="#222934",
        button_secondary_background_fill_hover_dark="#2b3441",
        button_secondary_border_color="#d3dae3",
        button_secondary_border_color_dark="#333b48",
        button_border_width="1px",
        layout_gap="10px",
    )
