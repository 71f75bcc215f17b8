"""Heun's method: a doubled grid whose second row is the trapezoid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import papers
from . import params as p
from .arrays import Array
from .checks import check_curves
from .config import configured
from .levels import Stage
from .rules import euler
from .scheduler import StepKey
from .trained import TwoCallScheduler
from .weights import Weights


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

    def set_timesteps(
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
            timesteps: Custom times, strictly descending.
            sigmas: Custom noise levels, strictly descending, the final one (usually 0) included;
                taken as they are, whatever curve the config names.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, times beside a sigma
                curve, or the noise schedule is undefined on the grid.
        """
        self._spread_over(num_train_timesteps)
        self._make_grid(num_inference_steps, device, timesteps, sigmas)

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

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        return_dict: bool = True,
    ) -> Any:
        """Take one of the two calls of a step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (after the first call the provisional one) and
            ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        return self._advance(model_output, timestep, sample, return_dict=return_dict)
