"""One row of tokens for T5 and language models, with weights, a frame and words around the text."""

from __future__ import annotations

import pytest
import torch

from tests.tiny_texts import write_gemma_tokenizer
from webui.engine.condition import Condition, stack
from webui.engine.families.pieces import read_row, weigh_states
from webui.weights.loading.tokenizers import PieceTokenizer, load_piece_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PieceTokenizer:
    folder = tmp_path_factory.mktemp("tokenizers") / "tokenizer"
    write_gemma_tokenizer(folder)
    return load_piece_tokenizer(folder, 700)


def test_words_grow_together_with_what_is_before_them(tokenizer: PieceTokenizer) -> None:
    row = read_row(tokenizer, "cat", "Original", before="user: ", behind="!")
    assert row.tokens == [*tokenizer.leading, *tokenizer.encode("user: cat!")]
    assert tokenizer.number("▁cat") in row.tokens


def test_brackets_are_weights_and_no_text(tokenizer: PieceTokenizer) -> None:
    plain, heavy = (
        read_row(tokenizer, "a cat castle", "Original"),
        read_row(tokenizer, "a (cat:1.5) castle", "Original"),
    )
    assert plain.tokens == heavy.tokens
    at = plain.tokens.index(tokenizer.number("▁cat"))
    assert [weight for place, weight in enumerate(heavy.weights) if place != at] == [1.0] * (len(plain.tokens) - 1)
    assert heavy.weights[at] == 1.5
    assert tokenizer.number("(") in read_row(tokenizer, "a (cat:1.5) castle", "None").tokens


def test_what_stands_around_a_text_has_no_weight(tokenizer: PieceTokenizer) -> None:
    row = read_row(tokenizer, "(cat:1.5)", "Original", before="user:", behind="dog", padded=30)
    heavy = [token for token, weight in zip(row.tokens, row.weights, strict=True) if weight != 1]
    assert heavy == tokenizer.encode("cat")


def test_long_texts_are_cut_and_short_ones_filled_up(tokenizer: PieceTokenizer) -> None:
    long = read_row(tokenizer, "a cat " * 50, "Original", most=20, padded=20)
    short = read_row(tokenizer, "cat", "Original", most=20, padded=20)
    assert len(long.tokens) == len(short.tokens) == len(short.weights) == 20
    assert long.own == 20 and short.own == 1 + len(tokenizer.encode("cat"))
    assert short.tokens[short.own :] == [tokenizer.padding] * (20 - short.own)
    assert short.mask.tolist() == [True] * short.own + [False] * (20 - short.own)


def test_small_letters(tokenizer: PieceTokenizer) -> None:
    assert read_row(tokenizer, "A (Cat:2)", "Original", lower=True) == read_row(tokenizer, "a (cat:2)", "Original")


def test_weights_act_on_states() -> None:
    states, weights = torch.ones(2, 3), [1.0, 2.0]
    assert torch.equal(weigh_states(states, weights, "Ignore"), states)
    assert weigh_states(states, weights, "No norm").tolist() == [[1.0] * 3, [2.0] * 3]
    assert weigh_states(states, weights, "Original").mean() == pytest.approx(1)


def test_a_mask_grows_with_the_states() -> None:
    condition = Condition(torch.ones(2, 3), mask=torch.tensor([True, False]))
    longer = condition.stretched(4)
    assert longer.mask is not None and longer.mask.tolist() == [True, False, False, False]
    stacked = stack([longer, longer])
    assert stacked.mask is not None and stacked.mask.shape == (2, 4)
