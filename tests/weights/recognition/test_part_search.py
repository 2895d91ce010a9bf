"""Which files complete a checkpoint, and what is said when there are none."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer

from tests import tiny_flux, tiny_sd3
from tests.gguf_parts import gguf_name
from webui.domain.models import ModelInfo
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.places import ModelFolders
from webui.weights.loading.tokenizers import load_piece_tokenizer
from webui.weights.recognition.part_search import FoundParts, PartSearch


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a Flux transformer, a whole Flux file, and the parts."""
    home = tiny_flux.make_part_files(tmp_path_factory.mktemp("flux"))
    tiny_flux.make_single_file(home / "Stable-diffusion" / "flux1-dev.safetensors", parts=False)
    tiny_flux.make_single_file(home / "Stable-diffusion" / "whole.safetensors")
    return home


@pytest.fixture
def models(flux: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(flux, tmp_path / "models"))


Find = Callable[..., FoundParts]


@pytest.fixture
def find(models: Path, tmp_path: Path) -> Find:
    """Return a function that looks at the disk and finds what completes a checkpoint, with files chosen by hand."""

    def look(name: str = "flux1-dev", *chosen: str) -> FoundParts:
        files = ModelFiles.find(ModelFolders.below(models), ModelIndex(tmp_path / "index.db"))

        def module(wanted: str) -> ModelInfo:
            catalog = files.vaes if wanted.startswith("ae") else files.text_encoders
            return catalog.find(wanted)

        return PartSearch(files).find(files.checkpoints.find(name), [module(each) for each in chosen])

    return look


def names(found: FoundParts) -> dict[str, str]:
    return {component: model.name for component, model in found.parts}


def test_all_parts_are_found_by_content(find: Find, models: Path) -> None:
    found = find()
    assert names(found) == {"vae": "ae", "text_encoder": "clip_l", "text_encoder_2": "t5xxl_fp16"}
    assert found.tokenizer == models / "text_encoder" / "t5xxl_fp16.tokenizer.json"
    assert (found.problem, found.unused) == (None, ())


def test_names_do_not_matter_for_text_encoders(find: Find, models: Path) -> None:
    (models / "text_encoder" / "clip_l.safetensors").rename(models / "text_encoder" / "a t5, honestly.safetensors")
    assert names(find())["text_encoder"] == "a t5, honestly"


def test_a_whole_file_needs_a_tokenizer_alone(find: Find, models: Path) -> None:
    found = find("whole")
    assert names(found) == {} and found.tokenizer is not None
    (models / "text_encoder" / "t5xxl_fp16.tokenizer.json").unlink()
    assert "whole.tokenizer.json" in str(find("whole").problem)


@pytest.mark.parametrize(
    "missing, words",
    [
        ("VAE/ae.safetensors", "it has no VAE: put a file such as ae.safetensors into models/VAE."),
        (
            "text_encoder/clip_l.safetensors",
            "no CLIP-L: put a file such as clip_l.safetensors into models/text_encoder",
        ),
        ("text_encoder/t5xxl_fp16.safetensors", "it has no T5-XXL: put a file such as t5xxl_fp16.safetensors"),
        ("text_encoder/t5xxl_fp16.tokenizer.json", "text_encoder as t5xxl_fp16.tokenizer.json."),
    ],
)
def test_what_is_missing_is_said(find: Find, models: Path, missing: str, words: str) -> None:
    (models / missing).unlink()
    assert words in str(find().problem)


def test_several_missing_parts_are_one_sentence(find: Find, models: Path) -> None:
    shutil.rmtree(models / "VAE")
    (models / "text_encoder" / "clip_l.safetensors").unlink()
    assert find().problem == (
        "it has no VAE and no CLIP-L: put a file such as ae.safetensors into models/VAE, and clip_l.safetensors into "
        "models/text_encoder."
    )


@pytest.mark.parametrize("place", ["text_encoder/tokenizer.json", "text_encoder/t5/tokenizer.json"])
def test_other_places_of_the_tokenizer(find: Find, models: Path, place: str) -> None:
    (models / place).parent.mkdir(exist_ok=True)
    (models / "text_encoder" / "t5xxl_fp16.tokenizer.json").rename(models / place)
    assert find().tokenizer == models / place


def test_a_diffusers_folder_lends_its_tokenizer(find: Find, models: Path) -> None:
    (models / "text_encoder" / "t5xxl_fp16.tokenizer.json").unlink()
    folder = tiny_flux.make_folder(models / "Stable-diffusion" / "folder")
    assert find().tokenizer == folder / "tokenizer_2" / "tokenizer.json"


def test_a_tokenizer_of_too_few_words_is_no_tokenizer(find: Find, models: Path) -> None:
    file = models / "text_encoder" / "t5xxl_fp16.tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    content["model"]["vocab"] = content["model"]["vocab"][:100]
    content["added_tokens"] = []
    file.write_text(json.dumps(content), "utf-8")
    assert "the tokenizer of its T5 is missing" in str(find().problem)
    file.write_text("[", "utf-8")
    assert "the tokenizer of its T5 is missing" in str(find().problem)


def test_the_vae_of_another_family_is_not_taken_by_itself(find: Find, models: Path) -> None:
    ours = models / "VAE" / "ae.safetensors"
    ours.rename(models / "VAE" / "sd3_vae.safetensors")
    assert "it has no VAE" in str(find().problem)
    shutil.copy(models / "VAE" / "sd3_vae.safetensors", models / "VAE" / "some.safetensors")
    assert names(find())["vae"] == "some"
    shutil.copy(models / "VAE" / "some.safetensors", models / "VAE" / "my flux vae.safetensors")
    assert names(find())["vae"] == "my flux vae"


