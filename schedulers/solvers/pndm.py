"""PNDM: Runge-Kutta steps to start with, then Adams-Bashforth on the noise predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..backend.errors import ParameterError
from ..core.coefficients import Coefficients
from ..core.exports import PublicArray
from ..core.grid import Grid
from ..facts import papers
from ..families.vp import CountedVpScheduler
from ..grids.pndm import PndmLayout
from ..grids.vp import VpDialect, VpGrid
from ..interface import params as p
from ..interface.config import configured
from ..rules.pseudo import PseudoNumerical


class PNDMScheduler(CountedVpScheduler):
    r"""Pseudo numerical methods: classical solvers, with DDIM's transfer as their straight line.

        x_next = phi(x, e) = (alpha_next / alpha) x + (sigma_next - alpha_next sigma / alpha) e

    The first three steps are Runge-Kutta steps of four calls each, from the sample at their start,

        e = eps[0];  e = eps[1];  e = eps[2];  e = (eps[0] + 2 eps[1] + 2 eps[2] + eps[3]) / 6

    asked at the start, twice in the middle and at the end; the others are linear multistep,

        e = (55 eps - 59 eps[-1] + 37 eps[-2] - 9 eps[-3]) / 24

    With ``skip_prk_steps`` (PLMS) the multistep order grows from 1, and the first step is taken
    twice: the second time is asked twice in ``timesteps``, first to redo the step with the mean of
    both slopes. Fewer than four steps take as many Runge-Kutta steps as there are, less one;
    diffusers has none.

    Upstream counts calls, not positions: a run started midway without Runge-Kutta steps takes its
    second call for the repeated one. Steps lead to ``t - T // N``, and middles lie T // N // 2
    above the end, off the grid where that is odd or the grid uneven. v-predictions are combined
    before they are read. ``compat="paper"`` goes by the position, the grid, and the noise.

    References:
        Liu, Ren, Lin, Zhao 2022. Pseudo Numerical Methods for Diffusion Models on Manifolds.
        arXiv 2202.09778, eq. 9, 12, 13 and algorithm 2.
    """

    title = "PNDM"
    family = "Variance preserving"
    good_for = "DDIM of higher order; as PLMS the first sampler of Stable Diffusion."
    reference = papers.PNDM.at("Eq. 9, 12, 13 and algorithm 2.")
    #: Order of the multistep method, under upstream's name.
    pndm_order = 4

    final_alpha_cumprod = PublicArray("Signal power where the last step ends.", "_heed_end")

    _rule: PseudoNumerical
    #: Number of calls made, by which upstream tells what a call is.
    counter: int

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        skip_prk_steps: p.SkipPrkSteps = False,
        set_alpha_to_one: p.SetAlphaToOne = False,
        prediction_type: p.PredictionType = "epsilon",
        timestep_spacing: p.TimestepSpacing = "leading",
        steps_offset: p.StepsOffset = 0,
        timestep_values: p.TimestepValues = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_vp(tensor_format, set_alpha_to_one)

    # --- the grid -----------------------------------------------------------------------------

    @property
    def _laid(self) -> PndmLayout:
        """How the config lays the calls out; values of the constructor's have a way of their own."""
        spaced = self._setting("timestep_values") is None
        return PndmLayout(
            bool(self.config["skip_prk_steps"]),
            spaced and self.follows("pndm-midway"),
            spaced and self.follows("pndm-stride"),
        )

    def _make_rule(self) -> PseudoNumerical:
        mixes = self.prediction_type == "v_prediction" and self.follows("pndm-mixed-v")
        return PseudoNumerical(self.prediction_type, self._laid, mixes)

    def _dialect(self, custom: bool = False) -> VpDialect:
        return super()._dialect(custom)._replace(layout=self._laid)

    def set_timesteps(  # type: ignore[override]
        self, num_inference_steps: int, device: Any = None, offset: int = 0
    ) -> None:
        """Lay out a run of N steps: N + 9 model calls, or N + 1 with ``skip_prk_steps``.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps; with the constructor's
                ``timestep_values`` their number.
            device: Where ``timesteps`` go (torch only).
            offset: Added to the times, as the first versions of diffusers had it; in the config
                it is ``steps_offset``.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is out of range, or the noise schedule is undefined on the grid.
        """
        self._heed()
        self._lay_out(self._requested(num_inference_steps), device, offset)

    def _relaid(self, times: np.ndarray, steps: int | None, dialect: VpDialect) -> VpGrid:
        return self._laid.along(self._table, dialect, times, steps, self._grid.shown)

    @property
    def prk_timesteps(self) -> np.ndarray | None:
        """Times of the Runge-Kutta calls, in NumPy's format; None before ``set_timesteps``."""
        return self._grid.shown.get("prk_timesteps")

    @property
    def plms_timesteps(self) -> np.ndarray | None:
        """Times of the multistep calls, likewise."""
        return self._grid.shown.get("plms_timesteps")

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps."""
        steps = super().calls_of(steps)
        if self.config["skip_prk_steps"]:
            return steps + min(1, steps - 1)
        return steps + 3 * min(3, steps - 1)

    def row(self, i: int, settings: Mapping[str, Any] | None = None) -> Coefficients:
        """The coefficients of call ``i`` in a run that started at 0; see ``Scheduler.row``."""
        row = super().row(i, settings)
        return self._rule.on_predictions(row, self._grid.calls[i::-1])

    # --- calls --------------------------------------------------------------------------------

    def _use(self, grid: Grid, device: Any = None) -> None:
        super()._use(grid, device)
        self.counter = 0

    @property
    def _number(self) -> int:
        """The number of the next call by which rows go: the position, upstream the count."""
        if self._rule.layout.counts:
            return self.counter
        return self._rule.layout.first(self._grid.times, self._grid.shown) + (
            self._step_index or 0
        )

    @property
    def _runge(self) -> int:
        """How many calls are Runge-Kutta's."""
        return len(self._grid.shown.get("prk_timesteps", ()))

    @property
    def ets(self) -> list[Array]:
        """The noise predictions that the next multistep step will look at, oldest first."""
        layout, number, runge = self._rule.layout, self._number, self._runge
        calls = enumerate(self._memory, start=1)
        found = [eps for ago, (_, _, eps, _) in calls if layout.is_slope(number - ago, runge)]
        return found[: self.pndm_order][::-1]

    @property
    def cur_sample(self) -> Array:
        """The sample that the present Runge-Kutta step, or the repeated step, starts from."""
        begun = self._rule.layout.begun(self._number, self._runge)
        return self._memory[begun - 1][0] if 0 < begun <= len(self._memory) else None

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one call's step: Runge-Kutta first, then multistep.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (inside a Runge-Kutta step the sample to ask next) and
            ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or a timestep that is
                not in the schedule.
        """
        self._require_timesteps("step")
        for _, view, seen in self._exports.watched:  # as in _advance, and before it
            if view.tobytes() != seen:
                self._heed()
                break
        layout, i = self._rule.layout, self._locate(timestep)
        arguments = (self.counter,) if layout.counts and i != self.counter else ()
        result = self._advance(model_output, timestep, sample, arguments, return_dict=return_dict)
        self.counter += 1
        memory = self._memory
        if len(memory) > 3:
            # No row will look again at other arrays of a call four calls ago than at a slope.
            slope = layout.is_slope(self._number - 4, self._runge)
            old = (None, None, memory[3][2] if slope else None, None)
            self._memory = (*memory[:3], old, *memory[4:])
        return result

    def step_prk(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one of the four calls of a Runge-Kutta step, as ``step`` does at its time.

        Args:
            model_output: As for ``step``.
            timestep: As for ``step``.
            sample: As for ``step``.
            return_dict: As for ``step``.

        Raises:
            ValueError: As for ``step``, or the run has no Runge-Kutta call left.
        """
        self._require_timesteps("step_prk")
        if self._number >= self._runge:
            raise ParameterError(
                f"skip_prk_steps={self.config['skip_prk_steps']!r} and num_inference_steps="
                f"{self.num_inference_steps} give {self._runge} Runge-Kutta calls, and "
                "all were made: go on with step_plms.",
                "skip_prk_steps",
                "num_inference_steps",
            )
        return self.step(model_output, timestep, sample, return_dict)

    def step_plms(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one multistep step, as ``step`` does at its time.

        Args:
            model_output: As for ``step``.
            timestep: As for ``step``.
            sample: As for ``step``.
            return_dict: As for ``step``.

        Raises:
            ValueError: As for ``step``, or Runge-Kutta calls come first.
        """
        self._require_timesteps("step_plms")
        if self._number < self._runge:
            raise ParameterError(
                f"skip_prk_steps=False: the {self._runge} Runge-Kutta calls come first, "
                "use step_prk or step for them.",
                "skip_prk_steps",
            )
        return self.step(model_output, timestep, sample, return_dict)
