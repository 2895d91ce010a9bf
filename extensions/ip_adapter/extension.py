"""IP-Adapter: pictures that are said like words (Ye et al. 2023, arXiv:2308.06721)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from extensions.ip_adapter.arguments import read_arguments
from extensions.ip_adapter.handed import take_units
from extensions.ip_adapter.infotext import INFOTEXT
from extensions.ip_adapter.options import IpAdapterOptions
from extensions.ip_adapter.planning import tell
from webui.extending.api import ExtensionApi, Panel

if TYPE_CHECKING:
    from extensions.ip_adapter.seeing import Seeing
    from webui.extending.computing import Run


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="IP-Adapter",
            options=IpAdapterOptions,
            aliases=("ip-adapter", "ip_adapter"),
            read_arguments=read_arguments,
            description="Takes over what is in pictures, as if it had been said in words.",
        )
    )
    api.add_infotext(INFOTEXT)
    api.change_request(take_units)
    api.change_plan(tell)
    api.patch(_enter_in_worker())


def _enter_in_worker() -> Callable[[Run], AbstractContextManager[None]]:
    """Return the hook, which imports torch from its first use on and remembers what was seen."""
    known: list[Seeing] = []

    def enter(run: Run) -> AbstractContextManager[None]:
        from extensions.ip_adapter.seeing import Seeing

        if not known:
            known.append(Seeing())
        return known[0].enter(run)

    return enter
