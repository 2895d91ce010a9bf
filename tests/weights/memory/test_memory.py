from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import accelerate
import pytest
import torch

from tests.tiny_models import make_networks, make_single_file, make_taesd
from webui.domain.models import Family
from webui.domain.plan import ModelRef
from webui.weights.checkpoint import Checkpoint
from webui.weights.loading.load import load
from webui.weights.memory import EngineOptions, ModelCache, Placement, Resident, cache, is_out_of_memory
from webui.weights.memory import resident as memory_resident
from webui.weights.recognition.identify import identify

FLOAT = dict.fromkeys(("unet", "vae", "text_encoder"), torch.float32)
CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tiny_folder: Path) -> Checkpoint:
    return identify(tiny_folder)


def call_unet(resident: Resident) -> torch.Tensor:
    torch.manual_seed(0)
    latents, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 64)
    with resident.on_device("unet") as unet, torch.inference_mode():
        return unet(latents, torch.tensor(5.0), encoder_hidden_states=context, return_dict=False)[0]


def test_every_mode_computes_the_same(checkpoint: Checkpoint) -> None:
    results = []
    for mode in ("normal", "medvram", "lowvram"):
        resident = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT, mode))  # type: ignore[arg-type]
        for _ in range(2):
            with resident.on_device("text_encoder") as encoder, torch.inference_mode():
                encoder(torch.tensor([[1, 2]]))
            results.append(call_unet(resident))
            with resident.on_device("vae") as vae, torch.inference_mode():
                vae.decode(torch.zeros(1, 4, 8, 8))
    assert all(torch.equal(result, results[0]) for result in results)


def test_saving_modes_send_the_others_home(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the meta device in the GPU's place: what is on it is visible."""
    meta = torch.device("meta")
    resident = Resident(load(checkpoint, FLOAT), Placement(meta, FLOAT, "medvram"))

    def places() -> dict[str, str]:
        return {name: next(network.parameters()).device.type for name, network in resident._networks.items()}

    assert set(places().values()) == {"cpu"}
    with resident.on_device("text_encoder"):
        assert places() == {"text_encoder": "meta", "unet": "cpu", "vae": "cpu"}
    with resident.on_device("unet"):
        assert places() == {"text_encoder": "cpu", "unet": "meta", "vae": "cpu"}
        with resident.on_device("vae"):  # a preview by a small VAE
            assert places() == {"text_encoder": "cpu", "unet": "meta", "vae": "meta"}
    resident.exchange("taesd", make_taesd())
    with resident.on_device("unet"):
        with resident.on_device("taesd"):
            assert places()["unet"] == places()["taesd"] == "meta"
        monkeypatch.setattr(resident, "vae_is_small", False)
        with resident.on_device("vae"):
            assert (places()["unet"], places()["vae"]) == ("cpu", "meta")
        assert places()["unet"] == "meta", "the run goes on after the preview"
    resident.exchange("taesd", None)
    monkeypatch.setattr(resident, "vae_is_small", False)
    with resident.on_device("text_encoder"):
        assert places() == {"text_encoder": "meta", "unet": "cpu", "vae": "cpu"}


def test_recasting(checkpoint: Checkpoint) -> None:
    resident = Resident(load(checkpoint, {**FLOAT, "vae": torch.bfloat16}), Placement(CPU, FLOAT, "medvram"))
    assert resident.dtype("vae") == torch.bfloat16
    resident.recast("vae", torch.float32)
    assert resident.dtype("vae") == torch.float32
    with resident.on_device("unet"), resident.on_device("vae") as vae:
        assert next(vae.parameters()).dtype == torch.float32


@pytest.mark.parametrize("mode", ["normal", "medvram", "lowvram"])
def test_recasting_the_unet_in_every_mode(checkpoint: Checkpoint, mode: str) -> None:
    halves = {**FLOAT, "unet": torch.bfloat16}
    resident = Resident(load(checkpoint, halves), Placement(CPU, halves, mode))  # type: ignore[arg-type]
    resident.recast("unet", torch.float32)
    rounded = load(checkpoint, halves)
    rounded.networks["unet"].float()
    assert torch.equal(call_unet(resident), call_unet(Resident(rounded, Placement(CPU, FLOAT))))


@pytest.mark.parametrize("mode", ["normal", "medvram", "lowvram"])
def test_exchanging_the_vae(checkpoint: Checkpoint, mode: str) -> None:
    resident = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT, mode))  # type: ignore[arg-type]
    other = make_networks(5)["vae"]
    latents = torch.randn(1, 4, 8, 8)

    def decode() -> torch.Tensor:
        with resident.on_device("unet"), resident.on_device("vae") as vae, torch.inference_mode():
            return vae.decode(latents, return_dict=False)[0]

    own, parts, weight = decode(), resident.parts, resident.weigh()
    before = resident.exchange("vae", other)
    with torch.inference_mode():
        assert torch.equal(decode(), other.decode(latents, return_dict=False)[0])
    assert resident.exchange("extra", make_taesd()) is None
    assert resident.parts == (*parts, "extra")
    assert resident.exchange("vae", before) is other
    assert resident.exchange("extra", None) is not None
    assert (resident.parts, resident.weigh()) == (parts, weight)
    assert torch.equal(decode(), own)


