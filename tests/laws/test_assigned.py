"""Law 11, objects are apart: what a caller assigns is heeded as upstream heeds it, there alone.

Every public array that upstream lets one assign is cut, halved, thinned out, written in place,
before and after ``set_timesteps``; the next two steps are those of upstream, or the assignment is
refused by name. An innocent twin and other threads never notice.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from schedulers.core.exports import public_arrays
from tests.laws.driver import NAMES, SchedulerLike, lay_out, make
from tests.parity.oracle import DIFFUSERS, diffusers_scheduler, stepped

STEPS = 8
SHAPE = (2, 3, 4, 4)


def cut(values: torch.Tensor) -> torch.Tensor:
    return values[4:]  # whole steps also of those that take two calls


def halved(values: torch.Tensor) -> torch.Tensor:
    return values // 2 if not values.is_floating_point() else values * 0.5


def thinned(values: torch.Tensor) -> torch.Tensor:
    return values[::2]


def repeated(values: torch.Tensor) -> None:
    values[-1] = values[-2]


def scaled(values: torch.Tensor) -> None:
    values.mul_(0.75) if values.is_floating_point() else values.sub_(1).clamp_(min=0)


ASSIGNED: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (cut, halved, thinned)
WRITTEN: tuple[Callable[[torch.Tensor], None], ...] = (repeated, scaled)
#: Which may be assigned together: times and levels belong to each other.
TOGETHER = (("timesteps",), ("sigmas",), ("timesteps", "sigmas"), ("alphas_cumprod",), ("betas",))
CLASSES = [name for name in stepped() if name in DIFFUSERS]


def change(scheduler: SchedulerLike, names: tuple[str, ...], how: Callable[..., Any]) -> bool:
    """Assign or write in place; whether the scheduler has the arrays."""
    found = [getattr(scheduler, name, None) for name in names]
    if not all(isinstance(value, torch.Tensor) and value.ndim == 1 for value in found):
        return False
    for name, value in zip(names, found, strict=True):
        result = how(value)
        if result is not None:
            setattr(scheduler, name, result)
    return True


def two_steps(scheduler: SchedulerLike) -> list[torch.Tensor]:
    """The first two steps of the run as it now stands, and the model's inputs."""
    torch.manual_seed(0)
    x = torch.randn(SHAPE)
    found = []
    for t in list(scheduler.timesteps)[:2]:
        scaled_input = scheduler.scale_model_input(x, t)
        output = torch.tanh(x)
        x = scheduler.step(output, t, x, return_dict=False)[0]
        found += [scaled_input, x]
    return found


def outcome(
    scheduler: SchedulerLike, names: tuple[str, ...], how: Callable[..., Any], first: bool
) -> list[torch.Tensor] | Exception | None:
    """What two steps give after a change; the error, or None where there is nothing to change."""
    try:
        if first and not change(scheduler, names, how):
            return None
        scheduler.set_timesteps(STEPS)
        if not first and not change(scheduler, names, how):
            return None
        return two_steps(scheduler)
    except Exception as error:  # noqa: BLE001  (whatever theirs raises)
        return error


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_assigned_is_heeded_as_upstream_heeds_it(name: str) -> None:
    """Or refused by name; where upstream crashes or leaves the numbers, ours says why."""
    heeded = 0
    for names in TOGETHER:
        for how in (*ASSIGNED, *WRITTEN):
            for first in (True, False):
                if first and names[0] in ("timesteps", "sigmas"):
                    continue  # set_timesteps makes them anew
                seed = {"noise_sampler_seed": 4} if name == "DPMSolverSDEScheduler" else {}
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    theirs = outcome(diffusers_scheduler(name, **seed), names, how, first)
                    ours = outcome(SCHEDULERS[name](**seed), names, how, first)
                what = f"{names} {how.__name__} {'before' if first else 'after'} set_timesteps"
                if theirs is None:
                    continue
                fine = isinstance(theirs, list) and all(bool(x.isfinite().all()) for x in theirs)
                if not fine:
                    assert not isinstance(ours, list) or all(
                        bool(x.isfinite().all()) for x in ours
                    ), what
                    continue
                if isinstance(ours, Exception):
                    assert isinstance(ours, ValueError), f"{what}: {ours!r}"
                    assert any(n in str(ours) for n in names), f"{what}: {ours!r}"
                    pytest.fail(f"{what}: upstream answers, ours refuses: {ours}")
                assert ours is not None, what
                assert isinstance(theirs, list)
                for a, b in zip(ours, theirs, strict=True):
                    limit = 2e-5 * max(1.0, float(b.abs().max()))
                    assert float((a - b).abs().max()) <= limit, (
                        f"{what}: off by {float((a - b).abs().max()):.1e}"
                    )
                heeded += 1
    assert heeded >= 5


