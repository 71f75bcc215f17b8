"""Multistep DPM-Solver++ for networks preconditioned as EDM proposes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..backend.checks import check_steps
from ..core.grid import Request
from ..core.scheduler import noisy_step
from ..facts import papers
from ..families.edm import EdmScheduler
from ..families.multistep import LowerOrderNums, ModelOutputs, order_inert
from ..grids.edm import edm_grid
from ..interface import params as p
from ..interface.config import configured
from ..rules.edm import EdmMultistep


class EDMDPMSolverMultistepScheduler(EdmScheduler):
    r"""DPM-Solver++, multistep, orders 1 to 3, for networks preconditioned as in EDM.

        x0     = c_skip x + c_out F(c_in x, log(sigma) / 4),   c_in = 1 / q
        c_skip = (sigma_data / q)^2,   c_out = sigma sigma_data / q
        q      = sqrt(sigma^2 + sigma_data^2)
        x_next = c x + psi_0 D0 + psi_1 D1 + psi_2 D2 + s z
        psi_k  = int_0^1 w exp(-w (1 - u)) u^k / k! du

        dpmsolver++:      c = sigma_next / sigma,          w = h,    s = 0
        sde-dpmsolver++:  c = sigma_next / sigma exp(-h),  w = 2 h,  s = sigma_next sqrt(1 - exp(-2 h))

    F is the network (with ``v_prediction`` -F), sigma_data the deviation of the data, and
    ``h = log(sigma / sigma_next)``. D0 is x0; D1 and D2 are the derivatives at the step's start,
    by the fraction u of the step, of the polynomial in log sigma through the last ``solver_order``
    data predictions. At order 2 ``midpoint`` takes ``psi_0 / 2`` for psi_1.

    At order 3 upstream's D2 lacks a factor 2, and its stochastic form crashes: here it is the
    integral.

    References:
        Lu et al. 2022. DPM-Solver++. arXiv 2211.01095, eq. 8 to 18. Karras, Aittala, Aila, Laine
        2022. Elucidating the Design Space of Diffusion-Based Generative Models. arXiv 2206.00364,
        table 1 (preconditioning).
    """

    title = "EDM DPM-Solver multistep"
    family = "EDM"
    good_for = "Networks preconditioned as in EDM, in 10 to 30 calls."
    reference = papers.DPM_SOLVER_PP.at(
        "Algorithm 2; EDM's preconditioning, arXiv 2206.00364, table 1."
    )
    model_outputs = ModelOutputs()
    lower_order_nums = LowerOrderNums()
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "solver_type": {"logrho": "midpoint", "bh1": "midpoint", "bh2": "midpoint"},
        "algorithm_type": {"deis": "dpmsolver++"},
    }

    @configured
    def __init__(
        self,
        sigma_min: p.VeSigmaMin = 0.002,
        sigma_max: p.VeSigmaMax = 80.0,
        sigma_data: p.SigmaData = 0.5,
        sigma_schedule: p.SigmaScheduleEdm = "karras",
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        prediction_type: p.PredictionTypeEdm = "epsilon",
        rho: p.Rho = 7.0,
        solver_order: p.SolverOrder = 2,
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        algorithm_type: p.AlgorithmTypeEdm = "dpmsolver++",
        solver_type: p.SolverType = "midpoint",
        lower_order_final: p.LowerOrderFinal = True,
        euler_at_final: p.EulerAtFinal = False,
        final_sigmas_type: p.FinalSigmasType = "zero",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_edm(tensor_format, num_train_timesteps, 0.0)

    def _make_rule(self) -> EdmMultistep:
        config, order = self.config, int(self.config["solver_order"])
        form = str(self._setting("algorithm_type") or "sde-dpmsolver++")
        return EdmMultistep(
            self.prediction_type,
            frozenset({"x0"}),
            order + 1,
            flow=False,
            v_on_circle=False,
            flow_by_ratio=False,
            form=form,
            order=order,
            midpoint=config["solver_type"] == "midpoint",
            lower_order_final=config["lower_order_final"],
            euler_at_final=config["euler_at_final"] or config["final_sigmas_type"] == "zero",
            # Upstream's sde-dpmsolver++ has no order 3 to follow.
            halves=form != "sde-dpmsolver++" and self.follows("dpm-third-order"),
            data=self._data_std,
        )

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps.

        Args:
            num_inference_steps: Number of steps N.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1, or float32 cannot tell the levels from 0.
        """
        request = Request(check_steps(num_inference_steps, None))
        config = self.config
        final = config["sigma_min"] if config["final_sigmas_type"] == "sigma_min" else 0.0
        self._use(edm_grid(self._dialect(), request, float(final)), device)

    step = noisy_step

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the order, the schedule and the length of the run make idle."""
        return super()._inert(values) | order_inert(values)
