"""Continuous forward processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


class VpProcess(NamedTuple):
    """The variance-preserving SDE with ``beta = low + t (high - low)``, t from 0 to 1.

    Attributes:
        low: beta at t = 0.
        high: beta at t = 1.
        cancels: Whether levels are computed in float32, where digits cancel
            (``sde-vp-cancellation``).
    """

    low: float
    high: float
    cancels: bool

    def levels(self, t: NDArray[Any]) -> tuple[Float64, Float64]:
        """The alpha and sigma of times."""
        low, high = self.low, self.high
        if not self.cancels:
            log = -0.25 * t**2 * (high - low) - 0.5 * t * low
            return np.exp(log), np.sqrt(-np.expm1(2.0 * log))
        f, t = np.float32, t.astype(np.float32)
        log = f(-0.25) * (t * t) * f(high - low) - f(0.5) * t * f(low)
        power = np.exp(2.0 * log.astype(np.float64)).astype(f).astype(np.float64)
        return np.sqrt(power), np.sqrt(1.0 - power)
