"""Grids of steps that are groups of calls, even in log sigma: DPM fast, DPM adaptive."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..backend.errors import ParameterError
from ..core.grid import Grid
from ..process import spacing
from ..process.tables import NoiseTable
from ..rules.euler import ancestral_split
from .sigma import along

#: Where the calls of a group of 1, 2 or 3 stand, as fractions of its step in log sigma.
NODES: Mapping[int, tuple[float, ...]] = {1: (0.0,), 2: (0.0, 0.5), 3: (0.0, 1 / 3, 2 / 3)}


@dataclass(frozen=True, slots=True)
class Group:
    """One step of DPM-Solver: 1 to 3 calls from ``start`` down to ``down``, then noise.

    Attributes:
        start: Sigma of the first call.
        down: Sigma that the solver leads to.
        target: Sigma that fresh noise raises it to.
        order: Number of calls, which is the order of the step.
        accepted: False for a step that is tried and not taken: it leads back to ``start``.
    """

    start: float
    down: float
    target: float
    order: int
    accepted: bool = True

    @property
    def landing(self) -> float:
        """Sigma after the last call."""
        return self.target if self.accepted else self.start

    @property
    def calls(self) -> tuple[float, ...]:
        """Sigma of each call."""
        ratio = self.down / self.start
        return tuple(self.start * ratio**node for node in NODES[self.order])

    @property
    def noise(self) -> float:
        """Standard deviation of the noise between ``down`` and ``target``."""
        return math.sqrt(max(0.0, self.target**2 - self.down**2))


def group(sigma: float, sigma_next: float, lowest: float, order: int, eta: float) -> Group:
    """A step with a share eta of ancestral noise, which never goes below the lowest sigma."""
    down, _ = ancestral_split(sigma, sigma_next, eta)
    return Group(sigma, max(down, lowest), sigma_next, order)


@dataclass(frozen=True, eq=False)
class GroupGrid(Grid):
    """A grid whose steps are groups of calls.

    Attributes:
        groups: The steps, in order.
    """

    groups: tuple[Group, ...] = ()


def ends(
    table: NoiseTable, train_steps: int, low: float | None, high: float | None
) -> tuple[float, float]:
    """Highest and lowest sigma of a run.

    Args:
        table: The training process.
        train_steps: Number of training steps of the config.
        low: Lowest sigma that the config gives.
        high: Highest, likewise.

    Raises:
        ValueError: The noise schedule has no two levels.
    """
    table.check_times([float(train_steps - 1)], train_steps, 0)
    if None in (low, high):
        table.check_levels(table.rhos[[0, -1]])
    lowest = float(table.rhos[0]) if low is None else float(low)
    highest = float(table.rhos[-1]) if high is None else float(high)
    if lowest >= highest:
        raise ParameterError(
            f"sigma_min={lowest:g} must be below sigma_max={highest:g}; where one of them is not "
            "given, the noise schedule decides it.",
            "sigma_min",
            "sigma_max",
        )
    return highest, lowest


def group_grid(table: NoiseTable, groups: Sequence[Group], steps: int) -> GroupGrid:
    """The calls of these steps, one step after the other.

    Args:
        table: The training process, by which times are found.
        groups: The steps.
        steps: What ``num_inference_steps`` shows.
    """
    parts = tuple((k, part) for k, whole in enumerate(groups) for part in range(whole.order))
    levels = np.array([s for whole in groups for s in whole.calls] + [groups[-1].landing])
    table.check_levels(levels[:-1])
    times = spacing.times_of(levels[:-1], table.knots).astype(np.float32)
    plain = along(times, levels, steps)
    return GroupGrid(
        times, levels, steps, plain.alpha, plain.sigma, plain.to_alpha, plain.to_sigma,
        parts=parts, groups=tuple(groups),
    )  # fmt: skip


@functools.lru_cache(1024)
def fast_grid(
    table: NoiseTable, train_steps: int, low: float | None, high: float | None, eta: float, n: int
) -> GroupGrid:
    """N calls in steps of order 3, the rest in steps of order 2 or 1 (DPM fast)."""
    highest, lowest = ends(table, train_steps, low, high)
    steps, rest = divmod(n, 3)
    orders = [3] * (steps - 1) + [2, 1] if rest == 0 else [3] * steps + [rest]
    levels = spacing.exponential_sigmas(highest, lowest, len(orders) + 1).tolist()
    levels[0], levels[-1] = highest, lowest
    groups = [
        group(here, after, lowest, order, eta)
        for here, after, order in zip(levels, levels[1:], orders, strict=False)
    ]
    return group_grid(table, groups, n)
