"""The noise levels of a model, as the scheduler_config.json of its folder tells them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from webui.weights.checkpoint import EdmSchedule, FlowSchedule, NoiseSchedule
from webui.weights.families.family import FolderFacts
from webui.weights.formats.headers import bad_model

_DAMAGED = "its scheduler_config.json is damaged"
_UNSUPPORTED = "it was trained on a noise schedule that is not supported"


def read_noise_schedule(facts: FolderFacts) -> NoiseSchedule | EdmSchedule:
    """Return the levels of a model that learnt to remove added noise; raise `BadFile` when they are not supported."""
    config, standard = facts.scheduler, NoiseSchedule()
    if str(config.get("_class_name", "")).startswith("EDM"):
        return _read_edm_schedule(facts)
    try:
        noise = NoiseSchedule(
            train_steps=int(config.get("num_train_timesteps", standard.train_steps)),
            beta_start=float(config.get("beta_start", standard.beta_start)),
            beta_end=float(config.get("beta_end", standard.beta_end)),
            beta_schedule=str(config.get("beta_schedule", standard.beta_schedule)),
            prediction=str(config.get("prediction_type", standard.prediction)),
            zero_terminal=config.get("rescale_betas_zero_snr") is True,
        )
    except (TypeError, ValueError) as error:
        raise bad_model(facts.path, _DAMAGED) from error
    usable = 0 < noise.beta_start < noise.beta_end < 1 and 2 <= noise.train_steps <= 100_000
    if (
        not usable
        or noise.beta_schedule not in ("scaled_linear", "linear")
        or noise.prediction not in ("epsilon", "v_prediction")
    ):
        raise bad_model(facts.path, _UNSUPPORTED)
    return noise


def _read_edm_schedule(facts: FolderFacts) -> EdmSchedule:
    config, standard = facts.scheduler, EdmSchedule()
    try:
        schedule = EdmSchedule(
            sigma_min=float(config.get("sigma_min", standard.sigma_min)),
            sigma_max=float(config.get("sigma_max", standard.sigma_max)),
            sigma_data=float(config.get("sigma_data", standard.sigma_data)),
            prediction=str(config.get("prediction_type", standard.prediction)),
        )
    except (TypeError, ValueError) as error:
        raise bad_model(facts.path, _DAMAGED) from error
    return check_edm(facts.path, schedule)


def check_edm(path: Path, schedule: EdmSchedule) -> EdmSchedule:
    """Return `schedule`; raise `BadFile` when its levels make no sense."""
    usable = 0 < schedule.sigma_min < schedule.sigma_max <= 10_000 and 0 < schedule.sigma_data <= 100
    if not usable or schedule.prediction not in ("epsilon", "v_prediction"):
        raise bad_model(path, _UNSUPPORTED)
    return schedule


def read_solver_flow_schedule(facts: FolderFacts) -> FlowSchedule:
    """The same for models whose folders name DPM-Solver, which has its own words for flow matching."""
    config = facts.scheduler
    if config.get("_class_name") != "DPMSolverMultistepScheduler":
        return read_flow_schedule(facts)
    if config.get("prediction_type") != "flow_prediction" or config.get("use_flow_sigmas") is not True:
        raise bad_model(facts.path, _UNSUPPORTED)
    told = {"num_train_timesteps": config.get("num_train_timesteps", 1000), "shift": config.get("flow_shift", 1.0)}
    return read_flow_schedule(replace(facts, scheduler=told))


def read_stretched_schedule(facts: FolderFacts) -> FlowSchedule:
    """Return the levels of a model of flow matching whose runs may end at a level of their own, before no noise."""
    config = dict(facts.scheduler)
    terminal = config.pop("shift_terminal", None) or 0.0
    if not isinstance(terminal, int | float) or not 0 <= terminal < 1:
        raise bad_model(facts.path, _UNSUPPORTED)
    return replace(read_flow_schedule(replace(facts, scheduler=config)), terminal=float(terminal))


def read_flow_schedule(facts: FolderFacts) -> FlowSchedule:
    """Return the levels of a model of flow matching; raise `BadFile` when they are not supported."""
    config, standard = facts.scheduler, FlowSchedule()
    if config.get("_class_name", "FlowMatchEulerDiscreteScheduler") != "FlowMatchEulerDiscreteScheduler":
        raise bad_model(facts.path, _UNSUPPORTED)
    try:
        flow = FlowSchedule(
            train_steps=int(config.get("num_train_timesteps", standard.train_steps)),
            shift=float(config.get("shift", standard.shift)),
            dynamic=config.get("use_dynamic_shifting", standard.dynamic) is True,
            base_shift=float(config.get("base_shift", standard.base_shift)),
            max_shift=float(config.get("max_shift", standard.max_shift)),
            base_tokens=int(config.get("base_image_seq_len", standard.base_tokens)),
            max_tokens=int(config.get("max_image_seq_len", standard.max_tokens)),
        )
    except (TypeError, ValueError) as error:
        raise bad_model(facts.path, _DAMAGED) from error
    usable = flow.train_steps == 1000 and 0 < flow.shift <= 100 and 0 < flow.base_tokens < flow.max_tokens
    bounded = 0 <= flow.base_shift <= flow.max_shift <= 10
    unusual = (
        config.get("shift_terminal"), config.get("invert_sigmas"), config.get("use_karras_sigmas"),
        config.get("use_exponential_sigmas"), config.get("use_beta_sigmas"), config.get("stochastic_sampling"),
        config.get("time_shift_type", "exponential") != "exponential",
    )  # fmt: skip
    if not (usable and bounded) or any(unusual):
        raise bad_model(facts.path, _UNSUPPORTED)
    return flow
