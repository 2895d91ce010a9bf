"""Flux's folders: what is read from them, and what is wrong with broken ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tests.broken_folders import Break, change_config, change_json, change_scheduler, check_refusal
from tests.tiny_flux import WORDS, make_folder
from tests.tiny_models import write_json
from webui.domain.models import Family, ModelDefaults
from webui.errors import BadFile
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import CHECKPOINTS
from webui.weights.catalog.index import ModelIndex
from webui.weights.checkpoint import FlowSchedule
from webui.weights.loading.load import load
from webui.weights.loading.tokenizers import load_piece_tokenizer
from webui.weights.memory import EngineOptions, choose_placement, devices, placement
from webui.weights.memory_plan import precisions
from webui.weights.recognition.identify import identify


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind) for kind in ("dev", "schnell")}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["dev"], tmp_path / "copy"))


def test_what_is_read(folders: dict[str, Path]) -> None:
    dev, schnell = identify(folders["dev"]), identify(folders["schnell"])
    assert (dev.family, dev.layout, dev.denoiser, dev.variant) == (Family.FLUX, "diffusers", "transformer", "")
    assert set(dev.components) == {"transformer", "vae", "text_encoder", "text_encoder_2"}
    assert dev.parts["text_encoder_2"].network == "T5EncoderModel"
    assert dev.noise == FlowSchedule(shift=3.0, dynamic=True)
    assert schnell.noise == FlowSchedule(shift=1.0, dynamic=False)


@pytest.mark.parametrize("name", ["FluxImg2ImgPipeline", "FluxInpaintPipeline"])
def test_other_pipelines_of_the_same_parts(folder: Path, name: str) -> None:
    change_json(folder / "model_index.json", _class_name=name)
    assert identify(folder).family is Family.FLUX


@pytest.mark.parametrize(("told", "length"), [(512, 512), (48, 48), (1e30, 2**16), (10**30, 2**16), (None, None)])
def test_how_much_of_a_text_is_read(folder: Path, told: float | None, length: int | None) -> None:
    change_json(folder / "tokenizer_2" / "tokenizer_config.json", model_max_length=told)
    assert identify(folder).text_length == length


def test_nothing_says_how_much_of_a_text_is_read(folder: Path) -> None:
    (folder / "tokenizer_2" / "tokenizer_config.json").unlink()
    assert identify(folder).text_length is None


@pytest.mark.parametrize("told", [0, -5, "many", float("nan")])
def test_a_senseless_length_of_texts(folder: Path, told: object) -> None:
    change_json(folder / "tokenizer_2" / "tokenizer_config.json", model_max_length=told)
    with pytest.raises(BadFile, match=r"its tokenizer_2/tokenizer_config\.json gives a text .* tokens"):
        identify(folder)


def test_what_they_propose(folders: dict[str, Path]) -> None:
    dev, schnell = identify(folders["dev"]).defaults, identify(folders["schnell"]).defaults
    assert dev == ModelDefaults(
        width=1024, height=1024, steps=20, guidance=1.0, distilled_guidance=3.5, sampler="Euler", schedule="Simple"
    )
    assert schnell == dev.replace(steps=4, distilled_guidance=None)


def test_the_card_has_the_last_word(folder: Path) -> None:
    write_json(folder / "easel.json", {"defaults": {"steps": 28, "distilled_guidance": 2.0}})
    (model,) = Catalog([folder.parent], ModelIndex(folder.parent / "models.db"), CHECKPOINTS).models()
    assert (model.family, model.problem) == (Family.FLUX, None)
    assert (model.defaults.steps, model.defaults.distilled_guidance, model.defaults.width) == (28, 2.0, 1024)


def test_the_words_of_t5_have_two_names(folder: Path) -> None:
    networks = load(identify(folder), dict.fromkeys(identify(folder).components, torch.float32)).networks
    weights = networks["text_encoder_2"].state_dict()
    assert torch.equal(weights["shared.weight"], weights["encoder.embed_tokens.weight"])


def test_half_precision_is_that_with_the_range_of_full_one(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**40, 2**40))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    chosen = choose_placement(EngineOptions(), identify(folders["dev"]))
    assert set(chosen.dtypes.values()) == {torch.bfloat16}


def test_a_large_text_encoder_takes_half_the_memory_on_a_cpu_too(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_cpu_computes_bf16", lambda: True)
    options, checkpoint = EngineOptions(use_cpu=frozenset({"all"})), identify(folders["dev"])
    assert choose_placement(options, checkpoint).dtypes["text_encoder_2"] is torch.float32
    monkeypatch.setattr(precisions, "WORTH_BF16_ON_CPU", 10_000)
    assert choose_placement(options, checkpoint).dtypes["text_encoder_2"] is torch.float32
    monkeypatch.setattr(precisions, "LARGE_TEXT_ENCODER", 10_000)
    assert choose_placement(options, checkpoint).dtypes["text_encoder_2"] is torch.bfloat16


# What is wrong


def _without_pieces(folder: Path) -> None:
    (folder / "tokenizer_2" / "tokenizer.json").unlink()


BREAKAGES: dict[str, tuple[Break, str]] = {
    "channels": (change_config("transformer", in_channels=32), "16 channels"),
    "latents": (change_config("vae", latent_channels=4), "16 channels"),
    "scale": (change_config("vae", scaling_factor=0), "its vae"),
    "shift": (change_config("vae", shift_factor="much"), "its vae"),
    "levels": (change_config("vae", block_out_channels=[32, 32]), "8 times"),
    "axes": (change_config("transformer", axes_dims_rope=[4, 6, 8]), "its transformer"),
    "odd axes": (change_config("transformer", axes_dims_rope=["a", 6, 6]), "its transformer"),
    "depth": (change_config("transformer", num_single_layers=5000), "its transformer"),
    "pooled": (change_config("transformer", pooled_projection_dim=768), "first text encoder do not fit"),
    "states": (change_config("text_encoder_2", d_model=64), "second text encoder do not fit"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer_2"), "tokenizer_2/tokenizer.json is missing"),
    "no tokenizer of pieces": (_without_pieces, "tokenizer_2/tokenizer.json is missing"),
    "no T5": (lambda folder: shutil.rmtree(folder / "text_encoder_2"), "text_encoder_2/config.json is missing"),
    "another encoder": (
        lambda folder: change_json(folder / "model_index.json", text_encoder_2=["transformers", "CLIPTextModel"]),
        "names no usable text_encoder_2",
    ),
    "another scheduler": (change_scheduler(_class_name="EulerDiscreteScheduler"), "not supported"),
    "terminal": (change_scheduler(shift_terminal=0.1), "not supported"),
    "linear shift": (change_scheduler(time_shift_type="linear"), "not supported"),
    "no shift": (change_scheduler(shift=0), "not supported"),
    "sequence": (change_scheduler(base_image_seq_len=5000), "not supported"),
    "words": (change_scheduler(shift="three"), "damaged"),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folder: Path) -> None:
    check_refusal(folder, *BREAKAGES[case])


def test_a_tokenizer_of_a_handful_of_tokens_is_refused(folder: Path) -> None:
    file = folder / "tokenizer_2" / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    content["model"]["vocab"] = content["model"]["vocab"][:5]
    content["added_tokens"] = []
    write_json(file, content)
    with pytest.raises(BadFile, match="its tokenizer_2 has 5 tokens, its text encoder 400"):
        load_piece_tokenizer(folder / "tokenizer_2", 400)


def test_a_damaged_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer_2" / "tokenizer.json").write_text("{")
    with pytest.raises(BadFile, match="its tokenizer_2 cannot be read"):
        load_piece_tokenizer(folder / "tokenizer_2", 400)


def test_tokens_are_those_of_the_file(folder: Path) -> None:
    backend = Tokenizer.from_file(str(folder / "tokenizer_2" / "tokenizer.json"))
    tokenizer = load_piece_tokenizer(folder / "tokenizer_2", 400)
    assert (tokenizer.padding, tokenizer.end) == (0, 1)
    assert tokenizer.encode(" ".join(WORDS)) == [backend.token_to_id(f"▁{word}") for word in WORDS]
    assert tokenizer.encode("") == []
