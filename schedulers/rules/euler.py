"""Rules in sigma: Euler with churn, the ancestral step, second rows of Heun and the midpoint."""

from __future__ import annotations

import math

from ..core.coefficients import Weights
from ..core.level import Level

#: Largest gamma: sigma grows by at most sqrt(2) (Karras et al. 2022, algorithm 2).
MAX_GAMMA = math.sqrt(2.0) - 1.0


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


def euler_row(here: Level, target: Level) -> Weights:
    """``x + (sigma_t - sigma) eps``: Euler on ``dx / d sigma = eps`` (alpha = 1)."""
    return Weights(x=(1.0,), eps=(target.sigma - here.sigma,))


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


def ancestral_row(here: Level, target: Level) -> Weights:
    """Euler down to ``sigma_down``, then noise up to the target (k-diffusion, Euler ancestral)."""
    down, up = ancestral_split(here.sigma, target.sigma)
    return Weights(x=(1.0,), eps=(down - here.sigma,), noise=up)


def ancestral_exponential_row(
    here: Level, target: Level, lag: int = 0, eta: float = 1.0, s_noise: float = 1.0
) -> Weights:
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
    return Weights(x=(*[0.0] * lag, keep), x0=(1.0 - keep,), noise=up * s_noise)


def heun_correction_row(start: Level, end: Level) -> Weights:
    """Trapezoid from ``start`` with both slopes (Karras et al. 2022, algorithm 1, line 8)."""
    dt = end.sigma - start.sigma
    return Weights(x=(0.0, 1.0), eps=(0.5 * dt, 0.5 * dt))


def midpoint_row(start: Level, end: float, noise: float = 0.0) -> Weights:
    """From ``start`` to sigma ``end`` with the slope of the midpoint (DPM-Solver-2, alpha = 1).

    References: Lu et al. 2022, arXiv 2206.00927, algorithm 1, r1 = 1/2; k-diffusion sample_dpm_2.
    """
    return Weights(x=(0.0, 1.0), eps=(end - start.sigma,), noise=noise)
