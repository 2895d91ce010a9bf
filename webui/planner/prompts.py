"""The images of a job with their prompts and seeds: styles applied, comments left out, templates resolved."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from webui.domain.models import Family
from webui.domain.passes import Hires
from webui.domain.plan import ImagePlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling_options import MAX_SEED, Variation
from webui.errors import BadRequest
from webui.planner.shelf import Words
from webui.prompt.comments import strip_comments
from webui.prompt.dynamic import DynamicPrompts, Lookup
from webui.prompt.grammar import count_branches
from webui.prompt.schedule import schedule
from webui.prompt.styles import apply as apply_styles
from webui.prompt.styles import find as find_style
from webui.prompt.tags import extract as extract_tags
from webui.settings import Settings

MAX_BRANCHES = 64  # joined by AND in one prompt
MAX_WORDING = 400_000  # characters of all the texts that one prompt becomes over its steps; each has to be encoded


def plan_images(
    request: GenerationRequest, settings: Settings, words: Words, first_seed: int, first_index: int = 0
) -> Iterator[ImagePlan]:
    """Yield the images of `request`, counted from `first_index`, with their prompts resolved with each seed."""
    styles = [find_style(name, words.styles) for name in request.styles]
    positive, negative = [style.prompt for style in styles], [style.negative_prompt for style in styles]
    hires = request.hires or Hires()
    texts = _Texts(settings, words)
    template = texts.template(request.prompt, positive)
    negative_template = texts.template(request.negative_prompt, negative)
    hires_template = texts.template(hires.prompt, positive) if hires.prompt else None
    hires_negative_template = texts.template(hires.negative_prompt, negative) if hires.negative_prompt else None
    for number in range(request.batch_size * request.batch_count):
        seed, variation_seed = _seeds(request.variation or Variation(), first_seed, number)
        image = ImagePlan(
            index=first_index + number,
            seed=seed,
            variation_seed=variation_seed,
            prompt=texts.resolve(template, f"prompt {seed}"),
            negative_prompt=texts.resolve(negative_template, f"negative prompt {seed}"),
            hires_prompt=hires_template and texts.resolve(hires_template, f"prompt {seed}"),
            hires_negative_prompt=hires_negative_template
            and texts.resolve(hires_negative_template, f"negative prompt {seed}"),
        )
        _check_branches(image.prompt, "prompt")
        _check_branches(image.hires_prompt or "", "hires.prompt")
        yield image.replace(
            template=template if image.prompt != template else "",
            negative_template=negative_template if image.negative_prompt != negative_template else "",
        )


class _Texts:
    """Makes templates of what was typed, and prompts of templates."""

    def __init__(self, settings: Settings, words: Words) -> None:
        self._settings = settings
        self._dynamic = DynamicPrompts(words.wildcards)

    def template(self, text: str, styles: Sequence[str]) -> str:
        styled = apply_styles(text, styles)
        return strip_comments(styled) if self._settings.prompt_comments else styled

    def resolve(self, template: str, seed: str) -> str:
        return self._dynamic.resolve(template, seed) if self._settings.dynamic_prompts else template


def _seeds(variation: Variation, first_seed: int, number: int) -> tuple[int, int | None]:
    """Return seed and variation seed of image `number`. With a variation the seed stays and the other one counts up."""
    if variation.strength == 0:
        return (first_seed + number) % (MAX_SEED + 1), None
    return first_seed, (variation.seed + number) % (MAX_SEED + 1)


def preview_prompt(prompt: str, settings: Settings, wildcards: Lookup) -> str:
    """Return one of the prompts that `prompt` can become, always the same one."""
    text = strip_comments(prompt) if settings.prompt_comments else prompt
    return DynamicPrompts(wildcards).resolve(text, "preview") if settings.dynamic_prompts else text


def _check_branches(prompt: str, field: str) -> None:
    branches = count_branches(prompt)
    if branches > MAX_BRANCHES:
        raise BadRequest(
            f"The prompt joins {branches} prompts with AND: at most {MAX_BRANCHES}.",
            hint="Each of them costs as much time as a whole image.",
            field=field,
        )


def check_wordings(images: Sequence[ImagePlan], calls: int) -> None:
    """Refuse prompts that become too much text in `calls` network calls: a long one that changes in every step."""
    for prompt in {text for image in images for text in (image.prompt, image.negative_prompt)}:
        if "[" not in prompt or len(prompt) * calls <= MAX_WORDING:
            continue
        texts = {segment.text for branch in schedule(prompt, calls) for segment in branch.segments}
        if sum(map(len, texts)) > MAX_WORDING:
            raise BadRequest(
                f"Over its steps the prompt is {len(texts)} texts of {len(prompt)} characters: too much to encode.",
                hint="Shorten it, or let less of it change.",
                field="prompt",
            )


def note_tags(images: Sequence[ImagePlan], known: Collection[str]) -> tuple[str, ...]:
    """Return one note for each kind of tag that is not `known`: nobody should wonder why it has no effect."""
    kinds = {tag.kind for prompt in {image.prompt for image in images} for tag in extract_tags(prompt)[1]}
    kinds = {kind for kind in kinds if kind.lower() not in known}
    return tuple(f"Tags <{kind}:…> have no effect: there is nothing here that knows them." for kind in sorted(kinds))


def note_clip_skip(request: GenerationRequest, family: Family) -> tuple[str, ...]:
    """Return what the user should know: that not every family skips layers when it is told to."""
    if request.clip_skip == 1 or family in (Family.SD1, Family.SD2):
        return ()
    return (f"Clip skip {request.clip_skip} has no effect: {family.name} always reads the same layer.",)
