"""What a plan changes about the models it uses: another VAE, TAESD, no seams. All is put back."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn

from webui.domain.plan import Plan, TaesdPlan, VaeRef
from webui.engine import families
from webui.engine.seamless import seamless
from webui.errors import BadFile
from webui.weights.checkpoint import Scaling, is_text_encoder, scaling_of
from webui.weights.loading.load import load_taesd, load_vae
from webui.weights.memory import Resident
from webui.weights.recognition.vae_files import Half, identify_taesd, identify_vae

TAESD_ENCODER, TAESD_DECODER = "taesd_encoder", "taesd_decoder"


class Wardrobe:
    """The VAE and the halves of TAESD that were used last, kept for the next plan.

    A network is at one place at a time, so each of the models that are in use together has its own, by its `number`.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], tuple[object, nn.Module]] = {}

    def vae(self, reference: VaeRef, dtype: torch.dtype, scaling: Scaling, number: int) -> nn.Module:
        """Return a file's VAE, whose latents a checkpoint scales so; `BadFile` when it cannot be one."""
        key = (reference.path, reference.sha256, dtype, tuple(sorted(scaling.items())))
        return self._keep(("vae", number), key, lambda: load_vae(identify_vae(reference.path), dtype, scaling))

    def taesd(self, plan: TaesdPlan, half: Half, dtype: torch.dtype, scaling: Scaling, number: int) -> nn.Module:
        """Return a TAESD of which one half is of use; raise `BadFile` when the plan's file holds none."""
        file = plan.encoder if half == "encoder" else plan.decoder or plan.preview
        assert file is not None
        key = (file, dtype, tuple(sorted(scaling.items())))
        return self._keep((half, number), key, lambda: load_taesd(identify_taesd(file, half), dtype, scaling))

    def _keep(self, place: tuple[str, int], key: object, load: Callable[[], nn.Module]) -> nn.Module:
        known = self._kept.get(place)
        if known is None or known[0] != key:
            self._kept.pop(place, None)
            self._kept[place] = key, load()
        return self._kept[place][1]


@dataclass(frozen=True)
class _Worn:
    """What one model has on: the number of its own networks, and how to take it off."""

    number: int
    undo: ExitStack


class Outfit:
    """Fits models to one plan, until the end of the block."""

    def __init__(self, plan: Plan, wardrobe: Wardrobe) -> None:
        self._plan = plan
        self._wardrobe = wardrobe
        self._worn: dict[Resident, _Worn] = {}

    def __enter__(self) -> Outfit:
        return self

    def __exit__(self, *_: object) -> None:
        self.keep_only(())

    def put_on(self, model: Resident) -> None:
        """Fit `model`, once; raise `BadFile` when the plan's VAE cannot be used."""
        if model in self._worn:
            return
        taken = {worn.number for worn in self._worn.values()}
        worn = self._worn[model] = _Worn(min(set(range(len(taken) + 1)) - taken), ExitStack())
        self._put_on_vae(model, worn)
        self._put_on_taesd(model, worn)
        drawing = [model.network(part) for part in model.parts if not is_text_encoder(part)]
        worn.undo.enter_context(seamless(drawing, self._plan.tiling))

    def keep_only(self, models: Collection[Resident]) -> None:
        """Take it off all but `models`, and let go of these."""
        for model in self._worn.keys() - set(models):
            self._worn.pop(model).undo.close()

    def _put_on_vae(self, model: Resident, worn: _Worn) -> None:
        if self._plan.vae is not None:
            scaling = scaling_of(model.network("vae").config)
            vae = self._wardrobe.vae(self._plan.vae, model.placement.dtypes["vae"], scaling, worn.number)
            _exchange(model, "vae", vae, worn.undo)

    def _put_on_taesd(self, model: Resident, worn: _Worn) -> None:
        plan = self._plan.taesd
        # It is so small that half precision gains nothing on a CPU.
        dtype = torch.float32 if model.placement.device.type == "cpu" else model.placement.dtypes["vae"]
        scaling = families.find_taesd_scaling(model.checkpoint.family)
        if plan.encoder is not None:
            encoder = self._wardrobe.taesd(plan, "encoder", dtype, scaling, worn.number)
            _exchange(model, TAESD_ENCODER, encoder, worn.undo)
            worn.undo.enter_context(model.coding_with(encoder=TAESD_ENCODER))
        if plan.decoder is not None or plan.preview is not None:
            decoder = self._wardrobe.taesd(plan, "decoder", dtype, scaling, worn.number)
            _exchange(model, TAESD_DECODER, decoder, worn.undo)
        if plan.decoder is not None:
            worn.undo.enter_context(model.coding_with(decoder=TAESD_DECODER))


def _exchange(model: Resident, component: str, network: nn.Module, undo: ExitStack) -> None:
    """Exchange a component until `undo`; raise `BadFile` when its latents are not those of the model."""
    found, wanted = (_channels(each) for each in (network, model.network("vae")))
    if found != wanted:
        what = "VAE" if component == "vae" else "TAESD"
        raise BadFile(
            f"The {what} of this plan has latents of {found} channels, {model.checkpoint.path.name} needs {wanted}.",
            hint="Choose one that was made for this kind of model.",
            field="vae",
        )
    before = model.exchange(component, network)
    undo.callback(model.exchange, component, before)


def _channels(vae: nn.Module) -> int:
    """Return the channels of a VAE's latents, which those that know frames call otherwise."""
    return int(vae.config.get("latent_channels") or vae.config.z_dim)
