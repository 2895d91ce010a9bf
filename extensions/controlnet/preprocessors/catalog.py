"""All preprocessors: found by name, and their options checked. Importing this imports neither OpenCV nor torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from extensions.controlnet.options import UnionType, Unit
from extensions.controlnet.preprocessors.files import FOLDER, require
from extensions.controlnet.preprocessors.networked import networked
from extensions.controlnet.preprocessors.weightless import WEIGHTLESS, AnyPreprocessor
from webui.extending.api import BadRequest, NotFound

PREPROCESSORS: tuple[AnyPreprocessor, ...] = (*WEIGHTLESS, *networked(FOLDER))

UNION_TYPES_OF_GROUPS: Mapping[str, UnionType] = MappingProxyType(
    {
        "OpenPose": "openpose",
        "Depth": "depth",
        "SoftEdge": "soft_edge",
        "Scribble": "soft_edge",
        "Canny": "hard_edge",
        "Lineart": "hard_edge",
        "MLSD": "hard_edge",
        "NormalMap": "normal_map",
        "Segmentation": "segmentation",
        "Tile": "tile",
        "Blur": "tile",
        "Inpaint": "inpaint",
    }
)
"""What union networks call the sorts of control."""

# Modules of sd-webui-controlnet that need what is not here, and what does the like.
INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "mlsd": "hough",
        "pidinet": "softedge_gradient",
        "softedge_pidinet": "softedge_gradient",
        "pidinet_safe": "softedge_gradient",
        "softedge_pidisafe": "softedge_gradient",
        "softedge_teed": "softedge_gradient",
        "pidinet_scribble": "scribble_edges",
        "scribble_pidinet": "scribble_edges",
        "pidinet_sketch": "scribble_xdog",
        "t2ia_sketch_pidi": "scribble_xdog",
        "lineart_coarse": "lineart_standard",
        "lineart_anime": "lineart_standard",
        "lineart_anime_denoise": "lineart_standard",
        "lineart": "lineart_standard",
        "lineart_realistic": "lineart_standard",
        "inpaint_only+lama": "inpaint_only",
        "depth_leres": "depth_anything_v2",
        "depth_leres++": "depth_anything_v2",
        "normal_map": "normal_depth",
        "normal_midas": "normal_depth",
        "normal_bae": "normal_depth",
        "normal_dsine": "normal_depth",
        "oneformer_ade20k": "segmentation",
        "seg_ofade20k": "segmentation",
        "openpose_full": "openpose",
        "openpose_face": "openpose",
        "openpose_hand": "openpose",
        "dw_openpose_full": "openpose",
    }
)


def known_preprocessors(others: Sequence[AnyPreprocessor]) -> tuple[AnyPreprocessor, ...]:
    """Return ours and, behind them, what else is among `others`, those of all extensions."""
    names = {each.name for each in PREPROCESSORS}
    return (*PREPROCESSORS, *(each for each in others if each.name not in names))


def find_preprocessor(
    name: str, field: str = "preprocessor", others: Sequence[AnyPreprocessor] = ()
) -> AnyPreprocessor:
    """Return the preprocessor of this name, label or alias, in any case, also among `others`, those of all extensions;
    raise `NotFound` naming what is near."""
    wanted = name.strip().lower()
    known = known_preprocessors(others)
    for each in known:
        if wanted in (each.name.lower(), each.label.lower(), *each.aliases):
            return each
    names = [each.name for each in known]
    instead = [INSTEAD[wanted]] if wanted in INSTEAD else difflib.get_close_matches(wanted, names, 3)
    hint = f"Use {' or '.join(instead)}." if instead else f"There are: {', '.join(names)}."
    raise NotFound(f"There is no preprocessor {name!r}.", hint=hint, field=field)


def unit_options(number: int, unit: Unit, others: Sequence[AnyPreprocessor] = ()) -> dict[str, Any]:
    """Return the options of a unit's preprocessor, with its defaults where the unit says nothing.

    Raises `NotFound` for the preprocessor or the network that it needs, and `BadRequest` for an option that it has not
    or that cannot be.
    """
    field = f"extensions.controlnet.units.{number}"
    preprocessor = find_preprocessor(unit.preprocessor, f"{field}.preprocessor", others)
    require(preprocessor.name, field=f"{field}.preprocessor")
    try:
        return dict(preprocessor.options.model_validate(dict(unit.preprocessor_options)))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(preprocessor.options.model_fields) or "none"
        raise BadRequest(
            f"ControlNet unit {number}, {preprocessor.name}: {name}: {first['msg']} (given: {first['input']!r}).",
            hint=f"Its options are: {known}.",
            field=f"{field}.preprocessor_options",
        ) from error


def union_type(unit: Unit, others: Sequence[AnyPreprocessor] = ()) -> UnionType | None:
    """Return which sort of control a unit is for a union network; None: neither it nor its preprocessor says."""
    if unit.union_type is not None:
        return unit.union_type
    groups = find_preprocessor(unit.preprocessor, others=others).groups
    return next((UNION_TYPES_OF_GROUPS[group] for group in groups if group in UNION_TYPES_OF_GROUPS), None)
