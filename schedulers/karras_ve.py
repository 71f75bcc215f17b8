"""Karras' stochastic sampler in its own call form: churn, Euler, correct."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .backend.arrays import Array, Generator, backend_of, view_position
from .backend.checks import (
    MOST_SIGMA,
    check_floats,
    check_number,
    check_steps,
    check_training_steps,
)
from .backend.output import DerivativeOutput
from .core.coefficients import Coefficients
from .core.level import Call, ve_level
from .core.prediction import Reading
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .rules import euler
from .scheduler import Scheduler


class KarrasVeScheduler(Scheduler):
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

    _kept = ("_times", "_rhos", "num_inference_steps", "_raised")

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
            raise ValueError(f"sigma_min={sigma_min} must be below sigma_max={sigma_max}.")
        self._start(tensor_format)
        self.init_noise_sigma = sigma_max
        self.timesteps = self.sigmas = self.schedule = None
        #: The last sigma_hat handed out, and its value on the host.
        self._raised: tuple[Any, float] = (None, 0.0)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps.

        ``timesteps`` count down from N - 1 to 0 and index ``schedule``, the noise level before
        each step (see the class about its square).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1.
        """
        n = check_steps(num_inference_steps, None)
        self._raised = (None, 0.0)
        low, high = float(self.config["sigma_min"]), float(self.config["sigma_max"])
        power = 2.0 if self.compat == "diffusers" else 1.0
        # From the largest level geometrically to the smallest; a single step starts at the top.
        ramp = np.linspace(0.0, 1.0, n) if n > 1 else np.zeros(1)
        descending = high**power * (low / high) ** (power * ramp)
        levels = descending.astype(np.float32)
        self._install(np.arange(n)[::-1].copy(), np.append(levels, np.float32(0.0)), n, device)
        self._publish("schedule", levels[::-1].copy(), device)

    def _make_stages(self) -> tuple[Call, ...]:
        stages: list[Call] = []
        for k, t in enumerate(self._times):
            raised = ve_level(t, self._sigma_hat(self._rhos[k])[0])
            lowered = ve_level(t - 1.0, self._rhos[k + 1])
            stages.append(Call(t, raised, lowered))
            if lowered.sigma > 0.0:
                # What is shown to the model next has been churned already.
                churned = ve_level(t - 1.0, self._sigma_hat(lowered.sigma)[0])
                stages.append(Call(t, lowered, churned))
        return tuple(stages)

    def _sigma_hat(self, sigma: float) -> tuple[float, float]:
        """Raised level and the noise that raises it."""
        config = self.config
        sigma_hat, std = euler.churn(
            sigma, self.num_inference_steps or 1, config["s_churn"], config["s_min"],
            config["s_max"],
        )  # fmt: skip
        return sigma_hat, std * config["s_noise"]

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        """Rows on the samples that the model was shown; the churn of the next step closes one."""
        stages = self.stages
        if i % 2 == 0:
            return euler.euler_row(stages[i].here, stages[i].target)
        row = euler.heun_correction_row(stages[i - 1].here, stages[i].here)
        _, churned = self._sigma_hat(self._rhos[(i + 1) // 2])
        return Coefficients(row.x, row.x0, row.eps, churned)

    def _reading(self, stage: Call, key: StepKey) -> Reading:
        return Reading(1.0, stage.here.sigma, 0.0, -1.0)

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
        self._require_timesteps("add_noise_to_input")
        level = self._check_sigma("sigma", sigma)
        raised, std = self._sigma_hat(level)
        # Tensors answer tensors: a network may tell a float from a float tensor.
        sigma_hat = sigma * (raised / level) if hasattr(sigma, "data_ptr") and level else raised
        self._raised = (sigma_hat, raised)
        backend = check_floats("sample", sample)
        if std == 0.0 and self.compat == "paper":
            return sample, sigma_hat
        # Upstream draws even where nothing is added, and so must whoever wants its images.
        noise = backend.randn(sample, backend.float32, generator)
        if std == 0.0:
            return sample, sigma_hat
        dtype = backend.compute_dtype(sample.dtype)
        sample_hat = backend.combine([(1.0, sample), (std, noise)], sample, dtype)
        return backend.cast(sample_hat, sample.dtype), sigma_hat

    def _check_sigma(self, name: str, value: Any) -> float:
        """A noise level as a number; our own tensors are known without being read."""
        position = view_position(value, self.schedule)
        if position is not None:
            sigma = self._rhos[len(self._rhos) - 2 - position]
        elif value is not None and value is self._raised[0]:
            sigma = self._raised[1]
        else:
            single = hasattr(value, "reshape") and math.prod(value.shape) == 1
            number = value.reshape(()) if single else value
            sigma = check_number(name, number, 0.0, MOST_SIGMA)
        return sigma

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
        sigma_hat, sigma_prev = self._check_call(model_output, sample_hat, sigma_hat, sigma_prev)
        backend = backend_of(sample_hat, "sample_hat")
        dtype = backend.compute_dtype(sample_hat.dtype)
        out = sample_hat.dtype
        x0 = backend.combine([(1.0, sample_hat), (sigma_hat, model_output)], sample_hat, dtype)
        slope = backend.combine([(-1.0, model_output)], sample_hat, dtype)
        dt = sigma_prev - sigma_hat
        prev = backend.combine([(1.0, sample_hat), (-dt, model_output)], sample_hat, dtype)
        result = DerivativeOutput(*(backend.cast(a, out) for a in (prev, slope, x0)))
        return result if return_dict else (result.prev_sample, result.derivative)

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
        sigma_hat, sigma_prev = self._check_call(model_output, sample_hat, sigma_hat, sigma_prev)
        if sigma_prev == 0.0:
            raise ValueError("sigma_prev=0 must be above 0: a step to 0 is not corrected.")
        backend = backend_of(sample_hat, "sample_hat")
        self._check_pair(sample_prev, sample_hat, backend, ("sample_prev", "sample_hat"))
        if (
            check_floats("derivative", derivative) is not backend
            or derivative.shape != sample_hat.shape
        ):
            raise ValueError(
                f"derivative has shape {tuple(derivative.shape)}; it must be an array like "
                f"sample_hat, of shape {tuple(sample_hat.shape)}."
            )
        dtype = backend.compute_dtype(sample_hat.dtype)
        half = 0.5 * (sigma_prev - sigma_hat)
        x0 = backend.combine([(1.0, sample_prev), (sigma_prev, model_output)], sample_hat, dtype)
        prev = backend.combine(
            [(1.0, sample_hat), (half, derivative), (-half, model_output)], sample_hat, dtype
        )
        out = sample_hat.dtype
        result = DerivativeOutput(
            backend.cast(prev, out), derivative, backend.cast(x0, out)
        )  # fmt: skip
        return result if return_dict else (result.prev_sample, result.derivative)

    def _check_call(
        self,
        model_output: Array,
        sample_hat: Array,
        sigma_hat: float,
        sigma_prev: float,
        names: tuple[str, str] = ("sample_hat", "sigma_hat"),
    ) -> tuple[float, float]:
        self._require_timesteps("step")
        backend = backend_of(sample_hat, names[0])
        self._check_pair(model_output, sample_hat, backend, ("model_output", names[0]))
        here = self._check_sigma(names[1], sigma_hat)
        if here == 0.0:
            raise ValueError(f"{names[1]}=0 must be above 0.")
        target = self._check_sigma("sigma_prev", sigma_prev)
        if target > here:
            raise ValueError(f"sigma_prev={target:g} must not be above sigma_hat={here:g}.")
        return here, target

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._require_timesteps("add_noise")
        index = check_training_steps(times, len(self._times))
        sigma = np.array(self._rhos)[len(self._times) - 1 - index]
        return np.ones_like(sigma), sigma

    def predict_x0(self, model_output: Array, timestep: float, sample: Array) -> Array:
        """The clean sample ``sample + sigma_hat * model_output``.

        Args:
            model_output: ``(x0 - x) / sigma``, shape of the sample.
            timestep: The noise level sigma_hat, as ``step`` takes it.
            sample: The sample at that level.
        """
        self._check_call(model_output, sample, timestep, 0.0, ("sample", "timestep"))
        return self.step(model_output, timestep, 0.0, sample).pred_original_sample

    def __len__(self) -> int:
        """Number of steps of the run; this class has no training steps."""
        return self.num_inference_steps or 0

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without churn there is no noise to shape."""
        if values.get("s_churn"):
            return {}
        return {name: "s_churn is 0: no noise is added." for name in ("s_min", "s_max", "s_noise")}
