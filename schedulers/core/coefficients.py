"""Rows of numbers: what a step does, and what every model call weighs in the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .level import Call


class Coefficients(NamedTuple):
    """The next sample as a linear combination of what has been seen, newest first.

    ``x_next = sum_j x[j] x_(i-j) + x0[j] x0_(i-j) + eps[j] eps_(i-j) + noise * z`` where
    ``x_(i-j)`` is the sample shown to the model at call ``i-j``, ``x0`` and ``eps`` the data and
    noise predictions made of it, and ``z`` fresh unit noise. What is absent weighs nothing.
    """

    x: tuple[float, ...] = ()
    x0: tuple[float, ...] = ()
    eps: tuple[float, ...] = ()
    noise: float = 0.0

    @property
    def reach(self) -> int:
        """How many model calls, the present one included, this row looks at."""
        rows = (self.x, self.x0, self.eps)
        return max(1, *(j + 1 for row in rows for j, w in enumerate(row) if w != 0.0), 1)

    @property
    def predictions(self) -> int:
        """How many predictions this row combines, of data or of noise; at least 1."""
        return max(1, *(len(row) - row.count(0.0) for row in (self.x0, self.eps)))


@dataclass(frozen=True, slots=True)
class Contributions:
    """The final sample as a sum over the initial sample, every data prediction, every draw.

    Attributes:
        initial: Weight of the initial sample.
        calls: Weight of each call's data prediction, in the order of the calls.
        noise: Weight of the noise drawn at each call.
    """

    initial: float
    calls: tuple[float, ...]
    noise: tuple[float, ...]


def contributions(rows: Sequence[Coefficients], stages: Sequence[Call]) -> Contributions:
    """Unroll a whole run into the weights of its inputs.

    Each noise prediction is replaced by ``eps = (x - alpha x0) / sigma`` of its own call, so that
    the final sample becomes ``initial * x_T + sum_i calls[i] * x0_i + noise[i] * z_i``.

    Args:
        rows: One row a call, in order (``scheduler.row(i)``).
        stages: The calls they belong to (``scheduler.stages``).

    Returns:
        The contributions; exact up to float64 rounding.
    """
    # Walk backwards: weight[k] is the weight of the sample shown at call k in the final sample.
    n = len(rows)
    on_sample = [0.0] * (n + 1)
    on_sample[n] = 1.0
    calls = [0.0] * n
    noise = [0.0] * n
    for i in reversed(range(n)):
        w, carried = rows[i], on_sample[i + 1]
        if carried == 0.0:
            continue
        for j, weight in enumerate(w.x[: i + 1]):
            on_sample[i - j] += carried * weight
        for j, weight in enumerate(w.x0[: i + 1]):
            here = stages[i - j].here
            if here.sigma > 0.0:
                calls[i - j] += carried * weight
            else:  # the data prediction of a clean sample is the sample, whatever the model says
                on_sample[i - j] += carried * weight / here.alpha
        for j, weight in enumerate(w.eps[: i + 1]):
            here = stages[i - j].here
            if weight != 0.0 and here.sigma > 0.0:  # in a clean sample there is no noise to find
                on_sample[i - j] += carried * weight / here.sigma
                calls[i - j] -= carried * weight * here.alpha / here.sigma
        noise[i] = carried * w.noise
    return Contributions(on_sample[0], tuple(calls), tuple(noise))
