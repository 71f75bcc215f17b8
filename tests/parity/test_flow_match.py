"""Rectified flows: grids, runs, noising and the helpers of diffusers' flow-matching classes."""

import itertools

import numpy as np
import pytest
import torch

from tests.parity.harness import SCHEDULERS, Case, assert_same_grid, assert_same_run, unit_noise
from tests.parity.oracle import SchedulerLike, diffusers_scheduler

EULER = "FlowMatchEulerDiscreteScheduler"
DENSE = [*range(1, 27), 30, 37, 64, 99, 100, 150, 199, 200]
CURVES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
EXACT = 1e-6
GRIDS: list[dict[str, object]] = [
    {},
    {"shift": 3.0},
    {"shift": 0.5, "shift_terminal": 0.1},
    {"invert_sigmas": True, "shift": 2.0},
    {"num_train_timesteps": 100, "shift": 3.0},
    *({curve: True, "shift": 3.0} for curve in CURVES),
]
CUSTOM: list[dict[str, object]] = [
    {"sigmas": [1.0, 0.7, 0.2, 0.01]},
    {"timesteps": [1000.0, 993.0, 725.5, 0.03]},
    {"timesteps": [900, 500, 3], "sigmas": [0.95, 0.5, 0.1], "num_inference_steps": 3},
]


def pair(**config: object) -> tuple[SchedulerLike, SchedulerLike]:
    return SCHEDULERS[EULER](**config), diffusers_scheduler(EULER, **config)


@pytest.mark.parametrize("config", GRIDS, ids=str)
def test_every_number_of_steps(config: dict[str, object]) -> None:
    ours, theirs = pair(**config)
    assert_same_grid(ours, theirs, "fresh")
    assert (ours.sigma_min, ours.sigma_max) == (theirs.sigma_min, theirs.sigma_max)
    for steps in range(1, 201) if len(config) < 2 else DENSE:
        if steps == 1 and "shift_terminal" in config:
            continue  # NaN: tests/laws/test_quirks.py
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert_same_grid(ours, theirs, f"{steps} steps")


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_dynamic_shift(kind: str) -> None:
    config = {"use_dynamic_shifting": True, "time_shift_type": kind, "shift": 3.0}
    for mu, more in itertools.product((0.3, 0.5, 1.15), ({}, {"sigmas": [1.0, 0.6, 0.1]})):
        grid = {"mu": mu, **(more or {"num_inference_steps": 9})}
        case = Case(EULER, config, grid=grid)
        assert_same_grid(case.ours(), case.theirs(), str(grid))
    t = torch.linspace(0.1, 1, 7)
    ours, theirs = pair(**config)
    torch.testing.assert_close(ours.time_shift(0.7, 1.3, t), theirs.time_shift(0.7, 1.3, t))


def test_mu_without_dynamic_shift_is_not_used() -> None:
    """Pipelines pass it always."""
    case = Case(EULER, {"shift": 3.0}, grid={"num_inference_steps": 4, "mu": 1.15})
    assert_same_grid(case.ours(), case.theirs())


@pytest.mark.parametrize("config", GRIDS[:4], ids=str)
@pytest.mark.parametrize("grid", CUSTOM, ids=str)
def test_custom_grids(grid: dict[str, object], config: dict[str, object]) -> None:
    case = Case(EULER, config, grid=grid)
    assert_same_grid(case.ours(), case.theirs())


def test_set_shift_and_stretch() -> None:
    ours, theirs = pair(shift_terminal=0.2)
    for scheduler in (ours, theirs):
        scheduler.set_shift(2.5)
        scheduler.set_timesteps(7)
    assert ours.shift == theirs.shift == 2.5
    assert_same_grid(ours, theirs)
    t = np.linspace(1.0, 0.01, 6)
    a, b = ours.stretch_shift_to_terminal(t), theirs.stretch_shift_to_terminal(t)
    assert a == pytest.approx(b, rel=1e-12)


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("config", GRIDS, ids=str)
def test_runs(config: dict[str, object], stochastic: bool) -> None:
    for steps, seeds in ((2, (3,)), (7, (3,)), (30, (5, 6))):
        case = Case(EULER, {**config, "stochastic_sampling": stochastic}, steps, seeds=seeds)
        assert_same_run(case)


