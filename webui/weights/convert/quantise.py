"""A denoiser as a GGUF file, as stable-diffusion.cpp and ComfyUI's nodes read it: the names of the original layout,
large matrices quantised in blocks, all else as it was.

The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import gguf
import numpy as np
import torch
from torch import Tensor

from webui.domain.model_work import QuantisedType
from webui.domain.models import Family
from webui.errors import BadRequest
from webui.storage import new_file
from webui.weights.checkpoint import Checkpoint
from webui.weights.convert.original_names import to_original
from webui.weights.formats.tensors import Weights

_ARCHITECTURES: Mapping[Family, str] = MappingProxyType(
    {Family.SD1: "sd1", Family.SD2: "sd2", Family.SDXL: "sdxl", Family.FLUX: "flux"}
)
_SMALLEST = 1024  # numbers of a tensor that is worth quantising


def write_gguf(path: Path, checkpoint: Checkpoint, weights: Weights, kind: QuantisedType) -> None:
    """Write the denoiser's `weights`, which have diffusers' names, as a GGUF file.

    Raises `BadRequest` for families without such files, `StorageError` when the disk refuses.
    """
    architecture = _ARCHITECTURES.get(checkpoint.family)
    if architecture is None:
        raise BadRequest(f"{checkpoint.family.name} models cannot be quantised here.", field="source")
    quantisation = gguf.GGMLQuantizationType[kind]
    with new_file(path) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[kind]])
        for name, tensor in to_original(weights, checkpoint.parts[checkpoint.denoiser]).items():
            _add(writer, name, tensor, quantisation)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


_FILE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "Q8_0": "MOSTLY_Q8_0", "Q5_1": "MOSTLY_Q5_1", "Q5_0": "MOSTLY_Q5_0", "Q4_1": "MOSTLY_Q4_1",
        "Q4_0": "MOSTLY_Q4_0", "BF16": "MOSTLY_BF16", "F16": "MOSTLY_F16",
    }
)  # fmt: skip


def _add(writer: gguf.GGUFWriter, name: str, tensor: Tensor, kind: gguf.GGMLQuantizationType) -> None:
    numbers = tensor.float().numpy()
    if tensor.dim() == 2 and tensor.numel() >= _SMALLEST and _fits(tensor.shape[-1], kind):
        writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
    elif tensor.dim() == 1 or tensor.dtype == torch.float32:
        writer.add_tensor(name, numbers)
    else:
        writer.add_tensor(name, numbers.astype(np.float16))


def _fits(width: int, kind: gguf.GGMLQuantizationType) -> bool:
    """Tell whether rows of `width` numbers are whole blocks."""
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    return width % block == 0
