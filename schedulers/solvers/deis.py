"""DEIS: the exponential integrator whose noise prediction is a polynomial in log rho."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..core.scheduler import plain_step
from ..facts import papers
from ..families.dpm import DpmScheduler
from ..interface import params as p
from ..interface.config import configured
from ..rules.multistep import SHORT_RUN, LogRho


class DEISMultistepScheduler(DpmScheduler):
    r"""Diffusion exponential integrator sampler, log-rho form, orders 1 to 3.

    With ``rho = sigma / alpha``,

        x_next = alpha_next (x / alpha + sum_j eps[-j] int_rho^rho_next L_j(log r) dr)

    where the ``L_j`` are the Lagrange polynomials in log rho on the last ``solver_order`` calls: 1
    at call j, 0 at the others. The integrals are taken in float64 without cancellation; upstream's
    float32 ones cost order 3 its order on fine grids. The last level is the smallest trained one,
    and with a sigma curve the curve's own last: that step then stands still.

    References:
        Zhang and Chen 2022. Fast Sampling of Diffusion Models with Exponential Integrator.
        arXiv 2204.13902, proposition 4 and appendix B.
    """

    title = "DEIS multistep"
    family = "Exponential integrators"
    good_for = "Exact for straight noise predictions; good in 10 to 20 calls."
    reference = papers.DEIS.at("The log-rho form of t-AB-DEIS.")
    _repeats_last = True
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "solver_type": dict.fromkeys(("midpoint", "heun", "bh1", "bh2"), "logrho"),
        "algorithm_type": dict.fromkeys(("dpmsolver", "dpmsolver++"), "deis"),
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
        algorithm_type: p.AlgorithmTypeDEIS = "deis",
        solver_type: p.SolverTypeDEIS = "logrho",
        lower_order_final: p.LowerOrderFinal = True,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        use_flow_sigmas: p.UseFlowSigmas = False,
        flow_shift: p.FlowShift = 1.0,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        use_dynamic_shifting: p.UseDynamicShifting = False,
        time_shift_type: p.TimeShiftType = "exponential",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_dpm(tensor_format)

    def _make_rule(self) -> LogRho:
        order, lower = self.config["solver_order"], self.config["lower_order_final"]
        shared = self._interpolated(False, order + 1)
        by_ratio = self.follows("deis-flow-noise")
        return LogRho(*shared, "deis", order, False, lower, False, eps_by_ratio=by_ratio)

    step = plain_step

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the grid, the order and the length of the run make idle."""
        reasons = super()._inert(values)
        reasons["algorithm_type"] = "this class has one form."
        reasons["solver_type"] = "log rho is the only form."
        if values.get("solver_order") == 1:
            reasons["lower_order_final"] = "the order is 1 throughout."
        elif (values.get("steps") or 0) >= SHORT_RUN:
            reasons["lower_order_final"] = f"it acts in runs below {SHORT_RUN} steps."
        return reasons
