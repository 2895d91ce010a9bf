"""Hypernetworks at work: hooks on the layers that make keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from extensions.hypernetworks.networks import load_hypernetwork
from webui.extending.api import GenerationError
from webui.extending.computing import Run

BRANCHES = ("to_k", "to_v")


@contextmanager
def apply(run: Run) -> Iterator[None]:
    """Let what keys and values are made of first go through the plan's hypernetworks while `run` goes on.

    (A1111: x + strength · network(x), wherever attention has a width that the file knows, one network after the other.)
    """
    if run.family is not run.plan.model.family:
        run.note(f"Hypernetworks rest while a model of another family ({run.family.value}) goes on.")
        yield
        return
    place = {index: at for at, index in enumerate(run.facts["images"])}
    with ExitStack() as closing:
        for number, each in enumerate(run.facts["networks"]):
            told = each["second" if run.is_second else "strengths"]
            strengths = [float(told[place[image.index]]) for image in run.images]
            if not any(strengths):
                continue
            network = load_hypernetwork(Path(each["path"])).to(run.dtype)
            changes = closing.enter_context(run.lodge(f"hypernetwork {number}", network))
            closing.enter_context(_hooked(run, changes, strengths, str(each["name"])))
        yield


@contextmanager
def _hooked(run: Run, changes: nn.Module, strengths: Sequence[float], name: str) -> Iterator[None]:
    handles = []
    for path, layer in run.network.named_modules():
        leaf = path.rpartition(".")[2]
        width = str(getattr(layer, "in_features", ""))
        if leaf in BRANCHES and isinstance(changes, nn.ModuleDict) and width in changes:
            branch = changes[width][BRANCHES.index(leaf)]
            handles.append(layer.register_forward_pre_hook(_Change(run, branch, strengths)))
    try:
        if not handles:
            raise GenerationError(
                f"The hypernetwork {name} has no layers for the attention of this model.",
                hint="It was trained for another kind of model.",
                field="prompt",
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Change:
    """Adds to what a layer is given what a network makes of it, as strongly as each row's image wants it."""

    def __init__(self, run: Run, network: nn.Module, strengths: Sequence[float]) -> None:
        self._run, self._network, self._strengths = run, network, strengths

    def __call__(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given, *rest = arguments
        return (given + self._network(given) * self._strength(given), *rest)

    def _strength(self, given: Tensor) -> Tensor | float:
        if len(set(self._strengths)) == 1:
            return self._strengths[0]
        rows = [self._strengths[row.image] for row in self._run.moment.rows]
        if len(given) % len(rows):
            raise GenerationError(
                "Hypernetworks of different strengths in one batch do not go with an extension that adds rows to it.",
                hint="Give all images of a batch the same <hypernet:…> tags.",
            )
        each = torch.tensor(rows * (len(given) // len(rows)), dtype=given.dtype)
        return self._run.place(each).view(-1, 1, 1)
