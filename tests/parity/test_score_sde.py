"""The score SDEs have their own call forms; every part of them equals diffusers'."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from tests.parity.harness import Case, error, fake_model, unit_noise
from tests.parity.oracle import SchedulerLike, diffusers_scheduler

VE = "ScoreSdeVeScheduler"


def laid_out(case: Case) -> tuple[SchedulerLike, SchedulerLike]:
    """Ours and theirs; theirs wants to be told the number of steps twice."""
    ours, theirs = case.ours(), case.theirs()
    theirs.set_sigmas(case.steps, sampling_eps=(case.grid or {}).get("sampling_eps"))
    return ours, theirs


def score(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A score that a network might return."""
    return (fake_model(x / (1 + sigma), sigma) - x) / (sigma**2 + 0.01)


@pytest.mark.parametrize("seeds", [(3,), (3, 4)])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"snr": 0.3, "correct_steps": 2, "sigma_max": 50.0, "sigma_min": 0.02},
        {"sampling_eps": 0.05, "correct_steps": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_ve_run(config: dict[str, object], steps: int, seeds: tuple[int, ...]) -> None:
    """Every call from the oracle's own sample, and its draws; the pipeline's loop as a whole."""
    case = Case(VE, config, steps, seeds=seeds)
    ours, theirs = laid_out(case)
    draws = case.generators(), case.generators()
    x = unit_noise() * theirs.init_noise_sigma
    for t, sigma in zip(theirs.timesteps, theirs.sigmas.tolist(), strict=True):
        for _ in range(theirs.config.correct_steps):
            out = score(x, sigma)
            a, b = (
                s.step_correct(out, x, generator=g).prev_sample
                for s, g in zip((ours, theirs), draws, strict=True)
            )
            assert error(a, b) <= 1e-6
            x = b
        out = score(x, sigma)
        a, b = (
            s.step_pred(out, t, x, generator=g) for s, g in zip((ours, theirs), draws, strict=True)
        )
        # what float32 leaves of the largest number that enters; theirs squares a root of squares
        open_here = 1e-5 + 8 * torch.finfo(torch.float32).eps * float(x.abs().max())
        for key in ("prev_sample", "prev_sample_mean"):
            assert float((a[key] - b[key]).abs().max()) <= open_here, key
        assert torch.equal(a.prev_sample, a[0]) and torch.equal(tuple(a)[1], a.prev_sample_mean)
        x = b.prev_sample


@pytest.mark.parametrize("end", [1e-5, 1e-3, 0.1, 0.5])
def test_ve_grid(end: float) -> None:
    for steps in [*range(1, 27), 50, 99, 100, 128, 199, 200]:
        case = Case(VE, {}, steps, grid={"num_inference_steps": steps, "sampling_eps": end})
        ours, theirs = laid_out(case)
        assert torch.equal(ours.timesteps, theirs.timesteps)
        index = (theirs.timesteps * (steps - 1)).long()
        visited = [call.here.sigma for call in ours.stages[1::2]]
        assert visited == ours.discrete_sigmas[index].tolist()
        for key in ("sigmas", "discrete_sigmas"):
            a, b = getattr(ours, key), getattr(theirs, key)
            torch.testing.assert_close(a, b, rtol=2e-6, atol=0)
    below = ours.get_adjacent_sigma(index, theirs.timesteps)
    torch.testing.assert_close(
        below, theirs.get_adjacent_sigma(index, theirs.timesteps), rtol=2e-6, atol=0
    )


def test_ve_before_set_timesteps_and_with_other_sigmas() -> None:
    ours, theirs = SCHEDULERS[VE](), diffusers_scheduler(VE)
    torch.testing.assert_close(ours.discrete_sigmas, theirs.discrete_sigmas, rtol=2e-6, atol=0)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    x, z, times = unit_noise(1), unit_noise(2), torch.tensor([3, 1999])
    assert error(ours.add_noise(x, z, times), theirs.add_noise(x, z, times)) <= 2e-6
    assert ours.add_noise(x, None, times).shape == x.shape
    for s in (ours, theirs):
        s.set_timesteps(9)
        s.set_sigmas(9, sigma_min=0.1, sigma_max=7.0)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=2e-6, atol=0)
    torch.testing.assert_close(ours.discrete_sigmas, theirs.discrete_sigmas, rtol=2e-6, atol=0)


