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
                    *always_on(page),
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
                name=script.name.lower(),
                is_alwayson=False,
                is_img2img=page == "img2img",
                args=to_script_args(studio.script_schema(script)),
            )
            for page in PAGES
            for script in studio.scripts()
            if page in script.pages
        ]