def test_what_is_chosen_by_hand_comes_first(find: Find, models: Path) -> None:
    shutil.copy(models / "text_encoder" / "clip_l.safetensors", models / "text_encoder" / "my clip.safetensors")
    assert names(find("flux1-dev", "my clip"))["text_encoder"] == "my clip"
    assert names(find("whole", "my clip", "ae")) == {"vae": "ae", "text_encoder": "my clip"}


def test_what_does_not_fit_is_left_over(find: Find, models: Path) -> None:
    tiny_sd3.make_text_files(models / "text_encoder")
    found = find("flux1-dev", "clip_g")
    assert [model.name for model in found.unused] == ["clip_g"] and len(found.parts) == 3


@pytest.mark.parametrize("with_t5", [False, True])
def test_sd3_can_do_without_t5(models: Path, find: Find, with_t5: bool) -> None:
    tiny_sd3.make_text_files(models / "text_encoder", t5=with_t5)
    tiny_sd3.make_transformer_file(models / "Stable-diffusion" / "sd3.5_large.safetensors")
    (models / "VAE" / "ae.safetensors").rename(models / "VAE" / "sd3_vae.safetensors")
    found = find("sd3.5_large")
    usual = {"vae": "sd3_vae", "text_encoder": "clip_l_of_sd3", "text_encoder_2": "clip_g"}
    assert names(found) == usual | ({"text_encoder_3": "t5_of_sd3"} if with_t5 else {})
    assert found.problem is None and (found.tokenizer is not None) == with_t5


def test_nobody_asked_for_a_t5_without_a_tokenizer(models: Path, find: Find) -> None:
    tiny_sd3.make_text_files(models / "text_encoder", t5=True)
    (models / "text_encoder" / "t5xxl_fp16.tokenizer.json").unlink()
    tiny_sd3.make_transformer_file(models / "Stable-diffusion" / "sd3.5_large.safetensors")
    (models / "VAE" / "ae.safetensors").rename(models / "VAE" / "sd3_vae.safetensors")
    assert "text_encoder_3" not in names(find("sd3.5_large")) and find("sd3.5_large").problem is None
    assert "tokenizer of its T5 is missing" in str(find("sd3.5_large", "t5_of_sd3").problem)


def test_sentencepieces_own_file_is_a_tokenizer(find: Find, models: Path) -> None:
    file = models / "text_encoder" / "t5xxl_fp16.tokenizer.json"
    vocabulary = words_of(file)
    file.unlink()
    written = models / "text_encoder" / "spiece.model"
    written.write_bytes(b"".join(piece_of(text, score) for text, score in vocabulary))
    assert find().tokenizer == written
    assert load_piece_tokenizer(written, 400).size == len(vocabulary)


def words_of(file: Path) -> list[tuple[str, float]]:
    """Return the words in a tokenizer.json, with those that T5 was given for gaps."""
    words = json.loads(file.read_text("utf-8"))["model"]["vocab"]
    return [*words, *((f"<extra_id_{number}>", -1000.0) for number in range(60))]


def piece_of(text: str, score: float) -> bytes:
    """Return one piece as SentencePiece writes it."""
    word = text.encode()
    inner = b"\x0a" + bytes([len(word)]) + word + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind_of(text)])
    return b"\x0a" + bytes([len(inner)]) + inner


def kind_of(text: str) -> int:
    """Return the kind of a piece; llama.cpp's numbers are SentencePiece's."""
    return {"<pad>": TokenType.CONTROL, "</s>": TokenType.CONTROL, "<unk>": TokenType.UNKNOWN}.get(
        text, TokenType.NORMAL
    )


def test_a_tokenizer_inside_of_gguf(find: Find, models: Path) -> None:
    """As llama.cpp's converter writes it, filled up to the size of the text encoder's table."""
    folder = models / "text_encoder"
    file = folder / "t5xxl_fp16.tokenizer.json"
    backend = Tokenizer.from_file(str(file))
    vocabulary = words_of(file)
    file.unlink()
    t5 = tiny_flux.make_networks("dev")["text_encoder_2"].state_dict()
    (folder / "t5xxl_fp16.safetensors").unlink()
    write_t5(folder / "t5.gguf", {gguf_name(name): tensor for name, tensor in t5.items()}, vocabulary, 400)
    found = find()
    assert names(found)["text_encoder_2"] == "t5" and found.tokenizer == folder / "t5.gguf"
    tokenizer = load_piece_tokenizer(found.tokenizer, 400)
    assert tokenizer.size == len(vocabulary) and (tokenizer.padding, tokenizer.end) == (0, 1)
    assert tokenizer.encode("a cat, at night") == backend.encode("a cat, at night", add_special_tokens=False).ids


def write_t5(path: Path, weights: dict[str, torch.Tensor], vocabulary: list[tuple[str, float]], size: int) -> None:
    writer = GGUFWriter(path, "t5encoder")
    missing = size - len(vocabulary)
    writer.add_tokenizer_model("t5")
    writer.add_token_list([*(text for text, _ in vocabulary), *(f"[PAD{number}]" for number in range(missing))])
    writer.add_token_scores([*(score for _, score in vocabulary), *[-1000.0] * missing])
    writer.add_token_types([*(kind_of(text) for text, _ in vocabulary), *[TokenType.UNUSED] * missing])
    for name, tensor in weights.items():
        if name:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
