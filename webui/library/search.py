"""Finding models in a list by words, family and state."""

from __future__ import annotations

from collections.abc import Sequence

from webui.domain.cards import ListedModel, ModelList, ModelQuery
from webui.domain.models import ModelInfo
from webui.weights.catalog.catalog import Catalog


def search_models(catalog: Catalog, models: Sequence[ModelInfo], query: ModelQuery) -> ModelList:
    """Return the models that agree with `query`, in its order, and of these the part that it asks for.

    Each word must occur in the name, family, or what the card says.
    """
    words = query.search.lower().split()
    found = _sorted([model for model in models if _agrees(catalog, model, query, words)], query)
    part = found[query.offset : query.offset + query.limit]
    folders = {parent for model in models for parent in _folders(model)}
    return ModelList(
        total=len(found), folders=tuple(sorted(folders)), models=tuple(_listed(catalog, model) for model in part)
    )


def _folders(model: ModelInfo) -> list[str]:
    """Return the folders that a model lies in, `a` and `a/b` for `a/b/name`."""
    parts = model.name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _sorted(models: list[ModelInfo], query: ModelQuery) -> list[ModelInfo]:
    if query.sort == "newest":
        return sorted(models, key=_changed, reverse=True)
    if query.sort == "largest":
        return sorted(models, key=lambda model: model.size, reverse=True)
    return models


def _changed(model: ModelInfo) -> float:
    try:
        return model.path.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _agrees(catalog: Catalog, model: ModelInfo, query: ModelQuery, words: Sequence[str]) -> bool:
    if query.family is not None and model.family is not query.family:
        return False
    if query.fits is not None and model.family not in (query.fits, None):
        return False
    if query.folder and not model.name.startswith(f"{query.folder.rstrip('/')}/"):
        return False
    if query.usable is not None and query.usable is not (model.problem is None):
        return False
    if not words:
        return True
    card = catalog.page(model).card
    family = model.family.value if model.family else ""
    told = (card.title, card.description, card.notes, card.trigger_words, card.base_model)
    text = "\n".join((model.name, model.filename, family, model.variant, *told)).lower()
    return all(word in text for word in words)


def _listed(catalog: Catalog, model: ModelInfo) -> ListedModel:
    page = catalog.page(model)
    return ListedModel(model=model, page=page)
