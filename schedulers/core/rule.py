"""What a rule is: levels and step arguments in, floats out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from . import prediction
from .coefficients import Coefficients
from .level import Call
from .prediction import Reading

if TYPE_CHECKING:
    from .grid import Grid

#: Arguments of a step that a rule depends on, in the rule's own order.
StepArguments = tuple[Any, ...]


class Update(NamedTuple):
    """What one call does, in numbers.

    Attributes:
        reading: How the model output is read.
        row: The coefficients of the next sample.
        x0_noise: Weight of the step's own noise in the data prediction that it returns.
        restarts: Whether ``row.x[0]`` weighs what the last call returned instead of ``sample``. The
            two differ only where a caller changed the sample between the steps.
        draws: Whether noise is drawn also where it weighs nothing.
        rederives: Whether a clipped data prediction changes the noise prediction too.
        finish: Weights (on the clipped data prediction, on the sample) of the one that counts.
        aside: Weights (on sample, on output) of what the class returns besides.
    """

    reading: Reading
    row: Coefficients
    x0_noise: float = 0.0
    restarts: bool = False
    draws: bool = False
    rederives: bool = True
    finish: tuple[float, float] | None = None
    aside: tuple[float, float] | None = None


class Rule:
    """A solver: a value, whose numbers follow from levels alone.

    Rules are frozen and equal if their settings are: kernels are kept by them.

    Attributes:
        keeps: What is remembered of a call: any of "x", "x0", "eps", and "landed", the sample that
            its step returned.
        depth: How many calls, the present one included, a row may look at.
        defaults: Step arguments of a call that is given none.
        prediction_type: What the model returns.
    """

    defaults: ClassVar[StepArguments] = ()
    prediction_type: str
    if TYPE_CHECKING:  # of the class, or of each rule

        @property
        def keeps(self) -> frozenset[str]: ...  # noqa: D102
        @property
        def depth(self) -> int: ...  # noqa: D102
    else:
        keeps, depth = frozenset(), 1

    def read(self, call: Call) -> Reading:
        """How the model output of a call is read."""
        return prediction.reading(self.prediction_type, call.here)

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does; by default what its row says.

        Args:
            grid: The grid that the call is on.
            i: Position of the call.
            past: The evaluations at hand, newest (this call) first.
            arguments: Step arguments, in the rule's own order.

        Raises:
            ValueError: The prediction type cannot be read at this level.
        """
        return Update(self.read(past[0]), self.row(grid, i, past, arguments))

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``; arguments as for ``update``.

        A rule has a row of its own, or an update.
        """
        return self.update(grid, i, past, arguments).row
