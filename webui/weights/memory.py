"""Where weights live and in which precision they compute: the only place that moves anything between devices."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from webui.domain.plan import ModelRef
from webui.weights.identify import COMPONENTS, Checkpoint, count_parameters
from webui.weights.load import Networks, load
from webui.weights.tokenizers import Tokenizer

log = logging.getLogger(__name__)

MemoryMode = Literal["normal", "medvram", "lowvram"]

# Below this many parameters a network's VAE is kept on the device in every mode, and cheap enough for previews.
SMALL_VAE = 5_000_000
# Smaller networks gain nothing from bf16 on a CPU (benchmarks/cpu_dtype.py).
WORTH_BF16_ON_CPU = 20_000_000
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
    parameters = {component: count_parameters(checkpoint, component) for component in COMPONENTS}
    dtypes = {component: _choose_dtype(options, device, component, parameters[component]) for component in COMPONENTS}
    if device.type != "cuda":
        return Placement(device, dtypes)
    needed = sum(parameters[component] * dtypes[component].itemsize for component in COMPONENTS)
    return Placement(device, dtypes, _choose_mode(options, needed))


def _choose_dtype(options: EngineOptions, device: torch.device, component: str, parameters: int) -> torch.dtype:
    full = not options.half or options.precision == "full" or (component == "vae" and not options.half_vae)
    if full or device.type == "mps":
        return torch.float32
    if device.type == "cuda":
        return torch.float16
    # fp16 arithmetic on a CPU is up to 170 times slower than fp32, so it is not on offer here. The text encoder runs
    # once per prompt: keeping it in fp32 costs nothing that can be felt and keeps the conditioning exact.
    wanted = component != "text_encoder" and (options.precision == "half" or parameters >= WORTH_BF16_ON_CPU)
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
        self.tokenizer: Tokenizer = networks.tokenizer
        self.placement = placement
        self.vae_is_small = sum(tensor.numel() for tensor in networks.vae.parameters()) < SMALL_VAE
        self._networks: dict[str, nn.Module] = {
            "unet": networks.unet,
            "vae": networks.vae,
            "text_encoder": networks.text_encoder,
        }
        # Going back home costs no copy: the weights on the CPU (mostly file pages) are never given up.
        self._home = {component: network.state_dict() for component, network in self._networks.items()}
        self._streamed: set[str] = set()
        if placement.mode == "lowvram":
            networks.unet.enable_group_offload(
                onload_device=placement.device, offload_device=torch.device("cpu"), offload_type="leaf_level"
            )
            self._streamed.add("unet")
        if placement.mode == "normal":
            for network in self._networks.values():
                network.to(placement.device)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the components."""
        return tuple(self._networks)

    @contextmanager
    def on_device(self, component: str) -> Iterator[nn.Module]:
        """Give `component`, ready to compute. Saving modes first send home whatever else occupies the device."""
        network = self._networks[component]
        if self.placement.mode != "normal":
            for other in self._networks.keys() - {component} - self._streamed:
                if other != "vae" or not self.vae_is_small:
                    self._networks[other].load_state_dict(self._home[other], assign=True)
            if component not in self._streamed:
                network.to(self.placement.device)
        yield network

    def dtype(self, component: str) -> torch.dtype:
        """Return the precision `component` computes in."""
        return next(iter(self._home[component].values())).dtype

    def recast(self, component: str, dtype: torch.dtype) -> None:
        """Let `component` compute in another precision from now on."""
        network = self._networks[component]
        network.load_state_dict({name: tensor.to(dtype) for name, tensor in self._home[component].items()}, assign=True)
        self._home[component] = network.state_dict()
        network.to(self.placement.device)

    def place(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the device."""
        return tensor.to(self.placement.device)

    def weigh(self) -> int:
        """Return the bytes of all weights."""
        return sum(tensor.numel() * tensor.itemsize for home in self._home.values() for tensor in home.values())


class ModelCache:
    """Keeps the last model in memory; loading another one lets go of it first."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._key: tuple[str, str] | None = None
        self._resident: Resident | None = None
        self.name: str | None = None

    @property
    def resident(self) -> Resident | None:
        """The model in memory, whichever it is."""
        return self._resident

    def current(self, model: ModelRef) -> Resident | None:
        """Return `model` if it is the one in memory."""
        return self._resident if self._key == _key(model) else None

    def load(self, model: ModelRef, checkpoint: Checkpoint) -> Resident:
        """Return `model`, freshly loaded from the files of `checkpoint`; raise `BadFile` when they do not fit."""
        placement = choose_placement(self._options, checkpoint)
        self.release()
        self._resident = Resident(load(checkpoint, placement.dtypes), placement)
        self._key, self.name = _key(model), model.name
        log.info("Loaded %s on %s (%s).", model.name, placement.device, placement.dtypes["unet"])
        return self._resident

    def release(self) -> None:
        """Let go of the model and give its memory back."""
        self._key = self._resident = self.name = None
        free_unused()


def _key(model: ModelRef) -> tuple[str, str]:
    return str(model.path), model.sha256


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
