"""Where the steps go: timesteps of the three spacings, and sigma curves.

The same words hide two dialects. ``leading`` and ``linspace`` mean n points for the DDIM, DDPM and
sigma families, and n + 1 points with the last one dropped for the DPM-Solver family.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
#: Log sigmas, ascending, with the training times that have them.
Knots = tuple[Float64, Float64]

#: Curvature of the Karras grid (Karras et al. 2022, arXiv 2206.00364, eq. 5).
KARRAS_RHO = 7.0
#: Shape of the beta-quantile grid (Lee et al. 2024, arXiv 2407.12173).
BETA_SHAPE = 0.6


def linspace(start: float, end: float, n: int) -> Float64:
    """NumPy's ``linspace``, to the bit, without its overhead."""
    if n < 2 or start == end:
        return np.linspace(start, end, n)
    numbers = np.arange(n, dtype=np.float64)
    numbers *= (end - start) / (n - 1)
    if start:
        numbers += start
    numbers[-1] = end
    return numbers


def ended(levels: NDArray[Any], final: float, dtype: Any = np.float32) -> NDArray[Any]:
    """Levels with the final one behind them."""
    whole = np.empty(len(levels) + 1, dtype)
    whole[:-1], whole[-1] = levels, final
    return whole


def trailing_timesteps(n: int, first: int, train_steps: int, extra: bool) -> Float64:
    """Every T / n-th time from ``first`` down, less one.

    Upstream counts with a float stride, which for some n (61, 103, 121, ... of 1000) gives one
    time too many, t = -1.

    Args:
        n: Number of times.
        first: Times stay below this.
        train_steps: Number of training steps T.
        extra: Whether that one is kept.
    """
    times = np.arange(first, 0, -train_steps / n).round() - 1.0
    return times if extra else times[times >= 0.0]