def test_an_exchanged_network_leaves_the_device(checkpoint: Checkpoint) -> None:
    """With the meta device in the GPU's place."""
    resident = Resident(load(checkpoint, FLOAT), Placement(torch.device("meta"), FLOAT, "normal"))
    other = make_networks(5)["vae"]
    before = resident.exchange("vae", other)
    assert before is not None
    assert next(before.parameters()).device.type == "cpu"
    assert next(other.parameters()).device.type == "meta"


def test_others_code_pictures_for_a_while(checkpoint: Checkpoint) -> None:
    resident = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT))
    with resident.coding_with(encoder="a"), resident.coding_with(decoder="b"):
        assert (resident.encoder, resident.decoder) == ("a", "b")
    assert (resident.encoder, resident.decoder) == ("vae", "vae")


def reference(path: Path, sha256: str = "0" * 64) -> ModelRef:
    return ModelRef(name=path.stem, path=path, family=Family.SD1, layout="", sha256=sha256)


@pytest.fixture
def third_file(tmp_path: Path) -> Path:
    return make_single_file(tmp_path / "third.safetensors", seed=3)


def names(models: ModelCache) -> list[str]:
    return [name for name, _ in models.residents]


def test_the_cache_holds_the_two_models_that_were_used_last(
    tiny_folder: Path, tiny_file: Path, third_file: Path
) -> None:
    models = ModelCache(EngineOptions(use_cpu=frozenset({"all"}), most_models=2))
    folder, file, third = reference(tiny_folder), reference(tiny_file, "1" * 64), reference(third_file)
    assert models.use(folder) is None
    first = models.load(folder, identify(tiny_folder))
    assert models.use(folder) is first
    assert models.use(reference(tiny_folder, "1" * 64)) is None, "other content under the same name"
    models.load(file, identify(tiny_file))
    assert models.use(folder) is first
    assert [resident for _, resident in models.residents][1] is first
    models.make_room(identify(third_file))
    models.load(third, identify(third_file))
    assert names(models) == ["tiny", "third"] and not models.holds(file)
    models.release()
    assert models.use(folder) is None
    assert names(models) == []


def test_without_memory_for_two_the_cache_holds_one(
    tiny_folder: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ModelCache(EngineOptions(use_cpu=frozenset({"all"})))
    models.load(reference(tiny_folder), identify(tiny_folder))
    monkeypatch.setattr(cache.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30, total=2**40))
    models.make_room(identify(tiny_file))
    assert names(models) == []


def test_a_model_that_waits_leaves_a_small_device(
    tiny_folder: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the meta device in the GPU's place: what is on it is visible."""
    room = True
    monkeypatch.setattr(cache, "choose_placement", lambda *_: Placement(torch.device("meta"), FLOAT))
    monkeypatch.setattr(cache, "_has_room", lambda _: room)
    models = ModelCache(EngineOptions())
    folder, file = reference(tiny_folder), reference(tiny_file)
    first = models.load(folder, identify(tiny_folder))
    second = models.load(file, identify(tiny_file))

    def places() -> list[str]:
        return [next(each._networks["unet"].parameters()).device.type for each in (first, second)]

    assert places() == ["meta", "meta"]
    first.rest()
    assert places() == ["cpu", "meta"]
    models.use(folder)
    assert places() == ["meta", "meta"], "there is room for both"
    room = False
    second.rest()
    models.use(file)
    assert places() == ["cpu", "meta"]
    models.use(folder)
    assert places() == ["meta", "cpu"]


def test_a_model_that_rested_computes_the_same(checkpoint: Checkpoint) -> None:
    resident = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT))
    before = call_unet(resident)
    resident.rest()
    resident.wake()
    assert torch.equal(call_unet(resident), before)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_recognising_too_little_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


# Parts on another device, streamed parts, fewer and fewer parts on the device


def test_a_part_elsewhere_takes_inputs_from_anywhere(checkpoint: Checkpoint) -> None:
    placement = Placement(torch.device("meta"), FLOAT, elsewhere={"text_encoder": CPU, "vae": CPU})
    resident = Resident(load(checkpoint, FLOAT), placement)
    places = {part: next(resident.network(part).parameters()).device.type for part in resident.parts}
    assert places == {"unet": "meta", "vae": "cpu", "text_encoder": "cpu"}
    assert resident.place(torch.zeros(1)).device.type == "meta"
    assert resident.place(torch.zeros(1), "vae").device.type == "cpu"


