"""Networks filled from memory-mapped weight files: built on the meta device, so nothing is allocated twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors import SafetensorError
from torch import Tensor, nn

from webui.errors import BadFile
from webui.weights.checkpoint import Checkpoint, Scaling
from webui.weights.formats.tensors import Weights, read_tensors
from webui.weights.loading.naming import rename
from webui.weights.loading.networks import build, read_language
from webui.weights.loading.pages import MappedFiles
from webui.weights.loading.quantised import cast, hold_eight_bit, hold_quantised, to_eight_bit
from webui.weights.loading.tokenizers import (
    OPEN_CLIP_PADDING,
    PieceTokenizer,
    Tokenizer,
    clip_tokenizer,
    load_piece_tokenizer,
    load_tokenizer,
)
from webui.weights.recognition.vae_files import Half, TinyFile, VaeFile
from webui.weights.vocabulary import CLIP_VOCABULARY

_TEXT_UNUSED = (
    "embeddings.position_ids", "text_model.embeddings.position_ids", "text_projection.weight", "logit_scale",
)  # fmt: skip
_T5_VOCABULARY = 32128  # tokens, unless a configuration says otherwise
_OTHER_VAE = "Choose another VAE."
UNCHANGED: Scaling = MappingProxyType({})


@dataclass(frozen=True)
class Networks:
    """The loaded parts of one checkpoint, on the CPU, in evaluation mode, without gradients."""

    checkpoint: Checkpoint
    networks: Mapping[str, nn.Module]  # by component
    tokenizers: Mapping[str, Tokenizer]  # by text encoder
    piece_tokenizers: Mapping[str, PieceTokenizer]  # by text encoder: those that are not CLIP


def load(
    checkpoint: Checkpoint, dtypes: Mapping[str, torch.dtype], make_room: Callable[[], None] = lambda: None
) -> Networks:
    """Return the networks of `checkpoint`, each in the dtype given under its component's name.

    Weights already in that dtype stay in the page cache until they are used. Raises `BadFile` when the files do not
    hold exactly what the configuration promises, or change meanwhile. `make_room` is called once they are known to,
    before anything takes memory.
    """
    name = checkpoint.path.name
    before = _look_at(checkpoint)
    try:
        networks = {component: build(part) for component, part in checkpoint.parts.items()}
    except Exception as error:  # a foreign configuration can fail in any way inside the libraries
        raise BadFile(f"{name}: its configuration is not usable: {error}", field="model") from error
    tokenizers, piece_tokenizers = _load_tokenizers(checkpoint), _load_piece_tokenizers(checkpoint)
    weights: dict[str, Weights] = {}
    for component, network in networks.items():
        read = _read(checkpoint, component, network)
        weights[component] = _check(network, read, dtypes[component], f"{name}: {component}")
        del read
    make_room()
    for component, network in networks.items():
        _refuse_change(checkpoint, before)
        part, dtype = checkpoint.parts[component], dtypes[component]
        small = hold_eight_bit(network, weights[component], dtype) if part.eight_bit else frozenset()
        _give(network, weights.pop(component), dtype, MappedFiles(part.files), small)
        _check_complete(checkpoint, network)
    _refuse_change(checkpoint, before)
    return Networks(checkpoint, networks, tokenizers, piece_tokenizers)


def _look_at(checkpoint: Checkpoint) -> list[tuple[int, int, int]]:
    """Return what tells whether the weight files are still the same; raise `BadFile` when one is not there."""
    try:
        found = [file.stat() for file in checkpoint.weight_files]
    except OSError as error:
        raise BadFile(f"{checkpoint.path.name} cannot be read: {error.strerror or error}.", field="model") from error
    return [(facts.st_ino, facts.st_size, facts.st_mtime_ns) for facts in found]


def _refuse_change(checkpoint: Checkpoint, before: list[tuple[int, int, int]]) -> None:
    if _look_at(checkpoint) != before:
        raise BadFile(
            f"{checkpoint.path.name} was changed while it was loaded.",
            hint="Wait until it is copied or downloaded completely, refresh the list of models and try again.",
            field="model",
        )


def _load_tokenizers(checkpoint: Checkpoint) -> dict[str, Tokenizer]:
    components = [part for part in checkpoint.text_encoders if checkpoint.parts[part].network.startswith("CLIP")]
    tokenizers = {component: _load_tokenizer(checkpoint, component) for component in components}
    if not all(one.reads_like(other) for one, other in itertools.pairwise(tokenizers.values())):
        raise BadFile(f"{checkpoint.path.name}: its tokenizers differ.", field="model")
    return tokenizers


def _load_piece_tokenizers(checkpoint: Checkpoint) -> dict[str, PieceTokenizer]:
    components = [part for part in checkpoint.text_encoders if not checkpoint.parts[part].network.startswith("CLIP")]
    return {
        component: load_piece_tokenizer(
            checkpoint.tokenizers[component],
            read_language(checkpoint.configs[component]).get("vocab_size", _T5_VOCABULARY),
        )
        for component in components
    }


def _load_tokenizer(checkpoint: Checkpoint, component: str) -> Tokenizer:
    part = checkpoint.parts[component]
    vocabulary = part.config.get("vocab_size", CLIP_VOCABULARY)
    if component in checkpoint.tokenizers:
        return load_tokenizer(checkpoint.tokenizers[component], vocabulary)
    if vocabulary != CLIP_VOCABULARY:
        raise BadFile(
            f"{checkpoint.path.name}: its {component} knows {vocabulary} tokens instead of CLIP's {CLIP_VOCABULARY}.",
            hint="A single file carries no tokenizer; use the model as a diffusers folder.",
            field="model",
        )
    of_open_clip = part.config.get("hidden_act") == "gelu"
    return clip_tokenizer(OPEN_CLIP_PADDING) if of_open_clip else clip_tokenizer()


# -- reading -----------------------------------------------------------------------------------------------------------


def _read(checkpoint: Checkpoint, component: str, network: nn.Module) -> Weights:
    """Return a component's weights under the names `network` uses, still memory-mapped."""
    part = checkpoint.parts[component]
    try:
        read = [read_tensors(file, part.prefix, keep_eight_bit=True) for file in part.files]
        weights = {name: tensor for tensors in read for name, tensor in tensors.items()}
        return rename(weights, part, network)
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{checkpoint.path.name} cannot be read: {error}.", field="model") from error
    except (KeyError, IndexError) as error:
        raise BadFile(f"{checkpoint.path.name}: its {component} lacks {error}.", field="model") from error


