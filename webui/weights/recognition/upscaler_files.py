"""Which network an upscaler file holds, told from the names and shapes of its tensors alone. Torch is not needed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.formats.headers import MAX_JSON, read_header
from webui.weights.recognition.kinds import refuse_other_kind

SPANDREL = ("spandrel", "torchvision")
"""What an installation must have to open networks that Easel does not know itself."""

_AGAIN = "Download it again, or choose another one."
_LARGEST_SCALE = 16
_MOST_PARTS = 100  # of one kind in a network
_WRAPPERS = ("params_ema.", "params.", "state_dict.", "module.", "generator.")  # of training programs; the best first
_DENSE = re.compile(r"(?:model\.1\.sub|RRDB_trunk|body)\.(\d+)\.(?:RDB|rdb)(\d)\.conv(\d)(?:\.0)?\.(weight|bias)")
_TRUNK_END = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")
_NUMBERED = re.compile(r"model\.(\d+)\.(weight|bias)")
_LAYER = re.compile(r"swin2sr\.encoder\.stages\.(\d+)\.layers\.(\d+)\.")
_OTHER_NAMES = {"trunk_conv": "conv_body", "HRconv": "conv_hr", "upconv1": "conv_up1", "upconv2": "conv_up2"}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class RrdbShape:
    """ESRGAN, Real-ESRGAN, BSRGAN."""

    features: int
    growth: int
    blocks: int
    doublings: int
    unshuffle: int

    @property
    def scale(self) -> int:
        return 2**self.doublings // self.unshuffle

    @property
    def multiple(self) -> int:
        """What the sides of a picture must be multiples of."""
        return self.unshuffle


@dataclass(frozen=True)
class CompactShape:
    """Real-ESRGAN's small networks for video and drawings."""

    features: int
    convolutions: int
    scale: int

    @property
    def multiple(self) -> int:
        return 1


@dataclass(frozen=True)
class Swin2srShape:
    """Swin2SR (Conde et al. 2022, arXiv:2209.11345) as transformers names its parts. `window` and `value_range` are
    not in the weights; they are what all published models but two have, unless a configuration says otherwise."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    mlp_ratio: float
    has_qkv_bias: bool
    connection: str  # "1conv" or "3conv"
    upsampler: str  # transformers' name of the way it is enlarged; empty: the size stays
    scale: int
    window: int = 8
    value_range: float = 1.0

    @property
    def multiple(self) -> int:
        return 2 * self.window  # it mirrors what is missing to whole windows, of which a small picture has not enough


@dataclass(frozen=True)
class OtherShape:
    """A network that spandrel may know."""


OwnShape = RrdbShape | CompactShape | Swin2srShape
NetworkShape = OwnShape | OtherShape


@dataclass(frozen=True)
class UpscalerFile:
    """What is needed to build an upscaler: its shape, and what its tensors are called in `file`, by their own name."""

    path: Path
    file: Path
    shape: NetworkShape
    names: Mapping[str, str]

    @property
    def weight_files(self) -> tuple[Path, ...]:
        return (self.file,)


def identify_upscaler(path: Path) -> UpscalerFile:
    """Return what the upscaler at `path` (a file, or a folder with config.json and model.safetensors) is.

    Raises `BadFile` with one sentence on what is wrong: damaged, foreign, dangerous, or of a kind not supported.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        header = read_header(file)
    except OSError as error:
        raise BadFile(f"{file.name} cannot be read: {error.strerror or error}.", field="upscaler") from error
    try:
        names = own_names(header)
        shapes = {own: header[name].shape for own, name in names.items()}
        shape = _recognise(shapes)
    except KeyError as error:
        raise BadFile(f"{path.name}: a damaged upscaler: it lacks {error}.", hint=_AGAIN, field="upscaler") from error
    except (IndexError, ValueError, ArithmeticError) as error:
        raise BadFile(
            f"{path.name}: a damaged upscaler: its tensors do not belong together.", hint=_AGAIN, field="upscaler"
        ) from error
    if shape is not None and not 1 <= shape.scale <= _LARGEST_SCALE:
        raise BadFile(f"{path.name}: no network enlarges {shape.scale} times.", hint=_AGAIN, field="upscaler")
    if shape is None:
        refuse_other_kind(path, header, Kind.UPSCALER, field="upscaler")
        if missing := [package for package in SPANDREL if find_spec(package) is None]:
            raise BadFile(
                f"{path.name}: not a network that Easel knows itself.",
                hint=f"If it is an upscaler, `pip install {' '.join(missing)}` in Easel's environment may open it.",
                field="upscaler",
            )
        return UpscalerFile(path, file, OtherShape(), {name: name for name in header})
    if isinstance(shape, Swin2srShape) and path.is_dir():
        shape = _configured(path, shape)
    return UpscalerFile(path, file, shape, names)


def own_names(names: Iterable[str]) -> dict[str, str]:
    """Return our name of each tensor → its name in the file, for the ways in which ESRGAN files name the same things.

    The first ESRGAN files number their layers (`model.1.sub.0.RDB1.conv1.0`), the paper's own code says `RRDB_trunk`,
    Real-ESRGAN says `body`. Of weights and their average (`params_ema`) the average counts. Raises `ValueError` when
    two would have the same name.
    """
    present = list(names)
    prefix = next((each for each in _WRAPPERS if any(name.startswith(each) for name in present)), "")
    bare = {name[len(prefix) :]: name for name in present if name.startswith(prefix)}
    late = sorted({int(match[1]) for name in bare if (match := _NUMBERED.fullmatch(name)) and int(match[1]) > 1})
    layers = {0: "conv_first"} | {number: f"conv_up{place}" for place, number in enumerate(late, start=1)}
    if len(late) >= 2:
        layers |= {late[-2]: "conv_hr", late[-1]: "conv_last"}
    own = {_own_name(name, layers): original for name, original in bare.items()}
    if len(own) < len(bare):
        raise ValueError("two tensors have the same meaning")
    return own


