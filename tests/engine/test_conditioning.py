from __future__ import annotations

import pytest
import torch
from torch import Tensor

from webui.engine.conditioning import Prompts, _emphasise, encode
from webui.errors import BadRequest
from webui.weights.memory import Resident


def plain(model: Resident, tokens: list[int]) -> Tensor:
    """Return the text encoder's own view of one row of tokens, start, end and padding added by hand."""
    row = [49406, *tokens, *[49407] * (76 - len(tokens))]
    with model.on_device("text_encoder") as encoder, torch.inference_mode():
        return encoder(torch.tensor([row])).last_hidden_state[0]


def test_a_plain_prompt_is_what_the_encoder_says(tiny: Resident) -> None:
    tokens = tiny.tokenizer.encode("a photo of a cat")
    torch.testing.assert_close(encode(tiny, "a photo of a cat", 1), plain(tiny, tokens))


def test_the_empty_prompt_is_one_chunk(tiny: Resident) -> None:
    torch.testing.assert_close(encode(tiny, "", 1), plain(tiny, []))


def test_weights_change_the_embedding_and_weight_1_does_not(tiny: Resident) -> None:
    reference = encode(tiny, "a cat", 1)
    assert torch.equal(encode(tiny, "a (cat:1.0)", 1), reference)
    assert float((encode(tiny, "a (cat:1.3)", 1) - reference).abs().max()) > 0.05


def test_weights_scale_their_tokens_and_keep_the_mean(tiny: Resident) -> None:
    reference, weighted = encode(tiny, "a cat", 1), encode(tiny, "a (cat:1.5)", 1)
    assert float(weighted.mean()) == pytest.approx(float(reference.mean()), rel=1e-4)
    ratio = weighted / reference
    torch.testing.assert_close(ratio[2], ratio[1] * 1.5, rtol=1e-4, atol=1e-4)


def test_long_prompts_become_chunks_of_their_own(tiny: Resident) -> None:
    words = [f"word{number}" for number in range(60)]
    context = encode(tiny, " ".join(words), 1)
    tokens = tiny.tokenizer.encode(" ".join(words))
    assert len(tokens) > 75
    assert context.shape == (77 * -(-len(tokens) // 75), 64)
    torch.testing.assert_close(context[:77], plain(tiny, tokens[:75]))
    torch.testing.assert_close(context[77:154], plain(tiny, tokens[75:150]))


def test_break_starts_a_new_chunk(tiny: Resident) -> None:
    context = encode(tiny, "a cat BREAK a dog", 1)
    torch.testing.assert_close(context[:77], encode(tiny, "a cat", 1))
    torch.testing.assert_close(context[77:], encode(tiny, "a dog", 1))


def test_clip_skip_takes_an_earlier_layer(tiny: Resident) -> None:
    tokens = tiny.tokenizer.encode("a cat")
    row = torch.tensor([[49406, *tokens, *[49407] * (76 - len(tokens))]])
    with tiny.on_device("text_encoder") as encoder, torch.inference_mode():
        states = encoder.embeddings(row)
        mask = torch.full((77, 77), float("-inf")).triu(1)[None, None]
        for layer in encoder.encoder.layers[:2]:
            states = layer(states, mask)
        expected = encoder.final_layer_norm(states)[0]
    skipped = encode(tiny, "a cat", 2)
    torch.testing.assert_close(skipped, expected)
    assert float((skipped - encode(tiny, "a cat", 1)).abs().max()) > 0.05


def test_clip_skip_beyond_the_encoder_is_refused(tiny: Resident) -> None:
    assert encode(tiny, "a cat", 3).shape == (77, 64)
    with pytest.raises(BadRequest, match="3 layers"):
        encode(tiny, "a cat", 4)


def test_encoded_prompts_are_remembered_up_to_a_limit(tiny: Resident) -> None:
    prompts = Prompts(tiny)
    first = prompts.encode("a cat", 1)
    assert prompts.encode("a cat", 1) is first
    assert not torch.equal(prompts.encode("a cat", 2), first)
    for number in range(31):
        prompts.encode(f"cat {number}", 1)
    assert prompts.encode("a cat", 1) is not first


def test_a_mean_of_nothing_is_not_divided_by() -> None:
    torch.manual_seed(0)
    states = torch.randn(77, 64)
    states -= states.mean()
    weighted = _emphasise(states, (1.0, 1.5))
    torch.testing.assert_close(weighted[2], states[2] * 1.5)
    torch.testing.assert_close(weighted[3], states[3])
