"""What sets checkpoints apart, in words for their cards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_edm import COSXL
from tests.tiny_models import SCHEDULER
from tests.tiny_xl import make_folder
from webui.weights.recognition.identify import identify
from webui.weights.recognition.traits import told_traits

USUAL = {"prediction": "epsilon"}


@pytest.mark.parametrize(
    ("name", "scheduler", "unet", "expected"),
    [
        ("model", {}, {}, USUAL),
        (
            "model",
            {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
            {},
            {"prediction": "v-prediction", "noise": "zero terminal SNR"},
        ),
        ("model", COSXL, {}, {"prediction": "v-prediction", "noise": "EDM, sigma 0.002 to 120"}),
        ("model_lightning_4step", {}, {}, USUAL | {"distilled": "Lightning"}),
        ("model", {}, {"time_cond_proj_dim": 16}, USUAL | {"distilled": "LCM"}),
    ],
)
def test_traits(
    tmp_path: Path, name: str, scheduler: Mapping[str, Any], unet: Mapping[str, Any], expected: Mapping[str, str]
) -> None:
    folder = make_folder(tmp_path / name, scheduler={**SCHEDULER, **scheduler}, unet_changes=unet)
    assert told_traits(identify(folder)) == expected
