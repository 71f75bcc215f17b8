"""DDPM: ancestral sampling with the posterior mean and six variances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, Generator, backend_of
from ..backend.checks import check_whole, shown
from ..backend.errors import ParameterError, ParameterTypeError
from ..core.exports import Absent, PublicArray
from ..core.level import Call
from ..facts import papers
from ..families.vp import VpScheduler, previous_timestep
from ..grids.vp import FirstGrid, VpDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules.exponential import fresh_variance
from ..rules.vp import LEARNED, VARIANCES, Posterior, small_variance

#: What ``predict_epsilon`` says of the model's output.
READ_AS = {True: "epsilon", False: "sample"}


class DDPMScheduler(VpScheduler):
    r"""Denoising diffusion probabilistic models.

    The mean of the posterior q(x_next | x, x0), plus noise of one of six variances:

        x_next = alpha_next beta / sigma^2 x0 + alpha / alpha_next (sigma_next / sigma)^2 x + s z
        beta   = 1 - (alpha / alpha_next)^2

    ``beta`` is the variance that the process adds between the two levels, over one training step
    that step's own. ``s^2`` is ``(sigma_next / sigma)^2 beta``, the posterior's, for
    ``fixed_small`` and ``fixed_small_log``; ``beta`` for ``fixed_large`` and ``fixed_large_log``;
    the second half of the model's channels for ``learned``; between the two, evenly in the
    logarithm, as that half says (-1 to 1) for ``learned_range``. The step from t = 0 adds no
    noise.

    References:
        Ho, Jain, Abbeel 2020. Denoising Diffusion Probabilistic Models. arXiv 2006.11239, eq. 7.
        Nichol, Dhariwal 2021. Improved Denoising Diffusion Probabilistic Models. arXiv 2102.09672,
        eq. 15 (learned_range).
    """

    title = "DDPM"
    family = "Variance preserving"
    good_for = "The original, random at every step; best with hundreds of steps."
    reference = papers.DDPM.at("Eq. 7 and algorithm 2.")

    _by_timestep = True
    _end_name = "one"
    step_index = begin_index = set_begin_index = Absent()

    one = PublicArray("Signal power where the last step ends.", "_heed_end")
    _rule: Posterior
    #: Kind of variance that was assigned, where one was.
    _variance_type: str | None = None

    # A sibling's config may say None where it means the default.
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "variance_type": {None: "fixed_small"}
    }

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaScheduleDDPM = "linear",
        trained_betas: p.TrainedBetas = None,
        variance_type: p.VarianceTypeDDPM = "fixed_small",
        clip_sample: p.ClipSample = True,
        prediction_type: p.PredictionType = "epsilon",
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        clip_sample_range: p.ClipSampleRange = 1.0,
        sample_max_value: p.SampleMaxValue = 1.0,
        timestep_spacing: p.TimestepSpacing = "leading",
        steps_offset: p.StepsOffset = 0,
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        timestep_values: p.TimestepValues = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self.custom_timesteps = False
        self._begin_vp(tensor_format)

    @property
    def variance_type(self) -> str:
        """Kind of variance: the config's, unless another was assigned."""
        return str(self._variance_type or self._config["variance_type"])

    @variance_type.setter
    def variance_type(self, kind: str) -> None:
        self._variance_type = self._checked_kind(kind)
        self._bind()

    @staticmethod
    def _checked_kind(kind: Any) -> str:
        if not isinstance(kind, str) or kind not in VARIANCES:
            raise ParameterError(
                f"variance_type={shown(kind)} must be one of {', '.join(VARIANCES)}.",
                "variance_type",
            )
        return kind

    def _make_rule(self) -> Posterior:
        return Posterior(self.prediction_type, self.variance_type)

    def _dialect(self, custom: bool = False) -> VpDialect:
        # Upstream looks for the first place of a time that occurs twice.
        return super()._dialect(custom)._replace(kind=FirstGrid)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[int] | None = None,
        offset: int = 0,
    ) -> None:
        """Lay out a run, from a number of steps or from the timesteps themselves.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps; with the constructor's
                ``timestep_values`` their number or None.
            device: Where ``timesteps`` go (torch only).
            timesteps: Custom training steps, strictly descending.
            offset: Added to spaced times, as the first versions of diffusers had it; in the
                config it is ``steps_offset``.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Both or neither given, out of range, not descending, or the noise schedule
                is undefined on the grid.
        """
        super().set_timesteps(num_inference_steps, device, timesteps, offset)
        values = self._setting("timestep_values")
        self.custom_timesteps = timesteps is not None or values is not None

    previous_timestep = previous_timestep

    def _get_variance(
        self, t: int, predicted_variance: Array = None, variance_type: str | None = None
    ) -> Any:
        """Variance (or its logarithm, for learned_range) of the noise that a step adds.

        Args:
            t: Training step.
            predicted_variance: Second half of the model's output, for the learned types.
            variance_type: Overrides the scheduler's own.
        """
        kind = self._checked_kind(self.variance_type if variance_type is None else variance_type)
        t = check_whole("t", t, 0, len(self._table) - 1)
        here, target = self._pair_of_times(t, self.previous_timestep(t))
        small, large = small_variance(here, target), fresh_variance(here, target)
        if kind == "learned":
            return predicted_variance
        if kind == "learned_range":
            backend_of(predicted_variance, "predicted_variance")
            low, high = math.log(small), math.log(large)
            return predicted_variance * ((high - low) / 2.0) + (high + low) / 2.0
        return {"fixed_small": small, "fixed_small_log": math.sqrt(small)}.get(kind, large)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
        predict_epsilon: bool | None = None,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample; for the learned variance
                types with twice the channels (axis 1), the second half being the variance.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.
            predict_epsilon: Whether the model returned the noise (True) or the clean sample
                (False), as the first versions of diffusers had it; None for prediction_type.

        Returns:
            ``prev_sample`` and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or a timestep that is
                not in the schedule.
        """
        if predict_epsilon is not None and not isinstance(predict_epsilon, (bool, np.bool_)):
            raise ParameterTypeError(
                f"predict_epsilon={shown(predict_epsilon)} must be True, False or None.",
                "predict_epsilon",
            )
        spread = None
        if self._rule.variance_type in LEARNED:
            self._require_timesteps("step")
            model_output, spread = self._split(model_output, timestep, sample)
        told = None if predict_epsilon is None else READ_AS[bool(predict_epsilon)]
        arguments = (told, spread is not None)
        return self._advance(
            model_output, timestep, sample, arguments, generator, spread=spread,
            return_dict=return_dict,
        )  # fmt: skip

    def _prediction_in(self, model_output: Array, sample: Array) -> Array:
        if self.variance_type in LEARNED and getattr(sample, "ndim", 0) > 1:
            return model_output[:, : sample.shape[1]]
        return model_output

    def _variance_channels(self, call: Call) -> float | None:
        if self.variance_type not in LEARNED:
            return None
        # The posterior's variance: as it is, or as the lower end of its range.
        ranged = self.variance_type == "learned_range"
        return -1.0 if ranged else small_variance(call.here, call.target)

    def _split(self, model_output: Array, timestep: Any, sample: Array) -> tuple[Array, Array]:
        """Prediction and standard deviation out of a model output with doubled channels."""
        backend = backend_of(model_output, "model_output")
        shape, wanted = tuple(model_output.shape), tuple(sample.shape)
        if len(wanted) < 2:
            raise ParameterError(
                f"sample has shape {wanted}; variance_type={self.variance_type!r} needs a channel "
                "axis (the second), along which the model returns the variance.",
                "sample",
                "variance_type",
            )
        doubled = (wanted[0], 2 * wanted[1], *wanted[2:])
        if shape != doubled:
            raise ParameterError(
                f"model_output has shape {shape}; variance_type={self.variance_type!r} needs "
                f"{doubled}: the prediction, then the variance.",
                "model_output",
                "variance_type",
            )
        prediction, variance = backend.split_channels(model_output, wanted[1])
        variance = backend.cast(variance, backend.compute_dtype(variance.dtype))
        t = int(self._value(timestep))
        if self.variance_type == "learned":
            return prediction, backend.sqrt_of_positive(variance)
        if t == 0:
            # No noise is drawn at the end of the chain, where the range is empty.
            return prediction, None
        return prediction, backend.exp(self._get_variance(t, variance) * 0.5)
