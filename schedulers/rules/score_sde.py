"""Steps of reverse SDEs, and Langevin steps that hold a level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.prediction import Reading, reading
from ..core.rule import Rule, StepArguments, Update
from ..process.sde import VpProcess
from .exponential import posterior_row, posterior_std


@dataclass(frozen=True)
class VarianceExploding(Rule):
    """Rows on noise predictions, ``eps = -sigma score``; of the corrector the expected one.

    Attributes:
        snr: Signal-to-noise ratio of a Langevin step.
        correct_steps: Langevin steps at each level.
        paper: Whether a step adds the noise that its new level holds; upstream adds more.
    """

    snr: float
    correct_steps: int
    paper: bool

    def read(self, call: Call) -> Reading:
        """The model returns the score, ``(x0 - x) / sigma^2``."""
        return Reading(1.0, call.here.sigma**2, 0.0, -call.here.sigma)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does; upstream draws noise also where it weighs nothing."""
        return super().update(grid, i, past, arguments)._replace(draws=not self.paper)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        here, target = past[0].here.sigma, past[0].target.sigma
        if math.isnan(here):
            raise ValueError(f"discrete_sigmas hold no level for timestep={past[0].t:g}.")
        if past[0].part < self.correct_steps:
            return Coefficients((1.0,), (), (-2.0 * self.snr**2 * here,), 2.0 * self.snr * here)
        lost = (here - target) * (here + target)
        std = math.sqrt(lost) * (target / here if self.paper else 1.0)
        return Coefficients((1.0,), (), (-lost / here,), std)


@dataclass(frozen=True)
class VariancePreserving(Rule):
    """Euler-Maruyama with upstream's step of 1 / N, or the exact transition of the paper.

    Attributes:
        process: The SDE.
    """

    process: VpProcess

    def read(self, call: Call) -> Reading:
        """The model returns the noise, ``-sigma score``."""
        return reading("epsilon", call.here)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does; upstream draws noise also where it weighs nothing."""
        return super().update(grid, i, past, arguments)._replace(draws=not self.process.exact)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        here, target = past[0].here, past[0].target
        low, high, exact = self.process
        if exact:
            return posterior_row(here, target, posterior_std(here, target))
        each = (low + here.t * (high - low)) / len(grid.times)
        return Coefficients((1.0 + 0.5 * each,), (), (-each / here.sigma,), math.sqrt(each))
