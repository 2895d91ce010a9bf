from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from webui.engine import vae
from webui.errors import GenerationError
from webui.weights.loading.load import load
from webui.weights.memory import EngineOptions, Resident, choose_placement, resident
from webui.weights.recognition.identify import identify


def fresh(folder: Path, **dtypes: torch.dtype) -> Resident:
    checkpoint = identify(folder)
    placement = choose_placement(EngineOptions(use_cpu=frozenset({"all"}), half=False), checkpoint)
    return Resident(load(checkpoint, {**placement.dtypes, **dtypes}), placement)


def latents(side: int = 8) -> Tensor:
    return torch.randn(4, side, side, generator=torch.Generator().manual_seed(1)) * 0.8


def test_equals_the_vae(tiny: Resident) -> None:
    with tiny.on_device("vae") as network, torch.inference_mode():
        pixels = network.decode(latents()[None] / 0.18215, return_dict=False)[0][0]
    expected = ((pixels / 2 + 0.5).clamp(0, 1) * 255).floor().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(vae.decode(tiny, latents())), expected)


def test_range_of_the_pixels() -> None:
    pixels = torch.tensor([-5.0, -1.0, 0.0, 0.999, 5.0]).expand(3, 1, 5)
    assert np.asarray(vae.to_image(pixels))[0, :, 0].tolist() == [0, 0, 127, 254, 255]


def test_broken_latents_name_cause_and_fix(tiny: Resident) -> None:
    with pytest.raises(GenerationError, match=r"network.*--no-half"):
        vae.decode(tiny, latents() * float("nan"))


@pytest.fixture
def broken_vae(tiny_folder: Path) -> Resident:
    model = fresh(tiny_folder)
    with model.on_device("vae") as network, torch.no_grad():
        weight = network.decoder.conv_out.weight
        network.load_state_dict({"decoder.conv_out.weight": weight * float("inf")}, strict=False, assign=True)
    return model


def test_a_broken_vae_names_cause_and_fix(broken_vae: Resident) -> None:
    with pytest.raises(GenerationError, match=r"VAE.*damaged"):
        vae.decode(broken_vae, latents())


def test_a_half_vae_that_overflows_is_switched_to_float32(tiny_folder: Path, tiny: Resident) -> None:
    model = fresh(tiny_folder, vae=torch.bfloat16)
    with model.on_device("vae") as network:  # only the half copy is broken, as by an overflow
        weight = network.decoder.conv_out.weight * float("inf")
        network.load_state_dict({"decoder.conv_out.weight": weight}, strict=False, assign=True)
    image = vae.decode(model, latents())
    assert model.dtype("vae") == torch.float32
    difference = np.asarray(image, np.int16) - np.asarray(vae.decode(tiny, latents()), np.int16)
    assert np.abs(difference).mean() < 2


Narrow = Callable[[Exception, int], list[int | None]]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    """Return a function that lets `error` happen the first few times; it gives the list of tiles that were tried."""

    def arrange(error: Exception, times: int = 1) -> list[int | None]:
        tried: list[int | None] = []
        real = vae._Task._run

        def failing(task: vae._Task, side: int | None) -> Tensor:
            tried.append(side)
            if len(tried) <= times:
                raise error
            return real(task, side)

        monkeypatch.setattr(vae._Task, "_run", failing)
        return tried

    return arrange


TOO_LITTLE = torch.OutOfMemoryError("CUDA out of memory")


def test_too_little_memory_is_met_with_tiles(tiny: Resident, narrow: Narrow) -> None:
    whole = np.asarray(vae.decode(tiny, latents(128)), np.int16)
    tried = narrow(TOO_LITTLE, 2)
    tiled = np.asarray(vae.decode(tiny, latents(128)), np.int16)
    assert tried == [None, 64, 32]
    assert tiled.shape == whole.shape
    assert np.abs(tiled - whole).mean() < 10  # with random weights, attention sees the whole picture at every place
    assert tiny.take_notes() == ["the VAE works in tiles of 64 latents", "the VAE works in tiles of 32 latents"]
    assert tiny.take_notes() == []


def test_where_even_the_smallest_tile_has_no_room(tiny: Resident, narrow: Narrow) -> None:
    tried = narrow(TOO_LITTLE, 9)
    with pytest.raises(torch.OutOfMemoryError):
        vae.decode(tiny, latents(64))
    assert tried == [None, 32]
    tiny.take_notes()


def test_large_pictures_are_tiled_from_the_start(
    tiny: Resident, narrow: Narrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = narrow(TOO_LITTLE, 0)
    monkeypatch.setattr(resident, "measure_room", lambda _: 192 * 2**20)
    vae.decode(tiny, latents(64))
    vae.encode(tiny, gradient(512, 512))
    vae.decode(tiny, latents(32))
    assert tried == [32, 32, None]
    assert tiny.take_notes() == []


def test_other_failures_are_not_retried(tiny: Resident, narrow: Narrow) -> None:
    tried = narrow(RuntimeError("shapes do not match"), 1)
    with pytest.raises(RuntimeError, match="shapes"):
        vae.decode(tiny, latents())
    assert tried == [None]


# Pictures → latents


def gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width)[None, :, None] * np.array([1, 0.5, 0.2])
    return Image.fromarray(np.broadcast_to(across, (height, width, 3)).astype(np.uint8))


def test_encoding_equals_the_vae(tiny: Resident) -> None:
    image = gradient(64, 48)
    with tiny.on_device("vae") as network, torch.inference_mode():
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
        expected = network.encode(pixels.unsqueeze(0)).latent_dist.mean[0] * network.config.scaling_factor
    encoded = vae.encode(tiny, image)
    assert encoded.shape == (4, 6, 8) and encoded.dtype == torch.float32
    assert torch.allclose(encoded, expected, atol=1e-5)


def test_encoding_needs_less_memory_in_tiles(tiny: Resident, narrow: Narrow) -> None:
    whole = vae.encode(tiny, gradient(1024, 512))
    tried = narrow(TOO_LITTLE, 1)
    tiled = vae.encode(tiny, gradient(1024, 512))
    assert tried == [None, 64]
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() < 0.3 * whole.std()
    tiny.take_notes()


def test_an_encoder_that_overflows_is_switched_to_float32(tiny_folder: Path, tiny: Resident) -> None:
    model = fresh(tiny_folder, vae=torch.bfloat16)
    with model.on_device("vae") as network:
        weight = network.encoder.conv_out.weight * float("inf")
        network.load_state_dict({"encoder.conv_out.weight": weight}, strict=False, assign=True)
    encoded = vae.encode(model, gradient(64, 64))
    assert model.dtype("vae") == torch.float32
    assert (encoded - vae.encode(tiny, gradient(64, 64))).abs().mean() < 0.05


def test_pixels_of_a_mask() -> None:
    assert vae.to_pixels(Image.new("L", (3, 2), 255)).tolist() == [[[1.0] * 3] * 2]
