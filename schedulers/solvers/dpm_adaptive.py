"""DPM-Solver with adaptive steps: a pair of orders judges each step, a controller sizes the next."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..backend.arrays import Array, Generator, backend_of
from ..backend.checks import check_floats, check_pair, check_steps, check_whole, shown
from ..backend.errors import ParameterError, ParameterTypeError
from ..core.coefficients import Coefficients
from ..core.kernel import EPS, X
from ..core.level import ve_level
from ..core.loop import drive
from ..facts import papers
from ..families.groups import GroupScheduler
from ..grids.groups import Group, GroupGrid, ends, group, group_grid
from ..interface import params as p
from ..interface.config import configured
from ..rules.groups import group_row, judging_row

#: A run that tries more steps than this is asked for too small an error.
MOST_TRIALS = 1000
#: Distance to the end, in log sigma, at which a run has arrived.
ARRIVED = 1e-5


@dataclass(slots=True)
class Controller:
    """A PID controller of step sizes (Soederlind 2003; Ilie, Jackson, Enright 2015).

        h <- h (1 + arctan(r_1^b1 r_2^b2 r_3^b3 - 1)),   r_j = 1 / error_j,  newest first

    Attributes:
        h: Step size in log sigma, for the next trial.
        gains: b1, b2, b3.
        safety: A trial is accepted if the factor on h is at least this.
        rates: r_1, r_2, r_3 of the accepted steps; empty at first.
    """

    h: float
    gains: tuple[float, float, float]
    safety: float
    rates: list[float] = field(default_factory=list)

    def judge(self, error: float) -> bool:
        """Whether a trial with this error is accepted; sets ``h``."""
        rate = 1.0 / (error + 1e-8)
        rates = [rate, *(self.rates[1:] or [rate, rate])]
        power = math.prod(r**b for r, b in zip(rates, self.gains, strict=True))
        factor = 1.0 + math.atan(power - 1.0)
        accepted = factor >= self.safety
        self.rates = [rate, rate, rates[1]] if accepted else rates
        self.h *= factor
        return accepted


class DPMAdaptiveScheduler(GroupScheduler):
    r"""DPM adaptive: steps of order 3 (2), each judged by one of order 2 (1) on the same calls.

        error = rms( (x_low - x_high) / max(atol, rtol max(|x_low|, |x_low before|)) )
        h    <- h (1 + arctan(r^b1 r[-1]^b2 r[-2]^b3 - 1)),   r = 1 / error

    The step of length h in log sigma that leads to x_high is that of DPM fast; x_low is the one
    that its calls but the last make, of one order less; rms is taken over the whole batch. The
    controller takes the step if the factor on h is at least ``accept_safety`` and has it tried
    again otherwise: a rejected step leads back to where it started. With k the order,
    ``b1 = (P + I + D) / k``, ``b2 = -(P + 2 D) / k`` and ``b3 = D / k`` follow from ``pcoeff``,
    ``icoeff`` and ``dcoeff``. With eta > 0 each step goes down past its target and fresh noise
    leads back up, and k is 1.5. The run ends at the lowest sigma of the training, not at 0, as
    k-diffusion's.

    The error decides how many calls a run takes. ``sample`` makes a whole run. In a loop of one's
    own, ``timesteps`` and ``stages`` hold the calls made so far and then those to come if no
    further step makes an error, and change after each step::

        i = 0
        while i < len(scheduler.timesteps):
            t = scheduler.timesteps[i]
            output = model(scheduler.scale_model_input(x, t), t)
            x = scheduler.step(output, t, x).prev_sample
            i += 1

    ``set_timesteps(attempts=scheduler.attempts)`` makes the same steps again without judging them;
    such a run has fixed ``timesteps``. Judging reads one number from the device after each step.

    References:
        Lu et al. 2022. DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in
        Around 10 Steps. arXiv 2206.00927, appendix C (DPM-Solver-12 and 23); Crowson. k-diffusion,
        sample_dpm_adaptive.
    """

    title = "DPM adaptive"
    good_for = "As many calls as the asked accuracy needs; a reference to hold others against."
    in_diffusers = False
    call_form = "adaptive"
    reference = papers.DPM_SOLVER.at(
        "Appendix C, DPM-Solver-12 and 23; k-diffusion sample_dpm_adaptive."
    )
    _folds_ahead = False  # what follows changes with the next step

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        prediction_type: p.PredictionType = "epsilon",
        sigma_min: p.SigmaMin = None,
        sigma_max: p.SigmaMax = None,
        solver_order: p.AdaptiveOrder = 3,
        rtol: p.RTol = 0.05,
        atol: p.ATol = 0.0078,
        h_init: p.HInit = 0.05,
        pcoeff: p.PCoeff = 0.0,
        icoeff: p.ICoeff = 1.0,
        dcoeff: p.DCoeff = 0.0,
        accept_safety: p.AcceptSafety = 0.81,
        eta: p.AncestralEta = 0.0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """See ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def set_timesteps(  # type: ignore[override]
        self,
        num_inference_steps: int = 1,
        device: Any = None,
        attempts: Sequence[Group] | None = None,
    ) -> None:
        """Begin a run at the highest sigma.

        Args:
            num_inference_steps: Without effect, since the error decides; checked all the same.
            device: Where ``timesteps`` go (torch only).
            attempts: The steps of an earlier run, to be made again without judging them.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer, ``attempts`` are not steps.
            ValueError: It is out of range, the noise schedule has no two levels, or ``attempts``
                is empty.
        """
        check_steps(num_inference_steps, self._train_steps)
        if attempts is not None:
            if not isinstance(attempts, (list, tuple)) or not all(
                isinstance(whole, Group) for whole in attempts
            ):
                raise ParameterTypeError(
                    f"attempts={shown(attempts)} must be those of a finished run.", "attempts"
                )
            if not attempts:
                raise ParameterError(
                    "attempts is empty; pass scheduler.attempts of a finished run.", "attempts"
                )
        self._heed()
        config = self.config
        high, self._lowest = ends(self._table, self._train_steps, *self._levels_asked())
        self._judges = attempts is None
        self._error, self._low_before = 0.0, None
        gains = config["pcoeff"], config["icoeff"], config["dcoeff"]
        divisor = 1.5 if config["eta"] else config["solver_order"]
        self._controller = Controller(
            float(config["h_init"]),
            (sum(gains) / divisor, -(gains[0] + 2 * gains[2]) / divisor, gains[2] / divisor),
            config["accept_safety"],
        )
        steps = self._ahead(high) if attempts is None else tuple(attempts)
        self._use(self._grid_of(steps), device)

    @property
    def attempts(self) -> tuple[Group, ...]:
        """The steps tried so far, taken or not, and those to come if none makes an error."""
        self._require_timesteps("attempts")
        return self._groups

    @property
    def rejected(self) -> frozenset[int]:
        """Calls of steps that were tried and not taken."""
        groups = self._groups
        return frozenset(
            i
            for i, call in enumerate(self._grid.calls)
            if groups and not groups[call.step].accepted
        )

    def calls_of(self, steps: int) -> int:
        """Number of model calls of this run as it stands, whatever the number of steps."""
        self._require_timesteps("calls_of")
        super().calls_of(steps)  # says what is wrong with it
        return len(self._grid)

    def completes(self, i: int) -> bool:
        """Whether call ``i`` is the last one of a step, after which it is judged."""
        self._require_timesteps("completes")
        call = self._grid.calls[check_whole("i", i, 0, len(self._grid) - 1)]
        return call.part == self._groups[call.step].order - 1

    @property
    def info(self) -> dict[str, int]:
        """Counts over ``attempts``: steps, nfe (model calls), n_accept, n_reject."""
        taken = sum(whole.accepted for whole in self.attempts)
        tried = len(self.attempts)
        calls = len(self._grid)
        return {"steps": tried, "nfe": calls, "n_accept": taken, "n_reject": tried - taken}

    def _ahead(self, sigma: float, tried: int = 0) -> tuple[Group, ...]:
        """The steps from a level on if none makes an error.

        Raises:
            ValueError: With those tried before they are more than ``MOST_TRIALS``: coefficients of
                the controller may shrink the steps without end.
        """
        controller, order, eta = copy.copy(self._controller), *self._order_and_noise()
        groups: list[Group] = []
        while math.log(sigma / self._lowest) > ARRIVED:
            if tried + len(groups) >= MOST_TRIALS:
                raise self._too_many()
            sigma_next = max(sigma * math.exp(-controller.h), self._lowest)
            groups.append(group(sigma, sigma_next, self._lowest, order, eta))
            h = controller.h
            controller.judge(0.0)
            controller.h, sigma = max(controller.h, h), sigma_next
        return tuple(groups)

    def _too_many(self) -> ValueError:
        """An error for settings that ask for more steps than a run may try."""
        names = ("rtol", "atol", "h_init", "pcoeff", "icoeff", "dcoeff", "accept_safety")
        told = ", ".join(f"{name}={self.config[name]!r}" for name in names)
        return ParameterError(
            f"{told} ask for more than {MOST_TRIALS} steps: choose larger tolerances or a larger "
            "h_init, or the controller's usual coefficients (0, 1, 0).",
            *names,
        )

    def _order_and_noise(self) -> tuple[int, float]:
        return int(self.config["solver_order"]), float(self.config["eta"])

    def _grid_of(self, groups: tuple[Group, ...]) -> GroupGrid:
        """The grid of these steps."""
        return group_grid(self._table, groups, sum(whole.accepted for whole in groups))

    # --- judging ------------------------------------------------------------------------------

    def _judge(self, model_output: Array, sample: Array, i: int) -> None:
        """After the last call of a trial: accept it or not, and lay out what follows."""
        call, calls = self._call(i), self._grid.calls
        whole, part, memory = self._groups[call.step], call.part, self._memory[: call.part]
        if part < whole.order - 1 or len(memory) < part:
            return  # not the last call of the step, or the run started inside it
        backend = backend_of(sample, "sample")
        dtype = backend.compute_dtype(check_pair(model_output, sample, backend))
        read = self._rule.read(call)
        now = backend.combine([(read.eps_x, sample), (read.eps_out, model_output)], sample, dtype)
        xs, slopes = [sample, *(e[X] for e in memory)], [now, *(e[EPS] for e in memory)]
        here = [calls[i - lag].here for lag in range(part + 1)]

        def landing(row: Coefficients) -> Array:
            terms = [*zip(row.x, xs, strict=False), *zip(row.eps, slopes, strict=False)]
            return backend.combine([term for term in terms if term[0] != 0.0], sample, dtype)

        high = landing(group_row(whole, here, part, call.target, 0.0))
        low = landing(judging_row(here, ve_level(0.0, whole.down)))
        before = xs[-1] if self._low_before is None else self._low_before
        config = self.config
        self._error = backend.misfit(low, high, before, config["atol"], config["rtol"])
        if not math.isfinite(self._error):
            raise ParameterError(
                f"model_output at call {i} leads to numbers that are not finite.", "model_output"
            )
        accepted = self._controller.judge(self._error)
        if accepted:
            self._low_before = low
        tried = call.step + 1
        if tried >= MOST_TRIALS:
            raise self._too_many()
        judged = replace(whole, accepted=accepted)
        made = (*self._groups[: call.step], judged)
        place = self._memory, self._step_index, self._begin_index, self.is_scale_input_called
        self._use(self._grid_of(made + self._ahead(judged.landing, tried)), self._device)
        self._memory, self._step_index, self._begin_index, self.is_scale_input_called = place

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        s_noise: p.SNoise = 1.0,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one call; after the last one of a step, judge it.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The entry of ``timesteps`` at the number of calls made so far.
            sample: ``x0 + sigma eps``, any shape.
            s_noise: Factor on the noise.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (inside a step the sample for its next call, after a rejected one the
            sample it started from) and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, a time that is not the next one, shapes that do
                not match, numbers that are not finite, or ``s_noise`` out of range.
        """
        if type(s_noise) is not float or s_noise != 1.0:
            s_noise = self._check_step("s_noise", s_noise)
        self._require_timesteps("step")
        for _, view, seen in self._exports.watched:
            if view.tobytes() != seen:
                self._heed()
                break
        i, times = self._locate(timestep), self._grid.times
        if i < len(times) and abs(self._value(timestep) - times[i]) > 1e-2:
            raise ParameterError(
                f"timestep={self._value(timestep):g} is not the next one, {times[i]:g}: the "
                "error of a step changes the times after it, so read scheduler.timesteps anew for "
                "each call, or use scheduler.sample.",
                "timestep",
            )
        if self._judges and i < len(times):
            self._judge(model_output, sample, i)
        return super().step(model_output, timestep, sample, s_noise, generator, return_dict)

    def sample(
        self,
        denoise: Callable[..., Array],
        x: Array,
        *,
        generator: Generator = None,
        s_noise: float = 1.0,
        callback: Callable[[dict[str, Any]], object] | None = None,
    ) -> Array:
        """Make a whole run.

        Args:
            denoise: The model, ``denoise(x, sigma) -> x0`` as in k-diffusion, or ``denoise(x,
                alpha, sigma)`` or ``denoise(x, alpha, sigma, cond)`` as elsewhere here, with
                alpha = 1 and cond = None; sigma is a float.
            x: Noise of standard deviation ``init_noise_sigma``, any shape.
            generator: Source of noise, or a list with one for each sample; for eta > 0.
            s_noise: Factor on the noise.
            callback: Called after each step tried, with a dict: ``x`` (the sample now), ``i``
                (number of the trial), ``sigma`` (its level now), ``denoised`` (the first data
                prediction of the trial), ``error``, ``h`` (the next step size), ``accepted``, and
                what ``info`` counts so far.

        Returns:
            The sample at the lowest sigma, shape of x.

        Raises:
            TypeError: ``denoise`` cannot be called, or arrays of different libraries.
            ValueError: The model returns numbers that are not finite, or the tolerances ask for
                too many steps.
        """
        ask = asking(denoise)
        check_floats("x", x)
        if callback is not None and not callable(callback):
            raise ParameterTypeError(
                f"callback={shown(callback)} must be a function or None.", "callback"
            )
        self.set_timesteps()
        denoised, counts = None, {"steps": 0, "nfe": 0, "n_accept": 0, "n_reject": 0}
        model = lambda x, level: ask(x, level.sigma)  # noqa: E731
        for moment in drive(self, model, x, generator=generator, s_noise=s_noise):
            x, i, call = moment.sample, moment.index, self._grid.calls[moment.index]
            denoised = moment.x0 if call.part == 0 else denoised
            if callback is None or not self.completes(i):
                continue
            whole = self._groups[call.step]
            counts["steps"] += 1
            counts["nfe"] = i + 1
            counts["n_accept" if whole.accepted else "n_reject"] += 1
            callback(
                {
                    "x": x,
                    "i": counts["steps"] - 1,
                    "sigma": whole.landing,
                    "denoised": denoised,
                    "error": self._error,
                    "h": self._controller.h,
                    "accepted": whole.accepted,
                    **counts,
                }
            )
        return x


def asking(denoise: Callable[..., Array]) -> Callable[[Array, float], Array]:
    """A model of either signature as ``ask(x, sigma)``."""
    if not callable(denoise):
        raise ParameterTypeError(
            f"denoise={denoise!r} must be a function of a sample and its sigma.", "denoise"
        )
    try:
        arguments = inspect.signature(denoise).parameters.values()
    except ValueError:  # a builtin that does not tell
        return lambda x, sigma: denoise(x, sigma)
    needed = [a for a in arguments if a.default is a.empty and a.kind in (0, 1)]
    if "alpha" in (a.name for a in arguments) or len(needed) > 2:
        return lambda x, sigma: denoise(x, 1.0, sigma, *[None] * (len(needed) - 3))
    return lambda x, sigma: denoise(x, sigma)


__all__ = ["Controller", "DPMAdaptiveScheduler", "asking"]
