"""One run: frames, their weights, their noise, and what is remembered of them."""

from __future__ import annotations

import itertools
import math
import pickle
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pytest
import torch

from models import MODELS, load
from sampling import (
    PARTICLES,
    Recorder,
    RunSpec,
    SpecError,
    Trajectory,
    TrajectoryCache,
    choose_device,
    devices,
    initial_sample,
    plan_run,
    run,
    runner,
    trajectory,
)
from sampling import device as device_module
from sampling.noise import generators, unit_noise
from sampling.runner import STEPS_TO_IMAGE, image_of
from schedulers import SCHEDULERS
from schedulers.backend.errors import ParameterError, ParameterTypeError
from schedulers.core.level import Call, Level
from visualize.explore import Explorer

DEVICES = [device.id for device in devices()]
LINE = "mixture-1d"
PLANE = "mixture-2d"


def made(scheduler: str, steps: int = 8, **config: Any) -> RunSpec:  # noqa: ANN401
    """A quick run on the exact 2-D mixture, nothing clipped."""
    known = {entry.name for entry in SCHEDULERS[scheduler].parameters()}
    if "clip_sample" in known:
        config = {"clip_sample": False} | config
    return RunSpec(scheduler=scheduler, config=tuple(config.items()), steps=steps, model=PLANE)


VARIANTS = [
    made("DDPMScheduler"),
    *(
        made("DDPMScheduler", variance_type=kind)
        for kind in ("fixed_small_log", "fixed_large", "fixed_large_log", "learned")
    ),
    made("DDPMScheduler", variance_type="learned_range"),
    made("DDPMScheduler", clip_sample=True),
    made("DDIMScheduler"),
    made("DDIMScheduler", eta=0.7),
    made("DDIMScheduler", eta=1.0, clip_sample=True, use_clipped_model_output=True),
    made("DDIMScheduler", rescale_betas_zero_snr=True, prediction_type="v_prediction",
         timestep_spacing="trailing"),
    made("EulerDiscreteScheduler"),
    made("EulerDiscreteScheduler", s_churn=3.0, s_noise=1.01),
    made("EulerAncestralDiscreteScheduler"),
    made("HeunDiscreteScheduler"),
    made("LMSDiscreteScheduler"),
    made("LMSDiscreteScheduler", order=2),
    made("KarrasVeScheduler"),
    made("KarrasVeScheduler", s_churn=0.0),
    made("ScoreSdeVeScheduler", correct_steps=0),
    made("ScoreSdeVpScheduler"),
    made("LCMScheduler"),
    made("TCDScheduler", eta=0.6),
    made("CMStochasticIterativeScheduler", clip_denoised=False),
    *(
        made("DPMSolverMultistepScheduler", algorithm_type=kind, solver_order=order,
             solver_type=form,
             final_sigmas_type="zero" if "++" in kind else "sigma_min")
        for kind, order, form in [
            ("dpmsolver", 2, "midpoint"),
            ("dpmsolver", 3, "midpoint"),
            ("dpmsolver++", 1, "midpoint"),
            ("dpmsolver++", 2, "heun"),
            ("dpmsolver++", 3, "midpoint"),
            ("sde-dpmsolver", 2, "midpoint"),
            ("sde-dpmsolver++", 2, "heun"),
        ]
    ),
    made("DPMSolverMultistepScheduler", variance_type="learned_range"),
    made("DPMSolverMultistepScheduler", use_karras_sigmas=True),
    made("DEISMultistepScheduler"),
    made("DEISMultistepScheduler", solver_order=3),
    made("DPMSolverMultistepScheduler", use_flow_sigmas=True, prediction_type="flow_prediction"),
]  # fmt: skip


def named(spec: RunSpec) -> str:
    settings = ",".join(f"{key}={value}" for key, value in spec.config + spec.step)
    return f"{spec.scheduler}[{settings}]"


# --- every scheduler with every model ---------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_runs_with_every_model(scheduler: str, model: str) -> None:
    spec = RunSpec(scheduler=scheduler, model=model, steps=4, samples=2)
    plan = plan_run(spec)
    if plan.ahead:  # what it does is known when it was made
        plan = trajectory(spec, device="cpu").plan
    frames = list(run(spec, device="cpu"))
    info = MODELS[model]
    batch = 2 if info.kind == "image" else 2 * PARTICLES
    assert [frame.index for frame in frames] == list(range(plan.nfe))
    for frame, stage, row in zip(frames, plan.calls, plan.coefficients, strict=True):
        assert (frame.call, frame.coefficients) == (stage, row)
        for array in (frame.sample, frame.pred_original_sample):
            assert array.shape == (batch, *info.shape)
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    assert initial_sample(spec).shape == (batch, *info.shape)


