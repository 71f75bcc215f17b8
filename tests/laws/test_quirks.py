"""Named quirks: where diffusers leaves the mathematics, shown both ways.

`compat="diffusers"` (the default) reproduces the images, `compat="paper"` the mathematics. Each
test is marked with the quirk of `schedulers/facts/quirks.py` that it shows and the sides it shows; what
upstream does is held by the parity tests where it is no crash.
"""

import ast
import copy
import importlib
import inspect
import math
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from schedulers import SCHEDULERS
from schedulers.core.coefficients import Coefficients
from schedulers.core.prediction import inverse, reading
from schedulers.core.scheduler import Scheduler
from schedulers.facts import quirks
from schedulers.facts.quirks import QUIRKS, SWITCHES, Quirk, quirks_of
from schedulers.rules.exponential import psi
from tests.laws.driver import SchedulerLike, make, model_output, noise, singles, walk
from tests.laws.test_order import exponential, slope

MIDPOINTS = (
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
    "DPMPP2SAncestralScheduler",
)
THIRD = exponential(solver_order=3, lower_order_final=False)
COUNTS = (40, 57, 80, 113, 160)


def miss(name: str, start: int, **config: object) -> float:
    """By how much a point mass is missed, at worst, in a run from `start`."""
    scheduler = make(name, 20, **config)
    x0, eps = np.tanh(noise(1)), noise(2)
    here = scheduler.stages[start].here
    found = []
    for moment in walk(scheduler, lambda *_: x0, here.alpha * x0 + here.sigma * eps, start):
        target = scheduler.stages[moment.index].target
        found.append(np.abs(moment.after - target.alpha * x0 - target.sigma * eps).max())
    return float(max(found))


@pytest.mark.quirk("lms-midway", "diffusers", "paper")
def test_lms_started_midway() -> None:
    assert miss("LMSDiscreteScheduler", 10) > 0.2
    assert miss("LMSDiscreteScheduler", 10, compat="paper") < 1e-9


@pytest.mark.quirk("ddim-stride", "diffusers", "paper")
@pytest.mark.parametrize(("spacing", "steps"), [("linspace", 10), ("trailing", 30)])
def test_ddim_steps_off_its_grid(spacing: str, steps: int) -> None:
    def gap(compat: str) -> float:
        stages = make("DDIMScheduler", steps, timestep_spacing=spacing, compat=compat).stages
        return max(
            abs(a.target.sigma - b.here.sigma) for a, b in zip(stages, stages[1:], strict=False)
        )

    assert gap("diffusers") > 1e-3
    assert gap("paper") < 1e-12


@pytest.mark.quirk("inverse-stride", "diffusers", "paper")
def test_inversion_is_told_the_time_of_another_level() -> None:
    def told(compat: str) -> list[tuple[float, float]]:
        stages = make("DDIMInverseScheduler", 20, compat=compat).stages
        return [(stage.t, stage.here.t) for stage in stages]

    assert all(t == here + 50 for t, here in told("diffusers"))
    assert all(t == here for t, here in told("paper"))


@pytest.mark.quirk("ipndm-first-step", "diffusers", "paper")
def test_ipndm_loses_its_first_data_prediction() -> None:
    def on_x0(compat: str) -> float:
        return make("IPNDMScheduler", 10, compat=compat).row(0).x0[0]

    assert on_x0("diffusers") == 0.0
    assert on_x0("paper") == pytest.approx(0.22, abs=0.01)


def strayed(steps: int, start: int = 0, **config: object) -> float:
    """By how much a point mass is missed at the levels where PNDM's model is asked next."""
    scheduler = make("PNDMScheduler", steps, **config)
    x0, eps = np.tanh(noise(1)), noise(2)
    stages = scheduler.stages
    asked = [*(stage.here for stage in stages[1:]), stages[-1].target]
    here = stages[start].here
    run = walk(scheduler, lambda *_: x0, here.alpha * x0 + here.sigma * eps, start)
    return max(
        float(np.abs(m.after - asked[m.index].alpha * x0 - asked[m.index].sigma * eps).max())
        for m in run
    )


@pytest.mark.quirk("pndm-midway", "diffusers", "paper")
@pytest.mark.parametrize("skip", [False, True])
def test_pndm_started_midway(skip: bool) -> None:
    assert strayed(20, 18, skip_prk_steps=skip) > 0.3
    assert strayed(20, 18, skip_prk_steps=skip, compat="paper") < 1e-9


@pytest.mark.quirk("pndm-stride", "diffusers", "paper")
@pytest.mark.parametrize(
    ("steps", "spacing", "skip"),
    [
        (8, "leading", False),
        (30, "linspace", False),
        (30, "linspace", True),
        (7, "trailing", True),
    ],
)
def test_pndm_steps_off_its_grid(steps: int, spacing: str, skip: bool) -> None:
    config = {"timestep_spacing": spacing, "skip_prk_steps": skip}
    assert strayed(steps, **config) > 5e-4
    assert strayed(steps, **config, compat="paper") < 1e-9


@pytest.mark.quirk("pndm-mixed-v", "diffusers", "paper")
@pytest.mark.parametrize("skip", [False, True])
def test_pndm_sums_velocities_of_several_levels(skip: bool) -> None:
    config = {"prediction_type": "v_prediction", "skip_prk_steps": skip}
    assert strayed(20, **config) > 0.05
    assert strayed(20, **config, compat="paper") < 1e-9


@pytest.mark.quirk("dpm-third-order", "diffusers", "paper")
def test_third_order_of_dpm_solver() -> None:
    name = "DPMSolverMultistepScheduler"
    assert slope(name, COUNTS, {**THIRD, "compat": "diffusers"}) == pytest.approx(2, abs=0.35)
    assert slope(name, COUNTS, THIRD) == pytest.approx(3, abs=0.3)


@pytest.mark.quirk("deis-cancellation", "paper")
def test_third_order_of_deis() -> None:
    """Upstream's float32 integrals cancel (observed slope 0.3); there is one side, the mathematics."""
    for compat in ("diffusers", "paper"):
        config = {**THIRD, "compat": compat}
        assert slope("DEISMultistepScheduler", COUNTS, config) == pytest.approx(3, abs=0.3)


@pytest.mark.quirk("deis-flow-noise", "diffusers", "paper")
def test_deis_reads_a_flow_prediction_off_the_flow_with_rho_for_sigma() -> None:
    name, config = "DEISMultistepScheduler", {"prediction_type": "flow_prediction"}
    assert miss(name, 10, **config) > 0.1
    assert miss(name, 10, **config, compat="paper") < 1e-9


