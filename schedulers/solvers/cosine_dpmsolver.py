"""Stable Audio's sampler: stochastic DPM-Solver++ on EDM's levels, with a Brownian tree."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, Backend, Generator, Pairs, host_values
from ..core.grid import Grid
from ..facts import papers
from ..interface import params as p
from ..interface.config import configured
from ..process.tables import linspace32
from ..rules.brownian import BrownianTree, snapped
from .edm_dpmsolver import EDMDPMSolverMultistepScheduler


class CosineDPMSolverMultistepScheduler(EDMDPMSolverMultistepScheduler):
    r"""DPM-Solver++ 2M SDE for networks that are told ``2 atan(sigma) / pi`` of a level.

        x0     = c_skip x + c_out F(c_in x, 2 atan(sigma) / pi),   c_in = 1 / q
        c_skip = (sigma_data / q)^2,   c_out = -sigma sigma_data / q
        q      = sqrt(sigma^2 + sigma_data^2)
        x_next = (sigma_next / sigma) exp(-h) x + psi_0 x0 + psi_1 (x0 - x0[-1]) / r
                 + sigma_next sqrt(1 - exp(-2 h)) z

    F is the network (with ``epsilon`` -F), sigma_data the deviation of the data,
    ``h = log(sigma / sigma_next)``, ``r = log(sigma[-1] / sigma) / h``, ``psi_0 = 1 - exp(-2 h)``,
    and psi_1 is ``psi_0 / 2`` (midpoint) or ``1 - psi_0 / (2 h)`` (heun). The first step has no
    slope, and the last has none where it leads to 0 or ``lower_order_final`` or ``euler_at_final``
    says so, as with order 1.

    z is the increment of a Brownian path over the step. As upstream a torch generator gives the
    path by its initial seed; a NumPy generator draws the increments, which are independent.

    References:
        Lu et al. 2022. DPM-Solver++. arXiv 2211.01095. Evans, Parker, Carr, Zukowski, Taylor, Pons
        2024. Stable Audio Open. arXiv 2407.14358 (the settings).
    """

    title = "Cosine DPM-Solver multistep"
    family = "EDM"
    good_for = "Stable Audio Open: long stochastic runs from very high noise."
    reference = papers.STABLE_AUDIO.at(
        "Settings; the solver is DPM-Solver++ 2M SDE, arXiv 2211.01095."
    )
    _noise_function = "arctan"
    _noise_scale = math.pi, 2.0
    _translations: ClassVar = {
        "solver_type": {"logrho": "midpoint", "bh1": "midpoint", "bh2": "midpoint"}
    }

    @configured
    def __init__(
        self,
        sigma_min: p.VeSigmaMin = 0.3,
        sigma_max: p.VeSigmaMax = 500,
        sigma_data: p.SigmaData = 1.0,
        sigma_schedule: p.SigmaScheduleEdm = "exponential",
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        solver_order: p.SolverOrderCosine = 2,
        prediction_type: p.PredictionTypeEdm = "v_prediction",
        rho: p.Rho = 7.0,
        solver_type: p.SolverType = "midpoint",
        lower_order_final: p.LowerOrderFinal = True,
        euler_at_final: p.EulerAtFinal = False,
        final_sigmas_type: p.FinalSigmasType = "zero",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_edm(tensor_format, num_train_timesteps, 0.0)

    # --- the noise ----------------------------------------------------------------------------

    def _use(self, grid: Grid, device: Any = None) -> None:
        super()._use(grid, device)
        self._trees: tuple[BrownianTree, ...] = ()
        #: Levels between which they are looked at.
        self._tree_levels: tuple[float, ...] = ()

    def _heed_grid(self, name: str, value: Any) -> None:
        super()._heed_grid(name, value)
        self._tree_levels = ()

    def _draw(
        self, backend: Backend, i: int, sample: Array, dtype: Any, generator: Generator
    ) -> Array:
        """The increment over the step, of the tree that a generator's seed stands for."""
        owners = generator if isinstance(generator, (list, tuple)) else [generator]
        seeded = bool(owners) and all(hasattr(owner, "initial_seed") for owner in owners)
        each = len(owners) > 1
        if generator is not None and not (seeded and (not each or len(owners) == len(sample))):
            return super()._draw(backend, i, sample, dtype, generator)
        if not self._trees:
            seeds = [o.initial_seed() if seeded else backend.some_seed() for o in owners]
            low, high = (float(np.float32(self.config[k])) for k in ("sigma_min", "sigma_max"))
            self._trees = tuple(BrownianTree(low, high, seed) for seed in seeds)
        if not self._tree_levels:
            self._tree_levels = self._levels_in(backend)
        like = sample[:1] if each else sample

        def combine(pairs: Pairs) -> Array:
            return backend.combine(pairs, like, backend.compute_dtype(dtype))

        def unit(seed: int) -> Array:
            return backend.randn(like, dtype, backend.seeded(seed, like))

        here, there = self._tree_levels[i : i + 2]
        parts: list[Array] = []
        for tree in self._trees:
            parts.append(tree.between(here, there, unit, combine))
        return backend.join(parts) if each else parts[0]

    def _levels_in(self, backend: Backend) -> tuple[float, ...]:
        """The levels of the run, rounded as an array library rounds them."""
        config, grid, n = self.config, self._grid, self.num_inference_steps or 1
        low, high = float(config["sigma_min"]), float(config["sigma_max"])
        if config["sigma_schedule"] == "karras":
            power = 1.0 / config["rho"]
            ramp = backend.own(linspace32(0.0, 1.0, n))
            made = (high**power + ramp * (low**power - high**power)) ** config["rho"]
        else:
            logs = backend.own(linspace32(math.log(low), math.log(high), n))
            made = backend.apply("exp", logs)
        exact = np.sort(host_values(made).astype(np.float64))[::-1]
        return tuple(snapped(np.append(grid.sigma, grid.to_sigma[-1:]), exact).tolist())
