"""EDM's samplers: grids, preconditioning and runs equal diffusers'."""

import itertools

import pytest
import torch

from tests.parity.harness import (
    SCHEDULERS,
    Case,
    assert_same_grid,
    assert_same_run,
    take_step,
    unit_noise,
)
from tests.parity.oracle import SchedulerLike, diffusers_scheduler

EULER, DPM = "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"
COSINE = "CosineDPMSolverMultistepScheduler"
NAMES = (EULER, DPM, COSINE)
DENSE = [*range(1, 27), 30, 37, 64, 99, 100, 150, 199, 200]
GRIDS: list[dict[str, object]] = [
    {},
    {"sigma_schedule": "exponential"},
    {"final_sigmas_type": "sigma_min", "rho": 5.0, "num_train_timesteps": 300},
    {"sigma_min": 0.03, "sigma_max": 500.0, "sigma_data": 1.0, "sigma_schedule": "exponential"},
]
CHURN = {"s_churn": 4.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003}


def pair(name: str, **config: object) -> tuple[SchedulerLike, SchedulerLike]:
    return SCHEDULERS[name](**config), diffusers_scheduler(name, **config)


@pytest.mark.parametrize("config", GRIDS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_steps(name: str, config: dict[str, object]) -> None:
    ours, theirs = pair(name, **config)
    assert_same_grid(ours, theirs, "fresh")
    for steps in range(1, 201) if not config else DENSE:
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert_same_grid(ours, theirs, f"{steps} steps")


@pytest.mark.parametrize("schedule", ["karras", "exponential"])
def test_a_ramp_of_sigmas(schedule: str) -> None:
    ramp = torch.tensor([0.0, 0.2, 0.35, 0.9], dtype=torch.float64)
    ours, theirs = pair(EULER, sigma_schedule=schedule)
    ours.set_timesteps(sigmas=ramp)
    theirs.set_timesteps(sigmas=ramp)
    assert_same_grid(ours, theirs)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", NAMES)
def test_preconditioning(name: str, prediction: str) -> None:
    ours, theirs = pair(name, prediction_type=prediction, sigma_data=0.7)
    x, out = unit_noise(1), unit_noise(2)
    for sigma in (0.3, torch.tensor(5.0)):
        torch.testing.assert_close(
            ours.precondition_inputs(x, sigma), theirs.precondition_inputs(x, sigma)
        )
        torch.testing.assert_close(
            ours.precondition_noise(sigma), theirs.precondition_noise(sigma)
        )
        torch.testing.assert_close(
            ours.precondition_outputs(x, out, sigma), theirs.precondition_outputs(x, out, sigma)
        )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("config", GRIDS, ids=str)
def test_euler_runs(config: dict[str, object], prediction: str) -> None:
    for steps, (step, seeds) in itertools.product(
        (1, 2, 9), (({}, (3,)), (CHURN, (3,)), (CHURN, (5, 6)))
    ):
        full = {**config, "prediction_type": prediction}
        assert_same_run(Case(EULER, full, steps, step=step, seeds=seeds))


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("solver", ["midpoint", "heun", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dpm_runs(order: int, solver: str, algorithm: str) -> None:
    if order == 3 and algorithm == "sde-dpmsolver++":
        order = 2  # it crashes upstream
    for config, steps in itertools.product(GRIDS, (2, 9, 16)):
        for lower, euler in ((True, False), (False, True)):
            full = {
                **config,
                "solver_order": order,
                "solver_type": solver,
                "algorithm_type": algorithm,
                "lower_order_final": lower,
                "euler_at_final": euler,
                "thresholding": euler,
            }
            assert_same_run(Case(DPM, full, steps, seeds=(5, 6)))


@pytest.mark.parametrize("name", NAMES)
def test_start_in_the_middle(name: str) -> None:
    for start in (1, 4, 9):
        assert_same_run(Case(name, {}, 10, start=start))


@pytest.mark.parametrize("seeds", [(3,), (5, 6)])
@pytest.mark.parametrize("schedule", ["exponential", "karras"])
@pytest.mark.parametrize("order", [1, 2])
def test_cosine_runs(order: int, schedule: str, seeds: tuple[int, ...]) -> None:
    """The draws of upstream's Brownian tree, of one seed or of one for each sample."""
    for solver, prediction, lower, steps in (
        ("midpoint", "v_prediction", True, 5),
        ("heun", "epsilon", False, 16),
        ("logrho", "v_prediction", False, 2),
    ):
        config = {
            "solver_order": order,
            "sigma_schedule": schedule,
            "solver_type": solver,
            "prediction_type": prediction,
            "lower_order_final": lower,
        }
        assert_same_run(Case(COSINE, config, steps, seeds=seeds))


def test_a_given_data_prediction() -> None:
    case = Case(EULER, steps=6)
    ours, theirs = case.ours(), case.theirs()
    x, output, given = 80 * unit_noise(1), unit_noise(2), unit_noise(3)
    for t, step in zip(theirs.timesteps[:3], ({}, CHURN, {}), strict=True):
        found = [
            s.step(output, t, x, generator=case.generators(), pred_original_sample=given, **step)
            for s in (ours, theirs)
            if s.scale_model_input(x, t) is not None
        ]
        torch.testing.assert_close(found[0].prev_sample, found[1].prev_sample)
        assert found[0].pred_original_sample is given
        assert ours.step_index == theirs.step_index


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "case", [Case(EULER, step=CHURN), Case(DPM, {"algorithm_type": "sde-dpmsolver++"})], ids=str
)
def test_half_precision_draws_the_same_noise(case: Case, dtype: torch.dtype) -> None:
    ours, theirs = case.ours(), case.theirs()
    generators = case.generators(), case.generators()
    x = (20 * unit_noise()).to(dtype)
    for index in range(len(theirs.timesteps)):
        a = take_step(ours, index, x, case, generators[0])["prev_sample"]
        b = take_step(theirs, index, x, case, generators[1])["prev_sample"]
        assert a.dtype == dtype
        largest = max(1.0, float(x.abs().max()), ours.stages[index].here.sigma)
        assert float((a - b).abs().max()) <= 4 * torch.finfo(dtype).eps * largest
        x = b
