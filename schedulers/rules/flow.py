"""Rules on the straight path of a rectified flow, ``alpha + sigma = 1``: the slope is eps - x0."""

from __future__ import annotations

from ..levels import Level
from ..weights import Weights


def euler_row(here: Level, target: Level) -> Weights:
    """``x + (sigma_t - sigma) (eps - x0)``: exact where the path is straight."""
    dt = target.sigma - here.sigma
    return Weights(x=(1.0,), x0=(-dt,), eps=(dt,))
