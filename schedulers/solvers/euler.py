"""Euler steps in sigma, with optional churn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator
from ..backend.checks import check_training_steps
from ..backend.errors import ParameterError
from ..core.rule import StepArguments
from ..facts import papers
from ..families.sigma import SigmaScheduler
from ..grids.sigma import SigmaDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules import euler


class EulerDiscreteScheduler(SigmaScheduler):
    r"""Euler's method on ``dx / d sigma = eps``, with optional churn.

        x_hat     = x + s_noise sqrt(sigma_hat^2 - sigma^2) z
        sigma_hat = (1 + gamma) sigma,   gamma = min(s_churn / N, sqrt(2) - 1)
        x_next    = x_hat + (sigma_next - sigma_hat) eps

    ``gamma`` is 0 unless ``s_tmin <= sigma <= s_tmax``; without churn, the default, x_hat is x.
    Upstream asks the model before the churn, at ``sigma``; the paper's algorithm asks it after, at
    ``sigma_hat``, which a ``step`` that is handed the model's output cannot do.

    References:
        Karras et al. 2022. Elucidating the Design Space of Diffusion-Based Generative Models.
        arXiv 2206.00364, algorithm 2 without its correction.
    """

    title = "Euler"
    family = "Sigma (k-diffusion)"
    good_for = "The plain first choice: fast, robust, easy to reason about."
    reference = papers.EDM.at("Algorithm 2 without its correction; k-diffusion sample_euler.")
    _follows_model_dtype = True

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        prediction_type: p.PredictionType = "epsilon",
        interpolation_type: p.InterpolationType = "linear",
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        sigma_min: p.SigmaMin = None,
        sigma_max: p.SigmaMax = None,
        timestep_spacing: p.TimestepSpacing = "linspace",
        timestep_type: p.TimestepType = "discrete",
        steps_offset: p.StepsOffset = 0,
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        final_sigmas_type: p.FinalSigmasType = "zero",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def _make_rule(self) -> euler.Euler:
        return euler.Euler(self.prediction_type)

    def _dialect(self, train_steps: int | None = None) -> SigmaDialect:
        config = self.config
        return (
            super()
            ._dialect(train_steps)
            ._replace(
                log_linear=config["interpolation_type"] == "log_linear",
                # The model is told 0.25 log sigma instead of a training step.
                continuous=config["timestep_type"] == "continuous"
                and config["prediction_type"] == "v_prediction",
            )
        )

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps, from times, or from noise levels.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            timesteps: Custom times, strictly descending, in [0, num_train_timesteps).
            sigmas: Custom noise levels, strictly descending, the final one (usually 0) included;
                taken as they are, whatever curve the config names.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, timesteps beside a
                sigma curve or continuous times, or the noise schedule is undefined on the grid.
        """
        if timesteps is not None and self._dialect().continuous:
            raise ParameterError(
                "timesteps cannot be given together with timestep_type='continuous'.",
                "timesteps",
                "timestep_type",
            )
        super().set_timesteps(num_inference_steps, device, timesteps, sigmas)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        s_churn: p.SChurn = 0.0,
        s_tmin: p.STmin = 0.0,
        s_tmax: p.STmax = float("inf"),
        s_noise: p.SNoise = 1.0,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            s_churn: Total churn over the run, 0 for none.
            s_tmin: Churn only at or above this sigma.
            s_tmax: Churn only at or below this sigma.
            s_noise: Factor on the churned noise.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, in the dtype of the model output.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, an integer timestep, shapes that do not match,
                or a churn argument out of range.
        """
        self._refuse_integer(timestep)
        arguments = self._churn_arguments(s_churn, s_tmin, s_tmax, s_noise)
        self._warn_unscaled()
        return self._advance(
            model_output, timestep, sample, arguments, generator, None, None, return_dict
        )

    def _step_arguments(self, settings: Mapping[str, Any]) -> StepArguments:
        return euler.churn_of(settings)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What a curve makes idle, and without churn there is no noise to shape."""
        return super()._inert(values) | euler.churn_idles(values)

    def _velocity_index(self, times: np.ndarray) -> np.ndarray:
        if self.follows("euler-velocity"):  # at the position in the schedule
            return np.array([self._index_of(t) for t in times.tolist()])
        return check_training_steps(times, len(self._table))
