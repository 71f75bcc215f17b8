"""PNDM beside diffusers: every call of Runge-Kutta and multistep, also started anywhere."""

import itertools

import pytest
import torch

from schedulers import PNDMScheduler
from tests.parity.harness import Case, assert_same_run, fake_model, unit_noise
from tests.parity.oracle import diffusers_scheduler

NAME = "PNDMScheduler"
SPACINGS = ("linspace", "leading", "trailing")


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_predictions_and_spacings(spacing: str, prediction: str, skip: bool) -> None:
    config = {
        "prediction_type": prediction, "timestep_spacing": spacing, "skip_prk_steps": skip,
    }  # fmt: skip
    for steps, more in itertools.product(
        (4, 7, 10, 30),  # T // N odd and even, T % N zero and not
        ({}, {"set_alpha_to_one": True, "steps_offset": 1, "beta_schedule": "scaled_linear"}),
    ):
        assert_same_run(Case(NAME, {**config, **more}, steps))


@pytest.mark.quirk("pndm-midway", "diffusers")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("skip", [False, True])
def test_started_anywhere(skip: bool, prediction: str) -> None:
    """Slices of `timesteps` as image-to-image takes them, also inside pairs and steps."""
    config = {"skip_prk_steps": skip, "prediction_type": prediction}
    for start in range(1, 16 if skip else 24, 1 if skip else 2):
        # Runge-Kutta steps that upstream starts at the wrong level magnify float32 a hundredfold
        assert_same_run(Case(NAME, config, 15, start=start), 1e-5 if skip else 1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_number_of_plms_steps(steps: int) -> None:
    assert_same_run(Case(NAME, {"skip_prk_steps": True}, steps))


@pytest.mark.parametrize("skip", [False, True])
def test_what_callers_look_at(skip: bool) -> None:
    """The parts of the grid, the count, the slopes at hand, the sample a step starts from."""
    case = Case(NAME, {"skip_prk_steps": skip}, 8)
    ours, theirs = case.ours(), case.theirs()
    assert ours.prk_timesteps.tolist() == theirs.prk_timesteps.tolist()
    assert ours.plms_timesteps.tolist() == theirs.plms_timesteps.tolist()
    assert ours.pndm_order == theirs.pndm_order
    assert float(ours.final_alpha_cumprod) == float(theirs.final_alpha_cumprod)
    x = unit_noise()
    for t in theirs.timesteps:
        output = fake_model(x, float(t))
        if theirs.counter < len(theirs.prk_timesteps):
            a, b = ours.step_prk(output, t, x), theirs.step_prk(output, t, x)
        else:
            a, b = ours.step_plms(output, t, x), theirs.step_plms(output, t, x)
        torch.testing.assert_close(a.prev_sample, b.prev_sample, atol=1e-5, rtol=1e-5)
        x = b.prev_sample
        assert ours.counter == theirs.counter
        # ours lets go of what no step looks at again
        kept = ours.ets
        assert len(kept) >= min(3, len(theirs.ets))
        pairs = zip(kept, theirs.ets[-len(kept) :] if kept else [], strict=True)
        assert all(torch.equal(p, q) for p, q in pairs)
    ours.set_timesteps(8)
    assert ours.counter == 0 and ours.ets == [] and ours.cur_sample is None


def test_methods_called_in_the_wrong_place() -> None:
    x = unit_noise()
    ours, theirs = Case(NAME, {}, 8).ours(), Case(NAME, {}, 8).theirs()
    for scheduler in (ours, theirs):
        with pytest.raises(ValueError):
            scheduler.step_plms(x, scheduler.timesteps[0], x)
    plms = Case(NAME, {"skip_prk_steps": True}, 8).ours()
    with pytest.raises(ValueError, match="skip_prk_steps"):
        plms.step_prk(x, plms.timesteps[0], x)
    with pytest.raises(ValueError, match="set_timesteps"):
        PNDMScheduler().step_prk(x, 0, x)


@pytest.mark.quirk("pndm-few-steps", "paper")
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_runge_kutta_steps(steps: int) -> None:
    """Theirs has no grid for fewer than four steps; ours takes one Runge-Kutta step less."""
    with pytest.raises(ValueError, match="shapes"):
        diffusers_scheduler(NAME).set_timesteps(steps)
    scheduler = PNDMScheduler()
    scheduler.set_timesteps(steps)
    assert len(scheduler.timesteps) == 4 * (steps - 1) + 1
    assert scheduler.timesteps[0] == 1000 // steps * (steps - 1)
    assert scheduler.stages[-1].target.t < 0
