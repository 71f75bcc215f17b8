"""DDIM: the exponential Euler step, with as much fresh noise as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend.arrays import Array, Generator
from ..backend.errors import ParameterError
from ..core.exports import Absent, PublicArray
from ..core.level import Call
from ..core.rule import StepArguments
from ..facts import papers
from ..families.vp import VpScheduler
from ..grids import vp as grids
from ..grids.vp import VpDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules.exponential import posterior_variance
from ..rules.vp import Ddim


class DDIMScheduler(VpScheduler):
    r"""Denoising diffusion implicit models.

    With the data prediction ``x0`` and noise prediction ``eps`` of a call,

        x_next = alpha_next x0 + sqrt(sigma_next^2 - s^2) eps + s z
        s      = eta (sigma_next / sigma) sqrt(1 - (alpha / alpha_next)^2)

    deterministic for eta = 0 and as random as DDPM for eta = 1.

    Upstream steps to ``t - T // N`` rather than to the next timestep; with "linspace", or
    "trailing" and T not divisible by N, that is off the grid. ``compat="paper"`` steps to the next
    timestep.

    References:
        Song, Meng, Ermon 2020. Denoising Diffusion Implicit Models. arXiv 2010.02502, eq. 12, 16.
    """

    title = "DDIM"
    family = "Variance preserving"
    good_for = "Deterministic and simple; good for editing and interpolating."
    reference = papers.DDIM.at("Eq. 12.")

    _by_timestep = True
    step_index = begin_index = set_begin_index = Absent()

    final_alpha_cumprod = PublicArray("Signal power where the last step ends.", "_heed_end")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        clip_sample: p.ClipSample = True,
        set_alpha_to_one: p.SetAlphaToOne = True,
        steps_offset: p.StepsOffset = 0,
        prediction_type: p.PredictionType = "epsilon",
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        clip_sample_range: p.ClipSampleRange = 1.0,
        sample_max_value: p.SampleMaxValue = 1.0,
        timestep_spacing: p.TimestepSpacing = "leading",
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        timestep_values: p.TimestepValues = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_vp(tensor_format, set_alpha_to_one)

    def _make_rule(self) -> Ddim:
        return Ddim(self.prediction_type)

    def _dialect(self, custom: bool = False) -> VpDialect:
        strides = self.follows("ddim-stride") and not custom
        aim = grids.stride_down if strides else grids.next_lower
        return super()._dialect(custom)._replace(aim=aim)

    def _step_arguments(self, settings: Mapping[str, Any]) -> StepArguments:
        return settings.get("eta", 0.0), settings.get("use_clipped_model_output", False)

    def _off_schedule(self, value: float) -> int:
        """Any training step will do; its position is counted down from -1."""
        if not 0 <= value < len(self._table) or value != int(value):
            raise ParameterError(
                f"timestep={value!r} must be an integer in 0..{len(self._table) - 1}.", "timestep"
            )
        return -1 - int(value)

    def _other_call(self, i: int) -> Call:
        return super()._other_call(i) if i >= 0 else self._grid.aside(-1 - i)

    def _get_variance(self, timestep: int, prev_timestep: int | None = None) -> float:
        """Posterior variance between two training steps; below 0 is the final level.

        Without the second, the step is as long as those of upstream's grid, T // N.
        """
        if prev_timestep is None:
            self._require_timesteps("_get_variance")
            grid = self._grid
            here, _ = self._pair_of_times(timestep, -1)
            prev_timestep = int(here.t) - grids.stride(grid.steps, grid.dialect)
        return posterior_variance(*self._pair_of_times(timestep, prev_timestep))

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        eta: p.Eta = 0.0,
        use_clipped_model_output: p.UseClippedModelOutput = False,
        generator: Generator = None,
        variance_noise: Array = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``; other training steps work too.
            sample: The noisy sample, any shape.
            eta: Share of fresh noise, 0 (deterministic) to 1 (as in DDPM).
            use_clipped_model_output: Derive the noise again from the clipped clean sample.
            generator: Source of noise, or a list with one for each sample.
            variance_noise: Noise to use instead of drawing it.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, eta out of range, or
                both ``generator`` and ``variance_noise``.
        """
        if use_clipped_model_output is None:
            # diffusers' DDIMPipeline passes None for it.
            use_clipped_model_output = False  # type: ignore[unreachable]
        if type(eta) is not float or eta != 0.0 or use_clipped_model_output is not False:
            eta = self._check_step("eta", eta)
            self._check_step("use_clipped_model_output", use_clipped_model_output)
            if eta and variance_noise is not None and generator is not None:
                raise ParameterError(
                    "pass either generator or variance_noise, not both.",
                    "generator",
                    "variance_noise",
                )
        arguments = (eta, use_clipped_model_output)
        return self._advance(
            model_output, timestep, sample, arguments, generator, variance_noise,
            return_dict=return_dict,
        )  # fmt: skip

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """use_clipped_model_output needs something that clips."""
        if values.get("clip_sample") or values.get("thresholding"):
            return {}
        return {"use_clipped_model_output": "nothing is clipped: clip_sample is off."}
