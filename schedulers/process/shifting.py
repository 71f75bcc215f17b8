"""How flow sigmas are moved towards noise, and stretched to a given end."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from ..backend.arrays import Array
from ..backend.checks import check_floats, check_number, check_real
from ..backend.errors import ParameterError

#: Largest magnitude of mu, of which exp is taken; the smallest mu of the linear shift.
MOST_MU, LEAST_LINEAR_MU = 50.0, 1e-6


class Shifting(Protocol):
    """Whoever has the config that says how."""

    @property
    def config(self) -> Any:
        """With ``time_shift_type`` and ``shift_terminal``."""
        ...


def check_mu(mu: Any, time_shift_type: str = "exponential") -> float:
    """The shift that mu stands for, exp(mu) or (linear) mu itself.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    linear = time_shift_type == "linear"
    mu = check_number("mu", mu, LEAST_LINEAR_MU if linear else -MOST_MU, MOST_MU)
    return mu if linear else math.exp(mu)


def shifted_by(m: float, sigma: float, t: Array) -> Array:
    """``m / (m + (1 / t - 1)^sigma)``, for a number or an array."""
    with np.errstate(over="ignore"):
        # as an array, whose power overflows to infinity where that of a float raises
        odds = (1.0 / t - 1.0) * (np.float64(1.0) if isinstance(t, float) else 1.0)
        return m / (m + odds**sigma)


def stretched(t: Array, terminal: float | None) -> Array:
    """Descending levels from 1 down, stretched so that the last becomes ``terminal``.

    As given where the last is 1, or without a terminal.
    """
    left = 1 - t
    if not terminal or left[-1] == 0:
        return t
    return 1 - left / (left[-1] / (1 - terminal))


def time_shift(self: Shifting, mu: float, sigma: float, t: Array) -> Array:
    """``m / (m + (1 / t - 1)^sigma)`` with ``m = exp(mu)``, or ``mu`` if the type is linear.

    Args:
        self: The scheduler, a method of which this is.
        mu: Strength of the shift.
        sigma: Exponent, 1 for the shift of rectified flows.
        t: Levels in (0, 1], a number or an array.

    Returns:
        The shifted levels.

    Raises:
        TypeError: Something else than numbers.
        ValueError: A level outside (0, 1], mu or sigma out of range.
    """
    m = check_mu(mu, str(self.config["time_shift_type"]))
    sigma = check_number("sigma", sigma, 0.0, 100.0)
    t = check_real("t", t, 1e-30, 1.0)
    shifted = shifted_by(m, sigma, t)
    return float(shifted) if isinstance(t, float) else shifted


def stretch_shift_to_terminal(self: Shifting, t: Array) -> Array:
    """Stretch descending levels from 1 down so that the last becomes ``shift_terminal``.

    Args:
        self: The scheduler, a method of which this is.
        t: Levels in (0, 1], an array of shape (n,).

    Returns:
        The stretched levels; as given where the last is 1, or without ``shift_terminal``.
    """
    check_floats("t", t)
    check_real("t", t, 0.0, 1.0 + 1e-6)  # shifted levels may end an ulp above 1
    if t.ndim != 1 or not len(t):
        raise ParameterError(
            f"t has shape {tuple(t.shape)}; it must be a non-empty list of levels.", "t"
        )
    return stretched(t, self.config["shift_terminal"])
