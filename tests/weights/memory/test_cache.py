"""Which models stay in memory, and that those that go are really gone."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.tiny_models import make_single_file
from webui.domain.models import Family
from webui.domain.plan import ModelRef
from webui.errors import BadFile
from webui.weights.memory import EngineOptions, ModelCache, Resident, cache
from webui.weights.recognition.identify import identify

HALF = {"use_cpu": frozenset({"all"}), "precision": "half"}


def reference(path: Path) -> ModelRef:
    return ModelRef(name=path.stem, path=path, family=Family.SD1, layout="original", sha256=path.name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [make_single_file(folder / f"model-{number}.safetensors", seed=number) for number in range(4)]


@pytest.fixture(autouse=True)
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for in half precision is cast, and takes memory of its own."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)


def take(models: ModelCache, file: Path) -> Resident:
    return models.use(reference(file)) or models.load(reference(file), identify(file))


def names(models: ModelCache) -> list[str]:
    return [name for name, _ in models.residents]


def own_bytes(resident: Resident) -> int:
    halves = [each for part in ("unet", "vae") for each in resident.network(part).state_dict().values()]
    assert {each.dtype for each in halves} == {torch.bfloat16}
    return sum(each.nbytes for each in halves)


def test_the_budget_decides_how_many_stay(files: list[Path]) -> None:
    one = own_bytes(take(ModelCache(EngineOptions(**HALF)), files[0]))
    models = ModelCache(EngineOptions(**HALF, cache_budget=round(2.5 * one)))
    for file in files[:3]:
        take(models, file)
    assert names(models) == ["model-1", "model-2"]
    take(models, files[1])
    take(models, files[3])
    assert names(models) == ["model-1", "model-3"], "the one that was not used for longest went"
    frugal = ModelCache(EngineOptions(**HALF, cache_budget=0))
    for file in files[:2]:
        take(frugal, file)
    assert names(frugal) == ["model-1"], "one there must be"


def test_what_is_only_mapped_counts_for_nothing(files: list[Path]) -> None:
    models = ModelCache(EngineOptions(use_cpu=frozenset({"all"}), half=False, cache_budget=0))
    for file in files:
        take(models, file)
    assert len(names(models)) == 4


def test_without_a_budget_free_memory_decides(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelCache(EngineOptions(**HALF))
    for file in files[:3]:
        take(models, file)
    assert len(names(models)) == 3
    needed = own_bytes(take(models, files[2])) + cache._WORKING_MEMORY
    monkeypatch.setattr(cache.psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 10, total=2**40))
    take(models, files[3])
    assert names(models) == ["model-1", "model-2", "model-3"], "no more go than must"


def test_those_that_go_are_gone(files: list[Path]) -> None:
    models = ModelCache(EngineOptions(**HALF, most_models=2))
    gone: list[weakref.ref[nn.Module]] = []
    for number in range(12):
        resident = take(models, files[number % 3])
        gone += [weakref.ref(resident.network(part)) for part in resident.parts]
        del resident
    gc.collect()
    assert sum(each() is not None for each in gone) == 2 * 3, "the networks of two models"
    models.release()
    gc.collect()
    assert all(each() is None for each in gone)


def test_switching_back_loads_nothing(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelCache(EngineOptions(**HALF))
    first, second = (take(models, file) for file in files[:2])
    monkeypatch.setattr(cache, "load", lambda *_: pytest.fail("it was loaded again"))
    assert take(models, files[0]) is first and take(models, files[1]) is second


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_the_current_model_stays_when_another_cannot_be_loaded(files: list[Path], tmp_path: Path, damage: str) -> None:
    models = ModelCache(EngineOptions(**HALF, most_models=1))
    current = take(models, files[0])
    broken = make_single_file(tmp_path / "broken.safetensors", seed=9)
    checkpoint = identify(broken)
    if damage == "truncated":
        os.truncate(broken, broken.stat().st_size // 2)
    else:
        broken.write_bytes(files[1].read_bytes()[:-8] + b"12345678" * 4)
    with pytest.raises(BadFile):
        models.load(reference(broken), checkpoint)
    assert models.use(reference(files[0])) is current


def test_a_file_that_changes_while_it_is_loaded(files: list[Path], tmp_path: Path) -> None:
    models = ModelCache(EngineOptions(**HALF))
    file = make_single_file(tmp_path / "growing.safetensors", seed=9)
    checkpoint = identify(file)

    def replace() -> None:
        os.replace(make_single_file(tmp_path / "other.safetensors", seed=10), file)

    with pytest.raises(BadFile, match=r"growing.safetensors was changed while it was loaded.*try again"):
        models.load(reference(file), checkpoint, forget=replace)
    assert names(models) == []


def test_a_file_that_was_cut_off_beneath_its_model(files: list[Path], tmp_path: Path) -> None:
    """Reading a mapped page that is no more would end the process."""
    models = ModelCache(EngineOptions(use_cpu=frozenset({"all"}), half=False))
    file = make_single_file(tmp_path / "mapped.safetensors", seed=9)
    take(models, file)
    os.truncate(file, file.stat().st_size - 4096)
    assert models.use(reference(file)) is None
    assert names(models) == []
