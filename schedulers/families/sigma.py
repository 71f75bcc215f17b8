"""Schedulers that keep the sample as ``x0 + sigma eps`` and count their calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, Generator, torch_backend
from ..backend.checks import (
    CURVES,
    check_curves,
    check_one_way,
    check_sigmas,
    check_steps,
    check_times,
    check_whole,
)
from ..core.grid import Grid, Request
from ..core.rule import StepArguments
from ..core.scheduler import (
    Levels,
    plain_step,
    two_call_state,
    unit_variance_input,
)
from ..grids import sigma as grids
from ..grids.sigma import SigmaDialect
from ..interface import params as p
from .discrete import DiscreteScheduler


class SigmaScheduler(DiscreteScheduler):
    """``x0 + sigma eps``, float timesteps, positions by index."""

    scale_model_input = unit_variance_input  # type: ignore[assignment]
    #: dtype of ``timesteps`` before ``set_timesteps``.
    _fresh_dtype: ClassVar[Any] = np.float32
    #: Whether a fresh object shows the run over every training step, as upstream's of some classes.
    _shows_run: ClassVar[bool] = False
    _layout: ClassVar[staticmethod[..., Grid]] = staticmethod(grids.single)

    def _begin_sigma(self, tensor_format: str | None) -> None:
        """Table and fresh grid."""
        check_curves(self.config)
        self._make_table()
        dialect = self._dialect()
        self._begin(
            tensor_format,
            grids.fresh_grid(self._table, dialect, self._fresh_dtype, self._shows_run),
        )

    def _dialect(self, train_steps: int | None = None) -> SigmaDialect:
        """What the config means by a number of steps.

        Args:
            train_steps: Training steps over which a run is spread; None for all.
        """
        low, high = self._curve_ends()
        return SigmaDialect(
            self._train_steps if train_steps is None else train_steps,
            self._setting("timestep_spacing") or "linspace",
            self._setting("steps_offset") or 0,
            self.follows("trailing-extra"),
            self._chosen_curve,
            low,
            high,
            self._setting("final_sigmas_type") == "sigma_min",
            layout=type(self)._layout,
        )

    @property
    def init_noise_sigma(self) -> Any:
        """Standard deviation of the noise that a run starts from."""
        largest = np.float32(self._grid.sigma.max())
        if self._setting("timestep_spacing") == "leading":
            largest = np.sqrt(largest * largest + np.float32(1.0))
        if self.tensor_format == "np":
            return float(largest)
        return torch_backend().tensor(np.asarray(largest))

    def _requested(self, n: Any, timesteps: Any, sigmas: Any, train_steps: int) -> Request:
        """Exactly one of a number of steps, custom times and custom levels, checked."""
        check_one_way({"num_inference_steps": n, "timesteps": timesteps, "sigmas": sigmas})
        check_curves(self._settings, timesteps)
        if sigmas is not None:
            return Request(sigmas=tuple(check_sigmas(sigmas).tolist()))
        if timesteps is not None:
            times = check_times(timesteps, train_steps, whole=False)
            return Request(timesteps=tuple(times.tolist()))
        return Request(check_steps(n, train_steps))

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run of N steps, 1..num_train_timesteps, or one over custom times or levels.

        Args:
            num_inference_steps: Number of steps N.
            device: Where ``timesteps`` go (torch only).
            timesteps: Custom times, strictly descending, in [0, num_train_timesteps).
            sigmas: Custom noise levels, strictly descending, the final one (usually 0) included;
                taken as they are, whatever curve the config names.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, times beside a sigma
                curve, or the noise schedule is undefined on the grid.
        """
        self._heed()
        request = self._requested(num_inference_steps, timesteps, sigmas, self._train_steps)
        self._use(grids.sigma_grid(self._table, self._dialect(), request), device)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.along(held["timesteps"], held["sigmas"], self._grid.steps)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What a sigma curve or the kind of prediction makes idle."""
        reasons = {}
        if values.get("prediction_type") != "v_prediction":
            reasons["timestep_type"] = "only v_prediction knows continuous times."
        if (
            values.get("sigma_min") is not None
            and values.get("sigma_max") is not None
            and any(values.get(name) for name in CURVES)
        ):
            reasons["interpolation_type"] = "the curve runs from sigma_max to sigma_min."
        return reasons


class TwoCallScheduler(SigmaScheduler):
    """Two calls a step but the last, over all training steps or the first of them."""

    order = 2
    _shows_run = True
    _reads_foreign = frozenset({"sigma_min", "sigma_max"})

    def set_timesteps(  # type: ignore[override]
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        num_train_timesteps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run of N steps (2 N - 1 model calls), or one over custom times or levels.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            num_train_timesteps: Spread the steps over this many training steps instead of all.
            timesteps: Custom times of the steps, strictly descending; midpoints, where the class
                has some, are added.
            sigmas: Custom noise levels, strictly descending, the final one (usually 0) included;
                taken as they are, whatever curve the config names; midpoints are added likewise.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, times beside a sigma
                curve, or the noise schedule is undefined on the grid.
        """
        self._heed()
        spread = self._train_steps
        if num_train_timesteps is not None:
            spread = check_whole("num_train_timesteps", num_train_timesteps, 1, len(self._table))
        request = self._requested(num_inference_steps, timesteps, sigmas, spread)
        self._use(grids.sigma_grid(self._table, self._dialect(spread), request), device)

    state_in_first_order = two_call_state

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.along(held["timesteps"], held["sigmas"], self._grid.steps, 2)

    step = plain_step


def noised_at_midpoints(self: SigmaScheduler, indices: Sequence[int]) -> Levels:
    """The levels that ``add_noise`` goes to; upstream's at a midpoint's time is the one after it."""
    grid = self._grid
    if not self.follows("dpm2-midpoint-noise"):
        return grid.levels_at(indices)
    sigma = grid.sigmas[indices].astype(np.float64)
    return np.ones_like(sigma), sigma


def noise_scale(self: SigmaScheduler, settings: Mapping[str, Any]) -> StepArguments:
    """The argument of a step whose noise can be scaled."""
    del self
    return (settings.get("s_noise", 1.0),)


def noise_scaled_step(
    self: SigmaScheduler,
    model_output: Array,
    timestep: Any,
    sample: Array,
    s_noise: p.SNoise = 1.0,
    generator: Generator = None,
    return_dict: bool = True,
) -> Any:
    """Take one call of a step whose fresh noise can be scaled.

    Args:
        self: The scheduler, a method of which this is.
        model_output: What the model returned, shape of the sample.
        timestep: The current entry of ``timesteps``.
        sample: ``x0 + sigma eps``, any shape.
        s_noise: Factor on the noise.
        generator: Source of noise, or a list with one for each sample.
        return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

    Returns:
        ``prev_sample`` (inside a step the sample for its next call) and
        ``pred_original_sample``.

    Raises:
        TypeError: Arrays of different libraries, or a wrong type.
        ValueError: Before ``set_timesteps``, shapes that do not match, or ``s_noise`` out of
            range.
    """
    if type(s_noise) is not float or s_noise != 1.0:
        s_noise = self._check_step("s_noise", s_noise)
    return self._advance(
        model_output, timestep, sample, (s_noise,), generator, None, None, return_dict
    )
