"""Grids of PNDM: Runge-Kutta steps in front, or a first step that is taken twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..process.tables import NoiseTable
from .vp import Arrays, VpDialect, VpGrid, along, stride

#: Runge-Kutta steps in front of the others, and the calls of each.
PRK_STEPS, PRK_CALLS = 3, 4


@dataclass(frozen=True)
class PndmLayout:
    """How the calls are laid along the times of the steps, and what each of them is.

    Attributes:
        plms: Whether no step is Runge-Kutta's, and the first multistep step is taken twice.
        counts: Whether a call is what its number says, wherever the run starts (``pndm-midway``).
        strides: Whether a step is ``T // N`` long, on the grid or off it (``pndm-stride``).
    """

    plms: bool
    counts: bool
    strides: bool

    def __call__(
        self, table: NoiseTable, dialect: VpDialect, times: Arrays, steps: int | None
    ) -> VpGrid:
        """The grid over the times of the steps."""
        if self.plms:
            prk, plms = times[:0], np.concatenate([times[:2], times[1:]])
        else:
            starts, ends = times[:-1][:PRK_STEPS], times[1:][:PRK_STEPS]
            halves = stride(steps, dialect) // 2 if self.strides else (starts - ends) // 2
            prk = np.stack([starts, ends + halves, ends + halves, ends], axis=1).ravel()
            plms = times[PRK_STEPS:] if len(times) > PRK_STEPS else times[-1:]
        shown = {"prk_timesteps": prk, "plms_timesteps": plms}
        return self.along(table, dialect, np.concatenate([prk, plms]), steps, shown)

    def along(
        self,
        table: NoiseTable,
        dialect: VpDialect,
        times: Arrays,
        steps: int | None,
        shown: Mapping[str, Arrays],
    ) -> VpGrid:
        """The grid whose calls are made at these times.

        Args:
            table: The training process.
            dialect: Where steps lead that follow the grid.
            times: Time of each call.
            steps: Number of steps.
            shown: ``prk_timesteps`` and ``plms_timesteps``, if there are any.
        """
        aims, runge = None, len(shown.get("prk_timesteps", ()))
        if self.strides:
            down = stride(steps, dialect)
            lengths = [self.length(number, runge, down) for number in range(len(times))]
            aims = times.astype(np.int64) - np.array(lengths, np.int64)
        first = self.first(times, shown)
        parts = [self.begun(first + i, runge) for i in range(len(times))]
        places = tuple(zip(_steps(parts), parts, strict=True))
        return along(table, dialect, times, steps, aims, shown=shown, parts=places)

    def length(self, number: int, runge: int, down: int) -> int:
        """How far down the call of this number leads, where steps are strides.

        Args:
            number: Number of the call.
            runge: How many calls are Runge-Kutta's.
            down: Length of a step.
        """
        if number < runge:
            return 0 if number % 2 else down // 2
        return 0 if self.repeats(number) else down

    def repeats(self, number: int) -> bool:
        """Whether this call redoes the first multistep step."""
        return self.plms and number == 1

    def is_slope(self, number: int, runge: int) -> bool:
        """Whether later steps look at the noise prediction of this call."""
        return number % PRK_CALLS == 0 if number < runge else not self.repeats(number)

    def begun(self, number: int, runge: int) -> int:
        """How many calls ago the step began that this call belongs to."""
        return number % PRK_CALLS if number < runge else int(self.repeats(number))

    def first(self, times: Arrays, shown: Mapping[str, Arrays]) -> int:
        """Number of the call that stands first: where none is counted, a run cut short goes on.

        Args:
            times: Time of each call.
            shown: As for ``along``.
        """
        if self.counts or not shown:
            return 0
        whole = np.concatenate([shown["prk_timesteps"], shown["plms_timesteps"]])
        cut = max(len(whole) - len(times), 0)
        return cut if np.array_equal(whole[cut:], times) else 0


def _steps(parts: Sequence[int]) -> Iterator[int]:
    """Number of the step that each call is part of, from 0; the first may be cut."""
    number = 0
    for i, part in enumerate(parts):
        number += i > 0 and part == 0
        yield number
