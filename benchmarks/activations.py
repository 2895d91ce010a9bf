"""What networks of real size have alive at their worst moment, beside their weights, and what the planner of memory
expects: `python -m benchmarks.activations [sd1|sdxl|flux|vae ...]`.

Counted exactly and without any memory: on tensors that have shapes alone, with PyTorch's fused attention.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.sd1_file import VAE_CHANNELS
from benchmarks.sd1_random import REAL, make_unet, make_vae
from webui.weights.memory_plan.footprint import decoder_elements, encoder_elements, transformer_elements, unet_elements

MIB = 2**20
HALF = torch.float16


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that are made within and not yet gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known[key] = size
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._known.pop(key)


def compare(name: str, call: Callable[[], object], expected: int) -> None:
    with Alive() as alive:
        call()
    print(f"{name:24} {alive.most / MIB:7.0f} MiB counted, {expected * 2 / MIB:7.0f} expected: "
          f"{expected * 2 / alive.most:.2f}×", flush=True)  # fmt: skip


def measure_sd1() -> None:
    for side, rows, unet in _unets(make_unet(REAL, 768, 2)):
        latents, states = torch.empty(rows, 4, side, side), torch.empty(rows, 77, 768)
        expected = rows * unet_elements(unet.config, side * side)
        _compare_unet(f"SD1 {side * 8}², {rows} rows", unet, latents, states, {}, expected)


def measure_sdxl() -> None:
    sdxl = UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280), cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), layers_per_block=2, use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    for side, rows, unet in _unets(sdxl):
        latents, states = torch.empty(rows, 4, side, side), torch.empty(rows, 77, 2048)
        told = {"text_embeds": torch.empty(rows, 1280), "time_ids": torch.empty(rows, 6)}
        expected = rows * unet_elements(unet.config, side * side)
        _compare_unet(f"SDXL {side * 8}², {rows} rows", unet, latents, states, {"added_cond_kwargs": told}, expected)


def _unets(unet: UNet2DConditionModel) -> Iterator[tuple[int, int, UNet2DConditionModel]]:
    yield from ((side, rows, unet) for side in (64, 128, 192) for rows in (1, 2))


def _compare_unet(
    name: str, unet: nn.Module, latents: Tensor, states: Tensor, told: dict[str, Any], expected: int
) -> None:
    time = torch.empty(())
    compare(name, lambda: unet(latents, time, encoder_hidden_states=states, return_dict=False, **told), expected)


def measure_flux() -> None:
    flux = FluxTransformer2DModel(guidance_embeds=True)
    for side in (64, 128, 192):
        tokens = (side // 2) ** 2
        given = {
            "hidden_states": torch.empty(1, tokens, 64), "timestep": torch.empty(1), "guidance": torch.empty(1),
            "pooled_projections": torch.empty(1, 768), "encoder_hidden_states": torch.empty(1, 512, 4096),
            "img_ids": torch.empty(tokens, 3), "txt_ids": torch.empty(512, 3),
        }  # fmt: skip
        expected = transformer_elements(flux.config, tokens)
        compare(f"Flux {side * 8}²", lambda given=given: flux(**given, return_dict=False), expected)  # type: ignore[misc]


def measure_vae() -> None:
    vae: AutoencoderKL = make_vae(VAE_CHANNELS, 2)
    for side in (512, 1024, 2048):
        latents, pixels = torch.empty(1, 4, side // 8, side // 8), torch.empty(1, 3, side, side)
        compare(f"VAE decodes {side}²", lambda given=latents: vae.decode(given), decoder_elements(vae.config, side**2))  # type: ignore[misc]
        compare(f"VAE encodes {side}²", lambda given=pixels: vae.encode(given), encoder_elements(vae.config, side**2))  # type: ignore[misc]


NETWORKS = {"sd1": measure_sd1, "sdxl": measure_sdxl, "flux": measure_flux, "vae": measure_vae}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    torch.set_default_dtype(HALF)
    with FakeTensorMode(), torch.inference_mode():
        for name in parser.parse_args().networks or NETWORKS:
            NETWORKS[name]()


if __name__ == "__main__":
    main()
