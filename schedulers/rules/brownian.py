"""Brownian motion over sigma: the noise of a step as the increment of one path.

Unit noise between levels a and b is ``(W(b) - W(a)) / sqrt(|b - a|)`` for a Brownian path W. Over
disjoint intervals it is independent; over an interval and a part of it, it shares what it should.
Both kinds of path work on NumPy and torch alike: they are handed ``combine``, which makes a
weighted sum of arrays, and ``unit``, which draws unit noise.
"""

from __future__ import annotations

import functools
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


#: Decimals to which the levels of a tree are rounded, the size of the pool of seeds: upstream's.
DIGITS, POOL = 6, 24
#: A node of a tree: its number among those of its depth, and its depth; None for the root.
Node = tuple[int, int] | None


@functools.lru_cache(4096)
def tree_path(low: float, high: float, level: float) -> tuple[tuple[Node, float], ...]:
    """What W(level) is made of: weights of the unit draws at the nodes on the way to a level.

    The piece between two ends, ``whole``, is halved at their middle by a draw z until the level is
    an end; ``left = s whole + sqrt(s (1 - s) h) z`` for the share s of its length h. W is the sum
    of all pieces left of the level.
    """
    span = math.sqrt(high - low)
    low, high, level = (round(end, DIGITS) for end in (low, high, level))
    level = min(max(level, low), high)
    halvings: list[tuple[Node, bool, float, float]] = []
    key = depth = 0
    while low < level < high:
        middle = round(0.5 * (high + low), DIGITS)
        share = (middle - low) / (high - low)
        spread = math.sqrt((middle - low) * (high - middle) / (high - low))
        right = level >= middle
        halvings.append(((key, depth), right, share, spread))
        key, depth = 2 * key + right, depth + 1
        low, high = (middle, high) if right else (low, middle)
    # Backwards: how much of W a unit of the piece at hand amounts to.
    on_whole = 1.0 if level == high else 0.0
    path: list[tuple[Node, float]] = []
    for node, right, share, spread in reversed(halvings):
        path.append((node, spread * (1.0 - on_whole if right else on_whole)))
        on_whole = share + (1.0 - share) * on_whole if right else share * on_whole
    path.append((None, span * on_whole))
    return tuple((node, weight) for node, weight in reversed(path) if weight != 0.0)


@functools.lru_cache(16384)
def node_seed(seed: int, node: Node) -> int:
    """The seed of the draw at a node."""
    spawned, words = ((), 3) if node is None else (node, 4)
    sequence = np.random.SeedSequence(seed, spawn_key=spawned, pool_size=POOL)
    return int(sequence.generate_state(words)[0])


def snapped(levels: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Levels, each as an array library rounds it where it is one of these (descending).

    A path is rough: a level that is off by an ulp of float32 moves it by a thousandth.
    """
    rising = exact[::-1]
    after = np.searchsorted(rising, levels).clip(1, max(1, len(rising) - 1))
    below, above = rising[after - 1], rising[after.clip(0, len(rising) - 1)]
    nearest = np.where(levels - below < above - levels, below, above)
    return np.where(np.isclose(nearest, levels, rtol=2e-6, atol=0.0), nearest, levels)


class BrownianTree:
    """A path that a seed determines as a whole: halved where it is looked at, draw by seeded draw.

    The halving, the seeds and the grid of times are those of torchsde's ``BrownianInterval`` as
    diffusers and k-diffusion use it, so that on torch the draws are theirs. There is a draw for
    each halving, some 24 on the way to a level; those that lead to the next one too are kept.

    References:
        Li et al. 2020. Scalable Gradients for Stochastic Differential Equations. arXiv 2001.01328,
        section 4 (the virtual Brownian tree).
    """

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
        #: The path at the last levels, and the draws that led to the last of them.
        self._known: dict[float, Array] = {}
        self._draws: dict[Node, Array] = {}

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
        if level not in self._known:
            path = tree_path(*self._ends, level)
            had = self._draws
            self._draws = {
                node: had[node] if node in had else unit(node_seed(self._seed, node))
                for node, _ in path
            }
            self._known[level] = combine([(weight, self._draws[node]) for node, weight in path])
            if len(self._known) > self._remembered:
                del self._known[next(iter(self._known))]
        return self._known[level]
