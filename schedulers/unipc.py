"""UniPC: a predictor and a corrector of any order that share one model call a step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, host_values
from .backend.checks import check_curves, check_levels
from .corrected import CorrectedScheduler
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .open_grid import shift_of
from .plan import StepKey
from .process import spacing
from .process.shifting import ShiftMixin, check_mu
from .rules.exponential import Linear

#: A flow level this close to 1 is moved below it, where lam is finite.
FLOW_MARGIN = 1e-6


class UniPCMultistepScheduler(ShiftMixin, CorrectedScheduler):
    r"""Unified predictor-corrector, orders 1 to 3; the corrector adds one order.

    In ``lam = log(alpha / sigma)``, with ``h = lam_next - lam``,

        x_next = c x + kappa sum_j D[-j] int_0^1 w exp(-w (1 - u)) L_j(u) du

        predict_x0:  D = x0,   c = sigma_next / sigma,  kappa = alpha_next,  w = h
        else:        D = eps,  c = alpha_next / alpha,  kappa = sigma_next,  w = -h

    where the ``L_j`` are the Lagrange polynomials on the calls: 1 at call j, 0 at the others,
    which stand at ``(lam[-j] - lam) / h``. The corrector takes the same step with the prediction
    at its end (u = 1) as one more node, so that it costs no call; the next step starts from its
    result.

    At order 2, and in the corrector at order 1, upstream replaces the integral ``psi_1`` over the
    slope by ``B / 2`` with ``B = w`` (bh1) or ``B = 1 - exp(-w)`` (bh2), which has the same order;
    ``compat="paper"`` takes the integral throughout. A step to sigma = 0, where a slope in lam has
    no limit, is of order 1; upstream's is NaN with bh1 or ``predict_x0=False``.

    References:
        Zhao et al. 2023. UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
        Diffusion Models. arXiv 2302.04867, eq. 3, 8 and 10.
    """

    title = "UniPC multistep"
    family = "Exponential integrators"
    good_for = "The fewest steps: one order higher than its neighbours at the same calls."
    reference = papers.UNIPC.at("Algorithms 1 and 2.")
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "solver_type": dict.fromkeys(("midpoint", "heun", "logrho"), "bh2"),
    }
    _ramp: np.ndarray | None = None

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
        predict_x0: p.PredictX0 = True,
        solver_type: p.SolverTypeUniPC = "bh2",
        lower_order_final: p.LowerOrderFinalAlways = True,
        disable_corrector: p.DisableCorrector = [],  # noqa: B006  (upstream's default)
        solver_p: p.SolverP = None,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        use_flow_sigmas: p.UseFlowSigmas = False,
        flow_shift: p.FlowShift = 1.0,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        final_sigmas_type: p.FinalSigmasType = "zero",
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        use_dynamic_shifting: p.UseDynamicShifting = False,
        time_shift_type: p.TimeShiftType = "exponential",
        sigma_min: p.SigmaMin = None,
        sigma_max: p.SigmaMax = None,
        shift_terminal: p.ShiftTerminal = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        check_curves(self.config)
        if shift_terminal is not None and not use_flow_sigmas:
            raise ValueError(
                f"shift_terminal={shift_terminal!r} needs use_flow_sigmas=True: it stretches a "
                "flow's sigmas."
            )
        self._on_data = predict_x0
        self._keeps = frozenset({"x0" if predict_x0 else "eps", "landed"})
        self._depth = solver_order + 1
        self._make_levels(tensor_format)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps, from its timesteps, or from its levels.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            sigmas: With ``use_flow_sigmas``: descending numbers in (0, 1], one a step, which take
                the place of the even ramp and are shifted like it; the final level is appended.
                Without, where upstream refuses them: descending levels sigma / alpha, the final
                one included, and the model is asked at the nearest training steps.
            mu: Sets the flow shift of this run to exp(mu); with ``use_dynamic_shifting``, which
                needs it. Without, it is left out, as upstream.
            timesteps: Custom training steps, strictly descending.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, sigmas off the flow, ``mu`` missing,
                or a noise schedule that is undefined on the grid.
        """
        self._shift_by(mu)
        self._ramp = None
        if sigmas is not None and self._flows():
            check_levels("sigmas", sigmas, 1.0)
            self._ramp = np.array(host_values(sigmas), dtype=np.float64)
            if num_inference_steps not in (None, len(self._ramp)):
                raise ValueError(
                    f"num_inference_steps={num_inference_steps!r} does not fit the "
                    f"{len(self._ramp)} sigmas: leave it out."
                )
            num_inference_steps, sigmas = len(self._ramp), None
        self._make_grid(num_inference_steps, device, timesteps, sigmas)

    def _shift_by(self, mu: float | None) -> None:
        self._flow_shift = float(self.config["flow_shift"])
        if self.config["use_dynamic_shifting"]:
            if mu is None:
                raise ValueError("mu=None: use_dynamic_shifting=True needs set_timesteps(mu=...).")
            self._flow_shift = shift_of(mu, self.config["time_shift_type"])
        elif mu is not None:
            check_mu(mu)
            # Pipelines for flows pass it whatever the scheduler does with it.
            warnings.warn(f"mu={mu!r} does nothing: use_dynamic_shifting is False.", stacklevel=4)

    def _flows(self) -> bool:
        """Whether the levels are those of a flow's own ramp."""
        return bool(self.config["use_flow_sigmas"]) and self._chosen_curve is None

    def _flow_levels(self, n: int) -> np.ndarray:
        ramp = (
            np.linspace(1, 1 / self._train_steps, n + 1)[:-1] if self._ramp is None else self._ramp
        )
        levels = self.stretch_shift_to_terminal(spacing.shifted(ramp, self._flow_shift))
        if abs(levels[0] - 1.0) < FLOW_MARGIN:
            levels[0] -= FLOW_MARGIN
        return np.asarray(levels)

    def _place_curve(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.config["use_karras_sigmas"] and self.config["use_flow_sigmas"]:
            levels = levels / (levels + 1.0)
            return levels, (levels * self._train_steps).astype(np.int64)
        return super()._place_curve(levels)

    def _final_sigma(self, levels: np.ndarray, curved: bool) -> float:
        if curved and self.config["final_sigmas_type"] == "sigma_min":
            return float(levels[-1])
        return super()._final_sigma(levels, curved)

    def _rederives_eps(self, key: StepKey) -> bool:
        return self._on_data

    def _order(self, i: int, seen: int) -> int:
        n = len(self._times)
        if i == n - 1 and self._rhos[-1] == 0.0:
            return 1
        order = min(int(self.config["solver_order"]), seen)
        return min(order, n - i) if self.config["lower_order_final"] else order

    def _corrects(self, i: int) -> bool:
        return i - 1 not in self.config["disable_corrector"]

    def _half_of(self, lin: Linear) -> float | None:
        return lin.kappa * lin.z if self.config["solver_type"] == "bh1" else lin.total

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one step: correct the sample, then predict the next one.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``. The latter is kept for the next steps:
            copy it before changing it in place.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        return self._advance(model_output, timestep, sample, return_dict=return_dict)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the grid and the order make idle."""
        reasons = cls._grid_inert(values)
        del reasons["use_dynamic_shifting"]
        if values.get("solver_order") == 1:
            reasons["lower_order_final"] = "the order is 1 throughout."
        if values.get("compat") == "paper":
            reasons["solver_type"] = "the integrals are taken exactly."
        return reasons
