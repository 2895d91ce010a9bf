from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.pickled_files import CALLS
from tests.tiny_models import original_weights, vae_weights, write_json
from tests.tiny_upscalers import compact_weights, rrdb_weights, write
from webui.domain.models import Kind
from webui.errors import BadFile, NotFound
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.places import ModelFolders
from webui.weights.loading.upscalers import load_upscaler
from webui.weights.recognition import upscaler_files
from webui.weights.recognition.upscaler_files import OtherShape, identify_upscaler


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def look(models: Path) -> ModelFiles:
    return ModelFiles.find(ModelFolders.below(models), ModelIndex(models.parent / "models.db"))


def test_upscalers_are_found_in_every_programs_folders(models: Path) -> None:
    for name in ("ESRGAN/a10", "ESRGAN/a9", "RealESRGAN/sub/b", "upscale_models/c"):
        write(models / f"{name}.safetensors", compact_weights())
    write_json(models / "Swin2SR" / "empty" / "config.json", {})
    found = look(models).upscalers.models()
    assert [model.name for model in found] == ["a9", "a10", "c", "empty", "sub/b"]
    assert {model.kind for model in found} == {Kind.UPSCALER}
    assert [model.name for model in found if model.problem] == ["empty"]
    assert found[0].size == (models / "ESRGAN" / "a9.safetensors").stat().st_size


def test_an_upscaler_is_found_and_hashed_by_any_of_its_names(models: Path) -> None:
    file = write(models / "ESRGAN" / "Sharp.safetensors", compact_weights())
    upscalers = look(models).upscalers
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    for name in ("sharp", "Sharp.safetensors", str(file)):
        assert upscalers.hashed(upscalers.find(name)).sha256 == sha256
    assert upscalers.find(sha256[:10]).name == "Sharp"
    with pytest.raises(NotFound, match=r"Upscaler not found: 'Shrap'\. Did you mean: Sharp\?") as raised:
        upscalers.find("Shrap")
    assert raised.value.field == "upscaler"


def test_no_upscalers_at_all_says_where_they_go(models: Path) -> None:
    with pytest.raises(NotFound, match="put a file into models/ESRGAN"):
        look(models).upscalers.find("4x")


def test_pickles_are_read_and_hostile_ones_listed_with_the_reason(models: Path) -> None:
    folder = models / "ESRGAN"
    weights = rrdb_weights()
    write(folder / "4x.safetensors", weights)
    torch.save({"params": {}, "params_ema": weights}, folder / "4x.pth")
    (folder / "hostile.pth").write_bytes(CALLS["os.system"][0])
    shutil.copy(folder / "hostile.pth", folder / "disguised.safetensors")
    upscalers = look(models).upscalers
    assert [model.name for model in upscalers.models()] == ["4x", "4x.pth", "disguised", "hostile"]
    assert upscalers.find("4x").path.suffix == ".safetensors", "the safetensors file has the plain name"
    picture = torch.rand(1, 3, 8, 8)
    both = [load_upscaler(identify_upscaler(upscalers.find(name).path)).network for name in ("4x", "4x.pth")]
    assert torch.equal(both[0](picture), both[1](picture))
    for name in ("hostile", "disguised"):
        with pytest.raises(BadFile, match=r"it would call os\.system when opened"):
            upscalers.find(name)


def test_damaged_and_foreign_files_say_what_they_are(models: Path, tmp_path: Path) -> None:
    folder = models / "ESRGAN"
    whole = write(folder / "cut.safetensors", compact_weights()).read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-10])
    (folder / "page.safetensors").write_text("<!DOCTYPE html><title>404</title>")
    (folder / "empty.safetensors").write_bytes(b"")
    with zipfile.ZipFile(folder / "zip.safetensors", "w") as archive:
        archive.writestr("data.pkl", "x")
    save_file(original_weights(), folder / "checkpoint.safetensors")
    save_file(vae_weights(), folder / "vae.safetensors")
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(1)}, folder / "lora.safetensors")
    problems = {model.name: model.problem or "" for model in look(models).upscalers.models()}
    expected = {
        "cut": "truncated",
        "page": "HTML",
        "empty": "empty",
        "zip": "damaged",
        "checkpoint": "a checkpoint, not an upscaler; it belongs into models/Stable-diffusion",
        "vae": "a VAE, not an upscaler; it belongs into models/VAE",
        "lora": "a LoRA, not an upscaler; it belongs into models/Lora",
    }
    assert problems.keys() == expected.keys()
    for name, words in expected.items():
        assert words in problems[name], name


@pytest.mark.parametrize(
    "change",
    [
        {"conv_first.weight": torch.zeros(6, 5, 3, 3)},
        {"conv_first.weight": torch.zeros(6)},
        {"conv_last.weight": torch.zeros(1, 6, 3, 3)},
        {"body.0.rdb1.conv1x1.weight": torch.zeros(4, 6, 1, 1)},
    ],
)
def test_networks_easel_does_not_know_need_another_library(
    tmp_path: Path, change: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "odd.safetensors", rrdb_weights() | change)
    monkeypatch.setattr(upscaler_files, "SPANDREL", ("json", "surely_missing"))
    with pytest.raises(BadFile, match=r"odd\.safetensors: .*(`pip install surely_missing`|do not belong together)"):
        identify_upscaler(file)


