"""Law 1: with constant x0 and eps every rule carries x = alpha x0 + sigma eps exactly.

Law 2: for stochastic rules, weight on eps squared plus noise weight squared is sigma squared.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from schedulers import SCHEDULERS
from schedulers.core.coefficients import Coefficients, contributions
from schedulers.core.level import Call, Level
from tests.laws.driver import (
    NAMES,
    SHAPE,
    SchedulerLike,
    make,
    noise,
    possible,
    sampled,
    settings_of,
    split,
    walk,
)

EXACT = 1e-9
ROWS = 1e-10  # float64, with one cancellation: 1 - alphas_cumprod is 1e-4 at the clean end


def carried(row: Coefficients, levels: list[Level]) -> tuple[float, float]:
    """What a row makes of x_j = alpha_j x0 + sigma_j eps: weights on x0 and on eps."""
    on_x0 = sum(w * level.alpha for w, level in zip(row.x, levels, strict=False)) + sum(row.x0)
    on_eps = sum(w * level.sigma for w, level in zip(row.x, levels, strict=False)) + sum(row.eps)
    return on_x0, on_eps


def is_close(a: float, b: float, scale: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(1.0, scale)


def rounding(rows: list[Coefficients], stages: Sequence[Call], start: int) -> dict[int, float]:
    """What float64 leaves open in each sample of a run: roundings, carried on by the rows.

    Only steps of several calls from nearly pure noise magnify them to where they can be seen.
    """
    unit = 1e-15 * max(1.0, stages[start].here.scale)
    found = {start: unit}
    for i in range(start, len(rows)):
        gains = dict.fromkeys(range(i + 1), 0.0)
        for lag, weight in enumerate(rows[i].x):
            gains[lag] += abs(weight)
        for lag, weight in enumerate(rows[i].eps):
            gains[lag] += abs(weight) / (stages[i - lag].here.sigma or math.inf)
        found[i + 1] = unit + sum(g * found.get(i - lag, 0.0) for lag, g in gains.items())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_rows_carry_the_point_mass(name: str) -> None:
    """On the rows themselves, for every setting that the class accepts, by the paper."""
    checked = 0
    for settings in settings_of(name, compat="paper"):
        scheduler = make(name, **settings)
        stages = scheduler.stages
        for i, stage in enumerate(stages):
            row = scheduler.row(i)
            levels = [stages[j].here for j in range(i, -1, -1)]
            on_x0, on_eps = carried(row, levels)
            what = f"{settings}, call {i}"
            scale = max(level.scale for level in levels)
            assert is_close(on_x0, stage.target.alpha, scale, ROWS), what
            if row.noise == 0.0:
                assert is_close(on_eps, stage.target.sigma, scale, ROWS), what
            checked += 1
    assert checked >= 6


@pytest.mark.parametrize("name", NAMES)
def test_the_grid_is_a_chain(name: str) -> None:
    """Each call is made where the one before landed."""
    for settings in settings_of(name, compat="paper"):
        stages = make(name, **settings).stages
        for before, after in zip(stages, stages[1:], strict=False):
            assert before.target.alpha == pytest.approx(after.here.alpha, rel=1e-12), settings
            assert before.target.sigma == pytest.approx(after.here.sigma, rel=1e-12), settings


def is_quiet(name: str) -> bool:
    """Whether a run of the class draws no noise, unless it is told to."""
    scheduler = make(name)
    return not any(scheduler.row(i).noise for i in range(len(scheduler.stages)))


@pytest.mark.parametrize("compat", ["paper", "diffusers"])
@pytest.mark.parametrize("name", [name for name in NAMES if is_quiet(name)])
def test_steps_carry_the_point_mass(name: str, compat: str) -> None:
    """On float64 arrays through `step`: as diffusers from the top, by the paper from any start."""
    x0, eps = np.tanh(noise(1)), noise(2)
    quiet = {"s_churn": 0.0}  # a constructor's in Karras-VE, a step's default elsewhere
    checked = 0
    for settings in sampled(name, 80, seed=1, compat=compat) if compat == "paper" else [{}]:
        settings |= {k: v for k, v in quiet.items() if k in SCHEDULERS[name]().config}
        calls = len(make(name, **settings).stages)
        # in a clean sample no model finds the noise, nor upstream in pure noise the data
        top = make(name, **settings).stages[0].here
        first = 0 if top.sigma and top.alpha else SCHEDULERS[name].order
        starts = (0, 1, calls // 2, calls - 1) if compat == "paper" else (first,)
        for start in starts:
            scheduler = make(name, **settings)
            if scheduler.order == 2 and start % 2:
                continue  # inside a two-call step there is nothing to start from
            rows = [scheduler.row(i) for i in range(calls)]
            if any(row.noise for row in rows):
                break
            here = scheduler.stages[start].here
            blurs = rounding(rows, scheduler.stages, start)
            x = here.alpha * x0 + here.sigma * eps
            for moment in walk(scheduler, lambda *_: x0, x, start):
                target = scheduler.stages[moment.index].target
                expected = target.alpha * x0 + target.sigma * eps
                worst = float(np.abs(moment.after - expected).max())
                what = f"{settings} from {start}, call {moment.index}"
                assert worst <= max(EXACT * max(1.0, here.scale), blurs[moment.index + 1]), what
                checked += 1
    assert checked


@pytest.mark.parametrize(
    # Karras VE's noise enters before the call: the next test
    "name",
    [name for name in NAMES if SCHEDULERS[name].call_form != "karras_ve"],
)
def test_variance(name: str) -> None:
    checked = 0
    step_settings: list[dict[str, object]] = [{}]
    if any((p.name, p.call) == ("eta", "step") for p in SCHEDULERS[name].parameters()):
        step_settings += [{"eta": 0.3}, {"eta": 1.0}]
    for settings in settings_of(name, compat="paper"):
        # larger or learned variances mean another process; plain sde-dpmsolver is a named quirk
        if str(settings.get("variance_type", "fixed_small")) not in (
            "fixed_small",
            "fixed_small_log",
            "None",
        ):
            continue
        if settings.get("algorithm_type") in ("sde-dpmsolver", "noise_prediction"):
            continue
        scheduler = make(name, **settings)
        stages = scheduler.stages
        for step in step_settings:
            for i, stage in enumerate(stages):
                row = scheduler.row(i, step)
                if row.noise and stage.target == stage.here:
                    continue  # a Langevin step, which holds the variance to fourth order in snr
                levels = [stages[j].here for j in range(i, -1, -1)]
                _, on_eps = carried(row, levels)
                found = math.hypot(on_eps, row.noise)
                scale = max(level.scale for level in levels)
                assert is_close(found, stage.target.sigma, scale, 1e-9), f"{settings} {step} {i}"
                checked += 1
    assert checked


def test_variance_of_karras_ve_churn() -> None:
    for s_churn in (0.0, 5.0, 80.0):
        scheduler = make("KarrasVeScheduler", s_churn=s_churn, s_noise=1.0)
        for sigma in map(float, scheduler.schedule):
            x = np.zeros(SHAPE, dtype=np.float32)
            z = np.random.default_rng(5).standard_normal(SHAPE, dtype=np.float32)
            hat, sigma_hat = scheduler.add_noise_to_input(x, sigma, np.random.default_rng(5))
            added = float(np.abs(hat).max() / np.abs(z).max())
            assert added**2 + sigma**2 == pytest.approx(float(sigma_hat) ** 2, rel=1e-6)


def keep_draws(scheduler: SchedulerLike) -> dict[int, np.ndarray]:
    """The unit noise of each call of a run to come: what is drawn may be part of a longer path."""
    drawn: dict[int, np.ndarray] = {}
    draw = scheduler._draw

    def kept(backend: object, i: int, *rest: object) -> np.ndarray:
        drawn[i] = draw(backend, i, *rest)
        return drawn[i]

    scheduler._draw = kept
    return drawn


@pytest.mark.parametrize("name", NAMES)
def test_contributions_reproduce_the_run(name: str) -> None:
    """The final sample is the weighted sum of x_T, every data prediction and every draw."""
    for settings in [{}, {"use_karras_sigmas": True}, {"solver_order": 3}, {"clip_sample": False}]:
        init, _ = split(name, settings)
        known = {p.name for p in SCHEDULERS[name].parameters()}
        if not set(init) <= known or not possible(name, init):
            continue
        # rows of Langevin steps hold what the norms of the arrays come to on average
        quiet = {"s_churn": 0.0, "correct_steps": 0}
        quiet = {k: v for k, v in quiet.items() if k in SCHEDULERS[name]().config}
        plain = {key: False for key in ("clip_sample", "clip_denoised") if key in known}
        scheduler = make(name, **{**plain, **init, **quiet})
        calls = len(scheduler.stages)
        predictions = [noise(10 + i) for i in range(calls)]
        draws = [np.random.default_rng(3)]
        top = noise(4) * scheduler.stages[0].here.scale
        drawn = keep_draws(scheduler)
        *_, last = walk(scheduler, lambda i, _, p=predictions: p[i], top, generator=draws[0])
        parts = contributions([scheduler.row(i) for i in range(calls)], scheduler.stages)
        source = np.random.default_rng(3)
        total = parts.initial * top
        for i in range(calls):
            total = total + parts.calls[i] * predictions[i]
            if scheduler.row(i).noise or scheduler.draws_idly:
                fresh = drawn[i] if i in drawn else source.standard_normal(SHAPE)
                total = total + parts.noise[i] * fresh
        worst = float(np.abs(last.after - total).max())
        assert worst <= 1e-9 * max(1.0, float(np.abs(top).max())), settings
