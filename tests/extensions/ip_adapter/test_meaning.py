"""The IP-Adapter that is shipped takes over the colour and the thing of a picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from extensions.ip_adapter.facts import NAME
from extensions.ip_adapter.options import IpAdapterOptions
from extensions.ip_adapter.planning import tell
from extensions.ip_adapter.seeing import Seeing
from tests.extensions.parts import make_tools
from tools.pocket import scenes
from tools.pocket.scorer import Scorer
from webui.domain.models import Kind, ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.engine import Control, Engine, EngineOptions, ImageReady
from webui.engine.run import Modifier

MODELS = Path(__file__).resolve().parents[3] / "models"
SHOWN = (("cat", "red"), ("house", "blue"), ("star", "yellow"), ("car", "green"))


def test_colour_and_thing_are_taken_over(pocket: ModelInfo, scorer: Scorer) -> None:
    engine = Engine(EngineOptions(use_cpu=frozenset({"all"})), [Modifier(NAME, patches=(Seeing().enter,))])
    encoder = ModelInfo(name="eyes", path=MODELS / "clip_vision" / "pocket-clip-vision", kind=Kind.IMAGE_ENCODER)
    adapter = ModelInfo(
        name="pocket", path=MODELS / "ControlNet" / "pocket-ip-adapter-sd1.safetensors", kind=Kind.IP_ADAPTER
    )
    tools = dataclasses.replace(make_tools(), find=lambda kind, name: adapter, models=lambda kind: (encoder,))
    things: list[bool] = []
    colours: list[bool] = []
    for number, (thing, colour) in enumerate(SHOWN):
        scene = scenes.Scene("plain white", (scenes.Thing(thing, colour, 64.0, 64.0, 38.0),), "single")
        picture = Image.fromarray(scenes.render(scene, np.random.default_rng(number)))
        reference = str(number) * 64
        asked: Any = {"pictures": [{"enabled": True, "image": reference, "model": "pocket"}]}
        image = ImagePlan(index=0, seed=number, prompt="", negative_prompt="")
        model = ModelRef(name=pocket.name, path=pocket.path, family=pocket.family, layout=pocket.layout, sha256="0")
        plan = Plan(
            model=model, sampler="DPM++ 2M", schedule="Karras", steps=14, guidance=5.0, width=128, height=128,
            images=(image,), preview=PreviewPlan(every=0),
        )  # fmt: skip
        told = tell(plan, IpAdapterOptions.model_validate(asked), tools)
        drawn = [
            each.image for each in engine.run(told, Control(), {reference: picture}) if isinstance(each, ImageReady)
        ]
        (seen,) = scorer.describe_all(drawn)
        things.append(seen.object == thing)
        colours.append(seen.colour == colour)
    assert sum(things) >= 2 and sum(colours) >= 3
