"""Pickled weight files: weights are read, hostile files name what they would call, and nothing of them ever runs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pickled_files import CALLS, DAMAGED, WEIGHTS, saved, streamed
from webui.errors import BadFile
from webui.weights.formats import pickles
from webui.weights.formats.headers import read_header
from webui.weights.formats.tensors import read_tensors

SAVE = {"archive": saved, "stream": streamed}


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A class that PyTorch-Lightning leaves in its checkpoints, as long as they are written."""
    place = "pytorch_lightning.callbacks.model_checkpoint"
    made = type("ModelCheckpoint", (), {"__module__": place})
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", place):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[place], "ModelCheckpoint", made, raising=False)
    yield made


@pytest.mark.parametrize("save", SAVE.values(), ids=SAVE)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: OrderedDict(weights),
        lambda weights: {"state_dict": weights, "epoch": 3, "optimizer_states": [{"state": {0: torch.ones(5)}}]},
        lambda weights: {"params": {"old": torch.zeros(1)}, "params_ema": weights},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()},
    ],
    ids=["plain", "ordered", "state_dict", "params_ema", "inner", "parameters"],
)
def test_weights_are_found_and_mapped(tmp_path: Path, save: Any, wrap: Any) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(save(wrap(WEIGHTS)))
    header, tensors = read_header(file), read_tensors(file)
    assert header.keys() == tensors.keys() == WEIGHTS.keys()
    assert (header["layer.bias"].dtype, header["layer.weight"].shape) == ("F16", (2, 3))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in WEIGHTS.items())
    assert read_tensors(file, "layer.b").keys() == {"layer.bias"}


@pytest.mark.parametrize("save", SAVE.values(), ids=SAVE)
def test_every_dtype_and_every_view(tmp_path: Path, save: Any) -> None:
    numbers = torch.arange(24.0).reshape(4, 6)
    dtypes = [
        torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
        torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16,
    ]  # fmt: skip
    weights = {str(dtype): numbers.to(dtype) for dtype in dtypes}
    weights |= {"transposed": numbers.T, "part": numbers[1:3, 2:5], "one": torch.tensor(3.5), "none": torch.zeros(0, 3)}
    file = tmp_path / "model.pt"
    file.write_bytes(save(weights))
    tensors = read_tensors(file)
    for name, tensor in weights.items():
        assert (tensors[name].dtype, tensors[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(tensors[name].double(), tensor.double()), name


def test_what_lightning_leaves_in_its_checkpoints_is_passed_over(tmp_path: Path, callback: type) -> None:
    content = {
        "state_dict": OrderedDict(WEIGHTS), "global_step": 840_000, "pytorch-lightning_version": "1.4.2",
        "callbacks": {callback: {"monitor": "val", "best": numpy.float64(0.5), "last": torch.tensor(0.1)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(7)}}, "param_groups": [{"lr": numpy.float32(1e-4)}]}],
        "hyper_parameters": argparse.Namespace(path=tmp_path, sizes={1, 2}, curve=numpy.arange(3)),
    }  # fmt: skip
    file = tmp_path / "v1-5-pruned.ckpt"
    file.write_bytes(saved(content))
    assert read_header(file).keys() == WEIGHTS.keys()
    assert torch.equal(read_tensors(file)["layer.weight"], WEIGHTS["layer.weight"])


def test_an_embedding_is_found_by_its_word(tmp_path: Path) -> None:
    vectors = torch.ones(3, 768)
    old = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    for name, words in (("new.pt", {"*": vectors}), ("old.pt", old)):
        torch.save({"string_to_token": {"*": 265}, "string_to_param": words, "name": "x", "step": 5}, tmp_path / name)
        assert {key: facts.shape for key, facts in read_header(tmp_path / name).items()} == {
            "string_to_param.*": (3, 768)
        }


def test_a_hypernetwork_is_a_list_of_layers_for_each_width(tmp_path: Path) -> None:
    layers = [{"linear.0.weight": torch.ones(4, 2)}, {"linear.0.weight": torch.zeros(4, 2)}]
    torch.save({768: layers, 320: layers, "step": 3, "layer_structure": [1, 2, 1]}, tmp_path / "hyper.pt")
    names = {f"{width}.{number}.linear.0.weight" for width in (320, 768) for number in (0, 1)}
    assert read_header(tmp_path / "hyper.pt").keys() == names


