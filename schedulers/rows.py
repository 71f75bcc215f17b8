"""What a call weighs: rows of numbers, and the plan of a step that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .backend.arrays import Array, backend_of
from .backend.checks import MOST_STEPS, check_whole, shown
from .core import prediction
from .core.coefficients import Coefficients
from .core.level import Call
from .grid import Gridded
from .plan import EPS, LANDED, MOST_PLANS, X0, Plan, StepKey, X, terms_of


class Weighing(Gridded):
    """A rule for rows of weights, and the plans that are made of them."""

    #: Model calls per step, which pipelines multiply indices with.
    order: int = 1
    #: Whether noise is drawn in every step, also where it weighs nothing, as upstream.
    draws_idly: bool = False

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        """The weights of a call.

        Args:
            i: Position of the call in ``stages``.
            past: Stages of the evaluations at hand, newest (this call) first.
            key: Step arguments that the rule depends on, in the class's own order.
        """
        raise AttributeError("a scheduler class must say what a step weighs")

    def _default_key(self) -> StepKey:
        """The step key for default step arguments."""
        return ()

    def _key(self, settings: Mapping[str, Any]) -> StepKey:
        """The step key for given step arguments."""
        del settings
        return self._default_key()

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps."""
        steps = check_whole("steps", steps, 1, MOST_STEPS)
        return 2 * steps - 1 if self.order == 2 else steps

    def row(self, i: int, settings: Mapping[str, Any] | None = None) -> Coefficients:
        """The weights of call ``i`` in a run that started at 0.

        Args:
            i: Position, 0 to ``len(stages) - 1``.
            settings: Step arguments (eta, s_churn, ...) that differ from their defaults.

        Returns:
            The row; see ``Coefficients``.

        Raises:
            ValueError: Before ``set_timesteps``, or i out of range.
        """
        settings = self._checked_settings(settings)
        i = self._checked_position(i)
        key = self._default_key() if settings is None else self._key(settings)
        return self._row(i, self._past(i, settings), key)

    def _checked_position(self, i: Any) -> int:
        """A position in ``stages``."""
        return check_whole("i", i, 0, len(self.stages) - 1)

    def _checked_settings(self, settings: Any) -> Mapping[str, Any] | None:
        """Step arguments, checked against their descriptions."""
        if settings is None:
            return None
        if not isinstance(settings, Mapping):
            raise TypeError(f"settings={shown(settings)} must be a mapping of step arguments.")
        described = {p.name: p for p in self.parameters() if p.call == "step"}
        unknown = [name for name in settings if name not in described]
        if unknown:
            raise ValueError(
                f"settings={shown(settings)}: step has no argument {unknown[0]!r} to choose; it "
                f"has {', '.join(described) or 'none'}."
            )
        return {name: described[name].check(value) for name, value in settings.items()}

    def _past(self, i: int, settings: Mapping[str, Any] | None) -> tuple[Call, ...]:
        """Stages that call ``i`` of a run from 0 looks at, newest first."""
        return tuple(reversed(self.stages[max(0, i - self._reach(settings) + 1) : i + 1]))

    @property
    def rejected(self) -> frozenset[int]:
        """Calls of steps that were tried and not taken; only an adaptive class has any."""
        return frozenset()

    def _reach(self, settings: Mapping[str, Any] | None) -> int:
        del settings
        return self._depth

    def effective_order(self, i: int, settings: Mapping[str, Any] | None = None) -> int:
        """How many predictions the row of call ``i`` combines."""
        row = self.row(i, settings)
        return max(len([w for w in weights if w != 0.0]) for weights in (row.x0, row.eps, (1.0,)))

    def _reading(self, stage: Call, key: StepKey) -> prediction.Reading:
        """How to read the model output at a stage."""
        del key
        return prediction.reading(self.prediction_type, stage.here)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i``: ``out = on_x * x + on_x0 * x0``.

        ``x`` is the unscaled sample. This undoes exactly what ``step`` does with the output.
        """
        stage = self.stages[self._checked_position(i)]
        return prediction.inverse(self._reading(stage, self._default_key()), stage.here)

    def _alter_x0(self, x0: Array) -> Array:
        backend = backend_of(x0, "model_output")
        config = self.config
        if self._setting("thresholding"):
            return backend.threshold(
                x0, config["dynamic_thresholding_ratio"], config["sample_max_value"]
            )
        return backend.clamp(x0, config["clip_sample_range"])

    def _bounded(self, x0: Array, sample: Array, stage: Call) -> Array:
        """The data prediction, out of what the plan makes before clipping or thresholding."""
        del sample, stage
        return self._alter_x0(x0)

    def _rederives_eps(self, key: StepKey) -> bool:
        """Whether a clipped data prediction changes the noise prediction too."""
        del key
        return True

    def _goes_on_by_itself(self, i: int, past: Sequence[Call]) -> bool:
        """Whether call ``i`` starts from what the last call returned, not from ``sample``.

        The two differ only where a caller changed the sample between the steps. The prediction is
        always read off ``sample``.
        """
        del i, past
        return False

    def _x0_noise(self, stage: Call, key: StepKey) -> float:
        """Weight of the step's own noise in the data prediction that it returns."""
        del stage, key
        return 0.0

    def _plan(self, i: int, past: Sequence[Call], key: StepKey) -> Plan:
        """Fold what the row does with x, x0 and eps into weights on the arrays at hand."""
        stage, here = past[0], past[0].here
        read, row = self._reading(stage, key), self._row(i, past, key)
        wx, w0, we = (weights[0] if weights else 0.0 for weights in (row.x, row.x0, row.eps))
        wx, on_landed = (0.0, wx) if self._goes_on_by_itself(i, past) else (wx, 0.0)
        if self._alters and self._rederives_eps(key):
            eps = (1.0 / here.sigma, 0.0, -here.alpha / here.sigma)
        else:
            eps = (read.eps_x, read.eps_out, 0.0)
        x0_noise = self._x0_noise(stage, key)
        if self._alters or wx == we == x0_noise == 0.0:
            now = (wx + we * eps[0], we * eps[1], w0 + we * eps[2])
        else:
            now = (wx + w0 * read.x0_x + we * eps[0], w0 * read.x0_out + we * eps[1], 0.0)
        older = {(0, LANDED): on_landed} | {
            (lag - 1, place): part[lag]
            for lag in range(1, len(past))
            for place, part in ((X, row.x), (X0, row.x0), (EPS, row.eps))
            if lag < len(part)
        }
        older = {where: weight for where, weight in older.items() if weight != 0.0}
        return Plan(
            stage=stage,
            x0=terms_of((read.x0_x, read.x0_out, 0.0, x0_noise)),
            prev=terms_of((*now, row.noise, *older.values())),
            eps=terms_of(eps),
            older=tuple(older),
            draws=row.noise != 0.0 or x0_noise != 0.0 or self.draws_idly,
        )

    def _current_plan(self, timestep: Any, key: StepKey) -> tuple[int, Plan]:
        """Position and plan of the present call."""
        i, memory = self._locate(timestep), self._memory
        plan = self._plans.get((i, len(memory), key))
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            past = (self._stage(i), *(evaluation.stage for evaluation in memory))
            plan = self._plans[i, len(memory), key] = self._plan(i, past, key)
        return i, plan

    def _check_step(self, name: str, value: Any) -> Any:
        """A step argument, checked against its description."""
        parameter = next(p for p in self.parameters() if p.name == name and p.call == "step")
        return parameter.check(value)
