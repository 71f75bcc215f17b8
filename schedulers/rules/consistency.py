"""Multistep consistency sampling: to the data in one call, then noise up to the next level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.prediction import Reading
from ..core.rule import Rule, StepArguments, Update


def boundary_scalings(sigma: Any, data: float, floor: float) -> tuple[Any, Any]:
    """``(c_skip, c_out)`` that make f the identity at ``floor``, for a number or an array.

    References: Song et al. 2023, arXiv 2303.01469, appendix C.
    """
    above = sigma - floor
    return data**2 / (above**2 + data**2), above * data / (sigma**2 + data**2) ** 0.5


@dataclass(frozen=True)
class Consistency(Rule):
    """``x_next = f(x) + s_noise sqrt(sigma_next^2 - floor^2) z``.

    Attributes:
        data: Standard deviation of the data.
        floor: Lowest level, which the network takes for the data.
        s_noise: Factor on the noise.
    """

    data: float
    floor: float
    s_noise: float

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        sigma, above = float(grid.sigmas[i]), past[0].here.sigma
        read = Reading(1.0, 0.0, 0.0, 0.0)
        if not math.isclose(sigma, self.floor, rel_tol=1e-7):  # in float32
            c_skip, c_out = boundary_scalings(sigma, self.data, self.floor)
            read = Reading(c_skip, c_out, (1.0 - c_skip) / above, -c_out / above)
        # Upstream adds no noise in a run of one step, wherever that leads.
        noise = self.s_noise * past[0].target.sigma if len(grid.times) > 1 else 0.0
        return Update(read, Coefficients((0.0,), (1.0,), (), noise))
