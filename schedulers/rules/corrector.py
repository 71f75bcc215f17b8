r"""Predictor-corrector pairs: the sample is corrected as soon as its own prediction is known.

The predictor leads to a sample that the model is shown; with the prediction D_i made of it the
same step is taken once more, and the next step starts from its result:

    x_i = c xc_(i-1) + sum_j v_j D_(i-j),  j >= 1          predictor
    xc_i = c xc_(i-1) + sum_j w_j D_(i-j),  j >= 0         corrector

Both share c and the noise, so that ``xc_i = x_i + sum_j (w_j - v_j) D_(i-j)``: a row again, on
what the model was shown.

A sample that the caller changed between the steps keeps the change, unless the corrector forgets
it, as upstream's does, which starts from its own last sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ..backend.errors import ParameterError, ParameterTypeError
from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.rule import StepArguments, Update
from .exponential import (
    Exponential,
    Linear,
    adams_weights,
    clean_row,
    fractions,
    linear_part,
)


@dataclass(frozen=True)
class Corrected(Exponential):
    """A predictor, and a corrector that costs no further model call.

    Attributes:
        data: Whether the data or the noise prediction is interpolated.
        order: The highest order of the predictor.
        lower_order_final: Whether a run ends at lower orders.
        halves: Whether the change between two predictions is weighed by half of the step's length
            instead of an integral (``unipc-half``).
        forgets: Whether the corrector starts over from the sample that its last step returned
            (``corrector-forgets``).
    """

    data: bool
    order: int
    lower_order_final: bool
    halves: bool
    forgets: bool

    # --- what pairs differ in -----------------------------------------------------------------

    def tau_at(self, t: float) -> float:
        """Stochasticity of the step from time t."""
        del t
        return 0.0

    def corrects(self, i: int) -> bool:
        """Whether the sample of call ``i`` is corrected."""
        del i
        return True

    def corrector_order(self, grid: Grid, i: int, past: Sequence[Call]) -> int:
        """How many predictions the correction at call ``i`` combines, its own included."""
        return self.order_of(grid, i - 1, past[1:]) + 1

    def half_of(self, lin: Linear) -> float | None:
        """What is taken half of for the integral over a slope; None for the integral."""
        del lin
        return None

    # --- the numbers --------------------------------------------------------------------------

    def order_of(self, grid: Grid, i: int, past: Sequence[Call]) -> int:
        """Order of the predictor at call ``i``; 1 where it leads to a clean sample."""
        if past[0].target.sigma == 0.0:
            return 1
        order = min(self.order, len(past))
        left = max(len(grid.times) - i, 1)
        return min(order, left) if self.lower_order_final else order

    def weigh(self, nodes: Sequence[float], lin: Linear) -> list[float]:
        """Weights of predictions at two nodes and more, the first of which is 0; or at one."""
        half = self.half_of(lin) if len(nodes) == 2 and self.halves else None
        if half is None:
            return adams_weights(nodes, lin)
        slope = 0.5 * half / nodes[1]
        return [lin.total - slope, slope]

    def predictor(self, grid: Grid, i: int, past: Sequence[Call]) -> Coefficients:
        """The step of call ``i`` from a corrected sample."""
        (here, there), target = grid.lams, past[0].target
        order = self.order_of(grid, i, past)
        lams = here[i - order + 1 : i + 1][::-1]
        while len(set(lams)) < len(lams):
            lams = lams[:-1]  # two calls at one level (crowded grids) hold no slope
        if there[i] == lams[0]:
            return Coefficients((1.0,))
        if target.sigma == 0.0 and not self.data:
            return clean_row(past[0].here, target)
        h = there[i] - lams[0]
        lin = linear_part(past[0].here, target, h, self.data, self.tau_at(past[0].t))
        weights = self.weigh(fractions(lams, lams[0], h), lin)
        return predicting(self.data, lin.c, weights, lin.noise)

    def corrector(self, grid: Grid, i: int, past: Sequence[Call]) -> Sequence[float]:
        """Weights of the corrected step to call ``i`` on D_i, D_(i-1), ...; empty for none."""
        here, (new, base, *_) = grid.lams[0], past
        if here[i] == here[i - 1] or not self.corrects(i):
            return ()
        h = here[i] - here[i - 1]
        lin = linear_part(base.here, new.here, h, self.data, self.tau_at(base.t))
        lams = here[i - self.corrector_order(grid, i, past) + 1 : i][::-1]
        while len({here[i], *lams}) <= len(lams):
            lams = lams[:-1]
        nodes = fractions(lams, here[i - 1], h)
        if not nodes:
            return self.weigh([1.0], lin)
        first, second, *others = self.weigh([nodes[0], 1.0, *nodes[1:]], lin)
        return second, first, *others

    def correction(self, grid: Grid, i: int, past: Sequence[Call]) -> tuple[float, ...]:
        """What the correction adds to the sample, on D_i, D_(i-1), ...; empty for nothing."""
        again = self.corrector(grid, i, past) if len(past) > 1 else ()
        if not again:
            return ()
        first = self.predictor(grid, i - 1, past[1:])
        pairs = zip_longest(again, (0.0, *first.x0, *first.eps), fillvalue=0.0)
        return tuple(w - v for w, v in pairs)

    def corrector_row(self, grid: Grid, i: int, past: Sequence[Call]) -> Coefficients:
        """The correction as a row on what the model was shown."""
        return predicting(self.data, 1.0, self.correction(grid, i, past))

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does: the correction, and the predictor from its result."""
        row, correction = self.predictor(grid, i, past), self.correction(grid, i, past)
        (c,) = row.x
        pairs = zip_longest(correction, (*row.x0, *row.eps), fillvalue=0.0)
        row = predicting(self.data, c, [c * d + v for d, v in pairs], row.noise)
        return Update(self.read(past[0]), row, restarts=self.forgets and bool(correction))


