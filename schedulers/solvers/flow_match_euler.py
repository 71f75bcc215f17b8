"""Rectified flow by Euler's method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator, backend_of
from ..backend.checks import check_pair
from ..backend.errors import ParameterError
from ..backend.output import StepOutput
from ..facts import papers
from ..families.flow import ShiftedFlowScheduler
from ..interface import params as p
from ..interface.config import configured
from ..rules.euler import NO_CHURN
from ..rules.flow import FlowEuler

#: A token's present level lies at least this far above its next one, as upstream has it.
LEVEL_GAP = 1e-6


class FlowMatchEulerDiscreteScheduler(ShiftedFlowScheduler):
    r"""Euler's method on ``dx / d sigma = eps - x0``, the straight path of a rectified flow.

        x_next = x + (sigma_next - sigma) out,   x0 = x - sigma out
        sigma  = shift v / (1 + (shift - 1) v),   v evenly spaced from 1 to 1 / T, then 0

    The model returns the slope ``out = eps - x0``. With ``stochastic_sampling`` a step goes to x0
    and back: ``x_next = (1 - sigma_next) x0 + sigma_next z``.

    Upstream's constructor shifts the ends of the grid and ``set_timesteps`` shifts the grid
    between them again; ``compat="paper"`` shifts once.

    References:
        Liu, Gong, Liu 2022. Flow Straight and Fast: Learning to Generate and Transfer Data with
        Rectified Flow. arXiv 2209.03003. Lipman, Chen, Ben-Hamu, Nickel, Le 2022. Flow Matching
        for Generative Modeling. arXiv 2210.02747. Esser et al. 2024. Scaling Rectified Flow
        Transformers for High-Resolution Image Synthesis. arXiv 2403.03206, eq. 23 (shift).
    """

    title = "Flow match Euler"
    family = "Flow matching"
    good_for = "Rectified flows such as Flux and Stable Diffusion 3: straight paths, few steps."
    reference = papers.STABLE_DIFFUSION_3.at(
        "Eq. 23; rectified flow, arXiv 2209.03003; flow matching, arXiv 2210.02747."
    )
    _noise_in_float32 = True
    _rule: FlowEuler

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        shift: p.FlowShift = 1.0,
        use_dynamic_shifting: p.UseDynamicShifting = False,
        base_shift: p.BaseShift = 0.5,
        max_shift: p.MaxShift = 1.15,
        base_image_seq_len: p.BaseImageSeqLen = 256,
        max_image_seq_len: p.MaxImageSeqLen = 4096,
        invert_sigmas: p.InvertSigmas = False,
        shift_terminal: p.ShiftTerminal = None,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        time_shift_type: p.TimeShiftTypeFlow = "exponential",
        stochastic_sampling: p.StochasticSampling = False,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_shifted(tensor_format)

    def _make_rule(self) -> FlowEuler:
        stochastic = bool(self.config["stochastic_sampling"])
        negates = self.follows("flow-token-sign") and not stochastic
        return FlowEuler(
            stochastic,
            self._inverted,
            self.follows("flow-inverted-noise"),
            -1.0 if negates else 1.0,
        )

    # --- the step -----------------------------------------------------------------------------

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
        per_token_timesteps: Array = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: The flow ``eps - x0``, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``(1 - sigma) x0 + sigma eps``, any shape.
            s_churn: Taken and not used, as upstream; so are the next three.
            s_tmin: Not used.
            s_tmax: Not used.
            s_noise: Not used.
            generator: Source of noise, or a list with one for each sample.
            per_token_timesteps: A time for every token, shape (batch, tokens), for a sample of
                shape (batch, tokens, channels); each token steps to the highest level below its
                own. The output is then minus the flow, as upstream's pipeline passes it; under
                ``compat="paper"`` it is the flow.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, in the dtype of the model output.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, an integer timestep, or shapes that do not match.
        """
        self._refuse_integer(timestep)
        self._churn_arguments(s_churn, s_tmin, s_tmax, s_noise)  # arguments without effect
        if per_token_timesteps is not None:
            prev, x0 = self._step_tokens(
                model_output, timestep, sample, generator, per_token_timesteps
            )
            return StepOutput(prev, x0) if return_dict else (prev, x0)
        return self._advance(
            model_output, timestep, sample, NO_CHURN, generator, None, None, return_dict
        )

    def _step_tokens(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator,
        times: Array,
    ) -> tuple[Array, Array]:
        """A step with a level for every token: weights that are arrays."""
        self._require_timesteps("step")
        self._heed()
        backend = backend_of(sample, "sample")
        dtype = backend.compute_dtype(check_pair(model_output, sample, backend))
        if self._inverted:
            raise ParameterError(
                "per_token_timesteps cannot be combined with invert_sigmas=True.",
                "per_token_timesteps",
                "invert_sigmas",
            )
        if backend_of(times, "per_token_timesteps") is not backend or (
            sample.ndim != 3 or times.shape != sample.shape[:2]
        ):
            raise ParameterError(
                f"per_token_timesteps has shape {tuple(times.shape)}; for a sample of shape "
                f"(batch, tokens, channels) it must be an array like it of shape (batch, tokens), "
                f"and sample has shape {tuple(sample.shape)}.",
                "per_token_timesteps",
            )
        i = self._locate(timestep)
        self._call(i)
        here = backend.cast(times, dtype)[..., None] / len(self)
        target = backend.largest_below(
            np.sort(self._grid.sigmas.astype(np.float64)), here - LEVEL_GAP
        )
        noisy = self.config["stochastic_sampling"]
        x = backend.cast(sample, dtype)
        velocity = backend.cast(model_output, dtype) * self._rule.token_sign
        x0 = x - here * velocity
        if noisy:
            drawn = backend.randn(sample, backend.float32, generator)
            prev = (1.0 - target) * x0 + target * backend.cast(drawn, dtype)
        else:
            prev = x + (target - here) * velocity
        self._step_index = i + 1
        return backend.cast(prev, model_output.dtype), backend.cast(x0, model_output.dtype)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What upstream takes and does not use."""
        unused = dict.fromkeys(
            ("s_churn", "s_tmin", "s_tmax", "s_noise"),
            "the rule has no churn; stochastic_sampling adds noise.",
        )
        return unused | super()._inert(values)
