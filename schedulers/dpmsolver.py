"""DPM-Solver and DPM-Solver++, multistep: four forms of one exponential integrator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from . import params as p
from . import prediction, spacing
from .arrays import Array, Generator
from .checks import CURVES, check_curves, check_one_way, check_steps, check_times
from .config import configured
from .levels import Level, Stage, flow_level, vp_level_of_rho
from .rules.exponential import multistep_row
from .scheduler import Reference, StepKey
from .trained import LevelScheduler
from .weights import Weights

#: Runs shorter than this take their last steps at a lower order (``lower_order_final``).
SHORT_RUN = 15
#: Sigma curves, then the flow, which a curve takes precedence over.
_GRIDS = (*CURVES, "use_flow_sigmas")
#: Variance types with which the model returns a variance beside its prediction.
LEARNED = ("learned", "learned_range")


class OpenGridScheduler(LevelScheduler):
    """Variance-preserving or flow levels on n of n + 1 points, integer timesteps, counted."""

    _reads_foreign = frozenset({"sigma_min", "sigma_max"})
    _flow_shift = 1.0

    def _fresh_grid(self) -> None:
        times = np.arange(self._train_steps, dtype=np.float32)[::-1].copy()
        self._install(times, self._rho_table.copy(), None)

    def _lookup_times(self) -> list[float]:
        # Curves read the table by sigma and are clamped to it; only spaced times can leave it.
        curved = any(self._setting(name) for name in _GRIDS)
        return [] if curved else self._times

    def _make_grid(self, num_inference_steps: int | None, device: Any, timesteps: Any) -> None:
        given = {"num_inference_steps": num_inference_steps, "timesteps": timesteps}
        check_one_way(given)
        config = self.config
        check_curves(config, timesteps)
        table, log_table = self._rho_table, self._log_rho_table
        if timesteps is not None:
            times = check_times(timesteps, self._train_steps, whole=True).astype(np.int64)
            n = len(times)
        else:
            n = check_steps(num_inference_steps, self._train_steps)
            clipped = int(
                np.searchsorted(-log_table[::-1], np.float32(config["lambda_min_clipped"]))
            )
            last = self._train_steps - clipped
            if last < n:
                raise ValueError(
                    f"lambda_min_clipped={config['lambda_min_clipped']:g} leaves {max(last, 0)} "
                    f"training steps for {n} steps; choose a smaller one."
                )
            times = spacing.open_timesteps(
                config["timestep_spacing"],
                n,
                self._train_steps,
                config["steps_offset"],
                last,
                exact=self.compat == "paper",
            )
        levels = self._curve(float(table[0]), float(table[-1]), n)
        if levels is None and self._setting("use_flow_sigmas"):
            levels = spacing.flow_sigmas(n, self._train_steps, self._flow_shift)
            times = (levels * self._train_steps).astype(np.int64)
        elif levels is None:
            if times[0] > len(table) - 1:
                self._times, self._rhos = times.tolist(), []
                self._check_visited()
            levels = np.interp(times, np.arange(len(table)), table)
        else:
            fractional = spacing.times_of(levels, log_table)
            rounds = self._setting("use_karras_sigmas") or self._setting("use_lu_lambdas")
            cosine = config["beta_schedule"] == "squaredcos_cap_v2"
            # Upstream cuts fractional times off where it does not round them.
            times = (fractional.round() if rounds and not cosine else fractional).astype(np.int64)
        final = table[0] if config["final_sigmas_type"] == "sigma_min" else 0.0
        sigmas = np.append(levels, final).astype(np.float32)
        self._install(times, sigmas, len(times), device)

    def _check_visited(self) -> None:
        super()._check_visited()
        if self._setting("use_flow_sigmas") and self._rhos and max(self._rhos) >= 1.0:
            curve = next(name for name in _GRIDS if self._setting(name))
            raise ValueError(
                f"use_flow_sigmas=True cannot be combined with {curve}=True: the curve reaches "
                f"sigma={max(self._rhos):.3g}, and a flow ends at 1."
            )

    def _level(self, t: float, sigma: float) -> Level:
        """The level that an entry of ``sigmas`` stands for."""
        make = flow_level if self._setting("use_flow_sigmas") else vp_level_of_rho
        return make(t, sigma)

    def _off_schedule(self, value: float) -> int:
        """Upstream takes a training time off the schedule for the last one, in silence."""
        if not 0 <= value < self._train_steps:
            raise ValueError(
                f"timestep={value!r} must lie in 0..{self._train_steps - 1}, and should be one of "
                "scheduler.timesteps."
            )
        warnings.warn(
            f"timestep={value:g} is not one of scheduler.timesteps; the last one is taken.",
            stacklevel=6,
        )
        return len(self._times) - 1


class DPMSolverMultistepScheduler(OpenGridScheduler):
    r"""DPM-Solver and DPM-Solver++, multistep, orders 1 to 3, as ODE and as SDE.

    With ``h`` the growth of ``lam = log(alpha / sigma)`` over the step and D_k the derivatives of
    the prediction, interpolated through the last calls,

        x_prev = c x + kappa (psi_0 D0 + psi_1 D1 + psi_2 D2) + s z;

    ``rules/exponential.py`` lists (c, kappa, psi) of the four forms.

    At order 3 upstream's D2 lacks a factor 2, and ``sde-dpmsolver++`` has a sign flipped;
    ``compat="paper"`` has neither.

    References:
        Lu et al. 2022. DPM-Solver. arXiv 2206.00927. Lu et al. 2022. DPM-Solver++.
        arXiv 2211.01095, eq. 8 to 18.
    """

    title = "DPM-Solver multistep"
    family = "Exponential integrators"
    reference = Reference(
        "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
        "Lu, Zhou, Bao, Chen, Li, Zhu",
        2022,
        "2211.01095",
        "Algorithm 2; DPM-Solver, arXiv 2206.00927.",
    )
    _noise_in_float32 = True
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
        check_curves(self.config)
        if final_sigmas_type == "zero" and not algorithm_type.endswith("++"):
            raise ValueError(
                f"final_sigmas_type='zero' cannot be used with algorithm_type={algorithm_type!r}, "
                "which divides by the last sigma: choose final_sigmas_type='sigma_min'."
            )
        self._flow_shift = float(flow_shift)
        self._keeps = frozenset({"x0" if algorithm_type.endswith("++") else "eps"})
        self._depth = solver_order
        self._make_table(tensor_format)
        with np.errstate(invalid="ignore"):
            self._publish("alpha_t", np.sqrt(self._table))
            self._publish("sigma_t", np.sqrt(np.float32(1.0) - self._table))
        self._publish("lambda_t", -self._log_rho_table)
        self._fresh_grid()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        mu: float | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps or from the timesteps themselves.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            mu: Sets the flow shift to exp(mu); needs ``use_dynamic_shifting``.
            timesteps: Custom training steps, strictly descending.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, times beside a sigma
                curve, ``mu`` without dynamic shifting, or a noise schedule that is undefined on
                the grid.
        """
        if mu is not None:
            if not self.config["use_dynamic_shifting"]:
                raise ValueError(f"mu={mu!r} needs use_dynamic_shifting=True.")
            if isinstance(mu, bool) or not isinstance(mu, (int, float)) or not abs(mu) <= 50:
                raise ValueError(f"mu={mu!r} must be a number in [-50, 50].")
            self._flow_shift = math.exp(mu)
            self.register_to_config(flow_shift=self._flow_shift)
        self._make_grid(num_inference_steps, device, timesteps)

    def _reading(self, stage: Stage, key: StepKey) -> prediction.Reading:
        kind, here = self.prediction_type, stage.here
        flow = bool(self.config["use_flow_sigmas"])
        if self.compat == "diffusers" and flow and kind == "v_prediction":
            # Upstream reads v as if alpha^2 + sigma^2 were 1 on the flow path too.
            return prediction.Reading(here.alpha, -here.sigma, here.sigma, here.alpha)
        if self.compat == "diffusers" and not flow and kind == "flow_prediction":
            # Upstream reads a flow prediction with sigma / alpha for sigma off the flow path.
            return prediction.Reading(
                1.0, -here.rho, (1.0 - here.alpha) / here.sigma, here.alpha * here.rho / here.sigma
            )
        return prediction.reading(kind, here)

    def _order(self, i: int, seen: int) -> int:
        """Order of call ``i`` with ``seen`` evaluations at hand, this one included."""
        config, n = self.config, len(self._times)
        short = config["lower_order_final"] and n < SHORT_RUN
        final = config["euler_at_final"] or short or config["final_sigmas_type"] == "zero"
        most = min(int(config["solver_order"]), seen)
        if i == n - 1 and final:
            return 1
        return min(most, 2) if i == n - 2 and short else most

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        here, target = [stage.here for stage in past], past[0].target
        if target.lam == here[0].lam:
            return Weights(x=(1.0,))
        order = self._order(i, len(past))
        # Two calls at one level (crowded grids) hold no slope: fall back to those that differ.
        while order > 1 and any(a.lam == b.lam for a, b in pairwise(here[:order])):
            order -= 1
        paper = self.compat == "paper"
        form = self.config["algorithm_type"]
        return multistep_row(
            here[:order],
            target,
            form,
            order,
            midpoint=self.config["solver_type"] == "midpoint",
            second_derivative=1.0 if paper else 0.5,
            half_sign_flipped=form == "sde-dpmsolver++" and not paper,
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
        output = self._prediction_in(model_output, sample)
        return self._advance(
            output, timestep, sample, generator, variance_noise, return_dict=return_dict
        )

    def _prediction_in(self, model_output: Array, sample: Array) -> Array:
        if self.config["variance_type"] in LEARNED and getattr(sample, "ndim", 0) > 1:
            return model_output[:, : sample.shape[1]]
        return model_output

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the order, the curve and the length of the run make idle."""
        reasons = {}
        curve = next((name for name in _GRIDS if values.get(name)), None)
        if curve is not None:
            for name in ("timestep_spacing", "steps_offset", "lambda_min_clipped"):
                reasons[name] = f"{curve} runs over the whole table."
        flow = values.get("use_flow_sigmas")
        if not flow or curve != "use_flow_sigmas":
            reasons["flow_shift"] = "the sigmas are not the flow's."
        reasons["use_dynamic_shifting"] = "only set_timesteps(mu=...) uses it."
        reasons["time_shift_type"] = "only set_timesteps(mu=...) uses it."
        if values.get("variance_type") not in LEARNED:
            reasons["variance_type"] = "only a learned variance is cut off."
        steps, order = values.get("steps"), values.get("solver_order")
        if order == 1:
            reasons["solver_type"] = "order 1 uses no slope."
            reasons["lower_order_final"] = "the order is 1 throughout."
            reasons["euler_at_final"] = "the order is 1 throughout."
        else:
            if values.get("final_sigmas_type") == "zero":
                reasons["euler_at_final"] = "a last step to zero is of order 1 anyway."
            elif values.get("lower_order_final") and steps is not None and steps < SHORT_RUN:
                reasons["euler_at_final"] = "lower_order_final does it in runs below 15 steps."
            if steps is not None and steps >= SHORT_RUN:
                reasons["lower_order_final"] = f"it acts in runs below {SHORT_RUN} steps."
        return reasons