def load_vae(file: VaeFile, dtype: torch.dtype, scaling: Scaling) -> AutoencoderKL:
    """Return the VAE of a file of its own, on the CPU, for a checkpoint that scales its latents so.

    Raises `BadFile` when it holds not exactly a VAE's weights.
    """
    part = replace(file.part, config={**file.config, **scaling})
    with _of_vae(file.path):
        vae = build(part)
        _fill(vae, rename(read_tensors(file.path, file.prefix), part, vae), dtype, file.path.name)
    return vae


def load_taesd(file: TinyFile, dtype: torch.dtype, scaling: Scaling = UNCHANGED) -> AutoencoderTiny:
    """Return a TAESD of which one half is that of `file`; the other is next to nothing, and filled with zeros.

    `scaling` says how a checkpoint's latents differ from those that TAESD was made for.
    """
    other: Half = "decoder" if file.half == "encoder" else "encoder"
    with _of_vae(file.path):
        with torch.device("meta"):
            vae = AutoencoderTiny(
                latent_channels=file.latents,
                **{
                    f"num_{file.half}_blocks": file.blocks,
                    f"{file.half}_block_out_channels": file.channels,
                    f"num_{other}_blocks": (0,),
                    f"{other}_block_out_channels": (1,),
                },
            )
        weights = {
            name: torch.zeros(tensor.shape) for name, tensor in vae.state_dict().items() if name.startswith(other)
        }
        for name, tensor in read_tensors(file.path, file.prefix).items():
            number, dot, rest = name.removeprefix(file.prefix).partition(".")
            if number.isdigit():
                weights[f"{file.half}.layers.{int(number) - file.first}{dot}{rest}"] = tensor
        _fill(vae, weights, dtype, file.path.name)
    vae.register_to_config(**scaling)
    return vae


@contextmanager
def _of_vae(path: Path) -> Iterator[None]:
    """Let every failure say that the VAE is at fault."""
    try:
        yield
    except BadFile as error:
        raise BadFile(error.message, hint=_OTHER_VAE, field="vae") from error
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{path.name} cannot be read: {error}.", hint=_OTHER_VAE, field="vae") from error
    except (KeyError, IndexError) as error:
        raise BadFile(f"{path.name} lacks {error}.", hint=_OTHER_VAE, field="vae") from error
    except (ValueError, RuntimeError) as error:  # a network that cannot be built as the shapes say
        raise BadFile(f"{path.name} is no usable VAE: {error}", hint=_OTHER_VAE, field="vae") from error


# -- filling -----------------------------------------------------------------------------------------------------------


def _fill(network: nn.Module, weights: Weights, dtype: torch.dtype, what: str) -> None:
    """Give `network` its weights as `dtype`; raise `BadFile` unless they are exactly the ones it needs."""
    _give(network, _check(network, weights, dtype, what), dtype, MappedFiles(()))


def _check(network: nn.Module, weights: Weights, dtype: torch.dtype, what: str) -> Weights:
    """Return the weights of `network`, which will compute in `dtype`; `BadFile` unless they are all it needs."""
    weights = hold_quantised(network, weights, dtype)
    expected = network.state_dict()
    weights = {name: tensor for name, tensor in weights.items() if name in expected or name not in _TEXT_UNUSED}
    _refuse(what, "lacks", expected.keys() - weights.keys())
    _refuse(what, "holds the unknown", weights.keys() - expected.keys())
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            found, wanted = list(tensor.shape), list(expected[name].shape)
            raise BadFile(f"{what}: {name} has the shape {found} instead of {wanted}.", field="model")
    return weights


def _give(
    network: nn.Module, weights: Weights, dtype: torch.dtype, mapped: MappedFiles, small: frozenset[str] = frozenset()
) -> None:
    """Give `network` its weights as `dtype`, the `small` ones as 8-bit floats: one after the other, so that little is
    in memory twice."""
    given: Weights = {}
    known: dict[int, tuple[Tensor, Tensor]] = {}  # some have two names; the first of a pair keeps its id from reuse
    for name in list(weights):
        tensor = weights.pop(name)
        if id(tensor) not in known:
            known[id(tensor)] = tensor, to_eight_bit(tensor) if name in small else cast(tensor, dtype)
            if known[id(tensor)][1] is not tensor:
                mapped.drop(tensor)
        given[name] = known[id(tensor)][1]
    network.load_state_dict(given, assign=True)
    network.requires_grad_(False)
    network.eval()


def _refuse(what: str, verb: str, names: set[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise BadFile(f"{what} {verb} {min(names)[:120]}{more}.", field="model")


def _check_complete(checkpoint: Checkpoint, network: nn.Module) -> None:
    plain = (
        (f"{place}.{name}", value)
        for place, module in network.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    )
    for name, tensor in (*network.named_parameters(), *network.named_buffers(), *plain):
        if tensor.is_meta:
            raise BadFile(f"{checkpoint.path.name}: {name} was not filled.", field="model")