def test_a_film_of_emoji_ends_on_something_crisp() -> None:
    """Not only finite: the result uses the range of pixels and differs from its neighbours."""
    spec = RunSpec.default()
    last = trajectory(spec, device="cpu").samples[-1, 0]
    assert np.abs(last).max() <= 1.05
    assert last.max() - last.min() > 1.0


# --- the numbers shown are the numbers used ---------------------------------------------------


def inputs(film: Trajectory) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """What each call was shown, the noise prediction made of it, and the noise drawn, float64."""
    plan = film.plan
    spec = plan.spec
    info = MODELS[spec.model]
    shape = info.shape if info.kind == "image" else (PARTICLES, *info.shape)
    owners = generators(spec.seed, spec.samples)
    unit_noise(shape, owners)  # x_T
    draws = []
    for row in plan.coefficients:
        drawn = unit_noise(shape, owners).numpy() if row.noise else np.zeros(1)
        draws.append(drawn.reshape(-1, *info.shape) if row.noise else drawn)
    shown = [film.initial, *film.samples[:-1]]
    clean = list(film.x0)
    if not plan.scheduler.config.get("clip_sample"):
        # Asked again, so that the recorded prediction is not taken on trust.
        model = load(spec.model)
        clean = [
            model.denoise(
                torch.from_numpy(x.copy()), s.here.alpha, s.here.sigma, spec.cond
            ).numpy()
            for x, s in zip(shown, plan.calls, strict=True)
        ]
    return [x.astype(np.float64) for x in shown], [x.astype(np.float64) for x in clean], draws


def deterministic_churn(spec: RunSpec) -> bool:
    """Whether the sample shown to the model is the sample of the frame before."""
    return (
        spec.scheduler != "KarrasVeScheduler"
        or dict(spec.config + spec.step).get("s_churn") == 0.0
    )


@pytest.mark.parametrize("spec", [s for s in VARIANTS if deterministic_churn(s)], ids=named)
def test_the_equation_of_a_step_is_the_step(spec: RunSpec) -> None:
    """sum of weights times recorded arrays = the recorded next sample."""
    film = trajectory(spec, device="cpu")
    shown, x0, draws = inputs(film)
    stages = film.plan.calls
    eps = []
    for x, clean, stage in zip(shown, x0, stages, strict=True):
        here = stage.here
        eps.append((x - here.alpha * clean) / here.sigma)
    for i, row in enumerate(film.plan.coefficients):
        total = row.noise * draws[i]
        for arrays, weights in ((shown, row.x), (x0, row.x0), (eps, row.eps)):
            for lag, weight in enumerate(weights):
                if weight != 0.0:
                    total = total + weight * arrays[i - lag]
        scale = max(1.0, stages[i].here.scale)
        # float32 arrays; eps is recovered by a division that multiplies rounding by 1/sigma.
        np.testing.assert_allclose(film.samples[i], total, atol=2e-4 * scale, err_msg=f"call {i}")


@pytest.mark.parametrize("spec", [s for s in VARIANTS if deterministic_churn(s)], ids=named)
def test_contributions_add_up_to_the_final_sample(spec: RunSpec) -> None:
    film = trajectory(spec, device="cpu")
    shown, x0, draws = inputs(film)
    shares = film.plan.contributions
    total = shares.initial * shown[0]
    for weight, clean in zip(shares.calls, x0, strict=True):
        total = total + weight * clean
    for weight, drawn in zip(shares.noise, draws, strict=True):
        total = total + weight * drawn
    largest = max(map(abs, (*shares.calls, *shares.noise)))
    np.testing.assert_allclose(film.samples[-1], total, atol=5e-4 * max(1.0, largest))


def test_corrector_calls_are_frames() -> None:
    """Model calls of a score SDE: the corrector's, then the predictor's, at each level."""
    spec = made("ScoreSdeVeScheduler", correct_steps=2)
    film = trajectory(spec, device="cpu")
    assert len(film.samples) == film.plan.nfe == 3 * spec.steps
    assert np.isfinite(film.samples).all()
    stays = [stage.here == stage.target for stage in film.plan.calls]
    assert stays == [True, True, False] * spec.steps


# --- noise ------------------------------------------------------------------------------------


