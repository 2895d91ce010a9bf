"""Finding models in a list by words, family and state."""

from __future__ import annotations

from collections.abc import Sequence

from webui.domain.cards import ListedModel, ModelList, ModelQuery
from webui.domain.models import ModelInfo
from webui.weights.catalog.catalog import Catalog


def search_models(catalog: Catalog, models: Sequence[ModelInfo], query: ModelQuery) -> ModelList:
    """Return the models that agree with `query`, in their order, and of these the part that it asks for.

    Each word must occur in the name, family, or what the card says.
    """
    words = query.search.lower().split()
    found = [model for model in models if _agrees(catalog, model, query, words)]
    part = found[query.offset : query.offset + query.limit]
    return ModelList(total=len(found), models=tuple(_listed(catalog, model) for model in part))


def _agrees(catalog: Catalog, model: ModelInfo, query: ModelQuery, words: Sequence[str]) -> bool:
    if query.family is not None and model.family is not query.family:
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
