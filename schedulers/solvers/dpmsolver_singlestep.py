"""DPM-Solver and DPM-Solver++, singlestep: one long step spread over up to three calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..backend.checks import MOST_STEPS, check_whole
from ..core.scheduler import noisy_step
from ..facts import papers
from ..families.dpm import DpmScheduler
from ..grids.dpm import DpmDialect
from ..interface import params as p
from ..interface.config import configured
from ..rules.singlestep import Orders, Singlestep


class DPMSolverSinglestepScheduler(DpmScheduler):
    r"""DPM-Solver and DPM-Solver++, singlestep, orders 1 to 3.

    The calls come in groups. Each call of a group starts over from the group's first sample x, and
    uses all predictions D[0], D[1], ... made since; the last one completes a step of full order:

        order 1:  x_next = c x + kappa psi_0 D[0] + s z
        order 2:  x_next = c x + kappa (psi_0 D[0] + psi_1 (D[1] - D[0]) / r_1) + s z
        order 3:  x_next = c x + kappa (psi_0 D[0] + psi_1 (D[2] - D[0]) / r_2) + s z

        dpmsolver++:      c = sigma_next / sigma,          kappa = alpha_next,  w = h
        dpmsolver:        c = alpha_next / alpha,          kappa = sigma_next,  w = -h
        sde-dpmsolver++:  c = sigma_next / sigma exp(-h),  kappa = alpha_next,  w = 2 h

    where sigma, alpha and lam belong to the group's first call, ``h = lam_next - lam``,
    ``r_k = (lam_k - lam) / h`` is where call k stands in the step, D is the data (++) or noise
    prediction, and ``psi_k = int_0^1 w exp(-w (1 - u)) u^k / k! du``. At order 2 ``midpoint``
    takes ``psi_0 / 2`` for psi_1; at order 3 ``heun`` takes the parabola through all three. The
    noise is ``s = sigma_next sqrt(1 - exp(-2 h))`` for ``sde-dpmsolver++``, and none for the
    others.

    The list of orders is [1, 2, 3, 1, 2, 3, ...], with lower ones where the number of calls does
    not divide.

    References:
        Lu et al. 2022. DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in
        Around 10 Steps. arXiv 2206.00927, algorithms 1 and 2. Lu et al. 2022. DPM-Solver++.
        arXiv 2211.01095.
    """

    title = "DPM-Solver singlestep"
    family = "Exponential integrators"
    good_for = "Third order without old calls; good for images without guidance."
    reference = papers.DPM_SOLVER.at("Algorithms 1 and 2; DPM-Solver++, arXiv 2211.01095.")
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
        algorithm_type: p.AlgorithmTypeSinglestep = "dpmsolver++",
        solver_type: p.SolverType = "midpoint",
        lower_order_final: p.LowerOrderFinalSinglestep = False,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        use_flow_sigmas: p.UseFlowSigmas = False,
        flow_shift: p.FlowShift = 1.0,
        final_sigmas_type: p.FinalSigmasType = "zero",
        lambda_min_clipped: p.LambdaMinClipped = -float("inf"),
        variance_type: p.VarianceTypeSolver = None,
        use_dynamic_shifting: p.UseDynamicShifting = False,
        time_shift_type: p.TimeShiftType = "exponential",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_dpm(tensor_format)

    def _make_rule(self) -> Singlestep:
        config = self.config
        form, order = config["algorithm_type"], config["solver_order"]
        return Singlestep(
            *self._interpolated(form.endswith("++"), order + 1, "x"),
            form,
            config["solver_type"] == "midpoint",
            Orders(order, *self._lowering),
            form == "sde-dpmsolver++" and self.follows("sde-half-sign-singlestep"),
        )

    def _dialect(self, shift: float | None = None) -> DpmDialect:
        orders = Orders(int(self.config["solver_order"]), *self._lowering)
        return super()._dialect(shift)._replace(orders=orders)

    @property
    def _lowering(self) -> tuple[bool, bool]:
        """Whether the last group is of lower order, and whether it leads to a clean sample."""
        return self.config["lower_order_final"], self.config["final_sigmas_type"] == "zero"

    def get_order_list(self, num_inference_steps: int) -> list[int]:
        """The order of each call.

        Args:
            num_inference_steps: Number of calls N.

        Returns:
            N orders in groups 1, 2, ..., ``solver_order``. An N that does not divide, a last
            level without noise and ``lower_order_final`` leave lower orders for the end.
        """
        n = check_whole("num_inference_steps", num_inference_steps, 1, MOST_STEPS)
        return [*Orders(int(self.config["solver_order"]), *self._lowering)(n)]

    step = noisy_step

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the grid, the order and the length of the run make idle."""
        reasons = super()._inert(values)
        order = values.get("solver_order")
        if order == 1:
            reasons["solver_type"] = "order 1 uses no slope."
            reasons["lower_order_final"] = "the order is 1 throughout."
        elif values.get("final_sigmas_type") == "zero":
            reasons["lower_order_final"] = "a last step to zero lowers the order anyway."
        elif order and (values.get("steps") or order) % order:
            reasons["lower_order_final"] = "the number of steps lowers the order anyway."
        return reasons
