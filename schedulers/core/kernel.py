"""What a step multiplies: an update folded into sums over the arrays at hand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .level import Call
from .rule import Update

#: Where a term finds its array: in this call, then in what is remembered.
SAMPLE, OUTPUT, DATA, NOISE, OLDER = range(5)
#: The arrays of an evaluation, by their places in it.
X, X0, EPS, LANDED = range(4)
Term = tuple[float, int]
Terms = tuple[Term, ...]


class Kernel(NamedTuple):
    """An update as sums of weighted arrays, prepared by a backend; None for what is not wanted.

    Attributes:
        call: The call.
        x0: The data prediction before it is clipped, out of sample, output and noise.
        prev: The next sample, out of everything at hand.
        eps: The noise prediction that is kept, out of sample, output and data prediction.
        older: What is wanted of the memory: which evaluation, and which of its arrays.
        draws: Whether fresh noise is needed.
        finish: The data prediction that counts, out of the clipped one and the sample.
        aside: What a class returns besides, out of sample and output.
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


_KERNEL: Callable[[Any], Kernel] = functools.partial(tuple.__new__, Kernel)


def terms_of(weights: Iterable[float]) -> Terms:
    """Weights with their positions but those of weight 0, one of weight 1 in front.

    Its multiplication is saved.
    """
    terms = [(weight, source) for source, weight in enumerate(weights) if weight]
    if terms and terms[0][0] != 1.0:
        for place, (weight, _) in enumerate(terms):
            if weight == 1.0:
                terms.insert(0, terms.pop(place))
                break
    return tuple(terms)


def fold(
    update: Update,
    call: Call,
    seen: int,
    bounded: bool,
    keeps_eps: bool,
    remembers: int,
    prepare: Callable[[Sequence[float]], Any],
) -> Kernel:
    """Fold what an update does with x, x0 and eps into weights on the arrays at hand.

    Args:
        update: The update.
        call: Its call.
        seen: How many earlier evaluations are at hand.
        bounded: Whether the data prediction is clipped or thresholded on its way.
        keeps_eps: Whether later calls look at the noise prediction.
        remembers: How many evaluations they look at.
        prepare: Makes a sum of weights, one for each array at hand (see ``Backend.prepare_row``).
    """
    (x0_x, x0_out, eps_x, eps_out), row, x0_noise, restarts, draws, rederives, finish, aside = (
        update
    )
    x, x0, eps, noise = row
    wx = x[0] if x else 0.0
    w0 = x0[0] if x0 else 0.0
    we = eps[0] if eps else 0.0
    eps_x0 = 0.0
    if bounded and rederives:
        _, alpha, sigma = call.here
        eps_x, eps_out, eps_x0 = 1.0 / sigma, 0.0, -alpha / sigma
    older: list[tuple[int, int]] = []
    weights: list[float] = []
    if restarts:
        if wx != 0.0:
            older.append((0, LANDED))
            weights.append(wx)
        wx = 0.0
    if bounded or wx == we == x0_noise == 0.0:
        now = [wx + we * eps_x, we * eps_out, w0 + we * eps_x0, noise]
    else:
        now = [wx + w0 * x0_x + we * eps_x, w0 * x0_out + we * eps_out, 0.0, noise]
    for lag in range(1, seen + 1):
        for place, part in ((X, x), (X0, x0), (EPS, eps)):
            if lag < len(part) and part[lag] != 0.0:
                older.append((lag - 1, place))
                weights.append(part[lag])
    return _KERNEL(
        (
            call,
            prepare((x0_x, x0_out, 0.0, x0_noise)),
            prepare(now + weights),
            prepare((eps_x, eps_out, eps_x0)) if keeps_eps else None,
            tuple(older),
            noise != 0.0 or x0_noise != 0.0 or draws,
            None if finish is None else prepare((finish[1], 0.0, finish[0])),
            None if aside is None else prepare(aside),
            remembers,
        )
    )
