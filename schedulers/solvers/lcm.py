"""Latent consistency models: to the data in one call, then noise up to the next level."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator
from ..backend.checks import check_real
from ..backend.output import DenoisedOutput
from ..core import prediction
from ..facts import papers
from ..families.distilled import DistilledScheduler
from ..grids import distilled as grids
from ..grids.vp import VpDialect, VpGrid
from ..interface import params as p
from ..interface.config import configured
from ..rules.distilled import LatentConsistency


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

    _rule: LatentConsistency

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
        self._begin_distilled(tensor_format)

    def _make_rule(self) -> LatentConsistency:
        scaling = self.config["timestep_scaling"]
        return LatentConsistency(self.prediction_type, scaling, self._bounds_x0)

    def _dialect(self, custom: bool = False) -> VpDialect:
        return super()._dialect(custom)._replace(aim=grids.next_until_last, end=1.0)

    def _relaid(self, times: np.ndarray, steps: int | None, dialect: VpDialect) -> VpGrid:
        # The last step leads to the data, whatever final_alpha_cumprod is.
        return super()._relaid(times, steps, dialect._replace(end=1.0))

    def get_scalings_for_boundary_condition_discrete(self, timestep: float) -> tuple[float, float]:
        """``(c_skip, c_out)`` that make f the identity at time 0."""
        return self._rule.weights(check_real("timestep", timestep, 0.0, self._train_steps))

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i`` for f to be x0: ``on_x * x + on_x0 * x0``."""
        call = self._grid.calls[self._checked_position(i)]
        return prediction.inverse(self._rule.read_f(call), call.here)

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
        prev, x0 = self._advance(model_output, timestep, sample, (), generator, return_dict=False)
        return DenoisedOutput(prev, x0, x0) if return_dict else (prev, x0)
