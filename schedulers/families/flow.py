"""Rectified flow: straight paths from noise to data."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array
from ..backend.checks import MOST_SIGMA, check_batch_times, check_noising, check_real
from ..core.scheduler import Scheduler, batch_size
from ..grids import flow as grids


class FlowScheduler(Scheduler):
    """``x = (1 - sigma) x0 + sigma eps``, times T sigma; the model returns ``eps - x0``."""

    _follows_model_dtype = True

    def _begin_flow(self, tensor_format: str | None, shift: float) -> None:
        """The grid of a fresh object, and the ends of the ramp, which callers may set."""
        grid = grids.fresh_grid(len(self), shift, bool(self._setting("invert_sigmas")))
        self._begin(tensor_format, grid)
        self.sigma_min, self.sigma_max = float(grid.sigmas[-1]), float(grid.sigmas[0])

    def _dialect(self, shift: float) -> grids.FlowDialect:
        """What the config and the attributes mean by a number of steps."""
        return grids.FlowDialect(
            len(self),
            shift,
            self.sigma_max,
            self.sigma_min,
            self.follows("flow-shift-twice"),
            self.follows("flow-custom-times"),
        )

    @property
    def prediction_type(self) -> str:
        """A flow model predicts ``eps - x0``."""
        return "flow_prediction"

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any = None) -> Any:
        """T times sigma."""
        return check_real("sigma", sigma, 0.0, MOST_SIGMA) * len(self)

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
        check_noising(sample, "sample", noise)
        times = check_batch_times(timestep, batch_size(sample), "timestep")
        return self._noised(sample, "sample", noise, times)
