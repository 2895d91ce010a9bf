"""Words that were taught are read as diffusers reads them, in all families with CLIP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor

from tests import tiny_xl
from tests.engine_parts import load_pipeline
from webui.engine.condition import Encoding
from webui.engine.conditioning import Prompts
from webui.engine.engine import EngineOptions
from webui.engine.families import sd1, sdxl
from webui.engine.families.clip import emphasise
from webui.weights.loading.load import load
from webui.weights.memory import Placement, Resident, choose_placement
from webui.weights.recognition.identify import identify

MODES = ("normal", "medvram", "lowvram")


def vectors(count: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPipeline:
    """diffusers' own, which was taught "zorblax" (3 vectors) and "quux" (one)."""
    files = tmp_path_factory.mktemp("embeddings")
    pipeline = load_pipeline(StableDiffusionPipeline, tiny_folder, safety_checker=None, feature_extractor=None)
    for number, (word, count) in enumerate((("zorblax", 3), ("quux", 1))):
        save_file({"emb_params": vectors(count, 64, number)}, files / f"{word}.safetensors")
        pipeline.load_textual_inversion(str(files / f"{word}.safetensors"), token=word)
    return pipeline


WORDS = {"text_encoder": {"zorblax": vectors(3, 64, 0), "quux": vectors(1, 64, 1)}}


def states(model: Resident, text: str) -> Tensor:
    return sd1.encode(model, text, Encoding()).states


def expected(pipeline: StableDiffusionPipeline, text: str) -> Tensor:
    with torch.inference_mode():
        return pipeline.encode_prompt(text, "cpu", 1, False)[0][0]


@pytest.mark.parametrize("text", ["zorblax", "a photo of zorblax, quux and a cat", "quux zorblax quux"])
def test_words_are_read_as_by_diffusers(tiny: Resident, pipeline: StableDiffusionPipeline, text: str) -> None:
    plain = states(tiny, text)
    with tiny.taught(WORDS, "w"):
        torch.testing.assert_close(states(tiny, text), expected(pipeline, text), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(states(tiny, text.upper()), expected(pipeline, text), rtol=1e-5, atol=1e-5)
    assert torch.equal(states(tiny, text), plain)


def test_emphasis_multiplies_every_vector(tiny: Resident, pipeline: StableDiffusionPipeline) -> None:
    weights = [1.0, 1.0, 1.3, 1.3, 1.3, *[1.0] * 72]
    with tiny.taught(WORDS, "w"):
        weighted = states(tiny, "a (zorblax:1.3) cat")
    wanted = emphasise(expected(pipeline, "a zorblax cat"), weights, keeps_mean=True)
    torch.testing.assert_close(weighted, wanted, rtol=1e-5, atol=1e-5)


def test_a_word_that_does_not_fit_begins_the_next_chunk(tiny: Resident, pipeline: StableDiffusionPipeline) -> None:
    before = "a " * 73
    with tiny.taught(WORDS, "w"):
        long = states(tiny, f"{before}zorblax")
    assert long.shape[0] == 2 * 77
    torch.testing.assert_close(long[:77], expected(pipeline, before), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(long[77:], expected(pipeline, "zorblax"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_words_are_read_in_every_memory_mode(
    tiny_folder: Path, tiny: Resident, options: EngineOptions, mode: str
) -> None:
    checkpoint = identify(tiny_folder)
    dtypes = choose_placement(options, checkpoint).dtypes
    model = Resident(load(checkpoint, dtypes), Placement(torch.device("cpu"), dtypes, mode))  # type: ignore[arg-type]
    with tiny.taught(WORDS, "w"):
        wanted = states(tiny, "a zorblax")
    with model.taught(WORDS, "w"):
        assert torch.equal(states(model, "a zorblax"), wanted)


def test_encoded_prompts_are_remembered_by_what_words_stand_for(tiny: Resident) -> None:
    prompts = Prompts(tiny)
    plain = prompts.encode("zorblax", Encoding()).states
    with tiny.taught(WORDS, "one"):
        first = prompts.encode("zorblax", Encoding()).states
    with tiny.taught({"text_encoder": {"zorblax": vectors(3, 64, 9)}}, "other"):
        second = prompts.encode("zorblax", Encoding()).states
    assert not torch.equal(first, plain) and not torch.equal(second, first)
    assert prompts.encode("zorblax", Encoding()).states is plain


def test_everything_is_put_back_after_an_error(tiny: Resident) -> None:
    plain, tokenizers = states(tiny, "zorblax"), tiny.tokenizers
    with pytest.raises(RuntimeError, match="stop"), tiny.taught(WORDS, "w"):
        raise RuntimeError("stop")
    assert tiny.tokenizers is tokenizers and tiny.wording == ()
    layer = tiny.network("text_encoder").get_input_embeddings()  # type: ignore[operator]
    assert not layer._forward_hooks and not layer._forward_pre_hooks
    assert torch.equal(states(tiny, "zorblax"), plain)


def test_vectors_of_another_width_are_refused(tiny: Resident) -> None:
    with (
        pytest.raises(ValueError, match="not 64 numbers long"),
        tiny.taught({"text_encoder": {"x": vectors(1, 9)}}, "w"),
    ):
        pass
    assert tiny.wording == ()
    with (
        tiny.taught(WORDS, "w"),
        pytest.raises(ValueError, match="taught already"),
        tiny.taught(WORDS, "w"),
    ):
        pass


def test_sdxl_reads_them_with_both_encoders(tmp_path: Path, options: EngineOptions) -> None:
    folder = tiny_xl.make_folder(tmp_path / "xl")
    first, second = vectors(2, tiny_xl.WIDTHS[0], 1), vectors(2, tiny_xl.WIDTHS[1], 2)
    pipeline = load_pipeline(StableDiffusionXLPipeline, folder)
    pipeline.load_textual_inversion(
        {"emb_params": first}, token="zorblax", text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer
    )
    pipeline.load_textual_inversion(
        {"emb_params": second}, token="zorblax", text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2
    )
    with torch.inference_mode():
        wanted, _, pooled, _ = pipeline.encode_prompt("a zorblax cat", device="cpu", do_classifier_free_guidance=False)
    checkpoint = identify(folder)
    placement = choose_placement(options, checkpoint)
    model = Resident(load(checkpoint, placement.dtypes), placement)
    with model.taught({"text_encoder": {"zorblax": first}, "text_encoder_2": {"zorblax": second}}, "w"):
        condition = sdxl.encode(model, "a zorblax cat", Encoding())
    torch.testing.assert_close(condition.states, wanted[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(condition.pooled, pooled[0], rtol=1e-5, atol=1e-5)
