"""The diagnostics as a table, and what they say of a scheduler without a model."""

import math

import pytest

from sampling.diagnostics import MODEL_DIAGNOSTICS
from schedulers import SCHEDULERS
from schedulers.diagnostics import DIAGNOSTICS, Diagnosis, Facts, diagnose
from tests.laws.driver import make


def test_ids_are_unique_and_every_entry_says_when() -> None:
    table = [*DIAGNOSTICS, *MODEL_DIAGNOSTICS]
    assert len({entry.id for entry in table}) == len(table)
    assert len({entry.when for entry in table}) == len(table)
    assert {entry.severity for entry in table} <= {"error", "warning", "note"}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_alone_can_be_diagnosed(name: str) -> None:
    """What a remedy sets are parameters of the class, or the number of steps."""
    scheduler = make(name, 12)
    known = {entry.name for entry in scheduler.parameters()} | {"steps", "sigmas"}
    for found in diagnose(DIAGNOSTICS, Facts.of(scheduler)):
        assert math.isfinite(found.value) and found.text and found.why
        assert set(found.set or ()) <= known, found


def found_in(name: str, steps: int, /, **config: object) -> dict[str, Diagnosis]:
    """What is said of a scheduler, by id."""
    facts = Facts.of(make(name, steps, **config))
    return {found.id: found for found in diagnose(DIAGNOSTICS, facts)}


def test_what_is_measured_is_the_value() -> None:
    """Stable Diffusion's table never reaches pure noise; rescaled it does."""
    config = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "trailing",
    }
    abar = float(make("DDIMScheduler", 10, **config).alphas_cumprod[-1])
    value = found_in("DDIMScheduler", 10, **config)["terminal-snr"].value
    assert value == pytest.approx(abar / (1.0 - abar), rel=1e-4)
    rescaled = found_in("DDIMScheduler", 10, **config, rescale_betas_zero_snr=True)
    assert "terminal-snr" not in rescaled


def test_step_arguments_count() -> None:
    scheduler = make("EulerDiscreteScheduler", 20)
    assert "churn-cap" in {
        d.id for d in diagnose(DIAGNOSTICS, Facts.of(scheduler, {"s_churn": 9}))
    }
    assert "churn-cap" not in {d.id for d in diagnose(DIAGNOSTICS, Facts.of(scheduler))}


def test_a_level_below_no_signal_is_an_error() -> None:
    config = {"shift": 0.0017}
    lowest = min(c.here.alpha for c in make("FlowMatchHeunDiscreteScheduler", 4, **config).stages)
    found = found_in("FlowMatchHeunDiscreteScheduler", 4, **config)["outside"]
    assert found.severity == "error" and found.value == lowest < 0.0
    assert "outside" not in found_in("FlowMatchHeunDiscreteScheduler", 4)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("HeunDiscreteScheduler", [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]),
        ("DPMPP2SAncestralScheduler", [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]),
        ("DPMFastScheduler", [(0, 0), (0, 1), (0, 2), (1, 0)]),
        ("DPMSolverSinglestepScheduler", [(0, 0), (0, 1), (1, 0), (2, 0)]),
        ("EulerDiscreteScheduler", [(0, 0), (1, 0), (2, 0), (3, 0)]),
    ],
)
def test_every_call_knows_its_step(name: str, parts: list[tuple[int, int]]) -> None:
    assert [(call.step, call.part) for call in make(name, 4).stages] == parts


def test_pndm_knows_its_steps() -> None:
    """Three Runge-Kutta steps of four calls, then one call each; or the first taken twice."""
    calls = make("PNDMScheduler", 5).stages
    assert [call.step for call in calls] == [0] * 4 + [1] * 4 + [2] * 4 + [3, 4]
    calls = make("PNDMScheduler", 4, skip_prk_steps=True).stages
    assert [(c.step, c.part) for c in calls] == [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)]
