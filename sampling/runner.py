"""The one loop: from a spec to frames."""

from __future__ import annotations

import functools
import inspect
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
from sampling.plan import batch, blame, build, rows_of, step_settings
from sampling.spec import RunSpec, SpecError
from schedulers.core.coefficients import Coefficients
from schedulers.core.level import Call, Level
from schedulers.core.scheduler import Scheduler
from schedulers.rules.exponential import posterior_variance

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
        stage: Its time, its level, and the level of ``sample``.
        sample: The next sample, float32, read-only: (samples, C, H, W) for image models,
            (samples * 256, d) for plane and line models.
        pred_original_sample: The data prediction of this call, same shape.
        weights: The row of numbers that made ``sample``.
        accepted: False for a call of a step that an adaptive scheduler tried and did not take.
    """

    index: int
    stage: Call
    sample: np.ndarray
    pred_original_sample: np.ndarray
    weights: Coefficients
    accepted: bool = True


def run(
    spec: RunSpec,
    *,
    device: str | None = None,
    stop: Event | None = None,
    seconds: float | None = None,
) -> Iterator[Frame]:
    """Sample, yielding one frame per model call.

    The frames of a spec are the same on every visit. Nothing is computed before the first
    `next`, and after ``stop`` is set no further model call is made.

    Args:
        spec: What to run.
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
    frames = _wrapped_frames(spec, place) if place == "cuda" else _frames(spec, place)
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
        for image, _ in _step_form(build(spec), denoiser(spec, device), x, owners, {}):
            x = image
    return x


def _flat(spec: RunSpec, x: torch.Tensor) -> torch.Tensor:
    """From the state's shape to the shape that models see."""
    info = MODELS[spec.model]
    return x if info.kind == "image" else x.reshape(-1, *info.shape)


# --- the loop ---------------------------------------------------------------------------------


def _frames(spec: RunSpec, device: str) -> Iterator[Frame]:
    """Every frame of a run; takes and yields only what pickles."""
    scheduler = build(spec)
    stages = scheduler.stages
    rows = rows_of(spec, scheduler)
    _check_levels(scheduler)
    owners = generators(spec.seed, spec.samples)
    denoise = denoiser(spec, device)
    x = initial_state(spec, scheduler, owners, device)
    drive = _DRIVERS[scheduler.call_form]
    pairs = drive(scheduler, denoise, x, owners, dict(step_settings(spec)))
    download = _Download(device)
    waiting: list[Callable[[], Pair]] = []
    sent = 0
    while True:
        # Entered per step: between two yields both would leak into the caller's thread.
        with torch.inference_mode(), _threads_for(x):
            try:
                pair = next(pairs, None)
            except (ValueError, TypeError) as error:
                raise blame(spec, error) from error
            if pair is not None:
                waiting.append(download.send(_flat(spec, pair[0]), _flat(spec, pair[1])))
        while waiting and (pair is None or len(waiting) > download.behind):
            sample, x0 = waiting.pop(0)()
            taken = sent not in scheduler.rejected
            yield Frame(sent, stages[sent], read_only(sample), read_only(x0), rows[sent], taken)
            sent += 1
        if pair is None:
            return


