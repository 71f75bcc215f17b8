"""Checks at the door: what users pass, turned into plain values or a clear error."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import host_values

#: The curves of which at most one can be chosen, in the order in which they are looked at.
CURVES = ("use_karras_sigmas", "use_lu_lambdas", "use_exponential_sigmas", "use_beta_sigmas")
#: Longest run of a class that has no training steps to bound it.
MOST_STEPS = 100_000


def shown(value: Any) -> str:
    """A value as a message shows it: its repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "an integer of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_whole(name: str, value: Any, low: int, high: int, note: str = "") -> int:
    """An integer between two bounds.

    Raises:
        TypeError: It is not an integer (whole floats pass).
        ValueError: It is out of bounds.
    """
    if type(value) is int and low <= value <= high:
        return value
    allowed = f"{low}..{high}{note}"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        whole = operator.index(
            int(value) if isinstance(value, float) and value % 1 == 0 else value
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}={shown(value)} must be an integer in {allowed}.") from error
    if not low <= whole <= high:
        raise ValueError(f"{name}={shown(value)} must lie in {allowed}.")
    return whole


def check_steps(num_inference_steps: Any, most: int | None) -> int:
    """The number of steps as an int.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below 1, or above the number of training steps.
    """
    note = "" if most is None else " (num_train_timesteps)"
    return check_whole("num_inference_steps", num_inference_steps, 1, most or MOST_STEPS, note)


def _numbers(values: Any, name: str) -> np.ndarray:
    """A list of numbers as a float64 array of one axis."""
    try:
        array = np.atleast_1d(host_values(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}={shown(values)} must be a list of numbers.") from error
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}={shown(values)} must be a list of numbers.")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; it must be a non-empty list.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}={shown(array.tolist())} must be finite.")
    return array.astype(np.float64)


def check_times(
    timesteps: Any, train_steps: int, whole: bool, name: str = "timesteps"
) -> np.ndarray:
    """Custom timesteps as a descending float64 array.

    Args:
        timesteps: List, array or tensor of numbers.
        train_steps: Number of training steps T.
        whole: Whether they must be training steps, not fractions of them.
        name: What the caller calls them.

    Raises:
        TypeError: They are not numbers.
        ValueError: Empty, not finite, not strictly descending, outside [0, T), or fractions.
    """
    times = _numbers(timesteps, name)
    if whole and (times % 1 != 0).any():
        raise ValueError(f"{name}={shown(times.tolist())} must be whole training steps.")
    if (np.diff(times) >= 0).any():
        raise ValueError(f"{name}={shown(times.tolist())} must be in descending order.")
    if times[0] >= train_steps or times[-1] < 0:
        raise ValueError(
            f"{name} run from {times[0]:g} to {times[-1]:g}; they must lie in "
            f"0..{train_steps - 1} (num_train_timesteps={train_steps})."
        )
    return times


def check_sigmas(sigmas: Any) -> np.ndarray:
    """Custom sigmas, the final one included, as a descending float32 array.

    Raises:
        TypeError: They are not numbers.
        ValueError: Fewer than two, negative, not finite, or not strictly descending (in float32).
    """
    given = _numbers(sigmas, "sigmas")
    with np.errstate(over="ignore", under="ignore"):
        values = given.astype(np.float32)
    if values.size < 2:
        raise ValueError(
            f"sigmas={shown(given.tolist())} must list at least two levels, the final one "
            "(usually 0) included."
        )
    if not np.isfinite(values).all() or values[-1] < 0:
        raise ValueError(f"sigmas={shown(given.tolist())} must lie in [0, 3e38].")
    if (np.diff(values) >= 0).any():
        raise ValueError(
            f"sigmas={shown(given.tolist())} must be in descending order, also in float32."
        )
    return values


def check_levels(name: str, values: Any, high: float) -> np.ndarray:
    """Levels of a run, or times that stand for them, as a descending float32 array.

    Raises:
        TypeError: They are not numbers.
        ValueError: Empty, not finite, outside (0, high], or not strictly descending in float32.
    """
    given = _numbers(values, name)
    levels = given.astype(np.float32)
    if not (levels > 0.0).all() or not (given <= high).all():
        raise ValueError(f"{name}={shown(given.tolist())} must lie in (0, {high:g}].")
    if (np.diff(levels) >= 0).any():
        raise ValueError(f"{name}={shown(given.tolist())} must be in descending order.")
    return levels


def check_ramp(name: str, values: Any) -> np.ndarray:
    """Places on a schedule, ascending in [0, 1].

    Raises:
        TypeError: They are not numbers.
        ValueError: Empty, not finite, outside [0, 1], or not strictly ascending.
    """
    ramp = _numbers(values, name)
    if (ramp < 0.0).any() or (ramp > 1.0).any() or (np.diff(ramp) <= 0).any():
        raise ValueError(
            f"{name}={shown(ramp.tolist())} must ascend in [0, 1]: as upstream it is a ramp from "
            "sigma_max (0) to sigma_min (1); compat='paper' takes noise levels."
        )
    return ramp


def check_one_way(given: Mapping[str, Any]) -> None:
    """Exactly one of the ways to say where the steps go must be used.

    Raises:
        ValueError: None or several were given.
    """
    used = [name for name, value in given.items() if value is not None]
    if len(used) != 1:
        names = ", ".join(given)
        raise ValueError(f"pass exactly one of {names}; got {', '.join(used) or 'none of them'}.")


def check_curves(config: Mapping[str, Any], timesteps: Any = None) -> None:
    """At most one sigma curve, and none beside custom timesteps.

    Raises:
        ValueError: More than one, or one together with ``timesteps``.
    """
    used = [name for name in CURVES if config.get(name)]
    if len(used) > 1:
        raise ValueError(f"only one of {', '.join(used)} can be True.")
    if timesteps is not None and used:
        raise ValueError(f"timesteps cannot be given together with {used[0]}=True.")


def check_batch_times(timesteps: Any, batch: int) -> np.ndarray:
    """Times of ``add_noise`` and ``get_velocity``: one for all, or one for each sample.

    Raises:
        TypeError: They are not numbers.
        ValueError: Not finite, not one-dimensional, or of another length.
    """
    times = _numbers(timesteps, "timesteps")
    if len(times) not in (1, batch):
        raise ValueError(f"timesteps holds {len(times)} times for {batch} samples; give one, or "
                         "one for each.")  # fmt: skip
    return times


def check_training_steps(times: np.ndarray, table: int) -> np.ndarray:
    """Times as indices of the training table.

    Raises:
        ValueError: Fractions, or outside the table.
    """
    if (times % 1 != 0).any() or times.min() < 0 or times.max() >= table:
        raise ValueError(
            f"timesteps={shown(times.tolist())} must be training steps in 0..{table - 1}."
        )
    return times.astype(np.int64)
