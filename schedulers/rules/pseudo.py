"""Pseudo numerical methods: classical solvers, with DDIM's transfer as their straight line.

    phi(x, e) = (alpha_next / alpha) x + (sigma_next - alpha_next sigma / alpha) e

References:
    Liu, Ren, Lin, Zhao 2022. Pseudo Numerical Methods for Diffusion Models on Manifolds.
    arXiv 2202.09778, eq. 9, 12, 13 and algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call, Level
from ..core.prediction import Reading
from ..core.rule import Rule, StepArguments
from ..grids.pndm import PndmLayout
from ..grids.vp import VpGrid, stride
from .adams import ADAMS_BASHFORTH, RUNGE_KUTTA
from .exponential import transfer_row

#: Upstream divides by no smaller alpha.
SMALLEST_ALPHA = 1e-8


def off_circle(level: Level) -> bool:
    """Whether ``alpha^2 + sigma^2`` is not 1, nor what float32 makes of it: a caller assigned it."""
    return abs(level.scale - 1.0) > 1e-4


@dataclass(frozen=True)
class PseudoMultistep(Rule):
    """Adams-Bashforth of growing order on the noise predictions (IPNDM).

    Attributes:
        loses_x0: Whether the data prediction drops out where the sample is pure noise, as upstream,
            which divides by 1e-8 there (``ipndm-first-step``).
    """

    prediction_type: str
    loses_x0: bool
    keeps: ClassVar[frozenset[str]] = frozenset({"eps"})
    depth: ClassVar[int] = 4

    def read(self, call: Call) -> Reading:
        """How the model output of a call is read: as a velocity."""
        here = call.here
        if not off_circle(here):
            return super().read(call)
        # Upstream's noise prediction is sigma x + alpha out, wherever that is.
        eps = (here.sigma, here.alpha)
        alpha = max(here.alpha, SMALLEST_ALPHA)
        on_x, on_out = (-here.sigma * weight / alpha for weight in eps)
        return Reading(on_x + 1.0 / alpha, on_out, *eps)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        here, target = past[0].here, past[0].target
        if here.alpha == 0.0 and not off_circle(here):
            on_x0 = 0.0 if self.loses_x0 else target.alpha
            return Coefficients((0.0,), (on_x0,), (target.sigma,))
        on_x, on_e = transfer_row(here._replace(alpha=max(here.alpha, SMALLEST_ALPHA)), target)
        weights = ADAMS_BASHFORTH[len(past) - 1]
        return Coefficients((on_x,), (), tuple(on_e * weight for weight in weights))


@dataclass(frozen=True)
class PseudoNumerical(Rule):
    """Runge-Kutta steps of four calls, then Adams-Bashforth on the noise predictions (PNDM).

    The step argument is the number of the call, where it is not the position; only a layout that
    counts calls has it.

    Attributes:
        layout: What each call is.
        mixes: Whether outputs are combined as they are, and read at the level the step starts
            from: what is remembered, and weighed as ``eps``, is then the output (``pndm-mixed-v``).
    """

    prediction_type: str
    layout: PndmLayout
    mixes: bool
    keeps: ClassVar[frozenset[str]] = frozenset({"x", "eps"})

    @property
    def depth(self) -> int:
        """The slopes of three Runge-Kutta steps reach back over twelve calls."""
        return 5 if self.layout.plms else 13

    def read(self, call: Call) -> Reading:
        """How the model output of a call is read."""
        read = super().read(call)
        return read._replace(eps_x=0.0, eps_out=1.0) if self.mixes else read

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        on, layout, target, t = cast(VpGrid, grid), self.layout, past[0].target, int(past[0].t)
        prk, down, last = (
            on.shown["prk_timesteps"],
            stride(on.steps, on.dialect),
            len(on.table) - 1,
        )
        runge = len(prk)
        number = i + layout.first(on.times, on.shown)
        if arguments:
            (number,) = arguments
            if layout.strides:
                target = on.level(t - layout.length(number, runge, down))
        # The sample to start from, and the slopes with their weights, as numbers of calls ago.
        base, slopes = layout.begun(number, runge), {0: 1.0}
        if base >= len(past):
            base = 0  # A run that starts inside a step goes on from where it is.
        elif number < runge:
            slopes = dict(enumerate(RUNGE_KUTTA[base]))
        elif base:
            slopes = {0: 0.5, 1: 0.5}
        else:
            reach = range(min(number + 1, len(past)))
            lags = [lag for lag in reach if layout.is_slope(number - lag, runge)][:4]
            slopes = dict(zip(lags, ADAMS_BASHFORTH[len(lags) - 1], strict=True))
        start = past[base].here
        if layout.counts and number < runge:
            start = on.level(min(int(prk[number // 4 * 4]), last))
        elif layout.strides and layout.repeats(number):
            start = on.level(min(t + down, last))
        on_x, on_e = transfer_row(start, target)
        x, eps = ([0.0] * (max(base, *slopes) + 1) for _ in range(2))
        x[base] = on_x + (on_e * start.sigma if self.mixes else 0.0)
        for lag, weight in slopes.items():
            eps[lag] = on_e * weight * (start.alpha if self.mixes else 1.0)
        return Coefficients(tuple(x), (), tuple(eps))

    def on_predictions(self, row: Coefficients, past: Sequence[Call]) -> Coefficients:
        """A row on outputs ``v = alpha eps - sigma x0`` as one on data and noise predictions."""
        if not self.mixes:
            return row
        pairs = [(weight, call.here) for weight, call in zip(row.eps, past, strict=False)]
        x0 = tuple(-weight * here.sigma for weight, here in pairs)
        return row._replace(x0=x0, eps=tuple(weight * here.alpha for weight, here in pairs))
