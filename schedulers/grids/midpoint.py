"""Steps of two calls, the second at a log-midpoint on the way to where the first one aims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.grid import Grid
from ..process import spacing
from ..process.tables import NoiseTable
from ..rules.euler import ancestral_split
from .sigma import Arrays, SigmaDialect, along, twice


@dataclass(frozen=True, eq=False)
class AncestralGrid(Grid):
    """A grid of steps whose deterministic part ends below their target.

    Attributes:
        downs: Where it ends, by step.
        ups: Deviation of the noise from there up to the target.
    """

    downs: Arrays = field(default_factory=lambda: np.zeros(0))
    ups: Arrays = field(default_factory=lambda: np.zeros(0))


def padded(levels: Arrays) -> Arrays:
    """Every level but the first twice, the last three times: what upstream shows."""
    shown = np.empty(2 * len(levels), levels.dtype)
    shown[::2], shown[1:-1:2], shown[-1] = levels, levels[1:], levels[-1]
    return shown


def between(
    table: NoiseTable, times: Arrays, levels: Arrays, aims: Arrays
) -> tuple[Arrays, Arrays, Arrays]:
    """Times, levels and midpoints of the calls.

    Args:
        table: The training process.
        times: Times of the steps, in the dtype that ``timesteps`` is to have.
        levels: Level before each step, and the last one; exact if in float64.
        aims: Sigma that the deterministic part of each step leads to.

    Returns:
        ``(times of the calls, their levels and the last one, midpoints)``.
    """
    shown = levels.astype(np.float32)
    here = shown[:-1].astype(np.float64)
    middles = np.sqrt(here * aims)[:-1]
    placed = np.sqrt(levels[:-2] * levels[1:-1]) if levels.dtype == np.float64 else middles
    inner = spacing.times_of(placed, table.knots).astype(times.dtype)
    asked, visited = np.empty(2 * len(times) - 1, times.dtype), np.zeros(2 * len(times))
    asked[::2], asked[1::2] = times, inner
    visited[:-1:2], visited[1:-1:2], visited[-1] = here, middles, shown[-1]
    return asked, visited, middles


def placed_middles(middles: Arrays, *around: int) -> Arrays:
    """Midpoints as upstream shows them, zeros before and behind them."""
    before, after = around
    return padded(np.concatenate([np.zeros(before), middles, np.zeros(after)]).astype(np.float32))


def midpoints(
    table: NoiseTable, dialect: SigmaDialect, times: Arrays, levels: Arrays, n: int | None
) -> Grid:
    """DPM-Solver-2: midpoints between a level and the next (KDPM2)."""
    asked, visited, middles = between(table, times, levels, levels[1:])
    shown = {"sigmas_interpol": placed_middles(middles, 1, 1), "log_sigmas": table.log_rhos}
    return along(asked, padded(levels.astype(np.float32)), n, 2, visited, shown)


def splits(levels: Arrays, cancels: bool) -> tuple[Arrays, Arrays]:
    """``(down, up)`` of each step: where its deterministic part leads, and the noise back up.

    Args:
        levels: Level before each step, and the last one.
        cancels: Whether ``down`` comes from upstream's difference in float32, which cancels where
            a step is long.
    """
    here, after = levels[:-1].astype(np.float64), levels[1:].astype(np.float64)
    downs = after * after / here
    ups = np.sqrt(np.maximum(after * after - downs * downs, 0.0))
    if not cancels:
        return downs, ups
    here, after = levels[:-1], levels[1:]
    with np.errstate(invalid="ignore", over="ignore"):
        up = np.sqrt(after * after * (here * here - after * after) / (here * here))
        down = np.sqrt(after * after - up * up)
    # Where nothing is left of the difference upstream divides by zero.
    return np.where(down > 0.0, down, downs), np.where(down > 0.0, up, ups)


def ancestral_midpoints(
    table: NoiseTable, dialect: SigmaDialect, times: Arrays, levels: Arrays, n: int | None
) -> Grid:
    """DPM-Solver-2 down past the target: midpoints between a level and sigma_down (KDPM2a)."""
    downs, ups = splits(levels, dialect.cancels)
    asked, visited, middles = between(table, times, levels, downs)
    shown = {
        "sigmas_interpol": placed_middles(middles, 0, 2),
        "log_sigmas": table.log_rhos,
        "sigmas_up": padded(np.append(ups, 0.0).astype(np.float32)),
        "sigmas_down": padded(np.append(downs, 0.0).astype(np.float32)),
    }
    sigmas, exact = padded(levels.astype(np.float32)), {"downs": downs, "ups": ups}
    return along(asked, sigmas, n, 2, visited, shown, AncestralGrid, exact)


def eta_midpoints(
    table: NoiseTable, dialect: SigmaDialect, times: Arrays, levels: Arrays, n: int | None
) -> Grid:
    """Midpoints between a level and where a share eta of ancestral noise begins (DPM++ 2S a)."""
    pairs = zip(levels.tolist(), levels[1:].tolist(), strict=False)
    aims = np.array([ancestral_split(*pair, dialect.eta)[0] for pair in pairs])
    asked, visited, _ = between(table, times, levels, aims)
    return along(asked, padded(levels.astype(np.float32)), n, 2, visited)


def exact_midpoints(
    table: NoiseTable, dialect: SigmaDialect, times: Arrays, levels: Arrays, n: int | None
) -> Grid:
    """Midpoints out of levels in float64, which are shown without padding (DPM++ SDE)."""
    asked, visited, _ = between(table, times, levels, levels.astype(np.float32)[1:])
    return along(asked, twice(levels.astype(np.float32)), n, 2, visited)


# --- along what a caller assigned ---------------------------------------------------------------


def shown_midpoints(held: Mapping[str, Arrays], steps: int | None, lag: int) -> Grid:
    """The grid along the public arrays of KDPM2 (lag 0) or KDPM2a (lag 1), as upstream reads them.

    Args:
        held: ``timesteps``, ``sigmas``, ``sigmas_interpol`` and the others.
        steps: Number of steps.
        lag: How far back of a second call its midpoint stands in ``sigmas_interpol``.
    """
    times, sigmas, middles = (held[k] for k in ("timesteps", "sigmas", "sigmas_interpol"))
    calls = min(len(times), len(sigmas) - 1, len(middles) - 1)
    here, to = sigmas[:calls].astype(np.float64), sigmas[:calls].astype(np.float64)
    firsts, seconds = np.arange(0, calls, 2), np.arange(1, calls, 2)
    here[seconds] = middles[seconds - lag]
    to[firsts] = middles[firsts + 1 - lag]
    more = {k: v for k, v in held.items() if k not in ("timesteps", "sigmas")}
    if "sigmas_down" not in held:
        return along(times, sigmas, steps, 2, here, more, to=to)
    exact = {"downs": held["sigmas_down"][::2], "ups": held["sigmas_up"][::2]}
    return along(times, sigmas, steps, 2, here, more, AncestralGrid, exact, to)


def geometric_midpoints(held: Mapping[str, Arrays], steps: int | None, eta: float) -> Grid:
    """The grid along ``timesteps`` and ``sigmas`` whose midpoints follow from its levels."""
    times, sigmas = held["timesteps"], held["sigmas"]
    calls = min(len(times), len(sigmas) - 1)
    visited = sigmas[: calls + 1].astype(np.float64)
    for i in range(1, calls, 2):
        down, _ = ancestral_split(float(sigmas[i - 1]), float(sigmas[i]), eta)
        visited[i] = np.sqrt(float(sigmas[i - 1]) * down)
    grid = along(times, sigmas, steps, 2, visited)
    # A second call leads to the level beside its midpoint, wherever the next step starts.
    to_sigma = grid.to_sigma.copy()
    to_sigma[1::2] = sigmas[1:calls:2]
    return replace(grid, to_sigma=to_sigma)
