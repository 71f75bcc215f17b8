"""Multistep exponential integrators: which order a call has, and its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.prediction import Reading
from ..core.rule import StepArguments, Update
from .exponential import Exponential, clean_row, multistep_row

#: Runs shorter than this take their last steps at a lower order (``lower_order_final``).
SHORT_RUN = 15


@dataclass(frozen=True)
class Multistep(Exponential):
    """DPM-Solver and DPM-Solver++ of order 1 to 3, in one of the forms of ``exponential``.

    Attributes:
        form: "dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver" or "deis", which is
            "dpmsolver" as it is meant at order 3.
        order: The highest order.
        midpoint: Whether order 2 takes the slope at the midpoint instead of integrating it.
        lower_order_final: Whether short runs end at lower orders.
        euler_at_final: Whether every run ends at order 1.
        halves: Whether order 3 takes half of the second derivative (``dpm-third-order``).
        flips: Whether 0.5 has the wrong sign in its weight (``sde-half-sign``).
    """

    form: str
    order: int
    midpoint: bool
    lower_order_final: bool
    euler_at_final: bool
    halves: bool = False
    flips: bool = False

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        n, order, (_, now, target, *_) = len(grid.times), min(self.order, len(past)), past[0]
        short = self.lower_order_final and n < SHORT_RUN
        if target.sigma == 0.0 or (i == n - 1 and (short or self.euler_at_final)):
            order = 1  # no slope leads to a clean sample
        elif short and i == n - 2:
            order = min(order, 2)
        here, there = grid.lams
        lams = here[i - order + 1 : i + 1][::-1]
        while len(set(lams)) < len(lams):
            lams = lams[:-1]  # two calls at one level (crowded grids) hold no slope
        if there[i] == lams[0]:
            row = Coefficients((1.0,))
        elif target.sigma == 0.0 and not self.form.endswith("++"):
            row = clean_row(now, target)
        else:
            lams = (there[i], *lams)
            half = 0.5 if self.halves else 1.0
            row = multistep_row(lams, now, target, self.form, self.midpoint, half, self.flips)
        return Update(self.read(past[0]), row)


@dataclass(frozen=True)
class LogRho(Multistep):
    r"""Noise predictions as a polynomial in log rho, integrated over rho (DEIS).

    Since ``log rho = -lam``, the integral is that of the noise form with nothing approximated, and
    psi takes it without the cancellation of its primitive (Zhang and Chen 2022).

    Attributes:
        eps_by_ratio: Whether a flow prediction off the flow is turned into noise with sigma / alpha
            for sigma (``deis-flow-noise``).
    """

    eps_by_ratio: bool = False

    def read(self, call: Call) -> Reading:
        """The noise prediction is what the data prediction leaves of the sample."""
        read, here = super().read(call), call.here
        if read.eps_out == 1.0:
            return read
        eps_x = (1.0 - here.alpha * read.x0_x) / here.sigma
        return Reading(read.x0_x, read.x0_out, eps_x, -here.alpha * read.x0_out / here.sigma)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        update = super().update(grid, i, past, arguments)
        if self.prediction_type != "flow_prediction" or self.flow or not self.eps_by_ratio:
            return update
        scaled = (w * call.here.alpha for w, call in zip(update.row.eps, past, strict=False))
        return update._replace(row=update.row._replace(eps=tuple(scaled)))