def _check_levels(scheduler: Scheduler) -> None:
    """Refuse levels at which the embedded models do not answer.

    Raises:
        SpecError: A level beyond 1e12; numbers in float32 mean nothing there.
    """
    largest = max(stage.here.sigma for stage in scheduler.stages)
    if largest <= LARGEST_SIGMA:
        return
    betas = "trained_betas" if scheduler.config.get("trained_betas") is not None else "beta_end"
    name = "sigma_max" if scheduler.training is None else betas
    raise SpecError(
        f"config.{name}",
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


def _gpu_seconds(spec: RunSpec, device: str) -> int:
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


def _step_form(
    scheduler: Scheduler,
    denoise: Denoise,
    x: torch.Tensor,
    owners: list[torch.Generator],
    settings: dict[str, Any],
) -> Iterator[Pair]:
    """The common call form: one `step` per model call."""
    answer = _answer_of(scheduler)
    if "generator" in inspect.signature(scheduler.step).parameters:
        settings = {"generator": owners, **settings}
    begin = getattr(scheduler, "set_begin_index", None)
    if begin is not None:
        begin(0)  # a first time that occurs twice is no start in the middle
    # The models here take the sample as it is: asked once, for the schedulers that insist.
    scheduler.scale_model_input(x, scheduler.timesteps[0])
    calls = zip(scheduler.stages, scheduler.timesteps, strict=True)
    for i, (stage, t) in enumerate(calls):
        output = answer(i, x, denoise(x, stage.here))
        result = scheduler.step(output, t, x, **settings)
        x = result.prev_sample
        yield x, result.pred_original_sample


def _karras_ve(
    scheduler: Any,  # noqa: ANN401 - the methods of this call form are KarrasVe's own
    denoise: Denoise,
    x: torch.Tensor,
    owners: list[torch.Generator],
    settings: dict[str, Any],
) -> Iterator[Pair]:
    """Karras et al. (2022), algorithm 2: churn, Euler, correction unless the target is clean."""
    answer = _answer_of(scheduler)
    stages = scheduler.stages
    levels = sorted((float(sigma) for sigma in scheduler.sigmas), reverse=True)
    i = 0
    for sigma, target in zip(levels, levels[1:], strict=False):
        x_hat, sigma_hat = scheduler.add_noise_to_input(x, sigma, generator=owners)
        output = answer(i, x_hat, denoise(x_hat, stages[i].here))
        euler = scheduler.step(output, sigma_hat, target, x_hat)
        x = euler.prev_sample
        yield x, euler.pred_original_sample
        i += 1
        if target == 0.0:
            return
        output = answer(i, x, denoise(x, stages[i].here))
        corrected = scheduler.step_correct(output, sigma_hat, target, x_hat, x, euler.derivative)
        x = corrected.prev_sample
        yield x, corrected.pred_original_sample
        i += 1


def _score_sde(
    scheduler: Any,  # noqa: ANN401 - the methods of this call form are the score SDE's own
    denoise: Denoise,
    x: torch.Tensor,
    owners: list[torch.Generator],
    settings: dict[str, Any],
) -> Iterator[Pair]:
    """Song et al. (2021), algorithm 1: at each level the corrector's calls, then the predictor's."""
    answer = _answer_of(scheduler)
    stages = scheduler.stages
    each = 1 + scheduler.config["correct_steps"]
    for i, stage in enumerate(stages):
        t = scheduler.timesteps[i // each]
        output = answer(i, x, denoise(x, stage.here))
        if i % each < each - 1:
            result = scheduler.step_correct(output, x, owners, timestep=t)
        else:
            result = scheduler.step_pred(output, t, x, owners)
        x = result.prev_sample
        yield x, result.pred_original_sample


_DRIVERS: dict[str, Callable[..., Iterator[Pair]]] = {
    "step": _step_form,
    "adaptive": _step_form,  # of steps that are judged already
    "karras_ve": _karras_ve,
    "score_sde": _score_sde,
}

Answer = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


def _answer_of(scheduler: Scheduler) -> Answer:
    """How the data prediction of call i becomes what this scheduler expects a model to return."""
    weights = [scheduler.output_weights(i) for i in range(len(scheduler.stages))]
    variance = scheduler.config.get("variance_type")

    def answer(i: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        on_x, on_x0 = weights[i]
        output = x0 if on_x0 == 1.0 else x0 * on_x0
        if on_x != 0.0:
            output = output.add(x, alpha=on_x)
        if variance not in ("learned", "learned_range"):
            return output
        half = torch.full_like(x, _second_half(variance, scheduler.stages[i]))
        return torch.cat([output, half], dim=1)

    return answer


def _second_half(variance_type: str, stage: Call) -> float:
    """What stands in for the variance channels that the embedded models do not have.

    The variance of the posterior q(x_prev | x, x0), which is the best one for data known exactly
    and the one that the scheduler's rows speak of: given as it is for ``"learned"``, as the lower
    end -1 of its range for ``"learned_range"``.

    References:
        Nichol, Dhariwal 2021. Improved DDPM. arXiv 2102.09672, equation 15.
    """
    if variance_type == "learned_range":
        return -1.0
    return max(posterior_variance(stage.here, stage.target), 1e-20)


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
