"""Rules in sigma (alpha = 1): Euler with churn, the ancestral step, Heun, midpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..core import prediction
from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call, Level
from ..core.prediction import Reading
from ..core.rule import Rule, StepArguments, Update

#: Largest gamma: sigma grows by at most sqrt(2) (Karras et al. 2022, algorithm 2).
MAX_GAMMA = math.sqrt(2.0) - 1.0
#: Step arguments that churn, with their defaults.
CHURN = {"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": math.inf, "s_noise": 1.0}
NO_CHURN: StepArguments = tuple(CHURN.values())


def churn(
    sigma: float, steps: int, s_churn: float, s_tmin: float, s_tmax: float
) -> tuple[float, float]:
    """Raise sigma by Langevin-like churn (Karras et al. 2022, arXiv 2206.00364, algorithm 2).

    Args:
        sigma: Present noise level.
        steps: Number of steps over which ``s_churn`` is shared out.
        s_churn: Total churn, 0 for none.
        s_tmin: Churn only at or above this sigma.
        s_tmax: Churn only at or below this sigma.

    Returns:
        ``(sigma_hat, std)``: the raised level and the noise that raises it.
    """
    gamma = min(s_churn / steps, MAX_GAMMA) if s_tmin <= sigma <= s_tmax else 0.0
    sigma_hat = sigma * (gamma + 1.0)
    return sigma_hat, math.sqrt(max(0.0, sigma_hat**2 - sigma**2))


def euler_row(here: Level, target: Level) -> Coefficients:
    """``x + (sigma_t - sigma) eps``: Euler on ``dx / d sigma = eps`` (alpha = 1)."""
    return Coefficients(x=(1.0,), eps=(target.sigma - here.sigma,))


def ancestral_split(sigma: float, sigma_next: float, eta: float = 1.0) -> tuple[float, float]:
    """Deterministic and random part of a step: ``down^2 + up^2 = sigma_next^2``.

    References: k-diffusion, ``get_ancestral_step``; equals the DDPM posterior in VE form.
    """
    if sigma_next >= sigma or eta == 0.0:
        return sigma_next, 0.0
    ratio = sigma_next / sigma
    up = min(sigma_next, eta * sigma_next * math.sqrt((1.0 - ratio) * (1.0 + ratio)))
    # sigma_next^2 - up^2, without its cancellation in long steps
    left = (1.0 - eta) * (1.0 + eta) + (eta * ratio) ** 2
    return sigma_next * math.sqrt(max(0.0, left)), up


def ancestral_row(here: Level, target: Level) -> Coefficients:
    """Euler down to ``sigma_down``, then noise up to the target (k-diffusion, Euler ancestral)."""
    down, up = ancestral_split(here.sigma, target.sigma)
    return Coefficients(x=(1.0,), eps=(down - here.sigma,), noise=up)


def ancestral_exponential_row(
    here: Level, target: Level, lag: int = 0, eta: float = 1.0, s_noise: float = 1.0
) -> Coefficients:
    """Solve exactly down to ``sigma_down`` with x0 held, then noise up to the target (alpha = 1).

    ``(down / sigma) x + (1 - down / sigma) x0 + up s_noise z``, first-order DPM-Solver++ down.

    Args:
        here: Where the step starts.
        target: Where it leads.
        lag: How many calls ago it started; the data prediction is the present one.
        eta: Share of the noise, 0 for none.
        s_noise: Factor on the noise.

    References: k-diffusion sample_dpmpp_sde; Lu et al. 2022, arXiv 2211.01095, eq. 9.
    """
    down, up = ancestral_split(here.sigma, target.sigma, eta)
    keep = down / here.sigma
    return Coefficients(x=(*[0.0] * lag, keep), x0=(1.0 - keep,), noise=up * s_noise)


def heun_correction_row(start: Level, end: Level) -> Coefficients:
    """Trapezoid from ``start`` with both slopes (Karras et al. 2022, algorithm 1, line 8)."""
    dt = end.sigma - start.sigma
    return Coefficients(x=(0.0, 1.0), eps=(0.5 * dt, 0.5 * dt))


def midpoint_row(start: Level, end: float, noise: float = 0.0) -> Coefficients:
    """From ``start`` to sigma ``end`` with the slope of the midpoint (DPM-Solver-2, alpha = 1).

    References: Lu et al. 2022, arXiv 2206.00927, algorithm 1, r1 = 1/2; k-diffusion sample_dpm_2.
    """
    return Coefficients(x=(0.0, 1.0), eps=(end - start.sigma,), noise=noise)


# --- the rules ----------------------------------------------------------------------------------


def churned(grid: Grid, sigma: float, arguments: StepArguments) -> tuple[float, float]:
    """``(sigma_hat, weight of the noise)`` of a step from sigma, for alpha = 1."""
    s_churn, s_tmin, s_tmax, s_noise = arguments
    sigma_hat, std = churn(sigma, len(grid.sigmas) - 1, s_churn, s_tmin, s_tmax)
    return sigma_hat, std * s_noise


def churn_of(settings: Mapping[str, Any]) -> StepArguments:
    """The four arguments of churn out of settings by name."""
    return tuple(settings.get(name, usual) for name, usual in CHURN.items())


def churn_idles(values: Mapping[str, Any]) -> dict[str, str]:
    """Without churn there is no noise to shape."""
    if values.get("s_churn"):
        return {}
    return {name: "s_churn is 0: no noise is added." for name in ("s_tmin", "s_tmax", "s_noise")}


@dataclass(frozen=True)
class Euler(Rule):
    """Euler's step, after churn; the model is asked before it, at ``sigma``.

    Upstream takes an output of kind epsilon for the noise at sigma_hat, where the churned sample
    is, and lets the draw show in the data prediction.
    """

    prediction_type: str
    defaults: ClassVar[StepArguments] = NO_CHURN

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        call = past[0]
        sigma, target = call.here.sigma, call.target.sigma
        read = prediction.reading(self.prediction_type, call.here)
        if not arguments[0]:
            return Update(read, Coefficients((1.0,), (), (target - sigma,)))
        sigma_hat, noise = churned(grid, sigma, arguments)
        if self.prediction_type == "epsilon":
            read = Reading(1.0, -sigma_hat, 0.0, 1.0)
        if sigma_hat == sigma:
            return Update(read, euler_row(call.here, call.target))
        shares = {"epsilon": 1.0, "v_prediction": 1.0 / (sigma * sigma + 1.0), "sample": 0.0}
        share = shares[self.prediction_type] * noise
        if self.prediction_type == "epsilon":
            return Update(read, Coefficients((1.0,), (), (target - sigma_hat,), noise), share)
        keep = target / sigma_hat
        on_noise = keep * noise + (1.0 - keep) * share
        return Update(read, Coefficients((keep,), (1.0 - keep,), (), on_noise), share)


@dataclass(frozen=True)
class EulerAncestral(Rule):
    """Euler down past the target, and fresh noise back up."""

    prediction_type: str

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        return ancestral_row(past[0].here, past[0].target)


@dataclass(frozen=True)
class Heun(Rule):
    """Euler, then the trapezoid from the start of the step."""

    prediction_type: str
    keeps: ClassVar[frozenset[str]] = frozenset({"x", "eps"})
    depth: ClassVar[int] = 2

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        if past[0].part == 0:
            return euler_row(past[0].here, past[0].target)
        if len(past) < 2:
            # A run that starts here has no step to close: it stays where it is.
            return Coefficients((1.0,))
        return heun_correction_row(past[1].here, past[0].here)


@dataclass(frozen=True)
class Midpoint(Rule):
    """Euler to the midpoint, then from the start with the slope found there."""

    prediction_type: str
    keeps: ClassVar[frozenset[str]] = frozenset({"x"})
    depth: ClassVar[int] = 2

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        if past[0].part == 0 or len(past) < 2:
            # A run that starts at a midpoint has no step to close: it takes the rest as one.
            return euler_row(past[0].here, past[0].target)
        return midpoint_row(past[1].here, past[0].target.sigma)
