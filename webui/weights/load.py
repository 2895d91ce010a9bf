"""Networks filled from memory-mapped weight files: built on the meta device, so nothing is allocated twice."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, FluxTransformer2DModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from webui.errors import BadFile
from webui.weights.checkpoint import Checkpoint
from webui.weights.tensors import Weights, read_tensors
from webui.weights.tokenizers import (
    OPEN_CLIP_PADDING,
    PieceTokenizer,
    Tokenizer,
    clip_tokenizer,
    load_piece_tokenizer,
    load_tokenizer,
)
from webui.weights.vae_files import Half, TinyFile, VaeFile
from webui.weights.vocabulary import CLIP_VOCABULARY

_TEXT_SETTINGS = (
    "vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "hidden_act", "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip
_TEXT_UNUSED = ("embeddings.position_ids", "text_projection.weight", "logit_scale")
_T5_SETTINGS = (
    "vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets",
    "relative_attention_max_distance", "layer_norm_epsilon", "feed_forward_proj",
)  # fmt: skip
_T5_VOCABULARY = 32128  # tokens, unless a configuration says otherwise
_T5_WORDS = ("shared.weight", "encoder.embed_tokens.weight")  # the same, under two names
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_OTHER_VAE = "Choose another VAE."
_OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Networks:
    """The loaded parts of one checkpoint, on the CPU, in evaluation mode, without gradients."""

    checkpoint: Checkpoint
    networks: Mapping[str, nn.Module]  # by component
    tokenizers: Mapping[str, Tokenizer]  # by text encoder
    piece_tokenizers: Mapping[str, PieceTokenizer]  # T5's


def load(checkpoint: Checkpoint, dtypes: Mapping[str, torch.dtype]) -> Networks:
    """Return the networks of `checkpoint`, each in the dtype given under its component's name.

    Weights already in that dtype stay in the page cache until they are used. Raises `BadFile` when the files do not
    hold exactly what the configuration promises.
    """
    try:
        with torch.device("meta"):
            networks = {component: _build(checkpoint, component) for component in checkpoint.components}
    except Exception as error:  # a foreign configuration can fail in any way inside the libraries
        raise BadFile(f"{checkpoint.path.name}: its configuration is not usable: {error}", field="model") from error
    for component, network in networks.items():
        weights = _read(checkpoint, component, network)
        _fill(network, weights, dtypes[component], f"{checkpoint.path.name}: {component}")
    for component in checkpoint.text_encoders:
        _number_positions(networks[component])
    _check_complete(checkpoint, *networks.values())
    return Networks(checkpoint, networks, _load_tokenizers(checkpoint), _load_piece_tokenizers(checkpoint))


def _build(checkpoint: Checkpoint, component: str) -> nn.Module:
    if component == "unet":
        return UNet2DConditionModel(**_known_arguments(UNet2DConditionModel, checkpoint, component))
    if component == "transformer":
        return FluxTransformer2DModel(**_known_arguments(FluxTransformer2DModel, checkpoint, component))
    if component == "vae":
        return AutoencoderKL(**_known_arguments(AutoencoderKL, checkpoint, component))
    if component in checkpoint.t5_encoders:
        return T5EncoderModel(
            T5Config(**{name: value for name, value in _configs(checkpoint, component) if name in _T5_SETTINGS})
        )
    settings = {name: value for name, value in _configs(checkpoint, component) if name in _TEXT_SETTINGS}
    network = CLIPTextModel if component == "text_encoder" else CLIPTextModelWithProjection
    return network(CLIPTextConfig(**settings))


def _configs(checkpoint: Checkpoint, component: str) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in checkpoint.configs[component].items() if not name.startswith("_")]


def _known_arguments(network: type[nn.Module], checkpoint: Checkpoint, component: str) -> dict[str, Any]:
    known = inspect.signature(network).parameters
    return {name: value for name, value in _configs(checkpoint, component) if name in known}


def _number_positions(text_encoder: nn.Module) -> None:
    """Give a text encoder the one buffer that no file holds."""
    for name, buffer in list(text_encoder.named_buffers()):
        place, _, leaf = name.rpartition(".")
        if leaf == "position_ids":
            positions = torch.arange(buffer.shape[-1]).unsqueeze(0)
            text_encoder.get_submodule(place).register_buffer(leaf, positions, persistent=False)


def _load_tokenizers(checkpoint: Checkpoint) -> dict[str, Tokenizer]:
    components = [component for component in checkpoint.text_encoders if component not in checkpoint.t5_encoders]
    tokenizers = {component: _load_tokenizer(checkpoint, component) for component in components}
    first, *others = tokenizers.values()
    if not all(other.reads_like(first) for other in others):
        raise BadFile(f"{checkpoint.path.name}: its tokenizers differ.", field="model")
    return tokenizers


def _load_piece_tokenizers(checkpoint: Checkpoint) -> dict[str, PieceTokenizer]:
    return {
        component: load_piece_tokenizer(
            checkpoint.path,
            component.replace("text_encoder", "tokenizer"),
            checkpoint.configs[component].get("vocab_size", _T5_VOCABULARY),
        )
        for component in checkpoint.t5_encoders
    }


def _load_tokenizer(checkpoint: Checkpoint, component: str) -> Tokenizer:
    vocabulary = checkpoint.configs[component].get("vocab_size", CLIP_VOCABULARY)
    if checkpoint.layout == "diffusers":
        return load_tokenizer(checkpoint.path, component.replace("text_encoder", "tokenizer"), vocabulary)
    if vocabulary != CLIP_VOCABULARY:
        raise BadFile(
            f"{checkpoint.path.name}: its {component} knows {vocabulary} tokens instead of CLIP's {CLIP_VOCABULARY}.",
            hint="A single file carries no tokenizer; use the model as a diffusers folder.",
            field="model",
        )
    return clip_tokenizer() if component == "text_encoder" else clip_tokenizer(OPEN_CLIP_PADDING)


# -- reading -----------------------------------------------------------------------------------------------------------


def _read(checkpoint: Checkpoint, component: str, network: nn.Module) -> Weights:
    """Return a component's weights under the names `network` uses, still memory-mapped."""
    try:
        if checkpoint.layout == "original":
            return _read_original(checkpoint, component, network)
        weights = {name: tensor for file in checkpoint.files[component] for name, tensor in read_tensors(file).items()}
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{checkpoint.path.name} cannot be read: {error}.", field="model") from error
    except (KeyError, IndexError) as error:
        raise BadFile(f"{checkpoint.path.name}: its {component} lacks {error}.", field="model") from error
    if component == "text_encoder":
        return {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    if component in checkpoint.t5_encoders:
        words = next((weights[name] for name in _T5_WORDS if name in weights), None)
        return weights if words is None else weights | dict.fromkeys(_T5_WORDS, words)
    return {_modern_attention(name): tensor for name, tensor in weights.items()} if component == "vae" else weights


def _read_original(checkpoint: Checkpoint, component: str, network: nn.Module) -> Weights:
    prefix = checkpoint.prefixes[component]
    weights, config = read_tensors(checkpoint.path, prefix), dict(checkpoint.configs[component])
    if component == "unet":
        return convert_ldm_unet_checkpoint(weights, config)
    if component == "vae":
        return convert_ldm_vae_checkpoint(weights, config)
    if component == "text_encoder_2":
        return convert_open_clip_checkpoint(network, weights, prefix=prefix)
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def _modern_attention(name: str) -> str:
    """Return the present name of a VAE attention weight: folders from 2022 call them query, key, value, proj_attn."""
    *path, layer, kind = name.split(".")
    return ".".join([*path, _OLD_VAE_ATTENTION.get(layer, layer), kind])


def load_vae(file: VaeFile, dtype: torch.dtype, scale: float) -> AutoencoderKL:
    """Return the VAE of a file of its own, on the CPU, for a checkpoint that scales its latents by `scale`.

    Raises `BadFile` when it holds not exactly a VAE's weights.
    """
    with _of_vae(file.path):
        with torch.device("meta"):
            vae = AutoencoderKL(**{**file.config, "scaling_factor": scale})
        if file.layout == "original":
            weights = convert_ldm_vae_checkpoint(read_tensors(file.path, file.prefix), dict(file.config))
        else:
            read = {
                name.removeprefix(file.prefix): tensor for name, tensor in read_tensors(file.path, file.prefix).items()
            }
            weights = {_modern_attention(name): tensor for name, tensor in read.items() if name.startswith(_VAE_PARTS)}
        _fill(vae, weights, dtype, file.path.name)
    return vae


def load_taesd(file: TinyFile, dtype: torch.dtype) -> AutoencoderTiny:
    """Return a TAESD of which one half is that of `file`; the other is next to nothing, and filled with zeros."""
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
    expected = network.state_dict()
    weights = {name: tensor for name, tensor in weights.items() if name in expected or name not in _TEXT_UNUSED}
    _refuse(what, "lacks", expected.keys() - weights.keys())
    _refuse(what, "holds the unknown", weights.keys() - expected.keys())
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            found, wanted = list(tensor.shape), list(expected[name].shape)
            raise BadFile(f"{what}: {name} has the shape {found} instead of {wanted}.", field="model")
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
    network.requires_grad_(False)
    network.eval()


def _refuse(what: str, verb: str, names: set[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise BadFile(f"{what} {verb} {min(names)[:120]}{more}.", field="model")


def _check_complete(checkpoint: Checkpoint, *networks: nn.Module) -> None:
    for network in networks:
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if tensor.is_meta:
                raise BadFile(f"{checkpoint.path.name}: {name} was not filled.", field="model")
