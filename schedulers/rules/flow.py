"""Rules on the straight path of a rectified flow, ``alpha + sigma = 1``: the slope is eps - x0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call, Level
from ..core.prediction import Reading
from ..core.rule import Rule, StepArguments, Update
from .euler import NO_CHURN, churned

#: A float, or a number of NumPy that has the precision of upstream.
Number = Any
#: Below this sigma upstream's ancestral step takes a level for clean.
CLEAN = 1e-8
#: What upstream's ancestral step adds to the signal and its power before it divides by them.
GUARD = 1e-12


def euler_row(here: Level, target: Level) -> Coefficients:
    """``x + (sigma_t - sigma) (eps - x0)``: exact where the path is straight."""
    dt = target.sigma - here.sigma
    return Coefficients(x=(1.0,), x0=(-dt,), eps=(dt,))


def churn(here: Level, sigma_hat: float) -> tuple[float, float]:
    """``(keep, std)`` with which ``keep x + std z`` lies at sigma_hat on the path, 1 at most."""
    if here.alpha == 0.0:
        return 1.0, 0.0
    keep = (1.0 - sigma_hat) / here.alpha
    return keep, math.sqrt(max(0.0, sigma_hat**2 - (keep * here.sigma) ** 2))


def ancestral_weights(
    sigma: Number, target: Number, eta: float, guard: float = 0.0
) -> tuple[float, float, float]:
    """``(keep, scale, std)`` of Euler's method past a target, and of what leads back up.

    ``keep x + (1 - keep) x0`` lies at sigma_down; ``scale`` times that, and ``std z``, lies at the
    target. All in the precision of the levels.

    Args:
        sigma: Level at which the model was asked.
        target: Level to reach.
        eta: How far past the target.
        guard: Added to what is divided by.
    """
    down = target * (1.0 + (target / sigma - 1.0) * eta)
    share, below = 1.0 - target, 1.0 - down
    if share == 0.0:
        return float(down / sigma), 0.0, float(target)  # pure noise, from wherever
    up = target**2 - down**2 * share**2 / (below**2 + guard)
    return float(down / sigma), float(share / (below + guard)), math.sqrt(max(0.0, float(up)))


def heun_row(
    here: Level, target: Level, sigma_hat: float, keep: float | None, noise: float
) -> Coefficients:
    """First call: Euler from ``x_hat = keep x + noise z``, at sigma_hat, to the target.

    Args:
        here: Where the model was asked.
        target: Level to reach.
        sigma_hat: Raised level; ``here.sigma`` for no churn.
        keep: Share of x that the churn keeps; None where it leaves the path: it keeps all, and the
            slope is that of the sample before.
        noise: Weight of the churned noise.
    """
    if sigma_hat == here.sigma:
        return euler_row(here, target)
    q = target.sigma / sigma_hat - 1.0
    if keep is None:
        return Coefficients(x=(1.0 + q,), x0=(-q,), noise=noise)
    return Coefficients(x=(keep * (1.0 + q),), x0=(-q,), noise=(1.0 + q) * noise)


def heun_correction_row(
    start: Level, end: Level, sigma_hat: float, keep: float | None
) -> Coefficients:
    """Second call: the trapezoid from x_hat, found again from where the first call led.

    The slope of the first call is ``(x - x0) / sigma``; arguments as for ``heun_row``.
    """
    q, half = end.sigma / sigma_hat - 1.0, 0.5 * (end.sigma - sigma_hat)
    if sigma_hat == start.sigma:
        return Coefficients(x=(0.0, 1.0 + 0.5 * q), x0=(-half, -0.5 * q), eps=(half,))
    if keep is None:
        return Coefficients(x=(1.0, -0.5 * q), x0=(-half, 0.5 * q), eps=(half,))
    again = (1.0 + 0.5 * q) / (1.0 + q)
    return Coefficients(x=(again,), x0=(-half, again * q - 0.5 * q), eps=(half,))


# --- the rules ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowEuler(Rule):
    """Euler's method on ``dx / d sigma = eps - x0``, or to x0 and back with fresh noise.

    Attributes:
        stochastic: Whether a step goes to x0 and back.
        inverted: Whether the public sigmas are the share of data, so that the slope is x0 - eps.
        swaps: Whether an inverted sigma is taken for the share of noise where there is noise to add
            (``flow-inverted-noise``).
        token_sign: What the output is multiplied by where each token has a time of its own, -1 as
            upstream (``flow-token-sign``).
        grows: Whether what is read as the data is enlarged before noise is added.
    """

    stochastic: bool = False
    inverted: bool = False
    swaps: bool = False
    token_sign: float = 1.0
    grows: bool = False
    defaults: ClassVar[StepArguments] = NO_CHURN

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does; the arguments have no effect."""
        here, target = past[0].here, past[0].target
        sign = -1.0 if self.inverted else 1.0
        read = Reading(1.0, -sign * here.sigma, 1.0, sign * here.alpha)
        if not self.stochastic:
            return Update(read, euler_row(here, target))
        if self.inverted and self.swaps:
            keep = target.sigma
            if self.grows:
                read = read._replace(x0_out=-here.alpha)
                row = Coefficients((0.0,), (keep,), noise=target.alpha)
                return Update(read, row, rederives=False)
            row = Coefficients((keep,), (-keep * here.alpha,), (keep * here.alpha,), target.alpha)
            return Update(read, row)
        row = Coefficients((0.0,), (target.alpha,), noise=target.sigma)
        # Inside a run every draw is upstream's, also on the way to a level without noise.
        return Update(read, row, draws=i + 1 < len(grid), rederives=False)


