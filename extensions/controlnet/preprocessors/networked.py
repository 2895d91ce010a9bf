"""The preprocessors that need a network from the user's folder. torch is imported when one runs, in the worker."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extensions.controlnet.preprocessors import choices
from webui.extending.api import Preprocessor

if TYPE_CHECKING:
    from PIL.Image import Image

    from extensions.controlnet.preprocessors.sizes import Pixels

AnyPreprocessor = Preprocessor[Any]

FOLDER = Path(__file__).resolve().parents[3] / "models" / "ControlNetPreprocessor"
"""Where their networks lie, each in a folder: `hed` as Forge has it, the others under the names below."""

DEPTH_NETWORKS = {
    "depth": ("depth_midas", "the files of Intel/dpt-hybrid-midas or another DPT"),
    "depth_anything": ("depth_anything", "the files of LiheYoung/depth-anything-small-hf, or base or large"),
    "depth_anything_v2": ("depth_anything_v2", "the files of depth-anything/Depth-Anything-V2-Small-hf"),
    "depth_zoe": ("depth_zoe", "the files of Intel/zoedepth-nyu-kitti"),
}
SEGMENTATION = "the files of a network for ADE20K, such as openmmlab/upernet-convnext-small or nvidia/segformer-b0"
POSE = "the files of usyd-community/vitpose-base-simple"
HED = "ControlNetHED.pth of lllyasviel/Annotators"


def _scaled(picture: Image, options: choices.Sized) -> Pixels:
    from extensions.controlnet.preprocessors.sizes import scale_to, to_pixels

    return scale_to(to_pixels(picture), options.resolution)


def draw_depth(picture: Image, options: choices.Sized, *, name: str, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.depth import find_nearness, to_map
    from extensions.controlnet.preprocessors.sizes import to_picture

    place, known = DEPTH_NETWORKS[name]
    return to_picture(to_map(find_nearness(name, folder / place, known, _scaled(picture, options))))


def draw_normals(picture: Image, options: choices.Normals, *, folder: Path) -> Image:
    """The first network for depth that is there counts; without any the error names the folder of MiDaS."""
    from extensions.controlnet.preprocessors.depth import find_nearness, to_normals
    from extensions.controlnet.preprocessors.sizes import to_picture

    there = [each for each in DEPTH_NETWORKS.values() if (folder / each[0]).is_dir()]
    place, known = there[0] if there else DEPTH_NETWORKS["depth"]
    nearness = find_nearness("normal_depth", folder / place, known, _scaled(picture, options))
    return to_picture(to_normals(nearness, options.threshold_a))


def draw_segments(picture: Image, options: choices.Sized, *, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.segmentation import find_segments
    from extensions.controlnet.preprocessors.sizes import to_picture

    return to_picture(find_segments("segmentation", folder / "seg_ade20k", SEGMENTATION, _scaled(picture, options)))


def draw_pose(picture: Image, options: choices.Pose, *, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.pose import draw_poses
    from extensions.controlnet.preprocessors.sizes import to_picture

    detector, pixels = folder / "person_detector", _scaled(picture, options)
    return to_picture(draw_poses("openpose", folder / "vitpose", detector, POSE, pixels, options.threshold_a))


def draw_hed(picture: Image, options: choices.Sized, *, name: str, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.hed import find_edges, to_scribble
    from extensions.controlnet.preprocessors.sizes import to_picture

    edges = find_edges(name, folder / "hed", HED, _scaled(picture, options), is_safe=name == "hed_safe")
    return to_picture(to_scribble(edges) if name == "scribble_hed" else edges)


def networked(folder: Path) -> tuple[AnyPreprocessor, ...]:
    """Return the preprocessors whose networks lie in `folder`. They are offered also where the networks are missing:
    their error says what to put where."""
    return (
        *(
            Preprocessor(
                name,
                place,
                choices.Sized,
                partial(draw_depth, name=name, folder=folder),
                ("Depth",),
                aliases=() if place == name else (place,),
                description=f"Near is white. Needs {known}.",
            )
            for name, (place, known) in DEPTH_NETWORKS.items()
        ),
        Preprocessor(
            "normal_depth",
            "normal_depth (from a depth network)",
            choices.Normals,
            partial(draw_normals, folder=folder),
            ("NormalMap",),
            description="Red faces left, green up, blue the viewer. Needs a network for depth.",
        ),
        Preprocessor(
            "segmentation",
            "seg_ufade20k",
            choices.Sized,
            partial(draw_segments, folder=folder),
            ("Segmentation",),
            aliases=("seg_ufade20k", "seg_ade20k"),
            description=f"Needs {SEGMENTATION}.",
        ),
        Preprocessor(
            "openpose",
            "openpose",
            choices.Pose,
            partial(draw_pose, folder=folder),
            ("OpenPose",),
            description=f"Bodies. Needs {POSE}; without a detector in person_detector it sees one person.",
        ),
        *(
            Preprocessor(
                name,
                label,
                choices.Sized,
                partial(draw_hed, name=name, folder=folder),
                (group,),
                aliases=() if label == name else (label,),
                description=f"Needs {HED}.",
            )
            for name, label, group in (
                ("hed", "softedge_hed", "SoftEdge"),
                ("hed_safe", "softedge_hedsafe", "SoftEdge"),
                ("scribble_hed", "scribble_hed", "Scribble"),
            )
        ),
    )
