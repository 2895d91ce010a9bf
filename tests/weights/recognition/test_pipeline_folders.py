"""Folders that diffusers' own pipelines run: what is read from them, and what of others is never run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.broken_folders import Break, change_json, check_refusal
from tests.tiny_models import write_json
from tests.tiny_pipelines import make_folder
from webui.domain.models import Family
from webui.domain.pipelines import lacks
from webui.errors import BadFile
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import CHECKPOINTS
from webui.weights.catalog.index import ModelIndex
from webui.weights.loading.pipelines import load_pipeline
from webui.weights.memory import EngineOptions
from webui.weights.memory.pipelines import place_pipeline
from webui.weights.recognition.identify import identify


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "dit", "dit")


@pytest.fixture(scope="module")
def deepfloyd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "if", "if")


@pytest.fixture
def folder(dit: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dit, tmp_path / "copy"))


def test_what_is_read(dit: Path) -> None:
    checkpoint = identify(dit)
    assert (checkpoint.family, checkpoint.layout, checkpoint.variant) == (Family.OTHER, "diffusers", "DiT")
    assert set(checkpoint.components) == {"transformer", "vae"}
    assert all(file.suffix == ".safetensors" for file in checkpoint.weight_files)
    assert (checkpoint.defaults.width, checkpoint.defaults.steps) == (64, 25)


def test_its_card_says_how_it_runs_and_what_it_lacks(dit: Path) -> None:
    catalog = Catalog([dit.parent], ModelIndex(dit.parent / "models.db"), CHECKPOINTS)
    model = catalog.find("dit")
    assert (model.family, model.variant, model.problem) == (Family.OTHER, "DiT", None)
    details = catalog.page(model).details
    assert details["runs"] == "through diffusers' own pipeline"
    assert str(details["lacks"]).startswith("prompts besides the names of its classes, negative prompts, ")
    assert lacks(model) == tuple(str(details["lacks"]).split(", "))


def test_parts_that_draw_nothing_are_left_out(deepfloyd: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(deepfloyd, tmp_path / "copy"))
    change_json(folder / "model_index.json", safety_checker=["deepfloyd_if", "IFSafetyChecker"])
    checkpoint = identify(folder)
    assert set(checkpoint.components) == {"text_encoder", "unet"}
    assert load_pipeline(checkpoint, torch.float32).pipeline.safety_checker is None


def test_a_variant_is_read_where_there_is_no_other(folder: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    loaded = load_pipeline(identify(folder), torch.float32)
    assert loaded.pipeline.vae.dtype is torch.float32


def test_all_parts_compute_in_one_precision(dit: Path, deepfloyd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from webui.weights.memory import pipelines

    def dtypes(folder: Path, **options: Any) -> set[torch.dtype]:
        return set(place_pipeline(EngineOptions(**options), identify(folder)).dtypes.values())

    assert dtypes(deepfloyd, use_cpu=frozenset({"all"})) == {torch.float32}
    monkeypatch.setattr(pipelines, "choose_device", lambda options: torch.device("cuda"))
    monkeypatch.setattr(pipelines, "measure_room", lambda device: 2**40)
    assert dtypes(deepfloyd) == {torch.float16}
    assert dtypes(dit) == {torch.bfloat16}
    assert dtypes(dit, half=False) == {torch.float32}


def test_a_small_device_lets_the_parts_take_turns(dit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from webui.weights.memory import pipelines

    monkeypatch.setattr(pipelines, "choose_device", lambda options: torch.device("cuda"))
    monkeypatch.setattr(pipelines, "measure_room", lambda device: 2**30)
    assert place_pipeline(EngineOptions(), identify(dit)).mode == "medvram"
    assert place_pipeline(EngineOptions(memory_mode="lowvram"), identify(dit)).mode == "lowvram"


# What is wrong


def _index(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "model_index.json", **changes)


def _pickle(folder: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


BREAKAGES: dict[str, tuple[Break, str]] = {
    "another library": (_index(vae=["subprocess", "Popen"]), "names subprocess.Popen for its vae"),
    "a module of a library": (_index(vae=["diffusers.utils", "Popen"]), "names diffusers.utils.Popen"),
    "a function": (_index(vae=["transformers", "pipeline"]), "names transformers.pipeline"),
    "another place": (_index(**{"../other": ["diffusers", "AutoencoderKL"]}), "names a part '../other'"),
    "a pipeline of its own": (_index(_class_name=["pipeline", "Own"]), "are not supported"),
    "pickles": (_pickle, "pickle file"),
    "no weights": (lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "it has no vae"),
    "no folder": (lambda folder: shutil.rmtree(folder / "vae"), "it has no vae"),
    "a damaged header": (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"<html>"),
        "begins with HTML",
    ),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_and_hostile_folders_say_what_is_wrong(case: str, folder: Path) -> None:
    check_refusal(folder, *BREAKAGES[case])


@pytest.mark.parametrize(
    "entry", [["diffusers", "NoSuchClass"], ["diffusers", "DiTPipeline"], ["transformers", "Trainer"]]
)
def test_classes_that_are_no_parts_are_not_made(folder: Path, entry: list[str]) -> None:
    change_json(folder / "model_index.json", vae=entry)
    with pytest.raises(BadFile, match=r"its vae cannot be loaded: .* has no part called"):
        load_pipeline(identify(folder), torch.float32)


def test_code_in_a_folder_never_runs(deepfloyd: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(deepfloyd, tmp_path / "copy"))
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()\nclass Own: pass\n"
    for place in (folder, *(part for part in folder.iterdir() if part.is_dir())):
        for name in ("pipeline", "modeling_own", "tokenization_own", "unet", "__init__"):
            (place / f"{name}.py").write_text(code)
    own = {"AutoModel": "modeling_own.Own", "AutoConfig": "modeling_own.Own", "AutoTokenizer": ["tokenization_own.Own"]}
    change_json(folder / "text_encoder" / "config.json", auto_map=own)
    change_json(folder / "tokenizer" / "tokenizer_config.json", auto_map=own)
    change_json(folder / "unet" / "config.json", auto_map=own)
    load_pipeline(identify(folder), torch.float32)
    assert not mark.exists()


def test_a_tokenizer_without_its_files_is_refused(deepfloyd: Path, tmp_path: Path) -> None:
    """transformers builds one of a handful of tokens instead of failing."""
    folder = Path(shutil.copytree(deepfloyd, tmp_path / "copy"))
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(BadFile, match="its tokenizer cannot be loaded"):
        load_pipeline(identify(folder), torch.float32)


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    change_json(folder / "vae" / "config.json", block_out_channels=[16, 16, 32, 64])
    with pytest.raises(BadFile, match="its vae cannot be loaded"):
        load_pipeline(identify(folder), torch.float32)


def test_parts_that_do_not_belong_together_are_refused(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    del index["transformer"]
    write_json(folder / "model_index.json", index)
    with pytest.raises(BadFile, match="its parts do not fit together"):
        load_pipeline(identify(folder), torch.float32)
