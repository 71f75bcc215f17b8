"""DPM-Solver and its kin: variance-preserving or flow levels, whole times, positions by index."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, backend_of, host_values
from ..backend.checks import (
    CURVES,
    check_curves,
    check_one_way,
    check_sigmas,
    check_steps,
    check_times,
)
from ..backend.errors import ParameterError
from ..core.coefficients import Coefficients
from ..core.exports import PublicArray
from ..core.grid import Grid, Request
from ..core.kernel import EPS, LANDED, X0
from ..core.level import Call
from ..core.scheduler import LEARNED
from ..grids import dpm as grids
from ..grids.dpm import DpmDialect
from ..process.shifting import check_mu
from ..process.tables import NoiseTable
from ..rules.corrector import Corrected
from .discrete import DiscreteScheduler
from .multistep import LowerOrderNums, ModelOutputs

#: Sigma curves, then the flow, which a curve takes precedence over.
GRIDS = (*CURVES, "use_flow_sigmas")


class DpmScheduler(DiscreteScheduler):
    """Levels on n of n + 1 points, and a memory of predictions that pipelines know by name."""

    _reads_foreign = frozenset({"sigma_min", "sigma_max"})
    #: Whether curve times of a cosine schedule are cut off rather than rounded.
    _cuts_cosine_times: ClassVar[bool] = False
    #: Whether a curve's last level is repeated at the end, where that is not a clean sample.
    _repeats_last: ClassVar[bool] = False
    #: Whether a flow starts at 1, and custom levels are such a start.
    _ramps: ClassVar[bool] = False

    alpha_t = PublicArray("Signal weight of every training step.", None)
    sigma_t = PublicArray("Noise weight of every training step.", None)
    lambda_t = PublicArray("Half log-SNR of every training step.", "_heed_lambda")
    model_outputs = ModelOutputs()
    lower_order_nums = LowerOrderNums()

    #: The table that the object was made with, of which these arrays are.
    _first_table: NoiseTable
    #: What was assigned to ``lambda_t``, by which spaced times are clipped.
    _lambdas: np.ndarray | None

    def _begin_dpm(self, tensor_format: str | None) -> None:
        """Table and fresh grid."""
        config = self.config
        check_curves(config)
        form = str(self._setting("algorithm_type"))
        if self._setting("final_sigmas_type") == "zero" and form in ("dpmsolver", "sde-dpmsolver"):
            raise ParameterError(
                f"final_sigmas_type='zero' cannot be used with algorithm_type={form!r}, "
                "which divides by the last sigma: choose final_sigmas_type='sigma_min'.",
                "final_sigmas_type",
                "algorithm_type",
            )
        self._make_table()
        self._first_table, self._lambdas = self._table, None
        flow = bool(config["use_flow_sigmas"])
        self._begin(
            tensor_format, grids.fresh_grid(self._table, self._train_steps, flow, self.ascends)
        )

    def _dialect(self, shift: float | None = None) -> DpmDialect:
        """What the config means by a number of steps.

        Args:
            shift: Flow shift, if it is not that of the config.
        """
        config, curve, (low, high) = self.config, self._chosen_curve, self._curve_ends()
        lowest = self._setting("lambda_min_clipped")
        cosine = self._cuts_cosine_times and config["beta_schedule"] == "squaredcos_cap_v2"
        return DpmDialect(
            train_steps=self._train_steps,
            spacing=self._setting("timestep_spacing") or "linspace",
            offset=self._setting("steps_offset") or 0,
            extra=self.follows("trailing-extra"),
            curve=curve,
            low=low,
            high=high,
            rounds=curve in ("use_karras_sigmas", "use_lu_lambdas") and not cosine,
            flow=bool(config["use_flow_sigmas"]),
            shift=float(config["flow_shift"] if shift is None else shift),
            lowest=lowest,
            last=self._train_steps - self._clipped(lowest),
            ends_clean=self._setting("final_sigmas_type") == "zero",
            repeats=self._repeats_last,
            ramps=self._ramps,
            terminal=self._setting("shift_terminal"),
        )

    def _clipped(self, lowest: float | None) -> int:
        """How many training steps lie below the least lam that a run may start from."""
        if lowest is None or lowest == -np.inf:
            return 0
        lams = self._host("lambda_t")
        return 0 if lams is None else int(np.searchsorted(lams[::-1], np.float32(lowest)))

    def _host(self, name: str) -> np.ndarray | None:
        made = self._first_table
        if name == "lambda_t":
            return -made.log_rhos if self._lambdas is None else self._lambdas
        if name in ("alpha_t", "sigma_t"):
            power = made.cumulative
            with np.errstate(invalid="ignore"):
                return np.sqrt(power if name == "alpha_t" else np.float32(1.0) - power)
        return super()._host(name)

    def _heed_lambda(self, name: str, value: Any) -> None:
        """Clip the next grid by other half log-SNRs."""
        self._lambdas = np.array(host_values(value))

    # --- the grid -----------------------------------------------------------------------------

    def _requested(self, n: Any, timesteps: Any, sigmas: Any) -> Request:
        """Exactly one of a number of steps, custom times and custom levels, checked."""
        check_one_way({"num_inference_steps": n, "timesteps": timesteps, "sigmas": sigmas})
        if sigmas is not None:
            return Request(sigmas=tuple(self._checked_levels(sigmas).tolist()))
        check_curves(self._settings, timesteps)
        if timesteps is not None:
            times = check_times(timesteps, self._train_steps, whole=True)
            return Request(timesteps=tuple(times.tolist()))
        return Request(check_steps(n, self._train_steps))

    def _checked_levels(self, sigmas: Any) -> np.ndarray:
        """Custom levels, the final one included."""
        levels, curve = check_sigmas(sigmas), self._chosen_curve
        if curve is not None:
            raise ParameterError(
                f"sigmas cannot be given together with {curve}=True.", "sigmas", curve
            )
        if self.config["use_flow_sigmas"] and levels[0] >= 1.0:
            raise ParameterError(
                f"sigmas start at {levels[0]:g}; those of a flow lie below 1.", "sigmas"
            )
        form = str(self._setting("algorithm_type"))
        if levels[-1] == 0.0 and form in ("dpmsolver", "sde-dpmsolver"):
            raise ParameterError(
                f"sigmas end at 0, by which algorithm_type={form!r} divides: end above it.",
                "sigmas",
                "algorithm_type",
            )
        return levels

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
        self._heed()
        if mu is not None and not self.config["use_dynamic_shifting"]:
            raise ParameterError(
                f"mu={mu!r} needs use_dynamic_shifting=True.", "mu", "use_dynamic_shifting"
            )
        shift = None if mu is None else shift_of(mu, self.config["time_shift_type"])
        request = self._requested(num_inference_steps, timesteps, sigmas)
        self._use(grids.dpm_grid(self._table, self._dialect(shift), request), device)
        if shift is not None:
            self.register_to_config(flow_shift=shift)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        flow = bool(self.config["use_flow_sigmas"])
        return grids.along(
            held["timesteps"], held["sigmas"], self._grid.steps, flow, self._grid.parts
        )

    def _off_schedule(self, value: float) -> int:
        """Upstream takes a training time off the schedule for the last one, in silence."""
        if not 0 <= value < self._train_steps:
            raise ParameterError(
                f"timestep={value!r} must lie in 0..{self._train_steps - 1}, and should be one of "
                "scheduler.timesteps.",
                "timestep",
            )
        warnings.warn(
            f"timestep={value:g} is not one of scheduler.timesteps; the last one is taken.",
            stacklevel=6,
        )
        return len(self._grid.times) - 1

    @property
    def stages(self) -> tuple[Call, ...]:
        """The model calls of a run from the start; their number is the NFE.

        Raises:
            ValueError: Before ``set_timesteps``.
        """
        return super().stages[: len(self._grid.times)]

    # --- the rule -----------------------------------------------------------------------------

    def _interpolated(
        self, data: bool, depth: int, *beside: str
    ) -> tuple[str, frozenset[str], int, bool, bool, bool]:
        """What every rule of this family is made of.

        Args:
            data: Whether the data or the noise prediction is interpolated.
            depth: How many calls the memory holds, the present one included.
            beside: What else of them is looked at.
        """
        keeps = frozenset({"x0" if data else "eps", *beside})
        return (
            self.prediction_type,
            keeps,
            depth,
            bool(self.config["use_flow_sigmas"]),
            self.follows("v-on-flow"),
            self.follows("flow-off-flow"),
        )

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
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
        if values.get("variance_type") not in LEARNED:
            reasons["variance_type"] = "only a learned variance is cut off."
        return reasons


class CorrectedScheduler(DpmScheduler):
    """A predictor, and a corrector that costs no further model call: see ``rules/corrector.py``."""

    _rule: Corrected
    _repeats_last = True

    def corrector_row(self, i: int) -> Coefficients:
        """What the corrector makes of the sample of call ``i`` before the step is taken.

        Args:
            i: Position, 0 to ``len(stages) - 1``.

        Returns:
            A row of weight 1 on the sample, with weights that sum to 0 on the predictions;
            without any where nothing is corrected.

        Raises:
            ValueError: Before ``set_timesteps``, or i out of range.
        """
        i = self._checked_position(i)
        past = self._past(i, min(i, self._rule.depth - 1))
        return self._rule.corrector_row(self._grid, i, past)

    def _paired(
        self, data: bool, depth: int, order: int
    ) -> tuple[str, frozenset[str], int, bool, bool, bool, bool, int, bool, bool, bool]:
        """What every rule of a pair is made of; arguments as for ``_interpolated`` and ``Corrected``."""
        return (
            *self._interpolated(data, depth, "landed"),
            data,
            order,
            bool(self.config["lower_order_final"]),
            self.follows("unipc-half"),
            self.follows("corrector-forgets"),
        )

    def _heed_grid(self, name: str, value: Any) -> None:
        """Go by other levels; also in the last step, which upstream's corrector takes once more."""
        before = self._grid
        super()._heed_grid(name, value)
        self._land_again(before, self._memory)

    def _land_again(self, grid: Grid, memory: tuple[tuple[Array, ...], ...]) -> None:
        """Take the last step by the present levels and predictions, where upstream does.

        Args:
            grid: The grid that it was taken on.
            memory: What was remembered of it and of the calls before.
        """
        last, now = (self._step_index or 0) - 1, self._memory
        if not self._rule.forgets or not now or not 0 <= last < len(self._grid):
            return
        old, new = (
            self._rule.predictor(g, last, g.calls[max(0, last - len(m) + 1) : last + 1][::-1])
            for g, m in ((grid, memory), (self._grid, now))
        )
        if old.x[0] == 0.0:
            return  # the run is over
        ratio, landed = new.x[0] / old.x[0], memory[0][LANDED]
        place = X0 if self._rule.data else EPS
        pairs = [(ratio, landed)]
        pairs += [(w, now[k][place]) for k, w in enumerate((*new.x0, *new.eps))]
        pairs += [(-ratio * w, memory[k][place]) for k, w in enumerate((*old.x0, *old.eps))]
        moved = backend_of(landed, "sample").combine(pairs, landed, landed.dtype)
        self._memory = ((*now[0][:LANDED], moved), *now[1:])


def shift_of(mu: Any, time_shift_type: str) -> float:
    """The flow shift exp(mu) that a pipeline asks for."""
    if time_shift_type != "exponential":
        raise ParameterError(
            f"time_shift_type={time_shift_type!r} must be 'exponential' for mu={mu!r}.",
            "time_shift_type",
            "mu",
        )
    return check_mu(mu)
