"""Trajectory consistency distillation: down beyond the next level, and back up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend.arrays import Array, Generator
from ..backend.output import NoisedOutput
from ..core.rule import StepArguments
from ..facts import papers
from ..families.distilled import DistilledScheduler
from ..grids import distilled as grids
from ..grids.vp import VpDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules.distilled import DEFAULT_ETA, TrajectoryConsistency
from ..rules.exponential import posterior_variance


class TCDScheduler(DistilledScheduler):
    r"""Trajectory consistency distillation: down to a level s beyond the next, and back up.

        x_s    = alpha_s x0 + sigma_s eps,   t_s = floor((1 - eta) t_next)
        x_next = r x_s + sqrt(1 - r^2) z,    r = alpha_next / alpha_s

    ``alpha_s`` and ``sigma_s`` are those of training step t_s: eta = 0 leads straight to the next
    level, eta = 1 all the way to the data and back. The last step ends at the first training
    level. Nothing is ever clipped.

    References:
        Zheng, Hu, Fan, Wang, Ding, Tao, Cham 2024. Trajectory Consistency Distillation.
        arXiv 2402.19159, algorithm 4 (strategic stochastic sampling; eta is its gamma).
    """

    title = "TCD"
    family = "Consistency"
    good_for = "Models distilled by TCD: 2 to 20 calls, with a dial for randomness."
    reference = papers.TCD.at("Algorithm 4.")
    _bounding = ()
    _every_if_given = True

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

    def _make_rule(self) -> TrajectoryConsistency:
        return TrajectoryConsistency(self.prediction_type)

    def _dialect(self, custom: bool = False) -> VpDialect:
        return super()._dialect(custom)._replace(aim=grids.next_or_first)

    def _get_variance(self, timestep: int, prev_timestep: int) -> float:
        """Posterior variance between two training steps; below 0 is the final level."""
        return posterior_variance(*self._pair_of_times(timestep, prev_timestep))

    def _step_arguments(self, settings: Mapping[str, Any]) -> StepArguments:
        return (settings.get("eta", DEFAULT_ETA),)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        eta: p.EtaTcd = DEFAULT_ETA,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``alpha x0 + sigma eps``, any shape.
            eta: The paper's gamma, 0 (deterministic) to 1 (by way of the data).
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_noised_sample)``.

        Returns:
            ``prev_sample``, ``pred_original_sample`` and ``pred_noised_sample``, the sample at s.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or eta out of range.
        """
        if type(eta) is not float or eta != DEFAULT_ETA:
            eta = self._check_step("eta", eta)
        prev, x0, noised = self._advance(model_output, timestep, sample, (eta,), generator)
        return NoisedOutput(prev, x0, noised) if return_dict else (prev, noised)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """No clipping, no consistency function."""
        names = (
            "clip_sample", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio",
            "sample_max_value",
        )  # fmt: skip
        never = dict.fromkeys(names, "this class never clips, as in diffusers.")
        scaling = {"timestep_scaling": "the prediction is taken as it is."}
        last = {"eta": "a single step adds no noise."} if values.get("steps") == 1 else {}
        return super()._inert(values) | never | scaling | last
