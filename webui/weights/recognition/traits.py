"""What sets a checkpoint apart from the usual ones of its family, in words for its card."""

from __future__ import annotations

from collections.abc import Mapping

from webui.domain.pipelines import find_pipeline
from webui.weights.checkpoint import Checkpoint, EdmSchedule, NoiseSchedule
from webui.weights.families.few_steps import tell_distillation

_PREDICTIONS = {"v_prediction": "v-prediction", "epsilon": "epsilon"}


def told_traits(checkpoint: Checkpoint) -> Mapping[str, str]:
    """Return what its network predicts, from which noise, and how it was distilled, by our names of details.

    Of what diffusers' own pipeline runs: that, and what it cannot be asked for.
    """
    pipeline = find_pipeline(str(checkpoint.index.get("_class_name")))
    if pipeline is not None:
        return {"runs": "through diffusers' own pipeline", "lacks": ", ".join(pipeline.lacks)}
    noise = checkpoint.noise
    traits = {"distilled": tell_distillation(checkpoint)}
    if isinstance(noise, NoiseSchedule | EdmSchedule) and "unet" in checkpoint.parts:
        traits["prediction"] = _PREDICTIONS.get(noise.prediction, noise.prediction)
    if isinstance(noise, EdmSchedule):
        traits["noise"] = f"EDM, sigma {noise.sigma_min:g} to {noise.sigma_max:g}"
    elif isinstance(noise, NoiseSchedule) and noise.zero_terminal:
        traits["noise"] = "zero terminal SNR"
    return {name: words for name, words in traits.items() if words}
