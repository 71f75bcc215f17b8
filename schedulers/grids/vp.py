"""Grids of classes that keep the variance: whole training steps, and where a step leads from each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..core.grid import Grid, Request
from ..core.level import Call, Level, vp_level
from ..process import spacing
from ..process.tables import NoiseTable

Arrays = np.ndarray
#: The training steps that calls at these times lead to; below 0 lies the clean end.
Aim = Callable[[Arrays, int | None, "VpDialect"], Arrays]
#: Lays calls along the times that were spaced: (table, dialect, times, number of steps).
Layout = Callable[[NoiseTable, "VpDialect", Arrays, int | None], "VpGrid"]


# --- where a step leads ---------------------------------------------------------------------------


def stride(steps: int | None, dialect: VpDialect) -> int:
    """Upstream's length of a step, ``T // N``; one training step where N is not known."""
    return dialect.train_steps // (steps or dialect.train_steps)


def stride_down(times: Arrays, steps: int | None, dialect: VpDialect) -> Arrays:
    """``T // N`` down, on the grid or off it (DDIM upstream)."""
    return times - stride(steps, dialect)


def next_lower(times: Arrays, steps: int | None, dialect: VpDialect) -> Arrays:
    """To the highest time of the grid that lies lower, else to the clean end."""
    found = np.unique(times)
    below = found.searchsorted(times)
    return np.where(below > 0, found[below - 1], -1)


def next_entry(times: Arrays, steps: int | None, dialect: VpDialect) -> Arrays:
    """To the time that comes next, after the last to the clean end (DDPM)."""
    return np.append(times[1:], -1)[: len(times)]


class VpDialect(NamedTuple):
    """What a class and its config mean by a number of steps.

    Attributes:
        train_steps: Number of training steps T.
        spacing: Name of the spacing.
        offset: Added to "leading" times.
        extra: Whether trailing times may be one too many (``trailing-extra``).
        aim: Where a step leads.
        end: alphas_cumprod of the clean end.
        pure_noise: Whether a run may start where there is no signal.
        clean: Whether a run goes up, and may start where there is no noise.
        kind: Class of the grid.
        shift: Added to all spaced times.
        layout: How calls are laid along the spaced times.
        late: Whether a run upward asks at the time that a step leads to (``inverse-stride``).
    """

    train_steps: int
    spacing: str
    offset: int
    extra: bool
    aim: Aim
    end: float = 1.0
    pure_noise: bool = False
    clean: bool = False
    kind: type[VpGrid] | None = None
    shift: int = 0
    layout: Layout | None = None
    late: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class VpGrid(Grid):
    """A grid on training steps, which knows the level of any other.

    Attributes:
        table: The training process.
        dialect: What it was laid out by.
        starts: Training step where the sample stands at each call.
    """

    table: NoiseTable
    dialect: VpDialect
    starts: Arrays

    def level(self, t: int) -> Level:
        """The level of a training step; below 0 lies the clean end."""
        return vp_level(float(t), self.table.abar(t) if t >= 0 else self.dialect.end)

    def aside(self, t: int) -> Call:
        """The call that would be made at another training step."""
        times = np.append(np.int64(t), self.times.astype(np.int64))
        return along(self.table, self.dialect, times, self.steps).calls[0]


class FirstGrid(VpGrid):
    """One on which a time that occurs twice means its first place."""

    @functools.cached_property
    def positions(self) -> dict[float, int]:
        """Position of each time."""
        return {t: i for i, t in reversed([*enumerate(self.times.tolist())])}


class RisingGrid(VpGrid):
    """One whose calls are told other times than those where the sample stands."""

    @functools.cached_property
    def calls(self) -> tuple[Call, ...]:
        """The model calls."""
        placed = zip(super().calls, self.starts.tolist(), strict=True)
        return tuple(c._replace(here=c.here._replace(t=float(t))) for c, t in placed)


def levels(table: NoiseTable, visited: Arrays, end: float) -> tuple[Arrays, Arrays]:
    """Alpha and sigma of training steps, in float64.

    Args:
        table: The training process.
        visited: Training steps; below 0 lies the clean end.
        end: alphas_cumprod there.

    Returns:
        Not numbers where the table ends below a step.
    """
    alpha, sigma, _ = _level_arrays(table, end)
    places = _places(table, visited)
    return alpha[places], sigma[places]


def _places(table: NoiseTable, visited: Arrays) -> Arrays:
    """Where ``_level_arrays`` have training steps, the clean end and what lies beyond the table."""
    return np.asarray(np.minimum(np.maximum(visited, -1), len(table)))


@functools.lru_cache(64)
def _level_arrays(table: NoiseTable, end: float) -> tuple[Arrays, Arrays, Arrays]:
    """Alpha, sigma and (float32) their ratio of each training step, of none, and at the clean end.

    The last is found at -1, what is not a number at the length of the table.
    """
    power = np.concatenate([table.cumulative, [np.nan, end]])
    ratios = np.concatenate([table.rhos, [np.nan, np.nan]]).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.sqrt(power), np.sqrt(1.0 - power), ratios


