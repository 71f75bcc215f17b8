"""The facts of a run that a person needs at a glance, and what there is to warn about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sampling import Plan
from sampling.diagnostics import diagnose_run, facts_of
from sampling.runner import STEPS_TO_IMAGE
from schedulers.core.level import Level
from schedulers.diagnostics import Diagnosis
from schedulers.diagnostics.finding import count, short
from visualize.columns import MOST_TOLD, told_calls

__all__ = ["Chip", "chips"]


@dataclass(frozen=True, slots=True)
class Chip:
    """A fact about the run, or a warning with its reason and its remedy.

    ``set`` holds the remedy as settings of the spec ("config.eta": 0.0), where there is one that
    a press of a button can apply.
    """

    id: str
    text: str
    level: str = "info"
    why: str | None = None
    fix: str | None = None
    set: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The chip as JSON values."""
        return asdict(self)


def chips(plan: Plan, extent: float) -> list[Chip]:
    """The facts, then what a careful engineer would warn about.

    Args:
        plan: The run.
        extent: Largest absolute coordinate that the model's data have (1 for images).
    """
    return [*_facts(plan), *map(_warning, diagnose_run(facts_of(plan, extent)))]


def _warning(found: Diagnosis) -> Chip:
    change = found.set and {_control(name): value for name, value in found.set.items()}
    level = "info" if found.severity == "note" else "warn"  # the page has no third one
    return Chip(found.id, found.text, level, found.why, found.fix, change)


def _control(parameter: str) -> str:
    """The control of a parameter that a remedy sets."""
    return parameter if parameter in ("steps", "sigmas") else f"config.{parameter}"


def _facts(plan: Plan) -> Iterator[Chip]:
    steps, calls = count(plan.steps, "step"), count(plan.nfe, "model call")
    yield Chip(
        "steps",
        f"{steps} · {calls}",
        why="Model calls (NFE) are what takes time: compare schedulers at equal calls."
        + ("" if plan.nfe == plan.steps else " Some steps here ask the model more than once."),
    )
    if plan.nfe > MOST_TOLD:
        yield Chip(
            "told",
            f"{len(told_calls(plan))} of {plan.nfe} calls told",
            why="Levels, equations and weights of the others are left out: the page shows for them "
            "what it shows for the call before. All are made when the run is.",
        )
    first, last = plan.calls[0].here, plan.calls[-1]
    low = f"{_ratio(last.here)} → " if plan.nfe > 1 else ""
    yield Chip(
        "levels",
        f"σ/α {_ratio(first)} → {low}{_ratio(last.target)}",
        why="Noise over signal: at the first call, at the last call, and in the result. 0 is "
        "clean, ∞ is pure noise.",
    )
    yield _order(plan.step_orders)
    if plan.upward:
        yield Chip(
            "upward",
            "from clean to noise",
            why="Inversion: the run starts from a clean sample (here DDIM makes one in "
            f"{STEPS_TO_IMAGE} steps) and ends in the noise that a deterministic sampler would "
            "make it of. Edit an image by sampling from that noise with another class. Shares of "
            "the result say nothing here and are left out.",
        )
    if plan.scheduler.call_form == "adaptive":
        yield _adaptive(plan)
    if any(row.noise for row in plan.coefficients):
        yield _fresh_noise(plan)


def _ratio(level: Level) -> str:
    return "0" if level.sigma == 0.0 else short(level.rho)


def _order(orders: Sequence[int]) -> Chip:
    most = max(orders, default=1)
    text = f"order {most}"
    if orders and orders[0] != most:
        text += f", first {orders[0]}"
    if len(orders) > 1 and orders[-1] != most:
        text += f", last {orders[-1]}"
    why = (
        f"With small steps, twice as many divide the error by about {2**most} (2 to the power of "
        "the order)."
    )
    if most > 1:
        why += (
            " Orders above 1 combine several model calls; where these are not at hand, at the "
            "start or the end, the order is lower."
        )
    return Chip("order", text, why=why)


def _adaptive(plan: Plan) -> Chip:
    """Where the scheduler chooses its steps: how many it took."""
    rejected = len({plan.calls[i].step for i in plan.scheduler.rejected})
    relative, absolute = (short(float(plan.scheduler.config[name])) for name in ("rtol", "atol"))
    return Chip(
        "adaptive",
        f"{plan.steps} steps if none is rejected"
        if plan.ahead
        else f"{plan.steps} steps taken, {rejected} rejected",
        why="The scheduler takes every step at two orders. Where they differ by more than rtol "
        f"({relative} of the sample) and atol ({absolute}) allow, it goes back and tries a "
        "shorter one. So the number of steps cannot be set. Smaller tolerances take more calls; "
        "another seed or model may take another number.",
    )


def _fresh_noise(plan: Plan) -> Chip:
    draws = sum(1 for row in plan.coefficients if row.noise)
    holds = sum(1 for i in range(plan.nfe) if plan.holds_level(i) and plan.coefficients[i].noise)
    why = "The seed decides every draw, not only the noise that the run starts from."
    if holds:
        why += (
            f" {count(holds, 'call')} of these are corrector (Langevin) steps: they stay at their "
            "level, go a little along what the model says and add noise back. Their length follows "
            "from norms in the run; the weights shown are what it is on average."
        )
    return Chip("noise", f"fresh noise in {draws} of {count(plan.nfe, 'call')}", why=why)
