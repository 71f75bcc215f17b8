"""What every call does and weighs, in a sentence."""

from __future__ import annotations

from sampling import Plan
from schedulers.core.coefficients import Coefficients
from schedulers.core.level import Level
from schedulers.diagnostics.finding import percent, short
from schedulers.diagnostics.levels import stays

__all__ = ["sentence"]

ORDINALS = {1: "second", 2: "third", 3: "fourth"}
BANDS = (
    (0.99, "The sample is almost pure noise"),
    (0.5, "The sample is mostly noise"),
    (0.01, "Some noise is left"),
)
"""How much of the variance is noise, at least, and what is said of it."""


def sentence(plan: Plan, i: int) -> str:
    """What call ``i`` does and what it weighs, from its level, order, numbers and share."""
    here = plan.calls[i].here
    share = (here.sigma / here.scale) ** 2
    band = next((words for least, words in BANDS if share >= least), "The sample is almost clean")
    return (
        f"{band} (noise is {percent(share)} of its variance): "
        f"{_move(plan, i)}{_noise(plan.coefficients[i])}."
        + ("" if plan.upward else f" {_share(plan, i)}")
    )


def _move(plan: Plan, i: int) -> str:
    call = plan.calls[i]
    start, end = _place(call.here), _place(call.target)
    if stays(plan, i):
        return f"a step from {start} to the same level, which changes nothing"
    if plan.holds_level(i):
        return f"a corrector (Langevin) step that stays at {start}"
    if not plan.accepted(i):
        if plan.completes_step(i):
            return (
                f"the last call at {start} of a rejected step: its error is too large, so it "
                f"is tried again, shorter, from {end}"
            )
        return f"a call at {start} of a step that will be rejected"
    trial = plan.is_trial(i)
    if call.part and not plan.scheduler.weighs_by_norms:
        verb = f"a {ORDINALS.get(call.part, 'further')} look, at {start}, "
        verb += "tries the step again" if trial else "corrects the trial step"
        return verb if call.target.sigma or trial else f"{verb} and ends clean"
    kind = "a trial step" if trial else f"an order-{plan.orders[i]} step"
    goal = f"from {start} to {end.removeprefix('σ/α ') if call.here.alpha > 0.0 else end}"
    return f"{kind} {goal}" + ("" if trial else _combined(plan.coefficients[i]))


def _combined(row: Coefficients) -> str:
    """How many calls a step is made of."""
    reach, parts = row.reach, (row.x, row.x0, row.eps)
    used = sum(any(lag < len(w) and w[lag] for w in parts) for lag in range(reach))
    if 1 < used < reach:
        return f", made of {used} of the last {reach} calls"
    return f", made of the last {reach} calls" if reach > 1 else ""


def _place(level: Level) -> str:
    """A level in words: pure noise and clean are what the ends of a run are called."""
    if level.alpha <= 0.0:
        return "pure noise"
    return f"σ/α {short(level.rho)}" if level.sigma else "clean"


def _noise(row: Coefficients) -> str:
    return f", with fresh noise of weight {short(row.noise)}" if row.noise else ""


def _share(plan: Plan, i: int) -> str:
    """The share of a call, in words."""
    shares = plan.shares
    weight = shares.calls[i]
    if shares.before_last and i == plan.nfe - 1:
        noise = plan.coefficients[i].noise
        return "Its x̂₀ is the result" + (f", under noise of {short(noise)}." if noise else ".")
    place = "the last call's input" if shares.before_last else "the result"
    if abs(weight) < 1e-9:
        return f"Its x̂₀ is no part of {place}: it acts only through what later calls predict."
    total = percent(shares.total)
    if weight < 0.0:
        return (
            f"Its x̂₀ counts {percent(weight)} in {place}: the rule takes it away, to carry on "
            f"the change from it to newer predictions. All calls together make {total}."
        )
    rank = ", more than any other" if len(shares.visible) > 1 and weight == shares.most else ""
    if weight > 1.005:
        return (
            f"Its x̂₀ counts {percent(weight)} in {place}{rank}: other calls count below zero, and "
            f"all together make {total}."
        )
    return f"Its x̂₀ makes up {percent(weight)} of {place}{rank}."
