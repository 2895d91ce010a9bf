"""What `<lora:…>` tags ask for."""

from __future__ import annotations

import re

from webui.extending.api import BadRequest, Data, Tag, extract

KINDS = ("lora", "lyco")
_NAMES = ("te", "unet", "dyn", "lbw", "step", "start", "stop")
_RANGE = re.compile(r"(\d+(?:\.\d+)?)?-(\d+(?:\.\d+)?)?")
_HINT = "A tag reads <lora:name:strength> or, for example, <lora:name:te=0.5:unet=0.8:lbw=MIDD:step=0.2-0.8>."


class Steps(Data):
    """The part of a run in which a network acts: from `first` to `last`, both included, counted from 1; or, if they are
    `shares`, from the share `first` of the steps up to the share `last`."""

    first: float = 0.0
    last: float = 1.0
    shares: bool = True

    def holds(self, step: int, steps: int) -> bool:
        """Tell whether the step number `step`, from 0, of `steps` lies in it."""
        if self.shares:
            return self.first * steps - 1e-6 <= step < self.last * steps - 1e-6
        return self.first <= step + 1 <= self.last

    @property
    def whole(self) -> bool:
        return self.shares and self.first <= 0 and self.last >= 1


class Ask(Data):
    """A network that a prompt names, and how strongly it acts on text encoders (`te`) and on the denoiser (`unet`).

    `rank`: only so many ranks of it; None: all. `blocks` are block weights as they were typed.
    """

    name: str
    te: float = 1.0
    unet: float = 1.0
    rank: int | None = None
    blocks: str = ""
    steps: Steps = Steps()

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return self.te != 0 or self.unet != 0


def read_tags(prompt: str) -> tuple[Ask, ...]:
    """Return the networks that `prompt` names, in order, those without any strength left out.

    By place they are name, strength on text encoders (and, if that is all, on the denoiser), strength on the denoiser,
    rank; by name te, unet, dyn, lbw, step, start, stop. (A1111's rules, and those of sd-webui-lora-block-weight.)
    Raises `BadRequest` for what cannot be read.
    """
    _, tags = extract(prompt)
    asks = (_read(tag) for tag in tags if tag.kind.lower() in KINDS)
    return tuple(ask for ask in asks if ask.acts)


def read_parts(prompt: str) -> tuple[tuple[Ask, ...], ...]:
    """Return the networks that each part of `prompt` between `AND` names; see `read_tags`."""
    return tuple(read_tags(part) for part in re.split(r"\bAND\b", prompt))


def _read(tag: Tag) -> Ask:
    places = tag.arguments
    named = {name.strip().lower(): value.strip() for name, value in tag.named}
    if not places or not places[0].strip():
        raise BadRequest(f"A tag <{tag.kind}:…> names no file.", hint=_HINT, field="prompt")
    name = places[0].strip()
    if unknown := sorted(named.keys() - set(_NAMES)):
        raise BadRequest(
            f"<lora:{name}>: there is no {unknown[0]!r}.", hint=f"There are: {', '.join(_NAMES)}.", field="prompt"
        )
    if len(places) > 4:
        raise BadRequest(f"<lora:{name}> has {len(places)} parts, at most 4.", hint=_HINT, field="prompt")
    te = _number(name, named.get("te", places[1] if len(places) > 1 else "1"))
    unet = _number(name, named["unet"]) if "unet" in named else _number(name, places[2]) if len(places) > 2 else te
    rank = named.get("dyn", places[3] if len(places) > 3 else "")
    return Ask(
        name=name,
        te=te,
        unet=unet,
        rank=_rank(name, rank) if rank else None,
        blocks=named.get("lbw", ""),
        steps=_steps(name, named),
    )


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not -100 <= number <= 100:
        raise BadRequest(
            f"<lora:{name}>: {text.strip()[:40]!r} is no strength.", hint="Use a number, such as 0.8.", field="prompt"
        )
    return number


def _rank(name: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise BadRequest(
            f"<lora:{name}>: {text[:40]!r} is no rank.", hint="Use a whole number from 1 on.", field="prompt"
        )
    return int(text)


def _steps(name: str, named: dict[str, str]) -> Steps:
    text = named.get("step", "")
    if not text and ("start" in named or "stop" in named):
        text = f"{named.get('start', '')}-{named.get('stop', '')}"
    if not text:
        return Steps()
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or match[0] == "-":
        raise BadRequest(
            f"<lora:{name}>: {text[:40]!r} are no steps.",
            hint="Use shares of the steps, such as step=0.2-0.8, or steps, such as step=4-12.",
            field="prompt",
        )
    return _range(name, text, match[1], match[2])


def _range(name: str, text: str, first: str | None, last: str | None) -> Steps:
    given = [each for each in (first, last) if each is not None]
    shares = any("." in each for each in given) or all(float(each) <= 1 for each in given)
    low = float(first) if first is not None else 0.0
    high = float(last) if last is not None else 1.0 if shares else float("inf")
    if low > high or (shares and high > 1):
        raise BadRequest(
            f"<lora:{name}>: the steps {text[:40]!r} end before they begin, or behind the last one.",
            hint="Shares go from 0 to 1, steps are whole numbers from 1 on.",
            field="prompt",
        )
    return Steps(first=low, last=min(high, 1e6), shares=shares)
