"""Puts the page on the site: everything it needs comes from this machine, nothing is asked of any other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from webui import __version__
from webui.config import Config
from webui.studio import Studio
from webui.ui.extension_files import ExtensionFiles
from webui.ui.head import InjectHead, page_head
from webui.ui.static_files import StaticFiles
from webui.ui.texts import Texts

if TYPE_CHECKING:
    pass

MAX_UPLOAD = "64mb"


def mount_ui(app: Any, studio: Studio, config: Config) -> Any:
    """Mount the page at "/" of `app` (a FastAPI application whose own routes are already there); return `app`."""
    keep_offline(config)
    import gradio

    from webui.ui.blocks import build_blocks
    from webui.ui.theme import build_theme

    assets = studio.assets
    texts = Texts.load().extended(assets.translations())
    page = build_blocks(studio, texts)
    files = StaticFiles.load()
    app.mount("/easel/static", files)
    app.mount("/extensions", ExtensionFiles(studio))
    app.mount("/file=extensions", ExtensionFiles(studio))  # as scripts for A1111 ask for them
    head = page_head(
        files,
        {
            "version": __version__,
            "theme": config.theme,
            "elements": page.element_ids(),
            "forms": page.forms(),
            "translations": texts.translations,
            "hasScripts": bool(assets.scripts()),
            "tabs": [tab.model_dump(mode="json") for tab in studio.shown_extensions().tabs],
        },
        assets.scripts(),
        assets.styles(),
    )
    app.add_middleware(InjectHead, html=head)
    return gradio.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        allowed_paths=[],
        favicon_path=str(files.path("favicon.svg")),
        show_error=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        i18n=texts.gradio(),
        theme=build_theme(),
    )


def keep_offline(config: Config) -> None:
    """Tell Gradio, before it is imported, to call nobody and to keep its files in our folder."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(config.state_dir / "gradio")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
