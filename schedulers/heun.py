"""Heun's method: a doubled grid whose second row is the trapezoid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .backend.checks import check_curves
from .core.coefficients import Weights
from .core.level import Stage
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .rules import euler
from .several_calls import TwoCallScheduler


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
    _keeps = frozenset({"x", "eps"})

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
        check_curves(self.config)
        self._make_table(tensor_format)
        self._show_whole_run()

    def _lay_out(
        self,
        times: np.ndarray,
        levels: np.ndarray,
        n: int | None,
        device: Any,
    ) -> None:
        doubled = np.repeat(times, 2)[1:]
        sigmas = np.concatenate([levels[:1], np.repeat(levels[1:-1], 2), levels[-1:]])
        self._install(doubled, sigmas, n, device)

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        if i % 2 == 0:
            return euler.euler_row(past[0].here, past[0].target)
        if len(past) < 2:
            # A run that starts here has no step to close: it stays where it is.
            return Weights(x=(1.0,))
        return euler.heun_correction_row(past[1].here, past[0].here)
