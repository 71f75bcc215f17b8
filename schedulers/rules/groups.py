"""DPM-Solver in steps that are groups of calls: each starts over from the first one's sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call, Level, ve_level
from ..core.rule import Rule, StepArguments
from ..grids.groups import Group, GroupGrid
from .exponential import singlestep_row


@dataclass(frozen=True)
class Groups(Rule):
    """The calls of groups; the argument is a factor on the noise."""

    prediction_type: str
    keeps: ClassVar[frozenset[str]] = frozenset({"x", "eps"})
    depth: ClassVar[int] = 3
    defaults: ClassVar[StepArguments] = (1.0,)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``."""
        if not isinstance(grid, GroupGrid):
            raise TypeError("these calls are no groups.")
        call = past[0]
        # A run that starts inside a group knows less of it, and takes lower orders.
        here = [before.here for before in past[: call.part + 1]]
        return group_row(grid.groups[call.step], here, call.part, call.target, *arguments)


def group_row(
    whole: Group, here: Sequence[Level], part: int, target: Level, s_noise: float
) -> Coefficients:
    """The coefficients of a call.

    Args:
        whole: The step.
        here: Levels of the group's calls so far, newest first.
        part: Number of the call in the group.
        target: Where the call leads.
        s_noise: Factor on the noise.
    """
    last = part == whole.order - 1
    if last and not whole.accepted:
        return Coefficients((*[0.0] * (len(here) - 1), 1.0))
    end = ve_level(target.t, whole.down) if last else target
    # Inside a third-order group the slope is integrated; at order 2 it is a midpoint's.
    midpoint = not (whole.order == 3 and len(here) == 2)
    row = singlestep_row(here, end, "dpmsolver", midpoint)
    return row._replace(noise=whole.noise * s_noise if last else 0.0)


def judging_row(here: Sequence[Level], target: Level) -> Coefficients:
    """The same step by one order less, from all calls but the newest."""
    row = singlestep_row(here[1:], target, "dpmsolver", midpoint=True)
    return Coefficients((0.0, *row.x), (), (0.0, *row.eps))
