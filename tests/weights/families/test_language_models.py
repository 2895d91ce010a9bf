"""Language models as text encoders: built from their configuration, told apart from what else is in their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedModel

from tests.tiny_texts import make_gemma, make_qwen, write_gemma_tokenizer, write_qwen_tokenizer
from webui.weights.checkpoint import Part
from webui.weights.loading.naming import rename
from webui.weights.loading.networks import build
from webui.weights.loading.tokenizers import Spot, load_piece_tokenizer

MODELS = {"Gemma2Model": make_gemma, "Qwen3Model": make_qwen}
WRITERS = {"gemma": write_gemma_tokenizer, "qwen": write_qwen_tokenizer}


@pytest.mark.parametrize("kind", MODELS)
def test_a_language_model_says_the_same_after_loading(kind: str, tmp_path: Path) -> None:
    """What it computes for itself, the frequencies of its positions, is in no file and there all the same."""
    original = MODELS[kind]()
    original.save_pretrained(tmp_path)
    loaded = _load(kind, tmp_path)
    tokens = torch.arange(5, 40).unsqueeze(0)
    with torch.inference_mode():
        before = original(tokens, output_hidden_states=True).hidden_states
        after = loaded(tokens, output_hidden_states=True).hidden_states
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("prefix", ["model.", "model.language_model.", "language_model.model."])
def test_what_does_not_read_is_left_out(prefix: str) -> None:
    weights = {f"{prefix}{name}": tensor for name, tensor in make_qwen().state_dict().items()}
    others = dict.fromkeys(("lm_head.weight", "visual.merger.weight", f"{prefix}rotary_emb.inv_freq"), torch.zeros(1))
    part = Part("Qwen3ForCausalLM", {}, ())
    assert rename(weights | others, part, make_qwen()).keys() == make_qwen().state_dict().keys()


@pytest.mark.parametrize("kind", MODELS)
def test_weights_take_no_memory_and_configurations_cannot_choose_how_a_network_runs(kind: str) -> None:
    config = make_gemma().config.to_dict() if kind.startswith("Gemma") else make_qwen().config.to_dict()
    network = build(Part(kind, {**config, "_attn_implementation": "some/kernel", "output_attentions": True}, ()))
    assert all(weight.is_meta for weight in network.parameters())
    assert not any(buffer.is_meta for buffer in network.buffers())
    assert not network.config.output_attentions


def _load(kind: str, folder: Path) -> PreTrainedModel:
    part = Part(kind, json.loads((folder / "config.json").read_text("utf-8")), ())
    network = build(part)
    network.load_state_dict(rename(load_file(folder / "model.safetensors"), part, network), assign=True)
    return network.eval()  # type: ignore[return-value]


# Tokenizers


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "text", ["a cat at night", "", "  two  spaces\n\n", "<bos><|im_start|>user\nDog é 猫<|im_end|>\n"]
)
def test_tokens_are_those_of_transformers(kind: str, text: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "tokenizer")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)
    ours = load_piece_tokenizer(tmp_path / "tokenizer", 700)
    assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids
    assert [*ours.leading, *ours.encode(text), *ours.trailing] == theirs(text).input_ids
    assert ours.padding == theirs.pad_token_id


def test_the_frame_of_a_text(tmp_path: Path) -> None:
    write_gemma_tokenizer(tmp_path / "gemma")
    gemma = load_piece_tokenizer(tmp_path / "gemma", 700)
    assert (gemma.leading, gemma.trailing) == ((gemma.number("<bos>"),), ())


def test_a_vocabulary_in_files_of_its_own(tmp_path: Path) -> None:
    """Qwen's older folders have no tokenizer.json."""
    write_qwen_tokenizer(tmp_path / "new")
    content = json.loads((tmp_path / "new" / "tokenizer.json").read_text("utf-8"))
    old = tmp_path / "old"
    old.mkdir()
    (old / "vocab.json").write_text(json.dumps(content["model"]["vocab"]), encoding="utf-8")
    (old / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *(" ".join(pair) for pair in content["model"]["merges"])]), encoding="utf-8"
    )
    added = {str(token.pop("id")): token for token in content["added_tokens"]}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "added_tokens_decoder": added}
    (old / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    ours, before = load_piece_tokenizer(old, 700), load_piece_tokenizer(tmp_path / "new", 700)
    text = "<|im_start|>user\na cat at night<|im_end|>\n"
    assert ours.encode(text) == before.encode(text)
    assert ours.number("<|im_start|>") in ours.encode(text)


@pytest.mark.parametrize(
    ("write", "spots"),
    [(write_gemma_tokenizer, [(0, 1), (1, 5), (5, 6)]), (write_qwen_tokenizer, [(0, 1), (1, 5), (5, 6)])],
)
def test_tokens_know_their_places(write: Callable[[Path], None], spots: list[tuple[int, int]], tmp_path: Path) -> None:
    write(tmp_path)
    located: list[Spot] = load_piece_tokenizer(tmp_path, 700).locate("a cat,")
    assert [(spot.start, spot.end) for spot in located] == spots
