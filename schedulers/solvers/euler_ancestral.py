"""Euler steps in sigma past the target, and fresh noise back up to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator
from ..facts import papers
from ..families.sigma import SigmaScheduler
from ..interface import params as p
from ..interface.config import configured
from ..rules import euler


class EulerAncestralDiscreteScheduler(SigmaScheduler):
    r"""Ancestral sampling: Euler down past the target, then fresh noise up to it.

        x_next       = x + (sigma_down - sigma) eps + sigma_up z
        sigma_up^2   = sigma_next^2 (sigma^2 - sigma_next^2) / sigma^2
        sigma_down^2 = sigma_next^2 - sigma_up^2

    so that ``sigma_down = sigma_next^2 / sigma``. The step to sigma = 0 adds no noise.

    References:
        Crowson. k-diffusion, sample_euler_ancestral; the DDPM posterior (Ho et al. 2020,
        arXiv 2006.11239, eq. 7) written for alpha = 1.
    """

    title = "Euler ancestral"
    family = "Sigma (k-diffusion)"
    good_for = "Fresh noise at each step: varied results that never settle."
    reference = papers.DDPM.at("Eq. 7 for alpha = 1; k-diffusion sample_euler_ancestral.")
    _follows_model_dtype = True
    _fresh_dtype = np.float64

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        prediction_type: p.PredictionType = "epsilon",
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def _make_rule(self) -> euler.EulerAncestral:
        return euler.EulerAncestral(self.prediction_type)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, in the dtype of the model output.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, an integer timestep, or shapes that do not match.
        """
        self._refuse_integer(timestep)
        self._warn_unscaled()
        return self._advance(
            model_output, timestep, sample, (), generator, None, None, return_dict
        )
