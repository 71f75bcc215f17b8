"""From a spec to a scheduler that stands at the start, with every weight known beforehand."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from models import MODELS, ModelInfo
from sampling.spec import RunSpec, SpecError, Value
from schedulers import SCHEDULERS
from schedulers.backend.errors import ParameterError, ParameterTypeError
from schedulers.core.plan import RunPlan
from schedulers.core.scheduler import Scheduler
from schedulers.grids.groups import Group
from schedulers.solvers.dpm_adaptive import DPMAdaptiveScheduler

__all__ = [
    "PARTICLES",
    "Plan",
    "batch",
    "blame",
    "build",
    "plan_run",
]

PARTICLES = 256
"""Particles in one sample of a plane or line model."""

# Arguments that have a control under another name, or none of the scheduler's.
ALIASES = {
    "num_inference_steps": "steps",
    "timesteps": "timesteps",
    "sigmas": "sigmas",
    "device": "device",
}


@dataclass(frozen=True, eq=False)
class Plan(RunPlan):
    """What a run will do, known before any array exists; see ``RunPlan``.

    Attributes:
        spec: The run.
        ahead: Whether the error of the run decides its calls, and these are the ones to come if
            no step makes any.
    """

    spec: RunSpec
    ahead: bool


def plan_run(spec: RunSpec, attempts: tuple[Group, ...] | None = None) -> Plan:
    """Compute levels, coefficients and contributions of a run; no model is asked.

    Args:
        spec: The run.
        attempts: The steps that a run with adaptive steps found, taken or not; None for those
            ahead of it.

    Raises:
        SpecError: The settings do not go together; ``parameter`` names the control.
    """
    scheduler = build(spec, attempts)
    ahead = isinstance(scheduler, DPMAdaptiveScheduler) and attempts is None
    try:
        return Plan.of(scheduler, dict(spec.step), spec=spec, ahead=ahead)
    except (ValueError, TypeError) as error:
        raise blame(spec, error) from error


def build(spec: RunSpec, attempts: tuple[Group, ...] | None = None) -> Scheduler:
    """A fresh scheduler of this spec, after `set_timesteps`.

    Args:
        spec: The run.
        attempts: Steps that an adaptive scheduler makes again without judging them.

    Raises:
        SpecError: The settings do not go together; ``parameter`` names the control.
    """
    made = SCHEDULERS[spec.scheduler]
    try:
        scheduler = made(**{name: _listed(value) for name, value in spec.config})
        if attempts is not None and isinstance(scheduler, DPMAdaptiveScheduler):
            scheduler.set_timesteps(attempts=attempts)
        else:
            scheduler.set_timesteps(**_times(spec, scheduler))
    except (ValueError, TypeError) as error:
        raise blame(spec, error) from error
    return scheduler


def batch(info: ModelInfo, samples: int) -> tuple[int, ...]:
    """The shape of the state: (samples, C, H, W) for images, (samples, 256, d) for particles.

    A group of particles counts as one sample, so that it has one generator and the number of
    groups can change without changing the groups.
    """
    if info.kind == "image":
        return (samples, *info.shape)
    return (samples, PARTICLES, *info.shape)


def blame(spec: RunSpec, error: ValueError | TypeError) -> Exception:
    """What to raise for an error of a scheduler or model under the settings of a spec.

    A refusal carries the parameters at fault, and becomes a `SpecError` of the controls of these
    names; of none, where only other schedulers have the parameters. An error that carries nothing
    is no setting's fault but ours, and comes back as it is.
    """
    if isinstance(error, SpecError) or not isinstance(error, ParameterError | ParameterTypeError):
        return error
    entries = SCHEDULERS[spec.scheduler].parameters()
    controls = {entry.name: f"config.{entry.name}" for entry in entries} | ALIASES
    controls |= {option.name: f"options.{option.name}" for option in MODELS[spec.model].options}
    found = (controls[name] for name in error.parameters if name in controls)
    return SpecError(
        tuple(dict.fromkeys(found)), str(error).replace("num_inference_steps", "steps")
    )


def _listed(value: Value) -> Any:  # noqa: ANN401
    return list(value) if isinstance(value, tuple) else value


def _times(spec: RunSpec, scheduler: Scheduler) -> dict[str, Any]:
    """The arguments of `set_timesteps`."""
    for name in ("timesteps", "sigmas"):
        numbers = getattr(spec, name)
        if numbers is None:
            continue
        if name not in inspect.signature(scheduler.set_timesteps).parameters:
            raise SpecError(name, f"{name}: {spec.scheduler} takes no custom {name}.")
        whole = name == "timesteps" and all(number.is_integer() for number in numbers)
        return {name: [int(n) for n in numbers] if whole else list(numbers)}
    return {"num_inference_steps": spec.steps}