@pytest.mark.parametrize("grid", CUSTOM, ids=str)
def test_runs_over_custom_grids(grid: dict[str, object]) -> None:
    assert_same_run(Case(EULER, {"shift": 3.0}, grid=grid, step={"s_churn": 5.0}))


@pytest.mark.parametrize("start", [1, 4, 9])
def test_start_in_the_middle(start: int) -> None:
    assert_same_run(Case(EULER, {"shift": 3.0}, 10, start=start))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stochastic", [False, True])
def test_half_precision(stochastic: bool, dtype: torch.dtype) -> None:
    case = Case(EULER, {"stochastic_sampling": stochastic, "shift": 3.0})
    ours, theirs = case.ours(), case.theirs()
    generators = case.generators(), case.generators()
    x = unit_noise().to(dtype)
    for t in theirs.timesteps:
        a = ours.step(x, t, x, generator=generators[0]).prev_sample
        b = theirs.step(x, t, x, generator=generators[1]).prev_sample
        assert a.dtype == b.dtype == dtype
        assert float((a - b).abs().max()) <= torch.finfo(dtype).eps * float(x.abs().max())
        x = b


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_time_for_every_token(stochastic: bool) -> None:
    case = Case(EULER, {"stochastic_sampling": stochastic, "shift": 2.0}, 6)
    ours, theirs = case.ours(), case.theirs()
    x, output = unit_noise(1, (2, 5, 3)), unit_noise(2, (2, 5, 3))
    times = torch.stack([ours.timesteps[:5], torch.tensor([0.0, 1000, 500, 3, 0.5])])
    generators = case.generators(), case.generators()
    for t in theirs.timesteps[:2]:
        a, b = (
            s.step(output, t, x, generator=g, per_token_timesteps=times)
            for s, g in zip((ours, theirs), generators, strict=True)
        )
        torch.testing.assert_close(a.prev_sample, b.prev_sample, rtol=0, atol=EXACT)
        assert ours.step_index == theirs.step_index
    numpy = SCHEDULERS[EULER](**case.config, tensor_format="np")
    numpy.set_timesteps(6)
    found = numpy.step(
        output.numpy(), numpy.timesteps[0], x.numpy(), generator=case.generators(),
        per_token_timesteps=times.numpy(),
    )  # fmt: skip
    again = case.ours().step(
        output, theirs.timesteps[0], x, generator=case.generators(), per_token_timesteps=times
    )
    assert found.prev_sample == pytest.approx(again.prev_sample.numpy(), abs=EXACT)
    assert found.pred_original_sample == pytest.approx(
        again.pred_original_sample.numpy(), abs=EXACT
    )


HEUN = "FlowMatchHeunDiscreteScheduler"


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_heun_grids(shift: float) -> None:
    ours = SCHEDULERS[HEUN](shift=shift)
    theirs = diffusers_scheduler(HEUN, shift=shift)
    assert_same_grid(ours, theirs, "fresh")
    for steps in range(1, 201):
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert_same_grid(ours, theirs, f"{steps} steps")


@pytest.mark.parametrize("churn", [{}, {"s_churn": 4.0, "s_tmin": 0.2, "s_noise": 1.01}], ids=str)
@pytest.mark.parametrize("seeds", [(3,), (5, 6)])
def test_heun_runs(churn: dict[str, object], seeds: tuple[int, ...]) -> None:
    for steps, shift in ((1, 1.0), (2, 3.0), (7, 3.0), (20, 1.0)):
        assert_same_run(Case(HEUN, {"shift": shift}, steps, step=churn, seeds=seeds))
    assert_same_run(Case(HEUN, {}, 10, start=8, begin=True, step=churn, seeds=seeds))


def test_heun_noises_to_the_present_level() -> None:
    case = Case(HEUN, steps=6)
    ours, theirs = case.ours(), case.theirs()
    x, z = unit_noise(1), unit_noise(2)
    for t in theirs.timesteps[:3]:
        for scheduler in (ours, theirs):
            scheduler.step(x, t, x)
        a = ours.scale_noise(x, ours.timesteps[-1:], z)
        torch.testing.assert_close(a, theirs.scale_noise(x, t, z), rtol=0, atol=EXACT)
        assert ours.state_in_first_order == theirs.state_in_first_order
