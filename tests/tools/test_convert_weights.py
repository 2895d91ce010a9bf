from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny_upscalers import rrdb_weights
from tools.convert_weights import main
from webui.weights.upscaler_files import identify_upscaler


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"params_ema": w, "params": {}}, lambda w: {"state_dict": w}])
def test_a_pickle_becomes_a_file_that_easel_opens(tmp_path: Path, wrap: Any) -> None:
    weights = rrdb_weights()
    torch.save(wrap(weights), tmp_path / "4x.pth")
    assert main([str(tmp_path / "4x.pth")]) == 0
    converted = load_file(tmp_path / "4x.safetensors")
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[name], weights[name]) for name in weights)
    assert identify_upscaler(tmp_path / "4x.safetensors").shape


class Program:
    """What a hostile file holds: something that is run when it is opened."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


def test_a_program_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"params": rrdb_weights(), "more": Program(tmp_path / "canary")}, tmp_path / "bad.pth")
    torch.save(rrdb_weights(), tmp_path / "good.pth")
    assert main([str(tmp_path / "bad.pth"), str(tmp_path / "good.pth")]) == 1
    assert not (tmp_path / "canary").exists() and not (tmp_path / "bad.safetensors").exists()
    assert (tmp_path / "good.safetensors").exists(), "the others are converted"
    assert "bad.pth: torch refuses it" in capsys.readouterr().err


def test_what_cannot_be_converted_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    torch.save(rrdb_weights(), tmp_path / "there.pth")
    (tmp_path / "there.safetensors").touch()
    assert main([str(tmp_path / name) for name in ("list.pth", "text.pth", "there.pth", "gone.pth")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["list.pth", "text.pth", "there.pth", "gone.pth"]
    assert "no weights" in said[0] and "refuses" in said[1] and "there already" in said[2] and "refuses" in said[3]
    assert (tmp_path / "there.safetensors").stat().st_size == 0
