"""Runs whose steps are judged as they go: DPM adaptive."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sampling.noise import generators
from sampling.plan import blame, build, step_settings
from sampling.runner import Frame, denoiser, initial_state, read_only
from sampling.spec import RunSpec
from schedulers.core.level import ve_level
from schedulers.dpm_adaptive import DPMAdaptiveScheduler, asking
from schedulers.dpm_fast import Group

__all__ = ["adaptive", "attempts_of"]

REMEMBERED = 64
"""Runs whose steps are kept: a few hundred numbers each."""


def adaptive(
    denoise: Callable[..., Any],
    x: Any,  # noqa: ANN401 - a tensor or an array
    scheduler: DPMAdaptiveScheduler,
    *,
    generator: Any = None,  # noqa: ANN401 - of torch or NumPy, or a list
    s_noise: float = 1.0,
) -> Iterator[Frame]:
    """Run to the end, yielding one frame per model call, rejected calls included.

    The frames of a step come together when it has been judged.

    Args:
        denoise: ``denoise(x, sigma) -> x0``, or ``denoise(x, alpha, sigma[, cond])``.
        x: Noise of standard deviation ``scheduler.init_noise_sigma``, any shape.
        scheduler: It begins a new run.
        generator: Source of noise, or a list with one for each sample; for eta > 0.
        s_noise: Factor on the noise.

    Yields:
        Frames 0, 1, ...; ``accepted`` tells the calls of steps that were taken.

    Raises:
        ValueError: Numbers that are not finite, or tolerances that ask for too many steps.
    """
    ask = asking(denoise)
    scheduler.set_timesteps()
    scheduler.set_begin_index(0)
    waiting: list[tuple[Any, Any]] = []
    i = sent = 0
    while i < len(scheduler.timesteps):
        x0 = ask(x, scheduler.stages[i].here.sigma)
        on_x, on_x0 = scheduler.output_weights(i)
        output, t = on_x * x + on_x0 * x0, scheduler.timesteps[i]
        x, x0 = scheduler.step(output, t, x, s_noise, generator, return_dict=False)
        waiting.append((x, x0))
        i += 1
        if not scheduler.completes(i - 1):
            continue
        for sample, prediction in waiting:
            frame = Frame(
                index=sent,
                stage=scheduler.stages[sent],
                sample=read_only(torch.as_tensor(sample).cpu()),
                pred_original_sample=read_only(torch.as_tensor(prediction).cpu()),
                weights=scheduler.row(sent),
                accepted=sent not in scheduler.rejected,
            )
            yield frame
            sent += 1
        waiting.clear()


@functools.lru_cache(maxsize=REMEMBERED)
def attempts_of(spec: RunSpec) -> tuple[Group, ...]:
    """The steps that a run of this spec tries, taken or not; found by making it on the CPU."""
    scheduler = build(spec, judges=True)
    if not isinstance(scheduler, DPMAdaptiveScheduler):
        raise TypeError(f"{spec.scheduler} does not judge its steps.")
    owners = generators(spec.seed, spec.samples)
    model = denoiser(spec, "cpu")
    x = initial_state(spec, scheduler, owners)

    with torch.inference_mode():
        settings: dict[str, Any] = dict(step_settings(spec))
        denoise = lambda x, sigma: model(x, ve_level(0.0, sigma))  # noqa: E731
        try:
            for _ in adaptive(denoise, x, scheduler, generator=owners, **settings):
                pass
        except (ValueError, TypeError) as error:
            raise blame(spec, error) from error
    return scheduler.attempts