def test_shared_numbers_stay_shared_on_disk_and_changes_stay_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(saved({"words": WEIGHTS["layer.weight"], "tied": WEIGHTS["layer.weight"]}))
    before = file.read_bytes()
    tensors = read_tensors(file)
    tensors["words"].add_(1)
    assert torch.equal(tensors["tied"], WEIGHTS["layer.weight"] + 1) and file.read_bytes() == before


def test_the_content_decides_what_a_file_is(tmp_path: Path, tiny_file: Path) -> None:
    named = tmp_path / "really-safetensors.ckpt"
    named.write_bytes(tiny_file.read_bytes())
    assert read_header(named) == read_header(tiny_file) and read_tensors(named).keys() == read_header(named).keys()
    (tmp_path / "really-a-pickle.safetensors").write_bytes(saved(WEIGHTS))
    assert read_header(tmp_path / "really-a-pickle.safetensors").keys() == WEIGHTS.keys()


@pytest.mark.parametrize("case", CALLS)
def test_what_a_file_would_call_is_named_and_not_called(case: str, tmp_path: Path) -> None:
    content, named = CALLS[case]
    file = tmp_path / "model.ckpt"
    file.write_bytes(content)
    for read in (read_header, read_tensors):
        with pytest.raises(BadFile) as caught:
            read(file)
        assert caught.value.message == f"model.ckpt: it would call {named} when opened."
        assert ".safetensors" in caught.value.hint
    assert not (tmp_path / "canary").exists() and not Path("canary").exists()


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_say_what_is_wrong(case: str, tmp_path: Path) -> None:
    content, words = DAMAGED[case]
    file = tmp_path / "model.ckpt"
    file.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        read_header(file)
    assert words in caught.value.message and caught.value.message.startswith("model.ckpt: ")


ORACLE = """
import sys
from webui.weights.formats.pickle_child import list_tensors, list_values
from webui.weights.formats.pickle_files import read_saved
from pathlib import Path
files = [file.open("rb") for file in sorted(Path(sys.argv[1]).iterdir())]
for encoding in ("cp437", "unicode-escape", "raw-unicode-escape"):
    "".encode(encoding)
seen = set()
sys.addaudithook(lambda event, _: seen.add(event))
for file in files:
    try:
        saved = read_saved(file)
        list_tensors(saved)
        list_values(saved)
    except Exception:
        pass
print(*seen)
"""


def test_looking_through_hostile_files_does_nothing_that_python_can_see(tmp_path: Path) -> None:
    """Without the child's own refusals: opening, importing, compiling, starting and connecting do not even begin."""
    for number, (content, _) in enumerate([*CALLS.values(), *DAMAGED.values(), (saved(WEIGHTS), "")]):
        (tmp_path / f"{number:03}.ckpt").write_bytes(content)
    told = subprocess.run([sys.executable, "-c", ORACLE, str(tmp_path)], capture_output=True, text=True, check=True)
    harmless = {"object.__getattr__", "sys._getframe", "gc.collect", "sys.unraisablehook"}
    assert set(told.stdout.split()) <= harmless


STARTS = """
import sys
from pathlib import Path
from webui.errors import BadFile
from webui.weights.formats.headers import read_header
seen = []
sys.addaudithook(lambda event, details: seen.append((event, details)))
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_header(file)
    except BadFile:
        pass
started = [details[1] for event, details in seen if event == "subprocess.Popen"]
assert all(command[1:4] == ["-I", "-S", "-B"] for command in started), started
assert not [event for event, _ in seen if event.startswith(("os.system", "os.exec", "os.posix_spawn", "socket."))]
writes = [details for event, details in seen if event == "open" and set(str(details[1])) & set("wax+")]
print(len(started), writes)
"""


