"""Runs whose steps are judged as they go: DPM adaptive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from sampling.runner import Frame, frame_of, settled
from schedulers.core.loop import drive
from schedulers.solvers.dpm_adaptive import DPMAdaptiveScheduler, asking

__all__ = ["adaptive"]


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
    model = lambda x, level: ask(x, level.sigma)  # noqa: E731
    moments = drive(scheduler, model, x, generator=generator, s_noise=s_noise)
    for moment in settled(scheduler, moments):
        sample, x0 = (
            torch.as_tensor(part).cpu() for part in (moment.sample, moment.pred_original_sample)
        )
        yield frame_of(scheduler, moment, (sample, x0))
