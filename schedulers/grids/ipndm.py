"""The grid of IPNDM: levels of its own, on a quarter circle."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np

from ..core.grid import Grid
from ..process.tables import linspace32

Arrays = np.ndarray


def along(held: Mapping[str, Arrays], steps: int | None) -> Grid:
    """The grid whose calls run along public arrays.

    Args:
        held: ``timesteps``, ``sigmas``, ``betas`` (which are upstream's noise weights) and ``alphas``.
        steps: Number of steps.
    """
    times, betas, alphas = held["timesteps"], held["betas"], held["alphas"]
    n = max(min(len(times), len(betas) - 1, len(alphas) - 1), 0)
    alpha, sigma = alphas.astype(np.float64), betas.astype(np.float64)
    return Grid(
        times, held["sigmas"], steps, alpha[:n], sigma[:n], alpha[1 : n + 1], sigma[1 : n + 1],
        shown={"betas": betas, "alphas": alphas},
    )  # fmt: skip


@functools.lru_cache(1024)
def ipndm_grid(levels: tuple[float, ...] | None, steps: int, fresh: bool = False) -> Grid:
    """The grid of a run.

    Args:
        levels: Noise weights, one more than steps; None for ``sin(pi v / 2)^2``, v = 1 .. 0.
        steps: Number of steps; followed only without ``levels``.
        fresh: Whether it is what a fresh object shows, and no run.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if levels is None:
            angles = linspace32(1.0, 0.0, steps + 1) * np.float32(math.pi) / np.float32(2.0)
            betas = np.sin(angles) ** 2
        else:
            betas = np.array(levels, np.float32)
        alphas = np.sqrt(np.float32(1.0) - betas**2)
        times = np.arctan2(betas, alphas)[:-1] / np.float32(math.pi) * np.float32(2.0)
        shown = {"timesteps": times.astype(np.float32), "sigmas": betas / alphas}
    return along({**shown, "betas": betas, "alphas": alphas}, None if fresh else steps)
