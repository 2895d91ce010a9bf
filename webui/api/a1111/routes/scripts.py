"""The scripts by name, and what they can be told."""

from __future__ import annotations

from fastapi import APIRouter

from webui.api.a1111.routes.operation import operation
from webui.api.a1111.schemas.lists import ScriptInfo, ScriptsList
from webui.api.a1111.translate.always_on import always_on
from webui.api.a1111.translate.lists import to_script_args
from webui.studio import Studio

PAGES = ("txt2img", "img2img")


def add_scripts(router: APIRouter, studio: Studio) -> None:
    @router.get(**operation("get_scripts_list scripts"), response_model=ScriptsList)
    def list_scripts() -> ScriptsList:
        """Return the scripts of both pages in lower case: what `alwayson_scripts` takes, then what `script_name`
        takes."""
        return ScriptsList(
            **{
                page: [
                    *sorted({*always_on(page), *(panel.title.lower() for panel in studio.panels(page))}),
                    *sorted(script.name.lower() for script in studio.scripts() if page in script.pages),
                ]
                for page in PAGES
            }
        )

    @router.get(**operation("get_script_info script-info"), response_model=list[ScriptInfo])
    def describe_scripts() -> list[ScriptInfo]:
        """Return what each script can be told, in the order of its arguments."""
        return [
            ScriptInfo(
                name=name.lower(),
                is_alwayson=is_alwayson,
                is_img2img=page == "img2img",
                args=to_script_args(studio.options_schema(options)),
            )
            for page in PAGES
            for name, options, is_alwayson in (
                *((panel.title, panel.options, True) for panel in studio.panels(page)),
                *((script.name, script.options, False) for script in studio.scripts() if page in script.pages),
            )
        ]
