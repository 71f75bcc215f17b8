"""DPM-Solver++ as a stochastic two-call method, on noise of one Brownian path."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, Generator, Pairs
from .backend.checks import check_curves
from .core.coefficients import Weights
from .core.level import Stage
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .rules import euler
from .rules.brownian import BrownianPath, BrownianTree
from .several_calls import MidpointScheduler, ScaledNoise


class ExponentialMidpointScheduler(ScaledNoise, MidpointScheduler):  # type: ignore[misc]
    """Two calls a step, each exact while x0 is held, both from the sample at the step's start."""

    family = "Sigma (k-diffusion)"

    def _eta(self, i: int) -> float:
        """Share of fresh noise that call ``i`` adds."""
        raise AttributeError("a scheduler class must say how much noise a call adds")

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        # A run that starts at a midpoint takes an ordinary step from there.
        lag = i % 2 if len(past) > 1 else 0
        here, target = past[lag].here, past[0].target
        return euler.ancestral_exponential_row(here, target, lag, self._eta(i), *key)


class DPMSolverSDEScheduler(ExponentialMidpointScheduler):
    r"""DPM++ SDE: two ancestral exponential steps, from sigma to the midpoint and to the end.

        first call:   x'     = (down' / sigma) x + (1 - down' / sigma) x0 + up' z'
        second call:  x_next = (down / sigma) x + (1 - down / sigma) x0' + up z

    with ``down^2 + up^2 = sigma_next^2`` and ``down = sigma_next^2 / sigma`` as in the ancestral
    Euler step, and ``down'``, ``up'`` likewise towards ``sigma_mid = sqrt(sigma sigma_next)``;
    both calls start from x. The last step, to sigma = 0, has no second call.

    ``z'`` and z are increments of one Brownian path over [sigma_mid, sigma] and [sigma_next,
    sigma]. ``noise_sampler_seed`` determines the path, with upstream's draws; without it the
    generator draws it, and without either the seed comes from the global random state, as
    upstream.

    References:
        Lu et al. 2022. DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic
        Models. arXiv 2211.01095; Crowson. k-diffusion, sample_dpmpp_sde.
    """

    title = "DPM++ SDE"
    good_for = "Rich detail in few steps, at two calls a step; never quite the same twice."
    reference = papers.DPM_SOLVER_PP.at(
        "Singlestep, order 2, with ancestral noise; k-diffusion sample_dpmpp_sde."
    )
    _spacing_dtype: ClassVar[Any] = np.float64
    _karras_takes_ends = False

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        prediction_type: p.PredictionType = "epsilon",
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        noise_sampler_seed: p.NoiseSamplerSeed = None,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        check_curves(self.config)
        self._make_table(tensor_format)
        self._show_whole_run()

    @property
    def _times_dtype(self) -> Any:
        return np.float64

    @staticmethod
    def _doubled(levels: np.ndarray) -> np.ndarray:
        return np.concatenate([levels[:1], np.repeat(levels[1:-1], 2), levels[-1:]])

    _kept: ClassVar[tuple[str, ...]] = (*MidpointScheduler._kept, "_asked")

    def _make_grid(
        self,
        num_inference_steps: int | None,
        device: Any,
        timesteps: Any = None,
        sigmas: Any = None,
    ) -> None:
        self._asked = num_inference_steps
        super()._make_grid(num_inference_steps, device, timesteps, sigmas)

    def _forget(self) -> None:
        super()._forget()
        self._tree: BrownianTree | None = None
        self._tree_levels: list[float] = []
        self._path = BrownianPath()

    def _eta(self, i: int) -> float:
        del i
        return 1.0

    def _draw(
        self, backend: Any, i: int, sample: Array, dtype: Any, generator: Generator
    ) -> Array:
        """Noise over the interval of the call: from the start of its step to where it leads."""

        def combine(pairs: Pairs) -> Array:
            return backend.combine(pairs, sample, backend.compute_dtype(dtype))

        opens = i % 2 == 0 or not self._memory
        seed = self.config["noise_sampler_seed"]
        if seed is None and generator is not None:
            if opens:  # steps follow each other: what lies behind is not looked at again
                self._path = BrownianPath()
            here, there = self._rhos[i if opens else i - 1], self._rhos[i + 1]
            return self._path.between(
                here, there, lambda: backend.randn(sample, dtype, generator), combine
            )
        if self._tree is None:
            self._tree_levels = self._levels_in(backend)
            ends = min(self._tree_levels), max(self._tree_levels)
            self._tree = BrownianTree(*ends, backend.some_seed() if seed is None else seed)

        def unit(seed: int) -> Array:
            return backend.randn(sample, dtype, backend.seeded(seed, sample))

        return self._tree.between(*self._tree_times(backend, i, opens), unit, combine)

    def _levels_in(self, backend: Any) -> list[float]:
        """The nonzero levels of the run, rounded as an array library rounds them.

        A path is rough: a level that is off by an ulp of float32 moves it by a thousandth. So
        upstream's roundings are repeated one by one, here and in ``_tree_times``.
        """
        if self._asked is None:  # upstream has no custom grids whose roundings to repeat
            return [level for level in (*self._rhos[::2], self._rhos[-1]) if level > 0.0]
        twin = copy.copy(self)
        ratios = (np.float32(1.0) - self._table) / self._table
        exact = backend.root32(ratios).astype(np.float64)
        twin._noise = replace(self._noise, exact_rhos=exact)
        levels = twin._spaced_grid(self._asked, None)[1].astype(np.float32)
        return [level for level in levels.tolist() if level > 0.0]

    def _tree_times(self, backend: Any, i: int, opens: bool) -> tuple[float, float]:
        """The interval of the call, by way of the logarithm."""
        levels, step = self._tree_levels, i // 2
        log, log_next = (np.float32(backend.log32(level)) for level in levels[step : step + 2])
        middle = backend.exp32(float(log + (log_next - log) * np.float32(0.5)))
        start, end = backend.exp32(float(log)), backend.exp32(float(log_next))
        if i % 2 == 0:
            return start, middle
        return middle if opens else start, end

    def step(  # type: ignore[override]
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        return_dict: bool = True,
        s_noise: p.SNoise = 1.0,
        generator: Generator = None,
    ) -> Any:
        """Take one of the two calls of a step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.
            s_noise: Factor on the noise.
            generator: Source of noise, or a list with one for each sample; unused where
                ``noise_sampler_seed`` is set.

        Returns:
            ``prev_sample`` (after the first call the one at the midpoint) and
            ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or ``s_noise`` out of
                range.
        """
        return super().step(model_output, timestep, sample, s_noise, generator, return_dict)
