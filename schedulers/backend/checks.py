"""Checks at the door: what users pass, turned into plain values or a clear error."""

from __future__ import annotations

import difflib
import functools
import math
import operator
import sys
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from .arrays import Backend, away_from_host, backend_of, host_values
from .errors import ParameterError, ParameterTypeError

#: The curves of which at most one can be chosen, in the order in which they are looked at.
CURVES = ("use_karras_sigmas", "use_lu_lambdas", "use_exponential_sigmas", "use_beta_sigmas")
#: Most choices that a message lists.
MOST_LISTED = 12
#: Longest run of a class that has no training steps to bound it.
MOST_STEPS = 100_000
#: Highest noise level: float32 still holds its square.
MOST_SIGMA = 1e12


def shown(value: Any) -> str:
    """A value as a message shows it: its repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "an integer of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def scalar(value: Any) -> Any:
    """A number out of a zero-dimensional array or tensor; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except RuntimeError:  # a tensor without values
            return value
    return value


def check_number(
    name: str, value: Any, low: float = -sys.float_info.max, high: float = sys.float_info.max
) -> float:
    """A finite number between two bounds, both allowed.

    Raises:
        TypeError: It is not a real number.
        ValueError: It is out of bounds or not finite.
    """
    plain = scalar(value)
    within = f" in [{low:g}, {high:g}]" if high < sys.float_info.max else ""
    if isinstance(plain, (bool, np.bool_)) or not isinstance(plain, Real):
        raise ParameterTypeError(f"{name}={shown(value)} must be a number{within}.", name)
    try:
        number = float(plain)
    except OverflowError:
        number = math.inf
    if not low <= number <= high:
        raise ParameterError(f"{name}={shown(value)} must be a finite number{within}.", name)
    return number


