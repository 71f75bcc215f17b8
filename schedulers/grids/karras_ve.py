"""Grids of Karras-VE: levels that fall geometrically, each churned before the model is asked."""

from __future__ import annotations

import functools
from itertools import zip_longest

import numpy as np

from ..core.grid import Grid
from ..rules.karras_ve import KarrasVe
from .sigma import Arrays


def along(times: Arrays, schedule: Arrays, steps: int | None, rule: KarrasVe) -> Grid:
    """The calls of the loop over ``timesteps``, which reads ``schedule`` there and one below.

    Args:
        times: Entries of ``timesteps``; those that are no places in ``schedule`` have no calls.
        schedule: Levels, ascending.
        steps: Number of steps, by which churn is shared out.
        rule: What churns.
    """
    places = [int(t) for t in times.tolist() if 0 <= t < len(schedule)]
    levels = [0.0, *schedule.tolist()]
    hats = [rule.raised(levels[t + 1], steps)[0] for t in places]
    #: Place, level, target, step and part of each call.
    calls: list[tuple[int, float, float, tuple[int, int]]] = []
    for k, (t, hat, churned) in enumerate(zip_longest(places, hats, hats[1:])):
        after = levels[t]
        calls.append((t, hat, after, (k, 0)))
        if after > 0.0:
            # What is shown to the model next has been churned already.
            calls.append((t, after, after if churned is None else churned, (k, 1)))
    asked, here, there, parts = zip(*calls, strict=True) if calls else ((),) * 4
    sigmas = [levels[t + 1] for t in places] + [levels[t] for t in places[-1:]]
    ones = np.ones(len(calls))
    return Grid(
        times, np.array(sigmas, np.float32), steps, ones, np.array(here), ones, np.array(there),
        np.array(asked) - 1.0, np.array(asked), tuple(parts), {"schedule": schedule},
    )  # fmt: skip


@functools.lru_cache(1024)
def karras_ve_grid(low: float, high: float, squared: bool, n: int, rule: KarrasVe) -> Grid:
    """The grid of N steps.

    Args:
        low: Lowest level.
        high: Highest level.
        squared: Whether ``schedule`` holds squares of levels (``karras-ve-squared``).
        n: Number of steps.
        rule: What churns.
    """
    power = 2.0 if squared else 1.0
    # From the largest level geometrically to the smallest; a single step starts at the top.
    ramp = np.linspace(0.0, 1.0, n) if n > 1 else np.zeros(1)
    levels = (high**power * (low / high) ** (power * ramp)).astype(np.float32)
    return along(np.arange(n)[::-1].copy(), levels[::-1].copy(), n, rule)
