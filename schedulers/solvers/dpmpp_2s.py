"""DPM-Solver++(2S) with ancestral noise, which diffusers lacks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.grid import Grid
from ..facts import papers
from ..families.sigma import (
    TwoCallScheduler,
    noise_scale,
    noise_scaled_step,
    noised_at_midpoints,
)
from ..grids import midpoint as grids
from ..grids.sigma import SigmaDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules.midpoint import ExponentialMidpoint


class DPMPP2SAncestralScheduler(TwoCallScheduler):
    r"""DPM++ 2S a: the midpoint method on x0, down past the target, then fresh noise up to it.

        first call:   x'     = (sigma_mid / sigma) x + (1 - sigma_mid / sigma) x0
        second call:  x_next = (down / sigma) x + (1 - down / sigma) x0' + up z

    with ``down^2 + up^2 = sigma_next^2``, ``up`` a share eta of the ancestral Euler step's noise,
    and ``sigma_mid = sqrt(sigma down)``. The last step, to sigma = 0, has no second call. eta
    belongs to the constructor because the midpoints, hence ``timesteps``, depend on it.

    References:
        Lu et al. 2022. DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic
        Models. arXiv 2211.01095, algorithm 1 with r = 1/2; Crowson. k-diffusion,
        sample_dpmpp_2s_ancestral.
    """

    title = "DPM++ 2S ancestral"
    family = "Sigma (k-diffusion)"
    good_for = "Detailed and varied, at two calls a step; eta sets how varied."
    in_diffusers = False
    reference = papers.DPM_SOLVER_PP.at(
        "Algorithm 1 with r = 1/2; k-diffusion sample_dpmpp_2s_ancestral."
    )

    _layout = staticmethod(grids.eta_midpoints)

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
        eta: p.AncestralEta = 1.0,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """See ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def _make_rule(self) -> ExponentialMidpoint:
        return ExponentialMidpoint(self.prediction_type, 0.0, float(self.config["eta"]))

    def _dialect(self, train_steps: int | None = None) -> SigmaDialect:
        return super()._dialect(train_steps)._replace(eta=float(self.config["eta"]))

    _noised_to = noised_at_midpoints

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.geometric_midpoints(held, self._grid.steps, float(self.config["eta"]))

    _step_arguments = noise_scale
    step = noise_scaled_step  # type: ignore[assignment]