def spaced_timesteps(spacing: str, n: int, train_steps: int, offset: int, extra: bool) -> Float64:
    """N descending times (Lin et al. 2023, arXiv 2305.08891, table 2), before any rounding.

    Args:
        spacing: "linspace" (both ends), "leading" (multiples of T // n, plus offset) or
            "trailing" (down from the last step by T / n).
        n: Number of times.
        train_steps: Number of training steps T.
        offset: Added to "leading" times.
        extra: See ``trailing_timesteps``.

    Returns:
        Descending, n entries (see ``trailing_timesteps`` for the exception).
    """
    if spacing == "linspace":
        return linspace(0.0, train_steps - 1.0, n)[::-1]
    if spacing == "leading":
        return (np.arange(n, dtype=np.float64) * (train_steps // n))[::-1] + offset
    return trailing_timesteps(n, train_steps, train_steps, extra)


def open_timesteps(
    spacing: str, n: int, train_steps: int, offset: int, last: int, extra: bool
) -> NDArray[np.int64]:
    """N descending integer times of the dialect that drops the last of n + 1 points.

    Args:
        spacing: As for ``spaced_timesteps``.
        n: Number of times.
        train_steps: Number of training steps T.
        offset: Added to "leading" times.
        last: Times stay below this (T, or less where lambda is clipped).
        extra: See ``trailing_timesteps``.

    Returns:
        Descending int64.
    """
    if spacing == "linspace":
        return linspace(0.0, last - 1.0, n + 1).round()[:0:-1].astype(np.int64)
    if spacing == "leading":
        multiples = np.arange(n + 1, dtype=np.int64) * (last // (n + 1))
        return multiples[:0:-1] + offset
    return trailing_timesteps(n, last, train_steps, extra).astype(np.int64)


def karras_sigmas(sigma_max: float, sigma_min: float, n: int) -> Float64:
    """N sigmas, evenly spaced in ``sigma^(1/7)`` (Karras et al. 2022, eq. 5)."""
    low, high = sigma_min ** (1 / KARRAS_RHO), sigma_max ** (1 / KARRAS_RHO)
    roots = linspace(0.0, 1.0, n)
    roots *= low - high
    roots += high
    roots **= KARRAS_RHO
    return roots


def exponential_sigmas(sigma_max: float, sigma_min: float, n: int) -> Float64:
    """N sigmas, evenly spaced in ``log sigma``."""
    return np.asarray(np.exp(linspace(math.log(sigma_max), math.log(sigma_min), n)))


#: Terms of the series of a quantile: the next one is below 1e-16 up to the median.
QUANTILE_TERMS = 24


@functools.cache
def quantile_series() -> Float64:
    """Coefficients y of a quantile ``x = s (y_0 + y_1 s + ...)`` of Beta(a, a).

    With ``s = (a B p)^(1/a)`` the density ``(x (1 - x))^(a - 1) / B`` says
    ``dx/ds = (x (1 - x) / s)^(1 - a)``. Of ``g = x (1 - x) / s``, its power ``h`` and y each
    coefficient follows from those before it.
    """
    m = 1.0 - BETA_SHAPE
    y, g, h = [1.0], [1.0], [1.0]
    for k in range(1, QUANTILE_TERMS):
        square = sum(y[i] * y[k - 1 - i] for i in range(k))
        power = sum((m * j - (k - j)) * g[j] * h[k - j] for j in range(1, k)) / k
        y.append((power - m * square) / (k + 1.0 - m))
        g.append(y[k] - square)
        h.append((k + 1.0) * y[k])
    return np.array(y)


def beta_quantiles(n: int) -> Float64:
    """Quantiles of Beta(0.6, 0.6) at n probabilities from 1 down to 0, to an ulp or three.

    A power series for the lower half, mirrored for the upper.
    """
    a = BETA_SHAPE
    probability = 1.0 - linspace(0.0, 1.0, n)
    lower = np.minimum(probability, 1.0 - probability)
    s = (lower * (a * math.gamma(a) ** 2 / math.gamma(2.0 * a))) ** (1.0 / a)
    powers = np.empty((QUANTILE_TERMS, n))
    powers[:] = s
    x = quantile_series() @ np.multiply.accumulate(powers, 0, out=powers)
    return np.where(probability > 0.5, 1.0 - x, x)


def beta_sigmas(sigma_max: float, sigma_min: float, n: int) -> Float64:
    """Give n sigmas at quantiles of a Beta(0.6, 0.6) distribution (Lee et al. 2024)."""
    return sigma_min + beta_quantiles(n) * (sigma_max - sigma_min)


#: The sigma curves that more than one space knows, by the parameter that chooses them.
CURVES = {
    "use_karras_sigmas": karras_sigmas,
    "use_exponential_sigmas": exponential_sigmas,
    "use_beta_sigmas": beta_sigmas,
}


def shifted(sigmas: NDArray[Any], shift: float) -> NDArray[Any]:
    """Flow sigmas moved towards noise (Esser et al. 2024, arXiv 2403.03206, eq. 23)."""
    return np.asarray(shift * sigmas / (1.0 + (shift - 1.0) * sigmas))


def flow_sigmas(n: int, train_steps: int, shift: float) -> Float64:
    """N flow sigmas below 1, shifted towards noise."""
    return shifted(1.0 - np.linspace(1, 1 / train_steps, n + 1), shift)[:0:-1]


def knots_of(log_sigmas: NDArray[np.floating]) -> Knots:
    """Knots between which training times are linear in log sigma.

    Args:
        log_sigmas: Those of the training table, shape (T,), ascending but for the last.
    """
    logs, times = log_sigmas.astype(np.float64), np.arange(len(log_sigmas), dtype=np.float64)
    if len(logs) < 2 or not logs[-1] < logs[-2]:
        return logs, times
    # The floor of a zero-SNR table lies below its neighbours: at the floor the last step is meant,
    # and above it what lies between the last two.
    floor, below = logs[-1], int(logs[:-1].searchsorted(logs[-1]))
    here = np.interp(floor, logs[:-1], times[:-1])
    return (
        np.concatenate([logs[:below], [floor, floor, logs[-2]]]),
        np.concatenate([times[:below], [here, times[-1], times[-2]]]),
    )


def times_of(sigmas: NDArray[np.floating], knots: Knots) -> Float64:
    """Fractional training times at which a table has the given sigmas.

    Linear in log sigma between neighbours, clamped to the table.

    Args:
        sigmas: Above 0, shape (n,).
        knots: Those of the table.

    Returns:
        Shape (n,), in [0, T - 1].
    """
    return np.asarray(np.interp(np.log(sigmas), *knots))
