"""Grids of DPM-Solver, DEIS, UniPC and SA-Solver: n of n + 1 points, variance-preserving or flow."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..backend.errors import ParameterError
from ..core.grid import Grid, Request
from ..process import spacing
from ..process.shifting import stretched
from ..process.tables import NoiseTable
from .sigma import Arrays, curved

#: A flow level this close to 1 is moved below it, where lam is finite.
FLOW_MARGIN = 1e-6


class DpmDialect(NamedTuple):
    """What a class and its config mean by a number of steps.

    Attributes:
        train_steps: Number of training steps.
        spacing: Name of the spacing.
        offset: Added to "leading" times.
        extra: Whether trailing times may be one too many (``trailing-extra``).
        curve: Name of the sigma curve, if there is one.
        low: Lower end of the curve that the config gives.
        high: Upper end, likewise.
        rounds: Whether times of the curve are rounded, not cut off.
        flow: Whether levels are a flow's.
        shift: How far a flow is moved towards noise.
        lowest: Least lam of spaced times, as the config gives it.
        last: How many training steps are left by it; the others are clipped.
        ends_clean: Whether the last step leads to a clean sample.
        repeats: Whether otherwise a curve's or a flow's last level is repeated, instead of the
            smallest trained one.
        ramps: Whether a flow starts at 1, and custom levels are such a start (UniPC).
        terminal: Last level that such a flow is stretched to.
        drops: Whether times that repeat on the way up are dropped without their levels
            (``inverse-dropped-times``).
        descends: Whether a flow runs down where it should run up (``inverse-flow-down``).
        swaps: Whether the ends that the config gives a curve change places on the way up
            (``inverse-swapped-ends``).
        orders: The order of each call of a run of so many, where calls of order 2 and 3 start over
            from the sample of an earlier one (singlestep).
    """

    train_steps: int
    spacing: str
    offset: int
    extra: bool
    curve: str | None
    low: float | None
    high: float | None
    rounds: bool
    flow: bool
    shift: float
    lowest: float | None
    last: int
    ends_clean: bool
    repeats: bool
    ramps: bool
    terminal: float | None
    orders: Callable[[int], Sequence[int]] | None = None
    drops: bool = False
    descends: bool = False
    swaps: bool = False


#: As ``Grid`` has it.
Parts = int | tuple[tuple[int, int], ...]


def parts_of(orders: Sequence[int]) -> Parts:
    """Step and part of every call, where one of order 1 begins a step."""
    steps = itertools.accumulate(order == 1 for order in orders)
    return tuple((step - 1, order - 1) for step, order in zip(steps, orders, strict=True))


def along(times: Arrays, sigmas: Arrays, steps: int | None, flow: bool, parts: Parts = 1) -> Grid:
    """The grid whose calls run along these public arrays.

    As upstream, a step that no time is left for is still made where there are levels.

    Args:
        times: Time of each call.
        sigmas: Level of each call and the last one: sigma / alpha, or sigma of a flow.
        steps: Number of steps.
        flow: Which of the two.
        parts: Step and part of every call, as ``Grid`` has it.
    """
    n = max(len(sigmas) - 1, 0)
    if isinstance(parts, tuple):  # calls beyond the run that was laid out are steps of their own
        last = parts[-1][0]
        parts = (*parts[:n], *((last + k, 0) for k in range(1, n - len(parts) + 1)))
    sigma = sigmas.astype(np.float64)
    if flow:
        alpha = 1.0 - sigma
    else:
        alpha = 1.0 / np.sqrt(sigma * sigma + 1.0)
        sigma = sigma * alpha
    return Grid(
        times, sigmas, steps, alpha[:n], sigma[:n], alpha[1:], sigma[1:], parts=parts
    )  # fmt: skip


@functools.lru_cache(256)
def fresh_grid(table: NoiseTable, train_steps: int, flow: bool, ascends: bool) -> Grid:
    """What a fresh object shows: all times, and the table's levels as upstream has them."""
    times = np.arange(train_steps, dtype=np.float32)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return along(times if ascends else times[::-1].copy(), table.rhos, None, flow)


