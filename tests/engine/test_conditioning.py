from __future__ import annotations

import pytest
import torch
from torch import Tensor

from webui.engine.condition import Encoding
from webui.engine.conditioning import Prompts
from webui.engine.families import sd1
from webui.engine.families.clip import emphasise
from webui.errors import BadRequest
from webui.weights.memory import Resident


def encode(model: Resident, text: str, encoding: Encoding) -> torch.Tensor:
    return sd1.encode(model, text, encoding).states


def plain(model: Resident, tokens: list[int]) -> Tensor:
    """Return the text encoder's own view of one row of tokens, start, end and padding added by hand."""
    row = [49406, *tokens, *[49407] * (76 - len(tokens))]
    with model.on_device("text_encoder") as encoder, torch.inference_mode():
        return encoder(torch.tensor([row])).last_hidden_state[0]


def test_a_plain_prompt_is_what_the_encoder_says(tiny: Resident) -> None:
    tokens = tiny.tokenizers["text_encoder"].encode("a photo of a cat")
    torch.testing.assert_close(encode(tiny, "a photo of a cat", Encoding()), plain(tiny, tokens))


def test_the_empty_prompt_is_one_chunk(tiny: Resident) -> None:
    torch.testing.assert_close(encode(tiny, "", Encoding()), plain(tiny, []))


def test_weights_change_the_embedding_and_weight_1_does_not(tiny: Resident) -> None:
    reference = encode(tiny, "a cat", Encoding())
    assert torch.equal(encode(tiny, "a (cat:1.0)", Encoding()), reference)
    assert float((encode(tiny, "a (cat:1.3)", Encoding()) - reference).abs().max()) > 0.05


def test_weights_scale_their_tokens_and_keep_the_mean(tiny: Resident) -> None:
    reference, weighted = encode(tiny, "a cat", Encoding()), encode(tiny, "a (cat:1.5)", Encoding())
    assert float(weighted.mean()) == pytest.approx(float(reference.mean()), rel=1e-4)
    ratio = weighted / reference
    torch.testing.assert_close(ratio[2], ratio[1] * 1.5, rtol=1e-4, atol=1e-4)


