"""Diagnostics of the steps: their order, what they make of errors, and the noise they add."""

from __future__ import annotations

import math

from .finding import Diagnostic, Facts, Finding, count, short

#: Churn raises sigma by at most this share (Karras et al. 2022, algorithm 2).
CHURN_CAP = math.sqrt(2.0) - 1.0
#: Growth of errors from which on images show specks.
MOST_GROWTH = 4.0
#: Below so many calls, noise that a step adds is not taken out again.
FEW_CALLS = 20


def _unreached(facts: Facts) -> Finding | None:
    orders = facts.plan.step_orders
    order = int(facts.settings.get("solver_order") or facts.settings.get("order") or 1)
    if not orders or order <= max(orders):
        return None
    return Finding(
        max(orders),
        f"order {order} is never reached",
        f"Order {order} needs {order} calls in a row. This run has "
        f"{count(len(orders), 'step')}, of order {', '.join(map(str, orders[:8]))}.",
        f"At least {2 * order - 1} steps, or a lower order.",
        {"steps": 2 * order - 1},
    )


def _short(facts: Facts) -> Finding | None:
    orders = facts.plan.step_orders
    most = max(orders, default=1)
    if _unreached(facts) is not None or most == 1 or 2 * orders.count(most) >= len(orders):
        return None
    return Finding(
        orders.count(most),
        f"order {most} in only {orders.count(most)} of {len(orders)} steps",
        "The steps of lower order make most of the error, so the higher order gains little.",
        "More steps.",
    )


def _removed(facts: Facts) -> float:
    """How many times the noise that is there the last step removes."""
    last, row = facts.plan.calls[-1].here, facts.plan.coefficients[-1]
    return -sum(row.eps) / last.sigma if last.sigma else 0.0


def _overshoots(facts: Facts) -> bool:
    return not facts.plan.upward and _removed(facts) > 2.0 and facts.meets("sde-vp-euler")


def _overshoot(facts: Facts) -> Finding | None:
    if not _overshoots(facts):
        return None
    removed = _removed(facts)
    return Finding(
        removed,
        f"{count(facts.plan.steps, 'step')} overshoot",
        "diffusers takes every step as 1/N of the time, though the times lie closer together. "
        f"The last step removes {short(removed)} times the noise that is there: what should be "
        "taken away is put in with the opposite sign.",
        'compat="paper" takes the exact transition between two levels; many more steps help, too.',
        {"compat": "paper"},
    )


def _amplified(facts: Facts) -> Finding | None:
    if facts.plan.upward or _overshoots(facts) or facts.plan.amplification <= MOST_GROWTH:
        return None
    growth = facts.plan.amplification
    return Finding(
        growth,
        f"errors of the model may grow ×{short(growth)}",
        "Predictions are added and subtracted with large weights. If each x̂₀ were wrong by its "
        "level's share of noise, σ/√(α²+σ²), these errors could add up to "
        f"{short(growth)}; without subtraction they stay below 1. The steps are too long for the "
        "rule: expect specks and wrong colours.",
        "More steps, a lower order, or a spacing without long last steps.",
    )


def _final_order(facts: Facts) -> Finding | None:
    order = facts.plan.orders[-1]
    if facts.settings.get("lower_order_final") is not False or order == 1:
        return None
    if facts.plan.steps >= 15:
        return None
    return Finding(
        order,
        f"order {order} in the last of few steps",
        f"With {count(facts.plan.steps, 'step')} the last one is long, and at this order it "
        "extrapolates: specks and halos may stay.",
        "lower_order_final=True"
        + (" or euler_at_final=True." if "euler_at_final" in facts.settings else "."),
        {"lower_order_final": True},
    )


def _noise_few(facts: Facts) -> Finding | None:
    plan = facts.plan
    if not any(row.noise for row in plan.coefficients) or plan.nfe >= FEW_CALLS:
        return None
    if plan.scheduler.consistency:
        return None  # made for few calls: each noises its prediction anew
    eta = facts.settings.get("eta")
    name = f"eta {short(float(eta))}" if eta else "fresh noise"
    return Finding(
        plan.nfe,
        f"{name} with {count(plan.nfe, 'call')}",
        "Noise that one step adds must be removed by later ones. With few calls that leaves "
        "larger errors than a rule without fresh noise makes.",
        "eta=0, or more steps." if eta else "More steps, or a scheduler without fresh noise.",
        {"eta": 0.0} if eta else None,
    )


def _churn(facts: Facts) -> float:
    return float(facts.settings.get("s_churn") or 0.0)


def _churn_nothing(facts: Facts) -> Finding | None:
    if _churn(facts) <= 0.0 or any(row.noise for row in facts.plan.coefficients):
        return None
    return Finding(
        _churn(facts),
        "s_churn adds nothing here",
        "Churn lifts the noise of levels between its lower and upper bound, times s_noise. Here "
        "no level lies between them, or s_noise is 0.",
        "A smaller lower bound, a larger upper bound, or s_churn=0.",
        {"s_churn": 0.0},
    )


def _churn_cap(facts: Facts) -> Finding | None:
    spans = len(facts.plan.scheduler.sigmas) - 1  # what the rule divides by
    churn, cap = _churn(facts), CHURN_CAP * spans
    if churn <= cap or not any(row.noise for row in facts.plan.coefficients):
        return None
    return Finding(
        churn,
        f"s_churn beyond its cap of {short(cap)}",
        f"Churn lifts the noise level of each step by the factor 1 + s_churn / "
        f"{spans}, but at most by √2. A larger s_churn changes nothing.",
        f"s_churn up to {short(cap)}, or more steps.",
        {"s_churn": math.floor(cap * 100.0) / 100.0},
    )


STEPS: tuple[Diagnostic[Facts], ...] = (
    Diagnostic("order-unreached", "warning", "no step has the order asked for", _unreached),
    Diagnostic("order-short", "warning", "under half the steps have the highest order", _short),
    Diagnostic(
        "overshoot", "warning", "the last Euler-Maruyama step removes noise twice", _overshoot
    ),
    Diagnostic("amplified", "warning", "errors of the model may grow fourfold", _amplified),
    Diagnostic(
        "final-order",
        "warning",
        "the last of fewer than 15 steps is of order 2 or 3",
        _final_order,
    ),
    Diagnostic("noise-few", "warning", "fresh noise with fewer than 20 calls", _noise_few),
    Diagnostic("churn-nothing", "warning", "s_churn raises no level", _churn_nothing),
    Diagnostic("churn-cap", "warning", "s_churn above (sqrt(2) - 1) steps", _churn_cap),
)