@functools.lru_cache(1024)
def dpm_grid(table: NoiseTable, dialect: DpmDialect, request: Request) -> Grid:
    """The grid of a run.

    Raises:
        ValueError: The noise schedule is undefined on it, or the settings leave no such grid.
    """
    flow_alone = dialect.flow and dialect.curve is None
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if request.sigmas is not None and not (dialect.ramps and flow_alone):
            sigmas = np.array(request.sigmas, np.float32)
            times = _times_of(table, dialect, sigmas[:-1])
        else:
            times, levels = _curved_or_spaced(table, dialect, request)
            sigmas = spacing.ended(levels, _final(table, dialect, levels))
        n = len(times)
        parts = 1 if dialect.orders is None else parts_of(dialect.orders(n))
        return checked(table, dialect, along(times, sigmas, n, dialect.flow, parts))


def checked(table: NoiseTable, dialect: DpmDialect, grid: Grid, ascends: bool = False) -> Grid:
    """The grid, if a step is defined at all of its levels."""
    table.check_levels(grid.sigmas if ascends else grid.sigmas[:-1])
    if dialect.flow and grid.sigmas.max() >= 1.0:
        cause = "flow_shift" if dialect.curve is None else dialect.curve
        value = dialect.shift if dialect.curve is None else True
        raise ParameterError(
            f"use_flow_sigmas=True cannot be combined with {cause}={value!r}: the run reaches "
            f"sigma={grid.sigmas.max():.3g}, and a flow ends below 1.",
            "use_flow_sigmas",
            cause,
        )
    return grid


def _times_of(table: NoiseTable, dialect: DpmDialect, levels: Arrays) -> Arrays:
    """Whole training times of custom levels."""
    if dialect.flow:
        return (levels * dialect.train_steps).astype(np.int64)
    return spacing.times_of(levels, table.knots).round().astype(np.int64)


def _curved_or_spaced(
    table: NoiseTable, dialect: DpmDialect, request: Request
) -> tuple[Arrays, Arrays]:
    """Times and levels of a number of steps, of custom times, or of a flow's custom ramp."""
    steps = dialect.train_steps
    if dialect.curve is not None:
        ends = float(table.rhos[0]), float(table.rhos[-1])
        low, high = dialect.low, dialect.high
        return placed(
            table, dialect, curved(table, dialect.curve, low, high, *ends, request.n or 1)
        )
    if dialect.flow:
        if request.timesteps is None:
            levels = flow_levels(dialect, request)
        else:
            levels = np.array(request.timesteps) / steps
        if levels[-1] == 0.0:
            raise ParameterError(
                "timesteps end at 0, where a flow holds no noise: end at 1.", "timesteps"
            )
        return (levels * steps).astype(np.int64), levels
    if request.timesteps is None:
        n = request.n or 1
        times = spacing.open_timesteps(
            dialect.spacing, n, steps, dialect.offset, usable(dialect, n), dialect.extra
        )
    else:
        times = np.array(request.timesteps).astype(np.int64)
    return times, read(table, dialect, times)


def read(table: NoiseTable, dialect: DpmDialect, times: Arrays) -> Arrays:
    """The table's levels at whole times; one that was assigned is clamped where it ends."""
    if not table.assigned:
        table.check_times(times.tolist(), dialect.train_steps, 1, dialect.offset)
    return np.asarray(np.interp(times, table.steps, table.exact_rhos))


def usable(dialect: DpmDialect, n: int) -> int:
    """How many training steps a run of n may use: the others are clipped."""
    if dialect.last < n:
        raise ParameterError(
            f"lambda_min_clipped={dialect.lowest:g} leaves {max(dialect.last, 0)} "
            f"training steps for {n} steps; choose a smaller one.",
            "lambda_min_clipped",
            "num_inference_steps",
        )
    return dialect.last


