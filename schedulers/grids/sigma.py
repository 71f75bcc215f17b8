"""Grids of classes that keep the sample as ``x0 + sigma eps``: N points of the training schedule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..backend.errors import ParameterError
from ..core.grid import Grid, Request
from ..process import spacing
from ..process.tables import NoiseTable, linspace32

Arrays = np.ndarray
#: Lays calls along times and levels: (table, dialect, times, levels, number of steps).
Layout = Callable[[NoiseTable, "SigmaDialect", Arrays, Arrays, int | None], Grid]


def along(
    times: Arrays,
    sigmas: Arrays,
    steps: int | None,
    parts: int = 1,
    visited: Arrays | None = None,
    shown: Mapping[str, Arrays] | None = None,
    kind: type[Grid] = Grid,
    exact: Mapping[str, Any] | None = None,
    to: Arrays | None = None,
) -> Grid:
    """The grid whose calls run along levels of alpha = 1.

    Args:
        times: Time of each call.
        sigmas: What ``sigmas`` shows.
        steps: Number of steps.
        parts: Calls of each step.
        visited: Level of each call, and the last one; by default ``sigmas``.
        shown: Further public arrays.
        kind: Class of the grid.
        exact: What that class holds besides.
        to: Level after each call; by default the next one visited.
    """
    levels = (sigmas if visited is None else visited).astype(np.float64)
    if to is None:
        levels, to = levels[:-1], levels[1:]
    n = min(len(times), len(levels))
    ones = np.ones(n)
    return kind(
        times, sigmas, steps, ones, levels[:n], ones, to[:n],
        parts=parts, shown=shown or {}, **(exact or {}),
    )  # fmt: skip


def single(
    table: NoiseTable, dialect: SigmaDialect, times: Arrays, levels: Arrays, n: int | None
) -> Grid:
    """One call a step."""
    return along(times, levels, n)


def doubled(
    table: NoiseTable, dialect: SigmaDialect, times: Arrays, levels: Arrays, n: int | None
) -> Grid:
    """Two calls a step, the second where the first one leads; one in the last step."""
    return along(np.repeat(times, 2)[1:], twice(levels), n, 2)


def twice(levels: Arrays) -> Arrays:
    """Every inner level twice."""
    return np.concatenate([levels[:1], np.repeat(levels[1:-1], 2), levels[-1:]])


class SigmaDialect(NamedTuple):
    """What a class and its config mean by a number of steps.

    Attributes:
        train_steps: Training steps over which a run is spread.
        spacing: Name of the spacing.
        offset: Added to "leading" times.
        extra: Whether trailing times may be one too many (``trailing-extra``).
        curve: Name of the sigma curve, if there is one.
        low: Lower end of the curve that the config gives.
        high: Upper end, likewise.
        ends_noisy: Whether the run ends at the smallest trained sigma instead of 0.
        log_linear: Whether levels are even in log sigma.
        continuous: Whether the model is told ``log(sigma) / 4`` instead of a training step.
        rounds: Whether the times of a curve are rounded.
        spacing_dtype: Dtype in which times and levels are made, before they are shown.
        times_dtype: Dtype of ``timesteps``.
        layout: How calls are laid along times and levels.
        eta: Share of ancestral noise by which midpoints are placed.
        cancels: Whether ancestral splits lose digits in float32 (``dpm2a-cancellation``).
    """

    train_steps: int
    spacing: str
    offset: int
    extra: bool
    curve: str | None = None
    low: float | None = None
    high: float | None = None
    ends_noisy: bool = False
    log_linear: bool = False
    continuous: bool = False
    rounds: bool = False
    spacing_dtype: Any = np.float32
    times_dtype: Any = np.float32
    layout: Layout = single
    eta: float = 1.0
    cancels: bool = False


def spaced(
    table: NoiseTable, dialect: SigmaDialect, request: Request, check: bool = True
) -> tuple[Arrays, Arrays]:
    """Times and levels, the final one included, of a number of steps or of custom times.

    Args:
        table: The training process.
        dialect: What the class means.
        request: ``n``, or custom ``timesteps``.
        check: Whether times past the table are refused.
    """
    if request.timesteps is not None:
        times = np.array(request.timesteps)
    else:
        times = spacing.spaced_timesteps(
            dialect.spacing,
            request.n or 1,
            dialect.train_steps,
            dialect.offset,
            dialect.extra,
        )
    n = len(times) if request.n is None else request.n
    times = times.astype(dialect.spacing_dtype)
    if check and times[0] > len(table) - 1:
        table.check_times(
            times.tolist(), dialect.train_steps, late_allowed(table, times), dialect.offset
        )
    if dialect.curve is None:
        levels = interpolated(table, dialect, times, n)
    else:
        ends = interpolated(table, dialect, times[:: len(times) - 1 or 1], n).tolist()
        levels = curved(table, dialect.curve, dialect.low, dialect.high, ends[-1], ends[0], n)
        times = spacing.times_of(levels, table.knots)
        times = times.round() if dialect.rounds else times
    final = table.rhos[0] if dialect.ends_noisy else 0.0
    return times, spacing.ended(levels, final, dialect.spacing_dtype)


def late_allowed(table: NoiseTable, times: Arrays) -> int:
    """How many times past the table are clamped to it: all where a caller assigned the table."""
    return len(times) if table.assigned else 1


def interpolated(table: NoiseTable, dialect: SigmaDialect, times: Arrays, n: int) -> Arrays:
    """Sigmas at fractional times: linear in sigma between training steps."""
    if not dialect.log_linear:
        return np.asarray(np.interp(times, table.steps, table.exact_rhos))
    # One point more than steps: upstream's grid, whose last call ends at the smallest sigma.
    table.check_levels(table.rhos[[-1, 0]])
    return np.asarray(np.exp(linspace32(table.log_rhos[-1], table.log_rhos[0], n + 1)))


def curved(
    table: NoiseTable,
    curve: str,
    given_low: float | None,
    given_high: float | None,
    low: float,
    high: float,
    n: int,
) -> Arrays:
    """A sigma curve.

    Args:
        table: The training process.
        curve: Its name in the config.
        given_low: Its lower end, where the config gives one.
        given_high: Its upper end, likewise.
        low: Its lower end where the config does not give one.
        high: Its upper end, likewise.
        n: Number of sigmas.

    Raises:
        ValueError: The ends are not two levels.
    """
    table.check_levels(np.array([low, high]))
    low = low if given_low is None else float(given_low)
    high = high if given_high is None else float(given_high)
    if n > 1 and low >= high and given_low is None and given_high is None:
        source = table.source
        raise ParameterError(
            f"beta_start={source.beta_start!r}, beta_end={source.beta_end!r} over "
            f"{len(table)} steps hold one noise level only, sigma={low:g}: {curve}=True "
            "needs a range.",
            "beta_start",
            "beta_end",
        )
    if n > 1 and low >= high:
        raise ParameterError(
            f"sigma_min={low:g} must be below sigma_max={high:g}; where one of them is not "
            "given, the noise schedule decides it.",
            "sigma_min",
            "sigma_max",
        )
    if curve == "use_lu_lambdas":
        return np.exp(np.linspace(table.log_rhos[-1], table.log_rhos[0], n))
    return spacing.CURVES[curve](high, low, n)


def laid_out(
    table: NoiseTable, dialect: SigmaDialect, times: Arrays, levels: Arrays, n: int | None
) -> Grid:
    """The calls of a run along times and levels."""
    if dialect.continuous:
        times = np.float32(0.25) * np.log(levels[:-1])
    return dialect.layout(table, dialect, times.astype(dialect.times_dtype), levels, n)


@functools.lru_cache(1024)
def sigma_grid(table: NoiseTable, dialect: SigmaDialect, request: Request) -> Grid:
    """The grid of a run.

    Raises:
        ValueError: The noise schedule is undefined on it.
    """
    # A level that is not a number is refused by name: NumPy need not warn of it too.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if request.sigmas is not None:
            levels = np.array(request.sigmas, np.float32)
            times = spacing.times_of(levels[:-1], table.knots)
        else:
            times, levels = spaced(table, dialect, request)
        grid = laid_out(table, dialect, times, levels, len(times))
        if not dialect.continuous:
            table.check_times(
                grid.times.tolist(),
                dialect.train_steps,
                late_allowed(table, grid.times),
                dialect.offset,
            )
        table.check_levels(grid.sigma)
    return grid


@functools.lru_cache(256)
def fresh_grid(table: NoiseTable, dialect: SigmaDialect, dtype: Any, whole: bool) -> Grid:
    """What a fresh object shows: the training schedule, or the run over every training step.

    Args:
        table: The training process.
        dialect: What the class means.
        dtype: Dtype of ``timesteps``.
        whole: Whether it is the run, as upstream's constructor of some classes.
    """
    steps = dialect.train_steps
    usable = np.isfinite(table.rhos).all() and (table.rhos > 0.0).all()
    # With a larger offset the whole run would pile up at the last level.
    fits = dialect.spacing != "leading" or dialect.offset <= 1
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if whole and len(table) == steps and usable and fits:
            times, levels = spaced(table, dialect, Request(steps), check=False)
            return laid_out(table, dialect, times, levels, None)
        times = np.arange(steps, dtype=dtype)[::-1].copy()
        if dialect.continuous:
            times = np.float32(0.25) * np.log(table.rhos[::-1])
        return along(times, np.append(table.rhos[::-1], np.float32(0.0)), None)
