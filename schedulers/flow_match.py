"""Rectified flow: straight paths from noise to data."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array
from .backend.checks import MOST_SIGMA, check_batch_times, check_real
from .core.level import Call, Level, flow_level
from .core.prediction import Reading
from .counted import CountedScheduler
from .forward import batch_size
from .plan import StepKey
from .process import spacing


class FlowScheduler(CountedScheduler):
    """``x = (1 - sigma) x0 + sigma eps``, times T sigma; the model returns ``eps - x0``."""

    _follows_model_dtype = True
    _kept: ClassVar[tuple[str, ...]] = ("_times", "_rhos", "num_inference_steps")

    def _make_fresh(self, tensor_format: str | None, shift: float) -> None:
        """The grid of a fresh object: every training level, shifted."""
        self._start(tensor_format)
        steps = np.float32(len(self))
        sigmas = spacing.shifted(np.arange(len(self), 0, -1, dtype=np.float32) / steps, shift)
        self._install(sigmas * steps, sigmas, None)
        self.sigma_min, self.sigma_max = float(sigmas[-1]), float(sigmas[0])

    def _beside_config(self) -> tuple[Any, ...]:
        # Attributes that callers set: the ends of the ramp.
        return self.sigma_min, self.sigma_max

    @property
    def prediction_type(self) -> str:
        """A flow model predicts ``eps - x0``."""
        return "flow_prediction"

    def _ramp(self, n: int) -> np.ndarray:
        """N levels before the shift, from the first to the last one of training."""
        high, low = self.sigma_max, self.sigma_min
        if self.compat == "paper":
            high, low = 1.0, 1.0 / len(self)
        # Upstream's ends are shifted already, and the run shifts them again.
        return spacing.linspace(high * len(self), low * len(self), n) / len(self)

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any = None) -> Any:
        """T times sigma."""
        return check_real("sigma", sigma, 0.0, MOST_SIGMA) * len(self)

    def _level(self, t: float, sigma: float) -> Level:
        return flow_level(t, sigma)

    def _reading(self, stage: Call, key: StepKey) -> Reading:
        return Reading(1.0, -stage.here.sigma, 1.0, stage.here.alpha)

    def scale_noise(self, sample: Array, timestep: Array, noise: Array = None) -> Array:
        """Diffuse: ``(1 - sigma) x0 + sigma eps`` at the given times.

        Args:
            sample: Clean samples x0, shape (batch, ...).
            timestep: One of ``timesteps`` for each sample, or one for all.
            noise: Unit noise of the same shape.

        Returns:
            Noisy samples, same shape and dtype.

        Raises:
            TypeError: No noise, or arrays of different libraries.
            ValueError: Shapes that do not match, or a time outside the schedule.
        """
        self._check_noising(sample, "sample", noise)
        times = check_batch_times(timestep, batch_size(sample), "timestep")
        return self._noised(sample, "sample", noise, times)
