"""Grids of score SDEs, in continuous time from 1 down."""

from __future__ import annotations

import functools
import math

import numpy as np

from ..backend.errors import ParameterError
from ..core.grid import Grid
from ..process import spacing
from ..process.sde import VpProcess
from ..process.tables import linspace32
from .sigma import Arrays


def vp_along(times: Arrays, process: VpProcess) -> Grid:
    """The calls of a run over times, from each to the next and at last to the clean end."""
    alpha, sigma = process.levels(times.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        sigmas = spacing.ended(sigma / alpha, 0.0) if len(times) else times
    to_alpha, to_sigma = np.append(alpha[1:], 1.0), np.append(sigma[1:], 0.0)
    n = len(times)
    return Grid(times, sigmas, n or None, alpha, sigma, to_alpha[:n], to_sigma[:n])


@functools.lru_cache(1024)
def vp_grid(end: float, n: int, process: VpProcess) -> Grid:
    """The grid of N steps at even times.

    Raises:
        ValueError: The last time is too early for any noise.
    """
    grid = vp_along(linspace32(1.0, end, n), process)
    if grid.sigma[-1] == 0.0:
        raise ParameterError(
            f"sampling_eps={end!r} is a time without noise: choose a larger one.", "sampling_eps"
        )
    return grid


def ve_places(times: Arrays, n: int) -> Arrays:
    """Where upstream reads ``discrete_sigmas`` at times of a run over n times: rounded down."""
    return np.asarray((times.astype(np.float32) * np.float32(n - 1)).astype(np.int64))


def ve_levels(levels: Arrays, places: Arrays) -> tuple[Arrays, Arrays]:
    """Levels at places, and those below them; not numbers where there are none."""
    beyond, known = len(levels), np.append(levels.astype(np.float64), math.nan)
    inside = (places >= 0) & (places < beyond)
    below = np.append(0.0, known)[np.where(inside, places, beyond + 1)]
    return known[np.where(inside, places, beyond)], below


def ve_along(
    times: Arrays, sigmas: Arrays, levels: Arrays, steps: int | None, correct: int, truncates: bool
) -> Grid:
    """The calls of a run over times, each with Langevin steps before it.

    Args:
        times: Entries of ``timesteps``.
        sigmas: What ``sigmas`` shows.
        levels: ``discrete_sigmas``, which steps go by.
        steps: Number of steps; None for the grid that a fresh object shows.
        correct: Langevin steps at each level.
        truncates: Whether levels are read where their times would be, rounded down, instead of one
            by one from above (``sde-ve-truncated-index``).
    """
    n = len(times)
    places = ve_places(times, n) if truncates else np.arange(n)[::-1]
    at, below = ve_levels(levels, places)
    calls = n * (1 + correct)
    here, there = (at[:, None].repeat(1 + correct, 1) for _ in range(2))
    there[:, -1] = below
    asked, ones = times.repeat(1 + correct), np.ones(calls)
    return Grid(
        times, sigmas, steps, ones, here.ravel(), ones, there.ravel(),
        asked, asked, 1 + correct, {"discrete_sigmas": levels},
    )  # fmt: skip


def ve_over(
    times: Arrays, low: float, high: float, steps: int | None, correct: int, truncates: bool
) -> Grid:
    """The grid over times between two levels: ``sigma = sigma_min (sigma_max / sigma_min)^t``."""
    sigmas = (low * (high / low) ** times.astype(np.float64)).astype(np.float32)
    levels = sigmas[::-1].copy()
    if truncates:
        logs = linspace32(math.log(low), math.log(high), len(times))
        levels = np.exp(logs.astype(np.float64)).astype(np.float32)
    return ve_along(times, sigmas, levels, steps, correct, truncates)


@functools.lru_cache(1024)
def ve_grid(
    n: int, end: float, low: float, high: float, steps: int | None, correct: int, truncates: bool
) -> Grid:
    """The grid over n even times from 1 to the end; otherwise as ``ve_over``."""
    return ve_over(linspace32(1.0, end, n), low, high, steps, correct, truncates)