@dataclass(frozen=True)
class UniPC(Corrected):
    """The unified pair; the corrector adds one order.

    Attributes:
        bh1: Which of its two functions B(h) is taken half of.
        disabled: Calls after which nothing is corrected.
    """

    bh1: bool
    disabled: tuple[int, ...]

    def corrects(self, i: int) -> bool:
        """Whether the sample of call ``i`` is corrected."""
        return i - 1 not in self.disabled

    def half_of(self, lin: Linear) -> float | None:
        """``w`` or ``1 - exp(-w)``."""
        return lin.kappa * lin.z if self.bh1 else lin.total

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does; upstream's noise prediction stays where it is not interpolated."""
        return super().update(grid, i, past, arguments)._replace(rederives=self.data)


@dataclass(frozen=True)
class StochasticAdams(Corrected):
    """Adams-Bashforth and Adams-Moulton on the SDE of a stochasticity tau (SA-Solver).

    Attributes:
        most_corrected: The highest order of the corrector.
        tau: Stochasticity by time.
        draws: Whether noise is drawn also where it weighs nothing (``sa-idle-noise``).
    """

    most_corrected: int
    tau: Callable[[int], Any]
    draws: bool

    def tau_at(self, t: float) -> float:
        """Stochasticity of the step from time t, checked."""
        tau = self.tau(int(t))
        try:
            value = float(tau)
        except (TypeError, ValueError) as error:
            raise ParameterTypeError(
                f"tau_func({t:g}) returned {tau!r}; it must return a number.", "tau_func"
            ) from error
        if not (math.isfinite(value) and value >= 0.0):
            raise ParameterError(
                f"tau_func({t:g}) returned {value!r}; it must be finite and not below 0.",
                "tau_func",
            )
        return value

    def corrector_order(self, grid: Grid, i: int, past: Sequence[Call]) -> int:
        """How many predictions the correction at call ``i`` combines, its own included."""
        order = min(self.most_corrected, len(past))
        left = max(len(grid.times) - i + 2, 1)
        return min(order, left) if self.lower_order_final else order

    def half_of(self, lin: Linear) -> float | None:
        """The step's length, on data."""
        return lin.kappa * lin.z if self.data else None

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        return super().update(grid, i, past, arguments)._replace(draws=self.draws)


def predicting(data: bool, c: float, weights: Sequence[float], noise: float = 0.0) -> Coefficients:
    """The row ``c x + sum_j weights[j] D_j + noise z``, D being x0 (data) or eps."""
    row = tuple(weights)
    return Coefficients((c,), row if data else (), () if data else row, noise)
