"""Where weights live and in which precision they compute: the only place that moves anything between devices."""

from __future__ import annotations

import gc
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psutil
import torch
from torch import Tensor, nn

from webui.domain.models import Family
from webui.domain.plan import ModelRef
from webui.weights.checkpoint import Checkpoint, count_parameters, is_text_encoder
from webui.weights.load import Networks, load
from webui.weights.tokenizers import PieceTokenizer, Tokenizer

log = logging.getLogger(__name__)

MemoryMode = Literal["normal", "medvram", "lowvram"]

# Below this many parameters a network's VAE is kept on the device in every mode, and cheap enough for previews.
SMALL_VAE = 5_000_000
# Smaller networks gain nothing from bf16 on a CPU (benchmarks/cpu_dtype.py).
WORTH_BF16_ON_CPU = 20_000_000
# From so many parameters on a text encoder is kept in half precision on a CPU too: T5-XXL would take 19 GB.
LARGE_TEXT_ENCODER = 1_000_000_000
# Families whose networks leave the range of fp16.
_OVERFLOWING = frozenset({Family.FLUX})
MOST_MODELS = 2  # kept in memory at a time
# Latents, activations and the caches of libraries, roughly; on top of the weights.
_WORKING_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class EngineOptions:
    """What the user decided about devices at start-up; the names are those of A1111's flags."""

    use_cpu: frozenset[str] = frozenset()  # "all" and "sd" both mean the whole engine
    memory_mode: Literal["auto", "normal", "medvram", "lowvram"] = "auto"
    half: bool = True
    half_vae: bool = True
    precision: Literal["auto", "full", "half"] = "auto"
    threads: int | None = None  # of the CPU; None leaves torch's choice


