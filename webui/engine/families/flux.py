"""Flux.1, dev and schnell: a transformer of flow matching, told a text by T5 and as a whole by CLIP.

(Black Forest Labs 2024, github.com/black-forest-labs/flux.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from webui.domain.models import KONTEXT
from webui.domain.plan import EmphasisMode
from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import FlowLevels, NoiseLevels, Predict
from webui.engine.families.clip import emphasise, read_beginning
from webui.engine.families.patches import PATCH, fill_up
from webui.prompt.attention import Break
from webui.prompt.tokens import Encode, weigh_tokens
from webui.weights.checkpoint import FlowSchedule
from webui.weights.memory import Resident

LATENT_CHANNELS = 16
SHRINK = 8  # pixels per latent, each way
TRAIN_STEPS = 1000  # what the network multiplies its timestep by
LONGEST = 512  # tokens of T5 that dev was trained on
LONGEST_SCHNELL = 256

# Latent channel → red, green, blue in -1 … 1: a least-squares fit like that of SD1.
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = (
    (-0.0346, 0.0244, 0.0681),
    (0.0034, 0.0210, 0.0687),
    (0.0275, -0.0668, -0.0433),
    (-0.0174, 0.0160, 0.0617),
    (0.0859, 0.0721, 0.0329),
    (0.0004, 0.0383, 0.0115),
    (0.0405, 0.0861, 0.0915),
    (-0.0236, -0.0185, -0.0259),
    (-0.0245, 0.0250, 0.1180),
    (0.1008, 0.0755, -0.0421),
    (-0.0515, 0.0201, 0.0011),
    (0.0428, -0.0012, -0.0036),
    (0.0817, 0.0765, 0.0749),
    (-0.1264, -0.0522, -0.1103),
    (-0.0280, -0.0881, -0.0499),
    (-0.1262, -0.0982, -0.0778),
)


def noise_levels(model: Resident, size: tuple[int, int]) -> NoiseLevels:
    """Return the sigmas the model was trained on, for pictures of `size` (width and height, pixels)."""
    assert isinstance(model.checkpoint.noise, FlowSchedule)
    patch = SHRINK * PATCH
    return FlowLevels(model.checkpoint.noise, -(-size[0] // patch) * -(-size[1] // patch))


def latent_shape(width: int, height: int) -> tuple[int, int, int]:
    """Return [C,h,w] of the latents of one image of `width` × `height` pixels."""
    return LATENT_CHANNELS, height // SHRINK, width // SHRINK


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    Sides of an odd number of latents get one more while the network looks at them. What stands beside the latents is
    in their tokens; Kontext has tokens of its own for it, behind them.
    """
    dtype = model.dtype(model.denoiser)
    apart = model.checkpoint.variant == KONTEXT
    known: dict[tuple[int, int, int, int], tuple[Tensor, Tensor]] = {}  # one transfer for all steps

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        height, width = latents.shape[-2:]
        even = fill_up(latents)
        rows, columns = even.shape[-2] // PATCH, even.shape[-1] // PATCH
        layers = even.split(LATENT_CHANNELS, 1) if apart else (even,)
        key = rows, columns, len(layers), condition.length
        if key not in known:
            standing = torch.cat([places(rows, columns, layer) for layer in range(len(layers))])
            known[key] = model.place(standing), model.place(torch.zeros(condition.length, 3))
        picture, text = known[key]
        output = network(
            hidden_states=torch.cat([pack(layer) for layer in layers], 1).to(dtype),
            timestep=(timestep / TRAIN_STEPS).expand(latents.shape[0]).to(dtype),
            guidance=condition.guidance,
            pooled_projections=condition.pooled,
            encoder_hidden_states=condition.states,
            img_ids=picture,
            txt_ids=text,
            return_dict=False,
        )[0]
        return unpack(output[:, : rows * columns].float(), rows, columns)[..., :height, :width]

    return predict


def pack(latents: Tensor) -> Tensor:
    """Return latents [B,C,2h,2w] as tokens [B,h·w,4C], each one of 2×2 latents."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * PATCH**2)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Return tokens [B,rows·columns,4C] as latents [B,C,2·rows,2·columns]."""
    patches = tokens.reshape(tokens.shape[0], rows, columns, -1, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(tokens.shape[0], -1, rows * PATCH, columns * PATCH)


def places(rows: int, columns: int, layer: int = 0) -> Tensor:
    """Return where each token stands [rows·columns,3]: its layer, its row, its column."""
    down = torch.arange(rows).repeat_interleave(columns)
    across = torch.arange(columns).repeat(rows)
    return torch.stack([torch.full_like(down, layer), down, across], 1).float()


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: T5's view of it, CLIP's view of its beginning as a whole,
    and the guidance that a distilled network is told.

    T5 reads at most as many tokens as were trained (512, with schnell 256, fewer if the model says so), CLIP 75; what
    is behind them is not seen.
    Emphasis acts on T5's states. Clip skip and `BREAK` do not apply.
    """
    longest = LONGEST if is_guided(model) else LONGEST_SCHNELL
    longest = min(longest, model.checkpoint.text_length or longest)
    states = _encode_by_t5(model, text, encoding.emphasis, longest)
    guidance = None
    if is_guided(model):
        if encoding.distilled_guidance is None:
            raise ValueError("A guidance-distilled network was told no guidance.")
        guidance = model.place(torch.tensor(encoding.distilled_guidance, dtype=torch.float32))
    return Condition(states, _encode_by_clip(model, text, encoding.emphasis), guidance)


def is_guided(model: Resident) -> bool:
    """Tell whether the network was distilled to be told its guidance, as dev was and schnell was not."""
    return bool(model.checkpoint.configs["transformer"].get("guidance_embeds", False))


def _encode_by_t5(model: Resident, text: str, emphasis: EmphasisMode, longest: int) -> Tensor:
    tokenizer = model.piece_tokenizers["text_encoder_2"]
    tokens, weights = _weighed(text, emphasis, tokenizer.encode, longest - 1)
    padding = longest - 1 - len(tokens)
    row = [*tokens, tokenizer.end, *[tokenizer.padding] * padding]
    with model.on_device("text_encoder_2") as encoder:
        states = encoder(model.place(torch.tensor([row]))).last_hidden_state[0].float()
    if emphasis == "Ignore":
        return states
    return emphasise(states, [*weights, *[1.0] * (padding + 1)], keeps_mean=emphasis == "Original")


def _encode_by_clip(model: Resident, text: str, emphasis: EmphasisMode) -> Tensor:
    row, _ = read_beginning(model.tokenizers["text_encoder"], text, emphasis)
    with model.on_device("text_encoder") as encoder:
        return encoder(model.place(torch.tensor([row]))).pooler_output[0].float()


def _weighed(text: str, emphasis: EmphasisMode, encode: Encode, most: int) -> tuple[list[int], list[float]]:
    """Return the first `most` tokens of a text and their weights."""
    pairs = [pair for pair in weigh_tokens(text, emphasis, encode) if not isinstance(pair, Break)][:most]
    return [token for token, _ in pairs], [weight for _, weight in pairs]
