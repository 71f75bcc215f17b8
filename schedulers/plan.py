"""What a step multiplies: a handful of weights, prepared on the host, and what they weigh."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .backend.arrays import Array
from .core.level import Call

#: Plans kept of one grid; only step arguments that change all the time reach it.
MOST_PLANS = 4096
#: Where a term of a plan finds its array: in this call, then in what is remembered.
SAMPLE, OUTPUT, DATA, NOISE, OLDER = range(5)
Term = tuple[float, int]
#: The terms of a copy.
ITSELF: tuple[Term, ...] = ((1.0, 0),)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a step multiplies, prepared on the host; terms of weight 0 are left out.

    Attributes:
        stage: The call.
        x0: The data prediction, out of sample, output and noise.
        prev: The next sample, out of everything at hand.
        eps: The noise prediction that is kept, out of sample, output and data prediction.
        older: What is wanted of the memory: which evaluation, and which of its arrays.
        draws: Whether fresh noise is needed.
        aside: What a class returns besides, out of sample and output.
    """

    stage: Call
    x0: tuple[Term, ...]
    prev: tuple[Term, ...]
    eps: tuple[Term, ...]
    older: tuple[tuple[int, int], ...]
    draws: bool
    aside: tuple[Term, ...] = ()


def terms_of(weights: Iterable[float]) -> tuple[Term, ...]:
    """Weights with their positions, one of weight 1 in front: its multiplication is saved."""
    terms = [(weight, source) for source, weight in enumerate(weights) if weight != 0.0]
    return tuple(sorted(terms, key=lambda term: term[0] != 1.0))


class Evaluation(NamedTuple):
    """What is remembered of a model call: only what the rule will look at again."""

    stage: Call
    x: Array = None
    x0: Array = None
    eps: Array = None
    landed: Array = None


#: The arrays of an evaluation, by their places in it.
X, X0, EPS, LANDED = range(1, 5)


StepKey = tuple[Any, ...]