def along(
    table: NoiseTable,
    dialect: VpDialect,
    times: Arrays,
    steps: int | None,
    aims: Arrays | None = None,
    starts: Arrays | None = None,
    sigmas: Arrays | None = None,
    shown: Mapping[str, Arrays] | None = None,
    parts: int | tuple[tuple[int, int], ...] = 1,
) -> VpGrid:
    """The grid whose calls are made at these times.

    Args:
        table: The training process.
        dialect: Where steps lead, and where the clean end is.
        times: Training step of each call, whole numbers of any dtype.
        steps: Number of steps.
        aims: Training step that each call leads to; by default the dialect says it.
        starts: Training step where the sample stands at each call, below 0 at the clean end; by
            default the time itself, counted from the end of the table where it is below 0.
        sigmas: What ``sigmas`` shows; by default the table's ratios, and where the run ends.
        shown: Further public arrays.
        parts: As for ``Grid``.
    """
    asked = times.astype(np.int64)
    if aims is None:
        aims = dialect.aim(asked, steps, dialect)
    if starts is None:
        starts = asked + len(table) * (asked < 0)
    alpha, sigma = levels(table, starts, dialect.end)
    # Upwards a step leads to times, which count from the end of the table where they are below 0.
    ends = aims + len(table) * (aims < 0) if dialect.clean else aims
    to_alpha, to_sigma = levels(table, ends, dialect.end)
    if sigmas is None:
        ratios = _level_arrays(table, dialect.end)[2][_places(table, starts)]
        with np.errstate(divide="ignore", invalid="ignore"):
            final = to_sigma[-1:] / to_alpha[-1:]
        sigmas = np.append(ratios, final.astype(np.float32))
    return (dialect.kind or VpGrid)(
        times, sigmas, steps, alpha, sigma, to_alpha, to_sigma,
        aims.astype(np.float64), asked.astype(np.float64), parts, shown or {},
        table=table, dialect=dialect, starts=starts,
    )  # fmt: skip


@functools.lru_cache(1024)
def vp_grid(table: NoiseTable, dialect: VpDialect, request: Request) -> VpGrid:
    """The grid of a run: over custom times, or over spaced ones.

    A table that a caller assigned is taken as it is, as upstream takes it.

    Raises:
        ValueError: The noise schedule is undefined on it.
    """
    # A level that is not a number is refused by name: NumPy need not warn of it too.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        times = spaced(dialect, request)
        steps = len(times) if request.n is None else request.n
        if table.assigned:  # only what is stepped on must be there
            return (dialect.layout or along)(table, dialect, times, steps)
        table.check_times(times.tolist(), dialect.train_steps, 0, dialect.offset)
        grid = (dialect.layout or along)(table, dialect, times, steps)
        table.check_times(grid.times.tolist(), dialect.train_steps, 0, dialect.offset)
        visited = grid.sigmas if dialect.clean else grid.sigmas[:-1]
        table.check_levels(visited, dialect.pure_noise, dialect.clean)
    return grid


def spaced(dialect: VpDialect, request: Request) -> Arrays:
    """Descending training steps, custom or spaced."""
    if request.timesteps is not None:
        return np.array(request.timesteps, np.int64)
    times = spacing.spaced_timesteps(
        dialect.spacing, request.n or 1, dialect.train_steps, dialect.offset, dialect.extra
    )
    return times.round().astype(np.int64) + dialect.shift


# --- upwards --------------------------------------------------------------------------------------


def upwards(table: NoiseTable, dialect: VpDialect, times: Arrays, steps: int | None) -> VpGrid:
    """Calls that lead up through the spaced times (DDIM inverse).

    The model is asked where the sample stands, at first at the cleanest level; late, at the time
    that the step leads to, while the sample is taken to stand T // N below it.
    """
    aims = times[::-1].copy()
    asked = aims if dialect.late else np.append(0, aims[:-1])
    return rising(table, dialect, asked, steps, aims)


def rising(
    table: NoiseTable, dialect: VpDialect, asked: Arrays, steps: int | None, aims: Arrays
) -> VpGrid:
    """Calls that lead up from times to aims."""
    starts = asked.astype(np.int64)
    if dialect.late:
        starts = np.minimum(aims - stride(steps, dialect), dialect.train_steps - 1)
    alpha, sigma = levels(table, np.append(starts, aims[-1:]), dialect.end)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigmas = (sigma / alpha).astype(np.float32)
    return along(table, dialect, asked, steps, aims, starts, sigmas)


def rising_again(
    table: NoiseTable, dialect: VpDialect, times: Arrays, steps: int | None, before: VpGrid
) -> VpGrid:
    """Calls that lead up from the times that a caller assigned.

    Each leads to the next, from the last one to where the grid in hand leads from it, else T // N
    up; where the model is asked late, to the time itself.
    """
    aims = times.astype(np.int64)
    if not dialect.late and len(aims):
        top = min(aims[-1] + stride(steps, dialect), len(table) - 1)
        known = (call.target.t for call in before.calls if call.t == aims[-1])
        aims = np.append(aims[1:], np.int64(next(known, top)))
    return rising(table, dialect, times, steps, aims)


@functools.lru_cache(256)
def fresh_grid(table: NoiseTable, dialect: VpDialect) -> VpGrid:
    """What a fresh object shows: the training schedule."""
    times = np.arange(dialect.train_steps, dtype=np.int64)
    if dialect.clean:
        sigmas = np.append(table.rhos[:1], table.rhos)
        return along(table, dialect, times, None, times, np.maximum(times - 1, 0), sigmas)
    times = times[::-1].copy()
    sigmas = np.append(table.rhos[::-1], np.float32(0.0))
    return along(table, dialect, times, None, sigmas=sigmas)
