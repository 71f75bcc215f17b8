"""DPM-Solver-2 in sigma: second calls are made at log-midpoints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.exports import PublicArray
from ..core.grid import Grid
from ..facts import papers
from ..families.sigma import TwoCallScheduler, noised_at_midpoints
from ..grids import midpoint as grids
from ..grids.sigma import SigmaDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules import euler


class KDPM2DiscreteScheduler(TwoCallScheduler):
    r"""DPM-Solver-2 on ``dx / d sigma = eps``; two model calls a step.

        first call:   x'     = x + (sigma_mid - sigma) eps,   sigma_mid = sqrt(sigma sigma_next)
        second call:  x_next = x + (sigma_next - sigma) eps'

    with ``eps'`` predicted from ``x'`` at sigma_mid. The last step, to sigma = 0, has no second
    call. ``timesteps`` holds the midpoints too, at the fractional times where the training table
    has their sigma; ``sigmas`` holds every inner level twice and no midpoint, as upstream,
    ``sigmas_interpol`` the midpoints. Upstream's ``add_noise`` at a midpoint's time therefore
    noises to the level after it; ``compat="paper"`` noises to the midpoint.

    References:
        Lu et al. 2022. DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in
        Around 10 Steps. arXiv 2206.00927, algorithm 1; Karras et al. 2022, arXiv 2206.00364;
        Crowson. k-diffusion, sample_dpm_2.
    """

    title = "DPM2"
    family = "Sigma (k-diffusion)"
    good_for = "Second order through a midpoint; two calls a step."
    reference = papers.DPM_SOLVER.at("Algorithm 1 for alpha = 1; k-diffusion sample_dpm_2.")

    _layout = staticmethod(grids.midpoints)
    _on_device = frozenset({"log_sigmas"})

    sigmas_interpol = PublicArray("Midpoints, each beside the level that it follows.")
    log_sigmas = PublicArray("Logarithms of the training table's sigmas.", None)

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        prediction_type: p.PredictionType = "epsilon",
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def _make_rule(self) -> euler.Midpoint:
        return euler.Midpoint(self.prediction_type)

    def _dialect(self, train_steps: int | None = None) -> SigmaDialect:
        # Upstream's curves leave the times in float64, its spacings in float32.
        return (
            super()
            ._dialect(train_steps)
            ._replace(
                times_dtype=np.float64 if self._chosen_curve else np.float32,
                rounds=bool(self.config["use_karras_sigmas"]),
            )
        )

    _noised_to = noised_at_midpoints

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.shown_midpoints(held, self._grid.steps, 0)
