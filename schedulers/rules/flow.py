"""Rules on the straight path of a rectified flow, ``alpha + sigma = 1``: the slope is eps - x0."""

from __future__ import annotations

import math

from ..core.coefficients import Coefficients
from ..core.level import Level


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


def heun_row(
    here: Level, target: Level, sigma_hat: float, keep: float | None, noise: float
) -> Coefficients:
    """First call: Euler from ``x_hat = keep x + noise z``, at sigma_hat, to the target.

    Args:
        here: Where the model was asked.
        target: Level to reach.
        sigma_hat: Raised level; ``here.sigma`` for no churn.
        keep: Share of x that the churn keeps; None as upstream, where it keeps all and the slope
            is that of the sample before.
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