def test_ve_other_times_and_tuples() -> None:
    ours, theirs = laid_out(Case(VE))
    x = unit_noise()
    for t in (0.0, 0.31, torch.tensor([0.62, 0.62])):
        a, b = (
            s.step_pred(x, t, x, torch.Generator().manual_seed(0), return_dict=False)
            for s in (ours, theirs)
        )
        assert type(a) is tuple and len(a) == len(b) == 2
        assert all(error(p, q) <= 1e-5 for p, q in zip(a, b, strict=True))
    for t in (1.5, -0.1, torch.tensor([0.2, 0.4])):
        with pytest.raises(ValueError, match="timestep"):
            ours.step_pred(x, t, x)
    with pytest.raises(ValueError, match="sigma_min"):
        ours.set_sigmas(5, sigma_min=3.0, sigma_max=2.0)
    with pytest.raises(ValueError, match="sampling_eps"):
        ours.set_timesteps(5, sampling_eps=1.5)


def test_ve_numpy_and_torch_agree() -> None:
    a, b = (Case(VE, {"tensor_format": kind}).ours() for kind in ("np", "pt"))
    x, out = unit_noise(1), unit_noise(2)
    pairs = [
        (s.step_correct(o, y, np.random.default_rng(0)), s.step_pred(o, 0.3, y, np.random.default_rng(1)))
        for s, o, y in ((a, out.numpy(), x.numpy()), (b, out, x))
    ]  # fmt: skip
    for ours, same in zip(*pairs, strict=True):
        for p, q in zip(ours.to_tuple(), same.to_tuple(), strict=True):
            assert p.dtype == np.float32 and error(torch.from_numpy(p), q) <= 1e-6


@pytest.mark.parametrize("seeds", [(3,), (3, 4)])
@pytest.mark.parametrize(
    "config", [{}, {"beta_min": 0.5, "beta_max": 12, "sampling_eps": 0.02}], ids=str
)
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_vp_run(config: dict[str, object], steps: int, seeds: tuple[int, ...]) -> None:
    case = Case("ScoreSdeVpScheduler", config, steps, seeds=seeds)
    ours, theirs = case.ours(), case.theirs()
    assert torch.equal(ours.timesteps, theirs.timesteps)
    draws = case.generators(), case.generators()
    x = x_ours = unit_noise()
    for t in theirs.timesteps:
        a = ours.step_pred(fake_model(x_ours, float(t)), x_ours, t, draws[0])
        b = theirs.step_pred(fake_model(x, float(t)), x, t, draws[1])
        mean, expected = tuple(a)[1], b[1]
        # theirs takes the root of 1 - alpha^2 in float32: a rounding over a small number
        sigma = float(ours._levels_at(np.array([float(t)]))[1][0])
        open_here = 1e-5 + 2e-7 * (20 / steps) / sigma**3
        assert error(mean, expected) <= open_here and error(a.prev_sample, b[0]) <= open_here
        x_ours, x = a.prev_sample, b[0]


def test_vp_batch_of_times_and_levels() -> None:
    case = Case("ScoreSdeVpScheduler")
    ours, theirs = case.ours(), case.theirs()
    x, t = unit_noise(), ours.timesteps[2]
    a, b = (
        s.step_pred(x, x, t * torch.ones(2), torch.Generator().manual_seed(0))
        for s in (ours, theirs)
    )
    assert error(tuple(a)[0], b[0]) <= 1e-5
    noised = ours.add_noise(x, 0 * x, torch.tensor([0.0, 1.0]))
    assert torch.equal(noised[0], x[0]) and float(noised[1].abs().max()) < 0.05
    with pytest.raises(ValueError, match="beta_min"):
        SCHEDULERS["ScoreSdeVpScheduler"](beta_min=3.0, beta_max=2.0)


