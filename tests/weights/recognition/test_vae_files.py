from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file
from torch import Tensor

from tests.tiny_models import make_networks, make_taesd, original_weights, taesd_weights, vae_weights
from tests.tiny_upscalers import rrdb_weights
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.loading.load import load_taesd, load_vae
from webui.weights.recognition.vae_files import find_taesd, identify_taesd, identify_vae

Half = Literal["encoder", "decoder"]


def write(path: Path, weights: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path


@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
def test_a_vae_is_loaded_from_either_layout(layout: str, prefix: str, tmp_path: Path) -> None:
    training = {"loss.logvar": torch.zeros(1), "model_ema.decay": torch.zeros(1)}
    file = write(tmp_path / "vae.safetensors", vae_weights(3, layout=layout, prefix=prefix) | training)
    found = identify_vae(file)
    assert (found.layout, found.prefix, found.weight_files) == (layout, prefix, (file,))
    vae = load_vae(found, torch.float32, {"scaling_factor": 0.25})
    expected = make_networks(3)["vae"].state_dict()
    assert vae.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in vae.state_dict().items())
    assert not vae.training and vae.config.scaling_factor == 0.25


def test_early_attention_names_are_understood(tmp_path: Path) -> None:
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    early = {}
    for name, tensor in vae_weights(layout="diffusers").items():
        for new, old in names.items():
            name = name.replace(new, old)
        early[name] = tensor
    vae = load_vae(identify_vae(write(tmp_path / "early.safetensors", early)), torch.float32, {"scaling_factor": 1.0})
    assert torch.equal(vae.decoder.conv_in.weight, early["decoder.conv_in.weight"])


def with_latents(channels: int) -> dict[str, Tensor]:
    return vae_weights() | {"decoder.conv_in.weight": torch.zeros(64, channels, 3, 3)}


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in vae_weights().items() if key != name}


NO_VAES = {
    "foreign": (with_latents(8), "its latents have 8 channels; the checkpoints here need 4 or 16"),
    "checkpoint": (original_weights(), "this is a checkpoint, not a VAE; it belongs into models/Stable-diffusion"),
    "upscaler": (rrdb_weights(), "this is an upscaler, not a VAE"),
    "taesd": (make_taesd().state_dict(), "this is TAESD"),
    "half": (without("encoder.down.0.block.0.conv1.weight"), "not a complete VAE"),
    "odd": ({"x": torch.zeros(1)}, "not a VAE"),
}


@pytest.mark.parametrize("case", NO_VAES)
def test_what_is_no_vae_for_these_checkpoints_says_why(case: str, tmp_path: Path) -> None:
    weights, words = NO_VAES[case]
    with pytest.raises(BadFile, match=words) as raised:
        identify_vae(write(tmp_path / f"{case}.safetensors", weights))
    assert raised.value.message.startswith(f"{case}.safetensors") and raised.value.field == "vae"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder.conv_out.bias": None}, "lacks decoder.conv_out.bias"),
        ({"decoder.norm_out.weight": torch.zeros(7)}, "has the shape"),
    ],
)
def test_a_vae_that_does_not_fit_is_named(changes: dict[str, Tensor | None], words: str, tmp_path: Path) -> None:
    changed = vae_weights() | changes
    weights = {name: tensor for name, tensor in changed.items() if tensor is not None}
    file = write(tmp_path / "bent.safetensors", weights)
    with pytest.raises(BadFile, match=words) as raised:
        load_vae(identify_vae(file), torch.float32, {"scaling_factor": 1.0})
    assert "bent.safetensors" in raised.value.message and raised.value.hint and raised.value.field == "vae"


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        identify_vae(tmp_path / "gone.safetensors")


# TAESD


def halves(path: Path, seed: int = 0) -> dict[str, Path]:
    """Write TAESD in each form it comes in; return the files by form and half."""
    whole = make_taesd(seed).state_dict()
    files = {f"diffusers {half}": write(path / "taesd.safetensors", whole) for half in ("encoder", "decoder")}
    for half in ("encoder", "decoder"):
        weights = taesd_weights(half, seed)
        files[f"original {half}"] = write(path / f"taesd_{half}.safetensors", weights)
        prefixed = {f"taesd_{half}.{name}": tensor for name, tensor in weights.items()}
        files[f"prefixed {half}"] = write(path / f"prefixed_{half}.safetensors", prefixed)
    return files


