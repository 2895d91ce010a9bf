"""What there is, as items of A1111's lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from webui.api.a1111.schemas.lists import (
    EmbeddingItem,
    RealesrganItem,
    SamplerItem,
    SchedulerItem,
    ScriptArg,
    SDModelItem,
    SDVaeItem,
    UpscalerItem,
)
from webui.domain.cards import ModelPage
from webui.domain.models import ModelInfo
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SamplerInfo, ScheduleInfo
from webui.domain.upscaling import PLAIN_UPSCALERS

USUAL_SCALE = 4


def to_model_item(model: ModelInfo) -> SDModelItem:
    return SDModelItem(
        title=model.title,
        model_name=model.name,
        hash=model.short_hash,
        sha256=model.sha256,
        filename=str(model.path),
    )


def to_sampler_item(sampler: SamplerInfo) -> SamplerItem:
    return SamplerItem(name=sampler.name, aliases=list(sampler.aliases), options=sampler.options)


def to_scheduler_item(schedule: ScheduleInfo) -> SchedulerItem:
    return SchedulerItem(
        name=schedule.name,
        label=schedule.label,
        aliases=list(schedule.aliases) or None,
        default_rho=-1.0 if schedule.default_rho is None else schedule.default_rho,
        need_inner_model=schedule.uses_levels,
    )


def to_vae_item(model: ModelInfo) -> SDVaeItem:
    return SDVaeItem(model_name=model.filename, filename=str(model.path))


def to_upscaler_items(networks: Sequence[ModelInfo]) -> list[UpscalerItem]:
    """Return the ways that need no weights, then the networks. `scale` is what A1111 says of all of them."""
    plain = [UpscalerItem(name=name, scale=USUAL_SCALE) for name in PLAIN_UPSCALERS]
    return [
        *plain,
        *(
            UpscalerItem(name=model.name, model_name=model.name, model_path=str(model.path), scale=USUAL_SCALE)
            for model in networks
        ),
    ]


def to_realesrgan_item(model: ModelInfo) -> RealesrganItem:
    return RealesrganItem(name=model.name, path=str(model.path), scale=USUAL_SCALE)


def to_embedding_item(page: ModelPage) -> EmbeddingItem:
    vectors, length = page.details.get("vectors", 0), page.details.get("length", 0)
    told = {
        name: page.details[name] for name in ("step", "sd_checkpoint", "sd_checkpoint_name") if name in page.details
    }
    return EmbeddingItem.model_validate({"shape": int(length), "vectors": int(vectors), **told})


def to_lora_item(model: ModelInfo, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return a LoRA as A1111 lists it; `alias` is the name under which it was trained."""
    alias = metadata.get("ss_output_name") or model.name
    return {"name": model.name, "alias": alias, "path": str(model.path), "metadata": dict(metadata)}


def to_script_args(schema: Mapping[str, Any]) -> list[ScriptArg]:
    """Return the arguments of a script from the JSON schema of its options."""
    return [_script_arg(name, field, schema.get("$defs", {})) for name, field in schema["properties"].items()]


def _script_arg(name: str, field: Mapping[str, Any], definitions: Mapping[str, Any]) -> ScriptArg:
    variants = [field, *field.get("anyOf", ()), *field.get("allOf", ())]
    resolved = [definitions.get(variant.get("$ref", "").rpartition("/")[2], variant) for variant in variants]
    merged = {key: value for variant in reversed(resolved) for key, value in variant.items()}
    choices = merged.get("enum") or merged.get("choices")
    return ScriptArg(
        label=field.get("title", name),
        value=field.get("default"),
        minimum=merged.get("minimum"),
        maximum=merged.get("maximum"),
        step=merged.get("step", merged.get("multipleOf")),
        choices=[str(choice) for choice in choices] if choices else None,
    )


def _choices(field: Mapping[str, Any]) -> list[str] | None:
    found = field.get("enum", field.get("choices"))
    return None if found is None else [str(choice) for choice in found]


def to_parameters(fields: Mapping[str, str], request: GenerationRequest | None) -> dict[str, Any]:
    """Return the parsed infotext as A1111 does: names to texts, the prompts among them, sizes as two."""
    if request is None:
        return {}
    parameters = {"Prompt": request.prompt, "Negative prompt": request.negative_prompt}
    for name, value in fields.items():
        width, cross, height = value.partition("x")
        if cross and width.isdecimal() and height.isdecimal():
            parameters |= {f"{name}-1": width, f"{name}-2": height}
        else:
            parameters[name] = value
    return parameters
