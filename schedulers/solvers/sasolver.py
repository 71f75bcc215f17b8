"""SA-Solver: a stochastic Adams predictor and corrector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..backend.checks import check_training_steps, shown
from ..backend.errors import ParameterTypeError
from ..core.scheduler import Levels, noisy_step
from ..facts import papers
from ..families.dpm import CorrectedScheduler
from ..grids import dpm as grids
from ..interface import params as p
from ..interface.config import configured
from ..rules.corrector import StochasticAdams


def default_tau(t: float) -> float:
    """Noise in the middle of the process only, as upstream."""
    return 1.0 if 200 <= t <= 800 else 0.0


class SASolverScheduler(CorrectedScheduler):
    r"""Stochastic Adams: exponential Adams-Bashforth, corrected by Adams-Moulton, orders 1 to 4.

    In ``lam = log(alpha / sigma)``, with ``h = lam_next - lam`` and the stochasticity tau at the
    step's start,

        x_next = c x + kappa sum_j D[-j] int_0^1 w exp(-w (1 - u)) L_j(u) du + s z

        D = x0:    c = sigma_next / sigma exp(-tau^2 h),   kappa = alpha_next,
                   w = (1 + tau^2) h,   s = sigma_next sqrt(1 - exp(-2 tau^2 h))
        D = eps:   c = alpha_next / alpha,   kappa = (1 + tau^2) sigma_next,
                   w = -h,   s = tau sigma_next sqrt(exp(2 h) - 1)

    where the ``L_j`` are the Lagrange polynomials on the calls, 1 at call j, 0 at the others, in
    the fraction u of the step. The corrector takes the step once more, with the same noise and the
    prediction at its end. tau = 0 is the ODE, 1 the reverse SDE; ``tau_func`` gives it for each
    time.

    At order 2 on data, upstream replaces the integral over the slope by ``w / 2``, of the same
    order; ``compat="paper"`` takes the integral.

    References:
        Xue et al. 2023. SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models.
        arXiv 2309.05019, eq. 6, 12 and 15.
    """

    title = "SA-Solver"
    family = "Exponential integrators"
    good_for = "Random sampling with few calls: as much noise, and where, as tau says."
    reference = papers.SA_SOLVER.at("Algorithm 1.")
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "algorithm_type": {
            **dict.fromkeys(("dpmsolver++", "sde-dpmsolver++"), "data_prediction"),
            **dict.fromkeys(("dpmsolver", "sde-dpmsolver", "deis"), "noise_prediction"),
        },
    }

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        predictor_order: p.PredictorOrder = 2,
        corrector_order: p.CorrectorOrder = 2,
        prediction_type: p.PredictionTypeFlow = "epsilon",
        tau_func: p.TauFunc = None,
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        algorithm_type: p.AlgorithmTypeSA = "data_prediction",
        lower_order_final: p.LowerOrderFinalAlways = True,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        use_flow_sigmas: p.UseFlowSigmas = False,
        flow_shift: p.FlowShift = 1.0,
        lambda_min_clipped: p.LambdaMinClipped = -float("inf"),
        variance_type: p.VarianceTypeSolver = None,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._tau = tau_func or default_tau
        self._begin_dpm(tensor_format)

    @property
    def tau_func(self) -> Callable[[float], Any]:
        """Stochasticity by time."""
        return self._tau

    @tau_func.setter
    def tau_func(self, tau: Callable[[float], Any]) -> None:
        if not callable(tau):
            raise ParameterTypeError(
                f"tau_func={shown(tau)} must be a function of the time.", "tau_func"
            )
        self._tau = tau
        self._bind()

    @property
    def draws_idly(self) -> bool:  # type: ignore[override]
        """Whether noise is drawn in every step, also where it weighs nothing."""
        return self.follows("sa-idle-noise")

    def _make_rule(self) -> StochasticAdams:
        config = self.config
        data = config["algorithm_type"] == "data_prediction"
        order, corrected = config["predictor_order"], config["corrector_order"]
        # One that has no hash is known by its being this one.
        tau = self._tau if getattr(type(self._tau), "__hash__", None) else partial(self._tau)
        return StochasticAdams(
            *self._paired(data, max(order + 1, corrected), order),
            corrected,
            tau,
            self.draws_idly,
        )

    def set_timesteps(  # type: ignore[override]
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps, from its timesteps, or from its levels.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            timesteps: Custom training steps, strictly descending.
            sigmas: Custom levels, strictly descending, the final one included: sigma / alpha, or
                with ``use_flow_sigmas`` the flow's own sigma, below 1, taken as it is. The model
                is asked at the nearest training steps.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Out of range, or a noise schedule that is undefined on the grid.
        """
        self._heed()
        request = self._requested(num_inference_steps, timesteps, sigmas)
        self._use(grids.dpm_grid(self._table, self._dialect(), request), device)

    def _levels_at(self, times: np.ndarray) -> Levels:
        # By the training step, also where the run stands on other levels.
        index = check_training_steps(times, len(self._table))
        alpha, sigma = self._trained_levels()
        return alpha[index], sigma[index]

    step = noisy_step

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the grid and the orders make idle."""
        reasons = super()._inert(values)
        if values.get("predictor_order") == 1 and values.get("corrector_order", 2) <= 3:
            reasons["lower_order_final"] = "the orders are low throughout."
        return reasons
