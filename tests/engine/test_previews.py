from __future__ import annotations

import numpy as np
import pytest
import torch

from webui.domain.plan import PreviewPlan
from webui.engine import previews, vae
from webui.weights.memory import Resident


def test_when_one_is_due() -> None:
    assert [step for step in range(1, 11) if previews.is_due(step, 10, 3)] == [3, 6, 9]
    assert [step for step in range(1, 11) if previews.is_due(step, 10, 5)] == [5]
    assert not any(previews.is_due(step, 10, 0) for step in range(1, 11))


def test_a_small_vae_draws_it(tiny: Resident) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert previews.render(tiny, latents, PreviewPlan()) == vae.decode(tiny, latents[0])


def test_a_real_vae_is_spared(tiny: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "vae_is_small", False)
    monkeypatch.setattr(previews, "decode", None)  # must not be called
    image = previews.render(tiny, torch.zeros(1, 4, 8, 16), PreviewPlan(size=64))
    assert image is not None
    assert image.size == (64, 32)


def test_a_real_vae_draws_it_when_asked(tiny: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "vae_is_small", False)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert previews.render(tiny, latents, PreviewPlan(method="Full")) == vae.decode(tiny, latents[0])


def test_unusable_latents_give_no_preview(tiny: Resident) -> None:
    assert previews.render(tiny, torch.full((1, 4, 8, 8), float("nan")), PreviewPlan()) is None


def test_the_linear_map_tells_bright_from_dark_and_red_from_green(tiny: Resident) -> None:
    def colour(*latent: float) -> list[int]:
        latents = torch.tensor(latent, dtype=torch.float32).view(4, 1, 1).expand(4, 4, 4)
        image = previews.approximate(tiny, latents)
        assert image.size == (32, 32)
        return np.asarray(image).reshape(-1, 3).mean(0).round().astype(int).tolist()

    assert min(colour(2, 0, 0, 0)) > 160 > 90 > max(colour(-2, 0, 0, 0))
    red, green, _ = colour(0, 0, -2, 1)
    assert red > green