@pytest.mark.quirk("sde-half-sign", "diffusers", "paper")
def test_third_order_sde_does_not_vanish_with_the_step() -> None:
    def last_weight(compat: str) -> float:
        """Weight on the third prediction over the step size, in the middle of a fine grid."""
        scheduler = make(
            "DPMSolverMultistepScheduler", 200, solver_order=3, algorithm_type="sde-dpmsolver++",
            use_exponential_sigmas=True, compat=compat,
        )  # fmt: skip
        stage, row = scheduler.stages[100], scheduler.row(100)
        return abs(row.x0[2]) / (stage.target.lam - stage.here.lam)

    assert last_weight("diffusers") > 3 * last_weight("paper")


@pytest.mark.quirk("sde-half-sign-singlestep", "diffusers", "paper")
def test_third_order_singlestep_sde_does_not_vanish_with_the_step() -> None:
    def middle_weight(compat: str) -> float:
        """Weight on the middle prediction over the step size, in the middle of a fine grid."""
        scheduler = make(
            "DPMSolverSinglestepScheduler", 201, solver_order=3, algorithm_type="sde-dpmsolver++",
            solver_type="heun", use_exponential_sigmas=True, compat=compat,
        )  # fmt: skip
        stage, row = scheduler.stages[101], scheduler.row(101)
        return abs(row.x0[1]) / (stage.target.lam - stage.here.lam)

    assert middle_weight("diffusers") > 3 * middle_weight("paper")


@pytest.mark.quirk("sde-variance", "diffusers")
def test_plain_sde_dpmsolver_adds_too_much() -> None:
    scheduler = make(
        "DPMSolverMultistepScheduler",
        algorithm_type="sde-dpmsolver",
        solver_order=1,
        final_sigmas_type="sigma_min",
    )
    for i, stage in enumerate(scheduler.stages):
        row = scheduler.row(i)
        h = stage.target.lam - stage.here.lam
        assert h > 0.0 and stage.target.sigma > 0.0
        on_eps = row.x[0] * stage.here.sigma + sum(row.eps)
        found = (on_eps**2 + row.noise**2) / stage.target.sigma**2
        assert found == pytest.approx(1 + 2 * math.expm1(h) ** 2, rel=1e-9)


@pytest.mark.quirk("karras-ve-squared", "diffusers", "paper")
def test_karras_ve_schedule_is_squared() -> None:
    quirk, paper = make("KarrasVeScheduler"), make("KarrasVeScheduler", compat="paper")
    assert max(float(s) for s in quirk.schedule) == pytest.approx(1e4)
    assert max(float(s) for s in paper.schedule) == pytest.approx(100.0)


@pytest.mark.quirk("half-data-prediction", "paper")
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"])
def test_half_in_half_out(name: str) -> None:
    scheduler = make(name, tensor_format="np")
    x = noise(1).astype(np.float16)
    shown = scheduler.scale_model_input(x, scheduler.timesteps[0])
    out = scheduler.step(shown, scheduler.timesteps[0], x)
    assert out.pred_original_sample.dtype == np.float16


@pytest.mark.quirk("sde-third-order-crash", "paper")
def test_third_order_with_plain_sde_is_first_order_where_the_noise_is_constant() -> None:
    """Three predictions, of which only differences are added to what the first order does."""

    def row(order: int) -> Coefficients:
        return make(
            "DPMSolverMultistepScheduler", 20, algorithm_type="sde-dpmsolver", solver_order=order,
            final_sigmas_type="sigma_min",
        ).row(10)  # fmt: skip

    third, first = row(3), row(1)
    assert len(third.eps) == 3 and all(third.eps) and not any(third.x0)
    assert sum(third.eps) == pytest.approx(first.eps[0], rel=1e-9)
    assert (third.x[0], third.noise) == pytest.approx((first.x[0], first.noise), rel=1e-12)


@pytest.mark.quirk("still-step", "paper")
@pytest.mark.parametrize(
    "curve", ["use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"]
)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["dpmsolver", "dpmsolver++", "sde-dpmsolver++"])
def test_a_step_of_no_length_is_the_identity(algorithm: str, order: int, curve: str) -> None:
    """Curves that end at sigma_min, then final_sigmas_type="sigma_min": NaN upstream."""
    scheduler = make(
        "DPMSolverMultistepScheduler", algorithm_type=algorithm, solver_order=order, final_sigmas_type="sigma_min",
        lower_order_final=False, **{curve: True},
    )  # fmt: skip
    top = noise(1)
    run = walk(scheduler, lambda i, x: np.tanh(noise(i)), top, generator=np.random.default_rng(1))
    *_, last = run
    assert np.isfinite(last.after).all()
    assert np.abs(last.after - last.shown).max() <= 1e-6


@pytest.mark.quirk("still-step", "paper")
@pytest.mark.parametrize(
    ("name", "curve"),
    [
        ("UniPCMultistepScheduler", {"use_beta_sigmas": True}),
        ("UniPCMultistepScheduler", {"use_karras_sigmas": True}),
        ("EDMDPMSolverMultistepScheduler", {"sigma_schedule": "exponential"}),
    ],
)
def test_a_still_step_of_third_order(name: str, curve: dict[str, object]) -> None:
    settings = {"solver_order": 3, "final_sigmas_type": "sigma_min", "lower_order_final": False}
    scheduler = make(name, 6, **settings, **curve)
    *_, last = walk(scheduler, lambda i, x: np.tanh(noise(i)), noise(1))
    assert np.isfinite(last.after).all()
    assert scheduler.row(5).x[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.quirk("ddpm-log-root", "paper")
@pytest.mark.parametrize("name", ["DDPMScheduler", "DDPMParallelScheduler"])
def test_the_log_variance_is_that_of_the_variance(name: str) -> None:
    rows = [
        [make(name, 10, variance_type=kind).row(i) for i in range(10)]
        for kind in ("fixed_large", "fixed_large_log")
    ]
    assert all(row.noise > 0.0 for row in rows[1][:-1])
    for a, b in zip(*rows, strict=True):
        assert (*a.x, *a.x0, a.noise) == pytest.approx((*b.x, *b.x0, b.noise))


@pytest.mark.quirk("ancestral-cancellation", "paper")
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("EulerAncestralDiscreteScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
        ("DPMPP2SAncestralScheduler", {"timestep_spacing": "linspace"}),
    ],
)
def test_long_ancestral_steps(name: str, config: dict[str, object]) -> None:
    scheduler = make(name, 4, **config)
    stage, row = scheduler.stages[0], scheduler.row(0)
    sigma, landing = stage.here.sigma, stage.target.sigma
    kept = sum(row.x) * sigma + sum(row.eps)  # of the noise that is there
    assert math.hypot(kept, row.noise) == pytest.approx(landing, rel=1e-9)
    if scheduler.order == 1:
        assert kept == pytest.approx(landing**2 / sigma, rel=1e-6)


