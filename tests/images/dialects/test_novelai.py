"""NovelAI's chunks, and the text it hides in the alpha channel."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from webui.domain.request import GenerationRequest
from webui.images.dialects.interpret import Interpretation, interpret
from webui.images.encode import encode_png
from webui.images.open import read_infotext

COMMENT = {
    "prompt": "1 {{boat}}, [fog] (sea)", "steps": 28, "height": 1216, "width": 832, "scale": 5.0, "cfg_rescale": 0.0,
    "seed": 77, "noise_schedule": "karras", "sampler": "k_dpmpp_2m", "sm": True, "sm_dyn": False, "strength": 0.69,
    "uc": "blurry", "request_type": "PromptGenerateRequest",
}  # fmt: skip
TEXTS = {
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V3 1234",
    "Description": "1 {{boat}}",
    "Comment": json.dumps(COMMENT),
}


def found(texts: dict[str, str]) -> Interpretation:
    interpretation = interpret(texts)
    assert interpretation is not None and interpretation.program == "NovelAI"
    return interpretation


def test_chunks() -> None:
    told = found(TEXTS)
    assert told.request == GenerationRequest(
        prompt=r"1 (boat:1.1025), (fog:0.9524) \(sea\)", negative_prompt="blurry", sampler="DPM++ 2M",
        schedule="Karras", steps=28, guidance=5, seed=77, width=832, height=1216,
    )  # fmt: skip
    assert told.start == {}
    assert told.unmapped == (
        "Model: NovelAI Diffusion V3 1234 (a model of NovelAI: choose one of yours)",
        "sm: True (SMEA is a method of NovelAI)",
    )


def test_characters_of_their_own() -> None:
    captions = {"base_caption": "1 boat", "char_captions": [{"char_caption": "a cat", "centers": []}, {}]}
    told = found({**TEXTS, "Comment": json.dumps({**COMMENT, "v4_prompt": {"caption": captions}})})
    assert told.unmapped[-1] == (
        "Character: a cat (characters of their own are not available here: add them to the prompt)"
    )


def test_a_picture_as_the_start_and_other_schedules() -> None:
    comment = {**COMMENT, "request_type": "Img2ImgRequest", "noise_schedule": "native", "cfg_rescale": 0.4}
    told = found({**TEXTS, "Comment": json.dumps(comment)})
    assert told.start == {"strength": 0.69}
    assert (told.request.schedule, told.request.guiding.rescale) == ("Automatic", 0.4)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("{a", "(a:1.05)"),
        ("a}b]", "ab"),
        ("[[a]]", "(a:0.907)"),
        ("{[a]}", "a"),
        ("\\{a\\}", "\\{a\\}"),
        ("{" * 99, ""),
    ],
)
def test_braces_become_weights(prompt: str, expected: str) -> None:
    assert found({"Software": "NovelAI", "Description": prompt}).request.prompt == expected


def hidden(text: bytes, signature: bytes, channels: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """Return a PNG without any chunk of text that hides `text` in its lowest bits."""
    bits = np.unpackbits(np.frombuffer(signature + (len(text) * 8).to_bytes(4, "big") + text, np.uint8))
    pixels = np.full((size[1], size[0], 4 if channels == 1 else 3), 254, np.uint8)
    columns = np.zeros((size[0], size[1], channels), np.uint8)
    columns.reshape(-1)[: len(bits)] = bits
    pixels[..., -channels:] |= columns.transpose(1, 0, 2)
    return encode_png(Image.fromarray(pixels))


@pytest.mark.parametrize(
    ("signature", "channels"), [("stealth_pngcomp", 1), ("stealth_pnginfo", 1), ("stealth_rgbcomp", 3)]
)
def test_text_hidden_in_pixels(signature: str, channels: int) -> None:
    def packed(text: str) -> bytes:
        return gzip.compress(text.encode()) if signature.endswith("comp") else text.encode()

    chunks = json.dumps({**TEXTS, "Comment": json.dumps({**COMMENT, "uc": "ü"})})
    infotext, items = read_infotext(hidden(packed(chunks), signature.encode(), channels))
    assert infotext is None and found(items).request.negative_prompt == "ü"
    parameters = "a cat\nSteps: 20, Seed: 1, Size: 64x64"
    assert read_infotext(hidden(packed(parameters), signature.encode(), channels)) == (parameters, {})


def test_hidden_nonsense_is_nothing() -> None:
    for content in (b"", b"not gzip at all", b"\0" * 99):
        assert read_infotext(hidden(content, b"stealth_pngcomp", 1)) == (None, {})
    half, _ = read_infotext(hidden(gzip.compress(b"x" * 999)[:-12], b"stealth_pngcomp", 1))
    assert half is not None and set(half) == {"x"}, "as much as there is"
    too_long = np.unpackbits(np.frombuffer(b"stealth_pnginfo" + b"\xff" * 4, np.uint8))
    pixels = np.full((len(too_long), 1, 4), 254, np.uint8)
    pixels[..., 3] |= too_long[:, None]
    assert read_infotext(encode_png(Image.fromarray(pixels))) == (None, {})
    buffer = io.BytesIO()
    Image.new("RGBA", (1, 1)).save(buffer, "PNG")
    assert read_infotext(buffer.getvalue()) == (None, {})


def test_what_unpacks_to_far_too_much_is_cut() -> None:
    bomb = gzip.compress(b"a" * 20_000_000)
    infotext, _ = read_infotext(hidden(bomb, b"stealth_pngcomp", 1, size=(512, 512)))
    assert infotext is not None and len(infotext) == 4 * 1024 * 1024