@dataclass(frozen=True)
class Placement:
    """The device, the precision of each component, and how many components share the device's memory."""

    device: torch.device
    dtypes: Mapping[str, torch.dtype]
    mode: MemoryMode = "normal"

    def place(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the device."""
        return tensor.to(self.device)


def choose_device(options: EngineOptions) -> torch.device:
    """Return the fastest device the user allows."""
    if options.use_cpu & {"all", "sd"}:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_placement(options: EngineOptions, checkpoint: Checkpoint) -> Placement:
    """Return where and how the networks of `checkpoint` should compute on this machine."""
    device = choose_device(options)
    parameters = {component: count_parameters(checkpoint, component) for component in checkpoint.components}
    half = torch.bfloat16 if checkpoint.family in _OVERFLOWING else torch.float16
    dtypes = {
        component: _choose_dtype(options, device, component, count, half) for component, count in parameters.items()
    }
    if device.type != "cuda":
        return Placement(device, dtypes)
    needed = sum(count * dtypes[component].itemsize for component, count in parameters.items())
    return Placement(device, dtypes, _choose_mode(options, needed))


def _choose_dtype(
    options: EngineOptions, device: torch.device, component: str, parameters: int, half: torch.dtype
) -> torch.dtype:
    full = not options.half or options.precision == "full" or (component == "vae" and not options.half_vae)
    if full or device.type == "mps":
        return torch.float32
    if device.type == "cuda":
        return half
    # fp16 arithmetic on a CPU is up to 170 times slower than fp32, so it is not on offer here. Text encoders run
    # once per prompt: keeping them in fp32 costs nothing that can be felt and keeps the conditioning exact, unless
    # they are as large as T5.
    light = is_text_encoder(component) and parameters < LARGE_TEXT_ENCODER
    wanted = not light and (options.precision == "half" or parameters >= WORTH_BF16_ON_CPU)
    return torch.bfloat16 if wanted and _cpu_computes_bf16() else torch.float32


def _cpu_computes_bf16() -> bool:
    # torch before 2.12 has no public way to ask; such a CPU computes in fp32.
    ask = getattr(torch.cpu, "get_capabilities", None)
    capabilities = ask() if ask is not None else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _choose_mode(options: EngineOptions, needed: int) -> MemoryMode:
    if options.memory_mode != "auto":
        return options.memory_mode
    free, _ = torch.cuda.mem_get_info()
    return "normal" if needed + _WORKING_MEMORY <= free else "medvram"


class Resident:
    """The networks of one checkpoint and their place in memory."""

    def __init__(self, networks: Networks, placement: Placement) -> None:
        self.checkpoint = networks.checkpoint
        self.tokenizers: Mapping[str, Tokenizer] = networks.tokenizers  # by text encoder
        self.piece_tokenizers: Mapping[str, PieceTokenizer] = networks.piece_tokenizers  # T5's
        self.placement = placement
        self.encoder = self.decoder = "vae"  # the components that do it
        self._networks: dict[str, nn.Module] = dict(networks.networks)
        self.vae_is_small = _is_small(self._networks["vae"])
        # Going back home costs no copy: the weights on the CPU (mostly file pages) are never given up.
        self._home = {component: network.state_dict() for component, network in self._networks.items()}
        self._streamed: set[str] = set()
        if placement.mode == "lowvram":
            networks.networks[self.checkpoint.denoiser].enable_group_offload(
                onload_device=placement.device, offload_device=torch.device("cpu"), offload_type="leaf_level"
            )
            self._streamed.add(self.checkpoint.denoiser)
        self._in_use: list[str] = []
        self.is_awake = False
        self.wake()

    def wake(self) -> None:
        """Bring the networks to the device; in saving modes each comes when it is needed."""
        if self.placement.mode == "normal" and not self.is_awake:
            for network in self._networks.values():
                network.to(self.placement.device)
        self.is_awake = True

    def rest(self) -> None:
        """Send the networks home, until `wake`: what they took on the device is free for another model."""
        for component in self._networks.keys() - self._streamed:
            self._networks[component].load_state_dict(self._home[component], assign=True)
        self.is_awake = False

    @property
    def denoiser(self) -> str:
        """The name of the component that sees clean latents in noisy ones."""
        return self.checkpoint.denoiser

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the components."""
        return tuple(self._networks)

    @contextmanager
    def on_device(self, component: str) -> Iterator[nn.Module]:
        """Give `component`, ready to compute. Saving modes first send home whatever else occupies the device."""
        self._bring(component)
        self._in_use.append(component)
        try:
            yield self._networks[component]
        finally:
            self._in_use.remove(component)
            if self._in_use:  # a preview was drawn between two steps
                self._bring(self._in_use[-1])

    def _bring(self, component: str) -> None:
        if self.placement.mode == "normal":
            return
        for other in self._networks.keys() - {component} - self._streamed:
            if not (self._is_light(component) or self._is_light(other)):
                self._networks[other].load_state_dict(self._home[other], assign=True)
        if component not in self._streamed:
            self._networks[component].to(self.placement.device)

    def _is_light(self, component: str) -> bool:
        """Tell whether `component` takes so little memory that it may stay beside any other."""
        return self.vae_is_small if component == "vae" else component not in self.checkpoint.components

    def network(self, component: str) -> nn.Module:
        """Return `component` where it is."""
        return self._networks[component]

    def exchange(self, component: str, network: nn.Module | None) -> nn.Module | None:
        """Let `network`, which is on the CPU, be `component` from now on; return what was, sent home. None: nothing."""
        before = self._networks.get(component)
        if before is not None:
            before.load_state_dict(self._home[component], assign=True)
        if network is None:
            del self._networks[component], self._home[component]
            return before
        self._networks[component], self._home[component] = network, network.state_dict()
        if component == "vae":
            self.vae_is_small = _is_small(network)
        if self.placement.mode == "normal" and self.is_awake:
            network.to(self.placement.device)
        return before

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
        return next(iter(self._home[component].values())).dtype

    def recast(self, component: str, dtype: torch.dtype) -> None:
        """Let `component` compute in another precision from now on."""
        network = self._networks[component]
        network.load_state_dict({name: tensor.to(dtype) for name, tensor in self._home[component].items()}, assign=True)
        self._home[component] = network.state_dict()
        if component not in self._streamed:
            network.to(self.placement.device)

    def place(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the device."""
        return self.placement.place(tensor)

    def weigh(self) -> int:
        """Return the bytes of all weights."""
        return sum(tensor.numel() * tensor.itemsize for home in self._home.values() for tensor in home.values())


def _is_small(vae: nn.Module) -> bool:
    return sum(tensor.numel() for tensor in vae.parameters()) < SMALL_VAE


class ModelCache:
    """Keeps the models that were used last: two where memory allows, since a refiner or a second pass takes turns with
    the first. On a GPU without room for both, the one that waits is sent home."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._kept: OrderedDict[tuple[str, str], tuple[str, Resident]] = OrderedDict()  # by key; the latest comes last

    @property
    def residents(self) -> Sequence[tuple[str, Resident]]:
        """The models in memory, with their names; the one that was used last comes last."""
        return list(self._kept.values())

    def holds(self, model: ModelRef) -> bool:
        """Tell whether `model` is in memory."""
        return _key(model) in self._kept

    def use(self, model: ModelRef) -> Resident | None:
        """Return `model`, ready to compute, if it is in memory."""
        if not self.holds(model):
            return None
        self._kept.move_to_end(_key(model))
        _, resident = self._kept[_key(model)]
        if resident.placement.mode != "normal" or not (resident.is_awake or _has_room(resident)):
            self._send_others_home(resident)
        resident.wake()
        return resident

    def make_room(self, checkpoint: Checkpoint) -> None:
        """Let go of the models that memory does not hold beside that of `checkpoint`.

        What they take is free when nobody else refers to them any more.
        """
        needed = _weigh(checkpoint, choose_placement(self._options, checkpoint))
        if psutil.virtual_memory().available < needed + _WORKING_MEMORY:
            self._kept.clear()
        while len(self._kept) >= MOST_MODELS:
            self._kept.popitem(last=False)

    def load(self, model: ModelRef, checkpoint: Checkpoint) -> Resident:
        """Return `model`, freshly loaded from the files of `checkpoint`; raise `BadFile` when they do not fit."""
        free_unused()
        placement = choose_placement(self._options, checkpoint)
        if placement.mode != "normal" and self._kept:
            self._send_others_home(None)
            placement = choose_placement(self._options, checkpoint)
        resident = Resident(load(checkpoint, placement.dtypes), placement)
        self._kept[_key(model)] = model.name, resident
        log.info("Loaded %s on %s (%s).", model.name, placement.device, placement.dtypes[checkpoint.denoiser])
        return resident

    def release(self) -> None:
        """Let go of all models and give their memory back."""
        self._kept.clear()
        free_unused()

    def _send_others_home(self, active: Resident | None) -> None:
        for _, resident in self._kept.values():
            if resident is not active:
                resident.rest()
        free_unused()


def _key(model: ModelRef) -> tuple[str, str]:
    return str(model.path), model.sha256


def _weigh(checkpoint: Checkpoint, placement: Placement) -> int:
    """Return the bytes that the weights of `checkpoint` will take."""
    return sum(count_parameters(checkpoint, part) * dtype.itemsize for part, dtype in placement.dtypes.items())


def _has_room(resident: Resident) -> bool:
    """Tell whether a model that rests fits on the device beside what is there."""
    if resident.placement.device.type != "cuda":
        return True
    free_unused()
    free, _ = torch.cuda.mem_get_info()
    return resident.weigh() + _WORKING_MEMORY <= free


def free_unused() -> None:
    """Return memory that nothing refers to any more to the device and the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` is the device or the system refusing memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error).lower() for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )


def fetch(tensor: Tensor) -> Tensor:
    """Return `tensor` on the CPU."""
    return tensor.cpu()


def settle(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Let a network that belongs to no checkpoint compute on `device` in `dtype`."""
    network.to(device=device, dtype=dtype)
