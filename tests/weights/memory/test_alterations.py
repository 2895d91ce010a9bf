from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.weights.memory.test_memory import CPU, FLOAT, call_unet
from webui.weights.checkpoint import Checkpoint
from webui.weights.loading.load import load
from webui.weights.loading.quantised import to_eight_bit
from webui.weights.memory import Placement, Resident
from webui.weights.recognition.identify import identify

MODES = ("normal", "medvram", "lowvram")
TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
CONV_IN = "conv_in.bias"


@pytest.fixture(scope="module")
def checkpoint(tiny_folder: Path) -> Checkpoint:
    return identify(tiny_folder)


def make(checkpoint: Checkpoint, mode: str, device: torch.device = CPU, **dtypes: torch.dtype) -> Resident:
    precisions = {**FLOAT, **dtypes}
    return Resident(load(checkpoint, precisions), Placement(device, precisions, mode))  # type: ignore[arg-type]


def all_weights(resident: Resident) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": value.clone() for part in resident.parts for name, value in resident.weights(part).items()
    }


def changed(resident: Resident, *names: str) -> dict[str, Tensor]:
    return {name: resident.weights("unet")[name] * 2 + 1 for name in names}


@pytest.mark.parametrize("mode", MODES)
def test_a_component_computes_with_other_tensors_for_a_while(checkpoint: Checkpoint, mode: str) -> None:
    resident = make(checkpoint, mode)
    plain, before = call_unet(resident), all_weights(resident)
    with resident.altered("unet", changed(resident, TO_Q), "a"):
        once = call_unet(resident)
        assert torch.equal(resident.weights("unet")[TO_Q], before[f"unet.{TO_Q}"] * 2 + 1)
        with resident.altered("unet", changed(resident, TO_Q, CONV_IN), "b"):
            twice = call_unet(resident)
        assert torch.equal(call_unet(resident), once)
        with resident.on_device("unet"), resident.altered("unet", changed(resident, CONV_IN), "c"):
            assert not torch.equal(call_unet(resident), once)
    assert not torch.equal(once, plain) and not torch.equal(twice, once)
    assert torch.equal(call_unet(resident), plain)
    after = all_weights(resident)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("mode", MODES)
def test_own_tensors_are_back_after_an_error(checkpoint: Checkpoint, mode: str) -> None:
    resident = make(checkpoint, mode)
    before = all_weights(resident)
    with pytest.raises(KeyError), resident.altered("unet", changed(resident, TO_Q), "a"):
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in all_weights(resident).items())
    assert resident.weights("unet")[TO_Q].data_ptr() == resident._home["unet"].own[TO_Q].data_ptr() or mode == "lowvram"


def test_what_is_not_altered_is_not_copied(checkpoint: Checkpoint) -> None:
    resident = make(checkpoint, "normal")
    before = {name: tensor.data_ptr() for name, tensor in resident.weights("unet").items()}
    with resident.altered("unet", changed(resident, TO_Q), "a"):
        now = {name: tensor.data_ptr() for name, tensor in resident.weights("unet").items()}
    assert {name for name in now if now[name] != before[name]} == {TO_Q}
    assert {name: tensor.data_ptr() for name, tensor in resident.weights("unet").items()} == before


def test_precision_and_mode_may_change_meanwhile(checkpoint: Checkpoint) -> None:
    resident = make(checkpoint, "normal", unet=torch.bfloat16)
    with resident.altered("unet", {TO_Q: torch.ones_like(resident.weights("unet")[TO_Q])}, "a"):
        assert resident.weights("unet")[TO_Q].dtype == torch.bfloat16
        resident.recast("unet", torch.float32)
        resident.change_placement(Placement(CPU, FLOAT, "medvram"))
        assert torch.equal(resident.weights("unet")[TO_Q], torch.ones(32, 32))
    own = make(checkpoint, "normal", unet=torch.bfloat16).weights("unet")
    assert all(torch.equal(value, own[name].float()) for name, value in resident.weights("unet").items())


def test_other_tensors_go_where_the_own_ones_are(checkpoint: Checkpoint) -> None:
    """With the meta device in the GPU's place."""
    resident = make(checkpoint, "medvram", torch.device("meta"))
    with resident.altered("unet", {TO_Q: torch.zeros(32, 32)}, "a"):
        assert resident.weights("unet")[TO_Q].device.type == "cpu"
        with resident.on_device("unet"), resident.altered("unet", {TO_Q: torch.ones(32, 32)}, "b"):
            assert resident.weights("unet")[TO_Q].device.type == "meta"
        resident.vae_is_small = False
        with resident.on_device("vae"):
            assert torch.equal(resident.weights("unet")[TO_Q], torch.zeros(32, 32))


def test_prompts_are_told_apart_by_the_keys_of_text_encoders(checkpoint: Checkpoint) -> None:
    resident = make(checkpoint, "normal")
    bias = {"final_layer_norm.bias": torch.zeros(64)}
    with resident.altered("unet", changed(resident, TO_Q), "a"), resident.altered("text_encoder", bias, "b"):
        assert resident.wording == ("b",)
    assert resident.wording == ()


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [({"nowhere.weight": torch.ones(1)}, "no tensor nowhere"), ({TO_Q: torch.ones(1)}, r"shape \[32, 32\], not \[1\]")],
)
def test_tensors_that_do_not_fit(checkpoint: Checkpoint, tensors: dict[str, Tensor], reason: str) -> None:
    with pytest.raises(ValueError, match=reason), make(checkpoint, "normal").altered("unet", tensors, "a"):
        pass


def test_quantised_weights_are_not_altered(checkpoint: Checkpoint) -> None:
    resident = make(checkpoint, "normal")
    home = resident._home["unet"]
    home.own = {**home.own, TO_Q: to_eight_bit(home.own[TO_Q])}
    with pytest.raises(ValueError, match="quantised"), resident.altered("unet", {TO_Q: torch.ones(32, 32)}, "a"):
        pass
