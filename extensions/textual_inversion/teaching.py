"""The vectors of words, read from their files and given to a model's text encoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from webui.extending.api import BadFile, Family
from webui.extending.computing import Run, read_tensors

LENGTH = 75  # tokens that a text encoder reads at once
ONLY = "only"
"""The table of a file that is for models with one text encoder."""

_TABLES: Mapping[Family, Mapping[str, tuple[str, ...]]] = {
    Family.SD1: {"text_encoder": (ONLY, "clip_l")},
    Family.SD2: {"text_encoder": (ONLY,)},
    Family.SDXL: {"text_encoder": ("clip_l",), "text_encoder_2": ("clip_g",)},
    Family.PLAYGROUND: {"text_encoder": ("clip_l",), "text_encoder_2": ("clip_g",)},
    Family.SDXL_REFINER: {"text_encoder_2": ("clip_g",)},
    Family.SD3: {"text_encoder": ("clip_l",), "text_encoder_2": ("clip_g",)},
    Family.FLUX: {"text_encoder": (ONLY, "clip_l")},
}
"""Which tables of a file the text encoders of a family read, the first that is there."""
_NAMES = {"text_encoders_0": "clip_l", "text_encoders_1": "clip_g"}
"""What diffusers' trainers call tables that A1111 has other names for."""


@contextmanager
def teach(run: Run) -> Iterator[None]:
    """Let the words of the plan stand for their vectors while `run` goes on.

    What a text encoder cannot read stays a word, and a note says so.
    """
    words: dict[str, dict[str, Tensor]] = {}
    for each in run.facts["words"]:
        word, path = str(each["word"]), Path(each["path"])
        tables = read_tables(path)
        problem, found = _choose(run, tables)
        if problem:
            run.note(f"The textual inversion {word} is read as words: {problem}.")
        for component, vectors in found.items():
            words.setdefault(component, {})[word] = vectors
    key = " ".join(f"{each['word']} {each['sha256']}" for each in run.facts["words"])
    with run.model.taught(words, key):
        yield


def read_tables(path: Path) -> dict[str, Tensor]:
    """Return the vectors [n,D] in a file, by `clip_l` and `clip_g` for SDXL's two text encoders, or else `only`.

    Files of A1111 (`string_to_param`, `emb_params`, `clip_l` with `clip_g`) and of diffusers (one tensor under the word
    that it was trained for). Raises `BadFile` for others.
    """
    tensors = {_NAMES.get(name, name): tensor for name, tensor in read_tensors(path).items()}
    tables: dict[str, Tensor] = {name: tensors[name] for name in ("clip_l", "clip_g") if name in tensors}
    if not tables:
        known = [each for name, each in tensors.items() if name == "emb_params" or name.startswith("string_to_param")]
        others = [each for each in tensors.values() if each.is_floating_point()]
        tables = dict(zip((ONLY,), known or others, strict=False))
    if not tables or any(each.dim() not in (1, 2) for each in tables.values()):
        raise BadFile(f"{path.name}: it holds no vectors of a textual inversion.")
    return {name: each.detach().float().reshape(-1, each.shape[-1]) for name, each in tables.items()}


def _choose(run: Run, tables: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the vectors for each text encoder of a run's model; what is wrong if there is not one for each."""
    found: dict[str, Tensor] = {}
    wanted = _TABLES.get(run.family, {})
    for component, names in wanted.items():
        vectors = next((tables[name] for name in names if name in tables), None)
        width = run.model.checkpoint.configs[component].get("hidden_size")
        if vectors is None or (width is not None and vectors.shape[-1] != width):
            made = " and ".join(str(each.shape[-1]) for each in tables.values())
            return f"its vectors have {made} numbers, those of the model's {component} {width}", {}
        found[component] = vectors
    if any(len(vectors) > LENGTH for vectors in found.values()):
        return f"it has more than {LENGTH} vectors", {}
    if len({len(vectors) for vectors in found.values()}) > 1:
        return "it has not the same number of vectors for both text encoders", {}
    return "", found