@pytest.mark.quirk("given-flow-times", "paper")
@pytest.mark.parametrize("name", ["DPMSolverSinglestepScheduler", "DPMSolverMultistepScheduler"])
def test_times_given_to_a_flow(name: str) -> None:
    scheduler = SCHEDULERS[name](use_flow_sigmas=True, prediction_type="flow_prediction")
    scheduler.set_timesteps(timesteps=[900, 600, 300])
    found = [(stage.t, stage.here.sigma) for stage in scheduler.stages]
    assert found == [(t, pytest.approx(t / 1000)) for t in (900, 600, 300)]


@pytest.mark.quirk("idle-last-draw", "paper")
@pytest.mark.parametrize(
    ("name", "config", "step"),
    [
        ("DDIMScheduler", {}, {"eta": 0.5}),
        ("DDIMParallelScheduler", {}, {"eta": 0.5}),
        ("EulerDiscreteScheduler", {"prediction_type": "sample"}, {"s_churn": 5.0}),
        ("EulerAncestralDiscreteScheduler", {}, {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
        ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
        ("EDMDPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
        ("CMStochasticIterativeScheduler", {}, {}),
        ("TCDScheduler", {}, {}),
        ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, {}),
        ("FlowMatchLCMScheduler", {}, {}),
    ],
)
def test_noise_that_weighs_nothing_is_not_drawn(
    name: str, config: dict[str, object], step: dict[str, object]
) -> None:
    """A draw before the last step, none in it."""
    scheduler = make(name, 3, **config)
    generator, drawn, x = np.random.default_rng(1), [], noise(1)
    for t in scheduler.timesteps:
        before = generator.bit_generator.state
        shown = scheduler.scale_model_input(x, t)
        x = scheduler.step(np.tanh(shown), t, x, generator=generator, **step).prev_sample
        drawn.append(generator.bit_generator.state != before)
    assert any(drawn) and not drawn[-1]


@pytest.mark.quirk("zero-signal", "paper")
@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "LCMScheduler"])
def test_a_noise_prediction_without_signal(name: str) -> None:
    scheduler = make(name, 5, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(ValueError, match="prediction_type='epsilon'"):
        scheduler.step(noise(2), scheduler.timesteps[0], noise(1))


@pytest.mark.quirk("first-time-twice", "paper")
@pytest.mark.parametrize("name", [q.classes for q in QUIRKS if q.slug == "first-time-twice"][0])
def test_a_first_time_that_occurs_twice(name: str) -> None:
    """Not told where it begins, a run begins at its first call, and makes all of them."""
    high = {"sigma_max": 700.0} if name == "EulerDiscreteScheduler" else {}
    scheduler = make(
        name,
        20,
        use_karras_sigmas=True,
        beta_schedule="linear" if high else "squaredcos_cap_v2",
        **high,
    )
    times = scheduler.timesteps.tolist()
    assert times.count(times[0]) > 1
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    x = noise(1)
    for done, t in enumerate(scheduler.timesteps, 1):
        draw = {"generator": np.random.default_rng(done)} if takes_noise else {}
        scheduler.scale_model_input(x, t)
        x = scheduler.step(noise(2), t, x, **draw).prev_sample
        assert scheduler.step_index == done
    assert np.isfinite(x).all()


@pytest.mark.quirk("trailing-extra", "diffusers", "paper")
@pytest.mark.parametrize("name", [q.classes for q in QUIRKS if q.slug == "trailing-extra"][0])
@pytest.mark.parametrize("steps", [61, 103, 121])
def test_trailing_counts_one_time_too_many(name: str, steps: int) -> None:
    def times(compat: str) -> list[float]:
        return list(make(name, steps, timestep_spacing="trailing", compat=compat).timesteps)

    theirs, paper = times("diffusers"), times("paper")
    assert min(theirs) == -1.0 and min(paper) >= 0.0
    assert len(theirs) > len(paper) == SCHEDULERS[name]().calls_of(steps)


@pytest.mark.quirk("dpm2-midpoint-noise", "diffusers", "paper")
@pytest.mark.parametrize("name", MIDPOINTS)
def test_noise_for_a_midpoint_goes_to_the_level_after_it(name: str) -> None:
    def noised(compat: str) -> float:
        scheduler = make(name, 10, compat=compat, tensor_format="np")
        one = np.ones((1, 1))
        return float(scheduler.add_noise(0.0 * one, one, scheduler.timesteps[[3]]).item())

    stage = make(name, 10).stages[3]
    assert noised("diffusers") == pytest.approx(stage.target.sigma, rel=1e-6)
    assert noised("paper") == pytest.approx(stage.here.sigma, rel=1e-6)


@pytest.mark.quirk("dpm2-midpoint-start", "paper")
@pytest.mark.parametrize("name", MIDPOINTS[:3])
def test_a_run_that_starts_at_a_midpoint_goes_on_from_there(name: str) -> None:
    """Upstream mistakes the midpoint for the level after it; ours takes an ordinary step."""
    x0, z = np.tanh(noise(1)), noise(2)
    scheduler = make(name, 10)
    stage = scheduler.stages[3]
    x = x0 + stage.here.sigma * z
    run = walk(scheduler, lambda *_: x0, x, 3, np.random.default_rng(1), stop=4)
    (moment,) = run
    fresh = scheduler.row(3).noise * np.random.default_rng(1).standard_normal(x.shape)
    left = moment.after - x0
    if name == "KDPM2DiscreteScheduler":
        assert np.abs(left - stage.target.sigma * z).max() < 1e-9
    else:
        assert left.std() == pytest.approx(stage.target.sigma, rel=0.4)
        assert np.abs(fresh).max() > 0


@pytest.mark.quirk("dpm-sde-copy", "paper")
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_seeded_run_of_dpm_sde_can_be_copied(clone: Callable[[object], object]) -> None:
    scheduler = make("DPMSolverSDEScheduler", 4, noise_sampler_seed=3)
    x0, top = np.tanh(noise(1)), noise(2)
    expected = [m.after for m in walk(scheduler, lambda *_: x0, top)]
    scheduler.set_timesteps(4)
    *_, last = walk(scheduler, lambda *_: x0, top, stop=3)
    rest = walk(clone(scheduler), lambda *_: x0, last.after, 3, resume=True)
    assert all(np.array_equal(a, m.after) for a, m in zip(expected[3:], rest, strict=True))


@pytest.mark.quirk("dpm-sde-generator", "paper")
@pytest.mark.parametrize("seed", [None, 3])
def test_the_generator_decides_the_noise_of_dpm_sde(seed: int | None) -> None:
    """Unless noise_sampler_seed does."""

    def end(owner: int) -> np.ndarray:
        scheduler = make("DPMSolverSDEScheduler", 3, noise_sampler_seed=seed)
        rng = np.random.default_rng(owner)
        *_, last = walk(scheduler, lambda i, _: np.tanh(noise(i)), noise(9), generator=rng, stop=3)
        return last.after

    assert np.array_equal(end(1), end(1))
    assert np.array_equal(end(1), end(2)) == (seed is not None)


@pytest.mark.quirk("dpm2a-cancellation", "diffusers", "paper")
def test_midpoints_of_long_ancestral_steps() -> None:
    """The log-midpoint of sigma and sigma_down is sigma_next, but for upstream's cancellation."""

    def gap(compat: str, steps: int = 17, **config: object) -> float:
        scheduler = make("KDPM2AncestralDiscreteScheduler", steps, compat=compat, **config)
        inner = scheduler.stages[1::2]
        return max(abs(stage.here.sigma / stage.target.sigma - 1) for stage in inner)

    assert gap("diffusers", beta_schedule="squaredcos_cap_v2") > 1e-3
    assert gap("paper", beta_schedule="squaredcos_cap_v2") < 1e-12
    # two steps over 4000 training steps: NaN upstream, the quotient here
    assert gap("diffusers", steps=2, num_train_timesteps=4000) < 1e-12


@pytest.mark.quirk("euler-velocity", "diffusers", "paper")
def test_velocity_at_a_position_or_at_a_time() -> None:
    def velocity(compat: str) -> float:
        scheduler = make("EulerDiscreteScheduler", 20, compat=compat, tensor_format="np")
        one = np.ones((1, 1))
        return float(scheduler.get_velocity(one, 0.0 * one, np.array([999])).item())

    assert velocity("diffusers") == pytest.approx(-0.01, abs=1e-3)
    assert velocity("paper") == pytest.approx(-1.0, abs=1e-3)


@pytest.mark.quirk("karras-ve-idle-noise", "diffusers", "paper")
def test_noise_that_weighs_nothing() -> None:
    def drawn(compat: str) -> bool:
        scheduler = make("KarrasVeScheduler", s_churn=0.0, compat=compat)
        generator = np.random.default_rng(1)
        scheduler.add_noise_to_input(noise(1), 1.0, generator)
        return bool(generator.random() != np.random.default_rng(1).random())

    assert drawn("diffusers")
    assert not drawn("paper")


def data_prediction(name: str, **config: object) -> float:
    """What is read, at the middle of a run, of the output of a model that answers x0 = 1."""
    found = []
    for compat in ("paper", "diffusers"):
        scheduler = make(name, 10, **config, compat=compat)
        here = scheduler.stages[5].here
        _, on_x0 = inverse(reading(scheduler.prediction_type, here), here)
        output, x = np.full((1, 1), on_x0), np.zeros((1, 1))
        found.append(float(scheduler.predict_x0(output, scheduler.timesteps[5], x).item()))
    assert found[0] == pytest.approx(1.0)
    return found[1]


OPEN_GRID = sorted(
    {c for q in QUIRKS if q.slug in ("v-on-flow", "flow-off-flow") for c in q.classes}
)


@pytest.mark.quirk("v-on-flow", "diffusers", "paper")
@pytest.mark.parametrize("name", OPEN_GRID)
def test_v_on_the_flow_is_read_as_if_on_a_circle(name: str) -> None:
    found = data_prediction(name, prediction_type="v_prediction", use_flow_sigmas=True)
    assert found == pytest.approx(make(name, 10, use_flow_sigmas=True).stages[5].here.scale)


@pytest.mark.quirk("flow-off-flow", "diffusers", "paper")
@pytest.mark.parametrize("name", OPEN_GRID)
def test_a_flow_prediction_off_the_flow_is_read_with_rho(name: str) -> None:
    found = data_prediction(name, prediction_type="flow_prediction")
    here = make(name, 10).stages[5].here
    assert found == pytest.approx((here.alpha + here.sigma) / here.alpha)


EDM, EDM_DPM = "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"


@pytest.mark.quirk("dpm-third-order", "diffusers", "paper")
def test_third_order_of_the_inverse() -> None:
    """Of predictions that are a parabola in lam, the step up takes half of the integral."""
    for compat, share in (("diffusers", 0.5), ("paper", 1.0)):
        scheduler = make(INVERSE, 20, solver_order=3, compat=compat)
        here, target = scheduler.stages[9].here, scheduler.stages[9].target
        h = target.lam - here.lam
        places = [(scheduler.stages[9 - k].here.lam - here.lam) / h for k in range(3)]
        found = sum(w * s**2 for w, s in zip(scheduler.row(9).x0, places, strict=True))
        assert found == pytest.approx(share * 2 * target.alpha * psi(2, h))


@pytest.mark.quirk("dpm-third-order", "diffusers", "paper")
def test_third_order_of_edm() -> None:
    config = {"solver_order": 3, "lower_order_final": False, "sigma_schedule": "exponential"}
    for compat, order in (("diffusers", 2), ("paper", 3)):
        found = slope(EDM_DPM, COUNTS, {**config, "compat": compat})
        assert found == pytest.approx(order, abs=0.35)


@pytest.mark.quirk("edm-churn-reading", "diffusers", "paper")
def test_what_was_asked_before_the_churn() -> None:
    x0, eps = np.tanh(noise(1)), noise(2)

    def off(compat: str) -> float:
        scheduler = make(EDM, 20, compat=compat, tensor_format="np")
        worst = 0.0
        for i, stage in enumerate(scheduler.stages):
            x = x0 + stage.here.sigma * eps
            scheduler.scale_model_input(x, scheduler.timesteps[i])
            output = model_output(scheduler, i, x, x0)
            out = scheduler.step(
                output, scheduler.timesteps[i], x, s_churn=20.0, s_noise=0.0,
                generator=np.random.default_rng(1),
            )  # fmt: skip
            worst = max(worst, float(np.abs(out.pred_original_sample - x0).max()))
        return worst

    assert off("diffusers") > 0.1
    assert off("paper") < 1e-9


@pytest.mark.quirk("edm-sigmas-ramp", "diffusers", "paper")
def test_custom_sigmas_of_edm() -> None:
    theirs, paper = SCHEDULERS[EDM](), SCHEDULERS[EDM](compat="paper")
    theirs.set_timesteps(sigmas=[0.0, 1.0])
    assert theirs.sigmas.tolist() == pytest.approx([80.0, 0.002, 0.0])
    paper.set_timesteps(sigmas=[10.0, 1.0, 0.1])
    assert paper.sigmas.tolist() == pytest.approx([10.0, 1.0, 0.1])
    assert len(paper.stages) == 2


@pytest.mark.quirk("edm-rounded-ramp", "diffusers", "paper")
@pytest.mark.parametrize("name", [EDM_DPM, "CosineDPMSolverMultistepScheduler"])
def test_levels_at_rounded_places(name: str) -> None:
    def gap(compat: str) -> float:
        """By how much a level misses the one at its place."""
        scheduler = make(name, 20, sigma_schedule="karras", compat=compat)
        low, high = (scheduler.config[end] ** (1 / 7) for end in ("sigma_min", "sigma_max"))
        exact = (high + np.linspace(0, 1, 20) * (low - high)) ** 7
        return float(np.abs([s.here.sigma for s in scheduler.stages] / exact - 1).max())

    assert gap("diffusers") > 9e-7
    assert gap("paper") < 1e-7  # what float32 makes of exact levels


@pytest.mark.quirk("edm-one-exponential", "diffusers", "paper")
@pytest.mark.parametrize("name", [EDM, EDM_DPM])
def test_one_exponential_step(name: str) -> None:
    config = {"sigma_schedule": "exponential"}
    assert make(name, 1, **config).stages[0].here.sigma == pytest.approx(0.002)
    assert make(name, 1, **config, compat="paper").stages[0].here.sigma == pytest.approx(80.0)


@pytest.mark.quirk("edm-sde-third-order", "paper")
def test_third_order_of_stochastic_edm() -> None:
    rows = [
        make(EDM_DPM, 20, solver_order=3, algorithm_type="sde-dpmsolver++", compat=compat).row(9)
        for compat in ("diffusers", "paper")
    ]
    assert len(rows[0].x0) == 3
    assert rows[0].x0 == pytest.approx(rows[1].x0, rel=1e-4)  # upstream's levels are float32


@pytest.mark.quirk("cosine-still-step", "paper")
def test_a_still_step_of_the_cosine_solver() -> None:
    scheduler = make("CosineDPMSolverMultistepScheduler", 5, final_sigmas_type="sigma_min")
    last = scheduler.row(4)
    assert last.x[0] == pytest.approx(1.0, abs=1e-6) and last.noise == 0.0


FLOW, FLOW_HEUN = "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"


@pytest.mark.quirk("flow-shift-twice", "diffusers", "paper")
@pytest.mark.parametrize("name", [FLOW, FLOW_HEUN])
def test_a_flow_is_shifted_twice(name: str) -> None:
    def last(compat: str) -> float:
        return float(make(name, 10, shift=3.0, compat=compat).sigmas[-2])

    assert last("diffusers") == pytest.approx(0.0089, abs=1e-4)
    assert last("paper") == pytest.approx(3 / 1002, rel=1e-6)


@pytest.mark.quirk("flow-churn", "diffusers", "paper")
def test_churn_on_a_flow() -> None:
    """By the paper the rows of a churned step still land on the path, and noise is drawn once."""

    def draws(compat: str) -> int:
        scheduler = make(FLOW_HEUN, 10, compat=compat)
        source = np.random.default_rng(1)
        top = noise(1)
        list(walk(scheduler, lambda _, x: 0 * x, top, generator=source, s_churn=4.0, s_noise=1.0))
        drawn, again = 0, np.random.default_rng(1)
        while again.bit_generator.state != source.bit_generator.state:
            again.standard_normal(top.shape)
            drawn += 1
        return drawn

    churn = {"s_churn": 4.0}
    for compat, exact in (("diffusers", False), ("paper", True)):
        scheduler = make(FLOW_HEUN, 10, compat=compat)
        for i in range(2, len(scheduler.stages) - 1, 2):
            here, target = scheduler.stages[i].here, scheduler.stages[i].target
            row = scheduler.row(i, churn)
            signal = row.x[0] * here.alpha + sum(row.x0)
            spread = math.hypot(row.x[0] * here.sigma + sum(row.eps), row.noise)
            off = max(abs(signal - target.alpha), abs(spread - target.sigma))
            assert off < 1e-9 if exact else off > 1e-2
    assert draws("diffusers") == 10 + 9
    assert draws("paper") == 8  # pure noise is not raised, and a step to 0 keeps none of it


@pytest.mark.quirk("flow-custom-times", "diffusers", "paper")
def test_a_flow_at_given_times() -> None:
    def level(compat: str) -> float:
        scheduler = SCHEDULERS[FLOW](shift=3.0, compat=compat)
        scheduler.set_timesteps(timesteps=[1000.0, 500.0])
        assert scheduler.timesteps.tolist() == [1000.0, 500.0]
        return float(scheduler.stages[1].here.sigma)

    assert level("diffusers") == pytest.approx(0.75)
    assert level("paper") == pytest.approx(0.5)


@pytest.mark.quirk("flow-inverted-noise", "diffusers", "paper")
def test_an_inverted_flow_with_noise() -> None:
    def ends(compat: str) -> tuple[float, float]:
        """How much noise is left at the end of a run, and added at its first time."""
        scheduler = make(FLOW, invert_sigmas=True, stochastic_sampling=True, compat=compat)
        x0, z = np.tanh(noise(1)), noise(2)
        *_, last = walk(scheduler, lambda *_: x0, z, generator=np.random.default_rng(1))
        noised = make(FLOW, invert_sigmas=True, compat=compat, tensor_format="np")
        added = noised.scale_noise(x0, noised.timesteps[:1], z) - x0
        return float((last.after - x0).std()), float(added.std())

    left, added = ends("diffusers")
    assert left > 0.5 and added == 0.0
    left, added = ends("paper")
    assert left < 1e-9 and added > 0.5


@pytest.mark.quirk("flow-token-sign", "diffusers", "paper")
def test_tokens_with_times_of_their_own() -> None:
    x0, eps = np.tanh(noise(1, (2, 4, 3))), noise(2, (2, 4, 3))
    sigma = np.array([[1.0, 0.5, 0.3, 0.0], [0.8, 0.8, 0.8, 0.8]])
    x = (1 - sigma[..., None]) * x0 + sigma[..., None] * eps
    for compat, sign in (("diffusers", -1.0), ("paper", 1.0)):
        scheduler = make(FLOW, 6, compat=compat, tensor_format="np")
        out = scheduler.step(
            sign * (eps - x0), scheduler.timesteps[0], x, per_token_timesteps=1000 * sigma
        )
        assert np.abs(out.pred_original_sample - x0).max() < 1e-9
        # on the straight path at the largest level below each token's own
        levels = np.array([s.here.sigma for s in scheduler.stages] + [0.0])
        below = [max((v for v in levels if v < own - 1e-6), default=0.0) for own in sigma.flat]
        target = np.reshape(below, (2, 4, 1))
        assert np.abs(out.prev_sample - (1 - target) * x0 - target * eps).max() < 1e-9


@pytest.mark.quirk("flow-stretch-one", "paper")
def test_a_single_step_is_not_stretched() -> None:
    for compat in ("diffusers", "paper"):
        scheduler = make(FLOW, 1, shift_terminal=0.1, compat=compat)
        assert scheduler.stages[0].here.sigma == 1.0
        assert make(FLOW, 5, shift_terminal=0.1, compat=compat).stages[-1].here.sigma == (
            pytest.approx(0.1)
        )


@pytest.mark.quirk("euler-late-churn", "diffusers")
def test_churn_after_the_model_was_asked() -> None:
    scheduler = make("EulerDiscreteScheduler", 20)
    here, target = scheduler.stages[10].here, scheduler.stages[10].target
    row = scheduler.row(10, {"s_churn": 20.0})
    found = (here.sigma * row.x[0] + row.eps[0]) ** 2 + row.noise**2
    assert found / target.sigma**2 == pytest.approx(1.94, abs=0.01)
    calm = scheduler.row(10)
    assert here.sigma * calm.x[0] + calm.eps[0] == pytest.approx(target.sigma)


INVERSE = "DPMSolverMultistepInverseScheduler"


@pytest.mark.quirk("inverse-dropped-times", "diffusers", "paper")
def test_the_inverse_drops_times() -> None:
    loose = make(INVERSE, 200, use_karras_sigmas=True)
    kept = make(INVERSE, 200, use_karras_sigmas=True, compat="paper")
    assert loose.timesteps.tolist() == kept.timesteps.tolist()
    assert (len(loose.timesteps), len(loose.sigmas), len(kept.sigmas)) == (193, 201, 194)
    assert loose.stages[-1].target.rho == pytest.approx(134.2, abs=0.1)
    assert kept.stages[-1].target.rho == pytest.approx(157.4, abs=0.1)


@pytest.mark.quirk("inverse-flow-down", "diffusers", "paper")
def test_the_inverse_of_a_flow() -> None:
    for compat, up in (("diffusers", False), ("paper", True)):
        sigmas = make(INVERSE, 10, use_flow_sigmas=True, compat=compat).sigmas
        assert bool(sigmas[-1] > sigmas[0]) == up


@pytest.mark.quirk("inverse-swapped-ends", "diffusers", "paper")
@pytest.mark.parametrize("curve", ["karras", "exponential", "beta"])
def test_the_inverse_between_the_ends_of_a_sibling(curve: str) -> None:
    config = {f"use_{curve}_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0}
    for compat, ends in (("diffusers", (10.0, 0.1)), ("paper", (0.1, 10.0))):
        scheduler = SCHEDULERS[INVERSE].from_config(config, compat=compat)
        scheduler.set_timesteps(8)
        found = scheduler.stages[0].here.rho, scheduler.stages[-1].here.rho
        assert found == pytest.approx(ends, rel=1e-6)


@pytest.mark.quirk("inverse-sde", "paper")
@pytest.mark.parametrize("form", ["dpmsolver", "dpmsolver++"])
def test_the_inverse_of_an_sde_is_that_of_the_ode(form: str) -> None:
    rows = [
        [
            make(INVERSE, solver_order=3, algorithm_type=kind, compat="paper").row(i)
            for i in range(6)
        ]
        for kind in (form, f"sde-{form}")
    ]
    assert all(row.noise == 0.0 for row in rows[1])
    for a, b in zip(*rows, strict=True):
        assert (a.x, a.x0) == (b.x, b.x0)


@pytest.mark.quirk("sa-idle-noise", "diffusers", "paper")
def test_sa_solver_draws_where_nothing_is_added() -> None:
    for compat, drawn in (("diffusers", True), ("paper", False)):
        generator, untouched = np.random.default_rng(1), np.random.default_rng(1)
        scheduler = make("SASolverScheduler", compat=compat)
        next(walk(scheduler, lambda *_: noise(2), noise(1), generator=generator))
        assert scheduler.row(0).noise == 0.0
        assert (generator.random() != untouched.random()) == drawn


def test_a_bad_tau_is_named() -> None:
    for tau in (-1.0, math.nan, "much", None):
        scheduler = SCHEDULERS["SASolverScheduler"](tau_func=lambda t, tau=tau: tau)
        scheduler.set_timesteps(5)
        with pytest.raises((ValueError, TypeError), match="tau_func"):
            scheduler.row(0)


UNIPC = "UniPCMultistepScheduler"


@pytest.mark.quirk("unipc-half", "diffusers", "paper")
def test_unipc_takes_a_half_for_the_integral() -> None:
    for compat in ("diffusers", "paper"):
        scheduler = make(UNIPC, 10, use_exponential_sigmas=True, compat=compat)
        base, new = (scheduler.stages[i].here for i in (0, 1))
        added, taken = scheduler.corrector_row(1).x0
        h = new.lam - base.lam
        slope = 0.5 * -math.expm1(-h) if compat == "diffusers" else 1 + math.expm1(-h) / h
        assert added == pytest.approx(new.alpha * slope)
        assert added + taken == pytest.approx(0.0, abs=1e-15)


@pytest.mark.quirk("unipc-last-step", "paper")
@pytest.mark.parametrize(
    "config",
    [{"solver_type": "bh1"}, {"predict_x0": False}, {"lower_order_final": False}],
    ids=str,
)
def test_unipc_ends_clean(config: dict[str, object]) -> None:
    for compat in ("diffusers", "paper"):
        scheduler = make(UNIPC, solver_order=3, compat=compat, **config)
        *_, last = walk(scheduler, lambda i, _: np.tanh(noise(i)), noise(9))
        noise_left = last.after - last.x0  # of the correction, where the noise is interpolated
        assert np.isfinite(noise_left).all()
        assert np.abs(noise_left).max() < 1e-12 or not scheduler.config.predict_x0


@pytest.mark.quirk("corrector-forgets", "diffusers", "paper")
def test_what_is_changed_between_the_steps() -> None:
    change = 0.25
    for compat, kept in (("diffusers", 0.0), ("paper", change)):
        ends = []
        for added in (0.0, change):
            scheduler = make(UNIPC, compat=compat)
            *_, last = walk(scheduler, lambda i, _: np.tanh(noise(i)), noise(9), stop=2)
            x0, x = np.tanh(noise(2)), last.after + added
            output = model_output(scheduler, 2, x, x0)
            ends.append(scheduler.step(output, scheduler.timesteps[2], x).prev_sample)
        expected = kept * scheduler.row(2).x[0]
        assert np.abs(ends[1] - ends[0] - expected).max() < 1e-12


@pytest.mark.quirk("unipc-dimensions", "paper")
def test_unipc_on_samples_of_any_shape() -> None:
    x, ends = noise(1, (3, 4)), []
    for shown in (x.ravel(), x):
        *_, last = walk(make(UNIPC), lambda _, s: np.tanh(s), shown)
        ends.append(last.after.ravel())
    assert np.array_equal(*ends)


# --- the table and its tests ------------------------------------------------------------------


@pytest.fixture(scope="module")
def marked() -> dict[str, set[str]]:
    """Slug -> sides shown, of every mark of a test of the library."""
    found: dict[str, set[str]] = {}
    for path in sorted(Path(__file__).parents[1].glob("*/test_*.py")):
        if path.parent.name in ("laws", "parity"):
            module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
            for test in vars(module).values():
                for mark in getattr(test, "pytestmark", []):
                    if mark.name == "quirk":
                        slug, *sides = mark.args
                        found.setdefault(slug, set()).update(sides)
    return found


def test_slugs_are_unique_and_every_mark_names_one(marked: dict[str, set[str]]) -> None:
    slugs = [quirk.slug for quirk in QUIRKS]
    assert len(set(slugs)) == len(slugs)
    assert set(marked) <= set(slugs)


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.slug)
def test_every_quirk_is_told_and_shown(quirk: Quirk, marked: dict[str, set[str]]) -> None:
    sides = {
        "switch": {"diffusers", "paper"}, "mathematics": {"paper"}, "upstream": {"diffusers"},
    }[quirk.ours]  # fmt: skip
    assert sides <= marked.get(quirk.slug, set()), "mark the tests that show it"
    assert bool(quirk.why) == (quirk.ours != "switch"), "say why there is no switch"
    assert set(quirk.classes) <= set(SCHEDULERS)
    for text in (quirk.upstream, quirk.mathematics, *([quirk.why] if quirk.why else [])):
        assert text.endswith("."), text
    for text in (quirk.title, quirk.where, quirk.shows):
        assert text and not text.endswith("."), text
    for name in quirk.classes or SCHEDULERS:
        defaults = {p.name: p.default for p in SCHEDULERS[name].parameters()}
        if quirk.ours == "switch":
            assert "compat" in defaults, name
        assert quirk.active({**defaults, "steps": 20}) in (True, False)
        assert not (quirk.ours == "switch" and quirk.active({**defaults, "compat": "paper"}))


def test_a_quirk_is_active_where_it_applies() -> None:
    def active(name: str, **settings: object) -> set[str]:
        values = {p.name: p.default for p in SCHEDULERS[name].parameters()} | settings
        return {quirk.slug for quirk in quirks_of(name) if quirk.active(values)}

    ddim = "DDIMScheduler"
    assert active(ddim, steps=20) == set()
    assert active(ddim, steps=30, timestep_spacing="trailing") == {"ddim-stride"}
    assert active(ddim, steps=61, timestep_spacing="trailing") == {
        "ddim-stride", "trailing-extra",
    }  # fmt: skip
    assert active(ddim, steps=61, timestep_spacing="trailing", compat="paper") == set()
    dpm = "DPMSolverMultistepScheduler"
    assert active(dpm, steps=20, solver_order=3, algorithm_type="sde-dpmsolver++") == {
        "dpm-third-order", "sde-half-sign",
    }  # fmt: skip
    assert "karras-ve-squared" in active("KarrasVeScheduler", steps=20)


# --- the table and the code -------------------------------------------------------------------

LIBRARY = Path(quirks.__file__).parents[1]
#: What the code is, but for the table itself.
#: But for the rooms that tell of quirks and follow none.
SOURCES = [
    path
    for path in sorted(LIBRARY.rglob("*.py"))
    if path.parent.name not in ("facts", "diagnostics")
]
#: Who else may name the two sides: who holds ``compat``, who describes it, and the model card,
#: which says where a class is from.
HOLDERS = {"core/scheduler.py", "interface/config.py", "interface/params.py", "interface/card.py"}
SIDES = {"compat", "paper", "diffusers"}


def module_of(path: Path) -> ModuleType:
    """The module of a source."""
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def questions(path: Path) -> list[tuple[str, ast.expr]]:
    """Every question whether a quirk is followed: what is asked, and the slug as it is written."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            asked = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if asked in ("follows", "followed"):
                found.append((asked, node.args[0]))
    return found


def askers() -> Iterator[tuple[str, list[type[Scheduler]]]]:
    """Slugs, each with the classes of the module that asks for it; those it names if it has none."""
    for path in SOURCES:
        module = module_of(path)
        known = [c for c in vars(module).values() if isinstance(c, type)]
        known = [c for c in known if issubclass(c, Scheduler)]
        own = [c for c in known if c.__module__ == module.__name__]
        for _, slug in questions(path):
            if isinstance(slug, ast.Constant):
                yield slug.value, own or known


def constants(path: Path) -> Iterator[ast.Constant]:
    """Strings of a source, but for the default of a parameter ``compat``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defaults = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            with_default = node.args.args[::-1][: len(node.args.defaults)]
            pairs = zip(with_default, node.args.defaults[::-1], strict=True)
            defaults |= {id(default) for arg, default in pairs if arg.arg == "compat"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in defaults:
                yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_the_code_names_quirks_where_it_follows_them(path: Path) -> None:
    """Every slug in it is one that compat switches, and is asked for; no side is named else."""
    place = path.relative_to(LIBRARY).as_posix()
    asked = [slug for _, slug in questions(path)]
    if place == "core/scheduler.py":
        asked = [slug for slug in asked if not isinstance(slug, ast.Name)]  # it hands one on
    assert all(isinstance(slug, ast.Constant) and slug.value in SWITCHES for slug in asked)
    lines = {(slug.lineno, slug.col_offset) for slug in asked}
    slugs = {quirk.slug for quirk in QUIRKS}
    for text in constants(path):
        if text.value in slugs:
            assert (text.lineno, text.col_offset) in lines, f"{text.value} is not asked for"
        if text.value in SIDES:
            assert place in HOLDERS, f"line {text.lineno}: ask for a quirk by its slug"
        # A description names the quirk that a field is set by: (``slug``).
        assert set(re.findall(r"\(``([a-z0-9]+(?:-[a-z0-9]+)+)``\)", text.value)) <= SWITCHES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
            assert not any(getattr(part, "value", None) in SIDES for part in parts)
        named = [getattr(node, name, None) for name in ("arg", "attr")]
        if isinstance(node, ast.AnnAssign):
            named.append(getattr(node.target, "id", None))
        assert "paper" not in named, "a field is named by what it does"
        assert getattr(node, "attr", None) != "compat", "ask for a quirk by its slug"


def test_who_asks_for_a_quirk_has_it() -> None:
    """Itself, or a class that stands on it; and whoever has one stands on a class that asks."""
    asking: dict[str, list[type[Scheduler]]] = {}
    for slug, classes in askers():
        asking.setdefault(slug, []).extend(classes)
        having = [
            SCHEDULERS[name] for quirk in QUIRKS if quirk.slug == slug for name in quirk.classes
        ]
        assert any(issubclass(one, cls) for one in having for cls in classes), slug
    assert set(asking) == SWITCHES
    for quirk in QUIRKS:
        if quirk.slug in SWITCHES:
            for name in quirk.classes:
                assert issubclass(SCHEDULERS[name], tuple(asking[quirk.slug])), (quirk.slug, name)


def test_only_what_compat_switches_can_be_asked_for() -> None:
    scheduler = SCHEDULERS["DDIMScheduler"]()
    assert scheduler.follows("ddim-stride")
    assert not SCHEDULERS["DDIMScheduler"](compat="paper").follows("ddim-stride")
    for slug in ("ddim-strides", "zero-signal", "euler-late-churn"):
        with pytest.raises(ValueError, match=slug):
            scheduler.follows(slug)


def described(scheduler: SchedulerLike) -> list[np.ndarray]:
    """A run in numbers: where the model is asked and led, how it is read, what a step weighs."""
    calls = [(s.t, *s.here, *s.target) for s in scheduler.stages]
    found = [np.maximum(calls, -1.0)]  # every time below 0 is the clean end
    for i, row in enumerate(scheduler.rows()):
        parts = [np.pad(np.array(part, float), (0, 13 - len(part))) for part in row[:3]]
        found.append(np.concatenate([*parts, [row.noise], scheduler.output_weights(i)]))
    return found


@pytest.mark.parametrize("name", SCHEDULERS)
def test_compat_changes_nothing_where_no_quirk_is_active(name: str) -> None:
    """So that none is missing from the table; but for what float32 does to levels."""
    defaults = {p.name: p.default for p in SCHEDULERS[name].parameters()}
    switched = [quirk for quirk in quirks_of(name) if quirk.slug in SWITCHES]
    for settings in singles(name):
        for steps in (6, 61):
            if any(quirk.active({**defaults, **settings, "steps": steps}) for quirk in switched):
                continue
            try:
                runs = [
                    described(make(name, steps, compat=compat, **settings))
                    for compat in ("diffusers", "paper")
                ]
            except ValueError:  # no setting of this class
                continue
            for a, b in zip(*runs, strict=True):
                assert a.shape == b.shape, (settings, steps)
                assert np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True), (settings, steps)


@pytest.mark.quirk("sde-ve-noise", "diffusers", "paper")
def test_reverse_diffusion_adds_more_noise_than_the_level_holds() -> None:
    def excess(compat: str) -> float:
        """Standard deviation reached over that of the level, on a point mass."""
        scheduler = make("ScoreSdeVeScheduler", 10, correct_steps=0, compat=compat)
        stage, row = scheduler.stages[4], scheduler.row(4)
        return math.hypot(stage.here.sigma + row.eps[0], row.noise) / stage.target.sigma

    assert excess("diffusers") == pytest.approx(3.588, abs=1e-3)
    assert excess("paper") == pytest.approx(1.0, abs=1e-12)


@pytest.mark.quirk("sde-ve-truncated-index", "diffusers", "paper")
def test_levels_of_the_ve_sde() -> None:
    def sigmas(steps: int, compat: str) -> list[float]:
        config = {"sampling_eps": 0.3, "correct_steps": 0, "compat": compat}
        return [s.here.sigma for s in make("ScoreSdeVeScheduler", steps, **config).stages]

    assert len(set(sigmas(6, "diffusers"))) == 5
    assert len(set(sigmas(6, "paper"))) == 6
    assert sigmas(1, "diffusers") == pytest.approx([0.01])
    assert sigmas(1, "paper") == pytest.approx([1348.0])


@pytest.mark.quirk("sde-ve-batch-norm", "diffusers", "paper")
def test_a_langevin_step_and_its_company() -> None:
    def corrected(score: np.ndarray, compat: str) -> np.ndarray:
        scheduler = make("ScoreSdeVeScheduler", compat=compat)
        x = noise(1)
        out = scheduler.step_correct(score, x, np.random.default_rng(0))
        first: np.ndarray = out.prev_sample[0]
        return first

    score = noise(2)
    other = np.concatenate([score[:1], 9 * score[1:]])
    assert np.abs(corrected(score, "diffusers") - corrected(other, "diffusers")).max() > 1e-2
    assert np.array_equal(corrected(score, "paper"), corrected(other, "paper"))


@pytest.mark.parametrize("compat", ["diffusers", "paper"])
def test_a_langevin_step_is_its_row_where_the_norms_are_expected(compat: str) -> None:
    """Data at one point: the score is -eps / sigma, and the norms of eps and z differ by chance."""
    scheduler = make("ScoreSdeVeScheduler", compat=compat)
    stage, row = scheduler.stages[4], scheduler.row(4)
    assert stage.here == stage.target
    eps, z = (noise(seed, (2, 40_000)) for seed in (1, 2))
    x = stage.here.sigma * eps
    out = scheduler.step_correct(-x / stage.here.sigma**2, x, np.random.default_rng(2))
    z = np.random.default_rng(2).standard_normal(x.shape, dtype=np.float32)
    expected = row.x[0] * x + row.eps[0] * eps + row.noise * z
    assert np.abs(out.prev_sample - expected).max() <= 0.02 * stage.here.sigma
    assert out.prev_sample.std() == pytest.approx(stage.here.sigma, rel=5e-3)


def test_a_score_of_zero_moves_nothing() -> None:
    scheduler = make("ScoreSdeVeScheduler")
    x = noise(1)
    assert np.array_equal(scheduler.step_correct(0 * x, x).prev_sample, x)


@pytest.mark.quirk("sde-vp-euler", "diffusers", "paper")
def test_euler_maruyama_leaves_the_path() -> None:
    def signal(compat: str) -> float:
        """What the first step makes of a point mass, over what its level holds of it."""
        scheduler = make("ScoreSdeVpScheduler", 10, compat=compat)
        stage, row = scheduler.stages[0], scheduler.row(0)
        return (row.x[0] * stage.here.alpha + sum(row.x0)) / stage.target.alpha

    assert abs(signal("diffusers") - 1) > 0.2
    assert signal("paper") == pytest.approx(1.0, abs=1e-12)


@pytest.mark.quirk("sde-vp-cancellation", "diffusers", "paper")
def test_levels_of_the_vp_sde() -> None:
    def off(compat: str) -> float:
        """By how much the noise of the last level is off, of its size."""
        here = make("ScoreSdeVpScheduler", 20, compat=compat).stages[-1].here
        exact = math.sqrt(-math.expm1(-0.5 * here.t**2 * (20.0 - 0.1) - here.t * 0.1))
        return abs(here.sigma / exact - 1)

    assert off("diffusers") == pytest.approx(1.2e-4, abs=1e-5)
    assert off("paper") < 1e-12


@pytest.mark.quirk("lcm-cut-custom-times", "diffusers", "paper")
def test_lcm_with_a_shortened_list_of_times() -> None:
    def last(compat: str) -> float:
        scheduler = SCHEDULERS["LCMScheduler"](compat=compat)
        scheduler.set_timesteps(timesteps=[999, 759, 499, 19], strength=0.5)
        return scheduler.stages[-1].target.sigma

    assert last("diffusers") > 0.1
    assert last("paper") == 0.0