def test_with_that_library_they_are_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaler_files, "SPANDREL", ("json",))
    found = identify_upscaler(write(tmp_path / "dat.safetensors", {"layers.0.weight": torch.zeros(2)}))
    assert (found.shape, found.names) == (OtherShape(), {"layers.0.weight": "layers.0.weight"})


def test_a_folders_configuration_is_read_with_care(models: Path) -> None:
    folder = models / "Swin2SR" / "x"
    stage = "swin2sr.encoder.stages.0.layers.0"
    weights = {
        "swin2sr.first_convolution.weight": torch.zeros(4, 3, 3, 3),
        f"{stage}.attention.self.logit_scale": torch.zeros(2, 1, 1),
        f"{stage}.intermediate.dense.weight": torch.zeros(8, 4),
        "final_convolution.weight": torch.zeros(3, 4, 3, 3),
    }
    write(folder / "model.safetensors", weights)
    for content, usable in (
        ('{"window_size": 16}', True),
        ("[]", False),
        ("{", False),
        ('{"window_size": 9999}', False),
    ):
        (folder / "config.json").write_text(content)
        (model,) = look(models).upscalers.models()
        assert (model.problem is None) is usable, content
        assert model.layout == "diffusers"


def test_vaes_are_found_in_their_folder_and_beside_checkpoints(models: Path) -> None:
    for name in ("VAE/mse", "Stable-diffusion/anime.vae"):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(vae_weights(), models / f"{name}.safetensors")
    save_file(original_weights(), models / "Stable-diffusion" / "anime.safetensors")
    torch.save({}, models / "VAE" / "old.pt")
    vaes = look(models).vaes
    assert [(model.name, model.kind) for model in vaes.models()] == [
        ("anime.vae", Kind.VAE), ("mse", Kind.VAE), ("old", Kind.VAE),
    ]  # fmt: skip
    assert vaes.find("anime.vae.safetensors").path.name == "anime.vae.safetensors"
    with pytest.raises(BadFile, match="no weights"):
        vaes.find("old")


def test_the_lists_follow_the_disk(models: Path) -> None:
    files = look(models)
    assert files.models() == ()
    write(models / "ESRGAN" / "a.safetensors", compact_weights())
    (models / "VAE").mkdir()
    save_file(vae_weights(), models / "VAE" / "b.safetensors")
    files.refresh()
    assert [model.name for model in files.models()] == ["b", "a"]
    header = json.dumps({}).encode()
    (models / "ESRGAN" / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    files.refresh()
    assert files.upscalers.models()[0].problem


NAMES = st.one_of(
    st.sampled_from(
        [*rrdb_weights(), *compact_weights(), "conv_up3.weight", "upconv1.weight", "model.0.weight", "model.3.weight"]
        + [f"swin2sr.encoder.stages.0.layers.0.{part}" for part in ("attention.self.logit_scale", "x")]
        + ["swin2sr.first_convolution.weight", "swin2sr.encoder.stages.0.layers.0.intermediate.dense.weight"]
        + ["upsample.conv.weight", "final_convolution.weight", "swin2sr.encoder.stages.9.layers.0.x"]
    ),
    st.builds("{}.{}.{}".format, st.sampled_from(["body", "model", "conv_up9"]), st.integers(0, 10**30), st.text("ab")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.dictionaries(NAMES, st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=12), more=st.booleans()
)
def test_whatever_a_header_says_is_told_or_refused(tmp_path: Path, shapes: dict[str, list[int]], more: bool) -> None:
    known = rrdb_weights() if more else {}
    weights = known | {name: torch.zeros(shape) for name, shape in shapes.items()}
    file = write(tmp_path / "odd.safetensors", weights)
    try:
        load_upscaler(identify_upscaler(file))
    except BadFile as error:
        assert error.message.startswith("odd.safetensors") and error.hint


@pytest.mark.parametrize("name", ["body.{}.rdb1.conv1.weight", "conv_up{}.weight", "model.{}.weight"])
@pytest.mark.parametrize("number", ["101", "999999999999", "9" * 5000])
def test_absurdly_many_layers_keep_nobody_busy(tmp_path: Path, name: str, number: str) -> None:
    weights = rrdb_weights() | {name.format(number): torch.zeros(6, 6, 3, 3)}
    with pytest.raises(BadFile):
        load_upscaler(identify_upscaler(write(tmp_path / "odd.safetensors", weights)))


def test_many_tensors_are_looked_through_at_once(tmp_path: Path) -> None:
    names = [f"model.{number}.weight" for number in range(40_000)]
    names += [f"swin2sr.encoder.stages.{number}.layers.0.x" for number in range(90)]
    header = {
        name: {"dtype": "U8", "shape": [1], "data_offsets": [place, place + 1]} for place, name in enumerate(names)
    }
    end = len(names)
    first = {"dtype": "U8", "shape": [4, 3, 3, 3], "data_offsets": [end, end + 108]}
    content = json.dumps({**header, "swin2sr.first_convolution.weight": first}).encode()
    file = tmp_path / "many.safetensors"
    file.write_bytes(len(content).to_bytes(8, "little") + content + bytes(end + 108))
    with pytest.raises(BadFile, match="damaged"):
        identify_upscaler(file)