def test_long_prompts_become_chunks_of_their_own(tiny: Resident) -> None:
    words = [f"word{number}" for number in range(60)]
    context = encode(tiny, " ".join(words), Encoding())
    tokens = tiny.tokenizers["text_encoder"].encode(" ".join(words))
    assert len(tokens) > 75
    assert context.shape == (77 * -(-len(tokens) // 75), 64)
    torch.testing.assert_close(context[:77], plain(tiny, tokens[:75]))
    torch.testing.assert_close(context[77:154], plain(tiny, tokens[75:150]))


def test_break_starts_a_new_chunk(tiny: Resident) -> None:
    context = encode(tiny, "a cat BREAK a dog", Encoding())
    torch.testing.assert_close(context[:77], encode(tiny, "a cat", Encoding()))
    torch.testing.assert_close(context[77:], encode(tiny, "a dog", Encoding()))


def test_clip_skip_takes_an_earlier_layer(tiny: Resident) -> None:
    tokens = tiny.tokenizers["text_encoder"].encode("a cat")
    row = torch.tensor([[49406, *tokens, *[49407] * (76 - len(tokens))]])
    with tiny.on_device("text_encoder") as encoder, torch.inference_mode():
        states = encoder.embeddings(row)
        mask = torch.full((77, 77), float("-inf")).triu(1)[None, None]
        for layer in encoder.encoder.layers[:2]:
            states = layer(states, mask)
        expected = encoder.final_layer_norm(states)[0]
    skipped = encode(tiny, "a cat", Encoding(2))
    torch.testing.assert_close(skipped, expected)
    assert float((skipped - encode(tiny, "a cat", Encoding())).abs().max()) > 0.05


def test_clip_skip_beyond_the_encoder_is_refused(tiny: Resident) -> None:
    assert encode(tiny, "a cat", Encoding(3)).shape == (77, 64)
    with pytest.raises(BadRequest, match="3 layers"):
        encode(tiny, "a cat", Encoding(4))


def test_encoded_prompts_are_remembered_up_to_a_limit(tiny: Resident) -> None:
    prompts = Prompts(tiny)
    first = prompts.encode("a cat", Encoding())
    assert prompts.encode("a cat", Encoding()) is first
    assert not torch.equal(prompts.encode("a cat", Encoding(2)).states, first.states)
    for number in range(63):
        prompts.encode(f"cat {number}", Encoding())
    assert prompts.encode("a cat", Encoding()) is not first


def test_a_mean_of_nothing_is_not_divided_by() -> None:
    torch.manual_seed(0)
    states = torch.randn(77, 64)
    states -= states.mean()
    weighted = emphasise(states, [1.0, 1.0, 1.5, *[1.0] * 74], keeps_mean=True)
    torch.testing.assert_close(weighted[2], states[2] * 1.5)
    torch.testing.assert_close(weighted[3], states[3])


def test_emphasis_modes(tiny: Resident) -> None:
    prompt, plain_prompt = "a (cat:1.5) BREAK [dog]", "a cat BREAK dog"
    original = encode(tiny, prompt, Encoding())
    unnormed = encode(tiny, prompt, Encoding(emphasis="No norm"))
    reference = encode(tiny, plain_prompt, Encoding())
    torch.testing.assert_close(unnormed[2], reference[2] * 1.5)
    assert not torch.allclose(unnormed, original)
    torch.testing.assert_close(encode(tiny, prompt, Encoding(emphasis="Ignore")), reference)
    literal = tiny.tokenizers["text_encoder"].encode(prompt)
    torch.testing.assert_close(encode(tiny, prompt, Encoding(emphasis="None")), plain(tiny, literal))


def test_the_comma_rule_reaches_as_far_back_as_asked(tiny: Resident) -> None:
    prompt = "word " * 60 + ", " + "tail " * 20
    near, far = encode(tiny, prompt, Encoding()), encode(tiny, prompt, Encoding(comma_backtrack=5))
    tokens = tiny.tokenizers["text_encoder"].encode(prompt)
    torch.testing.assert_close(near[:77], plain(tiny, tokens[:61]))
    torch.testing.assert_close(far[:77], plain(tiny, tokens[:75]))


def test_an_edited_prompt_is_encoded_once_per_text_and_padded_with_empty_chunks(tiny: Resident) -> None:
    prompts = Prompts(tiny)
    (found,) = prompts.positive("<lora:x:1>a [cat:dog BREAK sat:2]", 6, Encoding())
    assert [segment.text for segment in found.schedule.segments] == ["a cat", "a dog BREAK sat"]
    assert [condition.length for condition in found.conditions] == [154, 154]
    torch.testing.assert_close(found.at(2).states[:77], encode(tiny, "a cat", Encoding()))
    torch.testing.assert_close(found.at(2).states[77:], encode(tiny, "", Encoding()))
    torch.testing.assert_close(found.at(3).states, encode(tiny, "a dog BREAK sat", Encoding()))


def test_alternation_shares_its_contexts(tiny: Resident) -> None:
    (found,) = Prompts(tiny).positive("a [cat|dog]", 6, Encoding())
    assert found.conditions[0] is found.conditions[2] and found.conditions[1] is found.conditions[3]
    assert not torch.equal(found.conditions[0].states, found.conditions[1].states)


def test_branches_have_weights_and_negative_prompts_have_none(tiny: Resident) -> None:
    prompts = Prompts(tiny)
    first, second = prompts.positive("a cat AND a dog :0.5", 6, Encoding())
    assert (first.weight, second.weight) == (1.0, 0.5)
    torch.testing.assert_close(second.at(0).states, encode(tiny, " a dog", Encoding()))
    negative = prompts.negative("a cat AND <lora:x:1>", 6, Encoding())
    torch.testing.assert_close(negative.at(0).states, encode(tiny, "a cat AND <lora:x:1>", Encoding()))
