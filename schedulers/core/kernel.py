"""What a step multiplies: an update folded into sums over the arrays at hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .level import Call, Level
from .rule import Update

#: Where a term finds its array: in this call, then in what is remembered.
SAMPLE, OUTPUT, DATA, NOISE, OLDER = range(5)
#: The arrays of an evaluation, by their places in it.
X, X0, EPS, LANDED = range(4)
Term = tuple[float, int]
Terms = tuple[Term, ...]


class Folded(NamedTuple):
    """An update as sums of weighted arrays; terms of weight 0 are left out.

    Attributes:
        x0: The data prediction before it is clipped, out of sample, output and noise.
        prev: The next sample, out of everything at hand.
        eps: The noise prediction that is kept, out of sample, output and data prediction.
        older: What is wanted of the memory: which evaluation, and which of its arrays.
        draws: Whether fresh noise is needed.
        finish: The data prediction that counts, out of the clipped one and the sample.
        aside: What a class returns besides, out of sample and output.
    """

    x0: Terms
    prev: Terms
    eps: Terms
    older: tuple[tuple[int, int], ...]
    draws: bool
    finish: Terms | None
    aside: Terms | None


class Kernel(NamedTuple):
    """A folded update as a backend wants it.

    Attributes:
        call: The call.
        x0: As in ``Folded``, like those below; None for what is not wanted.
        prev: The next sample.
        eps: The noise prediction that is kept.
        older: What is wanted of the memory.
        draws: Whether fresh noise is needed.
        finish: The data prediction that counts.
        aside: What a class returns besides.
        remembers: How many evaluations later calls look at.
    """

    call: Call
    x0: Any
    prev: Any
    eps: Any
    older: tuple[tuple[int, int], ...]
    draws: bool
    finish: Any
    aside: Any
    remembers: int


def terms_of(weights: Iterable[float]) -> Terms:
    """Weights with their positions, one of weight 1 in front: its multiplication is saved."""
    terms = [(weight, source) for source, weight in enumerate(weights) if weight != 0.0]
    for place, (weight, _) in enumerate(terms):
        if weight == 1.0:
            terms.insert(0, terms.pop(place))
            break
    return tuple(terms)


def fold(update: Update, here: Level, seen: int, bounded: bool) -> Folded:
    """Fold what an update does with x, x0 and eps into weights on the arrays at hand.

    Args:
        update: The update.
        here: Level of the call.
        seen: How many earlier evaluations are at hand.
        bounded: Whether the data prediction is clipped or thresholded on its way.
    """
    (x0_x, x0_out, eps_x, eps_out), row = update.reading, update.row
    x, x0, eps, noise = row
    wx = x[0] if x else 0.0
    w0 = x0[0] if x0 else 0.0
    we = eps[0] if eps else 0.0
    eps_x0 = 0.0
    if bounded and update.rederives:
        eps_x, eps_out, eps_x0 = 1.0 / here.sigma, 0.0, -here.alpha / here.sigma
    older: list[tuple[int, int]] = []
    weights: list[float] = []
    if update.restarts:
        if wx != 0.0:
            older.append((0, LANDED))
            weights.append(wx)
        wx = 0.0
    if bounded or wx == we == update.x0_noise == 0.0:
        now = (wx + we * eps_x, we * eps_out, w0 + we * eps_x0, noise)
    else:
        now = (wx + w0 * x0_x + we * eps_x, w0 * x0_out + we * eps_out, 0.0, noise)
    for lag in range(1, seen + 1):
        for place, part in ((X, x), (X0, x0), (EPS, eps)):
            if lag < len(part) and part[lag] != 0.0:
                older.append((lag - 1, place))
                weights.append(part[lag])
    finish, aside = update.finish, update.aside
    return Folded(
        x0=terms_of((x0_x, x0_out, 0.0, update.x0_noise)),
        prev=terms_of((*now, *weights)),
        eps=terms_of((eps_x, eps_out, eps_x0)),
        older=tuple(older),
        draws=noise != 0.0 or update.x0_noise != 0.0 or update.draws,
        finish=None if finish is None else terms_of((finish[1], 0.0, finish[0])),
        aside=None if aside is None else terms_of(aside),
    )
