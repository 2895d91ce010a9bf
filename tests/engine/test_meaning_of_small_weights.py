"""Networks in 8 bits draw what the words say, nearly the same pictures; those of GGUF files draw with other parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.engine_parts import picture_of
from tests.gguf_parts import unet_weights, write_gguf
from tests.tiny_models import make_networks, vae_weights
from tools.pocket.scorer import Scorer
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, PartRef, Plan, PreviewPlan
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady

ASKED = [("red", "circle"), ("blue", "star"), ("green", "square"), ("yellow", "heart")]


def make_plan(model: ModelRef, side: int = 128, steps: int = 12) -> Plan:
    images = tuple(
        ImagePlan(index=index, seed=100 + index, prompt=f"a {colour} {thing}, white background", negative_prompt="")
        for index, (colour, thing) in enumerate(ASKED)
    )
    return Plan(
        model=model, sampler="DPM++ 2M", schedule="Automatic", steps=steps, guidance=5.0, width=side, height=side,
        batch_size=4, images=images, preview=PreviewPlan(every=0),
    )  # fmt: skip


def draw(engine: Engine, model: ModelRef) -> list[np.ndarray]:
    return [np.asarray(item.image) for item in engine.run(make_plan(model), Control()) if isinstance(item, ImageReady)]


def test_8_bit_weights_draw_what_was_asked(pocket_engine: Engine, pocket: ModelInfo, scorer: Scorer) -> None:
    assert pocket.family is not None and pocket.sha256 is not None
    whole = ModelRef(
        name=pocket.name, path=pocket.path, family=pocket.family, layout=pocket.layout, sha256=pocket.sha256
    )
    exact, small = draw(pocket_engine, whole), draw(pocket_engine, whole.replace(eight_bit=True))
    changes = [np.abs(one.astype(int) - other).mean() for one, other in zip(small, exact, strict=True)]
    assert 0 < np.median(changes) < 6, changes
    seen = scorer.describe_all([Image.fromarray(picture) for picture in small])
    assert sum((each.colour, each.object) == asked for each, asked in zip(seen, ASKED, strict=True)) >= 3, seen


@pytest.fixture
def parts(tmp_path: Path) -> tuple[PartRef, ...]:
    """A VAE and a text encoder in files of their own."""
    save_file(vae_weights(), tmp_path / "vae.safetensors")
    words = make_networks()["text_encoder"].state_dict()
    save_file({f"text_model.{name}": tensor for name, tensor in words.items()}, tmp_path / "text_encoder.safetensors")
    return tuple(
        PartRef(component=name, name=name, path=tmp_path / f"{name}.safetensors", sha256=name)
        for name in ("vae", "text_encoder")
    )


def test_a_unet_of_its_own_draws_with_other_parts(
    pocket_engine: Engine, tiny_file: Path, parts: tuple[PartRef, ...], tmp_path: Path
) -> None:
    def picture(path: Path, parts: tuple[PartRef, ...] = ()) -> np.ndarray:
        model = ModelRef(name="x", path=path, family=Family.SD1, layout="original", sha256=path.name, parts=parts)
        plan = make_plan(model, side=64, steps=2)
        return picture_of(pocket_engine, plan.replace(images=plan.images[:1], batch_size=1))

    whole = picture(tiny_file)
    save_file(unet_weights(), tmp_path / "unet.safetensors")
    alone = picture(tmp_path / "unet.safetensors", parts)
    quantised = picture(write_gguf(tmp_path / "unet.gguf", unet_weights()), parts)
    assert np.abs(alone - whole).max() <= 1
    assert np.abs(quantised - whole).any() and quantised.std() > 1
