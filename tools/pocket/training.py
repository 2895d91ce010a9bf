"""What the training stages share: averaging, optimisers, learning-rate shape, checkpoints, compile-safe layers."""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn


class PlainUpsample(nn.Module):
    """Nearest-neighbour doubling and a convolution, by expanding instead of interpolating.

    torch.compile 2.13 on the CPU gave zero gradients through `interpolate` in this place; the parameters keep the
    names of diffusers' own layer, so checkpoints are the same.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, hidden_states: Tensor, output_size: Any = None, *_: Any) -> Tensor:
        batch, channels, height, width = hidden_states.shape
        last = hidden_states.permute(0, 2, 3, 1)[:, :, None, :, None, :]
        doubled = last.expand(batch, height, 2, width, 2, channels).reshape(batch, height * 2, width * 2, channels)
        return self.conv(doubled.permute(0, 3, 1, 2))


def compile_safe(model: nn.Module) -> nn.Module:
    """Replace the model's upsampling layers, in place, by ones that compile correctly."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Upsample2D):
                setattr(module, name, PlainUpsample(child.conv))
            elif isinstance(child, nn.ModuleList):
                for index, item in enumerate(child):
                    if isinstance(item, Upsample2D):
                        child[index] = PlainUpsample(item.conv)
    return model.to(memory_format=torch.channels_last)


class Average:
    """An exponential moving average of parameters."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.steps = 0
        self.shadow = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the present parameters; faster at first."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.shadow, [parameter.detach() for parameter in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and the parameters; twice is identity."""
        for parameter, average in zip(self.parameters, self.shadow, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"steps": self.steps, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore from a checkpoint."""
        self.steps = state["steps"]
        for average, saved in zip(self.shadow, state["shadow"], strict=True):
            average.copy_(saved)


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration of Muon (Jordan 2024) on a stack of matrices [n, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    wide = x.shape[-2] > x.shape[-1]
    if wide:
        x = x.mT
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).bfloat16()
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.mT if wide else x).float()


class Muon(torch.optim.Optimizer):
    """Muon with the step size of Adam (Liu et al. 2025, arXiv:2502.16982) for weights seen as matrices."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update; equal shapes are orthogonalised together."""
        for group in self.param_groups:
            stacks: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
                stacks[tuple(update.shape)].append((parameter, update))
            for (rows, columns), entries in stacks.items():
                updates = orthogonalised(torch.stack([update for _, update in entries]))
                scale = 0.2 * math.sqrt(max(rows, columns))
                for (parameter, _), update in zip(entries, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["decay"])
                    parameter.add_(update.view(parameter.shape), alpha=-group["lr"] * scale)


class Optimisers:
    """Muon for hidden matrices, AdamW for everything else, with one learning rate in common."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter, float]], first_and_last: Iterable[str] = ()) -> None:
        matrices: dict[float, list[nn.Parameter]] = defaultdict(list)
        others: dict[float, list[nn.Parameter]] = defaultdict(list)
        excluded = tuple(first_and_last)
        for name, parameter, rate in named:
            is_matrix = parameter.ndim >= 2 and "embedding" not in name and not any(part in name for part in excluded)
            (matrices if is_matrix else others)[rate].append(parameter)
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            groups = [{"params": parameters, "rate": rate} for rate, parameters in matrices.items()]
            self.parts.append(Muon(groups, lr=0.0))
        groups = [{"params": parameters, "rate": rate} for rate, parameters in others.items()]
        self.parts.append(torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99), weight_decay=0.01))
        self.parameters = [p for part in self.parts for group in part.param_groups for p in group["params"]]

    def step(self, learning_rate: float, clip: float = 1.0) -> None:
        """Clip, update, clear."""
        nn.utils.clip_grad_norm_(self.parameters, clip)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate * group["rate"]
            part.step()
            part.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """What a checkpoint needs."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore from a checkpoint."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


class Progress:
    """Training time spent, over restarts, against a budget; gives the learning rate."""

    def __init__(
        self,
        minutes: float,
        peak: float,
        spent: float = 0.0,
        warm_up: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = minutes * 60
        self.peak = peak
        self.warm_up = warm_up
        self.clock = clock
        self.began = clock() - spent

    @property
    def spent(self) -> float:
        """Seconds of training so far."""
        return self.clock() - self.began

    @property
    def share(self) -> float:
        """How much of the budget is used, 0 to 1."""
        return min(1.0, self.spent / self.budget)

    @property
    def learning_rate(self) -> float:
        """Short warm-up, then a half cosine down to one fiftieth."""
        rising = min(1.0, (self.spent + 1) / self.warm_up)
        return self.peak * rising * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.share)))


def save_checkpoint(path: Path, **state: Any) -> None:
    """Write beside, then rename, so that an interruption never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    torch.save(state, beside)
    os.replace(beside, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None if there is none yet."""
    return torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None


def as_tensor(pictures: Any) -> Tensor:
    """uint8 [n, h, w, 3] to float [n, 3, h, w] in -1..1."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1).to(memory_format=torch.channels_last)


def as_pictures(images: Tensor) -> Any:
    """The reverse of `as_tensor`."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
