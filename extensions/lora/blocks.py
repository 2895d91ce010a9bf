"""Block weights: how strongly a LoRA acts on each block of a UNet, in the order of sd-webui-lora-block-weight."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from webui.extending.api import BadRequest, Family

BASE = "BASE"  # the text encoders
_ALL = (
    BASE, *(f"IN{number:02}" for number in range(12)), "M00", *(f"OUT{number:02}" for number in range(12)),
)  # fmt: skip
_ATTENDING = (
    BASE, "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00", *(f"OUT{number:02}" for number in range(3, 12)),
)  # fmt: skip
_XL_ALL = (BASE, *(f"IN{number:02}" for number in range(9)), "M00", *(f"OUT{number:02}" for number in range(9)))
_XL_ATTENDING = (BASE, "IN04", "IN05", "IN07", "IN08", "M00", *(f"OUT{number:02}" for number in range(6)))
_ORDERS: Mapping[Family, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        Family.SD1: (_ATTENDING, _ALL),
        Family.SD2: (_ATTENDING, _ALL),
        Family.SDXL: (_XL_ATTENDING, _XL_ALL, _ATTENDING, _ALL),
        Family.PLAYGROUND: (_XL_ATTENDING, _XL_ALL, _ATTENDING, _ALL),
        Family.KOLORS: (_XL_ATTENDING, _XL_ALL, _ATTENDING, _ALL),
    }
)
_IN, _OUT = _ATTENDING[1:7], _ATTENDING[8:]
_PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # the blocks that are at 1, of those with attention
    {
        "NONE": (),
        "ALL": _ATTENDING,
        "INS": (BASE, *_IN[:2]),
        "IND": (BASE, *_IN[3:]),
        "INALL": (BASE, *_IN),
        "MIDD": (BASE, *_IN[3:], "M00", *_OUT[:4]),
        "OUTD": (BASE, *_OUT[:4]),
        "OUTS": (BASE, *_OUT[4:]),
        "OUTALL": (BASE, *_OUT),
    }
)


def read_blocks(text: str, family: Family) -> Mapping[str, float]:
    """Return the weight of each block that `text` (the name of a preset, or numbers) names; others keep their own.

    Raises `BadRequest` when it is neither, or the family has no such blocks.
    """
    if not text.strip():
        return {}
    orders = _ORDERS.get(family)
    if orders is None:
        raise BadRequest(
            f"Block weights (lbw={text[:40]}) are known for SD1, SD2 and SDXL alone.",
            hint="Leave lbw out of the tag.",
            field="prompt",
        )
    preset = text.strip().upper()
    if preset == "ALL0.5":
        return dict.fromkeys(_ATTENDING, 0.5)
    if preset in _PRESETS:
        chosen = _PRESETS[preset]
        return {block: float(block in chosen) for block in _ATTENDING}
    return _numbers(text, orders)


def _numbers(text: str, orders: tuple[tuple[str, ...], ...]) -> Mapping[str, float]:
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError as error:
        raise BadRequest(
            f"lbw={text[:60]} is neither a preset nor numbers.",
            hint=f"Presets: {', '.join([*_PRESETS, 'ALL0.5'])}; or numbers with commas between them.",
            field="prompt",
        ) from error
    order = next((each for each in orders if len(each) == len(numbers)), None)
    if order is None or not all(-100 <= number <= 100 for number in numbers):
        counts = " or ".join(str(len(each)) for each in orders)
        raise BadRequest(
            f"lbw names {len(numbers)} block weights, it takes {counts} from -100 to 100.",
            hint=f"They are those of {', '.join(orders[0])}.",
            field="prompt",
        )
    return dict(zip(order, numbers, strict=True))


def block_of(original: str | None) -> str | None:
    """Return the block of a UNet that a layer, by its original name, lies in; None for those in none."""
    parts = (original or "").split(".")
    if parts[0] == "middle_block":
        return "M00"
    side = {"input_blocks": "IN", "output_blocks": "OUT"}.get(parts[0])
    return f"{side}{int(parts[1]):02}" if side else None
