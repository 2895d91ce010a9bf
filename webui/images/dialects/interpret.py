"""The texts of an image file → who wrote them, and what they say as a request."""

from __future__ import annotations

from typing import Any

from webui.domain.frozen import Data
from webui.domain.request import GenerationRequest
from webui.images.dialects.civitai import tell as tell_civitai
from webui.images.dialects.comfyui import tell as tell_comfyui
from webui.images.dialects.drawthings import tell as tell_drawthings
from webui.images.dialects.easydiffusion import tell as tell_easydiffusion
from webui.images.dialects.fooocus import tell as tell_fooocus
from webui.images.dialects.invokeai import tell as tell_invokeai
from webui.images.dialects.novelai import tell as tell_novelai
from webui.images.dialects.parameters import tell as tell_parameters
from webui.images.dialects.swarmui import tell as tell_swarmui
from webui.images.dialects.told import Dialect, Texts
from webui.images.infotext import compose, read_parameters_of

DIALECTS: tuple[Dialect, ...] = (
    tell_civitai,  # a graph of ComfyUI with a summary, which is easier to believe
    tell_swarmui,
    tell_fooocus,
    tell_novelai,
    tell_invokeai,
    tell_easydiffusion,
    tell_drawthings,
    tell_comfyui,
    tell_parameters,  # anything else that calls itself parameters
)


class Interpretation(Data):
    """Who wrote a text (empty: nobody that is known), the text as A1111 would have written it, and what it says; see
    `images.infotext.ReadInfotext`."""

    program: str
    infotext: str
    fields: dict[str, str]
    request: GenerationRequest
    start: dict[str, Any]
    unmapped: tuple[str, ...]


def interpret(texts: Texts) -> Interpretation | None:
    """Return what the texts of an image file say about how it was made, None if nothing.

    Takes time linear in their length and raises nothing, whatever they are.
    """
    for tell in DIALECTS:
        told = tell(texts)
        if told is None:
            continue
        found = read_parameters_of(told.prompt, told.negative_prompt, told.parameters)
        infotext = (
            texts["parameters"]
            if tell is tell_parameters
            else compose(told.prompt, told.negative_prompt, told.parameters)
        )
        return Interpretation(
            program=told.program,
            infotext=infotext,
            fields=found.fields,
            request=found.request,
            start=found.start,
            unmapped=(*found.unmapped, *told.missing),
        )
    return None
