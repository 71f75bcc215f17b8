"""Schedulers that count their calls, that scale their input, that call the model twice a step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .backend.arrays import Array, host_values
from .backend.checks import check_floats, check_numbers, check_table, check_whole, shown
from .core.level import Call, Level, ve_level
from .process import spacing
from .scheduler import Scheduler


class CountedScheduler(Scheduler):
    """A position counted from the first call, on levels that ``sigmas`` spell out."""

    def _level(self, t: float, sigma: float) -> Level:
        """The level that an entry of ``sigmas`` stands for."""
        raise AttributeError("a scheduler class must say what its sigmas mean")

    def _make_stages(self) -> tuple[Call, ...]:
        times = [*self._times, 0.0]
        levels = [self._level(t, sigma) for t, sigma in zip(times, self._rhos, strict=False)]
        return tuple(
            Call(t, here, target)
            for t, here, target in zip(self._times, levels, levels[1:], strict=False)
        )

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._begin_index is None:
            indices = [self.index_for_timestep(t) for t in times.tolist()]
        else:
            now = self._begin_index if self._step_index is None else self._step_index
            indices = [now] * len(times)
        levels = [self._level(0.0, self._noised_to(i)) for i in indices]
        return np.array([lv.alpha for lv in levels]), np.array([lv.sigma for lv in levels])

    def _noised_to(self, i: int) -> float:
        """The entry of ``sigmas`` that ``add_noise`` goes to for the time of call ``i``."""
        return self._rhos[i]

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any) -> Any:
        """Fractional times at which a table of ascending log sigmas has the given sigmas."""
        values = check_table("sigma", sigma, 0.0)
        check_numbers("log_sigmas", log_sigmas)
        knots = spacing.knots_of(host_values(log_sigmas))
        return spacing.times_of(np.maximum(values, 1e-10), knots)

    @property
    def step_index(self) -> int | None:
        """Position of the next call, None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Position of the first call, set by pipelines."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start the run at this position of ``timesteps`` (image-to-image).

        Raises:
            TypeError: It is not an integer.
            ValueError: It lies outside the schedule.
        """
        last = max(0, len(self._times) - 1)
        self._begin_index = check_whole("begin_index", begin_index, 0, last)

    def _locate(self, timestep: Any) -> int:
        """Position of the present call, which becomes ``step_index``."""
        if self._step_index is None:
            self._step_index = (
                self.index_for_timestep(timestep)
                if self._begin_index is None
                else self._begin_index
            )
        return self._step_index


class Scaled(CountedScheduler):
    """Samples ``x0 + sigma eps``, which the model is shown scaled to unit variance."""

    def _forget(self) -> None:
        super()._forget()
        self.is_scale_input_called = False

    @property
    def _data_std(self) -> float:
        """Standard deviation of the data."""
        return 1.0

    def _level(self, t: float, sigma: float) -> Level:
        return ve_level(t, sigma)

    def scale_model_input(  # type: ignore[override]
        self, sample: Array, timestep: Any
    ) -> Array:
        """``sample / sqrt(sigma^2 + s^2)``: the unit-variance input that the model was trained on.

        s is the standard deviation of the data, 1 unless the class has a ``sigma_data``.

        Args:
            sample: ``x0 + sigma eps``, any shape.
            timestep: The current entry of ``timesteps``.

        Returns:
            Same shape and dtype.

        Raises:
            ValueError: The timestep is not in the schedule, or the run is over.
        """
        backend = check_floats("sample", sample)
        i = self._locate(timestep)
        if not 0 <= i < len(self._rhos) - 1:
            raise ValueError(
                f"timestep={shown(timestep)}: all {len(self._times)} calls were made."
            )
        self.is_scale_input_called = True
        sigma = self._rhos[i]
        scale = 1.0 / (sigma * sigma + self._data_std**2) ** 0.5
        return backend.weigh(((scale, 0),), (sample,), sample.dtype)

    def _warn_unscaled(self) -> None:
        """Models see garbage without ``scale_model_input``; say so."""
        if not self.is_scale_input_called:
            warnings.warn(
                f"{type(self).__name__}: pass the sample through scale_model_input before the "
                "model sees it.",
                stacklevel=3,
            )


class TwoCalls(CountedScheduler):
    """Two model calls a step, but one in the last, which ends at sigma = 0."""

    order = 2
    _depth = 2

    def effective_order(self, i: int, settings: Mapping[str, Any] | None = None) -> int:
        """The order of the step that call ``i`` opens (1) or completes (2)."""
        combined = super().effective_order(i, settings)
        return max(1 + int(i) % 2, combined)

    @property
    def state_in_first_order(self) -> bool:
        """Whether the next call opens a step (True) or closes one (False)."""
        return self._step_index is None or self._step_index % 2 == 0
