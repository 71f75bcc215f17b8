"""The one loop over the calls of a run, for every call form."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backend.arrays import Array, Generator
from .level import Call, Level

if TYPE_CHECKING:
    from .scheduler import Scheduler

#: A model: what it is shown and the level of that -> the data prediction.
Denoise = Callable[[Array, Level], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One model call: what the model was shown, and what came of it.

    Attributes:
        index: Position of the call in ``scheduler.stages``.
        call: The call.
        shown: The sample that the model was shown, unscaled.
        x0: Its data prediction.
        output: What was handed to the scheduler for it.
        sample: The next sample.
        pred_original_sample: The data prediction that the scheduler made of the output.
    """

    index: int
    call: Call
    shown: Array
    x0: Array
    output: Array
    sample: Array
    pred_original_sample: Array


def drive(
    scheduler: Scheduler,
    denoise: Denoise,
    x: Array,
    *,
    generator: Generator = None,
    start: int = 0,
    stop: int | None = None,
    resume: bool = False,
    **step: Any,
) -> Iterator[Moment]:
    """Run the calls of a scheduler that is laid out, one moment a model call.

    Nothing is computed before a moment is asked for. An adaptive run goes on until its error is
    small enough at the end; which of its calls were taken, ``scheduler.rejected`` tells.

    Args:
        scheduler: After ``set_timesteps``.
        denoise: The model, ``denoise(x, level) -> x0``.
        x: Where the run starts: noise of standard deviation ``init_noise_sigma`` for a run from
            the start.
        generator: Source of noise, or a list with one for each sample.
        start: Position of the first call.
        stop: Position of the call before which to stop; None is the end.
        resume: Whether the scheduler stands in the middle of its run, and ``start`` is where.
        **step: Arguments of ``step``, by name.

    Yields:
        Moments of the calls ``start``, ``start + 1``, ...
    """
    form = {"karras_ve": _karras_ve, "score_sde": _score_sde}.get(scheduler.call_form, _steps)
    return form(scheduler, denoise, x, generator, start, stop, resume, step)


def _steps(
    scheduler: Any,
    denoise: Denoise,
    x: Array,
    generator: Generator,
    start: int,
    stop: int | None,
    resume: bool,
    step: dict[str, Any],
) -> Iterator[Moment]:
    """The common form: one ``step`` for each model call."""
    if "generator" in inspect.signature(scheduler.step).parameters:
        step = {"generator": generator, **step}
    if not resume and hasattr(scheduler, "set_begin_index"):
        # Said, since a first time that occurs twice would be taken for a start in the middle.
        scheduler.set_begin_index(start)
    shown, times = None, []
    for i in itertools.count(start):
        # An adaptive run changes its calls as it goes.
        if i >= (len(scheduler.stages) if stop is None else stop):
            return
        if scheduler.timesteps is not shown:
            shown = scheduler.timesteps
            times = list(shown)
        call = scheduler.stages[i]
        scheduler.scale_model_input(x, times[i])  # for those that insist
        x0 = denoise(x, call.here)
        output = scheduler.model_output(i, x, x0)
        result = scheduler.step(output, times[i], x, **step)
        yield Moment(i, call, x, x0, output, result.prev_sample, result.pred_original_sample)
        x = result.prev_sample


def _karras_ve(
    scheduler: Any,
    denoise: Denoise,
    x: Array,
    generator: Generator,
    start: int,
    stop: int | None,
    resume: bool,
    step: dict[str, Any],
) -> Iterator[Moment]:
    """Karras et al. 2022, algorithm 2: churn, Euler, and a correction unless the target is clean.

    Starts and stops at a step, that is at an even position.
    """
    calls = scheduler.stages
    last = len(calls) if stop is None else stop
    levels = scheduler.sigmas.tolist()
    for i in range(start, last, 2):
        sigma, target = levels[i // 2 : i // 2 + 2]
        hat, sigma_hat = scheduler.add_noise_to_input(x, sigma, generator)
        x0 = denoise(hat, calls[i].here)
        output = scheduler.model_output(i, hat, x0)
        euler = scheduler.step(output, sigma_hat, target, hat)
        x = euler.prev_sample
        yield Moment(i, calls[i], hat, x0, output, x, euler.pred_original_sample)
        if target == 0.0:
            return
        x0 = denoise(x, calls[i + 1].here)
        output = scheduler.model_output(i + 1, x, x0)
        better = scheduler.step_correct(output, sigma_hat, target, hat, x, euler.derivative)
        shown, x = x, better.prev_sample
        yield Moment(i + 1, calls[i + 1], shown, x0, output, x, better.pred_original_sample)


def _score_sde(
    scheduler: Any,
    denoise: Denoise,
    x: Array,
    generator: Generator,
    start: int,
    stop: int | None,
    resume: bool,
    step: dict[str, Any],
) -> Iterator[Moment]:
    """Song et al. 2021, algorithm 1: at each level the corrector's calls, then the predictor's."""
    calls, times = scheduler.stages, scheduler.timesteps
    corrects = int(scheduler.config.get("correct_steps", 0))
    for i in range(start, len(calls) if stop is None else stop):
        number, part = divmod(i, 1 + corrects)
        t = times[number]
        x0 = denoise(x, calls[i].here)
        output = scheduler.model_output(i, x, x0)
        if part < corrects:
            result = scheduler.step_correct(output, x, generator, timestep=t)
        else:
            result = scheduler.step_pred(output, t, x, generator)
        yield Moment(i, calls[i], x, x0, output, result.prev_sample, result.pred_original_sample)
        x = result.prev_sample
