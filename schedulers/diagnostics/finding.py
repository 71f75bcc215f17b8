"""What a diagnostic is: when it holds, and what it then says, measures and advises."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ..core.level import Level
from ..core.plan import RunPlan
from ..core.scheduler import Scheduler
from ..facts.quirks import QUIRKS

Severity = Literal["error", "warning", "note"]
BY_SLUG = {quirk.slug: quirk for quirk in QUIRKS}


@dataclass(frozen=True, eq=False)
class Facts:
    """What diagnostics look at.

    Attributes:
        plan: The run.
        settings: Every parameter of the class with its present value; ``steps``, the number of
            steps asked for; and ``sigmas``, the levels that a caller gave, or None.
    """

    plan: RunPlan
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        scheduler: Scheduler,
        step: Mapping[str, Any] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> Facts:
        """The facts of a scheduler that is laid out.

        Args:
            scheduler: After ``set_timesteps``.
            step: Step arguments that differ from their defaults.
            sigmas: Custom levels that it was laid out along, if there are any.

        Raises:
            ValueError: Before ``set_timesteps``, or where no step is defined.
        """
        plan = RunPlan.of(scheduler, step)
        return Facts(plan, settings_of(scheduler, step, scheduler.num_inference_steps, sigmas))

    @property
    def first(self) -> Level:
        """The level that the run starts from."""
        return self.plan.calls[0].here

    @property
    def last(self) -> Level:
        """The level that the run ends on."""
        return self.plan.calls[-1].target

    @functools.cached_property
    def inactive(self) -> Mapping[str, str]:
        """Parameters without effect, each with the reason."""
        return type(self.plan.scheduler).inert(self.settings)

    def meets(self, *slugs: str) -> bool:
        """Whether the run meets one of these quirks.

        Raises:
            KeyError: There is no quirk of that name.
        """
        name, found = type(self.plan.scheduler).__name__, [BY_SLUG[slug] for slug in slugs]
        return any(quirk.concerns(name) and quirk.active(self.settings) for quirk in found)

    def acts(self, *names: str) -> str | None:
        """The first of these parameters that the class has and that has an effect."""
        acting = (n for n in names if n in self.settings and n not in self.inactive)
        return next(acting, None)


def settings_of(
    scheduler: Scheduler,
    step: Mapping[str, Any] | None,
    steps: int | None,
    sigmas: Sequence[float] | None,
) -> Mapping[str, Any]:
    """Every parameter with its present value, the number of steps and custom levels."""
    settings = {entry.name: entry.default for entry in scheduler.parameters()}
    settings |= {name: value for name, value in scheduler.config.items() if name in settings}
    if "compat" in settings:  # which a config holds only where it is not the usual
        settings["compat"] = scheduler.compat
    return settings | dict(step or {}) | {"steps": steps, "sigmas": sigmas}


class Finding(NamedTuple):
    """What a diagnostic found.

    Attributes:
        value: What was measured.
        text: The fact, in a few words.
        why: What follows from it, and why.
        fix: What helps.
        set: Settings that end it, by parameter, where there are some that can just be set.
    """

    value: float
    text: str
    why: str
    fix: str = ""
    set: Mapping[str, Any] | None = None


F = TypeVar("F", bound=Facts)


@dataclass(frozen=True, slots=True)
class Diagnostic(Generic[F]):
    """Something to look for.

    Attributes:
        id: Its name, for ever.
        severity: How bad it is.
        when: The condition, in words.
        look: Finds it, or None.
    """

    id: str
    severity: Severity
    when: str
    look: Callable[[F], Finding | None]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A diagnostic that holds for a run; the attributes are those of the two it is made of."""

    id: str
    severity: Severity
    when: str
    value: float
    text: str
    why: str
    fix: str
    set: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; a value that is not finite is None."""
        value = self.value if math.isfinite(self.value) else None
        return asdict(self) | {"value": value}


def diagnose(table: Iterable[Diagnostic[F]], facts: F) -> list[Diagnosis]:
    """What holds, in the order of the table."""
    found = ((entry, entry.look(facts)) for entry in table)
    return [
        Diagnosis(entry.id, entry.severity, entry.when, *finding)
        for entry, finding in found
        if finding is not None
    ]


# --- how numbers are written --------------------------------------------------------------------


def short(value: float) -> str:
    """A number for reading: three significant digits, ∞ for infinity."""
    if not math.isfinite(value):
        return "∞"
    if 999.5 <= abs(value) < 1e6:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def percent(share: float) -> str:
    """The one way in which shares are written: 12 %, 0.55 %, < 0.01 %."""
    value = 100.0 * share + 0.0
    if not math.isfinite(value):
        return "∞ %"
    if value != 0.0 and abs(value) < 0.005:
        return "< 0.01 %"
    digits = 0 if abs(value) >= 99.95 or value == 0.0 else 1 if abs(value) >= 0.95 else 2
    return f"{value:.{digits}f} %".replace("-", "−")


def count(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