def test_same_seed_same_film_on_every_visit() -> None:
    spec = RunSpec(scheduler="EulerAncestralDiscreteScheduler", steps=6, seed=5, samples=2)
    first, second = (trajectory(spec, device="cpu") for _ in range(2))
    np.testing.assert_array_equal(first.samples, second.samples)
    np.testing.assert_array_equal(first.x0, second.x0)


def test_another_seed_another_film() -> None:
    films = [
        trajectory(RunSpec(scheduler="DDIMScheduler", steps=3, seed=seed), device="cpu")
        for seed in (0, 1)
    ]
    assert np.abs(films[0].initial - films[1].initial).mean() > 0.5


@pytest.mark.parametrize("model", ["emoji-ideal", PLANE])
@pytest.mark.parametrize(
    "scheduler", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "KarrasVeScheduler"]
)
def test_sample_k_does_not_depend_on_how_many_there_are(scheduler: str, model: str) -> None:
    one, three = (
        trajectory(
            RunSpec(scheduler=scheduler, steps=5, samples=samples, model=model), device="cpu"
        )
        for samples in (1, 3)
    )
    size = len(one.initial)
    np.testing.assert_array_equal(one.initial, three.initial[:size])
    # Batched matrix products may round differently; the noise may not differ at all.
    scale = np.abs(one.samples).max()
    np.testing.assert_allclose(one.samples, three.samples[:, :size], atol=2e-3 * scale)


def test_noise_of_neighbouring_seeds_is_not_shared() -> None:
    """(seed 1, sample 0) and (seed 0, sample 1) are different streams."""
    draws = [unit_noise((1000,), generators(seed, 2)).numpy() for seed in (0, 1)]
    for a, b in itertools.combinations([*draws[0], *draws[1]], 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.15


def test_initial_noise_has_the_scale_of_the_scheduler() -> None:
    spec = RunSpec(scheduler="EulerDiscreteScheduler", model=PLANE, samples=16)
    wanted = float(plan_run(spec).scheduler.init_noise_sigma)
    assert initial_sample(spec).std() == pytest.approx(wanted, rel=0.03)


# --- the loop's manners -----------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the sigma of every model call."""
    calls: list[float] = []
    load = runner.load

    class Counting:
        def __init__(self, model: Any) -> None:  # noqa: ANN401
            self.model = model

        def denoise(self, x: Any, alpha: float, sigma: float, cond: str | None) -> Any:  # noqa: ANN401
            calls.append(sigma)
            return self.model.denoise(x, alpha, sigma, cond)

    monkeypatch.setattr(runner, "load", lambda *a, **k: Counting(load(*a, **k)))
    return calls


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_model_calls_are_the_promised_number(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = RunSpec(scheduler=scheduler, model=LINE, steps=7)
    promised = plan_run(spec).nfe
    if SCHEDULERS[scheduler].call_form == "adaptive":  # which promises nothing before it is made
        promised = trajectory(spec, device="cpu").plan.nfe
    image_of.cache_clear()
    calls = counted(monkeypatch)
    first = list(run(spec, device="cpu"))
    assert len(first) == promised
    # going up, an image has to be made first
    assert len(calls) == promised + STEPS_TO_IMAGE * SCHEDULERS[scheduler].ascends
    if SCHEDULERS[scheduler].ascends:  # and is kept: other settings start from the same one
        again = list(run(replace(spec, steps=5), device="cpu"))
        assert len(calls) == promised + STEPS_TO_IMAGE + len(again)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "HeunDiscreteScheduler", "KarrasVeScheduler"])  # fmt: skip
