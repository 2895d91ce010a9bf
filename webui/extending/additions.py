"""What an extension adds, by name, for people to read."""

from __future__ import annotations

from webui.domain.extensions import Addition
from webui.extending.api import ExtensionApi


def additions_of(api: ExtensionApi) -> tuple[Addition, ...]:
    """Return what was registered, kind by kind; of hooks, which have no names, what they act on."""
    changes = {
        "requests": api.request_changes,
        "plans": api.plan_changes,
        "models": api.patches,
        "denoising": api.denoise_wraps,
        "guidance": api.guidance_wraps,
        "pictures": api.image_changes,
    }
    found = {
        "scripts": tuple(script.name for script in api.scripts),
        "panel": () if api.panel is None else (api.panel.title,),
        "cards": tuple(networks.title for networks in api.networks),
        "settings": () if api.settings is None else (api.settings.title,),
        "tabs": tuple(tab.title for tab in api.tabs),
        "routes": tuple(f"{route.method} {route.path}" for route in api.routes),
        "preprocessors": tuple(preprocessor.label for preprocessor in api.preprocessors),
        "samplers": tuple(sampler.name for sampler in api.samplers),
        "schedules": tuple(schedule.name for schedule in api.schedules),
        "upscalers": tuple(upscaler.name for upscaler in api.upscalers),
        "tags": tuple(f"<{tag}:…>" for tag in sorted(api.tags)),
        "changes": tuple(what for what, hooks in changes.items() if hooks),
        "watches": ("jobs",) if api.listeners else (),
    }
    return tuple(Addition(kind=kind, names=names) for kind, names in found.items() if names)
