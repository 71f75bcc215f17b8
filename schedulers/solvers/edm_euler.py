"""Euler's method with churn, for networks preconditioned as EDM proposes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backend.arrays import Array, Generator, backend_of
from ..backend.checks import check_floats, check_pair, check_ramp, check_sigmas, check_steps
from ..backend.errors import ParameterError
from ..backend.output import StepOutput
from ..core.grid import Request
from ..core.rule import StepArguments
from ..facts import papers
from ..families.edm import EdmScheduler
from ..grids.edm import edm_grid
from ..interface import params as p
from ..interface.config import configured
from ..rules import euler
from ..rules.edm import EdmEuler


class EDMEulerScheduler(EdmScheduler):
    r"""Euler's method with churn, for networks preconditioned as in EDM.

        x0        = c_skip x + c_out F(c_in x, log(sigma) / 4),   c_in = 1 / q
        c_skip    = (sigma_data / q)^2,   c_out = sigma sigma_data / q
        q         = sqrt(sigma^2 + sigma_data^2)
        x_hat     = x + s_noise sqrt(sigma_hat^2 - sigma^2) z
        sigma_hat = (1 + gamma) sigma,   gamma = min(s_churn / N, sqrt(2) - 1)
        x_next    = x_hat + (sigma_next - sigma_hat) (x_hat - x0) / sigma_hat

    F is the network (with ``v_prediction`` -F), sigma_data the deviation of the data;
    ``scale_model_input`` applies c_in, and ``timesteps`` hold ``log(sigma) / 4``. ``gamma`` is 0
    unless ``s_tmin <= sigma <= s_tmax``. The model is asked before the churn, at ``sigma``.
    Upstream reads its answer as one for x_hat at ``sigma_hat``; ``compat="paper"`` reads it as it
    was asked.

    References:
        Karras et al. 2022. Elucidating the Design Space of Diffusion-Based Generative Models.
        arXiv 2206.00364, algorithm 2 without its correction, table 1 (preconditioning).
    """

    title = "EDM Euler"
    family = "EDM"
    good_for = "Networks preconditioned as in EDM, or trained for cosXL: the plain first choice."
    reference = papers.EDM.at("Algorithm 2 without its correction, table 1 (preconditioning).")
    _follows_model_dtype = True
    _rounds_ramp = False

    @configured
    def __init__(
        self,
        sigma_min: p.VeSigmaMin = 0.002,
        sigma_max: p.VeSigmaMax = 80.0,
        sigma_data: p.SigmaData = 0.5,
        sigma_schedule: p.SigmaScheduleEdm = "karras",
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        prediction_type: p.PredictionTypeEdmEuler = "epsilon",
        rho: p.Rho = 7.0,
        final_sigmas_type: p.FinalSigmasType = "zero",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_edm(tensor_format, num_train_timesteps + 1, self._final)

    def _make_rule(self) -> EdmEuler:
        return EdmEuler(self.prediction_type, self._data_std, self.follows("edm-churn-reading"))

    @property
    def _final(self) -> float | None:
        """Where a run ends: at 0, or (None) at its last level."""
        return None if self.config["final_sigmas_type"] == "sigma_min" else 0.0

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps or from a list.

        Args:
            num_inference_steps: Number of steps N >= 1; beside ``sigmas`` their number.
            device: Where ``timesteps`` go (torch only).
            sigmas: As upstream a ramp, ascending in [0, 1], of places on the schedule: 0 is
                sigma_max, 1 is sigma_min; the exponential schedule takes but its length. Under
                ``compat="paper"`` the noise levels themselves, strictly descending, the final one
                included.

        Raises:
            TypeError: A wrong type.
            ValueError: Neither or contradicting arguments, out of range, or not in order.
        """
        if sigmas is None:
            n = check_steps(num_inference_steps, None)
            request = Request(n)
        else:
            ramps = self._dialect().ramps
            given = check_ramp("sigmas", sigmas) if ramps else check_sigmas(sigmas)
            n, request = len(given) - (not ramps), Request(sigmas=tuple(given.tolist()))
        if num_inference_steps not in (None, n):
            raise ParameterError(
                f"num_inference_steps={num_inference_steps!r} and sigmas for {n} steps must agree.",
                "num_inference_steps",
            )
        self._use(edm_grid(self._dialect(), request, self._final), device)

    def _step_arguments(self, settings: Mapping[str, Any]) -> StepArguments:
        return euler.churn_of(settings)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without churn there is no noise to shape."""
        return super()._inert(values) | euler.churn_idles(values)

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
        pred_original_sample: Array = None,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the network returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            s_churn: Total churn over the run, 0 for none.
            s_tmin: Churn only at or above this sigma.
            s_tmax: Churn only at or below this sigma.
            s_noise: Factor on the churned noise.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.
            pred_original_sample: A data prediction to take instead of the network's, same shape.

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
        if pred_original_sample is None:
            return self._advance(
                model_output, timestep, sample, arguments, generator, None, None, return_dict
            )
        given = pred_original_sample
        prev = self._step_to_given(given, model_output, timestep, sample, generator, arguments)
        return StepOutput(prev, given) if return_dict else (prev, given)

    def _step_to_given(
        self,
        x0: Array,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator,
        arguments: StepArguments,
    ) -> Array:
        """The next sample for a data prediction that the caller gives."""
        self._require_timesteps("step")
        self._heed()
        backend = backend_of(sample, "sample")
        dtype = backend.compute_dtype(check_pair(model_output, sample, backend))
        if check_floats("pred_original_sample", x0) is not backend or x0.shape != sample.shape:
            raise ParameterError(
                f"pred_original_sample has shape {tuple(x0.shape)}; it must be an array like "
                f"sample, of shape {tuple(sample.shape)}.",
                "pred_original_sample",
                "sample",
            )
        i = self._locate(timestep)
        call = self._call(i)
        sigma_hat, noise = euler.churned(self._grid, call.here.sigma, arguments)
        keep = call.target.sigma / sigma_hat
        terms = [(keep, sample), (1.0 - keep, x0)]
        if keep * noise != 0.0:
            terms.append((keep * noise, backend.randn(sample, model_output.dtype, generator)))
        self._step_index = i + 1
        return backend.cast(backend.combine(terms, sample, dtype), model_output.dtype)
