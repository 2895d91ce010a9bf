"""Where the networks of preprocessors lie, and what is missing there. The server asks before it queues a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from webui.extending.api import NotFound

FOLDER = Path(__file__).resolve().parents[3] / "models" / "ControlNetPreprocessor"
"""Each network has a folder in it: `hed` as Forge has it, the others under the names below."""

NETWORK = ("config.json", "model.safetensors", "preprocessor_config.json")  # as transformers saves it


@dataclass(frozen=True)
class Need:
    """The `names` of the files in `place`, a folder; `known` says where people have them from."""

    place: str
    known: str
    names: tuple[str, ...] = NETWORK


DEPTH: Mapping[str, Need] = MappingProxyType(
    {
        "depth": Need("depth_midas", "the files of Intel/dpt-hybrid-midas or another DPT"),
        "depth_anything": Need("depth_anything", "the files of LiheYoung/depth-anything-small-hf, or base or large"),
        "depth_anything_v2": Need("depth_anything_v2", "the files of depth-anything/Depth-Anything-V2-Small-hf"),
        "depth_zoe": Need("depth_zoe", "the files of Intel/zoedepth-nyu-kitti"),
    }
)
SEGMENTATION = Need(
    "seg_ade20k",
    "the files of a network for ADE20K, such as openmmlab/upernet-convnext-small"
    " or nvidia/segformer-b0-finetuned-ade-512-512",
)
POSE = Need("vitpose", "the files of usyd-community/vitpose-base-simple", ("config.json", "model.safetensors"))
HED = Need("hed", "ControlNetHED.pth of lllyasviel/Annotators", ("ControlNetHED.pth",))
PERSON_DETECTOR = "person_detector"  # a folder that pose may have besides


def need_of(preprocessor: str, folder: Path = FOLDER) -> Need | None:
    """Return what a preprocessor needs, None if it needs no network. For normals any network for depth will do."""
    if preprocessor == "normal_depth":
        there = [need for need in DEPTH.values() if not missing(need, folder)]
        return there[0] if there else DEPTH["depth"]
    others = {"segmentation": SEGMENTATION, "openpose": POSE, "hed": HED, "hed_safe": HED, "scribble_hed": HED}
    return DEPTH.get(preprocessor) or others.get(preprocessor)


def missing(need: Need, folder: Path) -> list[Path]:
    """Return the files that are not there."""
    return [path for name in need.names if not (path := folder / need.place / name).is_file()]


def require(preprocessor: str, folder: Path = FOLDER, field: str = "preprocessor") -> None:
    """Raise `NotFound` naming the first file that a preprocessor needs and `folder` has not."""
    need = need_of(preprocessor, folder)
    if need is not None and (lacking := missing(need, folder)):
        raise NotFound(
            f"Preprocessor {preprocessor} needs a file that is not there: {lacking[0]}.",
            hint=f"Put {need.known} into {folder / need.place}.",
            field=field,
        )
