"""Heun's method: a doubled grid whose second row is the trapezoid."""

from __future__ import annotations

from ..facts import papers
from ..families.sigma import TwoCallScheduler
from ..grids import sigma as grids
from ..interface import params as p
from ..interface.config import configured
from ..rules import euler


class HeunDiscreteScheduler(TwoCallScheduler):
    r"""Heun's second-order method on ``dx / d sigma = eps``; two model calls a step.

        first call:   x'     = x + (sigma_next - sigma) eps
        second call:  x_next = x + (sigma_next - sigma) (eps + eps') / 2

    with ``eps'`` predicted from ``x'`` at sigma_next. The last step, to sigma = 0, has no second
    call. The paper's churn is fixed to none, as upstream.

    References:
        Karras et al. 2022. Elucidating the Design Space of Diffusion-Based Generative Models.
        arXiv 2206.00364, algorithm 1.
    """

    title = "Heun"
    family = "Sigma (k-diffusion)"
    good_for = "Two calls a step, second order: accurate, at twice the cost."
    reference = papers.EDM.at("Algorithm 1; k-diffusion sample_heun.")
    _layout = staticmethod(grids.doubled)

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaScheduleHeun = "linear",
        trained_betas: p.TrainedBetas = None,
        prediction_type: p.PredictionType = "epsilon",
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        clip_sample: p.ClipSample = False,
        clip_sample_range: p.ClipSampleRange = 1.0,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def _make_rule(self) -> euler.Heun:
        return euler.Heun(self.prediction_type)