@dataclass(frozen=True)
class FlowAncestral(Rule):
    """Euler down past the target, then the path's own weights of data and fresh noise back up.

    Attributes:
        eta: How far past the target, 0 for not at all.
        s_noise: Factor on the noise.
        silent: Whether without noise the sample is left at sigma_down, instead of shrinking to the
            target (``ltx-silent-step``).
        guard: Added to what is divided by, in float32; 0 for nothing, and no rounding
            (``ltx-guard``).
    """

    eta: float
    s_noise: float
    silent: bool = False
    guard: float = 0.0

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does; past the end nothing."""
        here, target = past[0].here, past[0].target
        read = Reading(1.0, -here.sigma, 1.0, here.alpha)
        if i >= len(grid):
            return Update(read, Coefficients((1.0,)))
        if abs(target.sigma) < CLEAN:
            return Update(read, Coefficients((0.0,), (1.0,)))
        number = np.float32 if self.guard else float
        if not here.sigma:
            raise ZeroDivisionError
        with np.errstate(all="ignore"):
            levels = number(here.sigma), number(target.sigma)
            keep, scale, up = ancestral_weights(*levels, self.eta, self.guard)
        if not math.isfinite(keep + scale):
            raise OverflowError
        noisy = self.eta > 0.0 and self.s_noise > 0.0
        if not noisy and (self.silent or self.eta <= 0.0):
            return Update(read, Coefficients((keep,), (1.0 - keep,)))
        noise = up * max(self.s_noise, 0.0)
        row = Coefficients((scale * keep,), (scale * (1.0 - keep),), noise=noise)
        return Update(read, row, draws=noisy and self.guard > 0.0)


@dataclass(frozen=True)
class FlowHeun(Rule):
    """Heun's method on the slope of a rectified flow, after churn.

    Attributes:
        leaves_path: Whether churn adds noise and keeps the data, instead of moving along the path
            (``flow-churn``).
    """

    leaves_path: bool = False
    keeps: ClassVar[frozenset[str]] = frozenset({"x", "x0"})
    depth: ClassVar[int] = 2
    defaults: ClassVar[StepArguments] = NO_CHURN

    def raised(
        self, grid: Grid, here: Level, arguments: StepArguments
    ) -> tuple[float, float | None, float]:
        """``(sigma_hat, keep, weight of the noise)`` of a step that starts at a level."""
        sigma_hat, noise = churned(grid, here.sigma, arguments)
        if self.leaves_path or sigma_hat == here.sigma:
            return sigma_hat, None, noise
        sigma_hat = min(sigma_hat, 1.0)
        keep, std = churn(here, sigma_hat)
        return sigma_hat, keep, std * arguments[3]

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        here, target = past[0].here, past[0].target
        read = Reading(1.0, -here.sigma, 1.0, here.alpha)
        if past[0].part == 0:
            raised = self.raised(grid, here, arguments)
            return Update(read, heun_row(here, target, *raised))
        if len(past) < 2:
            # A run that starts here has no step to close: it stays where it is.
            return Update(read, Coefficients((1.0,)))
        start = past[1].here
        sigma_hat, keep, _ = self.raised(grid, start, arguments)
        # Upstream draws for the second call too, where the noise cancels.
        draws = self.leaves_path and churned(grid, start.sigma, arguments)[1] != 0.0
        return Update(read, heun_correction_row(start, here, sigma_hat, keep), draws=draws)
