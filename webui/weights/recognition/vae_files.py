"""What a VAE file is, told from its header: a VAE in either layout, or a half of TAESD. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from webui.domain.models import Family, Kind
from webui.errors import BadFile
from webui.weights.checkpoint import Part
from webui.weights.formats.headers import Header, read_header
from webui.weights.recognition.kinds import refuse_other_kind
from webui.weights.recognition.shapes import describe_vae, norm_groups, part_of_header

LATENT_CHANNELS = (4, 16)
LEVELS = 4  # of a network that shrinks pictures 8 times

Half = Literal["encoder", "decoder"]

_PREFIXES = ("", "first_stage_model.", "vae.")
# Where the layers of a half stand in its file, and the number of the first: diffusers' own files, both halves in one,
# and the original files of one half each, whose decoder begins with a clamp that diffusers does not count.
_HALVES: Mapping[Half, tuple[tuple[str, int], ...]] = MappingProxyType(
    {
        "encoder": (("encoder.layers.", 0), ("taesd_encoder.", 0), ("encoder.", 0), ("", 0)),
        "decoder": (("decoder.layers.", 0), ("taesd_decoder.", 1), ("decoder.", 1), ("", 1)),
    }
)
_STEMS: Mapping[str, str] = MappingProxyType(
    {"sd1": "taesd", "sdxl": "taesdxl", "playground": "taesdxl", "flux": "taef1", "sd3": "taesd3"}
)  # by family


@dataclass(frozen=True)
class VaeFile:
    """A VAE that stands in for a checkpoint's own: diffusers' configuration, and what the tensors' names begin with.

    How far its latents are scaled is not told by the file: it depends on the checkpoint.
    """

    path: Path
    config: Mapping[str, Any]
    layout: str  # "diffusers" or "original"
    prefix: str = ""

    @property
    def weight_files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def part(self) -> Part:
        """What it is to a checkpoint."""
        return Part("AutoencoderKL", self.config, (self.path,), self.layout, self.prefix)


@dataclass(frozen=True)
class TinyFile:
    """One half of TAESD (github.com/madebyollin/taesd): blocks and channels of each level, channels of its latents.

    Layer n of diffusers' network is called `prefix` + (n + `first`) in the file.
    """

    path: Path
    half: Half
    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    latents: int
    prefix: str
    first: int


def identify_vae(path: Path) -> VaeFile:
    """Return what the VAE file at `path` is made of; raise `BadFile` with one sentence on what is wrong with it."""
    header = _read(path)
    if any(name.startswith(("encoder.layers.", "decoder.layers.")) for name in header):
        raise _bad(path, "this is TAESD, which is chosen by the VAE types for encode and decode")
    found = [prefix for prefix in _PREFIXES if f"{prefix}decoder.conv_in.weight" in header]
    if not found or any(name.startswith("model.diffusion_model.") for name in header):
        refuse_other_kind(path, header, Kind.VAE, field="vae")
        raise _bad(path, "not a VAE of a known kind")
    shapes = part_of_header(header, found[0])
    layout = "diffusers" if any(name.startswith("decoder.up_blocks.") for name in shapes) else "original"
    try:
        config = describe_vae(shapes) if layout == "original" else _describe_diffusers(shapes)
    except (KeyError, IndexError, ValueError) as error:
        raise _bad(path, f"not a complete VAE: it lacks {error}") from error
    if config["latent_channels"] not in LATENT_CHANNELS:
        needed = " or ".join(map(str, LATENT_CHANNELS))
        raise _bad(path, f"its latents have {config['latent_channels']} channels; the checkpoints here need {needed}")
    _refuse_other_levels(path, len(config["block_out_channels"]))
    return VaeFile(path, config, layout, found[0])


def _describe_diffusers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    levels = _length(shapes, "encoder.down_blocks.{}.resnets.0.conv1.weight")
    channels = tuple(shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels))
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": channels,
        "layers_per_block": _length(shapes, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "norm_num_groups": norm_groups(channels[0]),
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def _length(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """Return how many names there are when `pattern` counts from 0."""
    number = 0
    while pattern.format(number) in shapes:
        number += 1
    return number


# -- TAESD -------------------------------------------------------------------------------------------------------------


def find_taesd(folders: Sequence[Path], half: Half, family: Family) -> Path | None:
    """Return the file in one of `folders` that holds a half of the TAESD of `family`, by its usual names."""
    stem = _stem(family)
    names = (taesd_name(half, family), f"{stem}.safetensors", f"{stem}/diffusion_pytorch_model.safetensors")
    candidates = (folder / name for folder in folders for name in names)
    return next((file for file in candidates if file.is_file()), None)


def taesd_name(half: Half, family: Family) -> str:
    """Return what the file of a half of the TAESD of `family` is usually called."""
    return f"{_stem(family)}_{half}.safetensors"


def _stem(family: Family) -> str:
    return _STEMS.get(family.latents.value, f"taesd_{family.latents.value}")


def identify_taesd(path: Path, half: Half) -> TinyFile:
    """Return how a half of TAESD is built; raise `BadFile` with one sentence on what is wrong with the file."""
    header = _read(path)
    for prefix, first in _HALVES[half]:
        shapes = part_of_header(header, prefix)
        if f"{first}.weight" in shapes and f"{_first_block(half) + first}.conv.0.weight" in shapes:
            break
    else:
        raise _bad(path, f"it holds no {half} of TAESD")
    convolutions = {name: shape for name, shape in shapes.items() if name.endswith(".weight")}
    if not all(len(shape) == 4 for shape in convolutions.values()):
        raise _bad(path, f"its TAESD {half} is damaged")
    blocks, channels, last = _walk(convolutions, first)
    latents = last if half == "encoder" else shapes[f"{first}.weight"][1]
    if latents not in LATENT_CHANNELS:
        raise _bad(path, f"its latents have {latents} channels, as those of no checkpoint here")
    _refuse_other_levels(path, len(blocks))
    return TinyFile(path, half, blocks, channels, latents, prefix, first)


def _first_block(half: Half) -> int:
    """Return the number of the first block in diffusers' network: an encoder has one layer before it, a decoder two."""
    return 1 if half == "encoder" else 2


def _walk(shapes: Mapping[str, tuple[int, ...]], first: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return blocks and channels of each level, and the channels that come out at the end."""
    blocks, channels = [0], [shapes[f"{first}.weight"][0]]
    for number in sorted({int(name.split(".")[0]) for name in shapes if name.split(".")[0].isdigit()}):
        if number > first and f"{number}.conv.0.weight" in shapes:
            blocks[-1] += 1
        elif number > first and f"{number}.weight" in shapes:
            blocks.append(0)
            channels.append(shapes[f"{number}.weight"][0])
    return tuple(blocks[:-1]), tuple(channels[:-1]), channels[-1]  # the last layer begins no level


def _read(path: Path) -> Header:
    try:
        return read_header(path)
    except OSError as error:
        raise _bad(path, f"it cannot be read: {error.strerror or error}") from error
    except BadFile as error:
        raise BadFile(error.message, hint=error.hint, field="vae") from error


def _refuse_other_levels(path: Path, levels: int) -> None:
    if levels != LEVELS:
        raise _bad(
            path, f"it shrinks pictures {2 ** (levels - 1)} times; the checkpoints here need {2 ** (LEVELS - 1)}"
        )


def _bad(path: Path, problem: str) -> BadFile:
    return BadFile(f"{path.name}: {problem}.", hint="Choose another VAE.", field="vae")
