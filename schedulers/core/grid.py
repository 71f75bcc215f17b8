"""Where a run calls its model: a value that is never changed, shared by all equal requests."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .level import Call, Level

Float64 = NDArray[np.float64]
#: Rules whose kernels are kept of one grid.
MOST_RULES = 256
#: Rows made into values of a kind, in C.
_LEVEL: Any = functools.partial(tuple.__new__, Level)
_CALL: Any = functools.partial(tuple.__new__, Call)


class Request(NamedTuple):
    """What a caller of ``set_timesteps`` asks for; one of the three, sometimes two.

    Attributes:
        n: Number of steps.
        timesteps: Custom times.
        sigmas: Custom levels.
    """

    n: int | None = None
    timesteps: tuple[float, ...] | None = None
    sigmas: tuple[float, ...] | None = None


class Kernels(dict[Any, Any]):
    """Kernels of one rule on one grid: shared by whoever stands on it, and made again after a load.

    Attributes:
        updates: What the calls do, of which the kernels are made.
        factors: By what the model's input is multiplied.
    """

    def __init__(self) -> None:
        """None yet."""
        super().__init__()
        self.updates: dict[Any, Any] = {}
        self.factors: dict[Any, Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: what it holds is never changed."""
        return self

    def __reduce__(self) -> tuple[type[Kernels], tuple[()]]:
        """Stays behind when a scheduler is pickled."""
        return Kernels, ()


@dataclass(frozen=True, eq=False)
class Grid:
    """The calls of a run, as arrays of floats; nothing in it is ever changed.

    Attributes:
        times: What ``timesteps`` shows.
        sigmas: What ``sigmas`` shows: sigma / alpha of each level, the final one included.
        steps: Number of inference steps; None for the grid that a fresh object shows.
        alpha: Signal weight at which each call is made, shape (calls,).
        sigma: Noise weight there.
        to_alpha: Signal weight of the sample after each call.
        to_sigma: Noise weight of it.
        to_times: Time of that level; by default the next call's, 0 after the last.
        asked: Entry of ``times`` that belongs to each call; by default call i has the i-th.
        parts: Number of calls of each step but perhaps the last; or (step, part) of each call.
        shown: Further public arrays, by name.
        kernels: What was folded of this grid, by rule.
    """

    times: NDArray[Any]
    sigmas: NDArray[Any]
    steps: int | None
    alpha: Float64
    sigma: Float64
    to_alpha: Float64
    to_sigma: Float64
    to_times: NDArray[Any] | None = None
    asked: NDArray[Any] | None = None
    parts: int | tuple[tuple[int, int], ...] = 1
    shown: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    kernels: dict[Hashable, Kernels] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Let nobody write into what all share."""
        for array in (self.times, self.sigmas, *self.shown.values()):
            array.setflags(write=False)

    def __len__(self) -> int:
        """Number of model calls."""
        return len(self.alpha)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: copies of a scheduler share it like any other of equal settings."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What is saved: the arrays, not what follows from them."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return kept | {"kernels": {}}

    @functools.cached_property
    def calls(self) -> tuple[Call, ...]:
        """The model calls, made when the first is looked at."""
        n = len(self.alpha)
        t = (self.times if self.asked is None else self.asked)[:n].tolist()
        t += [float("nan")] * (n - len(t))
        to_t = [*t[1:], 0.0] if self.to_times is None else self.to_times.tolist()
        here = map(_LEVEL, zip(t, self.alpha.tolist(), self.sigma.tolist(), strict=True))
        target = map(
            _LEVEL, zip(to_t, self.to_alpha.tolist(), self.to_sigma.tolist(), strict=True)
        )
        steps: Any = range(n)
        parts: Any = repeat(0)
        if isinstance(self.parts, tuple):
            steps, parts = zip(*self.parts, strict=True)
        elif self.parts > 1:
            steps, parts = ([k(i, self.parts) for i in range(n)] for k in (_over, _rest))
        return tuple(map(_CALL, zip(t, here, target, steps, parts, strict=False)))

    @functools.cached_property
    def positions(self) -> dict[float, int]:
        """Position of each time: the second one where it occurs twice.

        The second, because image-to-image may start inside a pair and must not skip a level; but
        a run from the start starts at the start.
        """
        times = self.times.tolist()
        first: dict[float, int] = {}
        second: dict[float, int] = {}
        for i, t in enumerate(times):
            if t not in first:
                first[t] = i
            else:
                second.setdefault(t, i)
        return {**first, **second, **({times[0]: 0} if times else {})}

    @functools.cached_property
    def lams(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Half log-SNR at which each call is made, and of the sample after it."""
        n = len(self.alpha)
        with np.errstate(divide="ignore", invalid="ignore"):
            lams = np.log(
                np.append(self.alpha, self.to_alpha) / np.append(self.sigma, self.to_sigma)
            )
        here = tuple(lams.tolist())
        return here[:n], here[n:]

    def levels_at(self, indices: Sequence[int]) -> tuple[Float64, Float64]:
        """Alpha and sigma of the calls at these positions; one past the last is where it leads."""
        alpha, sigma = (
            np.append(part, end[-1:])
            for part, end in ((self.alpha, self.to_alpha), (self.sigma, self.to_sigma))
        )
        return alpha[indices], sigma[indices]

    def kernels_of(self, rule: Hashable) -> Kernels:
        """Where the kernels of a rule are kept; rules may be many, where they hold a function."""
        if len(self.kernels) >= MOST_RULES:
            self.kernels.clear()
        return self.kernels.setdefault(rule, Kernels())


def _over(i: int, parts: int) -> int:
    return i // parts


def _rest(i: int, parts: int) -> int:
    return i % parts
