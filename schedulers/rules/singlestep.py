"""Singlestep DPM-Solvers: groups of calls, each of which starts over from the group's sample."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.grid import Grid
from ..core.level import Call
from ..core.rule import StepArguments, Update
from .exponential import Exponential, singlestep_row


@dataclass(frozen=True, slots=True)
class Orders:
    """The order of each call, in groups 1, 2, ... up to the highest.

    Attributes:
        most: The highest order.
        lower_order_final: Whether the last group ends at order 1 where it does divide.
        ends_clean: Whether the last step leads to a clean sample, which order 1 alone reaches.
    """

    most: int
    lower_order_final: bool
    ends_clean: bool

    def __call__(self, n: int) -> tuple[int, ...]:
        """Those of n calls; a number that does not divide leaves lower orders for the end."""
        return _orders(n, self.most, self.lower_order_final, self.ends_clean)


@functools.lru_cache(256)
def _orders(n: int, most: int, lower_order_final: bool, ends_clean: bool) -> tuple[int, ...]:
    whole = [*range(1, most + 1)]
    groups, rest = divmod(n, most)
    if (lower_order_final or ends_clean) and most > 1 and rest == 0:
        orders = whole * (groups - 1) + whole[:-1] + [1]
    else:
        orders = whole * groups + whole[:rest]
    return (*orders[:-1], 1) if ends_clean else tuple(orders)


@dataclass(frozen=True)
class Singlestep(Exponential):
    """DPM-Solver and DPM-Solver++ of order 1 to 3.

    Attributes:
        form: As for ``Multistep``.
        midpoint: As for ``singlestep_row``.
        orders: The order of each call of a run of so many.
        flips: Whether 0.5 has the wrong sign at order 3 (``sde-half-sign-singlestep``).
    """

    form: str
    midpoint: bool
    orders: Orders
    flips: bool

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        target = past[0].target
        # Where times were assigned, the orders stay those of the run that was laid out.
        n = len(grid) if grid.steps is None else grid.steps
        order = min(self.orders(n)[min(i, n - 1)], len(past)) if target.sigma else 1
        here, there = grid.lams
        row = singlestep_row(
            [call.here for call in past[:order]],
            target,
            self.form,
            self.midpoint,
            self.flips,
            (there[i], *here[i - order + 1 : i + 1][::-1]),
        )
        return Update(self.read(past[0]), row)
