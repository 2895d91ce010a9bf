"""The networks of one checkpoint and their place in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from webui.weights.loading.load import Networks
from webui.weights.loading.quantised import cast, recast
from webui.weights.loading.tokenizers import PieceTokenizer, Tokenizer
from webui.weights.memory.alterations import Alteration, Tensors, Weights, give, take
from webui.weights.memory.devices import drop_what_it_held, free_unused, is_out_of_memory, measure_room
from webui.weights.memory.placement import Placement
from webui.weights.memory.streaming import align, start_streaming, stop_streaming
from webui.weights.memory.teaching import lay_out, teach
from webui.weights.memory_plan.facts import MemoryMode
from webui.weights.memory_plan.plan import MODES, SMALL_VAE, choose_tile

log = logging.getLogger(__name__)

_KEPT_FREE = 2 * 2**30  # bytes, for what is computed
MakeRoom = Callable[["Resident"], bool]
"""Sends all models but the given one home; tells whether there were any on the device."""

_MODES_IN_WORDS: Mapping[MemoryMode, str] = {
    "medvram": "one part of the model is on the device at a time",
    "lowvram": "the model comes to the device layer by layer",
}


class Resident:
    """The networks of one checkpoint and their place in memory."""

    def __init__(self, networks: Networks, placement: Placement, make_room: MakeRoom = lambda _: False) -> None:
        self.checkpoint = networks.checkpoint
        self.tokenizers: Mapping[str, Tokenizer] = networks.tokenizers  # by text encoder
        self.piece_tokenizers: Mapping[str, PieceTokenizer] = networks.piece_tokenizers  # T5's
        self.placement = placement
        self.encoder = self.decoder = "vae"  # the components that do it
        self._networks: dict[str, nn.Module] = dict(networks.networks)
        self.vae_is_small = "vae" in self._networks and _is_small(self._networks["vae"])
        # Going back home costs no copy: the weights on the CPU (mostly file pages) are never given up.
        self._home = {component: Weights(network.state_dict()) for component, network in self._networks.items()}
        self._make_room = make_room
        self._streamed: set[str] = set()
        self._in_use: list[str] = []
        self._notes: list[str] = []
        self._taught = ""  # the key of the words that were taught
        for component, device in placement.elsewhere.items():
            align(self._networks[component], device)
        self.is_awake = False
        self.wake()

    # -- placing -------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Bring the networks to the device; in saving modes, or without room for all, each comes when it is needed."""
        while not self.is_awake:
            try:
                self._occupy()
                self.is_awake = True
            except Exception as error:
                mode = self._next_mode()
                if mode is None or not is_out_of_memory(error):
                    raise
                self.rest()
                free_unused()
                self.placement = replace(self.placement, mode=mode)
                self.note(_MODES_IN_WORDS[mode])

    def _occupy(self) -> None:
        for component, network in self._networks.items():
            if self._should_stream(component):
                self._stream(component)
            elif self.placement.mode == "normal":
                network.to(self.placement.device_of(component))

    def rest(self) -> None:
        """Send the networks home, until `wake`: what they took on the device is free for another model."""
        for component in self._networks:
            self._send_home(component)
        self.is_awake = False

    def change_placement(self, placement: Placement) -> None:
        """Share the device's memory in another way from now on; networks in use stay in use.

        Precisions stay as they are.
        """
        before, self.placement = self.placement, replace(placement, dtypes=self.placement.dtypes)
        if (before.mode, before.streamed) == (placement.mode, placement.streamed) or not self.is_awake:
            return
        self.rest()
        free_unused()
        self.wake()
        for component in self._in_use:
            self._bring(component)

    def save_memory(self, lowest: MemoryMode = "lowvram") -> bool:
        """Share the device's memory more sparingly, down to a mode; tell whether that was possible."""
        if self.placement.device.type == "cpu":
            return False
        if self._make_room(self):
            self.note("other models were sent off the device")
            return True
        mode = self._next_mode() if self.placement.mode != lowest else None
        if mode is not None:
            self.change_placement(replace(self.placement, mode=mode))
            self.note(_MODES_IN_WORDS[mode])
        return mode is not None

    def _next_mode(self) -> MemoryMode | None:
        later = MODES[MODES.index(self.placement.mode) + 1 :]
        return later[0] if later else None

    @contextmanager
    def on_device(self, component: str) -> Iterator[nn.Module]:
        """Give `component`, ready to compute. Saving modes first send home whatever else occupies the device.

        Where the device has no room for it, memory is shared more sparingly until it has.
        """
        self._bring_somehow(component)
        self._in_use.append(component)
        try:
            yield self._networks[component]
        finally:
            self._in_use.remove(component)
            if self._in_use:  # a preview was drawn between two steps
                self._bring(self._in_use[-1])

    def _bring_somehow(self, component: str) -> None:
        while True:
            try:
                self._bring(component)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                drop_what_it_held(error)
                if not self.save_memory():
                    raise

    def _bring(self, component: str) -> None:
        if self.placement.mode == "normal":
            return
        for other in self._networks.keys() - {component} - self._streamed:
            if not (self._is_light(component) or self._is_light(other)):
                self._send_home(other)
        if component not in self._streamed:
            self._networks[component].to(self.placement.device_of(component))

    def _send_home(self, component: str) -> None:
        if component in self._streamed:
            stop_streaming(self._networks[component])
            self._streamed.remove(component)
        self._home[component].take_home()
        self._networks[component].load_state_dict(self._home[component].now, assign=True)

    def _should_stream(self, component: str) -> bool:
        if component in self._streamed or component in self.placement.elsewhere:
            return False
        asked = component in self.placement.streamed and self.placement.mode != "normal"
        return asked or (self.placement.mode == "lowvram" and component == self.denoiser)

    def _stream(self, component: str) -> None:
        start_streaming(self._networks[component], self.placement.device, pinned=self.placement.pinned)
        self._streamed.add(component)

    def _is_light(self, component: str) -> bool:
        """Tell whether `component` takes so little memory that it may stay beside any other."""
        if component in self.placement.elsewhere:
            return True
        return self.vae_is_small if component == "vae" else component not in self.checkpoint.components

    # -- networks ------------------------------------------------------------------------------------------------------

    @property
    def denoiser(self) -> str:
        """The name of the component that sees clean latents in noisy ones."""
        return self.checkpoint.denoiser

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the components."""
        return tuple(self._networks)

    def network(self, component: str) -> nn.Module:
        """Return `component` where it is."""
        return self._networks[component]

    def exchange(self, component: str, network: nn.Module | None) -> nn.Module | None:
        """Let `network`, which is on the CPU, be `component` from now on; return what was, sent home. None: nothing."""
        before = self._networks.get(component)
        if before is not None:
            self._send_home(component)
        if network is None:
            del self._networks[component], self._home[component]
            return before
        self._networks[component], self._home[component] = network, Weights(network.state_dict())
        if component == "vae":
            self.vae_is_small = _is_small(network)
        if self._should_stream(component):
            self._stream(component)
        elif self.is_awake:
            self._settle(component)
        return before

    def _settle(self, component: str) -> None:
        """Bring what is new to the device if all shall be there; without room, memory is shared more sparingly."""
        while self.placement.mode == "normal":
            try:
                self._networks[component].to(self.placement.device_of(component))
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                drop_what_it_held(error)
                if not self.save_memory():
                    raise

    @contextmanager
    def coding_with(self, *, encoder: str | None = None, decoder: str | None = None) -> Iterator[None]:
        """Let other components encode and decode pictures while the block runs."""
        before = self.encoder, self.decoder
        self.encoder, self.decoder = encoder or self.encoder, decoder or self.decoder
        try:
            yield
        finally:
            self.encoder, self.decoder = before

    def dtype(self, component: str) -> torch.dtype:
        """Return the precision `component` computes in."""
        weights = self._home[component].own.values()
        return next(tensor.dtype for tensor in weights if tensor.is_floating_point())  # quantised ones have none

    def recast(self, component: str, dtype: torch.dtype) -> None:
        """Let `component` compute in another precision from now on."""
        self._send_home(component)
        network, home = self._networks[component], self._home[component]
        home.own = {name: cast(tensor, dtype) for name, tensor in home.own.items()}
        for alteration in home.alterations:
            alteration.tensors = {name: tensor.to(dtype) for name, tensor in alteration.tensors.items()}
        network.load_state_dict(home.now, assign=True)
        recast(network, dtype)
        if self._should_stream(component):
            self._stream(component)
        else:
            network.to(self.placement.device_of(component))

    # -- altering ------------------------------------------------------------------------------------------------------

    def weights(self, component: str) -> Mapping[str, Tensor]:
        """Return what `component` computes with, by name, each tensor where it is now; those that are on the device
        anyhow can be read there."""
        return self._home[component].now if component in self._streamed else self._networks[component].state_dict()

    def own_weights(self, component: str) -> Mapping[str, Tensor]:
        """Return the weights of `component` without what alters it, by name, on the CPU."""
        return self._home[component].own

    @contextmanager
    def altered(self, component: str, tensors: Tensors, key: str) -> Iterator[None]:
        """Let `component` compute with `tensors` in place of those of the same names while the block runs.

        Blocks may lie within each other. Afterwards all is what it was, to the bit; of what is not altered there is no
        copy. Pairs of name and tensor are taken one after the other, so they may be made of the own ones meanwhile.
        `key` says what the tensors make of the component: prompts are encoded anew for each. Raises `ValueError` when
        the tensors are not those of the component, or cannot take their place because these are quantised.
        """
        home, alteration = self._home[component], Alteration(key)
        home.alterations.append(alteration)
        try:
            for name, tensor in tensors.items() if isinstance(tensors, Mapping) else tensors:
                self._cover(component, alteration, name, home.fit(name, tensor))
            self._restream(component)
            yield
        finally:
            home.alterations.remove(alteration)
            self._uncover(component, alteration)

    def _cover(self, component: str, alteration: Alteration, name: str, tensor: Tensor) -> None:
        if component in self._streamed:
            alteration.tensors[name] = tensor
            return
        own = take(self._networks[component], name)
        if own.device.type != "cpu" and measure_room(own.device) > _KEPT_FREE + own.numel() * own.itemsize:
            alteration.covered[name] = own  # to keep it spares the way back from the CPU
        alteration.tensors[name] = tensor.to(own.device)
        give(self._networks[component], name, alteration.tensors[name])

    def _uncover(self, component: str, alteration: Alteration) -> None:
        if self._restream(component):
            return
        network, home = self._networks[component], self._home[component].now
        for name in alteration.tensors:
            before = alteration.covered.pop(name, home[name])
            give(network, name, before.to(take(network, name).device))

    def room(self, component: str) -> int:
        """Return the bytes that are free for further tensors where those of `component` are now, beside what is
        computed."""
        own = next(iter(self.weights(component).values()))
        return max(measure_room(own.device) - _KEPT_FREE, 0)

    def _restream(self, component: str) -> bool:
        """Let a component that is streamed be streamed with the weights that it has now; tell whether it is one."""
        if component not in self._streamed:
            return False
        self._send_home(component)
        self._stream(component)
        return True

    @property
    def wording(self) -> tuple[str, ...]:
        """The keys of what makes prompts another condition than the text encoders alone do."""
        encoders = self.checkpoint.text_encoders
        altered = tuple(each.key for encoder in encoders for each in self._home[encoder].alterations)
        return (*altered, self._taught) if self._taught else altered

    @contextmanager
    def taught(self, words: Mapping[str, Mapping[str, Tensor]], key: str) -> Iterator[None]:
        """Let text encoders read vectors [n,D] for words while the block runs: `words` has them by component and word.

        `key` says what the words stand for: prompts are encoded anew for each. Raises `ValueError` for vectors of
        another width than the text encoder's, and inside another such block.
        """
        if self._taught:
            raise ValueError("words are taught already")
        before = self.tokenizers
        with ExitStack() as closing:
            for component, vectors in words.items():
                network = self._networks[component]
                own = network.get_input_embeddings().weight.shape[-1]
                if wrong := next((name for name, each in vectors.items() if each.shape[-1] != own), None):
                    raise ValueError(f"the vectors of {wrong!r} are not {own} numbers long")
                known, table = lay_out(vectors)
                self.tokenizers = {**self.tokenizers, component: self.tokenizers[component].taught(known)}
                closing.enter_context(teach(network, table))
            self._taught = key
            try:
                yield
            finally:
                self._taught, self.tokenizers = "", before

    # -- tensors -------------------------------------------------------------------------------------------------------

    def place(self, tensor: Tensor, component: str | None = None) -> Tensor:
        """Return `tensor` on the device, or on that which `component` computes on."""
        return tensor.to(self.placement.device if component is None else self.placement.device_of(component))

    def vae_tile(self, component: str, latents: tuple[int, int]) -> int | None:
        """Return the side of the tiles in which `component` best decodes `latents` (width, height) now; None: whole."""
        room = measure_room(self.placement.device_of(component))
        return choose_tile(room, dict(self._networks[component].config), self.dtype(component).itemsize, latents)

    # -- telling -------------------------------------------------------------------------------------------------------

    def note(self, done: str) -> None:
        """Remember for the user what was done for want of memory."""
        log.warning("Too little memory on %s: %s.", self.placement.device, done)
        self._notes.append(done)

    def take_notes(self) -> list[str]:
        """Return what was noted since this was asked last."""
        notes, self._notes = self._notes, []
        return notes

    def weigh(self) -> int:
        """Return the bytes of all weights."""
        return sum(home.size for home in self._home.values())


def _is_small(vae: nn.Module) -> bool:
    return sum(tensor.numel() for tensor in vae.parameters()) < SMALL_VAE
