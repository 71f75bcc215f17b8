"""Score SDEs: a predictor that tells the mean of a step from its noise."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend.arrays import Array, Backend, Generator
from ..backend.checks import check_numbers
from ..backend.errors import ParameterError
from ..backend.output import SdeOutput
from ..core.kernel import NOISE, fold, terms_of
from .own_loop import OwnLoopScheduler, widened


class SdeKernel(NamedTuple):
    """Sums over sample, model output and data prediction.

    Attributes:
        x0: The data prediction.
        mean: The next sample without its noise.
        noisy: The next sample, out of its mean and the noise; None without noise.
    """

    x0: Any
    mean: Any
    noisy: Any


class ScoreSdeScheduler(OwnLoopScheduler):
    """A predictor whose result is a mean and fresh noise, kept apart."""

    def _single(self, name: str, value: Any) -> Any:
        """One time out of a batch of equal ones."""
        if type(value) is float or getattr(value, "ndim", None) == 0:
            return value
        times = check_numbers(name, value)
        if (times != times[0]).any():
            raise ParameterError(
                f"{name} holds several times; all samples of a batch must share one.", name
            )
        return float(times[0])

    def _sde_kernel(self, i: int, backend: Backend, dtype: Any) -> SdeKernel:
        """What the step of call ``i`` multiplies, folded once for all runs on an equal grid."""
        kernel: SdeKernel | None = self._kernels.get((i, dtype))
        if kernel is None:
            update = self._update(i, 0, ())
            folded = fold(update, self._call(i), 0, False, False, 0, terms_of)
            mean = [term for term in folded.prev if term[1] != NOISE]
            noisy = ((1.0, 0), (update.row.noise, 1))
            kernel = SdeKernel(
                backend.prepare(folded.x0, dtype),
                backend.prepare(mean, dtype),
                backend.prepare(noisy, dtype) if folded.draws else None,
            )
            self._keep((i, dtype), kernel)
        return kernel

    def _predict(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator,
        names: tuple[str, str] = ("sample", "model_output"),
    ) -> SdeOutput:
        """One reverse step."""
        for _, view, seen in self._exports.watched:
            if view.tobytes() != seen:
                self._heed()
                break
        backend, wide, dtype = self._door(model_output, sample, *names)
        i = self._locate(timestep)
        kernel = self._sde_kernel(i, backend, dtype)
        arrays = widened(backend, dtype, sample, model_output)
        x0 = backend.total(kernel.x0, arrays)
        mean = backend.total(kernel.mean, [*arrays, x0])
        if kernel.noisy is None:
            prev = backend.copied(mean)
        else:
            noise = backend.randn(sample, wide, generator)
            prev = backend.total(kernel.noisy, (mean, backend.cast(noise, dtype)))
        if i >= 0:
            self._step_index = i + 1
        if wide is not dtype:
            prev, mean, x0 = (backend.cast(array, wide) for array in (prev, mean, x0))
        return SdeOutput(prev, mean, x0)