def test_vp_by_the_paper_ends_at_the_prediction() -> None:
    scheduler = SCHEDULERS["ScoreSdeVpScheduler"](compat="paper")
    scheduler.set_timesteps(5)
    x, out = unit_noise(1), unit_noise(2)
    last = scheduler.step(out, scheduler.timesteps[-1], x)
    assert torch.equal(last.prev_sample, last.pred_original_sample)


def test_other_levels_keep_the_last_time() -> None:
    """`set_sigmas` changes levels; where the run ends was said to `set_timesteps`."""
    ours, theirs = SCHEDULERS[VE](), diffusers_scheduler(VE)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(8, sampling_eps=0.05)
        scheduler.set_sigmas(8, 0.05, 50.0)
    torch.testing.assert_close(ours.timesteps, theirs.timesteps)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas)
    ours.set_timesteps(8)
    assert float(ours.timesteps[-1]) == pytest.approx(1e-5)


def halved_at_the_end(values: torch.Tensor) -> torch.Tensor:
    values[-1] *= 0.5
    return values


EDITS = (lambda v: v[3:], lambda v: v[::2], lambda v: v * 0.5, halved_at_the_end)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("key", ["timesteps", "discrete_sigmas", "sigmas"])
def test_ve_goes_by_what_is_assigned(
    key: str, edit: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    ours, theirs = laid_out(Case(VE, {}, 10))
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    for scheduler in (ours, theirs):
        setattr(scheduler, key, edit(getattr(scheduler, key)))
    x = 5 * unit_noise()
    for t in theirs.timesteps:
        try:
            b = theirs.step_pred(x.tanh(), t, x, draws[1])
        except IndexError:
            with pytest.raises(ValueError, match="discrete_sigmas"):
                ours.step_pred(x.tanh(), t, x, draws[0])
            return
        a = ours.step_pred(x.tanh(), t, x, draws[0])
        for found, expected in zip(tuple(a), (b.prev_sample, b.prev_sample_mean), strict=True):
            assert error(found, expected) <= 1e-5
        x = b.prev_sample


def test_ve_levels_follow_assigned_times() -> None:
    ours, theirs = laid_out(Case(VE, {}, 6))
    for scheduler in (ours, theirs):
        scheduler.timesteps = scheduler.timesteps * 0.5
        scheduler.set_sigmas(6, 0.05, 50.0)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=2e-6, atol=0)


@pytest.mark.parametrize("edit", EDITS)
def test_vp_goes_by_assigned_times(edit: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Also on an object that was not told its number of steps, and between its times."""
    case = Case("ScoreSdeVpScheduler", {}, 10)
    ours, theirs = case.ours(), case.theirs()
    fresh = SCHEDULERS["ScoreSdeVpScheduler"]()
    for scheduler in (ours, theirs):
        scheduler.timesteps = edit(scheduler.timesteps)
    fresh.timesteps = theirs.timesteps.clone()
    x = unit_noise()
    for t in (*theirs.timesteps, torch.tensor(0.37)):
        expected = theirs.step_pred(x, x, t, torch.Generator().manual_seed(0))
        for scheduler in (ours, fresh):
            found = scheduler.step_pred(x, x, t, torch.Generator().manual_seed(0))
            for a, b in zip(tuple(found), expected, strict=True):
                assert error(a, b) <= 1e-5
    assert len(ours.stages) == len(fresh.stages) == len(theirs.timesteps)


@pytest.mark.parametrize("name", [VE, "ScoreSdeVpScheduler", "KarrasVeScheduler"])
def test_times_taken_away(name: str) -> None:
    scheduler = SCHEDULERS[name]()
    scheduler.set_timesteps(4)
    scheduler.timesteps = None
    assert scheduler.timesteps is None
    scheduler.set_timesteps(3)
    assert len(scheduler.timesteps) == 3
