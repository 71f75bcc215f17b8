"""The one loop: from a spec to frames."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np
import torch

from models import MODELS, Model, load
from sampling.device import choose_device, zero_gpu
from sampling.noise import generators, unit_noise
from sampling.plan import Plan, batch, blame, build
from sampling.spec import RunSpec, SpecError
from schedulers.core.coefficients import Coefficients
from schedulers.core.level import Call, Level
from schedulers.core.loop import Moment, drive
from schedulers.core.scheduler import Scheduler
from schedulers.grids.groups import Group
from schedulers.solvers.dpm_adaptive import DPMAdaptiveScheduler

__all__ = ["Frame", "initial_sample", "run"]

SMALL = 2**15
"""Numbers in a state up to which one CPU thread is best."""

LARGEST_SIGMA = 1e12

STEPS_TO_IMAGE = 20
"""Steps of DDIM that make the image from which a run upwards starts."""

Pair = tuple[torch.Tensor, torch.Tensor]
Denoise = Callable[[torch.Tensor, Level], torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What one model call left behind.

    Attributes:
        index: Number of the call, from 0.
        call: Its time, its level, and the level of ``sample``.
        sample: The next sample, float32, read-only: (samples, C, H, W) for image models,
            (samples * 256, d) for plane and line models.
        pred_original_sample: The data prediction of this call, same shape.
        coefficients: The numbers that made ``sample``.
        accepted: False for a call of a step that an adaptive scheduler tried and did not take.
        attempt: The step that the call is part of, where the error decides the steps.
    """

    index: int
    call: Call
    sample: np.ndarray
    pred_original_sample: np.ndarray
    coefficients: Coefficients
    accepted: bool = True
    attempt: Group | None = None


def run(
    spec: RunSpec,
    *,
    plan: Plan | None = None,
    device: str | None = None,
    stop: Event | None = None,
    seconds: float | None = None,
) -> Iterator[Frame]:
    """Sample, yielding one frame per model call.

    The frames of a spec are the same on every visit. Nothing is computed before the first
    `next`, and after ``stop`` is set no further model call is made.

    Args:
        spec: What to run.
        plan: Its schedule, where one is at hand: its rows are not made again.
        device: ``"cuda"``, ``"mps"``, ``"cpu"``, or None for `choose_device`'s choice.
        stop: Ends the run early, before the next model call.
        seconds: Ends the run early when this much time has passed since its first frame was
            asked for.

    Yields:
        Frames 0, 1, ... in order.

    Raises:
        SpecError: The settings do not go together.
        ValueError: The device does not exist here.
    """
    place = choose_device(device)
    end = None if seconds is None else time.monotonic() + seconds
    frames = (_wrapped_frames if place == "cuda" else _frames)(spec, place, plan)
    while not ((stop is not None and stop.is_set()) or (end and time.monotonic() > end)):
        frame = next(frames, None)
        if frame is None:
            return
        yield frame


def initial_sample(spec: RunSpec, scheduler: Scheduler | None = None) -> np.ndarray:
    """What a run starts from, float32, shaped as `Frame.sample`: noise x_T, or going up an image.

    Args:
        spec: The run.
        scheduler: A scheduler of this run, where one is at hand; it is only read.
    """
    made = build(spec) if scheduler is None else scheduler
    owners = generators(spec.seed, spec.samples)
    return _flat(spec, initial_state(spec, made, owners)).numpy().copy()


def initial_state(
    spec: RunSpec,
    scheduler: Scheduler,
    owners: list[torch.Generator],
    device: str = "cpu",
) -> torch.Tensor:
    shape = batch(MODELS[spec.model], spec.samples)
    x = unit_noise(shape[1:], owners) * float(scheduler.init_noise_sigma)
    if not scheduler.ascends:
        return x.to(device)
    # A run upwards needs an image to start from: the one that DDIM makes of this noise.
    down = replace(
        spec,
        scheduler="DDIMScheduler",
        config=(("clip_sample", False),),
        steps=STEPS_TO_IMAGE,
        timesteps=None,
        sigmas=None,
    )
    return image_of(down, float(scheduler.init_noise_sigma), device)


@functools.lru_cache(maxsize=8)
def image_of(spec: RunSpec, sigma: float, device: str) -> torch.Tensor:
    """Where a deterministic run ends; kept, since runs upwards of one seed start from the same."""
    owners = generators(spec.seed, spec.samples)
    x = (unit_noise(batch(MODELS[spec.model], spec.samples)[1:], owners) * sigma).to(device)
    with torch.inference_mode(), _threads_for(x):
        for moment in drive(build(spec), denoiser(spec, device), x, generator=owners):
            x = moment.sample
    return x


def _flat(spec: RunSpec, x: torch.Tensor) -> torch.Tensor:
    """From the state's shape to the shape that models see."""
    info = MODELS[spec.model]
    return x if info.kind == "image" else x.reshape(-1, *info.shape)


# --- the loop ---------------------------------------------------------------------------------


