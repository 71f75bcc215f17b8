"""Rules of two calls whose second is made at a midpoint, with noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.rule import Rule, StepArguments
from ..grids.midpoint import AncestralGrid
from . import euler


@dataclass(frozen=True)
class AncestralMidpoint(Rule):
    """DPM-Solver-2 down past the target, and fresh noise back up (KDPM2a)."""

    prediction_type: str
    keeps: ClassVar[frozenset[str]] = frozenset({"x"})
    depth: ClassVar[int] = 2

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        here, target = past[0].here, past[0].target
        if past[0].part == 0:
            return euler.euler_row(here, target)
        if len(past) < 2 or not isinstance(grid, AncestralGrid):
            return euler.ancestral_row(here, target)
        down, up = (float(split[past[0].step]) for split in (grid.downs, grid.ups))
        return euler.midpoint_row(past[1].here, down, up)


@dataclass(frozen=True)
class ExponentialMidpoint(Rule):
    """Two calls, each exact while x0 is held, both from the sample at the step's start.

    Attributes:
        first: Share of fresh noise that a first call adds.
        second: Share that a second call adds.
    """

    prediction_type: str
    first: float
    second: float
    keeps: ClassVar[frozenset[str]] = frozenset({"x"})
    depth: ClassVar[int] = 2
    defaults: ClassVar[StepArguments] = (1.0,)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``; the argument is a factor on the noise."""
        # A run that starts at a midpoint takes an ordinary step from there.
        lag = past[0].part if len(past) > 1 else 0
        eta = self.second if past[0].part else self.first
        here, target = past[lag].here, past[0].target
        return euler.ancestral_exponential_row(here, target, lag, eta, *arguments)
