"""Grids of models distilled from a solver: a run visits some of the solver's times."""

from __future__ import annotations

import functools

import numpy as np

from ..backend.errors import ParameterError
from .vp import Arrays, VpDialect


def next_until_last(times: Arrays, steps: int | None, dialect: VpDialect) -> Arrays:
    """To the time that comes next, from the last step to the clean end (LCM).

    Where strength cuts custom times short, or a caller does, upstream does not notice the last step.
    """
    aims = np.append(times[1:], times[-1:])
    if steps is not None and steps <= len(times):
        aims[steps - 1] = -1
    return aims


def next_or_first(times: Arrays, steps: int | None, dialect: VpDialect) -> Arrays:
    """To the time that comes next, after the last to the first training step (TCD)."""
    return np.append(times[1:], 0)[: len(times)]


@functools.lru_cache(1024)
def solver_times(
    train_steps: int, original: int, strength: float, n: int, every: bool
) -> tuple[int, ...]:
    """Times of a run: evenly spaced among those of the solver, descending.

    Args:
        train_steps: Number of training steps T.
        original: Steps of the solver; more than there are training steps count as all of them.
        strength: Share of the way down from pure noise, in (0, 1].
        n: Number of steps.
        every: Whether every training step is one of the solver's.

    Raises:
        ValueError: More steps than those of the solver.
    """
    original = min(original, train_steps)
    if every:
        origin = np.arange(int(train_steps * strength))
    else:
        origin = np.arange(1, int(original * strength) + 1) * (train_steps // original) - 1
    most = min(len(origin), original)
    if n > most:
        raise ParameterError(
            f"num_inference_steps={n} must lie in 1..{most}, the steps of "
            "original_inference_steps that strength leaves.",
            "num_inference_steps",
        )
    places = np.linspace(0, len(origin), n, endpoint=False).astype(np.int64)
    return tuple(origin[::-1][places].tolist())
