"""Carries out model work: reads the sources, makes what was asked for, writes it, and tells how far it has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from webui.domain.model_work import ConvertWork, ExtractWork, MergeWork, ModelWork, QuantiseWork, WorkProgress
from webui.errors import BadRequest
from webui.weights.checkpoint import Checkpoint
from webui.weights.convert import lora
from webui.weights.convert.merging import Recipe, merge, parse_blocks
from webui.weights.convert.quantise import write_gguf
from webui.weights.convert.sources import DTYPES, cast, read_part, read_vae
from webui.weights.convert.writing import original_weights, write_file, write_folder
from webui.weights.formats.tensors import Weights
from webui.weights.recognition.identify import identify


def carry_out(work: ModelWork) -> Iterator[WorkProgress]:
    """Do `work` and yield before each part of it how far it has come.

    Raises `BadFile` for sources that cannot be used, `BadRequest` for what does not fit together, `StorageError` when
    the disk refuses; nothing is written then.
    """
    match work:
        case ConvertWork():
            yield from _convert(work)
        case MergeWork():
            yield from _merge(work)
        case ExtractWork():
            yield from _extract(work)
        case QuantiseWork():
            yield from _quantise(work)


def _convert(work: ConvertWork[Path]) -> Iterator[WorkProgress]:
    checkpoint = identify(work.source)
    unknown = set(work.leave_out) - set(checkpoint.components)
    if unknown:
        raise BadRequest(
            f"{work.source.name} has no {sorted(unknown)[0]}.",
            hint=f"It has: {', '.join(checkpoint.components)}.",
            field="leave_out",
        )
    components = [component for component in checkpoint.components if component not in work.leave_out]
    parts: dict[str, Weights] = {}
    for number, component in enumerate(components):
        yield WorkProgress(done=number, total=len(components) + 1, text=component)
        parts[component] = cast(read_part(checkpoint, component), DTYPES.get(work.precision))
    yield WorkProgress(done=len(components), total=len(components) + 1, text=work.target.name)
    _write(work, checkpoint, parts, {"easel.made_from": work.source.name})


def _merge(work: MergeWork[Path]) -> Iterator[WorkProgress]:
    recipe = Recipe(
        work.method, work.share, parse_blocks(work.blocks) if work.blocks else None, work.density, work.seed
    )
    if recipe.needs_base and work.base is None:
        raise BadRequest(
            f"The method {work.method} needs the model that both come from.", hint="Choose it.", field="base"
        )
    first, second = identify(work.first), identify(work.second)
    base = identify(work.base) if work.base is not None and recipe.needs_base else None
    for other, field in ((second, "second"), (base, "base")):
        if other is not None:
            _check_kin(other, first, field)
    parts: dict[str, Weights] = {}
    total = len(first.components) + 1
    for number, component in enumerate(first.components):
        yield WorkProgress(done=number, total=total, text=component)
        weights = read_part(first, component)
        if component in second.components and component != "vae":  # VAEs are no matter of taste: A's stays
            layers = first.configs[component].get("layers_per_block", 2) if component == "unet" else None
            below = read_part(base, component) if base is not None else None
            weights = merge(recipe, weights, read_part(second, component), below, layers)
        parts[component] = cast(weights, DTYPES.get(work.precision))
    yield WorkProgress(done=total - 1, total=total, text=work.target.name)
    made = [first.path.name, second.path.name, *([base.path.name] if base else [])]
    facts = {"easel.made_from": ", ".join(made), "easel.merge": work.model_dump_json(exclude={"target"})}
    _write(work, first, parts, facts)


def _extract(work: ExtractWork[Path]) -> Iterator[WorkProgress]:
    tuned, base = identify(work.tuned), identify(work.base)
    _check_kin(base, tuned, "base")
    components = [component for component in tuned.components if component != "vae"]
    found: Weights = {}
    for number, component in enumerate(components):
        yield WorkProgress(done=number, total=len(components) + 1, text=component)
        layers = tuned.configs[component].get("layers_per_block", 2) if component == "unet" else None
        weights, below = read_part(tuned, component), read_part(base, component)
        found |= lora.extract(tuned.family, component, weights, below, work.rank, layers=layers)
    if not found:
        raise BadRequest("The two models do not differ in what a LoRA can tell.", field="tuned")
    yield WorkProgress(done=len(components), total=len(components) + 1, text=work.target.name)
    facts = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(work.rank),
        "ss_network_alpha": str(work.rank),
        "ss_sd_model_name": base.path.name,
        "easel.made_from": f"{tuned.path.name}, {base.path.name}",
    }
    write_file(work.target, found, tuned.family, work.target.stem, facts, is_lora=True)


def _quantise(work: QuantiseWork[Path]) -> Iterator[WorkProgress]:
    checkpoint = identify(work.source)
    yield WorkProgress(done=0, total=1, text=checkpoint.denoiser)
    weights = read_part(checkpoint, checkpoint.denoiser)
    write_gguf(work.target, checkpoint, weights, work.type)


def _check_kin(checkpoint: Checkpoint, first: Checkpoint, field: str) -> None:
    """Raise `BadRequest` about `field` unless both are of one family and variant."""
    if (checkpoint.family, checkpoint.variant) != (first.family, first.variant):
        raise BadRequest(
            f"{checkpoint.path.name} is {_words(checkpoint)}, {first.path.name} is {_words(first)}.",
            hint="Choose models of one family and variant.",
            field=field,
        )


def _words(checkpoint: Checkpoint) -> str:
    return " ".join(word for word in (checkpoint.family.name, checkpoint.variant) if word)


def _write(
    work: ConvertWork[Path] | MergeWork[Path],
    checkpoint: Checkpoint,
    parts: Mapping[str, Weights],
    facts: Mapping[str, str],
) -> None:
    """Write what was made of `checkpoint` in the layout that `work` asks for, its VAE baked in."""
    if work.vae is not None:
        parts = {**parts, "vae": cast(read_vae(work.vae, checkpoint), DTYPES.get(work.precision))}
    if work.layout == "diffusers":
        write_folder(work.target, checkpoint, parts, facts)
        return
    write_file(work.target, original_weights(checkpoint, parts), checkpoint.family, work.target.stem, facts)
