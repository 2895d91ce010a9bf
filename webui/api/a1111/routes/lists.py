"""Lists of what there is: models, samplers, styles, and kinds of things Easel has none of."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from webui.api.a1111.routes.operation import operation
from webui.api.a1111.schemas.lists import (
    EmbeddingsResponse,
    FaceRestorerItem,
    HypernetworkItem,
    LatentUpscalerModeItem,
    PromptStyleItem,
    RealesrganItem,
    SamplerItem,
    SchedulerItem,
    SDModelItem,
    SDVaeItem,
    UpscalerItem,
)
from webui.api.a1111.translate.lists import (
    to_embedding_item,
    to_lora_item,
    to_model_item,
    to_realesrgan_item,
    to_sampler_item,
    to_scheduler_item,
    to_upscaler_items,
    to_vae_item,
)
from webui.domain.models import Kind, ModelInfo
from webui.domain.sampling import SAMPLERS, SCHEDULES
from webui.domain.upscaling import LATENT_UPSCALERS
from webui.studio import Studio


def add_lists(router: APIRouter, studio: Studio) -> None:
    _add_models(router, studio)
    _add_upscalers(router, studio)
    _add_names(router, studio)
    _add_empty(router)


def _add_models(router: APIRouter, studio: Studio) -> None:
    @router.get(**operation("get_sd_models sd-models"), response_model=list[SDModelItem])
    def list_models() -> list[SDModelItem]:
        """Return the checkpoints that can be used."""
        return [to_model_item(model) for model in _usable(studio.models())]

    @router.get(**operation("get_sd_vaes sd-vae"), response_model=list[SDVaeItem])
    def list_vaes() -> list[SDVaeItem]:
        """Return the VAE files that can be used."""
        return [to_vae_item(model) for model in _usable(studio.vaes())]


def _add_upscalers(router: APIRouter, studio: Studio) -> None:
    @router.get(**operation("get_upscalers upscalers"), response_model=list[UpscalerItem])
    def list_upscalers() -> list[UpscalerItem]:
        """Return the ways to enlarge a picture: those that need no weights, then the networks."""
        return to_upscaler_items(_usable(studio.upscalers()))

    @router.get(
        **operation("get_latent_upscale_modes latent-upscale-modes"), response_model=list[LatentUpscalerModeItem]
    )
    def list_latent_upscalers() -> list[LatentUpscalerModeItem]:
        """Return the ways to enlarge latents."""
        return [LatentUpscalerModeItem(name=name) for name in LATENT_UPSCALERS]

    @router.get(**operation("get_realesrgan_models realesrgan-models"), response_model=list[RealesrganItem])
    def list_networks() -> list[RealesrganItem]:
        """Return the networks that enlarge pictures."""
        return [to_realesrgan_item(model) for model in _usable(studio.upscalers())]

    @router.get(**operation("get_embeddings embeddings"), response_model=EmbeddingsResponse)
    def list_embeddings() -> EmbeddingsResponse:
        """Return the embeddings by what is typed for them: those that the current model can read, and the others."""
        loaded, skipped = (
            {word: to_embedding_item(studio.model_page(model)) for word, model in found.items()}
            for found in studio.embeddings()
        )
        return EmbeddingsResponse(loaded=loaded, skipped=skipped)

    @router.get(**operation("get_hypernetworks hypernetworks"), response_model=list[HypernetworkItem])
    def list_hypernetworks() -> list[HypernetworkItem]:
        """Return the hypernetworks that can be used."""
        found = _usable(studio.models_of(Kind.HYPERNETWORK))
        return [HypernetworkItem(name=model.name, path=str(model.path)) for model in found]

    @router.get(**operation("get_loras loras"), response_model=list[dict[str, Any]])
    def list_loras() -> list[dict[str, Any]]:
        """Return the LoRAs that can be used."""
        found = _usable(studio.models_of(Kind.LORA))
        return [to_lora_item(model, studio.model_metadata(model)) for model in found]


def _usable(models: tuple[ModelInfo, ...]) -> list[ModelInfo]:
    return [model for model in models if model.problem is None]


def _add_names(router: APIRouter, studio: Studio) -> None:
    @router.get(**operation("get_samplers samplers"), response_model=list[SamplerItem])
    def list_samplers() -> list[SamplerItem]:
        """Return the samplers."""
        extra = [SamplerItem(name=each.name, aliases=[], options={}) for each in studio.features.samplers]
        return [*map(to_sampler_item, SAMPLERS), *extra]

    @router.get(**operation("get_schedulers schedulers"), response_model=list[SchedulerItem])
    def list_schedules() -> list[SchedulerItem]:
        """Return the schedules."""
        names = [each.name for each in studio.features.schedules]
        extra = [
            SchedulerItem(name=name, label=name, aliases=None, default_rho=-1.0, need_inner_model=False)
            for name in names
        ]
        return [*map(to_scheduler_item, SCHEDULES), *extra]

    @router.get(**operation("get_prompt_styles prompt-styles"), response_model=list[PromptStyleItem])
    def list_styles() -> list[PromptStyleItem]:
        """Return the styles."""
        return [PromptStyleItem(**style.model_dump()) for style in studio.styles()]


EMPTY_LISTS: tuple[tuple[str, Any], ...] = (("get_face_restorers face-restorers", FaceRestorerItem),)
"""Kinds of things Easel has none of. Clients ask for all of them when they start, and an empty list is the truth."""


def _add_empty(router: APIRouter) -> None:
    def list_nothing() -> list[Any]:
        """Return an empty list: Easel has none of these."""
        return []

    for name, item in EMPTY_LISTS:
        router.add_api_route(**operation(name), endpoint=list_nothing, response_model=list[item])  # type: ignore[valid-type]