def placed(table: NoiseTable, dialect: DpmDialect, levels: Arrays) -> tuple[Arrays, Arrays]:
    """Whole training times of a curve's levels, and these, bent where the curve is a flow's."""
    if dialect.ramps and dialect.flow and dialect.curve == "use_karras_sigmas":
        levels = levels / (levels + 1.0)
        return (levels * dialect.train_steps).astype(np.int64), levels
    times = spacing.times_of(levels, table.knots)
    # Upstream cuts fractional times off where it does not round them.
    return (times.round() if dialect.rounds else times).astype(np.int64), levels


def flow_levels(dialect: DpmDialect, request: Request) -> Arrays:
    """The levels of a flow."""
    if not dialect.ramps:
        return spacing.flow_sigmas(request.n or 1, dialect.train_steps, dialect.shift)
    if request.sigmas is None:
        ramp = np.linspace(1, 1 / dialect.train_steps, (request.n or 1) + 1)[:-1]
    else:
        ramp = np.array(request.sigmas)
    levels = np.asarray(stretched(spacing.shifted(ramp, dialect.shift), dialect.terminal))
    if abs(levels[0] - 1.0) < FLOW_MARGIN:
        levels[0] -= FLOW_MARGIN
    return levels


def _final(table: NoiseTable, dialect: DpmDialect, levels: Arrays) -> float:
    """Where the last step ends."""
    if dialect.ends_clean:
        return 0.0
    if dialect.repeats and (dialect.curve is not None or dialect.flow):
        return float(levels[-1])
    return float(table.rhos[0])


# --- upward -------------------------------------------------------------------------------------


@functools.lru_cache(1024)
def ascending_grid(table: NoiseTable, dialect: DpmDialect, n: int) -> Grid:
    """The grid of a run of n steps upward.

    Raises:
        ValueError: The noise schedule is undefined on it, or the settings leave no such grid.
    """
    last, curve, steps, final = usable(dialect, n), dialect.curve, dialect.train_steps, None
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if curve is not None:
            times, levels = placed(table, dialect, _rising(table, dialect, curve, n))
            final = levels[-1]
        elif dialect.flow:
            if dialect.descends:
                levels = flow_levels(dialect, Request(n))
                final = levels[-1]
            else:
                levels = flow_levels(dialect, Request(n + 1))
                levels, final = levels[:0:-1], levels[0]
            times = (levels * steps).astype(np.int64)
        else:
            times = _ascending_times(dialect, n, last)
            levels = read(table, dialect, times)
            final = table.rhos[last - 1]
        if curve == "use_karras_sigmas" or not (curve or dialect.flow):
            # Times of the other grids are compared before they are cut to whole ones.
            first = np.sort(np.unique(times, return_index=True)[1])
            times, levels = times[first], levels if dialect.drops else levels[first]
        sigmas = spacing.ended(levels, final)
        grid = along(times, sigmas, len(times), dialect.flow)
        return checked(table, dialect, grid, ascends=True)


def _ascending_times(dialect: DpmDialect, n: int, last: int) -> Arrays:
    """N times from the first one up, in the dialect that drops the last of n + 1 points."""
    kind, steps = dialect.spacing, dialect.train_steps
    times = spacing.open_timesteps(kind, n, steps, 0, last, dialect.extra)[::-1]
    if kind == "trailing":
        return times
    times = np.append(0, times)[:-1]
    return times + dialect.offset if kind == "leading" else times


def _rising(table: NoiseTable, dialect: DpmDialect, curve: str, n: int) -> Arrays:
    """A sigma curve run upward."""
    low, high = float(table.rhos[0]), float(table.rhos[-1])
    first, second = dialect.low, dialect.high
    curved(table, curve, first, second, low, high, n)  # it refuses what is no range
    if dialect.swaps:
        first, second = second, first
    start, end = (low if first is None else first), (high if second is None else second)
    return spacing.CURVES[curve](start, end, n)
