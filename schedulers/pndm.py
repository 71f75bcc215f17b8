"""PNDM: Runge-Kutta steps to start with, then Adams-Bashforth on the noise predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array
from .core.coefficients import Coefficients
from .core.level import Call, Level, vp_level
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import Evaluation, StepKey
from .rules.adams import ADAMS_BASHFORTH, RUNGE_KUTTA
from .rules.exponential import transfer_row
from .trained import CountedVpScheduler


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

    _kept: ClassVar[tuple[str, ...]] = (
        *CountedVpScheduler._kept,
        *("_stride", "_prk_times", "prk_timesteps", "plms_timesteps"),
    )

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
        # The slopes of three Runge-Kutta steps reach back over twelve calls.
        self._depth = 5 if skip_prk_steps else 13
        #: Whether outputs are combined as they are, and read at the level the step starts from.
        self._mixes_outputs = compat == "diffusers" and prediction_type == "v_prediction"
        self._keeps = frozenset({"x", "eps", "x0"} if self._mixes_outputs else {"x", "eps"})
        #: Whether rows go by the number of calls and the stride, as upstream; else by the grid.
        self._counts = compat == "diffusers" and timestep_values is None
        self._prk_times: tuple[float, ...] = ()
        self.prk_timesteps: np.ndarray | None = None
        self.plms_timesteps: np.ndarray | None = None
        self._make_table(tensor_format)
        final = np.float32(1.0) if set_alpha_to_one else self._table[0]
        self._final_abar = float(final)
        self._publish("final_alpha_cumprod", np.array(final))
        self._fresh_grid()

    # --- the grid -----------------------------------------------------------------------------

    def set_timesteps(self, num_inference_steps: int, device: Any = None, offset: int = 0) -> None:
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
        custom = self._custom_times(num_inference_steps)
        self._set_run(custom, num_inference_steps, device, offset)

    def _set_times(self, times: np.ndarray, n: int, device: Any) -> None:
        self._stride = self._train_steps // n
        if self.config["skip_prk_steps"]:
            prk, plms = times[:0], np.concatenate([times[:2], times[1:]])
        else:
            starts, ends = times[:-1][:3], times[1:][:3]
            halves = self._stride // 2 if self._counts else (starts - ends) // 2
            prk = np.stack([starts, ends + halves, ends + halves, ends], axis=1).ravel()
            plms = times[3:] if len(times) > 3 else times[-1:]
        for shared in (prk, plms):
            shared.setflags(write=False)
        self.prk_timesteps, self.plms_timesteps = prk, plms
        self._prk_times = tuple(prk.tolist())
        super()._set_times(np.concatenate([prk, plms]), n, device)

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps."""
        steps = super().calls_of(steps)
        if self.config["skip_prk_steps"]:
            return steps + min(1, steps - 1)
        return steps + 3 * min(3, steps - 1)

    def _level(self, t: float, sigma: float = 0.0) -> Level:
        """The level of a training step; below 0 lies the final one."""
        del sigma
        last = len(self._table) - 1
        return vp_level(t, self._abar(min(int(t), last)) if t >= 0 else self._final_abar)

    def _target(self, t: int, times: np.ndarray, i: int) -> Level:
        if not self._counts:
            return self._level(float(times[i + 1]) if i + 1 < len(times) else -1.0)
        return self._landing(i, t)

    def _landing(self, number: int, t: float) -> Level:
        """Where upstream's call of this number leads to from time t."""
        if number < len(self._prk_times):
            return self._level(t if number % 2 else t - self._stride // 2)
        return self._level(t if self._repeats(number) else t - self._stride)

    def _begins(self, number: int, t: float, here: Level) -> Level:
        """Where the step that this call belongs to is taken to start; ``here`` by the paper."""
        if self._counts and number < len(self._prk_times):
            return self._level(self._prk_times[number // 4 * 4])
        if self._counts and self._repeats(number):
            return self._level(t + self._stride)
        return here

    def _repeats(self, number: int) -> bool:
        """Whether this call redoes the first multistep step."""
        return number == 1 and bool(self.config["skip_prk_steps"])

    # --- rows ---------------------------------------------------------------------------------

    def _is_slope(self, number: int) -> bool:
        """Whether later steps look at the noise prediction of this call."""
        return number % 4 == 0 if number < len(self._prk_times) else not self._repeats(number)

    def _default_key(self) -> StepKey:
        return (None,)

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        number, target = i, past[0].target
        if self._counts:
            number = i if key[0] is None else key[0]
            target = self._landing(number, past[0].t)
        # The sample to start from, and the slopes with their weights, as numbers of calls ago.
        base, slopes = 0, {0: 1.0}
        if number < len(self._prk_times):
            base = number % 4
            slopes = dict(enumerate(RUNGE_KUTTA[base]))
        elif self._repeats(number):
            base, slopes = 1, {0: 0.5, 1: 0.5}
        else:
            reach = range(min(number + 1, len(past)))
            lags = [lag for lag in reach if self._is_slope(number - lag)][: self.pndm_order]
            slopes = dict(zip(lags, ADAMS_BASHFORTH[len(lags) - 1], strict=True))
        if base >= len(past):
            # A run that starts inside a step goes on from where it is.
            base, slopes = 0, {0: 1.0}
        start = self._begins(number, past[0].t, past[base].here)
        on_x, on_e = transfer_row(start, target)
        x, x0, eps = ([0.0] * (max(base, *slopes) + 1) for _ in range(3))
        x[base] = on_x
        for lag, weight in slopes.items():
            eps[lag] = on_e * weight
            if self._mixes_outputs:
                # v = alpha eps - sigma x0 at each call, and e = alpha v + sigma x at the start.
                here = past[lag].here
                eps[lag] *= start.alpha * here.alpha
                x0[lag] = -on_e * weight * start.alpha * here.sigma
        if self._mixes_outputs:
            x[base] += on_e * start.sigma
        return Coefficients(tuple(x), tuple(x0) if any(x0) else (), tuple(eps))

    # --- calls --------------------------------------------------------------------------------

    def _forget(self) -> None:
        super()._forget()
        self.counter = 0

    @property
    def ets(self) -> list[Array]:
        """The noise predictions that the next multistep step will look at, oldest first."""
        calls = enumerate(self._memory, start=1)
        found = [e.eps for ago, e in calls if self._is_slope(self._number() - ago)]
        return found[: self.pndm_order][::-1]

    @property
    def cur_sample(self) -> Array:
        """The sample that the present Runge-Kutta step, or the repeated step, starts from."""
        number = self._number()
        inside = number % 4 if number < len(self._prk_times) else int(self._repeats(number))
        return self._memory[inside - 1].x if 0 < inside <= len(self._memory) else None

    def _number(self) -> int:
        """The number of the next call by which rows go: the position, upstream the count."""
        return self.counter if self._counts else self._step_index or 0

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
        key = (self.counter if self._counts else None,)
        result = self._advance(model_output, timestep, sample, key=key, return_dict=return_dict)
        self.counter += 1
        self._let_go()
        return result

    def _let_go(self) -> None:
        """Drop the arrays that no row will look at again: all but slopes after four calls."""
        if len(self._memory) > 3:
            old = self._memory[3]
            slope = self._is_slope(self._number() - 4)
            self._memory[3] = Evaluation(
                old.stage, x0=old.x0 if slope else None, eps=old.eps if slope else None
            )

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
        if self._number() >= len(self._prk_times):
            raise ValueError(
                f"skip_prk_steps={self.config['skip_prk_steps']!r} and num_inference_steps="
                f"{self.num_inference_steps} give {len(self._prk_times)} Runge-Kutta calls, and "
                "all were made: go on with step_plms."
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
        if self._number() < len(self._prk_times):
            raise ValueError(
                f"skip_prk_steps=False: the {len(self._prk_times)} Runge-Kutta calls come first, "
                "use step_prk or step for them."
            )
        return self.step(model_output, timestep, sample, return_dict)
