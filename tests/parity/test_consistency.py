"""Consistency models: grids, runs and scalings equal diffusers'."""

import pytest
import torch

from schedulers import SCHEDULERS
from tests.parity.harness import Case, assert_same_grid, assert_same_run, error

CM = "CMStochasticIterativeScheduler"


@pytest.mark.parametrize("steps", [1, 2, 5, 39, 40])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "clip_denoised": False,
            "s_noise": 1.1,
            "sigma_data": 0.8,
            "rho": 5.0,
            "sigma_min": 0.125,
        },
    ],
    ids=str,
)
def test_cm_run(config: dict[str, object], steps: int) -> None:
    """With a sigma_min that float32 holds; else theirs leaves its rounding as noise at the end."""
    assert_same_run(Case(CM, config, steps, seeds=(1, 2)))


def test_cm_grid() -> None:
    for steps in range(1, 201):
        case = Case(CM, {"num_train_timesteps": 200}, steps)
        assert_same_grid(case.ours(), case.theirs(), str(steps))
    for places in ([22, 0], [39, 3, 1]):
        case = Case(CM, grid={"timesteps": places})
        assert_same_grid(case.ours(), case.theirs(), str(places))
        assert case.ours().custom_timesteps


def test_cm_scalings() -> None:
    ours, theirs = Case(CM).ours(), Case(CM).theirs()
    for sigma in (0.002, 3.0, torch.tensor([0.5, 80.0])):
        for method in ("get_scalings", "get_scalings_for_boundary_condition"):
            for a, b in zip(
                getattr(ours, method)(sigma), getattr(theirs, method)(sigma), strict=True
            ):
                assert torch.allclose(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-6)


def test_cm_at_sigma_min_f_is_the_identity() -> None:
    """The last of all levels, where whatever the model returns changes nothing."""
    scheduler = Case(CM, {"clip_denoised": False}, 40).ours()
    scheduler.set_begin_index(39)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    scheduler.scale_model_input(x, scheduler.timesteps[39])
    out = scheduler.step(9 * x, scheduler.timesteps[39], x)
    assert torch.equal(out.prev_sample, x) and torch.equal(out.pred_original_sample, x)
    assert scheduler.output_weights(39) == (0.0, 0.0)


DISTILLED = ("LCMScheduler", "TCDScheduler")


@pytest.mark.parametrize("name", DISTILLED)
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"prediction_type": "v_prediction", "timestep_scaling": 0.1, "beta_schedule": "linear"},
        {"prediction_type": "sample", "timestep_scaling": 0.01},
        {"clip_sample": True, "clip_sample_range": 0.4, "timestep_scaling": 0.02},
        {"thresholding": True, "timestep_scaling": 0.02, "sample_max_value": 1.5},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ],
    ids=str,
)
def test_distilled_run(name: str, config: dict[str, object]) -> None:
    for steps in (1, 2, 4, 17, 50):
        assert_same_run(Case(name, config, steps, seeds=(1, 2)))


@pytest.mark.parametrize("name", DISTILLED)
@pytest.mark.parametrize(
    "grid",
    [
        {"num_inference_steps": 4, "original_inference_steps": 100},
        {"num_inference_steps": 4, "strength": 0.5},
        {"timesteps": [999, 759, 500, 19, 0]},
        {"timesteps": [999, 759, 499, 19], "strength": 0.5},
    ],
    ids=str,
)
def test_distilled_grids_of_other_kinds(name: str, grid: dict[str, object]) -> None:
    assert_same_run(Case(name, grid=grid))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_tcd_eta(eta: float) -> None:
    for steps in (1, 3, 8):
        assert_same_run(Case("TCDScheduler", {}, steps, step={"eta": eta}))


@pytest.mark.parametrize(
    ("name", "key"), [("LCMScheduler", "denoised"), ("TCDScheduler", "pred_noised_sample")]
)
def test_second_field_is_theirs(name: str, key: str) -> None:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for steps in (1, 4):
        ours, theirs = Case(name, {}, steps).ours(), Case(name, {}, steps).theirs()
        for t in theirs.timesteps:
            a, b = (
                s.step(x.tanh(), t, x, generator=torch.Generator().manual_seed(1))
                for s in (ours, theirs)
            )
            assert error(a[key], b[key]) <= 1e-5
            assert ours.previous_timestep(t) == theirs.previous_timestep(t)
        pair = [s.step for s in (Case(name).ours(), Case(name).theirs())]
        t = Case(name).ours().timesteps[0]
        for p, q in zip(
            *(
                f(x, t, x, return_dict=False, generator=torch.Generator().manual_seed(1))
                for f in pair
            ),
            strict=True,
        ):
            assert error(p, q) <= 1e-5


@pytest.mark.parametrize("name", DISTILLED)
def test_strength_and_steps_that_do_not_fit(name: str) -> None:
    for given, what in (
        ({"num_inference_steps": 51}, "num_inference_steps"),
        ({"num_inference_steps": 30, "strength": 0.5}, "num_inference_steps"),
        ({"num_inference_steps": 3, "strength": 1.5}, "strength"),
        ({"timesteps": [5], "strength": 0.5}, "strength"),
    ):
        with pytest.raises(ValueError, match=what):
            SCHEDULERS[name]().set_timesteps(**given)
