from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.pickled_files import CALLS
from tests.tiny_upscalers import rrdb_weights
from tools.convert_weights import main
from webui.weights.recognition.upscaler_files import identify_upscaler


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"params_ema": w, "params": {}}, lambda w: {"state_dict": w}])
def test_a_pickle_becomes_a_file_that_every_program_opens(tmp_path: Path, wrap: Any) -> None:
    weights = rrdb_weights()
    weights["tied.weight"] = weights["conv_last.bias"]
    torch.save(wrap(weights), tmp_path / "4x.pth")
    assert main([str(tmp_path / "4x.pth")]) == 0
    converted = load_file(tmp_path / "4x.safetensors")
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[name], weights[name]) for name in weights)


def test_a_program_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.pth").write_bytes(CALLS["os.system"][0])
    torch.save(rrdb_weights(), tmp_path / "good.pth")
    assert main([str(tmp_path / "bad.pth"), str(tmp_path / "good.pth")]) == 1
    assert not Path("canary").exists() and not (tmp_path / "bad.safetensors").exists()
    assert identify_upscaler(tmp_path / "good.safetensors").shape, "the others are converted"
    assert "bad.pth: it would call os.system when opened" in capsys.readouterr().err


def test_what_cannot_be_converted_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    torch.save(rrdb_weights(), tmp_path / "there.pth")
    (tmp_path / "there.safetensors").touch()
    assert main([str(tmp_path / name) for name in ("list.pth", "text.pth", "there.pth", "gone.pth")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["list.pth", "text.pth", "there.pth", "gone.pth"]
    assert "no weights" in said[0] and "cannot be read" in said[1]
    assert "there already" in said[2] and "cannot be read" in said[3]
    assert (tmp_path / "there.safetensors").stat().st_size == 0
