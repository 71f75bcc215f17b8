"""Rules of one call between variance-preserving levels: DDIM, its way back up, the posterior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core import prediction
from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call, Level
from ..core.rule import Rule, StepArguments, Update
from .exponential import fresh_variance, posterior_row, posterior_std, posterior_variance

#: Variances are kept above this before their logarithm is taken.
SMALLEST_VARIANCE = 1e-20
LEARNED = ("learned", "learned_range")
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", *LEARNED)


@dataclass(frozen=True)
class Ddim(Rule):
    """DDIM: eta, and whether the noise is derived again from the clipped data prediction.

    References: Song et al. 2020, arXiv 2010.02502, eq. 12 and 16.
    """

    prediction_type: str
    defaults: ClassVar[StepArguments] = (0.0, False)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        eta, target = arguments[0], past[0].target
        std = eta * posterior_std(past[0].here, target) if eta else 0.0
        direction = math.sqrt(max(0.0, target.sigma**2 - std**2))
        return Coefficients((0.0,), (target.alpha,), (direction,), std)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        here = past[0].here
        read = prediction.reading(self.prediction_type, here)
        rederives = bool(arguments[1]) and here.sigma > 0.0
        return Update(read, self.row(grid, i, past, arguments), rederives=rederives)


@dataclass(frozen=True)
class DdimUp(Rule):
    """DDIM's step taken backwards: to the noisier level with the same predictions."""

    prediction_type: str

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        target = past[0].target
        return Coefficients((0.0,), (target.alpha,), (target.sigma,))

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        return Update(self.read(past[0]), self.row(grid, i, past, arguments), rederives=False)


@dataclass(frozen=True)
class Posterior(Rule):
    """DDPM: the mean of the posterior, and noise.

    The arguments are the prediction type that a call names instead of the config's, or None, and
    whether the deviation of the noise comes from the model, so that the noise is scaled already.

    Attributes:
        variance_type: One of ``VARIANCES``.
    """

    prediction_type: str
    variance_type: str
    defaults: ClassVar[StepArguments] = (None, False)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        here, target = past[0].here, past[0].target
        std = 1.0 if arguments[1] else self.std(here, target)
        # The very first training step adds no noise of its own: t = 0 is the end of the chain.
        return posterior_row(here, target, std if past[0].t > 0 else 0.0)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        read = prediction.reading(arguments[0] or self.prediction_type, past[0].here)
        return Update(read, self.row(grid, i, past, arguments))

    def std(self, here: Level, target: Level) -> float:
        """Standard deviation of the added noise; of a learned one, the smallest it can be."""
        if self.variance_type in ("fixed_large", "fixed_large_log"):
            return math.sqrt(fresh_variance(here, target))
        return math.sqrt(small_variance(here, target))


def small_variance(here: Level, target: Level) -> float:
    """The posterior's variance, kept off zero."""
    return max(SMALLEST_VARIANCE, posterior_variance(here, target))
