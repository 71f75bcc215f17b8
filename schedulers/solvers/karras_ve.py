"""Karras' stochastic sampler in its own call form: churn, Euler, correct."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import BACKENDS, Array, Backend, Generator, backend_of, view_position
from ..backend.checks import (
    MOST_SIGMA,
    check_floats,
    check_number,
    check_pair,
    check_steps,
    check_training_steps,
)
from ..backend.errors import ParameterError
from ..backend.output import DerivativeOutput
from ..core.exports import PublicArray
from ..core.grid import Grid
from ..core.scheduler import Levels
from ..facts import papers
from ..families.own_loop import NOWHERE, OwnLoopScheduler, alike, widened
from ..grids import karras_ve as grids
from ..interface import params as p
from ..interface.config import configured
from ..rules.karras_ve import KarrasVe


class _Kernel(NamedTuple):
    """Sums over sample_hat, model_output, derivative and sample_prev.

    Attributes:
        prev: The sample that Euler's step leads to.
        slope: ``dx / d sigma``.
        x0: The data prediction at sigma_hat.
        corrected: The sample that the trapezoid leads to; None to 0.
        x0_prev: The data prediction at sigma_prev.
    """

    prev: Any
    slope: Any
    x0: Any
    corrected: Any
    x0_prev: Any


class KarrasVeScheduler(OwnLoopScheduler):
    r"""Algorithm 2 of Karras et al.: noise up to sigma_hat, Euler down, then the trapezoid.

        add_noise_to_input:  x_hat  = x + s_noise sqrt(sigma_hat^2 - sigma^2) z
        step:                x'     = x_hat + (sigma_next - sigma_hat) d
        step_correct:        x_next = x_hat + (sigma_next - sigma_hat) (d + d') / 2

    with ``sigma_hat = (1 + gamma) sigma``, ``gamma = min(s_churn / N, sqrt(2) - 1)`` where
    ``s_min <= sigma <= s_max`` and else 0, and the slopes ``d = (x_hat - x0) / sigma_hat`` and
    ``d' = (x' - x0') / sigma_next``. A step is these three calls; the last is left out where
    sigma_next is 0. The levels fall geometrically from ``sigma_max`` to ``sigma_min``, the last
    step leads to 0. The model returns the negative slope, ``(x0 - x) / sigma``.

    Upstream's ``schedule`` holds sigma squared, and its pipeline takes it for sigma: 1e4 at the
    top, against initial noise of 100. ``compat="paper"`` holds sigma.

    References:
        Karras et al. 2022. Elucidating the Design Space of Diffusion-Based Generative Models.
        arXiv 2206.00364, algorithm 2 and table 5 (the ranges of the parameters).
    """

    title = "Karras VE"
    family = "EDM"
    good_for = "The stochastic sampler of the EDM paper, in a loop of its own."
    call_form = "karras_ve"
    reference = papers.EDM.at("Algorithm 2.")
    order = 2

    schedule = PublicArray("The noise level before each step, by its time.")
    sigmas = PublicArray("``schedule`` as it is walked, and 0.", "_refuse_sigmas")
    _on_device = frozenset({"schedule"})
    _rule: KarrasVe

    @configured
    def __init__(
        self,
        sigma_min: p.VeSigmaMin = 0.02,
        sigma_max: p.VeSigmaMax = 100,
        s_noise: p.SNoise = 1.007,
        s_churn: p.SChurn = 80,
        s_min: p.STmin = 0.05,
        s_max: p.STmax = 50,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        if sigma_min >= sigma_max:
            raise ParameterError(
                f"sigma_min={sigma_min} must be below sigma_max={sigma_max}.",
                "sigma_min",
                "sigma_max",
            )
        self._begin(tensor_format, NOWHERE)
        self.init_noise_sigma = sigma_max

    def _make_rule(self) -> KarrasVe:
        churn, low, high, factor = (
            float(self.config[k]) for k in ("s_churn", "s_min", "s_max", "s_noise")
        )
        return KarrasVe(churn, low, high, factor, self.follows("karras-ve-idle-noise"))

    def _use(self, grid: Grid, device: Any = None) -> None:
        super()._use(grid, device)
        #: The last sigma_hat handed out, and its value on the host.
        self._raised: tuple[Any, float] = (None, 0.0)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        schedule = held.get("schedule", np.zeros(0))
        return grids.along(held["timesteps"], schedule, self._grid.steps, self._rule)

    def _refuse_sigmas(self, name: str, value: Any) -> None:
        if value is not None:
            raise ParameterError("sigmas follow from schedule: assign that.", "sigmas")

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps.

        ``timesteps`` count down from N - 1 to 0 and index ``schedule``, the noise level before
        each step (see the class about its square).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1.
        """
        n = check_steps(num_inference_steps, None)
        ends = float(self.config["sigma_min"]), float(self.config["sigma_max"])
        squared = self.follows("karras-ve-squared")
        self._use(grids.karras_ve_grid(*ends, squared, n, self._rule), device)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i``: ``(x0 - x) / sigma``."""
        sigma = self.stages[self._checked_position(i)].here.sigma
        return -1.0 / sigma, 1.0 / sigma

    def add_noise_to_input(
        self, sample: Array, sigma: float, generator: Generator = None
    ) -> tuple[Array, float]:
        """Raise the noise level by churn (algorithm 2, lines 5 and 6).

        Args:
            sample: ``x0 + sigma eps``, any shape.
            sigma: Its noise level, an entry of ``schedule``.
            generator: Source of noise, or a list with one for each sample.

        Returns:
            ``(sample_hat, sigma_hat)``; the sample itself where there is no churn. sigma_hat is a
            tensor if sigma is one.

        Raises:
            ValueError: Before ``set_timesteps``, or sigma is negative or not finite.
        """
        for _, view, seen in self._exports.watched:
            if view.tobytes() != seen:
                self._heed()
                break
        self._require_timesteps("add_noise_to_input")
        backend = BACKENDS.get(type(sample)) or backend_of(sample, "sample")
        dtype = backend.computed.get(sample.dtype)
        if dtype is None:
            check_floats("sample", sample)
            dtype = backend.compute_dtype(sample.dtype)
        level, raised, terms = self._churning(sigma, backend, dtype)
        sigma_hat: Any = raised
        if hasattr(sigma, "data_ptr"):
            # Tensors answer tensors: a network may tell a float from a float tensor.
            sigma_hat = sigma * (raised / level) if level else raised
            self._raised = (sigma_hat, raised)
        if terms is None and not self._rule.draws_idly:
            return sample, sigma_hat
        noise = backend.randn(sample, backend.float32, generator)
        if terms is None:
            return sample, sigma_hat
        sample_hat = backend.total(terms, widened(backend, dtype, sample, noise))
        return backend.cast(sample_hat, sample.dtype), sigma_hat

    def _churning(self, sigma: Any, backend: Backend, dtype: Any) -> tuple[float, float, Any]:
        """A level, the level that it is raised to, and the sum that does so, if there is any."""
        level = sigma if type(sigma) is float else self._level("sigma", sigma)
        known: tuple[float, float, Any] | None = self._kernels.get((level, dtype))
        if known is not None:
            return known
        level = self._level("sigma", level)
        raised, std = self._rule.raised(level, self.num_inference_steps)
        terms = backend.prepare(((1.0, 0), (std, 1)), dtype) if std else None
        self._keep((level, dtype), (level, raised, terms))
        return level, raised, terms

    def _level(self, name: str, value: Any) -> float:
        """A noise level as a number; our own tensors are known without being read."""
        if value is not None and value is self._raised[0]:
            return self._raised[1]
        if hasattr(value, "data_ptr"):
            position = view_position(value, self._exports.arrays.get("schedule"))
            if position is not None:
                return float(self._grid.shown["schedule"][position])
        single = hasattr(value, "reshape") and math.prod(value.shape) == 1
        return check_number(name, value.reshape(()) if single else value, 0.0, MOST_SIGMA)

    def step(
        self,
        model_output: Array,
        sigma_hat: float,
        sigma_prev: float,
        sample_hat: Array,
        return_dict: bool = True,
    ) -> Any:
        """Euler from sigma_hat to sigma_prev (algorithm 2, lines 7 and 8).

        Args:
            model_output: ``(x0 - x) / sigma_hat``, shape of the sample.
            sigma_hat: Present noise level, above 0.
            sigma_prev: Next noise level, 0 or more.
            sample_hat: The sample at sigma_hat.
            return_dict: Whether to return an object or ``(prev_sample, derivative)``.

        Returns:
            ``prev_sample``, ``derivative`` (dx / d sigma) and ``pred_original_sample``.

        Raises:
            ValueError: Before ``set_timesteps``, shapes that do not match, or a sigma out of
                range.
        """
        for _, view, seen in self._exports.watched:
            if view.tobytes() != seen:
                self._heed()
                break
        backend, wide, dtype = self._door(model_output, sample_hat, "sample_hat")
        kernel = self._kernel_between(sigma_hat, sigma_prev, backend, dtype)
        arrays = widened(backend, dtype, sample_hat, model_output)
        parts = (kernel.prev, kernel.slope, kernel.x0)
        prev, slope, x0 = (backend.total(terms, arrays) for terms in parts)
        if wide is not dtype:
            prev, slope, x0 = (backend.cast(array, wide) for array in (prev, slope, x0))
        return DerivativeOutput(prev, slope, x0) if return_dict else (prev, slope)

    def step_correct(
        self,
        model_output: Array,
        sigma_hat: float,
        sigma_prev: float,
        sample_hat: Array,
        sample_prev: Array,
        derivative: Array,
        return_dict: bool = True,
    ) -> Any:
        """The trapezoid with the slope at both ends (algorithm 2, lines 10 and 11).

        Args:
            model_output: ``(x0 - x) / sigma_prev`` of the model at ``sample_prev``.
            sigma_hat: Level the step started from.
            sigma_prev: Level the step leads to, above 0.
            sample_hat: The sample at sigma_hat.
            sample_prev: The sample that ``step`` returned.
            derivative: The slope that ``step`` returned.
            return_dict: Whether to return an object or ``(prev_sample, derivative)``.

        Returns:
            ``prev_sample``, ``derivative`` (as given) and ``pred_original_sample``.

        Raises:
            ValueError: As for ``step``; sigma_prev = 0 has nothing to correct.
        """
        for _, view, seen in self._exports.watched:
            if view.tobytes() != seen:
                self._heed()
                break
        backend, wide, dtype = self._door(model_output, sample_hat, "sample_hat")
        kernel = self._kernel_between(sigma_hat, sigma_prev, backend, dtype)
        if kernel.corrected is None:
            raise ParameterError(
                "sigma_prev=0 must be above 0: a step to 0 is not corrected.", "sigma_prev"
            )
        if not alike(sample_prev, sample_hat):
            check_pair(sample_prev, sample_hat, backend, ("sample_prev", "sample_hat"))
        if not alike(derivative, sample_hat) and (
            check_floats("derivative", derivative) is not backend
            or derivative.shape != sample_hat.shape
        ):
            raise ParameterError(
                f"derivative has shape {tuple(derivative.shape)}; it must be an array like "
                f"sample_hat, of shape {tuple(sample_hat.shape)}.",
                "derivative",
                "sample_hat",
            )
        arrays = widened(backend, dtype, sample_hat, model_output, derivative, sample_prev)
        prev, x0 = (backend.total(terms, arrays) for terms in (kernel.corrected, kernel.x0_prev))
        if wide is not dtype:
            prev, x0 = backend.cast(prev, wide), backend.cast(x0, wide)
        return DerivativeOutput(prev, derivative, x0) if return_dict else (prev, derivative)

    def _kernel_between(
        self,
        sigma_hat: Any,
        sigma_prev: Any,
        backend: Backend,
        dtype: Any,
        name: str = "sigma_hat",
    ) -> _Kernel:
        """What a step between two levels multiplies."""
        if type(sigma_hat) is not float or type(sigma_prev) is not float:
            sigma_hat, sigma_prev = (
                self._level(name, sigma_hat),
                self._level("sigma_prev", sigma_prev),
            )
        kernel: _Kernel | None = self._kernels.get((sigma_hat, sigma_prev, dtype))
        if kernel is not None:
            return kernel
        here, target = self._level(name, sigma_hat), self._level("sigma_prev", sigma_prev)
        if here == 0.0:
            raise ParameterError(f"{name}=0 must be above 0.", name)
        if target > here:
            raise ParameterError(
                f"sigma_prev={target:g} must not be above {name}={here:g}.", "sigma_prev", name
            )
        dt = target - here
        sums = (
            ((1.0, 0), (-dt, 1)),
            ((-1.0, 1),),
            ((1.0, 0), (here, 1)),
            ((1.0, 0), (0.5 * dt, 2), (-0.5 * dt, 1)) if target else None,
            ((1.0, 3), (target, 1)),
        )
        kernel = _Kernel(*(terms and backend.prepare(terms, dtype) for terms in sums))
        self._keep((here, target, dtype), kernel)
        return kernel

    def _levels_at(self, times: np.ndarray) -> Levels:
        self._require_timesteps("add_noise")
        schedule = self._grid.shown["schedule"].astype(np.float64)
        sigma = schedule[check_training_steps(times, len(schedule))]
        return np.ones_like(sigma), sigma

    def predict_x0(self, model_output: Array, timestep: float, sample: Array) -> Array:
        """The clean sample ``sample + sigma_hat * model_output``.

        Args:
            model_output: ``(x0 - x) / sigma``, shape of the sample.
            timestep: The noise level sigma_hat, as ``step`` takes it.
            sample: The sample at that level.
        """
        backend, wide, dtype = self._door(model_output, sample, "sample")
        kernel = self._kernel_between(timestep, 0.0, backend, dtype, "timestep")
        arrays = widened(backend, dtype, sample, model_output)
        return backend.cast(backend.total(kernel.x0, arrays), wide)

    def __len__(self) -> int:
        """Number of steps of the run; this class has no training steps."""
        return self.num_inference_steps or 0

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without churn there is no noise to shape."""
        if values.get("s_churn"):
            return {}
        return {name: "s_churn is 0: no noise is added." for name in ("s_min", "s_max", "s_noise")}
