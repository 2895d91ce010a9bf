"""The process that looks through a pickled weight file, given as its standard input, and answers with one JSON object.

It starts with nothing but the standard library and an empty environment, takes away from itself what it does not need,
and only then reads. `{"tensors": {name: [dtype, shape, strides, first byte]}, "values": {name: plain value}}`, or
`{"problem": why not}`.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import math
import struct
import sys
import zipfile
import zlib
from typing import Any

from webui.weights.formats.pickle_files import Find, Saved, Span, read_saved
from webui.weights.formats.pickle_machine import PickledTensor, Thing
from webui.weights.formats.pickle_names import Refused
from webui.weights.formats.tensor_facts import MAX_TENSORS, PLAIN

MEMORY = 2**30  # bytes that the process may use
SECONDS = 20  # of computing
_MAX_VISITS = 200_000
_MOST_WRAPPERS = 3  # around each other
_DEEPEST = 8  # dictionaries in each other
_LONGEST_NAME = 500
_MOST_VALUES = 64
_LONGEST_VALUE = 200
_MOST_SIDES = 16
_LARGEST = 2**48
_MOST_REUSE = 4  # how many times the file's size all tensors may have: some share their numbers

# Under which names training programs keep what matters, the best first.
_WRAPPERS = ("state_dict", "params_ema", "params", "model_state_dict", "model", "module", "generator")
_DENIED = (
    "open", "import", "exec", "compile", "code.", "ctypes.", "ftplib.", "http.", "marshal.", "mmap.", "os.", "pickle.",
    "pty.", "shutil.", "socket.", "sqlite3.", "subprocess.", "syslog.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip


def main() -> None:
    """Answer for the file on standard input."""
    gc.disable()  # it would look through all that was noted again and again; the process ends soon
    give_up_rights()
    try:
        saved = read_saved(sys.stdin.buffer)
        answer: dict[str, Any] = {"tensors": list_tensors(saved), "values": list_values(saved)}
    except Refused as error:
        answer = {"problem": str(error)}
    except MemoryError:
        answer = {"problem": "looking through it takes too much memory"}
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, OSError, EOFError) as error:
        answer = {"problem": f"damaged: {_first_line(error)}"}
    except (struct.error, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        answer = {"problem": f"damaged: {_first_line(error)}"}
    sys.stdout.write(json.dumps(answer))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def give_up_rights() -> None:
    """Bound memory and time, and let nothing be opened, imported or started from now on, even by mistake."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        limits = {
            resource.RLIMIT_AS: MEMORY, resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0
        }  # fmt: skip
        for kind, most in limits.items():
            with contextlib.suppress(ValueError, OSError):  # macOS knows some only by name
                resource.setrlimit(kind, (most, most))
    for encoding in ("cp437", "latin-1", "unicode-escape", "raw-unicode-escape"):
        "".encode(encoding)  # so that it need not be imported later
    sys.addaudithook(_deny)


def _deny(event: str, _: tuple[object, ...]) -> None:
    if event.startswith(_DENIED):
        raise Refused(f"looking through it would have needed {event}")


def list_values(saved: Saved) -> dict[str, str | int | float | bool]:
    """Return the plain values beside the weights that were `saved`, those of the outermost dictionary."""
    plain = {
        name: value
        for name, value in _contents(saved.content).items()
        if isinstance(name, str)
        and isinstance(value, str | bool | int | float)
        and _is_short(name)
        and _is_short(value)
    }
    return dict(itertools.islice(plain.items(), _MOST_VALUES))


def _is_short(value: str | int | float) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_VALUE
    return -_LARGEST <= value <= _LARGEST


def list_tensors(saved: Saved) -> dict[str, tuple[str, list[int], list[int], int]]:
    """Return the weights that were `saved`: name → dtype, shape, strides, place of its first number."""
    weights = _flatten(_unwrap(saved.content) or saved.content)
    spans: dict[str, Span] = {}
    tensors = {name: _place(name, tensor, spans, saved.find) for name, tensor in weights.items()}
    ordered = sorted(spans.values(), key=lambda span: (span.begin, span.end))
    if any(later.begin < earlier.end for earlier, later in itertools.pairwise(ordered)):
        raise Refused("its storages overlap")
    stored = sum(span.end - span.begin for span in ordered)
    if sum(math.prod(shape) * PLAIN[dtype] for dtype, shape, _, _ in tensors.values()) > _MOST_REUSE * stored:
        raise Refused("its tensors are far larger than what it stores")
    return tensors


def _unwrap(content: Any, depth: int = _MOST_WRAPPERS) -> dict[Any, Any] | None:
    """Return the innermost dictionary of weights, None if no wrapper has one and `content` is none itself."""
    contents = _contents(content)
    for name in _WRAPPERS if depth else ():
        inner = _unwrap(contents.get(name), depth - 1)
        if inner is not None:
            return inner
    return contents if any(isinstance(value, PickledTensor) for value in contents.values()) else None


def _contents(value: Any) -> dict[Any, Any]:
    if isinstance(value, Thing) and value.name == "torch.nn.modules.container.ParameterDict":
        value = value.contents.get("_parameters")
    return value if isinstance(value, dict) else {}


def _flatten(content: Any) -> dict[str, PickledTensor]:
    """Return the tensors by name, those of inner dictionaries and lists with a point after the outer one's name."""
    weights: dict[str, PickledTensor] = {}
    pending = [("", content, 0)]
    visits = 0
    while pending:
        prefix, outer, depth = pending.pop()
        for key, value in enumerate(outer) if prefix and isinstance(outer, list | tuple) else _contents(outer).items():
            visits += 1
            name = f"{prefix}{key}" if isinstance(key, str | int) else ""
            if visits > _MAX_VISITS or len(weights) > MAX_TENSORS or len(name) > _LONGEST_NAME:
                raise Refused(f"it describes more than {MAX_TENSORS} tensors, or absurd names")
            if name and isinstance(value, PickledTensor):
                weights[name] = value
            elif name and depth < _DEEPEST:
                pending.append((f"{name}.", value, depth + 1))
    if not weights:
        raise Refused("it holds no weights")
    return weights


def _place(
    name: str, tensor: PickledTensor, spans: dict[str, Span], find: Find
) -> tuple[str, list[int], list[int], int]:
    """Return a checked tensor: every number of it lies within its storage."""
    if not isinstance(tensor.shape, tuple | list) or not isinstance(tensor.strides, tuple | list):
        raise Refused(f"its tensor {name[:80]!r} has no shape")
    shape, strides, offset = list(tensor.shape), list(tensor.strides), tensor.offset
    numbers = [offset, tensor.storage.offset, *shape, *strides]
    if (
        len(shape) != len(strides)
        or len(shape) > _MOST_SIDES
        or not all(type(number) is int and 0 <= number <= _LARGEST for number in numbers)
    ):
        raise Refused(f"its tensor {name[:80]!r} has an impossible shape")
    key = tensor.storage.key
    span = spans.get(key) or spans.setdefault(key, find(key))
    item = PLAIN[tensor.dtype]
    reach = 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    begin = span.begin + (offset + tensor.storage.offset) * item
    count = math.prod(shape)
    if count and (count > reach or begin + reach * item > span.end):
        raise Refused(f"its tensor {name[:80]!r} is larger than its storage")
    return tensor.dtype, shape, strides, begin