def closest(value: Any, names: Iterable[str]) -> str:
    """What to add to a message about an unknown name: the names that it may be a slip of."""
    if not isinstance(value, str):
        return ""
    close = difflib.get_close_matches(value[:80], list(names), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def check_choice(name: str, value: Any, choices: Iterable[Any], optional: bool = False) -> Any:
    """One of a few words or numbers.

    Args:
        name: Its name in the caller's signature.
        value: What was passed.
        choices: The words or numbers.
        optional: Whether None is said to be possible too.

    Returns:
        The choice.

    Raises:
        TypeError: It is of another kind than the choices.
        ValueError: It is none of them; the message lists them, or the closest of many.
    """
    allowed, plain = list(choices), scalar(value)
    for choice in allowed if isinstance(plain, (str, Real)) else ():
        if isinstance(choice, bool) == isinstance(plain, bool) and choice == plain:
            return choice  # True is not taken for 1
    words = bool(allowed) and isinstance(allowed[0], str)
    hint = closest(value, allowed) if words else ""
    if len(allowed) <= MOST_LISTED:
        listed = ", ".join(map(repr, allowed)) + (" or None" if optional else "")
    else:
        listed = f"{len(allowed)} names"
    kind = ParameterError if isinstance(value, str) == words else ParameterTypeError
    raise kind(f"{name}={shown(value)} must be one of {listed}.{hint}", name)


def check_real(name: str, value: Any, low: float, high: float, like: Any = None) -> Any:
    """A number, or an array of numbers, between two bounds; what a device holds is not read.

    Args:
        name: Its name in the caller's signature.
        value: Number, array or tensor.
        low: Lowest value.
        high: Highest value.
        like: An array that it must broadcast against.

    Returns:
        A float for a number, an array as it is.

    Raises:
        TypeError: It is neither.
        ValueError: It is out of bounds, not finite, or of a shape that does not fit.
    """
    if isinstance(value, (int, float, np.generic)) or not hasattr(value, "shape"):
        return check_number(name, value, low, high)
    if not backend_of(value, name).is_real(value.dtype):
        raise ParameterTypeError(f"{name} ({value.dtype}) must hold real numbers.", name)
    if not away_from_host(value) and not bool(((value >= low) & (value <= high)).all()):
        raise ParameterError(f"{name}={shown(value)} must lie in [{low:g}, {high:g}].", name)
    fits = like is None or all(
        own in (1, other) for own, other in zip(value.shape[::-1], like.shape[::-1], strict=False)
    )
    if not fits or (like is not None and len(value.shape) > len(like.shape)):
        raise ParameterError(
            f"{name} has shape {tuple(value.shape)}, which does not fit {tuple(like.shape)}.", name
        )
    return value


def check_floats(name: str, x: Any) -> Any:
    """The backend of an array of floating point numbers.

    Raises:
        TypeError: It is no array, or holds integers: a level between 0 and 1 is none of these.
    """
    backend = backend_of(x, name)
    if not backend.is_floating(x.dtype):
        raise ParameterTypeError(f"{name} ({x.dtype}) must hold floating point numbers.", name)
    return backend


def check_whole(name: str, value: Any, low: int, high: int, note: str = "") -> int:
    """An integer between two bounds.

    Raises:
        TypeError: It is not an integer (whole floats pass).
        ValueError: It is out of bounds.
    """
    if type(value) is int and low <= value <= high:
        return value
    allowed, number = f"{low}..{high}{note}", scalar(value)
    try:
        if isinstance(number, (bool, np.bool_)):
            raise TypeError
        whole = operator.index(
            int(number) if isinstance(number, float) and number % 1 == 0 else number
        )
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ParameterTypeError(
            f"{name}={shown(value)} must be an integer in {allowed}.", name
        ) from error
    if not low <= whole <= high:
        raise ParameterError(f"{name}={shown(value)} must lie in {allowed}.", name)
    return whole


def check_steps(num_inference_steps: Any, most: int | None) -> int:
    """The number of steps as an int.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below 1, or above the number of training steps.
    """
    note = "" if most is None else " (num_train_timesteps)"
    return check_whole("num_inference_steps", num_inference_steps, 1, most or MOST_STEPS, note)


def check_numbers(name: str, values: Any) -> np.ndarray:
    """A number or list of numbers as a float64 array of one axis.

    Raises:
        TypeError: They are not numbers, or a tensor holds none.
        ValueError: They form a table, are none at all, or are not finite.
    """
    try:
        array = np.atleast_1d(host_values(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterTypeError(
            f"{name}={shown(values)} must be a list of numbers.", name
        ) from error
    huge = array.dtype == object and all(type(entry) is int for entry in array.flat)
    if array.dtype.kind not in "iuf" and not huge:
        raise ParameterTypeError(f"{name}={shown(values)} must be a list of numbers.", name)
    if array.ndim != 1 or array.size == 0:
        raise ParameterError(f"{name} has shape {array.shape}; it must be a non-empty list.", name)
    if huge or not np.isfinite(array).all():
        raise ParameterError(f"{name}={shown(array.tolist())} must be finite.", name)
    return array.astype(np.float64)


def check_table(
    name: str, values: Any, low: float = -sys.float_info.max, high: float = sys.float_info.max
) -> np.ndarray:
    """Numbers of any shape as a float64 array, between two bounds, both allowed.

    Raises:
        TypeError: They are not numbers.
        ValueError: They are out of bounds, not finite, or none at all.
    """
    try:
        shape = np.shape(host_values(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterTypeError(f"{name}={shown(values)} must hold numbers.", name) from error
    table = check_numbers(name, np.ravel(host_values(values)))
    if not ((table >= low) & (table <= high)).all():
        raise ParameterError(
            f"{name}={shown(table.tolist())} must lie in [{low:g}, {high:g}].", name
        )
    return table.reshape(shape)


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
    times = check_numbers(name, timesteps)
    if whole and (times % 1 != 0).any():
        raise ParameterError(f"{name}={shown(times.tolist())} must be whole training steps.", name)
    if (np.diff(times) >= 0).any():
        raise ParameterError(f"{name}={shown(times.tolist())} must be in descending order.", name)
    if times[0] >= train_steps or times[-1] < 0:
        raise ParameterError(
            f"{name} run from {times[0]:g} to {times[-1]:g}; they must lie in "
            f"0..{train_steps - 1} (num_train_timesteps={train_steps}).",
            name,
            "num_train_timesteps",
        )
    return times


def check_sigmas(sigmas: Any) -> np.ndarray:
    """Custom sigmas, the final one included, as a descending float32 array.

    Raises:
        TypeError: They are not numbers.
        ValueError: Fewer than two, negative, not finite, or not strictly descending (in float32).
    """
    given = check_numbers("sigmas", sigmas)
    with np.errstate(over="ignore", under="ignore"):
        values = given.astype(np.float32)
    if values.size < 2:
        raise ParameterError(
            f"sigmas={shown(given.tolist())} must list at least two levels, the final one "
            "(usually 0) included.",
            "sigmas",
        )
    if not np.isfinite(values).all() or values[-1] < 0:
        raise ParameterError(f"sigmas={shown(given.tolist())} must lie in [0, 3e38].", "sigmas")
    if (np.diff(values) >= 0).any():
        raise ParameterError(
            f"sigmas={shown(given.tolist())} must be in descending order, also in float32.",
            "sigmas",
        )
    return values


def check_levels(name: str, values: Any, high: float) -> np.ndarray:
    """Levels of a run, or times that stand for them, as a descending float32 array.

    Raises:
        TypeError: They are not numbers.
        ValueError: Empty, not finite, outside (0, high], or not strictly descending in float32.
    """
    given = check_numbers(name, values)
    levels = given.astype(np.float32)
    if not (levels > 0.0).all() or not (given <= high).all():
        raise ParameterError(f"{name}={shown(given.tolist())} must lie in (0, {high:g}].", name)
    if (np.diff(levels) >= 0).any():
        raise ParameterError(f"{name}={shown(given.tolist())} must be in descending order.", name)
    return levels


def check_ramp(name: str, values: Any) -> np.ndarray:
    """Places on a schedule, ascending in [0, 1].

    Raises:
        TypeError: They are not numbers.
        ValueError: Empty, not finite, outside [0, 1], or not strictly ascending.
    """
    ramp = check_numbers(name, values)
    if (ramp < 0.0).any() or (ramp > 1.0).any() or (np.diff(ramp) <= 0).any():
        raise ParameterError(
            f"{name}={shown(ramp.tolist())} must ascend in [0, 1]: as upstream it is a ramp from "
            "sigma_max (0) to sigma_min (1); compat='paper' takes noise levels.",
            name,
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
        raise ParameterError(
            f"pass exactly one of {names}; got {', '.join(used) or 'none of them'}.",
            *(used or given),
        )


def check_curves(config: Mapping[str, Any], timesteps: Any = None) -> None:
    """At most one sigma curve, and none beside custom timesteps.

    Raises:
        ValueError: More than one, or one together with ``timesteps``.
    """
    used = [name for name in CURVES if config.get(name)]
    if len(used) > 1:
        raise ParameterError(f"only one of {', '.join(used)} can be True.", *used)
    if timesteps is not None and used:
        raise ParameterError(
            f"timesteps cannot be given together with {used[0]}=True.", "timesteps", used[0]
        )


def check_batch_times(timesteps: Any, batch: int, name: str = "timesteps") -> np.ndarray:
    """Times of ``add_noise`` and ``get_velocity``: one for all, or one for each sample.

    Raises:
        TypeError: They are not numbers.
        ValueError: Not finite, not one-dimensional, or of another length.
    """
    times = check_numbers(name, timesteps)
    if len(times) not in (1, batch):
        raise ParameterError(
            f"{name} holds {len(times)} times for {batch} samples; give one, or one for each.",
            name,
        )
    return times


def are_elsewhere(timesteps: Any, batch: int) -> bool:
    """Whether times are training steps on a device, to be looked up there without being read.

    Raises:
        ValueError: They are, and their number does not fit the batch.
    """
    if not away_from_host(timesteps) or "int" not in str(timesteps.dtype):
        return False
    if timesteps.ndim > 1 or timesteps.numel() not in (1, batch):
        raise ParameterError(
            f"timesteps has shape {tuple(timesteps.shape)} for {batch} samples; give one time, or "
            "one for each.",
            "timesteps",
        )
    return True


def check_training_steps(times: np.ndarray, table: int) -> np.ndarray:
    """Times as indices of the training table.

    Raises:
        ValueError: Fractions, or outside the table.
    """
    if (times % 1 != 0).any() or times.min() < 0 or times.max() >= table:
        raise ParameterError(
            f"timesteps={shown(times.tolist())} must be training steps in 0..{table - 1}.",
            "timesteps",
        )
    return times.astype(np.int64)


@functools.cache
def is_whole(dtype: Any) -> bool:
    """Whether a dtype of either library is one of integers."""
    return "int" in str(dtype)


def check_pair(
    model_output: Any,
    sample: Any,
    backend: Backend,
    names: tuple[str, str] = ("model_output", "sample"),
) -> Any:
    """Refuse arrays that do not belong together; the wider of their dtypes.

    Raises:
        TypeError: Arrays of two libraries, or of no floating point numbers.
        ValueError: Shapes that differ.
    """
    dtype = sample.dtype
    if (
        type(model_output) is type(sample)
        and model_output.dtype is dtype
        and model_output.shape == sample.shape
        and backend.is_floating(dtype)
    ):
        return dtype
    output_name, sample_name = names
    if type(model_output) is not type(sample) and (
        backend_of(model_output, output_name) is not backend
    ):
        raise ParameterTypeError(
            f"{output_name} is a {type(model_output).__name__} and {sample_name} a "
            f"{type(sample).__name__}; pass two arrays of the same library.",
            output_name,
            sample_name,
        )
    if model_output.shape != sample.shape:
        raise ParameterError(
            f"{output_name} has shape {tuple(model_output.shape)}, but {sample_name} has "
            f"shape {tuple(sample.shape)}; they must be equal.",
            output_name,
            sample_name,
        )
    if not (backend.is_floating(dtype) and backend.is_floating(model_output.dtype)):
        raise ParameterTypeError(
            f"{sample_name} ({dtype}) and {output_name} ({model_output.dtype}) must hold "
            "floating point numbers.",
            sample_name,
            output_name,
        )
    return backend.promote(sample, model_output)


def check_noise(noise: Any, sample: Any, backend: Backend) -> None:
    """Refuse noise that does not fit the sample.

    Raises:
        ValueError: It is another kind of array, or of another shape.
    """
    if (
        backend_of(noise, "variance_noise") is not backend
        or noise.shape != sample.shape
        or not backend.is_floating(noise.dtype)
    ):
        raise ParameterError(
            f"variance_noise ({noise.dtype}) has shape {tuple(noise.shape)}; it must be an "
            f"array like sample, of shape {tuple(sample.shape)}.",
            "variance_noise",
        )


def check_noising(samples: Any, name: str, noise: Any) -> Backend:
    """The backend of clean samples and noise that belong together.

    Raises:
        TypeError: Arrays of two libraries, or of no floating point numbers.
        ValueError: Shapes or devices that differ.
    """
    backend = backend_of(samples, name)
    if backend_of(noise, "noise") is not backend:
        raise ParameterTypeError(
            f"noise is a {type(noise).__name__} and {name} a {type(samples).__name__}; pass "
            "two arrays of the same library.",
            "noise",
            name,
        )
    if noise.shape != samples.shape:
        raise ParameterError(
            f"noise has shape {tuple(noise.shape)}, but {name} has shape "
            f"{tuple(samples.shape)}; they must be equal.",
            "noise",
            name,
        )
    check_floats(name, samples)
    check_floats("noise", noise)
    if getattr(noise, "device", None) != getattr(samples, "device", None):
        raise ParameterError(
            f"noise is on {noise.device}, but {name} is on {samples.device}.", "noise", name
        )
    return backend
