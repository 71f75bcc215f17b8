"""Churn: noise that a step adds first, so that it starts from a higher level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .core.level import Call
from .counted import CountedScheduler
from .plan import StepKey
from .rules import euler

#: Step arguments that churn, with their defaults.
CHURN = {"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": math.inf, "s_noise": 1.0}
NO_CHURN = tuple(CHURN.values())


def checked_churn(scheduler: CountedScheduler, *given: Any) -> StepKey:
    """The four arguments of a call, checked unless they are the defaults."""
    try:
        if given == NO_CHURN:
            return NO_CHURN
    except (ValueError, RuntimeError):
        pass  # arrays, which are neither equal nor not: the check names them
    check = scheduler._check_step
    return tuple(check(name, value) for name, value in zip(CHURN, given, strict=True))


class Churning(CountedScheduler):
    """A ``step`` that can raise the noise level first: ``s_churn`` and its three companions."""

    def _default_key(self) -> StepKey:
        return NO_CHURN

    def _key(self, settings: Mapping[str, Any]) -> StepKey:
        return tuple((CHURN | dict(settings))[name] for name in CHURN)

    def _churned(self, stage: Call, key: StepKey) -> tuple[float, float]:
        """``(sigma_hat, weight of the noise)`` of a step, for alpha = 1."""
        s_churn, s_tmin, s_tmax, s_noise = key
        steps = len(self._rhos) - 1
        sigma_hat, std = euler.churn(stage.here.sigma, steps, s_churn, s_tmin, s_tmax)
        return sigma_hat, std * s_noise

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without churn there is no noise to shape."""
        reasons = super()._inert(values)
        if not values.get("s_churn"):
            for name in ("s_tmin", "s_tmax", "s_noise"):
                reasons[name] = "s_churn is 0: no noise is added."
        return reasons
