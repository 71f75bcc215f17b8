"""Seeded samples of lists that are too long to be walked whole at every run of the tests."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

#: Set by the option --full (tests/conftest.py): every list is taken whole.
full = False


def shuffled(cases: Sequence[T], seed: object) -> list[T]:
    """The first case, then the others in an order that is the same in every process."""
    rest = list(cases[1:])
    random.Random(str(seed)).shuffle(rest)
    return [*cases[:1], *rest]


def sample(cases: Sequence[T], most: int, seed: object = 0) -> list[T]:
    """The first case and a seeded sample of the others, `most` in all, in the order of the list."""
    if full or len(cases) <= most:
        return list(cases)
    chosen = random.Random(str(seed)).sample(range(1, len(cases)), most - 1)
    return [cases[i] for i in (0, *sorted(chosen))]
