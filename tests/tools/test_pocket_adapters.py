"""The shipped pocket adapters: what files they are, that they fit the pocket model, and that they work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPVisionModelWithProjection

from tools.pocket import adapters, control, image_prompt, inversion, lora, scenes, styles, vision
from tools.pocket.evaluate import Model
from webui.domain.models import Family, Kind
from webui.weights.recognition.control_files import identify_control
from webui.weights.recognition.embeddings import identify_embedding
from webui.weights.recognition.encoder_files import identify_encoder
from webui.weights.recognition.lora_files import identify_lora

# diffusers' own scheduler, which the pocket tools draw with, makes NumPy arrays of tensors in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

MODELS = Path("models")
LORAS = sorted((MODELS / "Lora").glob("pocket-*.safetensors"))
CONTROLNETS = sorted((MODELS / "ControlNet").glob("pocket-*-sd1.safetensors"))
EMBEDDINGS = sorted((MODELS / "embeddings").glob("pocket-*.safetensors"))
IP_ADAPTER = MODELS / "ControlNet" / "pocket-ip-adapter-sd1.safetensors"
EDGES = [path for path in CONTROLNETS if path != IP_ADAPTER]


@pytest.fixture(scope="module")
def model() -> Model:
    return adapters.load_base()


def plain_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(adapters.BASE / "unet", dtype=torch.float32)


def test_those_that_the_product_speaks_of_are_there() -> None:
    assert {path.stem for path in LORAS} >= {"pocket-neon-sd1"}
    assert {path.stem for path in EDGES} >= {"pocket-canny-sd1"}


@pytest.mark.parametrize("path", [*LORAS, *CONTROLNETS, *EMBEDDINGS], ids=lambda path: path.stem)
def test_each_has_a_card_and_says_what_it_is(path: Path) -> None:
    identify = {"Lora": identify_lora, "ControlNet": identify_control, "embeddings": identify_embedding}
    facts = identify[path.parent.name](path)
    assert facts.family is (Family.SDXL if path.stem.endswith("-sdxl") else Family.SD1)
    if path.parent.name == "ControlNet":
        assert facts.kind is (Kind.IP_ADAPTER if path == IP_ADAPTER else Kind.CONTROLNET)
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card and "{" not in card
    assert path.with_suffix(".easel.json").is_file()
    assert path.stat().st_size < 8_000_000


@pytest.mark.parametrize("path", LORAS, ids=lambda path: path.stem)
def test_a_lora_changes_layers_that_are_there(path: Path) -> None:
    base = path.stem.rpartition("-")[2]
    unet = UNet2DConditionModel.from_pretrained(MODELS / "Stable-diffusion" / f"pocket-{base}" / "unet")
    layers = {f"lora_unet_{name.replace('.', '_')}": module for name, module in unet.named_modules()}
    weights = load_file(path)
    places = {name.partition(".")[0] for name in weights}
    assert len(weights) == 3 * len(places)
    for place in places:
        up, down = weights[f"{place}.lora_up.weight"].float(), weights[f"{place}.lora_down.weight"].float()
        assert (up.flatten(1) @ down.flatten(1)).shape == layers[place].weight.flatten(1).shape
        assert weights[f"{place}.alpha"] == lora.RANK


@pytest.mark.parametrize("path", EDGES, ids=lambda path: path.stem)
def test_a_controlnet_is_what_diffusers_would_make_of_the_denoiser(path: Path, model: Model) -> None:
    network = ControlNetModel.from_unet(model.unet, conditioning_embedding_out_channels=control.WIDTHS)
    assert network.load_state_dict(load_file(path), strict=True)


@pytest.mark.parametrize("path", EDGES, ids=lambda path: path.stem)
def test_lines_are_followed_where_the_prompt_is_but_a_colour(path: Path, model: Model) -> None:
    network = control.new_network(model).requires_grad_(False)
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    sort = control.SORTS[path.stem.split("-")[1]]
    rng = np.random.default_rng(4)
    things = (("star", "red"), ("house", "blue"), ("fish", "yellow"), ("heart", "green"))
    asked = [
        scenes.Scene("plain white", (scenes.Thing(name, colour, 64, 60, 38),), "single") for name, colour in things
    ]
    lines = control.make_all(sort, np.stack([scenes.render(each, rng) for each in asked]), 1)
    thin = [control.canny(scenes.render(each, rng)) for each in asked]
    prompts = [colour for _, colour in things]
    followed, free = (
        np.mean([control.overlap(*pair, sort.reach) for pair in zip(thin, drawn, strict=True)])
        for drawn in (control.draw_with(model, network, prompts, lines), control.draw_with(model, None, prompts, lines))
    )
    assert followed > 0.5 and followed > 2 * free


def test_the_neon_lora_draws_what_the_base_does_not() -> None:
    model = adapters.load_base()
    drawer = lora.Lora(model.unet)
    weights = load_file(MODELS / "Lora" / "pocket-neon-sd1.safetensors")
    names = drawer.changes.state_dict()
    drawer.changes.load_state_dict({name: weights[f"lora_unet_{name}"].float() for name in names})
    prompts = [f"neon style, a {thing}" for thing in ("red square", "blue heart", "pink heart", "yellow sun")]
    drawn = model.draw(prompts, seed=2)
    assert all(np.median(each.max(2)) < 80 for each in drawn)
    assert sum(styles.shows_neon(each) for each in drawn) >= 2
    drawer.in_force = False
    assert not any(styles.shows_neon(each) for each in model.draw(prompts, seed=2))


@pytest.mark.skipif(not EMBEDDINGS, reason="no embedding is shipped")
def test_an_embedding_has_vectors_of_the_text_encoders_width(model: Model) -> None:
    for path in EMBEDDINGS:
        assert load_file(path)["emb_params"].shape == (inversion.VECTORS, model.text.config.hidden_size)


@pytest.mark.skipif(not IP_ADAPTER.exists(), reason="no IP-Adapter is shipped")
def test_the_ip_adapter_predicts_the_same_through_diffusers() -> None:
    folder = image_prompt.EYES
    facts = identify_encoder(folder)
    assert facts.kind is Kind.IMAGE_ENCODER
    eyes = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32).eval()
    picture = scenes.draw_chunk(5, 1)[0]
    seen = vision.look(eyes, picture)
    model = adapters.load_base()
    own = image_prompt.ImagePrompt(model)
    weights = {name: value.float() for name, value in load_file(IP_ADAPTER).items()}
    own.load_state_dict(weights)
    noisy, times, states = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, 128)
    theirs = plain_unet()
    parts: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    theirs._load_ip_adapter_weights([parts])
    with torch.no_grad():
        mine = model.unet(noisy, times, torch.cat([states, own.image_proj(seen)], 1)).sample
        told = {"image_embeds": [seen[:, None]]}
        other = theirs(noisy, times, states, added_cond_kwargs=told).sample
    torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
