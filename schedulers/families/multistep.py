"""What multistep solvers show of their memory, and what their settings make idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

from ..backend.arrays import Array, backend_of
from ..backend.checks import check_whole, shown
from ..backend.errors import ParameterError, ParameterTypeError
from ..core.kernel import EPS, X0
from ..rules.multistep import SHORT_RUN

if TYPE_CHECKING:
    from ..core.scheduler import Scheduler


class Outputs(list[Any]):
    """The list that ``model_outputs`` shows; what is written into it is heeded."""

    def __init__(self, scheduler: Scheduler, values: Sequence[Array]) -> None:
        """Show these."""
        super().__init__(values)
        self.scheduler = scheduler

    def __setitem__(self, place: SupportsIndex | slice, value: Any) -> None:
        """Write, and have the scheduler go on from what is written."""
        super().__setitem__(place, value)
        self.scheduler.model_outputs = self  # type: ignore[attr-defined]

    def _refused(self, *given: Any, **named: Any) -> Any:
        """A change of its length, or of its order."""
        raise ParameterTypeError(
            "model_outputs has a fixed length: write into it, or assign a list.", "model_outputs"
        )

    append = extend = insert = pop = remove = clear = _refused
    reverse = sort = __delitem__ = __iadd__ = __imul__ = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied as the list that it is."""
        return list, ([*self],)


class ModelOutputs:
    """Data or noise predictions of the last calls, newest last, None where there were fewer.

    Upstream's name for what is remembered: pipelines read it, and go on from what they write.
    """

    def __get__(self, scheduler: Scheduler | None, owner: type | None = None) -> Any:
        """A list of as many entries as are remembered at most."""
        if scheduler is None:
            return self
        most, place = scheduler._rule.depth - 1, _place(scheduler)
        known = [*(evaluation[place] for evaluation in scheduler._memory), *scheduler._spare]
        return Outputs(scheduler, [*known[:most], *[None] * (most - len(known))][::-1])

    def __set__(self, scheduler: Scheduler, values: Sequence[Array]) -> None:
        """Go on from these; those of calls that ``lower_order_nums`` does not count wait for it."""
        most, place = scheduler._rule.depth - 1, _place(scheduler)
        if not isinstance(values, (list, tuple)) or len(values) != most:
            raise ParameterError(
                f"model_outputs={shown(values)} must be a list of {most} predictions, newest last, "
                "with None for those that were not made.",
                "model_outputs",
            )
        newest = values[::-1]
        for value in newest:
            if value is not None:
                backend_of(value, "model_outputs")
        count = _made(newest[: len(scheduler._memory)])
        counted = zip(scheduler._memory, newest[:count], strict=False)
        memory = tuple((*e[:place], v, *e[place + 1 :]) for e, v in counted)
        _recall(scheduler, memory, newest[count:])


class LowerOrderNums:
    """How many predictions are at hand for the next step; see ``ModelOutputs``."""

    def __get__(self, scheduler: Scheduler | None, owner: type | None = None) -> Any:
        """Their number."""
        return self if scheduler is None else len(scheduler._memory)

    def __set__(self, scheduler: Scheduler, value: int) -> None:
        """Count so many of them."""
        memory, spare, place = scheduler._memory, scheduler._spare, _place(scheduler)
        # Of a call that was never made, the predictions alone can be told.
        ready = _made(spare) if len(scheduler._rule.keeps) == 1 else 0
        note = " (the predictions at hand: write them into model_outputs first)"
        value = check_whole("lower_order_nums", value, 0, len(memory) + ready, note)
        more = max(value - len(memory), 0)
        blank = (None,) * 4
        new = tuple((*blank[:place], v, *blank[place + 1 :]) for v in spare[:more])
        old = tuple(evaluation[place] for evaluation in memory[value:])
        _recall(scheduler, (*memory[:value], *new), (*old, *spare[more:]))


def _recall(scheduler: Any, memory: tuple[tuple[Array, ...], ...], spare: Sequence[Array]) -> None:
    """Go on from another memory; where a step is corrected, from where it leads by that."""
    before = scheduler._memory
    scheduler._memory, scheduler._spare = memory, tuple(spare)
    if "landed" in scheduler._rule.keeps:
        scheduler._land_again(scheduler._grid, before)


def _place(scheduler: Scheduler) -> int:
    """Which of the arrays of an evaluation is interpolated."""
    return X0 if "x0" in scheduler._rule.keeps else EPS


def _made(newest: Sequence[Array]) -> int:
    """How many there are before the first that is missing."""
    return next((k for k, value in enumerate(newest) if value is None), len(newest))


def order_inert(values: Mapping[str, Any]) -> dict[str, str]:
    """What the order of a DPM-Solver and the length of the run make idle."""
    reasons = {}
    steps = values.get("steps")
    if values.get("solver_order") == 1:
        reasons["solver_type"] = "order 1 uses no slope."
        reasons["lower_order_final"] = "the order is 1 throughout."
        reasons["euler_at_final"] = "the order is 1 throughout."
        return reasons
    if values.get("final_sigmas_type") == "zero":
        reasons["euler_at_final"] = "a last step to zero is of order 1 anyway."
    elif values.get("lower_order_final") and steps is not None and steps < SHORT_RUN:
        reasons["euler_at_final"] = "lower_order_final does it in runs below 15 steps."
    if steps is not None and steps >= SHORT_RUN:
        reasons["lower_order_final"] = f"it acts in runs below {SHORT_RUN} steps."
    return reasons
