"""What the page's own lists offer: names that only the running program knows."""

from __future__ import annotations

from typing import Any

from webui.studio import Studio


def all_choices(studio: Studio) -> dict[str, Any]:
    """Return what `static/groups.js` and `static/networks.js` offer: names by kind, checkpoints with their titles,
    scripts with their options, and what extensions show.

    Checkpoints that cannot be used are left out.
    """
    names = {
        "sampler": studio.names("sampler"),
        "schedule": studio.names("schedule"),
        "vae": studio.names("vae"),
        "upscaler": studio.names("upscaler"),
    }
    scripts = [
        {
            "label": script.name,
            "value": script.name,
            "pages": list(script.pages),
            "description": script.description,
            "schema": studio.options_schema(script.options),
        }
        for script in studio.scripts()
    ]
    models = [{"label": model.title, "value": model.name} for model in studio.models() if model.problem is None]
    return {
        "names": {kind: list(found) for kind, found in names.items()},
        "models": models,
        "scripts": scripts,
        **studio.shown_extensions().model_dump(mode="json"),
    }