def test_stop_acts_within_one_step(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    stop = threading.Event()
    seen = 0
    for frame in run(RunSpec(scheduler=scheduler, model=LINE), device="cpu", stop=stop):
        seen = frame.index + 1
        if seen == 3:
            stop.set()
    assert seen == 3
    assert len(calls) == 3


def test_nothing_is_computed_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    frames = run(RunSpec(model=LINE), device="cpu")
    assert not calls
    next(frames)
    assert len(calls) == 1


def test_the_deadline_ends_a_run() -> None:
    spec = RunSpec(scheduler="DDPMScheduler", model=LINE, steps=1000)
    start = time.monotonic()
    frames = list(run(spec, device="cpu", seconds=0.05))
    assert time.monotonic() - start < 2.0
    assert 0 < len(frames) < 1000


def test_modes_do_not_leak_into_the_caller() -> None:
    threads = torch.get_num_threads()
    frames = run(RunSpec(model=LINE), device="cpu")
    for _ in range(3):
        next(frames)
        assert not torch.is_inference_mode_enabled()
        assert torch.get_num_threads() == threads


def test_frames_pickle() -> None:
    """On ZeroGPU they cross a process boundary."""
    frame = next(run(RunSpec(model=LINE), device="cpu"))
    again = pickle.loads(pickle.dumps(frame))
    assert (again.index, again.call, again.coefficients) == (
        frame.index,
        frame.call,
        frame.coefficients,
    )
    np.testing.assert_array_equal(again.sample, frame.sample)


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_makes_the_same_film(device: str) -> None:
    spec = RunSpec(scheduler="EulerAncestralDiscreteScheduler", model=PLANE, steps=6, samples=2)
    here, there = (trajectory(spec, device=place) for place in ("cpu", device))
    np.testing.assert_array_equal(here.initial, there.initial)
    np.testing.assert_allclose(here.samples, there.samples, atol=1e-3 * np.abs(here.samples).max())
    assert there.device == device


def test_custom_times_are_visited() -> None:
    spec = RunSpec(scheduler="EulerDiscreteScheduler", model=PLANE, timesteps=(900.0, 400.0, 10.0))
    assert [frame.call.t for frame in run(spec, device="cpu")] == [900.0, 400.0, 10.0]


def test_custom_sigmas_are_visited() -> None:
    spec = RunSpec(scheduler="EulerDiscreteScheduler", model=PLANE, sigmas=(8.0, 2.0, 0.5, 0.0))
    visited = [frame.call.here.rho for frame in run(spec, device="cpu")]
    assert visited == pytest.approx([8.0, 2.0, 0.5], rel=1e-5)


@pytest.mark.parametrize(
    ("spec", "control"),
    [
        (RunSpec(scheduler="DDIMScheduler", steps=50, config=(("num_train_timesteps", 20),)),
         "steps"),
        (RunSpec(scheduler="EulerDiscreteScheduler", timesteps=(1.0, 500.0)), "timesteps"),
        (RunSpec(scheduler="EulerDiscreteScheduler", sigmas=(1.0, 5.0, 0.0)), "sigmas"),
        (RunSpec(scheduler="KarrasVeScheduler", timesteps=(3.0, 2.0)), "timesteps"),
        (RunSpec(scheduler="DPMSolverMultistepScheduler",
                 config=(("use_karras_sigmas", True), ("use_beta_sigmas", True))),
         ("config.use_karras_sigmas", "config.use_beta_sigmas")),
    ],
    ids=lambda value: named(value) if isinstance(value, RunSpec) else None,
)  # fmt: skip
def test_settings_that_do_not_go_together_name_a_control(
    spec: RunSpec, control: str | tuple[str, ...]
) -> None:
    with pytest.raises(SpecError) as caught:
        plan_run(spec)
    assert caught.value.parameter in (control if isinstance(control, tuple) else (control,))
    with pytest.raises(SpecError):
        next(run(spec, device="cpu"))


# --- devices ----------------------------------------------------------------------------------


def test_the_device_is_overridable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == "cpu"
    monkeypatch.setenv(device_module.DEVICE_VARIABLE, "cpu")
    assert choose_device() == "cpu"
    with pytest.raises(ValueError, match="device must be one of .*cpu.* got 'tpu'"):
        choose_device("tpu")


def test_zero_gpu_wraps_only_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames(n: int) -> Iterator[int]:
        yield from range(n)

    assert device_module.zero_gpu(frames, lambda n: n) is frames

    asked: list[Callable[..., int]] = []

    def gpu(*, duration: Callable[..., int]) -> Any:  # noqa: ANN401
        asked.append(duration)
        return lambda function: lambda *arguments: iter(list(function(*arguments)))

    fake: Any = types.ModuleType("spaces")
    fake.GPU = gpu
    fake.__spec__ = ModuleSpec("spaces", None)
    monkeypatch.setitem(sys.modules, "spaces", fake)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    wrapped = device_module.zero_gpu(frames, lambda n: 2 * n)
    assert wrapped is not frames
    assert list(wrapped(3)) == [0, 1, 2]
    assert asked[0](5) == 10
    assert choose_device() == "cpu"


# --- trajectories and their cache -------------------------------------------------------------


def test_a_trajectory_is_the_list_of_the_frames() -> None:
    spec = RunSpec(scheduler="HeunDiscreteScheduler", model=PLANE, steps=5)
    film = trajectory(spec, device="cpu")
    assert film.complete
    assert len(film) == plan_run(spec).nfe == 9
    for ours, theirs in zip(film, run(spec, device="cpu"), strict=True):
        np.testing.assert_array_equal(ours.sample, theirs.sample)
        np.testing.assert_array_equal(ours.pred_original_sample, theirs.pred_original_sample)
        assert ours.call == theirs.call
    for array in (film.initial, film.samples, film.x0):
        assert not array.flags.writeable
    assert film.nbytes == film.initial.nbytes + film.samples.nbytes + film.x0.nbytes


@pytest.mark.parametrize("keep", [1, 2, 3, 7, 19, 20, 50])
def test_a_thinned_trajectory_keeps_the_ends(keep: int) -> None:
    spec = RunSpec(scheduler="DDIMScheduler", model=LINE, steps=20)
    film = trajectory(spec, device="cpu", keep=keep)
    assert film.indices[0] == 0
    assert film.indices[-1] == 19
    assert len(film) == min(20, max(2, keep))
    full = trajectory(spec, device="cpu")
    np.testing.assert_array_equal(film.samples, full.samples[list(film.indices)])


def test_an_unfinished_run_is_no_trajectory() -> None:
    plan = plan_run(RunSpec(model=LINE))
    recorder = Recorder(plan, "cpu")
    recorder.add(next(run(plan.spec, device="cpu")))
    assert not recorder.complete
    with pytest.raises(RuntimeError, match="call 1 of 20"):
        recorder.finish()


def line(seed: int, steps: int = 4) -> RunSpec:
    return RunSpec(scheduler="DDIMScheduler", model=LINE, steps=steps, seed=seed)


def test_the_cache_answers_the_second_time() -> None:
    cache = TrajectoryCache()
    first = trajectory(line(0), cache=cache, device="cpu")
    assert trajectory(line(0), cache=cache, device="cpu") is first
    assert trajectory(line(1), cache=cache, device="cpu") is not first
    assert len(cache) == 2


def test_the_cache_keeps_its_byte_budget_and_drops_the_oldest() -> None:
    size = trajectory(line(0), device="cpu").nbytes
    cache = TrajectoryCache(int(2.5 * size))
    films = [trajectory(line(seed), cache=cache, device="cpu") for seed in (0, 1)]
    assert trajectory(line(0), cache=cache, device="cpu") is films[0]  # now the youngest
    trajectory(line(2), cache=cache, device="cpu")
    assert cache.nbytes <= cache.max_bytes
    assert cache.nbytes == 2 * size
    assert cache.find(line(1), "cpu") is None
    assert cache.find(line(0), "cpu") is films[0]


def test_what_exceeds_the_budget_is_made_but_not_held() -> None:
    cache = TrajectoryCache(10)
    assert trajectory(line(0), cache=cache, device="cpu").complete
    assert (len(cache), cache.nbytes) == (0, 0)
    with pytest.raises(ValueError, match="max_bytes"):
        TrajectoryCache(-1)


def test_storing_again_does_not_count_twice() -> None:
    cache = TrajectoryCache()
    film = trajectory(line(0), device="cpu")
    cache.store(film)
    cache.store(film)
    assert cache.nbytes == film.nbytes


def together(ask: Callable[[], Any], threads: int = 4) -> list[Any]:
    """Ask from several threads at once; results and errors."""
    answers: list[Any] = []
    barrier = threading.Barrier(threads)

    def one() -> None:
        barrier.wait()
        try:
            answers.append(ask())
        except RuntimeError as error:
            answers.append(error)

    workers = [threading.Thread(target=one) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert len(answers) == threads
    return answers


def test_equal_requests_at_once_compute_once() -> None:
    cache = TrajectoryCache()
    computed: list[int] = []

    def compute() -> Trajectory:
        computed.append(1)
        time.sleep(0.1)
        return trajectory(line(0), device="cpu")

    answers = together(lambda: cache.get(line(0), "cpu", compute))
    assert len(computed) == 1
    assert len({id(film) for film, _ in answers}) == 1
    assert sorted(cached for _, cached in answers) == [False, True, True, True]


def test_a_failure_of_one_does_not_hang_the_others() -> None:
    cache = TrajectoryCache()

    def compute() -> Trajectory:
        time.sleep(0.05)
        raise RuntimeError("no luck")

    assert all(
        isinstance(answer, RuntimeError)
        for answer in together(lambda: cache.get(line(0), "cpu", compute))
    )
    assert cache.get(line(0), "cpu", lambda: trajectory(line(0), device="cpu"))[1] is False


def test_what_is_kept_is_what_is_asked_for_whatever_the_cache_holds() -> None:
    cache = TrajectoryCache()

    def kept(keep: int | None) -> tuple[int, ...]:
        made = trajectory(line(0, 9), cache=cache, device="cpu", keep=keep)
        assert len(made) == len(made.samples) == len(made.x0)
        assert not made.samples.flags.writeable
        return made.indices

    assert kept(3) == (0, 4, 8)
    assert cache.find(line(0, 9), "cpu") is None
    assert kept(5) == (0, 2, 4, 6, 8)
    assert kept(None) == tuple(range(9))
    assert kept(3) == (0, 4, 8)
    whole = trajectory(line(0, 9), cache=cache, device="cpu")
    assert cache.find(line(0, 9), "cpu") is whole
    # A thinned copy of a run does not push out the complete one.
    cache.store(trajectory(line(0, 9), device="cpu", keep=3))
    assert cache.find(line(0, 9), "cpu") is whole
    assert (len(cache), cache.nbytes) == (1, whole.nbytes)
    # What a complete run hands out thinned are the frames of that run.
    thin = trajectory(line(0, 9), cache=cache, device="cpu", keep=3)
    np.testing.assert_array_equal(thin.samples, whole.samples[[0, 4, 8]])


def test_the_stand_in_for_a_learned_variance_keeps_its_digits_near_the_clean_end() -> None:
    here = Level(t=1.0, alpha=math.sqrt(1.0 - 4e-12), sigma=2e-6)
    target = Level(t=0.0, alpha=math.sqrt(1.0 - 1e-12), sigma=1e-6)
    exact = 0.25 * 3e-12 / (1.0 - 1e-12)
    for variance_type, wanted in (("learned", exact), ("learned_range", -1.0)):
        scheduler = SCHEDULERS["DDPMScheduler"](variance_type=variance_type)
        half = scheduler._variance_channels(Call(1.0, here, target))
        assert half == pytest.approx(wanted, rel=1e-9, abs=0.0)


@pytest.mark.parametrize(
    ("error", "controls"),
    [
        (ParameterError("num_inference_steps=7 is too many.", "num_inference_steps"), ("steps",)),
        (ParameterTypeError("beta_end='x' must be a number.", "beta_end"), ("config.beta_end",)),
        (ParameterError("one goes without the other.", "beta_schedule", "timesteps"),
         ("config.beta_schedule", "timesteps")),
        (ParameterError("solver_order=4 is nothing that this class has.", "solver_order"), ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["__init__", "set_timesteps", "step"])
def test_a_refusal_is_the_matter_of_the_control_that_it_names(
    place: str, error: Exception, controls: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SCHEDULERS["DDIMScheduler"], place, raiser(error))
    with pytest.raises(SpecError) as refused:
        list(run(line(0), device="cpu"))
    message = str(error).replace("num_inference_steps", "steps")
    assert (refused.value.parameters, refused.value.message) == (controls, message)
    answer = Explorer(device="cpu").schedule(line(0).to_dict())
    if place != "step":  # the page lights up each of them
        assert answer["errors"] == dict.fromkeys(controls or ("",), message)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("float division by zero"), ValueError("math domain error")]
)
@pytest.mark.parametrize("place", ["__init__", "set_timesteps", "step"])
def test_a_fault_is_no_refusal(
    place: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SCHEDULERS["DDIMScheduler"], place, raiser(error))
    with pytest.raises(type(error), match=str(error)) as raised:
        list(run(line(0), device="cpu"))
    assert not isinstance(raised.value, SpecError)


def raiser(error: Exception) -> Callable[..., None]:
    def fail(self: object, *args: object, **kwargs: object) -> None:
        raise error

    return fail


def test_a_run_upwards_goes_from_an_image_to_noise() -> None:
    unclipped = (("clip_sample", False),)
    up = RunSpec(
        scheduler="DDIMInverseScheduler", config=unclipped, model="mixture-2d", steps=20, samples=4
    )
    down = RunSpec(
        scheduler="DDIMScheduler", config=unclipped, model="mixture-2d", steps=20, samples=4
    )
    *_, image = run(down, device="cpu")
    *_, noise = run(up, device="cpu")
    assert np.array_equal(initial_sample(up), image.sample)
    came_from = initial_sample(down)
    assert np.corrcoef(noise.sample.ravel(), came_from.ravel())[0, 1] > 0.95
