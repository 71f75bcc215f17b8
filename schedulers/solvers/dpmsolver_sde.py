"""DPM-Solver++ as a stochastic two-call method, on noise of one Brownian path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..backend.arrays import Array, Backend, Generator, Pairs, host_values
from ..core.grid import Grid, Request
from ..facts import papers
from ..families.sigma import TwoCallScheduler, noise_scale, noised_at_midpoints
from ..grids import midpoint as grids
from ..grids.sigma import SigmaDialect, spaced
from ..interface import params as p
from ..interface.config import configured
from ..rules.brownian import BrownianPath, BrownianTree, snapped
from ..rules.midpoint import ExponentialMidpoint


class DPMSolverSDEScheduler(TwoCallScheduler):
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
    family = "Sigma (k-diffusion)"
    good_for = "Rich detail in few steps, at two calls a step; never quite the same twice."
    reference = papers.DPM_SOLVER_PP.at(
        "Singlestep, order 2, with ancestral noise; k-diffusion sample_dpmpp_sde."
    )
    _karras_takes_ends = False
    _layout = staticmethod(grids.exact_midpoints)

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
        self._begin_sigma(tensor_format)

    def _make_rule(self) -> ExponentialMidpoint:
        return ExponentialMidpoint(self.prediction_type, 1.0, 1.0)

    def _dialect(self, train_steps: int | None = None) -> SigmaDialect:
        return (
            super()
            ._dialect(train_steps)
            ._replace(spacing_dtype=np.float64, times_dtype=np.float64)
        )

    def _use(self, grid: Grid, device: Any = None) -> None:
        super()._use(grid, device)
        self._trees: tuple[BrownianTree, ...] = ()
        #: Start, midpoint and end of each step on the tree.
        self._tree_steps: tuple[tuple[float, float, float], ...] = ()
        self._path = BrownianPath()

    def _heed_grid(self, name: str, value: Any) -> None:
        super()._heed_grid(name, value)
        self._tree_steps = ()

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
            timesteps: Custom times of the steps, strictly descending; midpoints are added.
            sigmas: Custom noise levels, strictly descending, the final one (usually 0) included;
                midpoints are added likewise.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: As for the other classes of two calls a step.
        """
        super().set_timesteps(num_inference_steps, device, num_train_timesteps, timesteps, sigmas)
        #: What was asked for, so that a tree can round its levels as upstream.
        self._asked = (num_inference_steps, num_train_timesteps)

    _asked: tuple[int | None, int | None] = (None, None)

    _noised_to = noised_at_midpoints

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.geometric_midpoints(held, self._grid.steps, 0.0)

    _step_arguments = noise_scale

    def _draw(
        self, backend: Backend, i: int, sample: Array, dtype: Any, generator: Generator
    ) -> Array:
        """Noise over the interval of the call: from the start of its step to where it leads."""

        def combine(pairs: Pairs) -> Array:
            return backend.combine(pairs, sample, backend.compute_dtype(dtype))

        opens = i % 2 == 0 or not self._memory
        seed = self.config["noise_sampler_seed"]
        if seed is None and generator is not None:
            if opens:  # steps follow each other: what lies behind is not looked at again
                self._path = BrownianPath()
            here, there = self._grid.sigma[i if opens else i - 1], self._grid.to_sigma[i]
            return self._path.between(
                here, there, lambda: backend.randn(sample, dtype, generator), combine
            )
        if not self._trees or not self._tree_steps:
            levels = self._levels_in(backend)
            self._tree_steps = self._steps_of(levels, backend)
            ends = float(levels[levels > 0.0].min()), float(levels.max())
            seed = backend.some_seed() if seed is None else seed
            self._trees = self._trees or (BrownianTree(*ends, seed),)

        def unit(seed: int) -> Array:
            return backend.randn(sample, dtype, backend.seeded(seed, sample))

        start, middle, end = self._tree_steps[i // 2]
        if i % 2 == 0:
            end = middle
        elif opens:
            start = middle
        noise: Array = None
        for tree in self._trees:  # of which there is one
            noise = tree.between(start, end, unit, combine)
        return noise

    def _levels_in(self, backend: Backend) -> np.ndarray:
        """What ``sigmas`` shows, rounded as an array library rounds it."""
        shown, (steps, spread) = self._grid.sigmas.astype(np.float32), self._asked
        if steps is None:  # upstream has no custom grids whose roundings to repeat
            return shown
        ratios = (np.float32(1.0) - self._table.cumulative) / self._table.cumulative
        exact = backend.root32(ratios).astype(np.float64)
        table = replace(self._table, exact_rhos=exact)
        _, made = spaced(table, self._dialect(spread), Request(int(steps)))
        return snapped(shown, made.astype(np.float32))

    @staticmethod
    def _steps_of(levels: np.ndarray, backend: Backend) -> tuple[tuple[float, float, float], ...]:
        """Start, midpoint and end of each step, by way of upstream's float32 logarithms."""

        def rounded(name: str, values: np.ndarray) -> np.ndarray:
            return host_values(backend.apply(name, backend.own(values)))

        with np.errstate(divide="ignore"):
            start, end = rounded("log", levels[:-1:2]), rounded("log", levels[1::2])
        middle = start + (end - start) * np.float32(0.5)
        return tuple(
            zip(*(rounded("exp", log).tolist() for log in (start, middle, end)), strict=True)
        )

    def step(
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
        if type(s_noise) is not float or s_noise != 1.0:
            s_noise = self._check_step("s_noise", s_noise)
        return self._advance(
            model_output, timestep, sample, (s_noise,), generator, None, None, return_dict
        )
