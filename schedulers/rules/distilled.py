"""Rules of consistency models on training steps: to the data in one call, and back up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.prediction import Reading
from ..core.rule import Rule, StepArguments, Update
from ..grids.vp import VpGrid
from .exponential import fresh_variance

#: Standard deviation of the data that latent consistency models assume.
SIGMA_DATA = 0.5
#: Randomness of TCD unless a call says otherwise.
DEFAULT_ETA = 0.3


@dataclass(frozen=True)
class LatentConsistency(Rule):
    """To f by the consistency function, then noise up to the target (LCM).

    Attributes:
        scaling: Factor on times in the weights of f.
        bounded: Whether what f is made of is clipped first.
    """

    prediction_type: str
    scaling: float
    bounded: bool

    def weights(self, t: float) -> tuple[float, float]:
        """``(c_skip, c_out)``: weights of the sample and the data prediction in f."""
        scaled = t * self.scaling
        total = scaled**2 + SIGMA_DATA**2
        return SIGMA_DATA**2 / total, scaled / total**0.5

    def read_f(self, call: Call) -> Reading:
        """How f is read of the model output of a call."""
        raw, (c_skip, c_out) = self.read(call), self.weights(call.t)
        return raw._replace(x0_x=c_out * raw.x0_x + c_skip, x0_out=c_out * raw.x0_out)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        call = past[0]
        row = Coefficients((0.0,), (call.target.alpha,), noise=call.target.sigma)
        if not self.bounded:
            return Update(self.read_f(call), row)
        c_skip, c_out = self.weights(call.t)
        return Update(self.read(call), row, finish=(c_out, c_skip))


@dataclass(frozen=True)
class TrajectoryConsistency(Rule):
    """Down to a level s beyond the target, then noise back up (TCD); the argument is eta.

    The sample at s is returned besides.
    """

    prediction_type: str
    defaults: ClassVar[StepArguments] = (DEFAULT_ETA,)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        (eta,), target, read = arguments, past[0].target, self.read(past[0])
        # A product in float32, as upstream floors it.
        s = int(np.floor(np.float32(1.0 - eta) * np.float32(target.t)))
        below = cast(VpGrid, grid).level(s)
        back = target.alpha / below.alpha if below.alpha else 1.0
        noise = math.sqrt(fresh_variance(target, below))
        row = Coefficients((0.0,), (back * below.alpha,), (back * below.sigma,), noise)
        on_x = below.alpha * read.x0_x + below.sigma * read.eps_x
        on_out = below.alpha * read.x0_out + below.sigma * read.eps_out
        return Update(read, row, aside=(on_x, on_out))
