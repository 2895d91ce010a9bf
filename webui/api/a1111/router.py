"""All of A1111's routes."""

from __future__ import annotations

from fastapi import APIRouter

from webui.api.a1111.routes.commands import add_commands
from webui.api.a1111.routes.extensions import add_extensions
from webui.api.a1111.routes.generation import add_generation
from webui.api.a1111.routes.lists import add_lists
from webui.api.a1111.routes.pictures import add_pictures
from webui.api.a1111.routes.progress import add_progress
from webui.api.a1111.routes.running import Running
from webui.api.a1111.routes.scripts import add_scripts
from webui.api.a1111.routes.settings import add_settings
from webui.api.following import Followers
from webui.api.strict_json import StrictRoute
from webui.studio import Studio


def build_router(studio: Studio, followers: Followers) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)
    running = Running(studio, followers)
    add_generation(router, running)
    add_pictures(router, running)
    add_progress(router, studio)
    add_settings(router, studio)
    add_commands(router, studio)
    add_lists(router, studio)
    add_scripts(router, studio)
    add_extensions(router, studio)
    return router
