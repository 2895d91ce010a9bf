"""A prompt with regions → the branches that the network is asked about, and the regions they hold in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from extensions.regional_prompts.layout import USUAL, counts_of, read_ratios, write_ratios
from extensions.regional_prompts.options import Method, RegionalPrompts, Regions
from webui.extending.api import BadRequest, extract

CHUNK = r"\bBREAK\b"
"""Between the parts of a prompt that is seen part by part in attention."""
_SEPARATORS = re.compile(r"\b(ADDCOL|ADDROW|BREAK|AND)\b")
_COMMON, _BASE = re.compile(r"\bADDCOMM\b"), re.compile(r"\bADDBASE\b")


@dataclass(frozen=True)
class Parts:
    """The parts of one prompt: what is common to all, what lies beneath all, those of the regions, and the keywords
    between these."""

    common: str
    base: str | None
    regions: tuple[str, ...]
    keywords: tuple[str, ...]

    @property
    def branches(self) -> tuple[str, ...]:
        """The texts the network is asked about: the base first, if there is one."""
        texts = self.regions if self.base is None else (self.base, *self.regions)
        return tuple(_join(self.common, text) for text in texts)

    def prompt(self, method: Method) -> str:
        """Return the branches as one prompt. In attention tags of the common part stand in the first alone, as they act
        on the whole picture."""
        if method == "Latent":
            return " AND ".join(self.branches)
        words = extract(self.common)[0].strip(" ,")
        first, *rest = self.regions if self.base is None else (self.base, *self.regions)
        texts = [_join(self.common, first), *(_join(words, text) for text in rest)]
        return " BREAK ".join(texts)


def _join(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def divide(prompt: str, *, use_base: bool, use_common: bool) -> Parts:
    """Return the parts of `prompt`.

    Regions are between BREAK, AND, ADDCOL or ADDROW. Before them, ADDCOMM ends what is common and ADDBASE what lies
    beneath; where such a part is used and its keyword is missing, it is the first of those between the others.
    """
    common, rest = _cut(prompt, _COMMON)
    base, rest = _cut(rest, _BASE)
    pieces = _SEPARATORS.split(rest)
    texts, keywords = [piece.strip(" ,\n") for piece in pieces[::2]], pieces[1::2]
    if use_common and common is None:
        common, texts, keywords = texts[0], texts[1:], keywords[1:]
    if use_base and base is None and texts:
        base, texts, keywords = texts[0], texts[1:], keywords[1:]
    return Parts(common or "", base, tuple(texts), tuple(keywords))


def _cut(prompt: str, keyword: re.Pattern[str]) -> tuple[str | None, str]:
    before, *behind = keyword.split(prompt, maxsplit=1)
    return (before.strip(" ,\n"), behind[0]) if behind else (None, prompt)


def is_divided(prompt: str) -> bool:
    """Tell whether `prompt` names regions at all."""
    return any(keyword.search(prompt) for keyword in (_SEPARATORS, _COMMON, _BASE))


def regions_of(parts: Parts, options: RegionalPrompts) -> tuple[RegionalPrompts, Regions]:
    """Return the options with the ratios that hold, and the regions of `parts`.

    ADDCOL and ADDROW name the layout themselves: ratios then say how large its parts are, unless they are as usual.
    Raises `BadRequest` where prompt and regions do not agree.
    """
    has_base, in_attention = parts.base is not None, options.method == "Attention"
    if options.mode == "Masks":
        _check_count(len(parts.regions), len(options.masks), "masks")
        shares = _read_shares(options.base_ratios, len(options.masks)) if has_base else ()
        regions = Regions(masks=options.masks, has_base=has_base, base_shares=shares, in_attention=in_attention)
        return options.replace(use_base=has_base, use_common=False), regions
    ratios = options.ratios.translate(str.maketrans(",;", ";,")) if options.flip else options.ratios
    if {"ADDCOL", "ADDROW"} & {*parts.keywords}:
        ratios = _ratios_of(parts, options, ratios)
    boxes = read_ratios(ratios, options.mode)
    _check_count(len(parts.regions), len(boxes), "ratios")
    shares = _read_shares(options.base_ratios, len(boxes)) if has_base else ()
    regions = Regions(boxes=boxes, has_base=has_base, base_shares=shares, in_attention=in_attention)
    return options.replace(ratios=ratios, flip=False, use_base=has_base, use_common=False), regions


def _ratios_of(parts: Parts, options: RegionalPrompts, ratios: str) -> str:
    """Return the ratios of the layout that keywords name: groups between ADDROW (ADDCOL for rows), parts between the
    rest."""
    outer = "ADDROW" if options.mode == "Columns" else "ADDCOL"
    inner = {"ADDROW": "ADDCOL", "ADDCOL": "ADDROW"}[outer]
    if inner not in parts.keywords and len({*parts.keywords}) == 1:
        counts = [1] * len(parts.regions)  # one below (beside) the other, each whole
    else:
        groups = [1]
        for keyword in parts.keywords:
            if keyword == outer:
                groups.append(1)
            else:
                groups[-1] += 1
        counts = groups
    if ratios == USUAL:
        return write_ratios(counts)
    if tuple(counts) != counts_of(ratios):
        raise BadRequest(
            f"The keywords of the prompt divide the picture otherwise than the ratios {ratios!r}.",
            hint=f"Equal parts would be {write_ratios(counts)}.",
            field="extensions.regional_prompts.ratios",
        )
    return ratios


def _read_shares(text: str, count: int) -> tuple[float, ...]:
    try:
        shares = tuple(float(number) for number in re.split(r"[,;]", text) if number.strip())
    except ValueError:
        shares = ()
    if len(shares) not in (1, count) or any(not 0 <= share <= 1 for share in shares):
        raise BadRequest(
            f"{text!r} is no base ratio for {count} regions.",
            hint="Write one number from 0 to 1, or one for each region with commas between.",
            field="extensions.regional_prompts.base_ratios",
        )
    return shares * count if len(shares) == 1 else shares


def _check_count(parts: int, regions: int, field: str) -> None:
    if parts == regions and parts > 0:
        return
    raise BadRequest(
        f"The prompt has {parts} {'part' if parts == 1 else 'parts'} for {regions} "
        f"{'region' if regions == 1 else 'regions'}.",
        hint="Put BREAK between the parts of the prompt, as many as there are regions.",
        field=f"extensions.regional_prompts.{field}",
    )
