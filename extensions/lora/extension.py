"""LoRAs and their relatives: small files that change what a checkpoint paints, named in the prompt."""

from __future__ import annotations

from extensions.lora.infotext import COMBINATION, HASHES, read
from extensions.lora.options import LoraOptions, LoraSettings
from extensions.lora.planning import add_default, change_plan
from extensions.lora.tags import KINDS
from extensions.lora.working import Work
from webui.extending.api import ExtensionApi, Infotext, Kind, Networks, Panel, SettingsSection


def register(api: ExtensionApi) -> None:
    """Add tags, cards, the choice how several act together, and what acts in the worker."""
    work = Work()
    api.claim_tags(*KINDS)
    api.add_networks(Networks(kind=Kind.LORA, title="LoRA", tag="<lora:{name}:1>"))
    api.add_options(
        Panel(
            title="LoRA",
            options=LoraOptions,
            description="How several LoRAs act together. They are named in the prompt: <lora:name:strength>.",
        )
    )
    api.add_settings(SettingsSection(title="LoRA", options=LoraSettings))
    api.add_infotext(Infotext(read=read, keys=(HASHES, COMBINATION)))
    api.change_request(add_default)
    api.change_plan(change_plan)
    api.patch(work.enter)
    api.wrap_denoise(work.wrap)
    api.wrap_guidance(work.guide)
