"""What the engine costs beyond the networks: `python -m benchmarks.overhead [--model FOLDER]`.

The same picture twice, in turns: by the engine, and by a bare loop of the same network calls with the same sampler
arithmetic written out. The ratio of their processor times is printed; 1.00 is a free engine. Also printed: what loading
takes and the largest memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.tiny_models import make_folder
from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.condition import Encoding
from webui.engine.engine import Control, Engine, EngineOptions, ImageReady
from webui.engine.families import sd1
from webui.engine.families.sd1 import encode
from webui.engine.schedules import find_sigmas
from webui.engine.vae import to_image
from webui.weights.loading.load import load
from webui.weights.memory import Resident, choose_placement
from webui.weights.recognition.identify import identify

OPTIONS = EngineOptions(use_cpu=frozenset({"all"}), half=False)


def make_plan(folder: Path, steps: int, size: int, every: int) -> Plan:
    model = ModelRef(name=folder.name, path=folder, family=Family.SD1, layout="diffusers", sha256="0" * 64)
    image = ImagePlan(index=0, seed=1, prompt="a red circle on the left", negative_prompt="blurry")
    return Plan(
        model=model, sampler="Euler", schedule="Uniform", steps=steps, guidance=5.0, width=size, height=size,
        images=(image,), preview=PreviewPlan(every=every),
    )  # fmt: skip


def by_engine(engine: Engine, plan: Plan) -> object:
    return [item.image for item in engine.run(plan, Control()) if isinstance(item, ImageReady)]


def bare_loop(model: Resident, plan: Plan) -> Callable[[], object]:
    """Return the least that makes the same picture: everything that can be known before the loop is known before it."""
    image = plan.images[0]
    levels = sd1.noise_levels(model)
    sigmas = find_sigmas("Euler", "Uniform", plan.steps, levels)
    context = torch.stack([encode(model, text, Encoding()).states for text in (image.negative_prompt, image.prompt)])
    times = [torch.tensor(levels.timestep(sigma)) for sigma in sigmas[:-1]]
    with model.on_device("unet") as unet, model.on_device("vae") as vae:

        @torch.inference_mode()
        def loop() -> object:
            shape = (1, *sd1.latent_shape(plan.width, plan.height))
            latents = torch.randn(shape, generator=torch.Generator().manual_seed(image.seed)) * sigmas[0]
            for index, time_ in enumerate(times):
                sigma, following = sigmas[index : index + 2]
                scaled = torch.cat([latents, latents]) / (sigma * sigma + 1) ** 0.5
                without, with_prompt = unet(scaled, time_, encoder_hidden_states=context, return_dict=False)[0].chunk(2)
                latents = latents + (without + plan.guidance * (with_prompt - without)) * (following - sigma)
            return to_image(vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0][0])

        return loop


def compare(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Return the medians of both in seconds and the median of the ratios of neighbours, measured in turns."""
    first(), second()
    pairs: list[tuple[float, float]] = []
    for number in range(repeats):
        seconds: dict[bool, float] = {}
        for is_first in (True, False) if number % 2 else (False, True):
            start = time.process_time()
            (first if is_first else second)()
            seconds[is_first] = time.process_time() - start
        pairs.append((seconds[True], seconds[False]))
    ratio = statistics.median(one / other for one, other in pairs)
    return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs), ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a diffusers folder; default: a tiny random one")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.model or make_folder(Path(temporary) / "tiny")
        checkpoint = identify(folder)
        placement = choose_placement(OPTIONS, checkpoint)
        start = time.process_time()
        model = Resident(load(checkpoint, placement.dtypes), placement)
        print(f"loading        {time.process_time() - start:.3f} s")
        for every in (0, 5):
            plan = make_plan(folder, given.steps, given.size, every)
            engine = Engine(OPTIONS)
            ours, bare, ratio = compare(lambda: by_engine(engine, plan), bare_loop(model, plan), given.repeats)  # noqa: B023
            name = f"preview every {every}" if every else "no previews"
            print(f"{name:15}engine {ours * 1000:.1f} ms, bare loop {bare * 1000:.1f} ms, ratio {ratio:.3f}")
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
