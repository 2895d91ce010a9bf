"""The worker's side: the networks that the prompts of a run name act while it goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from extensions.lora.blocks import BASE, read_blocks
from extensions.lora.options import LoraFacts
from extensions.lora.planning import WORDS, suits
from extensions.lora.tags import Ask, read_tags

if TYPE_CHECKING:
    from extensions.lora.algorithms import Adapter
    from extensions.lora.combining import Member, Scene
    from extensions.lora.merging import Part
    from extensions.lora.names import Index, Site
    from webui.extending.computing import Denoise, Resident, Run

log = logging.getLogger(__name__)


class Work:
    """What goes on for each model, from the beginning of a run to its end."""

    def __init__(self) -> None:
        self._scenes: WeakKeyDictionary[Resident, Scene] = WeakKeyDictionary()

    @contextmanager
    def enter(self, run: Run) -> Iterator[None]:
        """Let the networks of a run act while the block runs."""
        from extensions.lora.combining import Scene

        facts = LoraFacts.model_validate(dict(run.facts))
        scene = Scene(run.model, read_members(run, facts), facts)
        with scene.open():
            self._scenes[run.model] = scene
            try:
                yield
            finally:
                del self._scenes[run.model]

    def wrap(self, denoise: Denoise, run: Run) -> Denoise:
        """Return the guided denoiser of a run whose networks change from step to step."""
        return self._scenes[run.model].wrap(denoise, run)


def read_members(run: Run, facts: LoraFacts) -> list[Member]:
    """Return the networks that the prompt of the run's images names, and tell the user how much of each fits.

    Networks of another family, for the model of the other pass, are left out with a note.
    """
    from extensions.lora.combining import Member
    from extensions.lora.files import read_network
    from extensions.lora.names import index

    members: list[Member] = []
    places = index(run.model)
    for ask in _asks(run):
        file = facts.networks[ask.name]
        if not suits(file.family, run.family):
            run.note(f"<lora:{ask.name}> does not act on {run.model.checkpoint.path.stem}: it is of another family.")
            continue
        words = WORDS.get(run.family, run.family.value)
        network = read_network(file.path, ask.name, places, words)
        log.info("%s", network.report)
        if run.images[0].index == 0 and not run.is_second:
            run.note(str(network.report))
        blocks = read_blocks(ask.blocks, run.family)
        members.append(Member(ask, file.sha256, _parts(network.layers, ask, blocks, places)))
    return members


def _asks(run: Run) -> Sequence[Ask]:
    image = run.images[0]
    second = run.is_second and image.hires_prompt is not None
    return read_tags(image.hires_prompt or "" if second else image.prompt)


def _parts(
    layers: Sequence[tuple[Site, Adapter]], ask: Ask, blocks: Mapping[str, float], places: Index
) -> dict[str, tuple[Part, ...]]:
    """Return a network's layers by component, each as strong as the prompt asks it to be; none at strength 0."""
    from extensions.lora.merging import Part

    parts: dict[str, list[Part]] = {}
    for site, adapter in layers:
        if site.component == places.denoiser:
            strength = ask.unet * blocks.get(site.block or "", 1.0)
        else:
            strength = ask.te * blocks.get(BASE, 1.0)
        if strength != 0:
            parts.setdefault(site.component, []).append(Part(ask.name, site, adapter, strength, ask.rank))
    return {component: tuple(found) for component, found in parts.items()}
