"""The denoiser, trained together with the caption encoder."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers import CLIPTextModel

from tools.pocket import scenes, text_encoder, tokenizer
from tools.pocket.dataset import Dataset
from tools.pocket.training import (
    Average,
    Optimisers,
    Progress,
    as_pictures,
    compile_safe,
    load_checkpoint,
    save_checkpoint,
)  # fmt: skip

CHANNELS = (64, 128, 160)
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
Forward = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # tokens, noisy latents, times: see Pocket
READ_CLASSES = 1 + len(scenes.OBJECTS)
log = logging.getLogger(__name__)


def new_unet(channels: tuple[int, ...] = CHANNELS, heads: int = 8) -> UNet2DConditionModel:
    """SD1's block pattern with fewer levels; groups follow the rule min(32, first // 4), as for real SD1."""
    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=channels, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        cross_attention_dim=text_encoder.WIDTH, attention_head_dim=heads, norm_num_groups=min(32, channels[0] // 4),
    )  # fmt: skip


class PlainAttention:
    """Attention as two matrix products and a softmax: on a CPU, with small heads, 2 to 8 times faster to train
    than the fused kernel.  Has no parameters, so nothing of it stays in the checkpoint."""

    def __call__(
        self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        """One attention layer, [n, length, width] in and out."""
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def split(states: Tensor) -> Tensor:
            return states.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        query, key, value = (
            split(attention.to_q(hidden_states)),
            split(attention.to_k(source)),
            split(attention.to_v(source)),
        )
        weights = ((query * attention.scale) @ key.transpose(-1, -2)).softmax(-1)
        return attention.to_out[0]((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))


class Pocket(nn.Module):
    """Caption encoder and denoiser as one function, with a reader of the features for training.

    The reader looks at the features before the last level and says which object covers which cell: exact labels
    teach the trunk "what is where" long before the pixels' own error would.
    """

    def __init__(self, text: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text = text
        self.unet = unet
        unet.set_attn_processor(PlainAttention())
        self.reader = nn.Conv2d(unet.config.block_out_channels[1], READ_CLASSES, 1)

    def forward(self, tokens: Tensor, noisy: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted noise, and scores [n, objects + 1, 16, 16]."""
        return self.denoise(self.text(tokens).last_hidden_state, noisy, self.embed(times, noisy))

    def embed(self, times: Tensor, like: Tensor) -> Tensor:
        """What the blocks are told of the time: [n, width of the embedding]."""
        return self.unet.time_embedding(self.unet.time_proj(times).to(like.dtype))

    def extend_positions(self, known: int) -> None:
        """See `text_encoder.extend_positions`."""
        text_encoder.extend_positions(self.text, known)

    def denoise(self, states: Tensor, noisy: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """UNet2DConditionModel.forward, spelt out to get at the features."""
        unet = self.unet
        sample = unet.conv_in(noisy)
        skips = [sample]
        for block in unet.down_blocks:
            if hasattr(block, "attentions"):
                sample, kept = block(sample, embedding, encoder_hidden_states=states)
            else:
                sample, kept = block(sample, embedding)
            skips += kept
        sample = unet.mid_block(sample, embedding, encoder_hidden_states=states)
        features = sample
        for index, block in enumerate(unet.up_blocks):
            count = len(block.resnets)
            taken, skips = tuple(skips[-count:]), skips[:-count]
            if hasattr(block, "attentions"):
                sample = block(sample, taken, embedding, encoder_hidden_states=states)
            else:
                sample = block(sample, taken, embedding)
            if index == len(unet.up_blocks) - 2:
                features = sample
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(sample))), self.reader(features)


class Noising:
    """The forward process, how times are drawn and how their errors count."""

    def __init__(self, device: torch.device) -> None:
        root = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000, dtype=torch.float64)
        self.kept = torch.cumprod(1 - root**2, 0).float().to(device)
        ratio = self.kept / (1 - self.kept)
        importance = ratio.clamp(max=5) / ratio * (1 + 1 / ratio).sqrt()  # min-SNR-5, milder on pure noise
        density = importance.sqrt().clamp(min=0.35)
        self.density = density / density.sum()
        self.cumulative = self.density.cumsum(0)
        weight = importance / self.density
        self.weight = weight / (weight * self.density).sum()

    def draw_times(self, count: int) -> Tensor:
        """Stratified over the density."""
        quantiles = (torch.randperm(count) + torch.rand(count)) / count
        return torch.searchsorted(self.cumulative, quantiles.to(self.cumulative.device)).clamp(max=999)

    def add(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Noisy latents."""
        kept = self.kept[times].view(-1, 1, 1, 1)
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise


class Lessons:
    """Endless noised examples, and how wrong the pocket model is about them."""

    def __init__(self, data: Dataset, latents: Tensor, tokens_kept: int, device: torch.device) -> None:
        self.device = device
        self.tokens_kept = tokens_kept
        self.latents = latents.to(device)
        self.tokens = torch.from_numpy(data.tokens[:, :, :tokens_kept].astype(np.int64)).to(device)
        self.covers = torch.from_numpy(data.covers.astype(np.int64)).to(device)
        self.empty = _rows(data, [""], tokens_kept).to(device)
        self.noising = Noising(device)
        self.order = torch.randperm(0)

    def choose(self, count: int) -> Tensor:
        """The next examples; all of them come before any comes again."""
        if len(self.order) < count:
            self.order = torch.randperm(len(self.latents))
        chosen, self.order = self.order[:count], self.order[count:]
        return chosen.to(self.device)

    def errors(self, run: Forward, chosen: Tensor, emphasis: float) -> "Errors":
        """Noise these examples, one in ten without its caption, and compare.

        Cells on and next to an object count 1 + `emphasis` times.
        """
        clean = self.latents[chosen].float()
        words = self.tokens[chosen, torch.randint(0, self.tokens.shape[1], chosen.shape, device=self.device)]
        words = torch.where(torch.rand(len(chosen), 1, device=self.device) < 0.1, self.empty, words)
        times = self.noising.draw_times(len(chosen))
        noise = torch.randn_like(clean)
        noisy = self.noising.add(clean, noise, times).to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            predicted, read = self.run(run, chosen, words, noisy, times)
        covers = self.covers[chosen]
        weights = 1 + emphasis * F.max_pool2d((covers > 0).float()[:, None], 3, 1, 1)
        squares = ((predicted.float() - noise).pow(2) * weights / weights.mean()).mean((1, 2, 3))
        noise_error = (squares * self.noising.weight[times]).mean()
        return Errors(noise_error, F.cross_entropy(read.float(), covers), squares.detach(), times)

    def run(self, run: Forward, chosen: Tensor, words: Tensor, noisy: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Ask the model; another architecture may want to know more about the `chosen` examples."""
        return run(words, noisy, times)


@dataclass(frozen=True)
class Errors:
    """One batch's losses, and each example's plain error for the log."""

    noise: Tensor
    reading: Tensor
    squares: Tensor
    times: Tensor

    def figures(self) -> list[float]:
        """For the log: both losses, then the error at low, middle and high noise."""
        bands = (self.times < 300, (self.times >= 300) & (self.times < 700), self.times >= 700)
        return [self.noise.item(), self.reading.item(), *(self.squares[band].mean().item() for band in bands)]


def train(
    pocket: Pocket,
    lessons: Lessons,
    folder: Path,
    minutes: float,
    show: Callable[[Path], None],
    *,
    batch: int = 32,
    learning_rate: float = 1.5e-3,
    text_rate: float = 0.3,
    until: float = 1.0,
) -> None:
    """Train, or go on training, up to the share `until` of a budget of `minutes`; the result is the checkpoint.

    `lessons` may cut captions, which is much cheaper; the last part has to see the full context, for that is what a
    pipeline will feed. `show` draws a preview with the averaged weights.
    """
    device, tokens_kept = lessons.device, lessons.tokens_kept
    pocket = pocket.to(device)
    compile_safe(pocket.unet)
    average = Average(pocket.parameters(), 0.998)
    rates = [(name, p, text_rate if name.startswith("text") else 1.0) for name, p in pocket.named_parameters()]
    optimisers = Optimisers(rates, ("conv_in", "conv_out", "reader"))
    step, spent = 0, 0.0
    saved = load_checkpoint(folder / "unet.pt")
    if saved is not None:
        pocket.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimisers.load_state_dict(saved["optimisers"])
        step, spent = saved["step"], saved["spent"]
        if saved["tokens_kept"] < tokens_kept:
            pocket.extend_positions(saved["tokens_kept"])
            average = Average(pocket.parameters(), average.decay)
    if spent >= until * minutes * 60:
        return
    torch.manual_seed(step)
    compiled = torch.compile(pocket, dynamic=False)
    check_gradients(pocket, compiled, lambda run: lessons.errors(run, torch.arange(batch, device=device), 1.0).noise)
    progress = Progress(minutes, learning_rate, spent, warm_up=20)
    next_report, next_checkpoint = spent + 30, spent + 240
    figures: list[list[float]] = []
    while progress.share < until:
        late = progress.share > 0.7
        errors = lessons.errors(compiled, lessons.choose(batch), 0.0 if late else 1.0)
        (errors.noise + (0.02 if late else 0.06) * errors.reading).backward()
        optimisers.step(progress.learning_rate)
        average.update()
        step += 1
        figures.append(errors.figures())
        now, finished = progress.spent, progress.share >= until
        if now > next_report or finished:
            next_report = now + 60
            means = np.nanmean(np.array(figures), 0).round(4).tolist()
            log.info("unet %.1f min, %d steps, loss/read/low/mid/high %s", now / 60, step, means)
            figures = []
        if now > next_checkpoint or finished:
            next_checkpoint = now + 300
            average.swap()
            show(folder / f"preview_{step:06d}.png")
            average.swap()
            save_checkpoint(
                folder / "unet.pt", model=pocket.state_dict(), average=average.state_dict(),
                optimisers=optimisers.state_dict(), step=step, spent=now, tokens_kept=tokens_kept,
            )  # fmt: skip


def _rows(data: Dataset, texts: Sequence[str], tokens_kept: int) -> Tensor:
    return torch.from_numpy(tokenizer.encode(data.tokenizer, list(texts))[:, :tokens_kept].astype(np.int64))


def check_gradients(model: nn.Module, compiled: Forward, loss: Callable[[Forward], Tensor]) -> None:
    """Refuse to train on a compiled graph whose gradients are not those of the plain one."""
    gradients = []
    for run in (compiled, model):
        torch.manual_seed(7)
        loss(run).backward()
        gradients.append([p.grad.flatten().clone() if p.grad is not None else None for p in model.parameters()])
        model.zero_grad()
    similar = [
        torch.cosine_similarity(a, b, dim=0).item()
        for a, b in zip(*gradients, strict=True)
        if a is not None and b is not None and b.norm() > 1e-6
    ]
    log.info("compiled gradients: lowest cosine %.3f, mean %.3f", min(similar), float(np.mean(similar)))
    if np.mean(similar) < 0.95:
        raise RuntimeError("torch.compile gives wrong gradients; train with TORCHDYNAMO_DISABLE=1")


@torch.no_grad()
def sample(
    pocket: Pocket, words: Tensor, nothing: Tensor, *, steps: int = 20, guidance: float = 5.0, seed: int = 1
) -> Tensor:
    """Latents for token rows by DPM++ 2M on Karras sigmas."""
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    device = pocket.unet.device
    states = pocket.text(torch.cat([nothing, words]).to(device)).last_hidden_state
    latents = torch.randn(len(words), 4, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)
    latents = latents * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents, latents]), time)
        with torch.autocast(device.type, torch.bfloat16):
            noise, _ = pocket.denoise(
                states,
                both.to(memory_format=torch.channels_last),
                pocket.embed(time.expand(len(both)).to(device), both),
            )
        without, with_words = noise.float().chunk(2)
        latents = scheduler.step(without + guidance * (with_words - without), time, latents).prev_sample
    return latents


PREVIEWS = (
    "a red house under a yellow moon, night sky", "a red circle", "a big blue star on a white background",
    "a yellow house at night", "a green tree in the snow", "a purple fish at sea", "a pink heart on a black background",
    "a white moon at night", "an orange circle at sunset", "a red boat at sea", "a blue square and a yellow triangle",
    "a green circle above a red square, gray background", "a black cat in the snow", "a red car in the desert",
    "a black triangle on the right, yellow background", "a white boat next to a pink tree, sunset",
)  # fmt: skip


def save_preview(
    pocket: Pocket, data: Dataset, decode: Callable[[Tensor], Tensor], path: Path, tokens_kept: int
) -> None:
    """A small contact sheet, to watch training by."""
    empty, words = _rows(data, [""] * len(PREVIEWS), tokens_kept), _rows(data, PREVIEWS, tokens_kept)
    pictures = as_pictures(decode(sample(pocket, words, empty).cpu()))
    cv2.imwrite(str(path), scenes.sheet(list(pictures), 8)[..., ::-1])
