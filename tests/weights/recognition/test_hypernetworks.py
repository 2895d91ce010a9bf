from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.header_files import write_header
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.recognition.hypernetworks import identify_hypernetwork


@pytest.mark.parametrize(
    ("widths", "family"), [((320, 768), Family.SD1), ((1024, 320), Family.SD2), ((640,), None), ((2048,), Family.SDXL)]
)
def test_the_family_is_told_by_the_width_of_texts(
    widths: tuple[int, ...], family: Family | None, tmp_path: Path
) -> None:
    layer = {"linear.0.weight": torch.zeros(1, 1)}
    torch.save({**{width: (layer, layer) for width in widths}, "name": "x"}, tmp_path / "x.pt")
    found = identify_hypernetwork(tmp_path / "x.pt")
    assert found.family is family
    assert found.details == {"widths": ", ".join(map(str, sorted(widths)))}


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="a textual inversion, not a hypernetwork; it belongs into models/embeddings"):
        identify_hypernetwork(write_header(tmp_path / "x.safetensors", {"emb_params": (1, 768)}))
    with pytest.raises(BadFile, match="no layers of a hypernetwork"):
        identify_hypernetwork(write_header(tmp_path / "y.safetensors", {"weight": (2, 2)}))
