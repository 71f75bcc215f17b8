"""Score SDEs: a predictor that tells the mean of a step from its noise."""

from __future__ import annotations

from typing import Any

from .backend.arrays import Array, Generator, backend_of
from .backend.checks import check_numbers
from .backend.output import SdeOutput
from .plan import NOISE
from .scheduler import Scheduler


class ScoreSdeScheduler(Scheduler):
    """A predictor whose result is a mean and fresh noise, kept apart."""

    _stateless = True

    def _single(self, name: str, value: Any) -> Any:
        """One time out of a batch of equal ones."""
        if getattr(value, "ndim", None) == 0:
            return value
        times = check_numbers(name, value)
        if (times != times[0]).any():
            raise ValueError(f"{name} holds several times; all samples of a batch must share one.")
        return float(times[0])

    def _predict(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator,
        names: tuple[str, str] = ("model_output", "sample"),
    ) -> SdeOutput:
        """One reverse step."""
        self._require_timesteps("step_pred")
        backend = backend_of(sample, names[1])
        wide = self._check_pair(model_output, sample, backend, names)
        dtype = backend.compute_dtype(wide)
        i, plan = self._current_plan(timestep, ())
        x0 = backend.weigh(plan.x0, (sample, model_output), dtype)
        # The noise, last by its place, is told from the mean.
        mean = backend.weigh(
            [term for term in plan.prev if term[1] != NOISE], (sample, model_output, x0), dtype
        )
        fresh = [
            (w, backend.randn(sample, wide, generator)) for w, kind in plan.prev if kind == NOISE
        ]
        prev = backend.combine([(1.0, mean), *fresh], sample, dtype)
        if i >= 0:
            self._step_index = i + 1
        return SdeOutput(*(backend.cast(array, wide) for array in (prev, mean, x0)))
