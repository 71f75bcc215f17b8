"""The numbers of a run, one column a quantity: what the page draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampling import Plan
from schedulers.core.level import Call
from visualize.encode import numbers

__all__ = ["MOST_TOLD", "columns", "told_calls"]

MOST_TOLD = 4000
"""Most model calls that are told one by one."""


def told_calls(plan: Plan) -> Sequence[int]:
    """The calls of a run that are told: all, or of a very long one some, with both ends.

    Those of every so many steps, so that what a call is within its step is told in true shares;
    where steps have too many calls for that, evenly spread calls.
    """
    nfe = plan.nfe
    if nfe <= MOST_TOLD:
        return range(nfe)
    stride = nfe // MOST_TOLD + 1
    told = [i for i, call in enumerate(plan.calls[:-1]) if call.step % stride == 0] + [nfe - 1]
    if len(told) <= MOST_TOLD:
        return told
    return [round(k * (nfe - 1) / (MOST_TOLD - 1)) for k in range(MOST_TOLD)]


def columns(plan: Plan, told: Sequence[int]) -> dict[str, list[Any]]:
    """One entry per model call for every quantity that fits on an axis.

    ``rho`` is sigma / alpha, ``snr`` is 1 / rho^2, ``logsnr`` its natural logarithm,
    ``dlogrho`` the distance |log rho - log rho_next| that the call bridges (None when the
    target is clean), ``beta`` the training beta at t (None for classes without a training
    table). ``step`` and ``part`` say which of its step's calls it is, from 0. What is infinite is
    None.

    Args:
        plan: The run.
        told: The calls that are told.
    """
    calls = [plan.calls[i] for i in told]
    here, target = [call.here for call in calls], [call.target for call in calls]
    return {
        "t": numbers(call.t for call in calls),
        "step": [call.step for call in calls],
        "part": [call.part for call in calls],
        "rho": numbers(level.rho for level in here),
        "rho_next": numbers(level.rho for level in target),
        "alpha": numbers(level.alpha for level in here),
        "sigma": numbers(level.sigma for level in here),
        "alpha_next": numbers(level.alpha for level in target),
        "sigma_next": numbers(level.sigma for level in target),
        "alphas_cumprod": numbers(1.0 / (1.0 + level.rho * level.rho) for level in here),
        "beta": _betas(plan, calls),
        "snr": numbers(level.snr for level in here),
        "logsnr": numbers(2.0 * level.lam for level in here),
        "dlogrho": numbers(abs(call.here.lam - call.target.lam) for call in calls),
        "order": [plan.orders[i] for i in told],
        "accepted": [plan.accepted(i) for i in told],
    }


def _betas(plan: Plan, calls: Sequence[Call]) -> list[float | None]:
    table = plan.scheduler.training
    if table is None:
        return [None] * len(calls)
    last = len(table.betas) - 1
    return numbers(float(table.betas[min(max(round(call.t), 0), last)]) for call in calls)
