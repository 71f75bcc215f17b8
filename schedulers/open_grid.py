"""The grid of DPM-Solver, DEIS and UniPC: n of n + 1 points, variance-preserving or flow."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array
from .backend.checks import (
    CURVES,
    check_curves,
    check_one_way,
    check_sigmas,
    check_steps,
    check_times,
)
from .core import prediction
from .core.coefficients import Coefficients
from .core.level import Call, Level, flow_level, vp_level_of_rho
from .counted import CountedScheduler
from .plan import StepKey
from .process import spacing
from .process.shifting import check_mu
from .rules.exponential import multistep_row
from .shelf import laid_out
from .trained import LevelScheduler

#: Runs shorter than this take their last steps at a lower order (``lower_order_final``).
SHORT_RUN = 15
#: Variance types with which the model returns a variance beside its prediction.
LEARNED = ("learned", "learned_range")
#: Sigma curves, then the flow, which a curve takes precedence over.
GRIDS = (*CURVES, "use_flow_sigmas")


def apart(past: Sequence[Call]) -> list[Level]:
    """Levels of calls, as far as they differ: two at one level (crowded grids) hold no slope."""
    here = [stage.here for stage in past]
    while any(a.lam == b.lam for a, b in pairwise(here)):
        here.pop()
    return here


def shift_of(mu: Any, time_shift_type: str) -> float:
    """The flow shift exp(mu) that a pipeline asks for."""
    if time_shift_type != "exponential":
        raise ValueError(
            f"time_shift_type={time_shift_type!r} must be 'exponential' for mu={mu!r}."
        )
    return check_mu(mu)


class Multistep(CountedScheduler):
    """Multistep DPM-Solvers on any path: which order a call has, and its row."""

    #: Whether upstream's sde-dpmsolver++ has an order 3 to follow; it crashes where it has none.
    _sde_third_order: ClassVar[bool] = True

    def _forget(self) -> None:
        super()._forget()
        #: What the last calls predicted (data or noise, as ``_keeps`` says), newest last, and how
        #: many of them there are: under upstream's names, for pipelines that go on from there.
        self.model_outputs: list[Array] = [None] * self._orders
        self.lower_order_nums = 0

    @property
    def _orders(self) -> int:
        """How many predictions a step combines at most."""
        return int(self.config["solver_order"])

    def _advance(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._advance(*args, **kwargs)
        if "x0" in self._keeps:
            newest = result[1]
        else:
            newest = self._memory[0].eps if self._memory else None
        self.model_outputs = [*self.model_outputs[1:], newest]
        self.lower_order_nums = min(self.lower_order_nums + 1, len(self.model_outputs))
        return result

    def _order(self, i: int, seen: int) -> int:
        """Order of call ``i`` with ``seen`` evaluations at hand, this one included."""
        config, n = self.config, len(self._times)
        short = config["lower_order_final"] and n < SHORT_RUN
        final = (
            self._setting("euler_at_final")
            or short
            or self._setting("final_sigmas_type") == "zero"
            or self._rhos[-1] == 0.0
        )
        most = min(int(config["solver_order"]), seen)
        if i == n - 1 and final:
            return 1
        return min(most, 2) if i == n - 2 and short else most

    def _distinct(self, i: int, past: Sequence[Call]) -> list[Level]:
        """Levels of the calls that call ``i`` combines, newest first."""
        return apart(past[: self._order(i, len(past))])

    @property
    def _form(self) -> str:
        """Which of the four forms of ``rules/exponential.py`` is taken."""
        return str(self.config["algorithm_type"])

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        here, target = self._distinct(i, past), past[0].target
        if target.lam == here[0].lam:
            return Coefficients(x=(1.0,))
        form = self._form
        sde = form == "sde-dpmsolver++"
        paper = self.compat == "paper" or (sde and not self._sde_third_order)
        return multistep_row(
            here,
            target,
            form,
            len(here),
            midpoint=self.config["solver_type"] == "midpoint",
            second_derivative=1.0 if paper else 0.5,
            half_sign_flipped=sde and not paper,
        )

    @staticmethod
    def _order_inert(values: Mapping[str, Any]) -> dict[str, str]:
        """What the order and the length of the run make idle."""
        reasons = {}
        steps = values.get("steps")
        if values.get("solver_order") == 1:
            reasons["solver_type"] = "order 1 uses no slope."
            reasons["lower_order_final"] = "the order is 1 throughout."
            reasons["euler_at_final"] = "the order is 1 throughout."
            return reasons
        if values.get("final_sigmas_type") == "zero":
            reasons["euler_at_final"] = "a last step to zero is of order 1 anyway."
        elif values.get("lower_order_final") and steps is not None and steps < SHORT_RUN:
            reasons["euler_at_final"] = "lower_order_final does it in runs below 15 steps."
        if steps is not None and steps >= SHORT_RUN:
            reasons["lower_order_final"] = f"it acts in runs below {SHORT_RUN} steps."
        return reasons


class OpenGridScheduler(Multistep, LevelScheduler):
    """Variance-preserving or flow levels on n of n + 1 points, integer timesteps, counted."""

    _kept: ClassVar[tuple[str, ...]] = ("_times", "_rhos", "num_inference_steps")
    _reads_foreign = frozenset({"sigma_min", "sigma_max"})
    #: Whether Karras times of a cosine schedule are cut off rather than rounded.
    _cuts_cosine_times: ClassVar[bool] = False

    def _make_levels(self, tensor_format: str | None) -> None:
        """The table, what upstream publishes of it, and the grid of a fresh object."""
        self._make_table(tensor_format)
        with np.errstate(invalid="ignore"):
            self._publish("alpha_t", np.sqrt(self._table))
            self._publish("sigma_t", np.sqrt(np.float32(1.0) - self._table))
        self._publish("lambda_t", -self._log_rho_table)
        self._fresh_grid()

    @laid_out
    def _fresh_grid(self) -> None:
        times = np.arange(self._train_steps, dtype=np.float32)[::-1].copy()
        self._install(times, self._rho_table.copy(), None)

    def _lookup_times(self) -> Sequence[float]:
        # Curves read the table by sigma and are clamped to it; only spaced times can leave it.
        curved = any(self._setting(name) for name in GRIDS)
        return [] if curved else self._times

    def _shift_by(self, mu: float | None) -> None:
        """Set the flow shift to exp(mu), where a pipeline gives one."""
        if mu is None:
            return
        if not self.config["use_dynamic_shifting"]:
            raise ValueError(f"mu={mu!r} needs use_dynamic_shifting=True.")
        self.register_to_config(flow_shift=shift_of(mu, self.config["time_shift_type"]))

    def _final_sigma(self, levels: np.ndarray, curved: bool) -> float:
        """Where the last step ends."""
        del levels, curved
        return float(self._rho_table[0]) if self._setting("final_sigmas_type") != "zero" else 0.0

    def _make_grid(
        self,
        num_inference_steps: int | None,
        device: Any,
        timesteps: Any = None,
        sigmas: Any = None,
    ) -> None:
        given = {"num_inference_steps": num_inference_steps, "timesteps": timesteps}
        check_one_way(given | {"sigmas": sigmas})
        if sigmas is not None:
            self._make_custom(check_sigmas(sigmas), device)
            return
        check_curves(self._settings, timesteps)
        steps, table = self._train_steps, self._rho_table
        curve, flow = self._chosen_curve, self._setting("use_flow_sigmas")
        if timesteps is None:
            n = check_steps(num_inference_steps, steps)
        else:
            times = check_times(timesteps, steps, whole=True).astype(np.int64)
        if curve is not None:
            ends = float(table[0]), float(table[-1])
            levels, times = self._place_curve(self._curve(curve, *ends, n))
        elif flow:
            levels = self._flow_levels(n) if timesteps is None else times / steps
            if levels[-1] == 0.0:
                raise ValueError("timesteps end at 0, where a flow holds no noise: end at 1.")
            times = (levels * steps).astype(np.int64)
        else:
            if timesteps is None:
                times = self._spaced_times(n)
            if times[0] > len(table) - 1:
                self._times, self._rhos = times.tolist(), ()
                self._check_visited()
            levels = np.interp(times, self._noise.steps, self._noise.exact_rhos)
        final = self._final_sigma(levels, curve is not None or bool(flow))
        self._install(times, spacing.ended(levels, final), len(times), device)

    def _spaced_times(self, n: int) -> np.ndarray:
        """The n times of the config's spacing."""
        return spacing.open_timesteps(
            self._setting("timestep_spacing") or "linspace",
            n,
            self._train_steps,
            self._setting("steps_offset") or 0,
            self._noisiest(n),
            exact=self.compat == "paper",
        )

    def _make_custom(self, sigmas: np.ndarray, device: Any) -> None:
        """The grid of custom levels, the final one included."""
        curve = self._chosen_curve
        if curve is not None:
            raise ValueError(f"sigmas cannot be given together with {curve}=True.")
        flow, levels = bool(self._setting("use_flow_sigmas")), sigmas[:-1]
        if flow and sigmas[0] >= 1.0:
            raise ValueError(f"sigmas start at {sigmas[0]:g}; those of a flow lie below 1.")
        form = str(self._setting("algorithm_type"))
        if sigmas[-1] == 0.0 and form in ("dpmsolver", "sde-dpmsolver"):
            raise ValueError(
                f"sigmas end at 0, by which algorithm_type={form!r} divides: end above it."
            )
        steps = self._train_steps
        times = levels * steps if flow else spacing.times_of(levels, self._noise.knots).round()
        self._install(times.astype(np.int64), sigmas, len(times), device)

    def _noisiest(self, n: int) -> int:
        """How many training steps a run of n may use: the others are clipped."""
        lowest = self._setting("lambda_min_clipped")
        if lowest is None or lowest == -np.inf:
            return self._train_steps
        lowest = np.float32(lowest)
        last = self._train_steps - int(np.searchsorted(-self._log_rho_table[::-1], lowest))
        if last < n:
            raise ValueError(
                f"lambda_min_clipped={lowest:g} leaves {max(last, 0)} "
                f"training steps for {n} steps; choose a smaller one."
            )
        return last

    def _flow_levels(self, n: int) -> np.ndarray:
        """The n levels of a flow."""
        return spacing.flow_sigmas(n, self._train_steps, float(self.config["flow_shift"]))

    def _place_curve(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Levels of a curve, and the training times that belong to them."""
        fractional = spacing.times_of(levels, self._noise.knots)
        rounds = self._setting("use_karras_sigmas") or self._setting("use_lu_lambdas")
        cosine = self.config["beta_schedule"] == "squaredcos_cap_v2" and self._cuts_cosine_times
        # Upstream cuts fractional times off where it does not round them.
        whole = fractional.round() if rounds and not cosine else fractional
        return levels, whole.astype(np.int64)

    def _check_visited(self) -> None:
        super()._check_visited()
        if self._setting("use_flow_sigmas") and self._rhos and max(self._rhos) >= 1.0:
            curve = next(name for name in GRIDS if self._setting(name))
            raise ValueError(
                f"use_flow_sigmas=True cannot be combined with {curve}=True: the curve reaches "
                f"sigma={max(self._rhos):.3g}, and a flow ends at 1."
            )

    def _level(self, t: float, sigma: float) -> Level:
        """The level that an entry of ``sigmas`` stands for."""
        make = flow_level if self._setting("use_flow_sigmas") else vp_level_of_rho
        return make(t, sigma)

    def _reading(self, stage: Call, key: StepKey) -> prediction.Reading:
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

    def _off_schedule(self, value: float) -> int:
        """Upstream takes a training time off the schedule for the last one, in silence."""
        if not 0 <= value < self._train_steps:
            raise ValueError(
                f"timestep={value!r} must lie in 0..{self._train_steps - 1}, and should be one of "
                "scheduler.timesteps."
            )
        warnings.warn(
            f"timestep={value:g} is not one of scheduler.timesteps; the last one is taken.",
            stacklevel=8,
        )
        return len(self._times) - 1

    def _prediction_in(self, model_output: Array, sample: Array) -> Array:
        if self._setting("variance_type") in LEARNED and getattr(sample, "ndim", 0) > 1:
            return model_output[:, : sample.shape[1]]
        return model_output

    @staticmethod
    def _grid_inert(values: Mapping[str, Any]) -> dict[str, str]:
        """What the choice of the grid makes idle."""
        reasons = {}
        curve = next((name for name in GRIDS if values.get(name)), None)
        if curve is not None:
            for name in ("timestep_spacing", "steps_offset", "lambda_min_clipped"):
                reasons[name] = f"{curve} runs over the whole table."
        if curve != "use_flow_sigmas":
            reasons["flow_shift"] = "the sigmas are not the flow's."
        reasons["use_dynamic_shifting"] = "only set_timesteps(mu=...) uses it."
        reasons["time_shift_type"] = "only set_timesteps(mu=...) uses it."
        return reasons


class DpmGridScheduler(OpenGridScheduler):
    """The grid as DPM-Solver and DEIS lay it out, with a flow shift that a pipeline may give."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        mu: float | None = None,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps, from its timesteps, or from its levels.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            mu: Sets the flow shift to exp(mu); needs ``use_dynamic_shifting``.
            timesteps: Custom training steps, strictly descending.
            sigmas: Custom levels, strictly descending, the final one included: sigma / alpha, or
                with ``use_flow_sigmas`` the flow's own sigma, below 1, taken as it is. The model
                is asked at the nearest training steps.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, times beside a sigma
                curve, ``mu`` without dynamic shifting, or a noise schedule that is undefined on
                the grid.
        """
        self._shift_by(mu)
        self._make_grid(num_inference_steps, device, timesteps, sigmas)

    def _begin(self, tensor_format: str | None, *beside: str) -> None:
        """Set up a DPM-Solver that keeps its prediction, and what else it looks back on."""
        config = self.config
        check_curves(config)
        form = config["algorithm_type"]
        data = form.endswith("++")
        if self._setting("final_sigmas_type") == "zero" and not data:
            raise ValueError(
                f"final_sigmas_type='zero' cannot be used with algorithm_type={form!r}, "
                "which divides by the last sigma: choose final_sigmas_type='sigma_min'."
            )
        self._keeps = frozenset({"x0" if data else "eps", *beside})
        self._depth = config["solver_order"]
        self._make_levels(tensor_format)
