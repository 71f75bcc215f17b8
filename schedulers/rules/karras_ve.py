"""Churn, Euler, trapezoid: algorithm 2 of Karras et al., one method after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.prediction import Reading
from ..core.rule import Rule, StepArguments
from . import euler


@dataclass(frozen=True)
class KarrasVe(Rule):
    """Rows on the samples that the model was shown; the churn of the next step closes one.

    Attributes:
        s_churn: Total churn over the run.
        s_min: Churn only at or above this sigma.
        s_max: Churn only at or below this sigma.
        s_noise: Factor on the churned noise.
        draws_idly: Whether noise is drawn also where it weighs nothing (``karras-ve-idle-noise``).
    """

    s_churn: float
    s_min: float
    s_max: float
    s_noise: float
    draws_idly: bool
    keeps: ClassVar[frozenset[str]] = frozenset({"x", "eps"})
    depth: ClassVar[int] = 2

    def raised(self, sigma: float, steps: int | None) -> tuple[float, float]:
        """Raised level, and weight of the noise that raises it."""
        hat, std = euler.churn(sigma, steps or 1, self.s_churn, self.s_min, self.s_max)
        return hat, std * self.s_noise

    def read(self, call: Call) -> Reading:
        """The model returns the negative slope, ``(x0 - x) / sigma``."""
        return Reading(1.0, call.here.sigma, 0.0, -1.0)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        if past[0].part == 0:
            return euler.euler_row(past[0].here, past[0].target)
        row = euler.heun_correction_row(past[1].here, past[0].here)
        if i + 1 == len(grid):
            return row
        sigma = float(grid.shown["schedule"][int(grid.calls[i + 1].t)])
        return row._replace(noise=self.raised(sigma, grid.steps)[1])
