"""Latent consistency models: to the data in one call, then noise up to the next level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .backend.arrays import Array, Generator, backend_of
from .backend.checks import check_real
from .backend.output import DenoisedOutput
from .core.coefficients import Coefficients
from .core.level import Call, Level
from .core.prediction import Reading, inverse
from .distilled import DistilledScheduler
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey

#: Standard deviation of the data that latent consistency models assume.
SIGMA_DATA = 0.5


class LCMScheduler(DistilledScheduler):
    r"""Latent consistency model: to the data in one call, then noise up to the next level.

        f      = c_skip x + c_out x0
        x_next = alpha_next f + sigma_next z
        c_skip = 1/4 / (b^2 + 1/4),   c_out = b / sqrt(b^2 + 1/4),   b = timestep_scaling t

    x0 is what the model predicts, clipped if asked; f, which is returned as
    ``pred_original_sample``, is x itself at t = 0. 1/4 is the variance of the data. The last step
    ends at f.

    References:
        Luo, Tan, Huang, Li, Zhao 2023. Latent Consistency Models: Synthesizing High-Resolution
        Images with Few-Step Inference. arXiv 2310.04378, section 4.
    """

    title = "LCM"
    family = "Consistency"
    good_for = "Latent consistency models and LCM-LoRA: 1 to 8 calls."
    reference = papers.LCM.at("Section 4 and algorithm 3.")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "scaled_linear",
        trained_betas: p.TrainedBetas = None,
        original_inference_steps: p.OriginalInferenceSteps = 50,
        clip_sample: p.ClipSample = False,
        clip_sample_range: p.ClipSampleRange = 1.0,
        set_alpha_to_one: p.SetAlphaToOne = True,
        steps_offset: p.StepsOffset = 0,
        prediction_type: p.PredictionType = "epsilon",
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        timestep_spacing: p.TimestepSpacing = "leading",
        timestep_scaling: p.TimestepScaling = 10.0,
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin(tensor_format)

    def get_scalings_for_boundary_condition_discrete(self, timestep: float) -> tuple[float, float]:
        """``(c_skip, c_out)`` that make f the identity at time 0."""
        timestep = check_real("timestep", timestep, 0.0, self._train_steps)
        return self._scalings(timestep)

    def _scalings(self, timestep: Any) -> tuple[Any, Any]:
        scaled = timestep * self.config["timestep_scaling"]
        total = scaled**2 + SIGMA_DATA**2
        return SIGMA_DATA**2 / total, scaled / total**0.5

    def _target(self, t: int, times: np.ndarray, i: int) -> Level:
        if i == self._sampled - 1:
            return Level(-1.0, 1.0, 0.0)
        # Where strength cuts custom times short, upstream does not notice the last step.
        return self._here(int(times[min(i + 1, len(times) - 1)]))

    def _reading(self, stage: Call, key: StepKey) -> Reading:
        """Of f, or of what is clipped on the way to it."""
        return super()._reading(stage, key) if self._alters else self._reading_of_f(stage)

    def _reading_of_f(self, stage: Call) -> Reading:
        raw = super()._reading(stage, ())
        c_skip, c_out = self._scalings(stage.t)
        return Reading(c_out * raw.x0_x + c_skip, c_out * raw.x0_out, raw.eps_x, raw.eps_out)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i`` for f to be x0: ``on_x * x + on_x0 * x0``."""
        stage = self.stages[self._checked_position(i)]
        return inverse(self._reading_of_f(stage), stage.here)

    def _bounded(self, x0: Array, sample: Array, stage: Call) -> Array:
        c_skip, c_out = self._scalings(stage.t)
        backend = backend_of(x0, "model_output")
        return backend.combine([(c_out, self._alter_x0(x0)), (c_skip, sample)], x0, x0.dtype)

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        target = past[0].target
        return Coefficients((0.0,), (target.alpha,), noise=target.sigma)

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
            sample: ``alpha x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, denoised)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, which is also called ``denoised``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        prev, x0 = self._advance(model_output, timestep, sample, generator, return_dict=False)
        return DenoisedOutput(prev, x0, x0) if return_dict else (prev, x0)