def test_the_process_that_asks_only_starts_the_one_without_rights(tmp_path: Path) -> None:
    for name in ("os.system", "the older stream", "a plain pickle"):
        (tmp_path / name).write_bytes(CALLS[name][0])
    told = subprocess.run([sys.executable, "-c", STARTS, str(tmp_path)], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "3 []"


RIGHTS = {
    "read": "open('/etc/hostname')", "write": "open('canary', 'w')", "import": "import this",
    "start": "import subprocess; subprocess.run(['true'])", "connect": "import socket; socket.socket()",
    "memory": "bytearray(3 * 2**30)",
}  # fmt: skip


@pytest.mark.parametrize("right", RIGHTS)
def test_the_process_has_no_rights(right: str, tmp_path: Path) -> None:
    """Were there a way to make it run something, that would get nowhere."""
    if right == "memory" and not sys.platform.startswith("linux"):
        pytest.skip("this system does not bound a process's memory")
    code = (
        "import socket, subprocess; from webui.weights.formats.pickle_child import give_up_rights; give_up_rights()\n"
    )
    code += RIGHTS[right]
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert ("MemoryError" if right == "memory" else "would have needed") in told.stderr


def test_no_secret_reaches_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told.json"
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setattr(
        pickles, "_PROGRAM", f"import json, os; print('{{}}'); json.dump(dict(os.environ), open({str(told)!r}, 'w'))"
    )
    file = tmp_path / "model.ckpt"
    file.write_bytes(saved(WEIGHTS))
    assert pickles.find_tensors(file) == {}
    assert json.loads(told.read_text()).keys() <= {*pickles._KEPT, "LC_CTYPE"}


@pytest.mark.parametrize("program", ["while True: pass", "import os; os.abort()", "print('x' * 10**8)", "print(1)"])
def test_a_process_that_fails_is_a_file_that_cannot_be_used(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickles, "_PROGRAM", program)
    monkeypatch.setattr(pickles, "SECONDS", 1.0)
    file = tmp_path / "model.ckpt"
    file.write_bytes(saved(WEIGHTS))
    with pytest.raises(BadFile, match=r"too much memory or time|damaged"):
        read_header(file)


@pytest.mark.parametrize(
    "answer",
    [
        {"tensors": {"w": ["F32", [4], [1], 10**9]}},
        {"tensors": {"w": ["F32", [4], [1], -1]}},
        {"tensors": {"w": ["F33", [4], [1], 0]}},
        {"tensors": {"w": ["F32", [4], [], 0]}},
        {"tensors": {"w": 1}},
        {"more": 1},
    ],
)
def test_its_answer_is_not_believed_blindly(
    answer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickles, "_PROGRAM", f"print({json.dumps(answer)!r})")
    file = tmp_path / "model.ckpt"
    file.write_bytes(saved(WEIGHTS))
    with pytest.raises(BadFile, match="damaged"):
        read_header(file)


def test_a_changed_file_is_looked_through_again(tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(saved(WEIGHTS))
    assert len(read_header(file)) == 2
    file.write_bytes(saved({"other": torch.zeros(3)}))
    os.utime(file, ns=(1, 1))
    assert read_header(file).keys() == {"other"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), stream=st.booleans())
def test_one_wrong_byte_is_read_or_refused(tmp_path: Path, place: int, byte: int, stream: bool) -> None:
    raw = bytearray((streamed if stream else saved)({"state_dict": WEIGHTS}))
    raw[place % len(raw)] = byte
    file = tmp_path / "model.ckpt"
    file.write_bytes(raw)
    try:
        assert read_header(file) and read_tensors(file)
    except BadFile as error:
        assert error.message.startswith("model.ckpt: ")


def test_plain_values_beside_weights_are_told(tmp_path: Path) -> None:
    layers = {"linear.0.weight": torch.ones(2, 2)}
    content = {
        768: (layers, {"linear.0.weight": torch.zeros(2, 2)}), "name": "x", "step": 500, "is_layer_norm": True,
        "rate": 0.5, "long": "x" * 1000, "huge": 10**30, "nothing": None, "structure": [1, 2, 1],
    }  # fmt: skip
    file = tmp_path / "a.pt"
    file.write_bytes(saved(content))
    assert pickles.find_values(file) == {"name": "x", "step": 500, "is_layer_norm": True, "rate": 0.5}
    assert set(pickles.find_tensors(file)) == {"768.0.linear.0.weight", "768.1.linear.0.weight"}
