"""Pickles understood without being carried out: what they would make is noted down, nothing is imported or called.

Python's pickles are programs for a small machine; this is such a machine in which a function is only its name. It
needs only the standard library: it runs in a process that has nothing else (webui/weights/formats/pickle_child.py).
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from webui.weights.formats.pickle_names import Name, Refused, check_name

MAX_STEPS = 4_000_000

STORAGES: Mapping[str, str] = MappingProxyType(
    {
        "HalfStorage": "F16", "BFloat16Storage": "BF16", "FloatStorage": "F32", "DoubleStorage": "F64",
        "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
        "BoolStorage": "BOOL", "UntypedStorage": "U8",
    }
)  # fmt: skip
"""torch's storages → safetensors' names of their dtypes."""

_DTYPES = {
    "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


@dataclass(eq=False)
class Thing:
    """What a call would have made; `contents` are what was set in it."""

    name: str
    contents: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Storage:
    """Numbers in a row somewhere else in the file; `offset` of them belong to others."""

    key: str
    dtype: str
    offset: int = 0


@dataclass(frozen=True, eq=False)
class PickledTensor:
    """A view of a storage. Nothing about it has been checked."""

    storage: Storage
    dtype: str
    offset: Any
    shape: Any
    strides: Any


class Machine:
    """Reads one pickle from where `stream` stands, up to its end. `storages` are the dtypes of those it refers to."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # what the stack was before each open mark
        self._memo: dict[int, Any] = {}
        self.storages: dict[str, str] = {}

    def run(self) -> Any:
        """Return what the pickle describes. Raises `Refused`, or what Python raises at nonsense."""
        for step, (opcode, argument, _) in enumerate(pickletools.genops(self._stream)):
            if opcode.name == "STOP":
                return self._stack.pop()
            if step > MAX_STEPS:
                raise Refused(f"its pickle has more than {MAX_STEPS} steps")
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise Refused(f"its pickle uses {opcode.name}, which no weights need")
            action(self, argument)
        raise Refused("its pickle has no end")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_nothing(self, _: None) -> None:
        self._stack.append(None)

    def push_true(self, _: None) -> None:
        self._stack.append(True)

    def push_false(self, _: None) -> None:
        self._stack.append(False)

    def push_dict(self, _: None) -> None:
        self._stack.append({})

    def push_list(self, _: None) -> None:
        self._stack.append([])

    def push_tuple(self, _: None) -> None:
        self._stack.append(())

    def push_set(self, _: None) -> None:
        self._stack.append(Thing("builtins.set"))

    def skip(self, _: Any) -> None:
        """Protocol versions and frames change nothing."""

    # -- the stack and the memo

    def mark(self, _: None) -> None:
        self._below.append(self._stack)
        self._stack = []

    def pop_mark(self, _: Any = None) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def pop(self, _: None) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self.pop_mark()

    def copy_top(self, _: None) -> None:
        self._stack.append(self._stack[-1])

    def remember(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def remember_next(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def recall(self, place: int) -> None:
        self._stack.append(self._memo[int(place)])

    # -- containers

    def tuple_of_mark(self, _: None) -> None:
        self.push(tuple(self.pop_mark()))  # on the stack that was below the mark

    def tuple_of(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) < count:
            raise IndexError("the stack is too short")
        self._stack[-count:] = [items]

    def list_of_mark(self, _: None) -> None:
        self.push(self.pop_mark())

    def dict_of_mark(self, _: None) -> None:
        items = self.pop_mark()
        self._stack.append({})
        self._set(items)

    def set_of_mark(self, _: None) -> None:
        self.pop_mark()
        self.push_set(None)

    def append(self, _: None) -> None:
        self._extend([self._stack.pop()])

    def append_mark(self, _: None) -> None:
        self._extend(self.pop_mark())

    def add_mark(self, _: None) -> None:
        self.pop_mark()

    def set_item(self, _: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def set_mark(self, _: None) -> None:
        self._set(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        contents = target.contents if isinstance(target, Thing) else target
        if not isinstance(contents, dict):
            raise TypeError("items are set in what has none")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Other keys than these name no weights, and hashing nested tuples can take for ever.
            if isinstance(key, str | int | float | bytes | None):
                contents[key] = value

    # -- names and calls, which are noted down

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(check_name(module, name))

    def name_of_stack(self, _: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no text")
        self._stack.append(check_name(module, name))

    def call(self, _: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(_make(function, arguments))

    def call_with_keywords(self, _: None) -> None:
        self._stack.pop()
        self.call(None)

    def call_mark(self, _: None) -> None:
        function, *arguments = self.pop_mark()
        self.push(_make(function, tuple(arguments)))

    def call_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push(_make(check_name(module, name), tuple(self.pop_mark())))

    def build(self, _: None) -> None:
        state = self._stack.pop()
        if isinstance(self._stack[-1], Thing) and isinstance(state, dict):
            self._stack[-1].contents = state

    def storage(self, _: None) -> None:
        """Note a storage: ("storage", class, key, device, numbers), and in torch before 0.4 what it is a part of."""
        kind, storage_class, key, *rest = self._stack.pop()
        if kind != "storage" or not isinstance(storage_class, Name) or not isinstance(key, str):
            raise Refused("its pickle refers to something that is no storage of torch")
        dtype = STORAGES.get(storage_class.text.rpartition(".")[2])
        if dtype is None:
            self._stack.append(Thing(storage_class.text))
            return
        part = rest[2] if len(rest) > 2 else None
        if self.storages.setdefault(key, dtype) != dtype:
            raise Refused(f"its storage {key[:40]!r} has two dtypes")
        self._stack.append(Storage(key, dtype, part[1] if part else 0))


def _make(function: Any, arguments: Any) -> Any:
    """Return what calling `function` would have made, as far as it matters to weights."""
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise Refused("its pickle calls what another call has made")
    if function.text == "torch._tensor._rebuild_from_type_v2":
        function, _, arguments, *_ = arguments
    make = _MAKERS.get(function.text) if isinstance(function, Name) else None
    return make(*arguments) if make is not None else Thing(getattr(function, "text", ""))


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> PickledTensor | Thing:
    if not isinstance(storage, Storage):
        return Thing("torch.Tensor")  # of a dtype that no weights have
    dtype = storage.dtype
    if len(rest) > 2 and isinstance(rest[2], Name):  # _rebuild_tensor_v3 names it
        found = _DTYPES.get(rest[2].text.rpartition(".")[2])
        if found is None:
            return Thing("torch.Tensor")
        dtype = found
    return PickledTensor(storage, dtype, offset, shape, strides)


_MAKERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "collections.OrderedDict": lambda *_: {},
        "collections.defaultdict": lambda *_: {},
        "torch.Size": lambda sides=(), *_: sides,  # not copied: a pickle could ask for it a million times
        "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
        "torch._utils._rebuild_tensor": _make_tensor,
        "torch._utils._rebuild_tensor_v2": _make_tensor,
        "torch._utils._rebuild_tensor_v3": _make_tensor,
    }
)

_LITERALS = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
)  # fmt: skip
_ACTIONS: Mapping[str, Callable[[Machine, Any], object]] = MappingProxyType(
    {
        "PROTO": Machine.skip, "FRAME": Machine.skip,
        "MARK": Machine.mark, "POP": Machine.pop, "POP_MARK": Machine.pop_mark, "DUP": Machine.copy_top,
        "PUT": Machine.remember, "BINPUT": Machine.remember, "LONG_BINPUT": Machine.remember,
        "MEMOIZE": Machine.remember_next,
        "GET": Machine.recall, "BINGET": Machine.recall, "LONG_BINGET": Machine.recall,
        "NONE": Machine.push_nothing, "NEWTRUE": Machine.push_true, "NEWFALSE": Machine.push_false,
        **dict.fromkeys(_LITERALS, Machine.push),
        "EMPTY_DICT": Machine.push_dict, "EMPTY_LIST": Machine.push_list, "EMPTY_TUPLE": Machine.push_tuple,
        "EMPTY_SET": Machine.push_set, "FROZENSET": Machine.set_of_mark,
        "TUPLE": Machine.tuple_of_mark, "LIST": Machine.list_of_mark, "DICT": Machine.dict_of_mark,
        "TUPLE1": lambda machine, _: machine.tuple_of(1), "TUPLE2": lambda machine, _: machine.tuple_of(2),
        "TUPLE3": lambda machine, _: machine.tuple_of(3),
        "APPEND": Machine.append, "APPENDS": Machine.append_mark, "ADDITEMS": Machine.add_mark,
        "SETITEM": Machine.set_item, "SETITEMS": Machine.set_mark,
        "GLOBAL": Machine.name, "STACK_GLOBAL": Machine.name_of_stack,
        "REDUCE": Machine.call, "NEWOBJ": Machine.call, "NEWOBJ_EX": Machine.call_with_keywords,
        "OBJ": Machine.call_mark, "INST": Machine.call_name, "BUILD": Machine.build, "BINPERSID": Machine.storage,
    }
)  # fmt: skip
