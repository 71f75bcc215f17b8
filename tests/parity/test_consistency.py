"""Consistency models: grids, runs and scalings equal diffusers'."""

import pytest
import torch

from tests.parity.harness import Case, assert_same_grid, assert_same_run

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
