"""Brownian motion over sigma: the noise of a step as the increment of one path.

Unit noise between levels a and b is ``(W(b) - W(a)) / sqrt(|b - a|)`` for a Brownian path W. Over
disjoint intervals it is independent; over an interval and a part of it, it shares what it should.
Both kinds of path work on NumPy and torch alike: they are handed ``combine``, which makes a
weighted sum of arrays, and ``unit``, which draws unit noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..backend.arrays import Array, Pairs

Combine = Callable[[Pairs], Array]


class BrownianPath:
    """A path that is drawn where it is looked at, and bridged between what is known.

    A piece between a and b with unit noise z splits at m by a rotation, xi a fresh draw:

        z_left  = c z + s xi,   c = sqrt((m - a) / (b - a)),
        z_right = s z - c xi,   s = sqrt((b - m) / (b - a)),

    which is the Brownian bridge ``W(m) | W(a), W(b)``.

    References:
        Karatzas, Shreve 1991. Brownian Motion and Stochastic Calculus. Section 5.6.B.
    """

    def __init__(self) -> None:
        """A path of which nothing is known."""
        #: (low, high, unit noise between), ascending and without gaps.
        self._pieces: list[tuple[float, float, Array]] = []

    def between(
        self, here: float, there: float, unit: Callable[[], Array], combine: Combine
    ) -> Array:
        """Unit noise between two different levels.

        Args:
            here: Where the step starts.
            there: Where it leads.
            unit: Draws unit noise.
            combine: ``sum(w * array)``.
        """
        low, high = sorted((here, there))
        for level in (high, low):
            self._reach(level, low, unit, combine)
        parts = [(b - a, z) for a, b, z in self._pieces if low <= a and b <= high]
        if len(parts) == 1 and here > there:
            return parts[0][1]
        # Counted downwards: a path that is followed down gives its draws as they are.
        sign = 1.0 if here > there else -1.0
        return combine([(sign * math.sqrt(h / (high - low)), z) for h, z in parts])

    def _reach(
        self, level: float, low: float, unit: Callable[[], Array], combine: Combine
    ) -> None:
        """Make a level an end of a piece."""
        pieces = self._pieces
        if not pieces:
            pieces.append((low, level, unit()))
        elif level < pieces[0][0]:
            pieces.insert(0, (level, pieces[0][0], unit()))
        elif level > pieces[-1][1]:
            pieces.append((pieces[-1][1], level, unit()))
        for place, (a, b, z) in enumerate(pieces):
            if a < level < b:
                c, s = math.sqrt((level - a) / (b - a)), math.sqrt((b - level) / (b - a))
                xi = unit()
                left, right = combine([(c, z), (s, xi)]), combine([(s, z), (-c, xi)])
                pieces[place : place + 1] = [(a, level, left), (level, b, right)]
                return


class BrownianTree:
    """A path that a seed determines as a whole: halved where it is looked at, draw by seeded draw.

    The halving, the seeds and the grid of times are those of torchsde's ``BrownianInterval`` as
    diffusers and k-diffusion use it, so that on torch the draws are theirs.

    References:
        Li et al. 2020. Scalable Gradients for Stochastic Differential Equations. arXiv 2001.01328,
        section 4 (the virtual Brownian tree).
    """

    #: Decimals to which times are rounded, the size of the pool of seeds: upstream's.
    _digits, _pool = 6, 24
    #: Points that the two calls of a step look at.
    _remembered = 3

    def __init__(self, low: float, high: float, seed: int) -> None:
        """Nothing is drawn yet.

        Args:
            low: Lowest level.
            high: Highest level.
            seed: What determines the path.
        """
        self._ends, self._seed = (low, high), seed
        self._known: dict[float, Array] = {}

    def between(
        self, here: float, there: float, unit: Callable[[int], Array], combine: Combine
    ) -> Array:
        """Unit noise between two levels.

        Args:
            here: Where the step starts.
            there: Where it leads.
            unit: Draws unit noise of a seed.
            combine: ``sum(w * array)``.
        """
        if here == there:
            return combine([])
        weight = 1.0 / math.sqrt(abs(there - here))
        start, end = self._value(here, unit, combine), self._value(there, unit, combine)
        return combine([(weight, end), (-weight, start)])

    def _value(self, level: float, unit: Callable[[int], Array], combine: Combine) -> Array:
        """The path at a level, counted from the lowest one."""
        low, high = (round(end, self._digits) for end in self._ends)
        level = min(max(round(level, self._digits), low), high)
        if level not in self._known:
            self._known[level] = self._descend(level, low, high, unit, combine)
            if len(self._known) > self._remembered:
                del self._known[next(iter(self._known))]
        return self._known[level]

    def _descend(
        self,
        level: float,
        low: float,
        high: float,
        unit: Callable[[int], Array],
        combine: Combine,
    ) -> Array:
        seeds = np.random.SeedSequence(self._seed, pool_size=self._pool).generate_state(3)
        span = math.sqrt(self._ends[1] - self._ends[0])
        whole, below = combine([(span, unit(int(seeds[0])))]), combine([])
        key = depth = 0
        while low < level < high:
            middle = round(0.5 * (high + low), self._digits)
            seeds = np.random.SeedSequence(
                self._seed, spawn_key=(key, depth), pool_size=self._pool
            ).generate_state(4)
            share = (middle - low) / (high - low)
            spread = math.sqrt((middle - low) * (high - middle) / (high - low))
            left = combine([(share, whole), (spread, unit(int(seeds[0])))])
            key, depth = 2 * key, depth + 1
            if level < middle:
                high, whole = middle, left
            else:
                below, whole = (
                    combine([(1.0, below), (1.0, left)]),
                    combine([(1.0, whole), (-1.0, left)]),
                )
                low, key = middle, key + 1
        return combine([(1.0, below), (1.0, whole)]) if level == high else below
