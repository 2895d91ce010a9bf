"""A checkpoint completed with parts from files of their own. Torch is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from webui.domain.models import PartSlot
from webui.domain.plan import PartRef
from webui.errors import BadFile
from webui.weights import families
from webui.weights.checkpoint import Checkpoint, Part
from webui.weights.families.checks import check_size
from webui.weights.recognition.text_files import identify_text_encoder
from webui.weights.recognition.vae_files import identify_vae

_T5 = "T5EncoderModel"


def complete(
    checkpoint: Checkpoint, given: Sequence[PartRef], tokenizer: Path | None = None, *, eight_bit: bool = False
) -> Checkpoint:
    """Return `checkpoint` with the `given` parts in the places of its own, or where it has none; `tokenizer` is T5's,
    where the checkpoint brings none. With `eight_bit` the denoiser keeps 8-bit floats.

    Raises `BadFile` when a part does not fit, or one is still missing.
    """
    files = families.BY_FAMILY.get(checkpoint.family)
    slots = {slot.component: slot for slot in checkpoint.slots}
    parts, tokenizers = dict(checkpoint.parts), dict(checkpoint.tokenizers)
    for part in given:
        if files is None or part.component not in slots:
            raise BadFile(f"{checkpoint.path.name} takes no {part.component} from a file of its own.", field="modules")
        found = files.fit(slots[part.component], _identify(slots[part.component], part.path))
        check_size(part.path, part.component, found.config)
        parts[part.component] = found
        tokenizers.pop(part.component, None)
    if tokenizer is not None:
        needed = [name for name, part in parts.items() if part.network == _T5 and name not in tokenizers]
        tokenizers |= dict.fromkeys(needed, tokenizer)
    if eight_bit:
        parts[checkpoint.denoiser] = replace(parts[checkpoint.denoiser], eight_bit=True)
    whole = replace(checkpoint, parts=parts, tokenizers=tokenizers)
    _check_whole(whole)
    if files is not None and given:
        files.check(checkpoint.path, whole.configs)
    return whole


def _identify(slot: PartSlot, path: Path) -> Part:
    """Return what a file of a VAE or of a text encoder is made of."""
    return identify_vae(path).part if slot.role == "vae" else identify_text_encoder(path).part


def _check_whole(checkpoint: Checkpoint) -> None:
    lacking = [slot.words for slot in checkpoint.slots if not slot.optional and slot.component not in checkpoint.parts]
    if lacking:
        raise BadFile(f"{checkpoint.path.name} has no {' and no '.join(lacking)}.", field="model")
    for name, part in checkpoint.parts.items():
        if part.network == _T5 and name not in checkpoint.tokenizers:
            raise BadFile(f"{checkpoint.path.name} has no tokenizer for its {name}.", field="model")
