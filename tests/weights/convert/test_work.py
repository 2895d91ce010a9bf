"""Model work on whole files: what is written is read again, and says the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gguf
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests import tiny_flux, tiny_models, tiny_refiner, tiny_sd2, tiny_sd3, tiny_xl
from webui.domain.model_work import ConvertWork, ExtractWork, MergeWork, ModelWork, QuantiseWork
from webui.domain.models import Family
from webui.errors import BadFile, BadRequest
from webui.weights.convert.lora import factor
from webui.weights.convert.sources import read_part
from webui.weights.convert.work import carry_out
from webui.weights.formats.headers import read_header
from webui.weights.formats.tensors import Weights, read_tensors
from webui.weights.loading.load import load
from webui.weights.recognition.identify import identify


def do(work: ModelWork) -> Path:
    progress = list(carry_out(work))
    assert [each.done for each in progress] == list(range(len(progress)))
    assert {each.total for each in progress} == {len(progress)}
    return work.target


def weights_of(path: Path) -> dict[str, Weights]:
    checkpoint = identify(path)
    return {component: read_part(checkpoint, component) for component in checkpoint.components}


def assert_same(first: dict[str, Weights], second: dict[str, Weights], tolerance: float = 0.0) -> None:
    assert first.keys() == second.keys()
    for component, weights in first.items():
        assert weights.keys() == second[component].keys()
        for name, tensor in weights.items():
            torch.testing.assert_close(
                tensor.float().squeeze(), second[component][name].float().squeeze(), rtol=0, atol=tolerance
            )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {
        Family.SD1: tiny_models.make_folder(root / "sd1"),
        Family.SD2: tiny_sd2.make_folder(root / "sd2"),
        Family.SDXL: tiny_xl.make_folder(root / "sdxl"),
        Family.SDXL_REFINER: tiny_refiner.make_folder(root / "refiner"),
    }


@pytest.mark.parametrize("family", [Family.SD1, Family.SD2, Family.SDXL, Family.SDXL_REFINER])
def test_a_folder_becomes_a_file_and_a_folder_again(
    folders: dict[Family, Path], tmp_path: Path, family: Family
) -> None:
    source = folders[family]
    file = do(ConvertWork(source=source, target=tmp_path / "one.safetensors", precision=None))
    found = identify(file)
    assert (found.family, found.noise) == (family, identify(source).noise)
    assert_same(weights_of(file), weights_of(source))
    again = do(ConvertWork(source=file, target=tmp_path / "again", layout="diffusers", precision=None))
    assert identify(again).noise == identify(source).noise
    assert_same(weights_of(again), weights_of(source))
    loaded = load(identify(again), dict.fromkeys(found.components, torch.float32))
    assert all(tokenizer.size == 49408 for tokenizer in loaded.tokenizers.values())


def test_flux_becomes_one_file(tmp_path: Path) -> None:
    source = tiny_flux.make_folder(tmp_path / "flux", "dev")
    file = do(ConvertWork(source=source, target=tmp_path / "flux.safetensors", precision=None))
    names = read_tensors(file)
    assert "model.diffusion_model.double_blocks.0.img_attn.qkv.weight" in names
    transformer = read_part(identify(source), "transformer")
    scale, shift = transformer["norm_out.linear.weight"].chunk(2)
    written = names["model.diffusion_model.final_layer.adaLN_modulation.1.weight"]
    assert torch.equal(written, torch.cat([shift, scale]))


def test_precision_and_what_is_left_out(folders: dict[Family, Path], tmp_path: Path) -> None:
    source = folders[Family.SD1]
    file = do(ConvertWork(source=source, target=tmp_path / "half.safetensors", leave_out=("vae",)))
    tensors = read_tensors(file)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert not any(name.startswith("first_stage_model.") for name in tensors)
    with pytest.raises(BadRequest, match="has no hat"):
        do(ConvertWork(source=source, target=tmp_path / "x.safetensors", leave_out=("hat",)))
    assert not (tmp_path / "x.safetensors").exists()


def test_what_is_not_used_goes(tmp_path: Path) -> None:
    extra = {"model_ema.decay": torch.ones(1), "optimizer.state": torch.ones(3)}
    save_file(tiny_models.original_weights() | extra, tmp_path / "fat.safetensors")
    file = do(ConvertWork(source=tmp_path / "fat.safetensors", target=tmp_path / "thin.safetensors", precision=None))
    kept = read_tensors(file).keys()
    assert kept.isdisjoint(extra) and len(kept) > 100


def test_a_vae_is_baked_in(folders: dict[Family, Path], tmp_path: Path) -> None:
    save_file(tiny_models.vae_weights(seed=5), tmp_path / "other.safetensors")
    file = do(
        ConvertWork(
            source=folders[Family.SD1],
            target=tmp_path / "baked.safetensors",
            vae=tmp_path / "other.safetensors",
            precision=None,
        )
    )
    name = "decoder.conv_in.weight"
    assert torch.equal(read_tensors(file)[f"first_stage_model.{name}"], tiny_models.vae_weights(seed=5)[name])


def test_merges(tmp_path: Path) -> None:
    paths = [tiny_models.make_single_file(tmp_path / f"{seed}.safetensors", seed) for seed in range(3)]
    first, second, base = map(weights_of, paths)
    files = {"first": paths[0], "second": paths[1]}

    summed = do(MergeWork(**files, target=tmp_path / "sum.safetensors", share=0.25, precision=None))
    name = "down_blocks.0.resnets.0.conv1.weight"
    expected = 0.75 * first["unet"][name] + 0.25 * second["unet"][name]
    torch.testing.assert_close(weights_of(summed)["unet"][name], expected)
    assert_same({"vae": weights_of(summed)["vae"]}, {"vae": first["vae"]})

    added = do(
        MergeWork(**files, base=paths[2], target=tmp_path / "add.safetensors", method="add_difference", precision=None)
    )
    expected = first["unet"][name] + 0.5 * (second["unet"][name] - base["unet"][name])
    torch.testing.assert_close(weights_of(added)["unet"][name], expected)

    shares = ["0"] * 25
    shares[1] = "1"  # IN01
    blocks = do(
        MergeWork(**files, target=tmp_path / "blocks.safetensors", share=0.0, blocks=",".join(shares), precision=None)
    )
    mixed = weights_of(blocks)["unet"]
    assert torch.equal(mixed["down_blocks.0.resnets.0.conv1.weight"], second["unet"][name])
    other = "mid_block.resnets.0.conv1.weight"
    assert torch.equal(mixed[other], first["unet"][other])


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties"])
def test_a_merge_of_equals_changes_nothing(tmp_path: Path, method: str) -> None:
    """What both have learnt alike is kept whole at density 1, whatever the shares."""
    paths = [tiny_models.make_single_file(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    work = {"first": paths[0], "second": paths[0], "base": paths[1], "method": method, "density": 1.0}
    merged = do(MergeWork(**work, target=tmp_path / "x.safetensors", precision=None))  # type: ignore[arg-type]
    assert_same(weights_of(merged), weights_of(paths[0]), tolerance=1e-5)


def test_a_merge_may_become_a_folder(tmp_path: Path) -> None:
    """The only form of families whose original layout cannot be written."""
    sources = [tiny_sd3.make_folder(tmp_path / str(seed), seed=seed) for seed in range(2)]
    work = {"first": sources[0], "second": sources[1], "share": 1.0, "precision": None}
    with pytest.raises(BadRequest, match=r"Write a diffusers folder|cannot be written"):
        do(MergeWork(**work, target=tmp_path / "x.safetensors"))  # type: ignore[arg-type]
    merged = do(MergeWork(**work, layout="diffusers", target=tmp_path / "x"))  # type: ignore[arg-type]
    name = "transformer"
    assert_same({name: weights_of(merged)[name]}, {name: weights_of(sources[1])[name]})


def test_merges_that_make_no_sense(folders: dict[Family, Path], tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    sd1, sdxl = folders[Family.SD1], folders[Family.SDXL]
    with pytest.raises(BadRequest, match="sdxl is SDXL, sd1 is SD1"):
        do(MergeWork(first=sd1, second=sdxl, target=target))
    with pytest.raises(BadRequest, match="needs the model that both come from"):
        do(MergeWork(first=sd1, second=sd1, target=target, method="ties"))
    with pytest.raises(BadRequest, match="3 block weights"):
        do(MergeWork(first=sd1, second=sd1, target=target, blocks="1,2,3"))
    assert list(tmp_path.iterdir()) == []


def test_a_lora_tells_the_difference(tmp_path: Path) -> None:
    """At full rank, the base plus up·down is the tuned model."""
    paths = [tiny_models.make_single_file(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    file = do(ExtractWork(tuned=paths[0], base=paths[1], target=tmp_path / "lora.safetensors", rank=1024))
    tuned, base = map(weights_of, paths)
    lora = read_tensors(file)
    for component, key, name in (
        ("unet", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_q",
         "mid_block.attentions.0.transformer_blocks.0.attn2.to_q"),
        ("unet", "lora_unet_down_blocks_0_resnets_0_conv1", "down_blocks.0.resnets.0.conv1"),
        ("text_encoder", "lora_te_text_model_encoder_layers_0_mlp_fc1", "encoder.layers.0.mlp.fc1"),
    ):  # fmt: skip
        up, down = lora[f"{key}.lora_up.weight"].float(), lora[f"{key}.lora_down.weight"].float()
        change = (up.flatten(1) @ down.flatten(1)).reshape(base[component][f"{name}.weight"].shape)
        assert lora[f"{key}.alpha"] == down.shape[0]
        want = tuned[component][f"{name}.weight"] - base[component][f"{name}.weight"]
        assert (change - want).norm() < 0.01 * want.norm(), key
    with safe_open(file, "pt") as content:
        assert content.metadata()["modelspec.architecture"] == "stable-diffusion-v1/lora"
    with pytest.raises(BadRequest, match="do not differ"):
        do(ExtractWork(tuned=paths[0], base=paths[0], target=tmp_path / "none.safetensors"))


@pytest.mark.parametrize("shape", [(60, 48), (48, 24, 3, 3)])
def test_factors_are_the_best_of_their_rank(shape: tuple[int, ...]) -> None:
    change = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(change.flatten(1))
    for rank in (4, 40):
        up, down = factor(change, rank)
        rest = change.flatten(1) - up.flatten(1) @ down.flatten(1)
        torch.testing.assert_close(rest.norm(), values[rank:].norm(), rtol=0.02, atol=0)


@pytest.mark.parametrize(("kind", "tolerance"), [("Q8_0", 0.02), ("Q4_0", 0.2)])
def test_quantised_denoisers(folders: dict[Family, Path], tmp_path: Path, kind: str, tolerance: float) -> None:
    file = do(QuantiseWork(source=folders[Family.SD1], target=tmp_path / "q.gguf", type=kind))  # type: ignore[arg-type]
    header = read_header(file)
    assert kind in {facts.dtype for facts in header.values()}
    name = "middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    unet = read_part(identify(folders[Family.SD1]), "unet")
    exact = unet["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"].float()
    assert header[name].shape == tuple(exact.shape)
    [tensor] = [tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == name]
    read = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).reshape(exact.shape)
    assert 0 < (read - exact).norm() < tolerance * exact.norm()


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_text("<html></html>")
    with pytest.raises(BadFile, match="begins with HTML"):
        do(ConvertWork(source=tmp_path / "page.safetensors", target=tmp_path / "x.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["page.safetensors"]


def test_the_command_line(folders: dict[Family, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "webui.weights.convert"]
    target = tmp_path / "one.safetensors"
    arguments = ["convert", str(folders[Family.SD1]), "-o", str(target), "--precision", "bf16"]
    run = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[4/4] one.safetensors"
    assert identify(target).family is Family.SD1
    again = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "exists already" in again.stderr
    bad = ConvertWork(source=tmp_path / "missing.safetensors", target=tmp_path / "y.safetensors")
    asked = subprocess.run(
        [*command, "--json"], input=bad.model_dump_json(), capture_output=True, text=True, check=False
    )
    assert asked.returncode == 1
    assert "missing.safetensors" in json.loads(asked.stdout.splitlines()[-1])["error"]
