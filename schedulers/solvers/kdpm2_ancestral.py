"""DPM-Solver-2 down past the target, then fresh noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.exports import PublicArray
from ..core.grid import Grid
from ..core.scheduler import noisy_step
from ..facts import papers
from ..families.sigma import TwoCallScheduler, noised_at_midpoints
from ..grids import midpoint as grids
from ..grids.sigma import SigmaDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules.midpoint import AncestralMidpoint


class KDPM2AncestralDiscreteScheduler(TwoCallScheduler):
    r"""DPM-Solver-2 down past the target, then fresh noise up to it; two model calls a step.

        first call:   x'     = x + (sigma_mid - sigma) eps,   sigma_mid = sqrt(sigma sigma_down)
        second call:  x_next = x + (sigma_down - sigma) eps' + sigma_up z

    with ``sigma_down^2 + sigma_up^2 = sigma_next^2`` as in the ancestral Euler step; then
    ``sigma_down = sigma_next^2 / sigma``, and the midpoint *is* ``sigma_next``. Only second calls
    draw noise; the last step, to sigma = 0, has none.

    Upstream takes ``sigma_down`` from a float32 difference that cancels where a step is long
    (cosine schedules; beyond all digits in two steps of 4000): the midpoint's time is then off by
    up to 2.5 training steps. ``compat="paper"`` takes the quotient.

    References:
        Crowson. k-diffusion, sample_dpm_2_ancestral; Lu et al. 2022. DPM-Solver. arXiv 2206.00927,
        algorithm 1; Ho, Jain, Abbeel 2020. Denoising Diffusion Probabilistic Models.
        arXiv 2006.11239, eq. 7 for the split.
    """

    title = "DPM2 ancestral"
    family = "Sigma (k-diffusion)"
    good_for = "The midpoint rule with fresh noise; varied and detailed."
    reference = papers.DPM_SOLVER.at(
        "Algorithm 1, down to sigma_down; k-diffusion sample_dpm_2_ancestral."
    )

    _layout = staticmethod(grids.ancestral_midpoints)
    _on_device = frozenset({"log_sigmas"})

    sigmas_interpol = PublicArray("Midpoints, each beside the level that it precedes.")
    sigmas_up = PublicArray("Deviation of the noise of each step, beside its level.")
    sigmas_down = PublicArray("Where the deterministic part of each step ends.")
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

    def _make_rule(self) -> AncestralMidpoint:
        return AncestralMidpoint(self.prediction_type)

    def _dialect(self, train_steps: int | None = None) -> SigmaDialect:
        return (
            super()
            ._dialect(train_steps)
            ._replace(
                times_dtype=np.float64 if self._chosen_curve else np.float32,
                rounds=bool(self.config["use_karras_sigmas"]),
                cancels=self.follows("dpm2a-cancellation"),
            )
        )

    _noised_to = noised_at_midpoints

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.shown_midpoints(held, self._grid.steps, 1)

    step = noisy_step  # type: ignore[assignment]
