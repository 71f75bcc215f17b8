"""Every public name of upstream's classes, and the private ones people call, is ours too."""

import numpy as np
import pytest

from schedulers.core.scheduler import unit_variance_input
from tests.parity.differences import REASONS, missing, ready
from tests.parity.harness import SCHEDULERS, Case, accepts, error, take_step, unit_noise
from tests.parity.oracle import DIFFUSERS, diffusers_class


@pytest.mark.parametrize("name", DIFFUSERS)
def test_no_name_is_missing_without_a_reason(name: str) -> None:
    assert [n for n in missing(name) if n not in REASONS] == []


@pytest.mark.parametrize("name", [n for n in DIFFUSERS if hasattr(diffusers_class(n), "__len__")])
def test_length_is_the_number_of_training_steps(name: str) -> None:
    ours, theirs = ready(name)
    assert len(ours) == len(theirs)


@pytest.mark.parametrize(
    "name", [n for n in DIFFUSERS if hasattr(diffusers_class(n), "_sigma_to_t")]
)
def test_the_time_of_a_sigma(name: str) -> None:
    """Which callers of diffusers look up by a private name."""
    ours, theirs = ready(name)
    table = np.linspace(-4.0, 5.0, 1000, dtype=np.float32)
    more = (table,) if accepts(theirs._sigma_to_t, "log_sigmas") else ()
    for sigma in (0.05, 0.4, 0.97):
        expected = theirs._sigma_to_t(np.float64(sigma), *more)
        assert float(ours._sigma_to_t(sigma, *more)) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("name", [n for n in DIFFUSERS if hasattr(SCHEDULERS[n], "model_outputs")])
def test_the_predictions_of_the_last_calls(name: str) -> None:
    """Which pipelines read, and go on from, under the names that they have upstream."""
    case = Case(name)
    ours, theirs, x = case.ours(), case.theirs(), unit_noise()
    draws = case.generators(), case.generators()
    for index in range(len(theirs.timesteps)):
        take_step(ours, index, x, case, draws[0])
        x = take_step(theirs, index, x, case, draws[1])["prev_sample"]
        assert len(ours.model_outputs) == len(theirs.model_outputs)
        for found, expected in zip(ours.model_outputs, theirs.model_outputs, strict=True):
            assert (found is None) == (expected is None)
            # DEIS divides a difference by the smallest sigma
            assert expected is None or error(found, expected) < 1e-4
        if hasattr(theirs, "lower_order_nums"):
            assert ours.lower_order_nums == theirs.lower_order_nums
    ours.set_timesteps(7)
    assert set(ours.model_outputs) == {None} and ours.lower_order_nums == 0


@pytest.mark.parametrize(
    "name", [n for n in DIFFUSERS if SCHEDULERS[n].scale_model_input is unit_variance_input]
)
def test_whether_the_model_input_was_scaled(name: str) -> None:
    ours, theirs = ready(name)
    known = [ours, theirs] if "is_scale_input_called" in vars(theirs) else [ours]
    for scheduler in known:
        assert scheduler.is_scale_input_called is False
        scheduler.scale_model_input(unit_noise(), scheduler.timesteps[0])
        assert scheduler.is_scale_input_called is True


def test_the_one_of_ddpm() -> None:
    ours, theirs = ready("DDPMScheduler")
    assert ours.one == theirs.one and ours.one.dtype == theirs.one.dtype
