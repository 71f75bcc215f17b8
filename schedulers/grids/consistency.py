"""Grids of consistency models: places on a Karras schedule."""

from __future__ import annotations

import functools

import numpy as np

from ..core.grid import Grid
from .sigma import Arrays

#: What the network is told of a level: this times log sigma.
LOG_FACTOR = 250.0


def told(sigmas: Arrays) -> Arrays:
    """What the network is told of noise levels."""
    return np.asarray(LOG_FACTOR * np.log(sigmas + 1e-44))


def along(times: Arrays, sigmas: Arrays, steps: int | None, low: float, high: float) -> Grid:
    """The calls along levels, whose noise is what lies above the lowest.

    Args:
        times: What the network is told of each.
        sigmas: The levels, and where the last step leads.
        steps: Number of steps.
        low: Lowest level.
        high: Highest level, above which no step adds noise.
    """
    floor, levels = float(np.float32(low)), sigmas.astype(np.float64)
    n = max(min(len(times), len(levels) - 1), 0)
    above = np.sqrt(np.maximum((levels - floor) * (levels + floor), 0.0))
    most = np.sqrt(max(0.0, (high - floor) * (high + floor)))
    # At the lowest level nothing is left to remove; a model is still asked there.
    here, ones = np.where(above > 0.0, above, floor)[:n], np.ones(n)
    to_times = np.append(times[1:n], times[n - 1 : n])
    return Grid(
        times, sigmas, steps, ones, here, ones, np.minimum(above[1 : n + 1], most), to_times
    )


@functools.lru_cache(1024)
def consistency_grid(
    places: tuple[int, ...], train_steps: int, low: float, high: float, rho: float, fresh: bool
) -> Grid:
    """The grid of a run.

    Args:
        places: Places on the schedule, 0 being the noisiest.
        train_steps: Number of levels of the schedule.
        low: Its lowest level.
        high: Its highest.
        rho: Karras' exponent.
        fresh: Whether it is only shown by an object that was not told its number of steps.
    """
    ramp = np.array(places) / max(1, train_steps - 1)
    start, end = (level ** (1.0 / rho) for level in (high, low))
    sigmas = (start + ramp * (end - start)) ** rho
    shown = np.append(sigmas, low).astype(np.float32)
    return along(told(sigmas), shown, None if fresh else len(places), low, high)