@pytest.mark.parametrize("where", ["thread", "here"])
@pytest.mark.parametrize("name", NAMES)
def test_no_twin_notices(name: str, where: str) -> None:
    """In either order, in one thread or two, before and after: the twin stays as it was."""
    expected = make(name, STEPS)
    wanted = {key: np.asarray(value) for key, value in shown(expected).items()}
    for order in ("edited first", "twin first"):
        edited, twin = SCHEDULERS[name](), SCHEDULERS[name]()

        def edit(edited: SchedulerLike = edited) -> None:
            for key in public_arrays(type(edited)):
                value = getattr(edited, key, None)
                if isinstance(value, torch.Tensor) and value.is_floating_point():
                    value.mul_(0.5)
            try:
                lay_out(edited, STEPS)
                edited.timesteps[...] = 0
                edited.sigmas[...] *= 0.5
                _ = edited.stages
            except ValueError:
                pass  # refused by name: nothing was to be heeded

        def start(twin: SchedulerLike = twin) -> None:
            lay_out(twin, STEPS)

        tasks = (edit, start) if order == "edited first" else (start, edit)
        for task in tasks:
            if where == "here":
                task()
                continue
            thread = threading.Thread(target=task)
            thread.start()
            thread.join()
        found = shown(twin)
        assert found.keys() == wanted.keys()
        for key, value in found.items():
            assert np.array_equal(np.asarray(value), wanted[key]), (key, order)
        assert twin.stages == expected.stages


def shown(scheduler: SchedulerLike) -> dict[str, torch.Tensor]:
    """The public arrays that there are."""
    found = {key: getattr(scheduler, key) for key in public_arrays(type(scheduler))}
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_writes_are_seen_that_leave_no_trace(mode: Callable[[], Any]) -> None:
    """Under inference mode a tensor may have no version; memory shared with NumPy has none."""
    with mode():
        for write in (
            lambda s: s.sigmas.mul_(0.5),
            lambda s: np.multiply(s.sigmas.numpy(), 0.5, out=s.sigmas.numpy()),
            lambda s: setattr(s, "sigmas", s.sigmas * 0.5),
        ):
            ours, theirs = (
                SCHEDULERS["EulerDiscreteScheduler"](),
                diffusers_scheduler("EulerDiscreteScheduler"),
            )
            for scheduler in (ours, theirs):
                scheduler.set_timesteps(STEPS)
                write(scheduler)
            for a, b in zip(two_steps(ours), two_steps(theirs), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_write_in_mid_run_steers_the_next_step() -> None:
    """As diffusers' Cosmos pipelines do: the last level lifted to the one before."""
    ours = SCHEDULERS["EulerDiscreteScheduler"]()
    theirs = diffusers_scheduler("EulerDiscreteScheduler")
    results = []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(4)
        x = torch.ones(1, 2, 2)
        for i, t in enumerate(scheduler.timesteps):
            if i == 2:
                scheduler.sigmas[-1] = scheduler.sigmas[-2]
            scheduler.scale_model_input(x, t)
            x = scheduler.step(torch.tanh(x), t, x, return_dict=False)[0]
        results.append(x)
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_object_folds_nothing(name: str) -> None:
    """Kernels belong to the values: objects of equal settings share every one of them."""
    x = torch.ones(SHAPE)

    def go() -> SchedulerLike:
        scheduler = make(name, STEPS)
        if scheduler.call_form == "step":
            for t in list(scheduler.timesteps)[:3]:
                scheduler.scale_model_input(x, t)
                scheduler.step(x, t, x)
        return scheduler

    first = go()
    before = dict(first._kernels)
    second = go()
    assert second._kernels is first._kernels or first.call_form == "adaptive"
    assert dict(second._kernels) == before
