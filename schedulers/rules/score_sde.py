"""Steps of reverse SDEs, and Langevin steps that hold a level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..backend.errors import ParameterError
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
        reverses: Whether a step is reverse diffusion, which adds more noise than its new level
            holds, in every step; else ancestral sampling (``sde-ve-noise``).
        batch_norms: Whether the norms of a Langevin step are means over the batch, instead of each
            sample's own (``sde-ve-batch-norm``).
    """

    snr: float
    correct_steps: int
    reverses: bool
    batch_norms: bool

    def read(self, call: Call) -> Reading:
        """The model returns the score, ``(x0 - x) / sigma^2``."""
        return Reading(1.0, call.here.sigma**2, 0.0, -call.here.sigma)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        return super().update(grid, i, past, arguments)._replace(draws=self.reverses)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        here, target = past[0].here.sigma, past[0].target.sigma
        if math.isnan(here):
            raise ParameterError(
                f"discrete_sigmas hold no level for timestep={past[0].t:g}.", "timestep"
            )
        if past[0].part < self.correct_steps:
            return Coefficients((1.0,), (), (-2.0 * self.snr**2 * here,), 2.0 * self.snr * here)
        lost = (here - target) * (here + target)
        std = math.sqrt(lost) * (1.0 if self.reverses else target / here)
        return Coefficients((1.0,), (), (-lost / here,), std)


@dataclass(frozen=True)
class VariancePreserving(Rule):
    """The exact transition between two levels, or Euler-Maruyama.

    Attributes:
        process: The SDE.
        euler: Whether a step is that of Euler-Maruyama, 1 / N long wherever it leads
            (``sde-vp-euler``).
    """

    process: VpProcess
    euler: bool

    def read(self, call: Call) -> Reading:
        """The model returns the noise, ``-sigma score``."""
        return reading("epsilon", call.here)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        return super().update(grid, i, past, arguments)._replace(draws=self.euler)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        here, target = past[0].here, past[0].target
        if not self.euler:
            return posterior_row(here, target, posterior_std(here, target))
        low, high, _ = self.process
        each = (low + here.t * (high - low)) / len(grid.times)
        return Coefficients((1.0 + 0.5 * each,), (), (-each / here.sigma,), math.sqrt(each))
