"""What a model file is, told from its header alone: nothing is executed, no weights are read, torch is not needed."""

from __future__ import annotations

from pathlib import Path

from webui.errors import BadFile
from webui.weights.checkpoint import Checkpoint
from webui.weights.families import few_steps
from webui.weights.recognition.folders import identify_folder
from webui.weights.recognition.single_files import identify_single_file


def identify(path: Path) -> Checkpoint:
    """Return what the checkpoint at `path` (a file or a diffusers folder) is made of.

    Raises `BadFile` with one sentence on what is wrong: damaged, foreign, dangerous, or of a kind not supported.
    """
    try:
        return few_steps.propose(identify_folder(path) if path.is_dir() else identify_single_file(path))
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}.", field="model") from error