@pytest.mark.parametrize("form", ["diffusers", "original", "prefixed"])
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_each_half_of_taesd_is_loaded_alone(form: str, half: Half, tmp_path: Path) -> None:
    file = identify_taesd(halves(tmp_path)[f"{form} {half}"], half)
    loaded, whole = load_taesd(file, torch.float32), make_taesd()
    given = torch.randn(1, *{"encoder": (3, 64, 48), "decoder": (4, 8, 6)}[half])
    with torch.inference_mode():
        assert torch.equal(code(loaded, half, given), code(whole, half, given))


def code(vae: AutoencoderTiny, half: Half, given: Tensor) -> Tensor:
    return vae.encode(given, return_dict=False)[0] if half == "encoder" else vae.decode(given, return_dict=False)[0]


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_real_taesd_shapes_are_understood(half: Half, tmp_path: Path) -> None:
    """github.com/madebyollin/taesd: 64 channels, blocks (1, 3, 3, 3) and (3, 3, 3, 1): diffusers' own defaults."""
    file = write(tmp_path / "taesd.safetensors", AutoencoderTiny().state_dict())
    found = identify_taesd(file, half)
    assert found.channels == (64, 64, 64, 64)
    assert found.blocks == {"encoder": (1, 3, 3, 3), "decoder": (3, 3, 3, 1)}[half]


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_taesd_of_flux_has_more_latents(half: Half, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = AutoencoderTiny(latent_channels=16).eval()
    file = identify_taesd(write(tmp_path / "taef1.safetensors", whole.state_dict()), half)
    given = torch.randn(1, *{"encoder": (3, 16, 24), "decoder": (16, 2, 3)}[half])
    with torch.inference_mode():
        assert torch.equal(code(load_taesd(file, torch.float32), half, given), code(whole, half, given))


def test_taesd_files_that_do_not_fit_say_why(tmp_path: Path) -> None:
    files = halves(tmp_path)
    other = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, latent_channels=12
    ).state_dict()
    shallow = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 3, decoder_block_out_channels=(8,) * 3,
        num_encoder_blocks=(1,) * 3, num_decoder_blocks=(1,) * 3,
    ).state_dict()  # fmt: skip
    flat = {name: tensor.flatten() for name, tensor in taesd_weights("decoder").items()}
    lacking = {name: tensor for name, tensor in taesd_weights("decoder").items() if name != "3.conv.2.bias"}
    cases: list[tuple[Path, Half, str]] = [
        (files["original encoder"], "decoder", "holds no decoder of TAESD"),
        (files["original decoder"], "encoder", "holds no encoder of TAESD"),
        (write(tmp_path / "odd.safetensors", other), "decoder", "12 channels"),
        (write(tmp_path / "odd.safetensors", other), "encoder", "12 channels"),
        (write(tmp_path / "flat.safetensors", flat), "decoder", "damaged"),
        (write(tmp_path / "shallow.safetensors", shallow), "decoder", "shrinks pictures 4 times"),
        (write(tmp_path / "vae.safetensors", vae_weights()), "decoder", "holds no decoder of TAESD"),
        (write(tmp_path / "lacking.safetensors", lacking), "decoder", "lacks decoder.layers.2.conv.2.bias"),
    ]
    for file, half, words in cases:
        with pytest.raises(BadFile, match=words) as raised:
            load_taesd(identify_taesd(file, half), torch.float32)
        assert file.name in raised.value.message and raised.value.field == "vae"


@pytest.mark.parametrize(("family", "stem"), [(Family.SD1, "taesd"), (Family.SDXL, "taesdxl")])
def test_taesd_is_found_by_its_usual_names(family: Family, stem: str, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    folders = [first, second]
    write(first / "taesd_of_another_family_decoder.safetensors", taesd_weights("decoder"))
    assert find_taesd(folders, "decoder", family) is None
    whole = write(second / f"{stem}.safetensors", make_taesd().state_dict())
    assert find_taesd(folders, "decoder", family) == find_taesd(folders, "encoder", family) == whole
    decoder = write(first / f"{stem}_decoder.safetensors", taesd_weights("decoder"))
    assert find_taesd(folders, "decoder", family) == decoder
    assert find_taesd(folders, "encoder", family) == whole
    (other,) = {Family.SD1, Family.SDXL} - {family}
    assert find_taesd(folders, "decoder", other) is None