def test_a_part_elsewhere_computes_the_same(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inputs go to its device and its outputs come back, also of those of its layers that are called alone."""
    moved: list[str] = []
    real = accelerate.hooks.send_to_device

    def watched(tensors: object, device: object, *args: object, **kwargs: object) -> object:
        moved.append(str(device))
        return real(tensors, device, *args, **kwargs)

    monkeypatch.setattr(accelerate.hooks, "send_to_device", watched)
    resident = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT, elsewhere={"text_encoder": CPU}))
    plain = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT))
    tokens = torch.tensor([[1, 2, 3]])
    with resident.on_device("text_encoder") as there, plain.on_device("text_encoder") as here, torch.inference_mode():
        assert torch.equal(there(tokens).last_hidden_state, here(tokens).last_hidden_state)
        assert moved
        moved.clear()
        there.final_layer_norm(torch.zeros(1, 3, 64))
        assert moved == ["cpu", "cpu", "cpu"], "arguments there, result back"


def test_a_network_that_is_streamed_no_longer(checkpoint: Checkpoint) -> None:
    resident = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT))
    expected = call_unet(resident)
    unet = resident.network("unet")
    for mode in ("lowvram", "normal", "medvram", "lowvram", "normal"):
        resident.change_placement(Placement(CPU, {}, mode))  # type: ignore[arg-type]
        assert resident.network("unet") is unet
        assert torch.equal(call_unet(resident), expected)
        hooked = [module for module in unet.modules() if hasattr(module, "_diffusers_hook")]
        streamed = sum(bool(module._diffusers_hook.hooks) for module in hooked)
        assert bool(streamed) == (mode == "lowvram")
    assert resident.dtype("unet") == torch.float32


def test_large_text_encoders_are_streamed_too(checkpoint: Checkpoint) -> None:
    plain = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT))
    streamed = Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT, "medvram", streamed=("text_encoder",)))
    tokens = torch.tensor([[1, 2, 3]])
    for _ in range(2):
        with streamed.on_device("text_encoder") as there, torch.inference_mode():
            assert torch.equal(there(tokens).last_hidden_state, plain.network("text_encoder")(tokens).last_hidden_state)
    assert torch.equal(call_unet(streamed), call_unet(plain))


@pytest.fixture
def streamable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let networks seem to be streamed to the meta device, which diffusers does not know."""
    monkeypatch.setattr(memory_resident, "start_streaming", lambda *_, **__: None)


def test_a_small_device_is_shared_more_and_more_sparingly(checkpoint: Checkpoint, streamable: None) -> None:
    """With the meta device in the GPU's place."""
    others = [True]
    resident = Resident(
        load(checkpoint, FLOAT), Placement(torch.device("meta"), FLOAT), lambda _: bool(others) and others.pop()
    )

    def here() -> set[str]:
        return {part for part in resident.parts if next(resident.network(part).parameters()).is_meta}

    with resident.on_device("unet"):
        assert here() == {"unet", "vae", "text_encoder"}
        assert resident.save_memory() and resident.placement.mode == "normal", "other models go first"
        assert resident.save_memory() and here() == {"unet"}
        assert not resident.save_memory(lowest="medvram")
        assert resident.save_memory() and resident.placement.mode == "lowvram"
        assert not resident.save_memory()
    assert [note.split()[0] for note in resident.take_notes()] == ["other", "one", "the"]
    assert not Resident(load(checkpoint, FLOAT), Placement(CPU, FLOAT)).save_memory(), "a CPU has nothing to share"


def test_a_device_without_room_for_all(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, streamable: None
) -> None:
    """With the meta device in the GPU's place: the third network finds no room on it."""
    networks = load(checkpoint, FLOAT)
    real = networks.networks["vae"].to

    def full(*args: object, **kwargs: object) -> object:
        if args == (torch.device("meta"),):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(networks.networks["vae"], "to", full)
    resident = Resident(networks, Placement(torch.device("meta"), FLOAT))
    assert resident.placement.mode == "medvram"
    assert resident.take_notes() == ["one part of the model is on the device at a time"]
    with pytest.raises(torch.OutOfMemoryError), resident.on_device("vae"):
        pass
    assert resident.placement.mode == "lowvram", "all was tried"


def test_a_newcomer_without_room_on_the_device(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, streamable: None
) -> None:
    """With the meta device in the GPU's place: there is room beside the model when its other parts have gone."""
    resident = Resident(load(checkpoint, FLOAT), Placement(torch.device("meta"), FLOAT))
    newcomer = torch.nn.Linear(2, 2)
    real = newcomer.to

    def full(*args: object, **kwargs: object) -> object:
        if not resident.network("vae").state_dict()["decoder.conv_in.weight"].device.type == "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(newcomer, "to", full)
    resident.exchange("newcomer", newcomer)
    assert resident.placement.mode == "medvram"
    with resident.on_device("unet"), resident.on_device("newcomer"):
        assert newcomer.weight.is_meta and next(resident.network("unet").parameters()).is_meta
    assert resident.exchange("newcomer", None) is newcomer and newcomer.weight.device.type == "cpu"
