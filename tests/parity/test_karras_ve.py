"""Karras-VE has its own call form; every part of it equals diffusers'."""

from collections.abc import Callable, Iterator

import pytest
import torch

from tests.parity.harness import Case, error, fake_model, unit_noise
from tests.parity.oracle import SchedulerLike

NAME = "KarrasVeScheduler"


def calls(scheduler: SchedulerLike, seed: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Algorithm 2 as pipelines wrote it: each call, by name and arguments; sent back its result."""
    generator = torch.Generator().manual_seed(seed)
    x = unit_noise() * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        sigma = scheduler.schedule[t]
        sigma_prev = scheduler.schedule[t - 1] if t > 0 else 0
        state = generator.get_state()
        yield "add_noise_to_input", (x, sigma, torch.Generator().set_state(state))
        hat, sigma_hat = scheduler.add_noise_to_input(x, sigma, generator=generator)
        output = -fake_model(hat / (1 + float(sigma_hat)), float(sigma_hat))
        yield "step", (output, sigma_hat, sigma_prev, hat)
        step = scheduler.step(output, sigma_hat, sigma_prev, hat)
        if sigma_prev != 0:
            output = -fake_model(step.prev_sample / (1 + float(sigma_prev)), float(sigma_prev))
            arguments = (output, sigma_hat, sigma_prev, hat, step.prev_sample, step["derivative"])
            yield "step_correct", arguments
            step = scheduler.step_correct(*arguments)
        x = step.prev_sample


def answer(scheduler: SchedulerLike, name: str, arguments: tuple[object, ...]) -> list[object]:
    """The arrays and numbers that a call returns; generators are copied, so that both draw alike."""
    copied = [
        torch.Generator().set_state(a.get_state()) if isinstance(a, torch.Generator) else a
        for a in arguments
    ]
    result = getattr(scheduler, name)(*copied)
    if name == "add_noise_to_input":
        return [result[0], float(result[1])]
    return [result.prev_sample, result.derivative, result.pred_original_sample]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"s_churn": 0},
        {"s_churn": 5.0, "s_noise": 1.0, "s_min": 0.0, "s_max": 1e6},
        {"sigma_min": 0.002, "sigma_max": 80.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [2, 3, 10, 50])
def test_run(config: dict[str, float], steps: int) -> None:
    case = Case(NAME, config, steps)
    ours, theirs = case.ours(), case.theirs()
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    torch.testing.assert_close(ours.schedule, theirs.schedule, rtol=1e-6, atol=0)
    assert ours.init_noise_sigma == theirs.init_noise_sigma
    for name, arguments in calls(theirs, 4):
        expected, found = (answer(s, name, arguments) for s in (theirs, ours))
        # theirs finds the slope as (x - x0) / sigma in float32: it divides a rounding of x by sigma
        largest = max(float(abs(a).max()) for a in arguments if torch.is_tensor(a) and a.ndim)
        sigma_hat, sigma_prev = map(float, arguments[1:3]) if "step" in name else (1.0, 1.0)
        shortest = sigma_prev if name == "step_correct" else sigma_hat
        rounding = 4e-7 * max(largest, sigma_hat) / shortest
        for a, b, reach in zip(found, expected, (sigma_hat, 1.0, shortest), strict=False):
            if isinstance(b, float):
                assert a == pytest.approx(b, rel=1e-6)
            else:
                limit = 1e-5 + rounding * reach / max(1.0, float(abs(b).max()))
                assert error(a, b) <= limit, name


def test_every_number_of_steps() -> None:
    for steps in range(2, 201):
        case = Case(NAME, steps=steps)
        ours, theirs = case.ours(), case.theirs()
        assert ours.timesteps.tolist() == theirs.timesteps.tolist()
        torch.testing.assert_close(ours.schedule, theirs.schedule, rtol=2e-6, atol=0)


def test_tuple_forms() -> None:
    case = Case(NAME)
    x = unit_noise()
    for name, arguments in (("step", (x, 2.0, 1.0, x)), ("step_correct", (x, 2.0, 1.0, x, x, x))):
        a = getattr(case.ours(), name)(*arguments, return_dict=False)
        b = getattr(case.theirs(), name)(*arguments, return_dict=False)
        assert type(a) is tuple
        assert all(error(p, q) <= 1e-6 for p, q in zip(a, b, strict=False))


def test_model_input_is_not_scaled() -> None:
    x = unit_noise()
    assert torch.equal(Case(NAME).ours().scale_model_input(x, 3), x)


def test_one_step_is_finite_where_theirs_divides_by_zero() -> None:
    assert bool(Case(NAME, steps=1).theirs().schedule.isnan().all())
    assert bool(torch.as_tensor(Case(NAME, steps=1).ours().schedule).isfinite().all())


@pytest.mark.parametrize("names", [("timesteps",), ("schedule",), ("timesteps", "schedule")])
@pytest.mark.parametrize("edit", [lambda v: v[3:], lambda v: v[::2], lambda v: v - v // 4])
def test_assigned_arrays_are_those_of_the_loop(
    names: tuple[str, ...], edit: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Whatever is cut, thinned out or lowered: each call is theirs, or theirs has none to make."""
    case = Case(NAME, {}, 10)
    both = case.ours(), case.theirs()
    for scheduler in both:
        for key in names:
            setattr(scheduler, key, edit(getattr(scheduler, key)).clone())
        scheduler.timesteps[-1] = 0
    ours, theirs = both
    try:
        made = list(calls(theirs, 4))
    except IndexError:
        with pytest.raises(IndexError):
            list(calls(ours, 4))
        return
    for name, arguments in made:
        expected, found = (answer(s, name, arguments)[0] for s in (theirs, ours))
        assert error(found, expected) <= 1e-5, name
    levels = [float(theirs.schedule[t]) for t in theirs.timesteps]
    assert ours.sigmas[:-1].tolist() == pytest.approx(levels, rel=1e-6)
    assert len(ours.stages) == sum(name != "add_noise_to_input" for name, _ in made)


def test_nothing_goes_by_sigmas() -> None:
    ours = Case(NAME).ours()
    with pytest.raises(ValueError, match="sigmas follow from schedule"):
        ours.sigmas = ours.sigmas * 0.5
