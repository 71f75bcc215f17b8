"""Trajectory consistency distillation: down beyond the next level, and back up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .backend.arrays import Array, Generator, backend_of
from .backend.output import NoisedOutput
from .core.coefficients import Coefficients
from .core.level import Call, Level, vp_level
from .distilled import DistilledScheduler
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import OUTPUT, SAMPLE, Plan, StepKey
from .rules.exponential import fresh_variance, posterior_variance

DEFAULT_ETA = 0.3


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

    def _origin(self, original: int, strength: float, given: bool) -> np.ndarray:
        """As for the base; every training step where set_timesteps is told the solver's steps."""
        if given:
            return np.arange(int(self._train_steps * strength))
        return super()._origin(original, strength, given)

    def _get_variance(self, timestep: int, prev_timestep: int) -> float:
        """Posterior variance between two training steps; below 0 is the final level."""
        here, before = self._pair_of_times(timestep, prev_timestep)
        final = self._abar(before) if before >= 0 else self._final_abar
        return posterior_variance(self._here(here), vp_level(0.0, final))

    def _target(self, t: int, times: np.ndarray, i: int) -> Level:
        return self._here(int(times[i + 1]) if i + 1 < len(times) else 0)

    def _default_key(self) -> StepKey:
        return (DEFAULT_ETA,)

    def _key(self, settings: Mapping[str, Any]) -> StepKey:
        return (settings.get("eta", DEFAULT_ETA),)

    def _below(self, target: Level, eta: float) -> Level:
        """The level s; a product in float32, as upstream floors it."""
        return self._here(int(np.floor(np.float32(1.0 - eta) * np.float32(target.t))))

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        target = past[0].target
        below = self._below(target, *key)
        back = target.alpha / below.alpha if below.alpha else 1.0
        noise = math.sqrt(fresh_variance(target, below))
        return Coefficients((0.0,), (back * below.alpha,), (back * below.sigma,), noise)

    def _plan(self, i: int, past: Sequence[Call], key: StepKey) -> Plan:
        stage = past[0]
        read, below = self._reading(stage, ()), self._below(stage.target, *key)
        on_x = below.alpha * read.x0_x + below.sigma * read.eps_x
        on_out = below.alpha * read.x0_out + below.sigma * read.eps_out
        return replace(super()._plan(i, past, key), aside=((on_x, SAMPLE), (on_out, OUTPUT)))

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
        prev, x0 = self._advance(
            model_output, timestep, sample, generator, key=(eta,), return_dict=False
        )
        terms = self._plans[(self._step_index or 1) - 1, 0, (eta,)].aside
        backend, dtype = backend_of(sample, "sample"), prev.dtype
        noised = backend.weigh(terms, (sample, model_output), backend.compute_dtype(dtype))
        noised = backend.cast(noised, dtype)
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
