"""Grids of EDM: Karras or exponential levels, and what the network is told of them."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from ..backend.errors import ParameterError
from ..core.grid import Grid, Request
from ..process.tables import linspace32
from .sigma import Arrays, along


class EdmDialect(NamedTuple):
    """What a class and its config mean by a number of steps.

    Attributes:
        low: Lowest level.
        high: Highest level.
        schedule: "karras" or "exponential".
        rho: Karras' exponent.
        rounded: Whether places on the schedule are rounded to float32 (``edm-rounded-ramp``).
        counts: Whether exponential levels are counted from the lowest up, in float32 and wherever
            their places are, so that a single one is the lowest (``edm-one-exponential``).
        ramps: Whether custom sigmas are places on the schedule (``edm-sigmas-ramp``).
        told: Function of a level that the network is told, by NumPy's name.
        over: What that is divided by.
        factor: What it is then multiplied by.
    """

    low: float
    high: float
    schedule: str
    rho: float
    rounded: bool
    counts: bool
    ramps: bool
    told: str
    over: float
    factor: float


def ramp(dialect: EdmDialect, n: int) -> Arrays:
    """N numbers from 0 to 1."""
    return linspace32(0.0, 1.0, n) if dialect.rounded else np.linspace(0.0, 1.0, n)


def curve(dialect: EdmDialect, places: Arrays) -> Arrays:
    """Levels at the places of a ramp: 0 is the highest, 1 the lowest.

    References: Karras et al. 2022, arXiv 2206.00364, eq. 5.
    """
    low, high = dialect.low, dialect.high
    if dialect.schedule == "karras":
        power = 1.0 / dialect.rho
        roots = high**power + places * (low**power - high**power)
        with np.errstate(invalid="ignore"):
            return np.asarray(roots.astype(np.float64) ** dialect.rho)
    if not dialect.counts:
        return np.exp(math.log(high) + places * (math.log(low) - math.log(high)))
    logs = linspace32(math.log(low), math.log(high), len(places))
    return np.exp(logs.astype(np.float64))[::-1]


@functools.lru_cache(1024)
def edm_grid(
    dialect: EdmDialect, request: Request, final: float | None, fresh: bool = False
) -> Grid:
    """The grid of a run.

    Args:
        dialect: What the class means.
        request: ``n``, or ``sigmas``: places on the schedule, or the levels themselves, the final
            one included.
        final: Where the last step leads; None for the last level itself.
        fresh: Whether it is only shown by an object that was not told its number of steps.

    Raises:
        ValueError: Levels that float32 cannot tell from 0.
    """
    if request.sigmas is None:
        levels = curve(dialect, ramp(dialect, request.n or 1))
    elif dialect.ramps:
        levels = curve(dialect, np.array(request.sigmas))
    else:
        levels, final = np.array(request.sigmas[:-1]), request.sigmas[-1]
    sigmas = levels.astype(np.float32)
    if not (sigmas > 0.0).all():
        raise ParameterError(
            f"sigma_min={dialect.low:g}, sigma_max={dialect.high:g}, rho={dialect.rho:g} lead to "
            "levels that float32 cannot tell from 0.",
            "sigma_min",
            "sigma_max",
            "rho",
        )
    # Rounded from float64, which comes closest to the float32 of either library.
    told = getattr(np, dialect.told)(sigmas.astype(np.float64)).astype(np.float32)
    ended = np.append(sigmas, sigmas[-1] if final is None else np.float32(final))
    return along(told / dialect.over * dialect.factor, ended, None if fresh else len(sigmas))
