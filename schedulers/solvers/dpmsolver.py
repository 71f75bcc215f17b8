"""DPM-Solver and DPM-Solver++, multistep: four forms of one exponential integrator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..backend.arrays import Array, Generator
from ..facts import papers
from ..families.dpm import DpmScheduler
from ..families.multistep import order_inert
from ..interface import params as p
from ..interface.config import configured
from ..rules.multistep import Multistep


class DPMSolverMultistepScheduler(DpmScheduler):
    r"""DPM-Solver and DPM-Solver++, multistep, orders 1 to 3, as ODE and as SDE.

    In ``lam = log(alpha / sigma)``, with ``h = lam_next - lam`` and D the data (++) or noise
    prediction,

        x_next = c x + kappa (psi_0 D0 + psi_1 D1 + psi_2 D2) + s z
        psi_k  = int_0^1 w exp(-w (1 - u)) u^k / k! du

        dpmsolver++:      c = sigma_next / sigma,          kappa = alpha_next,    w = h
        dpmsolver:        c = alpha_next / alpha,          kappa = sigma_next,    w = -h
        sde-dpmsolver++:  c = sigma_next / sigma exp(-h),  kappa = alpha_next,    w = 2 h
        sde-dpmsolver:    c = alpha_next / alpha,          kappa = 2 sigma_next,  w = -h

    The noise is ``s = sigma_next sqrt(1 - exp(-2 h))`` for ``sde-dpmsolver++``,
    ``s = sigma_next sqrt(exp(2 h) - 1)`` for ``sde-dpmsolver``, and none for the other two.

    ``D0 = D``. Order 2 adds ``D1 = (D - D[-1]) / r`` with ``r = (lam - lam[-1]) / h``, the slope
    through the last two calls, and order 3 slope and curvature of the parabola through the last
    three: D1 and D2 are its derivatives at u = 0, where u is the fraction of the step. At order 2
    ``midpoint`` takes ``psi_0 / 2`` for psi_1.

    At order 3 upstream's D2 lacks a factor 2, and ``sde-dpmsolver++`` has a sign flipped;
    ``compat="paper"`` has neither.

    References:
        Lu et al. 2022. DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in
        Around 10 Steps. arXiv 2206.00927. Lu et al. 2022. DPM-Solver++: Fast Solver for Guided
        Sampling of Diffusion Probabilistic Models. arXiv 2211.01095, eq. 8 to 18.
    """

    title = "DPM-Solver multistep"
    family = "Exponential integrators"
    good_for = "The usual choice for guided images: good in 15 to 25 calls."
    reference = papers.DPM_SOLVER_PP.at("Algorithm 2; DPM-Solver, arXiv 2206.00927.")
    _noise_in_float32 = True
    _cuts_cosine_times = True
    #: Whether upstream's sde-dpmsolver++ has an order 3 to follow; it crashes where it has none.
    _sde_third_order: ClassVar[bool] = True
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "solver_type": {"logrho": "midpoint", "bh1": "midpoint", "bh2": "midpoint"},
        "algorithm_type": {"deis": "dpmsolver++"},
    }

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        solver_order: p.SolverOrder = 2,
        prediction_type: p.PredictionTypeFlow = "epsilon",
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        algorithm_type: p.AlgorithmType = "dpmsolver++",
        solver_type: p.SolverType = "midpoint",
        lower_order_final: p.LowerOrderFinal = True,
        euler_at_final: p.EulerAtFinal = False,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        use_lu_lambdas: p.UseLuLambdas = False,
        use_flow_sigmas: p.UseFlowSigmas = False,
        flow_shift: p.FlowShift = 1.0,
        final_sigmas_type: p.FinalSigmasType = "zero",
        lambda_min_clipped: p.LambdaMinClipped = -float("inf"),
        variance_type: p.VarianceTypeSolver = None,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        use_dynamic_shifting: p.UseDynamicShifting = False,
        time_shift_type: p.TimeShiftType = "exponential",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_dpm(tensor_format)

    def _make_rule(self) -> Multistep:
        config = self.config
        form, order = config["algorithm_type"], config["solver_order"]
        plus = form == "sde-dpmsolver++"
        return Multistep(
            *self._interpolated(form.endswith("++"), order + 1),
            form,
            order,
            config["solver_type"] == "midpoint",
            config["lower_order_final"],
            bool(self._setting("euler_at_final") or self._setting("final_sigmas_type") == "zero"),
            halves=(self._sde_third_order or not plus) and self.follows("dpm-third-order"),
            flips=self._sde_third_order and plus and self.follows("sde-half-sign"),
        )

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        variance_noise: Array = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample; with ``variance_type`` set
                it may carry further channels (axis 1), which are cut off.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            generator: Source of noise, or a list with one for each sample.
            variance_noise: Noise to use instead of drawing it.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``. The latter is kept for the next steps:
            copy it before changing it in place.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        return self._advance(
            model_output, timestep, sample, (), generator, variance_noise, return_dict=return_dict
        )

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the order, the curve and the length of the run make idle."""
        return super()._inert(values) | order_inert(values)
