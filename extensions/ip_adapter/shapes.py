"""What an IP-Adapter needs and what an image encoder gives, told from the names and shapes in their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from webui.extending.api import BadFile, BadRequest, Header, read_header

FIELD = "extensions.ip_adapter.pictures"
_KNOWN = {(1280, 1024): "CLIP ViT-H", (1664, 1280): "CLIP ViT-bigG", (1024, 768): "CLIP ViT-L"}
"""Numbers of a state, and of a whole picture, → what the encoder is called."""
XLABS = "ip_adapter_proj_model."
"""What projections are called in XLabs' files for Flux."""


@dataclass(frozen=True)
class Need:
    """What an adapter reads: the encoder's view of a whole picture, or its `states`, each of `width` numbers."""

    width: int
    states: bool

    @property
    def words(self) -> str:
        """What users call encoders that give it."""
        known = [name for sizes, name in _KNOWN.items() if sizes[0 if self.states else 1] == self.width]
        return known[0] if known else f"an image encoder with {self.width} numbers"


def read_need(path: Path) -> Need:
    """Return what the adapter in `path` reads. Raises `BadRequest` for those of faces, `BadFile` for what is none."""
    header = read_header(path)
    if any(name.startswith(("image_proj.perceiver_resampler.", "image_proj.norm.")) for name in header) and (
        "image_proj.proj.3.weight" not in header and "image_proj.proj.weight" not in header
    ):
        raise BadRequest(
            f"{path.name}: FaceID adapters read what a face recogniser (InsightFace) says, which Easel has not.",
            hint="Use an IP-Adapter for pictures, such as plus-face.",
            field=FIELD,
        )
    for name, states in (
        ("image_proj.proj.weight", False),
        (f"{XLABS}proj.weight", False),
        ("image_proj.proj_in.weight", True),
        ("image_proj.proj.0.weight", True),
    ):
        if name in header and len(header[name].shape) == 2:
            return Need(header[name].shape[1], states)
    raise BadFile(f"{path.name}: it holds no IP-Adapter of a known layout.", field=FIELD)


def weights_of(path: Path) -> Path:
    """Return the file of weights of an image encoder, which is a file or a folder with one."""
    if not path.is_dir():
        return path
    found = [*sorted(path.glob("*.safetensors")), *sorted(path.glob("pytorch_model.bin"))]
    if not found:
        raise BadFile(f"{path.name}: there are no weights in the folder.", field=FIELD)
    return found[0]


def gives(header: Header, need: Need) -> bool:
    """Tell whether the image encoder with these tensors gives what an adapter reads."""
    name = "vision_model.embeddings.class_embedding" if need.states else "visual_projection.weight"
    shape = header[name].shape if name in header else ()
    return bool(shape) and shape[-1 if need.states else 0] == need.width
