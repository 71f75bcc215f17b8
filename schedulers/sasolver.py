"""SA-Solver: a stochastic Adams predictor and corrector."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, Generator
from .backend.checks import check_curves, check_training_steps
from .corrected import CorrectedScheduler
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .open_grid import LEARNED
from .rules.exponential import Linear


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
        check_curves(self.config)
        self.tau_func: Callable[[float], float] = tau_func or default_tau
        self.draws_idly = compat == "diffusers"
        self._on_data = algorithm_type == "data_prediction"
        self._keeps = frozenset({"x0" if self._on_data else "eps", "landed"})
        self._depth = max(predictor_order + 1, corrector_order)
        self._make_levels(tensor_format)

    @property
    def _orders(self) -> int:
        return max(int(self.config["predictor_order"]), int(self.config["corrector_order"]) - 1)

    def set_timesteps(
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
        self._make_grid(num_inference_steps, device, timesteps, sigmas)

    def _final_sigma(self, levels: np.ndarray, curved: bool) -> float:
        return float(levels[-1] if curved else self._rho_table[0])

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # By the training step, also where the run stands on other levels.
        index = check_training_steps(times, len(self._table))
        alpha, sigma = self._velocity_tables()
        return alpha[index], sigma[index]

    def _tau(self, t: float) -> float:
        tau = self.tau_func(int(t))
        try:
            value = float(tau)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"tau_func({t:g}) returned {tau!r}; it must return a number."
            ) from error
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(
                f"tau_func({t:g}) returned {value!r}; it must be finite and not below 0."
            )
        return value

    def _half_of(self, lin: Linear) -> float | None:
        return lin.kappa * lin.z if self._on_data else None

    def _order(self, i: int, seen: int) -> int:
        if i == len(self._times) - 1 and self._rhos[-1] == 0.0:
            return 1
        order = min(int(self.config["predictor_order"]), seen)
        return min(order, len(self._times) - i) if self.config["lower_order_final"] else order

    def _corrector_order(self, i: int, seen: int) -> int:
        order = min(int(self.config["corrector_order"]), seen)
        return min(order, len(self._times) - i + 2) if self.config["lower_order_final"] else order

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step: correct the sample, then predict the next one.

        Args:
            model_output: What the model returned, shape of the sample; with ``variance_type`` set
                it may carry further channels (axis 1), which are cut off.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``. The latter is kept for the next steps:
            copy it before changing it in place.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        output = self._prediction_in(model_output, sample)
        return self._advance(output, timestep, sample, generator, return_dict=return_dict)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the grid and the orders make idle."""
        reasons = cls._grid_inert(values)
        if values.get("variance_type") not in LEARNED:
            reasons["variance_type"] = "only a learned variance is cut off."
        if values.get("predictor_order") == 1 and values.get("corrector_order", 2) <= 3:
            reasons["lower_order_final"] = "the orders are low throughout."
        return reasons
