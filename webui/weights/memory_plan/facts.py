"""What is known before anything is placed: the wishes, the device, the networks, the job. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from webui.domain.frozen import Data
from webui.domain.models import Family
from webui.domain.plan import Plan, SeriesPlan
from webui.weights.checkpoint import Checkpoint, Part
from webui.weights.formats.headers import read_header

MemoryMode = Literal["normal", "medvram", "lowvram"]
Precision = Literal["float32", "float16", "bfloat16"]

XL = frozenset({Family.SDXL, Family.SDXL_REFINER, Family.PLAYGROUND})
_STORED: Mapping[str, Precision] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class EngineOptions:
    """What the user decided about devices at start-up; the names are those of A1111's flags."""

    use_cpu: frozenset[str] = frozenset()  # "all" and "sd": the whole engine; "vae", "text": those parts; "upscaler"
    memory_mode: Literal["auto", "normal", "medvram", "lowvram"] = "auto"
    medvram_sdxl: bool = False  # medvram for SDXL alone
    half: bool = True
    half_vae: bool = True
    precision: Literal["auto", "full", "half"] = "auto"
    threads: int | None = None  # of the CPU; None leaves torch's choice
    cache_budget: int | None = None  # bytes that models may take in RAM together; None: what is free
    most_models: int | None = None  # in memory together; None: as many as have room

    @property
    def all_on_cpu(self) -> bool:
        """Whether nothing may use another device."""
        return bool(self.use_cpu & {"all", "sd"})

    def mode_for(self, family: Family) -> Literal["auto", "normal", "medvram", "lowvram"]:
        """Return what was asked for models of `family`."""
        if self.memory_mode == "auto" and self.medvram_sdxl and family in XL:
            return "medvram"
        return self.memory_mode


class DeviceFacts(Data):
    """What the worker knows of its device. Bytes; `free` counts what our own models take, for they can go.

    `bf16`, `cpu_bf16`: the device, the CPU computes in it natively. A CPU's `free` and `total` are those of the RAM.
    """

    kind: str = "cpu"
    free: int
    total: int
    bf16: bool = False
    cpu_bf16: bool = False
    ram_free: int
    ram_total: int


@dataclass(frozen=True)
class PartFacts:
    """One network: its numbers, those of its largest tensor, how most of them are stored, its configuration.

    `quantised` of the numbers stay as they are stored, which takes `blocks` bytes whatever the precision.
    """

    parameters: int
    largest: int
    stored: Precision | None  # None: in some other way
    config: Mapping[str, Any] = field(default_factory=dict)
    quantised: int = 0
    blocks: int = 0
    eight_bit: bool = False  # that is made so when it is loaded

    def size(self, item: int) -> int:
        """Return the bytes of its weights where a plain number takes `item` of them."""
        return (self.parameters - self.quantised) * item + self.blocks

    def copied(self, precision: str, item: int) -> int:
        """Return the bytes that are in RAM and not merely mapped from files where plain numbers have that precision and
        take `item` bytes."""
        plain = 0 if self.stored == precision else (self.parameters - self.quantised) * item
        return plain + (self.blocks if self.eight_bit else 0)


@dataclass(frozen=True)
class CheckpointFacts:
    """What the planner needs to know of a checkpoint."""

    family: Family
    denoiser: str
    parts: Mapping[str, PartFacts]

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> CheckpointFacts:
        """Return what the headers of a checkpoint's files tell; `BadFile` when they cannot be read."""
        parts = {name: _measure(part) for name, part in checkpoint.parts.items()}
        return cls(checkpoint.family, checkpoint.denoiser, parts)


@dataclass(frozen=True)
class JobFacts:
    """The largest of what is computed together: pixels, and pictures at a time; guided ones are computed twice."""

    width: int
    height: int
    batch: int = 1
    guided: bool = True

    @property
    def rows(self) -> int:
        """How many rows the network sees."""
        return self.batch * (2 if self.guided else 1)

    @classmethod
    def of(cls, plan: Plan | SeriesPlan) -> JobFacts:
        """Return the largest of what `plan` computes together."""
        parts = plan.parts if isinstance(plan, SeriesPlan) else (plan,)
        passes = [each for part in parts for each in _passes(part)]
        return max(passes, key=lambda each: each.width * each.height * each.rows)


def _passes(plan: Plan) -> list[JobFacts]:
    most = max(len(batch) for batch in plan.batches)
    first = JobFacts(plan.width, plan.height, most, plan.guidance != 1)
    if plan.hires is None:
        return [first]
    return [first, JobFacts(plan.hires.width, plan.hires.height, most, plan.hires.guidance != 1)]


def _measure(part: Part) -> PartFacts:
    headers = [read_header(file) for file in part.files]
    tensors = [facts for header in headers for name, facts in header.items() if name.startswith(part.prefix)]
    staying = [facts for facts in tensors if facts.stays or (part.eight_bit and len(facts.shape) == 2)]
    counts: dict[str, int] = {}
    for facts in tensors:
        counts[facts.dtype] = counts.get(facts.dtype, 0) + prod(facts.shape)
    return PartFacts(
        parameters=sum(counts.values()),
        largest=max((prod(facts.shape) for facts in tensors), default=0),
        stored=_STORED.get(max(counts, key=counts.__getitem__, default="")),
        config=part.config,
        quantised=sum(prod(facts.shape) for facts in staying),
        blocks=sum(prod(facts.shape) if part.eight_bit and not facts.stays else facts.size for facts in staying),
        eight_bit=part.eight_bit,
    )
