"""Run one of ours beside one of theirs on the same fake model, and compare every step."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from schedulers import SCHEDULERS
from tests.parity.oracle import SchedulerLike, diffusers_scheduler

SHAPE = (2, 3, 4, 4)
TOLERANCE = 1e-5  # the promise; float32 leaves about 2e-6


@dataclass(frozen=True)
class Case:
    """One configuration of one class, and how it is run."""

    scheduler: str
    config: Mapping[str, object] = field(default_factory=dict)
    steps: int = 7
    grid: Mapping[str, object] | None = None  # arguments of set_timesteps, when not just `steps`
    step: Mapping[str, object] = field(default_factory=dict)  # arguments of step
    start: int = 0
    begin: bool = False  # say where it starts, as pipelines do, instead of leaving it to the time
    seeds: tuple[int, ...] = (3,)  # several seeds: one generator per sample

    def __str__(self) -> str:
        parts = {**self.config, **(self.grid or {}), **self.step}
        text = ",".join(
            f"{key}={getattr(value, '__name__', value)}" for key, value in parts.items()
        )
        return f"{self.scheduler}-{self.steps}-{text}"[:110]

    @property
    def set_arguments(self) -> Mapping[str, object]:
        """What `set_timesteps` is called with."""
        return {"num_inference_steps": self.steps} if self.grid is None else self.grid

    def ours(self) -> SchedulerLike:
        """Our scheduler, its grid set."""
        return self._ready(SCHEDULERS[self.scheduler](**self._seeded))

    def theirs(self) -> SchedulerLike:
        """Diffusers' scheduler, its grid set."""
        return self._ready(diffusers_scheduler(self.scheduler, **self._seeded))

    @property
    def _seeded(self) -> Mapping[str, object]:
        """The config, with a seed where the class takes its noise from one."""
        takes_seed = accepts(SCHEDULERS[self.scheduler], "noise_sampler_seed")
        return ({"noise_sampler_seed": 5} if takes_seed else {}) | dict(self.config)

    def _ready(self, scheduler: SchedulerLike) -> SchedulerLike:
        scheduler.set_timesteps(**self.set_arguments)
        if self.begin and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(self.start)
        return scheduler

    def generators(self) -> torch.Generator | list[torch.Generator]:
        """Fresh generators: one, or one per sample."""
        made = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        return made[0] if len(made) == 1 else made


