"""DDIM upward beside diffusers, and down again."""

import itertools

import pytest
import torch

from schedulers import DDIMInverseScheduler, DDIMScheduler
from tests.parity.harness import Case, assert_same_run, unit_noise

NAME = "DDIMInverseScheduler"


@pytest.mark.quirk("inverse-stride", "diffusers")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_predictions_and_spacings(spacing: str, prediction: str) -> None:
    for steps, more in itertools.product(
        (1, 7, 10),
        ({}, {"clip_sample": False, "beta_schedule": "scaled_linear"}, {"steps_offset": 1}),
    ):
        # the noise of a clean sample is no number in a data prediction
        config = {"prediction_type": prediction, "set_alpha_to_one": prediction != "sample"}
        assert_same_run(Case(NAME, {**config, "timestep_spacing": spacing, **more}, steps))


def test_zero_terminal_snr() -> None:
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    assert_same_run(Case(NAME, {**config, "timestep_spacing": "trailing"}, 8))


def test_started_midway() -> None:
    for start in (1, 5):
        assert_same_run(Case(NAME, {}, 10, start=start))


def test_former_name_of_the_first_level() -> None:
    for value in (True, False):
        made = DDIMInverseScheduler.from_config({"set_alpha_to_zero": value})
        assert made.config.set_alpha_to_one is value
        assert DDIMInverseScheduler(set_alpha_to_zero=value).config.set_alpha_to_one is value


@pytest.mark.parametrize("compat", ["diffusers", "paper"])
def test_up_and_down_again(compat: str) -> None:
    """With the same noise predicted all the way, the image comes back."""
    image, eps = torch.tanh(unit_noise(1)).double(), unit_noise(2).double()
    up = DDIMInverseScheduler(clip_sample=False, compat=compat)
    down = DDIMScheduler(clip_sample=False, compat=compat)
    x = image
    for scheduler in (up, down):
        scheduler.set_timesteps(20)
        for t in scheduler.timesteps:
            x = scheduler.step(eps, t, x).prev_sample
    # by the paper the image stands at the first training level, whose sigma is 0.01
    assert float((x - image).abs().max()) <= (1e-9 if compat == "diffusers" else 0.05)
