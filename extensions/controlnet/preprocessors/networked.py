"""The preprocessors that need a network from the user's folder. torch is imported when one runs, in the worker."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extensions.controlnet.preprocessors import choices
from extensions.controlnet.preprocessors.files import DEPTH, HED, PERSON_DETECTOR, POSE, SEGMENTATION, need_of, require
from webui.extending.api import Preprocessor

if TYPE_CHECKING:
    from PIL.Image import Image

    from extensions.controlnet.preprocessors.sizes import Pixels

AnyPreprocessor = Preprocessor[Any]


def _scaled(picture: Image, options: choices.Sized) -> Pixels:
    from extensions.controlnet.preprocessors.sizes import scale_to, to_pixels

    return scale_to(to_pixels(picture), options.resolution)


def draw_depth(picture: Image, options: choices.Sized, *, name: str, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.depth import find_nearness, to_map
    from extensions.controlnet.preprocessors.sizes import to_picture

    require(name, folder)
    return to_picture(to_map(find_nearness(name, folder / DEPTH[name].place, _scaled(picture, options))))


def draw_normals(picture: Image, options: choices.Normals, *, folder: Path) -> Image:
    """The first network for depth that is there counts."""
    from extensions.controlnet.preprocessors.depth import find_nearness, to_normals
    from extensions.controlnet.preprocessors.sizes import to_picture

    require("normal_depth", folder)
    place = (need_of("normal_depth", folder) or DEPTH["depth"]).place
    nearness = find_nearness("normal_depth", folder / place, _scaled(picture, options))
    return to_picture(to_normals(nearness, options.threshold_a))


def draw_segments(picture: Image, options: choices.Sized, *, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.segmentation import find_segments
    from extensions.controlnet.preprocessors.sizes import to_picture

    require("segmentation", folder)
    return to_picture(find_segments("segmentation", folder / SEGMENTATION.place, _scaled(picture, options)))


def draw_pose(picture: Image, options: choices.Pose, *, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.pose import draw_poses
    from extensions.controlnet.preprocessors.sizes import to_picture

    require("openpose", folder)
    detector, pixels = folder / PERSON_DETECTOR, _scaled(picture, options)
    return to_picture(draw_poses("openpose", folder / POSE.place, detector, pixels, options.threshold_a))


def draw_hed(picture: Image, options: choices.Sized, *, name: str, folder: Path) -> Image:
    from extensions.controlnet.preprocessors.hed import find_edges, to_scribble
    from extensions.controlnet.preprocessors.sizes import to_picture

    require(name, folder)
    file = folder / HED.place / HED.names[0]
    edges = find_edges(name, file, _scaled(picture, options), is_safe=name == "hed_safe")
    return to_picture(to_scribble(edges) if name == "scribble_hed" else edges)


def networked(folder: Path) -> tuple[AnyPreprocessor, ...]:
    """Return the preprocessors whose networks lie in `folder`. They are offered also where the networks are missing:
    their error says what to put where."""
    return (
        *(
            Preprocessor(
                name,
                need.place,
                choices.Sized,
                partial(draw_depth, name=name, folder=folder),
                ("Depth",),
                aliases=() if need.place == name else (need.place,),
                description=f"Near is white. Needs {need.known}.",
            )
            for name, need in DEPTH.items()
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
            description=f"Needs {SEGMENTATION.known}.",
        ),
        Preprocessor(
            "openpose",
            "openpose",
            choices.Pose,
            partial(draw_pose, folder=folder),
            ("OpenPose",),
            description=f"Bodies. Needs {POSE.known}; without a detector in {PERSON_DETECTOR} it sees one person.",
        ),
        *(
            Preprocessor(
                name,
                label,
                choices.Sized,
                partial(draw_hed, name=name, folder=folder),
                (group,),
                aliases=() if label == name else (label,),
                description=f"Needs {HED.known}.",
            )
            for name, label, group in (
                ("hed", "softedge_hed", "SoftEdge"),
                ("hed_safe", "softedge_hedsafe", "SoftEdge"),
                ("scribble_hed", "scribble_hed", "Scribble"),
            )
        ),
    )
