from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.header_files import write_header
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.recognition.embeddings import identify_embedding


@pytest.mark.parametrize(
    ("shapes", "vectors", "length", "family"),
    [
        ({"emb_params": (3, 768)}, 3, 768, Family.SD1),
        ({"emb_params": (4, 1024)}, 4, 1024, Family.SD2),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, 2, 2048, Family.SDXL),
        ({"<cat>": (768,)}, 1, 768, Family.SD1),  # diffusers: one vector under the word that it stands for
        ({"<cat>": (5, 768)}, 5, 768, Family.SD1),
        ({"emb_params": (1, 5000)}, 1, 5000, None),
    ],
)
def test_vectors_are_counted_from_the_header(
    shapes: dict[str, tuple[int, ...]], vectors: int, length: int, family: Family | None, tmp_path: Path
) -> None:
    found = identify_embedding(write_header(tmp_path / "x.safetensors", shapes))
    assert found.details == {"vectors": vectors, "length": length}
    assert found.family is family


def test_for_what_model_one_of_an_unknown_length_is_may_be_told_by_its_metadata(tmp_path: Path) -> None:
    metadata = {"modelspec.architecture": "stable-diffusion-v1/textual-inversion"}
    assert identify_embedding(write_header(tmp_path / "x.safetensors", {"emb_params": (2, 128)}, metadata)).family is (
        Family.SD1
    )


def test_a1111s_files_say_how_they_were_trained(tmp_path: Path) -> None:
    vectors = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.zeros(4, 768))})
    told = {"name": "x", "step": 500, "sd_checkpoint": "abcd1234", "sd_checkpoint_name": None}
    torch.save({"string_to_token": {"*": 265}, "string_to_param": vectors, **told}, tmp_path / "x.pt")
    found = identify_embedding(tmp_path / "x.pt")
    assert found.details == {"vectors": 4, "length": 768, "step": 500, "sd_checkpoint": "abcd1234"}
    assert found.family is Family.SD1


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"weight": (2, 2)}, "no vectors of an embedding"),
        ({"lora_unet_x.lora_down.weight": (4, 8)}, "a LoRA, not a textual inversion; it belongs into models/Lora"),
        ({"emb_params": ()}, "no vectors of an embedding"),
    ],
)
def test_other_files_are_refused(shapes: dict[str, tuple[int, ...]], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=words) as caught:
        identify_embedding(write_header(tmp_path / "x.safetensors", shapes))
    assert caught.value.field == "embedding"
