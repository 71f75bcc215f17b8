"""IPNDM beside diffusers: its own levels, float times, order growing to four."""

import pytest
import torch

from schedulers import IPNDMScheduler
from tests.parity.harness import Case, assert_same_run, fake_model, unit_noise
from tests.parity.oracle import diffusers_class


@pytest.mark.quirk("ipndm-first-step", "diffusers")
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 31])
def test_runs(steps: int) -> None:
    case = Case("IPNDMScheduler", {}, steps)
    assert_same_run(case)
    ours, theirs = case.ours(), case.theirs()
    for name in ("betas", "alphas", "timesteps"):
        torch.testing.assert_close(
            getattr(ours, name), getattr(theirs, name), rtol=1e-5, atol=1e-6
        )


def test_started_midway() -> None:
    for start, begin in ((1, False), (5, True)):
        assert_same_run(Case("IPNDMScheduler", {}, 10, start=start, begin=begin))


def test_given_levels() -> None:
    levels = [0.95, 0.8, 0.6, 0.3, 0.1]
    case = Case("IPNDMScheduler", {"trained_betas": levels}, 4)
    assert_same_run(case)
    with pytest.raises(ValueError, match="trained_betas"):
        IPNDMScheduler(trained_betas=levels).set_timesteps(5)


def test_slopes_at_hand() -> None:
    case = Case("IPNDMScheduler", {}, 8)
    ours, theirs = case.ours(), case.theirs()
    x = unit_noise()
    for t in theirs.timesteps:
        output = fake_model(x, float(t))
        ours.step(output, t, x)
        x = theirs.step(output, t, x).prev_sample
        found = ours.ets
        for a, b in zip(found, theirs.ets[-len(found) :], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_signatures_and_config() -> None:
    theirs = diffusers_class("IPNDMScheduler")
    assert IPNDMScheduler.order == theirs.order
    assert len(IPNDMScheduler()) == len(theirs()) == 1000
    assert IPNDMScheduler.from_config(theirs().config).config.num_train_timesteps == 1000
