"""Grids of rectified flows: ``alpha = 1 - sigma``, times T sigma, shifted towards noise."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ..backend.errors import ParameterError
from ..core.grid import Grid, Request
from ..process import spacing
from ..process.shifting import shifted_by, stretched

Arrays = np.ndarray


class FlowDialect(NamedTuple):
    """What a class, its config and its attributes mean by a number of steps.

    Attributes:
        train_steps: Number of training steps T.
        shift: The shift s.
        high: First level of a run that is shifted twice.
        low: Last level of it, likewise.
        twice: Whether a run is shifted twice: between levels that are shifted already
            (``flow-shift-twice``), instead of from 1 to 1 / T.
        shifts_times: Whether the levels of custom times are shifted (``flow-custom-times``).
        strength: What takes the place of the shift under dynamic shifting.
        terminal: Level to which the last is stretched, if there is one.
        curve: Name of the sigma curve, if there is one.
        curve_low: Lower end of the curve that the config gives.
        curve_high: Upper end, likewise.
        inverted: Whether sigmas are the share of data.
        wide: Whether levels may lie outside (0, 1].
    """

    train_steps: int
    shift: float
    high: float
    low: float
    twice: bool
    shifts_times: bool
    strength: float | None = None
    terminal: float | None = None
    curve: str | None = None
    curve_low: float | None = None
    curve_high: float | None = None
    inverted: bool = False
    wide: bool = False


def along(
    times: Arrays, sigmas: Arrays, steps: int | None, parts: int = 1, inverted: bool = False
) -> Grid:
    """The grid whose calls run along these times and levels.

    Args:
        times: Time of each call.
        sigmas: Level of each call, and the last one.
        steps: Number of steps.
        parts: Calls of each step.
        inverted: Whether the levels are the share of data.
    """
    n = max(min(len(times), len(sigmas) - 1), 0)
    sigma = sigmas[: n + 1].astype(np.float64)
    alpha = 1.0 - sigma
    if inverted:
        alpha, sigma = sigma, alpha
    return Grid(times, sigmas, steps, alpha[:n], sigma[:n], alpha[1:], sigma[1:], parts=parts)


@functools.lru_cache(64)
def fresh_grid(train_steps: int, shift: float, inverted: bool = False) -> Grid:
    """What a fresh object shows: every training level, shifted."""
    steps = np.float32(train_steps)
    ascending = np.arange(train_steps, 0, -1, dtype=np.float32) / steps
    sigmas = spacing.shifted(ascending, shift)
    return along(sigmas * steps, sigmas, None, 1, inverted)


def ramp(dialect: FlowDialect, n: int) -> Arrays:
    """N levels before the shift, from the first to the last one of training."""
    steps = dialect.train_steps
    high, low = (dialect.high, dialect.low) if dialect.twice else (1.0, 1.0 / steps)
    return spacing.linspace(high * steps, low * steps, n) / steps


def shifted(dialect: FlowDialect, levels: Arrays) -> Arrays:
    """Levels after shift, stretch and curve."""
    if dialect.strength is not None:
        levels = shifted_by(dialect.strength, 1.0, levels)
    else:
        levels = spacing.shifted(levels, dialect.shift)
    levels = stretched(levels, dialect.terminal)
    if dialect.curve is None:
        return levels
    low = float(levels[-1]) if dialect.curve_low is None else dialect.curve_low
    high = float(levels[0]) if dialect.curve_high is None else dialect.curve_high
    least = 0.0 if dialect.curve == "use_karras_sigmas" else 5e-324
    if dialect.curve != "use_beta_sigmas" and min(low, high) < least:
        raise ParameterError(
            f"{dialect.curve}=True cannot lead from sigma={high:g} to sigma={low:g}: choose "
            "sigmas above 0.",
            dialect.curve,
            "sigmas",
        )
    return np.asarray(spacing.CURVES[dialect.curve](high, low, len(levels)))


@functools.lru_cache(1024)
def flow_grid(dialect: FlowDialect, request: Request) -> Grid:
    """The grid of a run by Euler's method.

    Raises:
        ValueError: A level lies outside (0, 1] in float32, or is no number.
    """
    total = np.float32(dialect.train_steps)
    given: list[Any] = [request.timesteps, request.sigmas]
    times, levels = (None if part is None else np.array(part, np.float32) for part in given)
    shifts = times is None or levels is not None or dialect.shifts_times
    if levels is None:
        levels = ramp(dialect, request.n or 1) if times is None else times / total
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        levels = (shifted(dialect, levels) if shifts else levels).astype(np.float32)
    final = 0.0
    if dialect.inverted:
        levels, final, times = np.float32(1.0) - levels, 1.0, None
    if times is None:
        times = levels * total
    grid = along(times, spacing.ended(levels, final), len(times), 1, dialect.inverted)
    inside = (grid.sigma > 0.0) & (grid.sigma <= 1.0)
    if dialect.wide:
        inside = np.isfinite(grid.sigma)
    if not inside.all():
        told = {
            "shift": dialect.shift,
            "shift_terminal": dialect.terminal,
            "invert_sigmas": dialect.inverted,
            "num_train_timesteps": dialect.train_steps,
        }
        said = ", ".join(f"{name}={value!r}" for name, value in told.items())
        raise ParameterError(
            f"{said} lead to sigma={grid.sigma[~inside][0]:g} in float32; a flow runs inside "
            "(0, 1].",
            *told,
        )
    return grid


@functools.lru_cache(1024)
def given_grid(train_steps: int, levels: tuple[float, ...], shows_end: bool) -> Grid:
    """The grid along levels that a caller gave, the final one included.

    Args:
        train_steps: Number of training steps T.
        levels: The levels.
        shows_end: Whether the times have an entry for the final level too, as upstream's.
    """
    sigmas = np.array(levels, np.float32)
    times = (sigmas if shows_end else sigmas[:-1]) * np.float32(train_steps)
    return along(times, sigmas, len(sigmas) - 1)


@functools.lru_cache(1024)
def doubled_grid(dialect: FlowDialect, n: int) -> Grid:
    """The grid of a run by Heun's method, two calls a step but one in the last."""
    levels = shifted(dialect, ramp(dialect, n)).astype(np.float32)
    sigmas = np.append(np.repeat(levels, 2)[1:], np.float32(0.0))
    return along(sigmas[:-1] * np.float32(dialect.train_steps), sigmas, n, 2)
