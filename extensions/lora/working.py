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
from extensions.lora.tags import Ask, read_parts, read_tags
from webui.extending.api import BadFile

if TYPE_CHECKING:
    from extensions.lora.algorithms import Adapter
    from extensions.lora.combining import Member, Scene
    from extensions.lora.merging import Part
    from extensions.lora.names import Index, Site
    from webui.extending.computing import Combine, Denoise, Resident, Run

REGIONS = "regional_prompts"
"""The extension whose plans have prompts in parts, joined by AND, each for a region: the networks of a part act
on that region alone. What they do to text encoders is done for the words of all parts."""

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
        parts = _parts_of_prompt(run)
        each = parts[0] if len(parts) == 1 else tuple(dict.fromkeys(ask for part in parts for ask in part))
        members = read_members(run, facts, each)
        asks = [member.ask for member in members]
        branches = [[number for number, ask in enumerate(asks) if ask in part] for part in parts]
        scene = Scene(run.model, members, facts, branches if len({*map(tuple, branches)}) > 1 else ())
        with scene.open():
            self._scenes[run.model] = scene
            try:
                yield
            finally:
                del self._scenes[run.model]

    def wrap(self, denoise: Denoise, run: Run) -> Denoise:
        """Return the guided denoiser of a run whose networks change from step to step."""
        return self._scenes[run.model].wrap(denoise, run)

    def guide(self, default: Combine, run: Run) -> Combine:
        """Return how predictions are combined where regions have networks of their own."""
        return self._scenes[run.model].guide(default, run)


def read_members(run: Run, facts: LoraFacts, asks: Sequence[Ask]) -> list[Member]:
    """Return the networks that `asks` name, and tell the user how much of each fits.

    Networks of another family are left out with a note: they are for the model of another part of the run.
    """
    from extensions.lora.combining import Member
    from extensions.lora.files import read_network
    from extensions.lora.names import index

    members: list[Member] = []
    places = index(run.model)
    for ask in asks:
        file = facts.networks[ask.name]
        if not suits(file.family, run.family):
            run.note(f"<lora:{ask.name}> does not act on {run.model.checkpoint.path.stem}: it is of another family.")
            continue
        words = WORDS.get(run.family, run.family.value)
        try:
            network = read_network(file.path, ask.name, places, words)
        except BadFile as error:
            if run.family is run.plan.model.family:
                raise
            run.note(error.message)
            continue
        log.info("%s", network.report)
        if run.images[0].index == 0 and not run.is_second:
            run.note(str(network.report))
        blocks = read_blocks(ask.blocks, run.family)
        members.append(Member(ask, file.sha256, _parts(network.layers, ask, blocks, places)))
    return members


def _parts_of_prompt(run: Run) -> tuple[tuple[Ask, ...], ...]:
    """Return the networks that the prompt of the run's images names, by its parts where these hold in regions."""
    image = run.images[0]
    second = run.is_second and image.hires_prompt is not None
    prompt = image.hires_prompt or "" if second else image.prompt
    return read_parts(prompt) if REGIONS in run.plan.extensions else (read_tags(prompt),)


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
