"""Run one of ours beside one of theirs on the same fake model, and compare every step."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from schedulers import SCHEDULERS
from tests.parity.oracle import SchedulerLike, unready_scheduler

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
        return self._ready(unready_scheduler(self.scheduler, **self._seeded))

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
    moved: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda x, largest: x,
) -> dict[str, torch.Tensor]:
    """One model call and one step, everything that can be compared named.

    The sample and the model's output enter as `moved`, given the largest number they come from.
    """
    x = moved(x, x.abs().max())
    t = scheduler.timesteps[index]
    scaled = scheduler.scale_model_input(x, t)
    doubled = str(case.config.get("variance_type")).startswith("learned")
    output = fake_model(scaled, float(t), doubled)
    output = moved(output, torch.maximum(output.abs().max(), scaled.abs().max()))
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


#: How often the oracle is shaken, and how many times what that moves may be between two runs.
SHAKES, ROOM = 8, 3.0


class Oracle:
    """Theirs, one call after another; shaken, with every number that enters moved by an ulp or two.

    What shaking moves is what float32 leaves open, so that the oracle itself knows no better. It
    is measured on the oracle alone: nothing of ours can widen a limit.
    """

    def __init__(
        self, case: Case, levels: torch.dtype, seed: int | None = None, measured: bool = False
    ) -> None:
        """Lay out the grid; `seed` shakes, and `measured` takes noise that goes by no level."""
        self.case, self.draws = case, case.generators()
        self.scheduler = case.theirs()
        self.chance = None if seed is None else torch.Generator().manual_seed(seed)
        if levels != torch.float32:  # spare the oracle the cancellation in its own coefficients
            self.scheduler.sigmas = self.scheduler.sigmas.to(levels)
        if hasattr(self.scheduler, "noise_sampler"):
            if not measured:
                return
            source = torch.Generator().manual_seed(0)
            self.scheduler.noise_sampler = lambda *_: torch.randn(SHAPE, generator=source)
        for key, value in vars(self.scheduler).items():
            if key.startswith("sigmas") and isinstance(value, torch.Tensor):
                setattr(self.scheduler, key, self.moved(value, value.abs()))

    def moved(self, x: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """Every number up or down, by at most two ulps of a size."""
        if self.chance is None:
            return x
        shares = 4 * torch.rand(x.shape, generator=self.chance) - 2
        return (x + torch.finfo(x.dtype).eps * shares * size).to(x.dtype)

    def step(self, index: int, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """One call, from this sample."""
        try:
            return take_step(self.scheduler, index, x, self.case, self.draws, self.moved)
        except torch.linalg.LinAlgError:  # the weights of a step to sigma = 0, solved for
            return {"prev_sample": torch.tensor(torch.nan)}

    def steps(self, samples: list[torch.Tensor], way: str) -> Iterator[dict[str, torch.Tensor]]:
        """A "run" from the first of these samples, or a "step" from each."""
        x = samples[0]
        for k, sample in enumerate(samples):
            found = self.step(self.case.start + k, x if way == "run" else sample)
            yield found
            x = found["prev_sample"]


def unclear(
    case: Case, levels: torch.dtype, samples: list[torch.Tensor]
) -> dict[str, list[dict[str, float]]]:
    """What rounding leaves open in each array of each call, of the run and of its single steps.

    Args:
        case: The run.
        levels: As for `assert_same_run`.
        samples: The oracle's own sample at each call.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for way in ("run", "step"):
        runs = [
            list(Oracle(case, levels, seed, measured=True).steps(samples, way))
            for seed in (None, *range(SHAKES))
        ]
        found[way] = [
            {
                key: ROOM * max(float((other[key] - value).abs().max()) for other in shaken)
                for key, value in exact.items()
            }
            for exact, *shaken in zip(*runs, strict=True)
        ]
    return found


def assert_same_run(
    case: Case, tolerance: float = TOLERANCE, levels: torch.dtype = torch.float32
) -> None:
    """The run as a whole, and every single step from the oracle's own sample.

    Where the oracle leaves the finite numbers (a known crash or NaN of its own), ours must stay
    finite. What is further off than the tolerance must be what the oracle itself leaves open.

    Args:
        case: What is run.
        tolerance: For the difference over the largest value, where that is above one.
        levels: The type of the oracle's sigmas.
    """
    oracle, free, forced = Oracle(case, levels), case.ours(), case.ours()
    theirs = oracle.scheduler if levels == torch.float32 else case.theirs()
    assert_same_grid(free, theirs, str(case))
    x_theirs = unit_noise() * oracle.scheduler.init_noise_sigma
    x_free = x_theirs.clone()
    draws = [case.generators() for _ in range(2)]
    samples: list[torch.Tensor] = []
    far: list[tuple[str, int, str, float, float]] = []
    for index in range(case.start, len(oracle.scheduler.timesteps)):
        expected = oracle.step(index, x_theirs)
        whole = take_step(free, index, x_free, case, draws[0])
        single = take_step(forced, index, x_theirs, case, draws[1])
        if not all(bool(value.isfinite().all()) for value in expected.values()):
            assert all(bool(value.isfinite().all()) for value in whole.values()), str(case)
            break
        samples.append(x_theirs)
        for key, value in expected.items():
            largest = max(1.0, float(value.abs().max()))
            for way, found in (("run", whole), ("step", single)):
                off = error(found[key], value)
                if not off <= tolerance:
                    far.append((way, len(samples) - 1, key, off, largest))
        x_theirs, x_free = expected["prev_sample"], whole["prev_sample"]
    if far:
        left = unclear(case, levels, samples)
        for way, k, key, off, largest in far:
            limit = tolerance + left[way][k][key] / largest
            what = f"{way}, {key} of call {case.start + k} is off by {off:.1e}"
            assert off <= limit, f"{case}: {what}, the oracle by {limit - tolerance:.1e}"