def _own_name(name: str, layers: Mapping[int, str]) -> str:
    """Return our name; `layers` says what the numbered layers outside the blocks are in the oldest way of naming."""
    if match := _DENSE.fullmatch(name):
        return f"body.{match[1]}.rdb{match[2]}.conv{match[3]}.{match[4]}"
    if match := _TRUNK_END.fullmatch(name):
        return f"conv_body.{match[1]}"
    if (match := _NUMBERED.fullmatch(name)) and int(match[1]) in layers:
        return f"{layers[int(match[1])]}.{match[2]}"
    part, dot, rest = name.partition(".")
    return f"{_OTHER_NAMES.get(part, part)}{dot}{rest}"


def _recognise(shapes: Shapes) -> OwnShape | None:
    if "swin2sr.first_convolution.weight" in shapes:
        return _swin2sr(shapes)
    if "conv_first.weight" in shapes and "body.0.rdb1.conv1.weight" in shapes and "conv_last.weight" in shapes:
        return _rrdb(shapes)
    if len(shapes.get("body.0.weight", ())) == 4 and len(shapes.get("body.1.weight", ())) == 1:
        return _compact(shapes)
    return None


def _rrdb(shapes: Shapes) -> RrdbShape | None:
    features, inputs = shapes["conv_first.weight"][:2]
    unshuffle = math.isqrt(inputs // 3)
    shape = RrdbShape(
        features=features,
        growth=shapes["body.0.rdb1.conv1.weight"][0],
        blocks=_count(shapes, r"body\.(\d+)\."),
        doublings=max(0, _count(shapes, r"conv_up(\d+)\.") - 1),
        unshuffle=unshuffle,
    )
    usual = unshuffle > 0 and inputs == 3 * unshuffle**2 and shapes["conv_last.weight"][0] == 3
    return shape if usual and "body.0.rdb1.conv1x1.weight" not in shapes else None


def _compact(shapes: Shapes) -> CompactShape | None:
    last = _count(shapes, r"body\.(\d+)\.") - 1
    features, inputs = shapes["body.0.weight"][:2]
    outputs = shapes[f"body.{last}.weight"][0]
    scale = math.isqrt(outputs // 3)
    usual = inputs == 3 and outputs == 3 * scale**2 and last >= 2 and last % 2 == 0
    return CompactShape(features, last // 2 - 1, scale) if usual else None


def _swin2sr(shapes: Shapes) -> Swin2srShape | None:
    width, inputs = shapes["swin2sr.first_convolution.weight"][:2]
    stage = "swin2sr.encoder.stages."
    layers = [f"{match[1]}.{match[2]}." for name in shapes if (match := _LAYER.match(name))]
    stages = _count(layers, r"(\d+)\.")
    upsampler, scale = _swin2sr_end(shapes)
    shape = Swin2srShape(
        width=width,
        depths=tuple(_count(layers, rf"{index}\.(\d+)\.") for index in range(stages)),
        heads=tuple(shapes[f"{stage}{index}.layers.0.attention.self.logit_scale"][0] for index in range(stages)),
        mlp_ratio=shapes[f"{stage}0.layers.0.intermediate.dense.weight"][0] / width,
        has_qkv_bias=f"{stage}0.layers.0.attention.self.query.bias" in shapes,
        connection="1conv" if f"{stage}0.conv.weight" in shapes else "3conv",
        upsampler=upsampler,
        scale=scale,
    )
    return shape if inputs == 3 else None


def _swin2sr_end(shapes: Shapes) -> tuple[str, int]:
    """Return how the network enlarges, by transformers' name, and how many times."""
    if "final_convolution.weight" in shapes:
        return "", 1
    if "upsample.conv.weight" in shapes:
        return "pixelshuffledirect", math.isqrt(shapes["upsample.conv.weight"][0] // 3)
    if "upsample.conv_up1.weight" in shapes:
        return "nearest+conv", 4
    kind = "pixelshuffle_aux" if "upsample.conv_aux.weight" in shapes else "pixelshuffle"
    if "upsample.upsample.convolution.weight" in shapes:
        return kind, 3
    return kind, 2 ** _count(shapes, r"upsample\.upsample\.convolution_(\d+)\.")


def _configured(folder: Path, shape: Swin2srShape) -> Swin2srShape:
    """Return `shape` with what only the folder's configuration knows."""
    try:
        with (folder / "config.json").open("rb") as file:
            config = json.loads(file.read(MAX_JSON))
        window, value_range = int(config.get("window_size", 8)), float(config.get("img_range", 1.0))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"{folder.name}: its config.json is damaged.", field="upscaler") from error
    if not (1 <= window <= 64 and 0 < value_range <= 255):
        raise BadFile(f"{folder.name}: its config.json is not that of a usable network.", field="upscaler")
    return replace(shape, window=window, value_range=value_range)


def _count(names: Iterable[str], pattern: str) -> int:
    """Return one more than the largest number that `pattern` captures at the start of a name.

    Raises `ValueError` for numbers that would keep the machine busy building an absurd network.
    """
    numbers = [match[1] for name in names if (match := re.match(pattern, name))]
    if any(len(number) > 4 or int(number) >= _MOST_PARTS for number in numbers):
        raise ValueError(f"it has more than {_MOST_PARTS} parts of a kind")
    return 1 + max((int(number) for number in numbers), default=-1)
