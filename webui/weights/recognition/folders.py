"""What a diffusers folder is, told from its configuration files and the headers of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from webui.domain.pipelines import find_pipeline
from webui.weights import families
from webui.weights.checkpoint import Checkpoint, Part
from webui.weights.families.checks import check_size
from webui.weights.families.family import (
    BERT_TOKENIZERS,
    CLIP_TOKENIZERS,
    T5_TOKENIZERS,
    WORD_TOKENIZERS,
    FamilyFiles,
    FolderFacts,
)
from webui.weights.formats.headers import MAX_JSON, bad_model, read_header
from webui.weights.recognition.folder_files import find_weight_files
from webui.weights.recognition.pipeline_folders import identify_pipeline

_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt")
_ENOUGH = {  # a file that is enough alone, by the class of the tokenizer
    **dict.fromkeys(T5_TOKENIZERS, frozenset({"tokenizer.json", "spiece.model"})),
    "ChatGLMTokenizer": frozenset({"tokenizer.json", "tokenizer.model"}),
    **dict.fromkeys(BERT_TOKENIZERS, frozenset({"tokenizer.json", "vocab.txt"})),
}
_LONGEST_TEXT = 2**16  # tokens; no text encoder reads as many
_UNSUPPORTED = ("Flux",)  # what such pipelines begin with


def identify_folder(path: Path) -> Checkpoint:
    """Return what a diffusers folder is made of; raise `BadFile` with one sentence on what is wrong with it."""
    index = _read_json(path, "model_index.json")
    pipeline = find_pipeline(str(index.get("_class_name", "")))
    if pipeline is not None and families.find_by_index(index, partial(_read_json, path)) is None:
        return identify_pipeline(path, index, pipeline, partial(_read_json, path))
    files = _find_family(path, index)
    classes = {part: name for part in files.classes if (name := _find_class(path, index, files, part))}
    parts: dict[str, Part] = {}
    tokenizers: dict[str, Path] = {}
    for part, name in classes.items():
        if part.startswith("tokenizer"):
            _check_tokenizer(path, part, name)
            tokenizers[part.replace("tokenizer", "text_encoder")] = path / part
        else:
            parts[part] = _read_part(path, part, name)
    configs = {name: part.config for name, part in parts.items()}
    files.check(path, configs)
    facts = FolderFacts(path, index, _read_json(path, "scheduler/scheduler_config.json"))
    return Checkpoint(
        path,
        files.family,
        "diffusers",
        parts,
        tokenizers,
        noise=files.read_noise(facts),
        zero_negative=files.zero_negative(facts),
        text_length=_read_text_length(path, files.tokenizer) if files.tokenizer else None,
        defaults=files.adjust(facts, files.defaults(configs)),
        slots=files.slots(configs),
        told_variant=files.variant(facts),
    )


def _find_family(path: Path, index: Mapping[str, Any]) -> FamilyFiles:
    pipeline = str(index.get("_class_name", ""))
    found = families.find_by_index(index, lambda name: _read_json(path, name))
    if found is not None:
        return found
    if pipeline.startswith(_UNSUPPORTED):
        words = pipeline.removesuffix("Pipeline")
        raise bad_model(path, f"{words} checkpoints are not supported yet")
    raise bad_model(path, f"models of the class {pipeline[:60]!r} are not supported")


def _find_class(path: Path, index: Mapping[str, Any], files: FamilyFiles, part: str) -> str | None:
    """Return the class of one part, None when it is left out and may be."""
    entry = index.get(part)
    if part in files.optional and entry in (None, [None, None]):
        return None
    if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in files.classes[part]:
        raise bad_model(path, f"its model_index.json names no usable {part}")
    return str(entry[1])


def _read_part(path: Path, part: str, network: str) -> Part:
    config = _read_json(path, f"{part}/config.json")
    if isinstance(config.get("text_config"), dict) and network.startswith("CLIP"):
        raise bad_model(path, f"its {part} is a whole CLIP model")
    weights = find_weight_files(path, part)
    for file in weights:
        read_header(file)
    check_size(path, part, config)
    return Part(network, config, weights)


def _check_tokenizer(folder: Path, part: str, tokenizer: str) -> None:
    there = {file for file in _TOKENIZER_FILES if (folder / part / file).is_file()}
    if there & _ENOUGH.get(tokenizer, frozenset({"tokenizer.json"})):
        return
    if tokenizer in WORD_TOKENIZERS and {"vocab.json", "merges.txt"} <= there:
        return
    if tokenizer in CLIP_TOKENIZERS:
        raise bad_model(folder, f"it has no {part}: {part}/vocab.json and merges.txt are missing")
    raise bad_model(
        folder, f"it has no {part}: {part}/tokenizer.json is missing", "The model's own repository has the file."
    )


def _read_text_length(folder: Path, tokenizer: str) -> int | None:
    """Return how many tokens of a text are read at most, with the end; None where the tokenizer's settings are silent.

    Some say 10^30, which means without limit.
    """
    settings = f"{tokenizer}/tokenizer_config.json"
    length = _read_json(folder, settings).get("model_max_length") if (folder / settings).is_file() else None
    if length is not None and (not isinstance(length, int | float) or not length >= 2):
        raise bad_model(folder, f"its {settings} gives a text {length!r} tokens")
    return None if length is None else int(min(length, _LONGEST_TEXT))


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    if not file.is_file():
        raise bad_model(folder, f"{name} is missing")
    if file.stat().st_size > MAX_JSON:
        raise bad_model(folder, f"{name} is larger than {MAX_JSON >> 20} MB")
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise bad_model(folder, f"{name} is not valid JSON") from error
    if not isinstance(content, dict):
        raise bad_model(folder, f"{name} is not a JSON object")
    return content
