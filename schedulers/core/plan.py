"""What a run does, known before any array exists: the calls of a scheduler and what they weigh."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .coefficients import Coefficients, Contributions, contributions
from .level import Call
from .scheduler import Scheduler


@dataclass(frozen=True)
class Shares:
    """What every call weighs where it can be seen.

    Attributes:
        calls: One weight a call.
        before_last: Whether the final sample is the last call's data prediction and nothing else,
            as after most runs that end clean. Its weights would be 0, 0, ..., 1; ``calls`` then
            holds the weights in the sample that the last call is shown, as shares of its
            signal, and 1 for the last call.
    """

    calls: tuple[float, ...]
    before_last: bool

    @property
    def visible(self) -> tuple[float, ...]:
        """Those of the calls that have a part in what is looked at."""
        return self.calls[:-1] if self.before_last else self.calls

    @functools.cached_property
    def total(self) -> float:
        """What they make together."""
        return sum(self.visible)

    @functools.cached_property
    def most(self) -> float:
        """The largest."""
        return max(self.visible)


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What a run will do, known before any array exists.

    Attributes:
        scheduler: A scheduler after ``set_timesteps``; for reading only, runs build their own.
        calls: The model calls: their times, their levels and the levels they lead to.
        coefficients: The coefficients of every call.
        orders: The order at which the rule works at every call.
        contributions: The weight of the initial sample, of every call's data prediction and of
            every noise draw in the final sample.
    """

    scheduler: Scheduler
    calls: tuple[Call, ...]
    coefficients: tuple[Coefficients, ...]
    orders: tuple[int, ...]
    contributions: Contributions

    @classmethod
    def of(
        cls, scheduler: Scheduler, settings: Mapping[str, Any] | None = None, **more: Any
    ) -> Self:
        """The plan of a scheduler that is laid out; no model is asked.

        Args:
            scheduler: After ``set_timesteps``.
            settings: Step arguments (eta, s_churn, ...) that differ from their defaults.
            **more: What a class made of this one holds besides.

        Raises:
            ValueError: Before ``set_timesteps``, or where no step is defined.
        """
        calls, rows = scheduler.stages, scheduler.rows(settings)
        orders, parts = scheduler.orders(rows), contributions(rows, calls)
        return cls(scheduler, calls, rows, orders, parts, **more)

    @property
    def nfe(self) -> int:
        """Number of model calls."""
        return len(self.calls)

    @property
    def steps(self) -> int:
        """Number of steps that are taken."""
        return len(self.step_orders)

    @property
    def upward(self) -> bool:
        """Whether the run leads from clean samples to noise (inversion)."""
        return self.scheduler.ascends

    def completes_step(self, i: int) -> bool:
        """Whether call ``i`` is the last of its step."""
        return i + 1 == self.nfe or self.calls[i + 1].step != self.calls[i].step

    def holds_level(self, i: int) -> bool:
        """Whether call ``i`` is a Langevin step, which renews noise where it is."""
        return self.scheduler.weighs_by_norms and not self.completes_step(i)

    def is_trial(self, i: int) -> bool:
        """Whether the next call tries the step of call ``i`` again, with what it has learned."""
        return not self.scheduler.weighs_by_norms and not self.completes_step(i)

    def accepted(self, i: int) -> bool:
        """Whether the step of call ``i`` is taken; an adaptive run also tries others."""
        return i not in self.scheduler.rejected

    @functools.cached_property
    def step_orders(self) -> tuple[int, ...]:
        """The order of every step that is taken."""
        return tuple(
            order
            for i, order in enumerate(self.orders)
            if self.completes_step(i) and self.accepted(i)
        )

    @functools.cached_property
    def shares(self) -> Shares:
        """The weight of every call in the final sample, or in what decides it."""
        *early, last = self.contributions.calls
        if not early or abs(last - 1.0) > 1e-6 or any(abs(weight) > 1e-6 for weight in early):
            return Shares(self.contributions.calls, before_last=False)
        before = contributions(self.coefficients[:-1], self.calls[:-1])
        signal = self.calls[-1].here.alpha
        if signal <= 0.0:
            return Shares(self.contributions.calls, before_last=False)
        return Shares((*(weight / signal for weight in before.calls), 1.0), before_last=True)

    @functools.cached_property
    def amplification(self) -> float:
        """Largest error of the result if every data prediction is wrong by its share of noise.

        A model cannot be wrong by more than what is hidden: near the clean end by little. So each
        weight counts times sigma / sqrt(alpha^2 + sigma^2). Rules whose weights are all positive
        stay below 1.
        """
        pairs = zip(self.shares.visible, self.calls, strict=False)
        return sum(abs(weight) * c.here.sigma / c.here.scale for weight, c in pairs)
