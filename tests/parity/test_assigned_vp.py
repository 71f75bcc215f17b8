"""What callers assign or write is heeded as upstream heeds it: variance-preserving classes."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from tests.parity.harness import SHAPE, error, fake_model, unit_noise
from tests.parity.oracle import SchedulerLike, diffusers_class, diffusers_scheduler

DDIM, DDPM, INVERSE = "DDIMScheduler", "DDPMScheduler", "DDIMInverseScheduler"
BATCHED = ("DDIMParallelScheduler", "DDPMParallelScheduler")
NAMES = (DDIM, DDPM, INVERSE, *BATCHED)
END = {DDIM: "final_alpha_cumprod", DDPM: "one", INVERSE: "initial_alpha_cumprod"}
Change = Callable[[SchedulerLike], None]


def halved(s: SchedulerLike) -> None:
    """Every signal power halved, by assignment."""
    s.alphas_cumprod = s.alphas_cumprod * 0.5


def written(s: SchedulerLike) -> None:
    """The same, written into the array."""
    s.alphas_cumprod.mul_(0.5)


def doubled_precision(s: SchedulerLike) -> None:
    """Signal powers in float64."""
    s.alphas_cumprod = s.alphas_cumprod.double() ** 1.5


def betas(s: SchedulerLike) -> None:
    """Betas, by which nothing goes upstream either."""
    s.betas = s.betas * 0.1
    s.alphas = s.alphas * 0.1


def every_second(s: SchedulerLike) -> None:
    """Every second time."""
    s.timesteps = s.timesteps[::2]


def first_half(s: SchedulerLike) -> None:
    """The first times only."""
    s.timesteps = s.timesteps[:5]


def second_half(s: SchedulerLike) -> None:
    """The last times only."""
    s.timesteps = s.timesteps[5:]


def moved(s: SchedulerLike) -> None:
    """Times off the grid, written into the array."""
    s.timesteps += 7


def up_and_down(s: SchedulerLike) -> None:
    """Some times twice, as resampling has them."""
    t = s.timesteps
    s.timesteps = torch.cat([t[:3], t[1:]])


def end(s: SchedulerLike) -> None:
    """Another clean end, above the first training level."""
    name = next(n for n in END.values() if hasattr(s, n))
    setattr(s, name, torch.tensor(0.997))


def written_end(s: SchedulerLike) -> None:
    """Another clean end, written into the array."""
    next(getattr(s, n) for n in END.values() if hasattr(s, n)).fill_(0.998)


def stride(s: SchedulerLike) -> None:
    """Another number of steps, with the times of the old one."""
    s.num_inference_steps = 20


CHANGES: tuple[Change, ...] = (
    halved, written, doubled_precision, betas, every_second, first_half, second_half, moved,
    up_and_down, end, written_end, stride,
)  # fmt: skip


def pair(name: str, **config: object) -> tuple[SchedulerLike, SchedulerLike]:
    """One of ours, one of theirs."""
    # Betas that are no differences of float32 numbers near 1.
    config = {"clip_sample": False, "beta_start": 0.005, "beta_end": 0.012, **config}
    return SCHEDULERS[name](**config), diffusers_scheduler(name, **config)


def samples(s: SchedulerLike, stop: int | None = None) -> Iterator[torch.Tensor]:
    """The samples of a run over what `timesteps` shows."""
    x = unit_noise(5)
    generator = torch.Generator().manual_seed(3)
    noisy = {"generator": generator} if "DDPM" in type(s).__name__ else {}
    for t in s.timesteps[:stop]:
        x = s.step(fake_model(x, float(t)), t, x, **noisy).prev_sample
        yield x


def compare(ours: SchedulerLike, theirs: SchedulerLike, first: int | None = None) -> None:
    """Runs, and what is made of single times."""
    for a, b in zip(samples(ours, first), samples(theirs, first), strict=True):
        assert error(a.float(), b.float()) <= 2e-5
    x, noise, times = unit_noise(1), unit_noise(2), torch.tensor([900, 4])
    for method in ("add_noise", "get_velocity"):
        if hasattr(theirs, method):
            a, b = (getattr(s, method)(x, noise, times) for s in (ours, theirs))
            assert error(a.float(), b.float()) <= 1e-5
    if hasattr(theirs, "batch_step_no_noise"):
        a, b = (s.batch_step_no_noise(x, times, noise) for s in (ours, theirs))
        assert error(a.float(), b.float()) <= 1e-4


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_assigned_after_set_timesteps(name: str, change: Change) -> None:
    ours, theirs = pair(name)
    for s in (ours, theirs):
        s.set_timesteps(10)
        change(s)
    compare(ours, theirs)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_assigned_before_set_timesteps(name: str, change: Change) -> None:
    """What set_timesteps does not set anew stays."""
    ours, theirs = pair(name, timestep_spacing="trailing")
    for s in (ours, theirs):
        change(s)
        s.set_timesteps(10)
    compare(ours, theirs)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_assigned_in_the_middle(name: str, change: Change) -> None:
    ours, theirs = pair(name)
    for s in (ours, theirs):
        s.set_timesteps(10)
        list(samples(s, 2))
        change(s)
        if name == INVERSE and change is not up_and_down:
            s.timesteps = s.timesteps[2:]
    compare(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_object_told_its_steps(name: str) -> None:
    """Upstream steps over the training schedule once it has a number of steps."""
    ours, theirs = pair(name)
    for s in (ours, theirs):
        s.num_inference_steps = 10
    compare(ours, theirs, 4)


@pytest.mark.parametrize("kind", ["np", "pt"])
@pytest.mark.parametrize(
    "name", [n for n in NAMES if hasattr(diffusers_class(n), "_get_variance")]
)
def test_variances_go_by_what_was_assigned(name: str, kind: str) -> None:
    ours, theirs = pair(name)
    ours.set_format(kind)
    bars = theirs.alphas_cumprod * 0.5
    theirs.alphas_cumprod = bars
    ours.alphas_cumprod = bars if kind == "pt" else bars.numpy()
    for s in (ours, theirs):
        s.set_timesteps(10)
    before = {} if name.startswith("DDPM") else {"prev_timestep": 400}
    a, b = (float(s._get_variance(500, **before)) for s in (ours, theirs))
    assert a == pytest.approx(b, rel=1e-5)
    times = torch.tensor([900, 500, 7])
    if hasattr(theirs, "_batch_get_variance"):
        a, b = (s._batch_get_variance(times, times - 100) for s in (ours, theirs))
        torch.testing.assert_close(a, b)


def test_a_variance_type_assigned() -> None:
    """It is read at each step; so is that of a config put in the place of the first."""
    x = unit_noise(1, SHAPE)

    def stepped(s: SchedulerLike) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        after: torch.Tensor = s.step(x, s.timesteps[2], x, generator=generator).prev_sample
        return after

    made = {}
    for kind in ("fixed_small", "fixed_large"):
        made[kind], _ = pair(DDPM, variance_type=kind)
        made[kind].set_timesteps(10)
    changed, _ = pair(DDPM)
    changed.set_timesteps(10)
    assert torch.equal(stepped(changed), stepped(made["fixed_small"]))
    changed.variance_type = "fixed_large"
    assert torch.equal(stepped(changed), stepped(made["fixed_large"]))
    changed.variance_type = "learned"
    with pytest.raises(ValueError, match="channel"):
        changed.step(x[0, 0, 0], 500, x[0, 0, 0])
    with pytest.raises(ValueError, match="variance_type='huge' must be one of"):
        changed.variance_type = "huge"
    ours, theirs = pair(DDPM)
    for s in (ours, theirs):
        s.set_timesteps(10)
        s.register_to_config(variance_type="fixed_large")
    assert torch.equal(stepped(ours), stepped(made["fixed_large"]))
    assert error(stepped(ours), stepped(theirs)) <= 1e-5


def test_zero_snr_by_hand() -> None:
    """Pure noise at the top, assigned: v-predictions survive it, here as there."""
    ours, theirs = pair(DDIM, prediction_type="v_prediction", timestep_spacing="trailing")
    for s in (ours, theirs):
        bars = s.alphas_cumprod.clone()
        bars[-1] = 0.0
        s.alphas_cumprod = bars
        s.set_timesteps(10)
    compare(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_heeded_is_refused_by_name(name: str) -> None:
    made: SchedulerLike = SCHEDULERS[name]()
    made.set_timesteps(10)
    x = unit_noise(1)
    before = list(samples(made, 3))
    end = next(n for n in END.values() if hasattr(made, n))
    for attribute, value in (
        ("timesteps", torch.tensor([1.5, 1.0])),
        ("alphas_cumprod", np.zeros((3, 3))),
        ("alphas_cumprod", "cosine"),
        (end, 2.0),
        (end, torch.ones(3)),
        ("num_inference_steps", 0),
    ):
        with pytest.raises((ValueError, TypeError), match=attribute):
            setattr(made, attribute, value)
    made.set_timesteps(10)
    assert all(torch.equal(a, b) for a, b in zip(before, samples(made, 3), strict=True))
    t = made.timesteps[-1 if made.ascends else 0]
    made.alphas_cumprod = made.alphas_cumprod[:500]
    with pytest.raises(ValueError, match="alphas_cumprod holds 500 levels"):
        made.step(x, t, x)
    made.set_timesteps(10)  # upstream asks for no level before it is stepped on
    with pytest.raises(ValueError, match="alphas_cumprod holds 500 levels"):
        made.step(x, t, x)


@pytest.mark.parametrize("name", NAMES)
def test_levels_shown_follow(name: str) -> None:
    made: SchedulerLike = SCHEDULERS[name]()
    made.set_timesteps(10)
    assert len(made.sigmas) == 11
    made.alphas_cumprod = made.alphas_cumprod * 0.5
    bar = made.alphas_cumprod[made.timesteps[4]]
    at = 5 if made.ascends else 4
    assert float(made.sigmas[at]) == pytest.approx(float(((1 - bar) / bar) ** 0.5), rel=1e-5)
    made.timesteps = made.timesteps[:4]
    assert len(made.sigmas) == 5 and len(made.stages) == 4


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("compat", ["diffusers", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_times_assigned_are_the_same_run(name: str, compat: str, spacing: str) -> None:
    """Also where a step leads beyond the times that are told (DDIM inverse by the paper)."""
    for kind in ("np", "pt"):
        settings = {"compat": compat, "timestep_spacing": spacing, "tensor_format": kind}
        made: SchedulerLike = SCHEDULERS[name](**settings)
        made.set_timesteps(7)
        calls, sigmas = made.stages, made.sigmas.tolist()
        made.timesteps = made.timesteps + 0
        assert made.stages == calls and made.sigmas.tolist() == sigmas
        made.timesteps = made.timesteps[2:]
        assert made.stages[-1][:3] == calls[-1][:3] and len(made.stages) == 5
        made.timesteps = made.timesteps[:0]
        assert not made.stages
