"""What the page shows of extensions, as plain data: panels, preprocessors, cards of networks, tabs, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from webui.domain.frozen import Data
from webui.domain.models import Kind
from webui.extending.api import ExtensionApi
from webui.extending.assets import page_address
from webui.extending.offers import AnyPanel, AnyPreprocessor
from webui.extending.scripts import NameKind, Page, options_schema

Names = Callable[[NameKind], Sequence[str]]


class ShownPanel(Data):
    """`options` is the JSON schema of what can be told, with the names there are now."""

    name: str
    title: str
    pages: tuple[Page, ...]
    description: str
    options: Mapping[str, Any]


class ShownPreprocessor(Data):
    """`options` is the JSON schema of what it can be told."""

    name: str
    label: str
    groups: tuple[str, ...]
    description: str
    options: Mapping[str, Any]


class ShownNetworks(Data):
    """A tab of cards: models of `kind`. A click writes `tag`, in which {name} is replaced."""

    kind: Kind
    title: str
    tag: str
    families_matter: bool


class ShownTab(Data):
    """A page of an extension at `address` (relative to the site), shown in a frame."""

    id: str
    title: str
    address: str


class ShownSettings(Data):
    """Settings of an extension: the JSON schema of all of them, and the values they have."""

    name: str
    title: str
    options: Mapping[str, Any]
    values: Mapping[str, Any]


class ShownExtensions(Data):
    """All of it, in the order of the extensions."""

    panels: tuple[ShownPanel, ...] = ()
    preprocessors: tuple[ShownPreprocessor, ...] = ()
    networks: tuple[ShownNetworks, ...] = ()
    tabs: tuple[ShownTab, ...] = ()


def show_extensions(apis: Iterable[ExtensionApi], names: Names) -> ShownExtensions:
    """Return what the page shows; `names` tells what there is of a kind."""
    known = tuple(apis)
    return ShownExtensions(
        panels=tuple(_panel(api.name, api.panel, names) for api in known if api.panel is not None),
        preprocessors=tuple(_preprocessor(each, names) for api in known for each in api.preprocessors),
        networks=tuple(
            ShownNetworks(kind=each.kind, title=each.title, tag=each.tag, families_matter=each.families_matter)
            for api in known
            for each in api.networks
        ),
        tabs=tuple(
            ShownTab(id=each.id, title=each.title, address=page_address(api, each))
            for api in known
            for each in api.tabs
        ),
    )


def show_settings(apis: Iterable[ExtensionApi], names: Names, values: Mapping[str, Any]) -> tuple[ShownSettings, ...]:
    """Return the settings of all extensions that have some; `values` are what all of them are now."""
    return tuple(
        ShownSettings(
            name=api.name,
            title=api.settings.title,
            options=options_schema(api.settings.options, names),
            values={name: values[name] for name in api.settings.options.model_fields},
        )
        for api in apis
        if api.settings is not None
    )


def _panel(name: str, panel: AnyPanel, names: Names) -> ShownPanel:
    return ShownPanel(
        name=name,
        title=panel.title,
        pages=panel.pages,
        description=panel.description,
        options=options_schema(panel.options, names),
    )


def _preprocessor(preprocessor: AnyPreprocessor, names: Names) -> ShownPreprocessor:
    return ShownPreprocessor(
        name=preprocessor.name,
        label=preprocessor.label,
        groups=preprocessor.groups,
        description=preprocessor.description,
        options=options_schema(preprocessor.options, names),
    )