def unit_noise(seed: int = 11, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Unit noise of the harness's shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fake_model(x: torch.Tensor, t: float, doubled: bool = False) -> torch.Tensor:
    """A smooth function of sample, time and channel; with a second half when variance is learned."""
    channel = torch.arange(x.shape[1], dtype=x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    out = 0.6 * torch.tanh(0.7 * x + 0.2 * channel) + 0.3 * torch.cos(0.004 * t + channel)
    return torch.cat([out, 0.5 + 0.4 * torch.tanh(x)], dim=1) if doubled else out


def accepts(function: object, name: str) -> bool:
    """Whether a callable has a parameter of this name."""
    assert callable(function)
    return name in inspect.signature(function).parameters


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference, relative to the largest value where that is above one."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


@dataclass(frozen=True)
class Blur:
    """What float32 leaves open in one step, so that the oracle itself knows no better.

    Attributes:
        sample: In the next sample.
        prediction: In the data prediction, which divides by alpha.
        growth: Factor by which the rule magnifies an error of the sample it is given.
    """

    sample: float
    prediction: float
    growth: float


def blur(scheduler: SchedulerLike, index: int, x: torch.Tensor) -> Blur:
    """A few roundings of the largest number that enters, magnified by the change of alpha."""
    stages = scheduler.stages
    here, target = stages[index].here, stages[index].target
    rounding = 4 * torch.finfo(torch.float32).eps * max(float(x.abs().max()), here.sigma)
    if scheduler.config.get("algorithm_type") == "deis":
        # theirs exponentiates a difference of two float32 logarithms
        rounding *= 1.0 + abs(here.lam) / 4.0
    growth = (
        max(1.0, target.sigma / here.sigma) if here.sigma else 1.0
    )  # of the noise that an upward step adds
    form = str(scheduler.config.get("algorithm_type"))
    corrected = scheduler.config.get("predict_x0") is False or form == "noise_prediction"
    if form in ("dpmsolver", "sde-dpmsolver", "deis") or corrected:
        growth = target.alpha / here.alpha  # these carry x / alpha
    spread = growth
    if form == "deis" or corrected:
        # far beyond the last calls the polynomial weighs them with large numbers of either sign
        spread = sum(abs(w) for w in scheduler.row(index).eps)
        growth = max(growth, spread)
    if scheduler.order == 2 and index % 2:
        growth = stages[index - 1].here.sigma / here.sigma  # the slope here, over the whole step
    if here.alpha == 0.0:  # pure noise, where nothing is divided by alpha
        return Blur(rounding, rounding, growth)
    return Blur(
        rounding * max(1.0, target.alpha / here.alpha, spread), rounding / here.alpha, growth
    )


def on_data(scheduler: SchedulerLike) -> bool:
    """Whether the rule interpolates data predictions, which theirs keeps though it returns none."""
    config = scheduler.config
    form = str(config.get("algorithm_type"))
    return "++" in form or form == "data_prediction" or bool(config.get("predict_x0"))


def take_step(
    scheduler: SchedulerLike,
    index: int,
    x: torch.Tensor,
    case: Case,
    generator: torch.Generator | list[torch.Generator],
) -> dict[str, torch.Tensor]:
    """One model call and one step, everything that can be compared named."""
    t = scheduler.timesteps[index]
    scaled = scheduler.scale_model_input(x, t)
    doubled = str(case.config.get("variance_type")).startswith("learned")
    output = fake_model(scaled, float(t), doubled)
    arguments = dict(case.step)
    if accepts(scheduler.step, "generator") and "variance_noise" not in arguments:
        arguments["generator"] = generator
    result = scheduler.step(output, t, x, **arguments)
    found = {"model input": scaled, "prev_sample": result.prev_sample}
    if "pred_original_sample" in result.keys():  # noqa: SIM118  (theirs is an OrderedDict subclass)
        found["pred_original_sample"] = result.pred_original_sample
    elif on_data(scheduler):
        found["pred_original_sample"] = scheduler.model_outputs[-1]  # kept, though not returned
    return found


def unclear_times(theirs: SchedulerLike) -> torch.Tensor:
    """How far two ulps of sigma_up move each of theirs' times; 0 without ancestral midpoints.

    sigma_down is what float32 leaves of ``sigma_next^2 - sigma_up^2``, a relative
    ``(sigma_next / sigma)^2`` of either, and torch's square root is off by an ulp on some machines.
    """
    open_here = torch.zeros(len(theirs.timesteps), dtype=torch.float64)
    if hasattr(theirs, "sigmas_down"):
        doubled = theirs.sigmas.double()
        levels = torch.cat([doubled[:1], doubled[1::2]])[: (len(open_here) + 1) // 2]
        slope = theirs.log_sigmas.double().diff()
        here = theirs.timesteps[1::2].nan_to_num().long().clamp(0, len(slope) - 1)
        shift = torch.finfo(torch.float32).eps * (levels[:-1] / levels[1:]) ** 2
        open_here[1::2] = shift / slope[here]
    return open_here


def assert_same_grid(ours: SchedulerLike, theirs: SchedulerLike, what: str = "") -> None:
    """Timesteps: dtype and integers identical, floats to a part in 1e6. Sigmas: to a part in 1e6.

    Where theirs are no numbers, ours must be.
    """
    a, b = torch.as_tensor(ours.timesteps), torch.as_tensor(theirs.timesteps)
    assert a.dtype == b.dtype, what
    if b.is_floating_point():
        assert a.shape == b.shape and bool(a.isfinite().all()), what
        far = (a - b).abs() > 1e-4 + 1e-6 * b.abs() + unclear_times(theirs)
        assert not bool(far.any()), f"{what}: {a[far].tolist()} against {b[far].tolist()}"
    else:
        assert a.tolist() == b.tolist(), what
    if hasattr(theirs, "sigmas") and theirs.sigmas is not None:
        sigmas = torch.as_tensor(ours.sigmas)
        assert sigmas.dtype == theirs.sigmas.dtype, what
        torch.testing.assert_close(
            sigmas, theirs.sigmas, rtol=1e-6, atol=1e-7, msg=lambda m: f"{what}\n{m}"
        )
    start = float(theirs.init_noise_sigma)
    assert abs(float(ours.init_noise_sigma) - start) <= 1e-6 * start, what


def assert_same_run(
    case: Case, tolerance: float = TOLERANCE, levels: torch.dtype = torch.float32
) -> None:
    """The run as a whole, and every single step from the oracle's own sample.

    Where the oracle leaves the finite numbers (a known crash or NaN of its own), ours must stay finite.
    """
    theirs, free, forced = case.theirs(), case.ours(), case.ours()
    assert_same_grid(free, theirs, str(case))
    if levels != torch.float32:  # spare the oracle the cancellation in its own coefficients
        theirs.sigmas = theirs.sigmas.to(levels)
    x_theirs = unit_noise() * theirs.init_noise_sigma
    x_free = x_theirs.clone()
    draws = [case.generators() for _ in range(3)]
    carried = 0.0
    for index in range(case.start, len(theirs.timesteps)):
        try:
            expected = take_step(theirs, index, x_theirs, case, draws[0])
        except torch.linalg.LinAlgError:  # the weights of a step to sigma = 0, solved for
            expected = {"prev_sample": torch.tensor(torch.nan)}
        whole = take_step(free, index, x_free, case, draws[1])
        single = take_step(forced, index, x_theirs, case, draws[2])
        if not all(bool(value.isfinite().all()) for value in expected.values()):
            assert all(bool(value.isfinite().all()) for value in whole.values()), str(case)
            return
        open_here = blur(free, index, x_theirs)
        carried = carried * max(1.0, open_here.growth) + open_here.sample
        for key, value in expected.items():
            is_x0 = key == "pred_original_sample"
            unclear = open_here.prediction if is_x0 else open_here.sample
            if free.order == 2 or hasattr(free, "corrector_row"):
                # a step's end is computed from the sample at its start, or from one never shown
                unclear = max(unclear, carried)
            upward = is_x0 and free.sigmas[-1] > free.sigmas[0]  # alpha ends near zero
            grown = carried / free.stages[index].here.alpha if upward else carried
            largest = max(1.0, float(value.abs().max()))
            for way, found, more in (("run", whole, grown), ("step", single, 0.0)):
                off = error(found[key], value)
                limit = tolerance + (unclear + more) / largest
                assert off <= limit, f"{case}: {way}, {key} of call {index} is off by {off:.1e}"
        x_theirs, x_free = expected["prev_sample"], whole["prev_sample"]
