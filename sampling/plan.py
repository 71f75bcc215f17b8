"""From a spec to a scheduler that stands at the start, with every weight known beforehand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models import MODELS, ModelInfo
from sampling.spec import RunSpec, SpecError, Value
from schedulers import SCHEDULERS
from schedulers.core.coefficients import Coefficients, Contributions, contributions
from schedulers.core.level import Call
from schedulers.core.scheduler import Scheduler
from schedulers.grids.groups import Group
from schedulers.solvers.dpm_adaptive import DPMAdaptiveScheduler

__all__ = [
    "PARTICLES",
    "Schedule",
    "batch",
    "blame",
    "build",
    "schedule",
    "step_settings",
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


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """What a run will do, known before any array exists.

    Attributes:
        spec: The run.
        scheduler: A scheduler after `set_timesteps`; for reading only, runs build their own.
        stages: One per model call: its time, its level and the level it leads to.
        rows: One per model call: the weights of its update.
        orders: One per model call: the order at which the rule works there.
        contributions: The weight of x_T, of every call's data prediction and of every noise
            draw in the final sample.
        ahead: Whether the error of the run decides its calls, and these are the ones to come if
            no step makes any.
    """

    spec: RunSpec
    scheduler: Scheduler
    stages: tuple[Call, ...]
    rows: tuple[Coefficients, ...]
    orders: tuple[int, ...]
    contributions: Contributions
    ahead: bool = False

    @property
    def nfe(self) -> int:
        """Number of model calls."""
        return len(self.stages)

    @property
    def upward(self) -> bool:
        """Whether the run leads from clean samples to noise (inversion)."""
        return self.scheduler.ascends

    @property
    def steps(self) -> int:
        """Number of inference steps that the scheduler made of the spec."""
        made = getattr(self.scheduler, "num_inference_steps", None)
        return int(made) if made is not None else self.spec.steps


def schedule(spec: RunSpec, attempts: tuple[Group, ...] | None = None) -> Schedule:
    """Compute levels, weights and contributions of a run; no model is asked.

    Args:
        spec: The run.
        attempts: The steps that a run with adaptive steps found, taken or not; None for those
            ahead of it.

    Raises:
        SpecError: The settings do not go together; ``parameter`` names the control.
    """
    scheduler = build(spec, attempts)
    try:
        stages = scheduler.stages
        rows = scheduler.rows(step_settings(spec))
        orders = scheduler.orders(rows)
        summary = contributions(rows, stages)
    except (ValueError, TypeError) as error:
        raise blame(spec, error) from error
    ahead = isinstance(scheduler, DPMAdaptiveScheduler) and attempts is None
    return Schedule(spec, scheduler, stages, rows, orders, summary, ahead)


def build(spec: RunSpec, attempts: tuple[Group, ...] | None = None) -> Scheduler:
    """A fresh scheduler of this spec, after `set_timesteps`.

    Args:
        spec: The run.
        attempts: Steps that an adaptive scheduler makes again without judging them.

    Raises:
        SpecError: The settings do not go together; ``parameter`` names the control.
    """
    made = SCHEDULERS[spec.scheduler]
    calls = {entry.name: entry.call for entry in made.parameters()}
    settings = {k: _listed(v) for k, v in spec.config if calls[k] == "init"}
    try:
        scheduler = made(**settings)
        if attempts is not None and isinstance(scheduler, DPMAdaptiveScheduler):
            scheduler.set_timesteps(attempts=attempts)
        else:
            scheduler.set_timesteps(**_times(spec, scheduler))
    except (ValueError, TypeError) as error:
        raise blame(spec, error) from error
    return scheduler


def step_settings(spec: RunSpec) -> dict[str, Value]:
    """The settings of this spec that go to `step` rather than to the constructor."""
    made = SCHEDULERS[spec.scheduler]
    calls = {entry.name: entry.call for entry in made.parameters()}
    return {name: value for name, value in spec.config if calls[name] == "step"}


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

    A refusal names its parameter, as every message of ours does, and becomes a `SpecError` of
    the control of that name; of none, where only other schedulers have the parameter. An error
    that names nothing is no setting's fault but ours, and comes back as it is.
    """
    if isinstance(error, SpecError):
        return error
    message = str(error)
    entries = SCHEDULERS[spec.scheduler].parameters()
    controls = {entry.name: f"config.{entry.name}" for entry in entries} | ALIASES
    controls |= {option.name: f"options.{option.name}" for option in MODELS[spec.model].options}
    others = {entry.name for made in SCHEDULERS.values() for entry in made.parameters()}
    named = _first_named(message, controls) or _first_named(message, others)
    if named is None:
        return error
    return SpecError(controls.get(named, ""), message.replace("num_inference_steps", "steps"))


def _first_named(message: str, names: Iterable[str]) -> str | None:
    """The name that opens the message, or the first with its value, or the first at all."""
    listed = "|".join(re.escape(name) for name in names)
    for pattern in (rf"^({listed})\b", rf"\b({listed})(?:\[\d+\])?=", rf"\b({listed})\b"):
        found = re.search(pattern, message)
        if found:
            return found.group(1)
    return None


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
