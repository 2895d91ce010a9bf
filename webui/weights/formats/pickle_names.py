"""Which functions and classes may be named in a pickle of weights. Whatever is named, nothing is imported or called."""

from __future__ import annotations

import re

# What stands in published files beside the weights and can be left out of them.
_HARMLESS = frozenset(
    {
        "_codecs.encode", "argparse.Namespace", "collections.Counter", "collections.OrderedDict",
        "collections.defaultdict", "collections.deque", "copy_reg._reconstructor", "copyreg._reconstructor",
        "datetime.date", "datetime.datetime", "datetime.timedelta", "numpy.dtype", "numpy.ndarray",
        "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "numpy._core.numeric._frombuffer",
        "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer",
        "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath",
        "pathlib.WindowsPath", "torch.Size", "torch.Tensor", "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_device_tensor_from_numpy", "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state", "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3", "torch.device", "torch.nn.modules.container.ParameterDict",
        "torch.nn.modules.container.ParameterList", "torch.nn.parameter.Parameter", "torch.serialization._get_layout",
        "torch.strided", "typing.Any",
    }
)  # fmt: skip
_BUILTIN = re.compile(  # as Python 3 and Python 2 call them
    r"(builtins|__builtin__)\."
    r"(bool|bytearray|bytes|complex|dict|float|frozenset|int|list|object|range|set|slice|str|tuple)"
)
# Classes of training programs: they keep their callbacks, counters and options beside the weights.
_TRAINING = re.compile(r"(pytorch_lightning|lightning|lightning_fabric|omegaconf)(\.\w+)*\.[A-Z]\w*")
_TORCH_NUMBERS = re.compile(r"torch\.((cuda|storage)\.)?(\w*Storage|(q?u?int|b?float|complex)\d+\w*|bool)")


class Refused(Exception):
    """Why a pickle is not used, for the user."""


class Name:
    """A function or a class that the pickle refers to."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def check_name(module: str, name: str) -> Name:
    """Return a name of what belongs into weights; raise `Refused` for any other."""
    text = f"{module}.{name}"
    if text in _HARMLESS or any(pattern.fullmatch(text) for pattern in (_TORCH_NUMBERS, _BUILTIN, _TRAINING)):
        return Name(text)
    shown = re.sub(r"^(posix|nt)\.", "os.", text)  # where the functions of os come from
    raise Refused(f"it would call {shown[:100]} when opened")