def _frames(spec: RunSpec, device: str, plan: Plan | None = None) -> Iterator[Frame]:
    """Every frame of a run; takes and yields only what pickles."""
    scheduler = build(spec)
    rows = plan.coefficients if plan is not None and not plan.ahead else None
    _check_levels(spec, scheduler)
    owners = generators(spec.seed, spec.samples)
    denoise = denoiser(spec, device)
    x = initial_state(spec, scheduler, owners, device)
    settings: dict[str, Any] = dict(spec.step)
    moments = settled(scheduler, drive(scheduler, denoise, x, generator=owners, **settings))
    download = _Download(device)
    waiting: list[tuple[Moment, Callable[[], Pair]]] = []
    while True:
        # Entered per step: between two yields both would leak into the caller's thread.
        with torch.inference_mode(), _threads_for(x):
            try:
                moment = next(moments, None)
            except (ValueError, TypeError) as error:
                raise blame(spec, error) from error
            if moment is not None:
                pair = (_flat(spec, part) for part in (moment.sample, moment.pred_original_sample))
                waiting.append((moment, download.send(*pair)))
        while waiting and (moment is None or len(waiting) > download.behind):
            sent, collect = waiting.pop(0)
            yield frame_of(scheduler, sent, collect(), None if rows is None else rows[sent.index])
        if moment is None:
            return


def settled(scheduler: Scheduler, moments: Iterator[Moment]) -> Iterator[Moment]:
    """Moments whose fate is known: those of a step that is judged come together after it."""
    if not isinstance(scheduler, DPMAdaptiveScheduler):
        yield from moments
        return
    waiting: list[Moment] = []
    for moment in moments:
        waiting.append(moment)
        if scheduler.completes(moment.index):
            yield from waiting
            waiting.clear()


def frame_of(
    scheduler: Scheduler, moment: Moment, pair: Pair, row: Coefficients | None = None
) -> Frame:
    """What is kept of a moment.

    Args:
        scheduler: Who made it.
        moment: The moment, settled.
        pair: Its sample and data prediction on the host.
        row: The coefficients of the call, where they are known.
    """
    i, calls, attempt = moment.index, scheduler.stages, None
    if isinstance(scheduler, DPMAdaptiveScheduler):
        attempt = scheduler.attempts[calls[i].step]
    return Frame(
        index=i,
        call=calls[i],
        sample=read_only(pair[0]),
        pred_original_sample=read_only(pair[1]),
        coefficients=scheduler.row(i) if row is None else row,
        accepted=attempt is None or attempt.accepted,
        attempt=attempt,
    )


def _check_levels(spec: RunSpec, scheduler: Scheduler) -> None:
    """Refuse levels at which the embedded models do not answer.

    Raises:
        SpecError: A level beyond 1e12, where numbers in float32 mean nothing, or below 0.
    """
    levels = [call.here for call in scheduler.stages]
    largest = max(level.sigma for level in levels)
    smallest = min(min(level.alpha, level.sigma) for level in levels)
    own = next((name for name in ("sigmas", "timesteps") if getattr(spec, name)), None)
    betas = "trained_betas" if scheduler.config.get("trained_betas") is not None else "beta_end"
    if smallest < 0.0:
        control, name = (own, own) if own else ("config.shift", "shift")
        raise SpecError(
            control,
            f"{name}: the run asks for a share of {smallest:.3g} of signal or noise, and there is "
            "none below 0; choose levels inside the path.",
        )
    if largest > LARGEST_SIGMA:
        name = own or ("sigma_max" if scheduler.training is None else betas)
        raise SpecError(
            own or f"config.{name}",
            f"{name}: the noise schedule reaches sigma = {largest:.3g}, and the models answer up to "
            f"{LARGEST_SIGMA:g}; choose a milder {name}.",
        )


@contextmanager
def _threads_for(x: torch.Tensor) -> Iterator[None]:
    """One thread for small states: waking a second one costs more than it computes.

    Where other work shares the cores, the waiting makes a call of 0.2 ms take 20 ms.
    """
    if x.device.type != "cpu" or x.numel() > SMALL:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _gpu_seconds(spec: RunSpec, device: str, plan: Plan | None = None) -> int:
    del device, plan
    return min(120, 10 + spec.steps * spec.samples // 50)


_wrapped_frames = zero_gpu(_frames, _gpu_seconds)


def _load(spec: RunSpec, device: str) -> Model:
    try:
        options: dict[str, Any] = dict(spec.options)
        return load(spec.model, device=device, **options)
    except (ValueError, TypeError) as error:
        raise blame(spec, error) from error


def denoiser(spec: RunSpec, device: str) -> Denoise:
    """The model of a run, on states instead of batches."""
    model = _load(spec, device)
    shape = batch(MODELS[spec.model], spec.samples)

    def denoise(x: torch.Tensor, level: Level) -> torch.Tensor:
        x0 = model.denoise(_flat(spec, x), level.alpha, level.sigma, spec.cond)
        return x0.reshape(shape)

    return denoise


# --- to the host ------------------------------------------------------------------------------


class _Download:
    """Brings arrays to the host without holding up the loop.

    On CUDA a copy is queued on a stream of its own and collected one step later, when the next
    step is already queued, so the device never waits for the host. Elsewhere the arrays are
    read at once: on the CPU that costs nothing.
    """

    def __init__(self, device: str) -> None:
        self.behind = 1 if device == "cuda" else 0
        self._stream = torch.cuda.Stream() if device == "cuda" else None

    def send(self, *tensors: torch.Tensor) -> Callable[[], Any]:
        """Start copying; the returned function waits for the copies and hands them over."""
        stream = self._stream
        if stream is None:
            return lambda: tuple(tensor.cpu() for tensor in tensors)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            hosts = []
            for tensor in tensors:
                host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                hosts.append(host.copy_(tensor, non_blocking=True))
                tensor.record_stream(stream)
        event = stream.record_event()

        def collect() -> tuple[torch.Tensor, ...]:
            event.synchronize()
            return tuple(host.clone() for host in hosts)  # out of scarce pinned memory

        return collect


def read_only(tensor: torch.Tensor) -> np.ndarray:
    array = tensor.to(torch.float32).contiguous().numpy()
    array.setflags(write=False)
    return array
