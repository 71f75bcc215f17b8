"""What the page says is true of the run, also where the run is no ordinary one."""

from __future__ import annotations

import pytest

from sampling import RunSpec, plan_run, trajectory
from schedulers import SCHEDULERS
from schedulers.core.coefficients import Coefficients
from schedulers.diagnostics.finding import short
from tests.unit.test_explore import chips_of
from visualize.chips import chips as all_chips
from visualize.equations import equation
from visualize.explore import Explorer
from visualize.sentences import sentence


def test_an_error_next_to_the_clean_end_is_not_counted_in_full() -> None:
    """Flow match Heun has weights of 50 at sigma 0.001, where no model can be wrong by much."""
    plan = plan_run(RunSpec(scheduler="FlowMatchHeunDiscreteScheduler", steps=20))
    assert sum(abs(weight) for weight in plan.shares.calls[:-1]) > 50.0
    assert plan.amplification < 2.0
    assert "amplified" not in chips_of(scheduler="FlowMatchHeunDiscreteScheduler")
    assert "amplified" in chips_of(scheduler="FlowMatchHeunDiscreteScheduler", steps=5)
    for steps in (3, 20):
        positive = plan_run(RunSpec(scheduler="DDIMScheduler", steps=steps))
        assert positive.amplification < 1.0


def test_shares_below_zero_and_above_one_are_explained() -> None:
    plan = plan_run(RunSpec(scheduler="DEISMultistepScheduler", steps=20))
    told = [sentence(plan, i) for i in range(plan.nfe)]
    for weight, text in zip(plan.contributions.calls, told, strict=True):
        assert ("takes it away" in text) == (weight < 0.0)
        assert ("count below zero" in text) == (weight > 1.005)
        assert ("together make 100 %" in text) == (weight < 0.0 or weight > 1.005)
    assert any("takes it away" in text for text in told)


def test_a_prediction_that_is_noised_anew_is_no_part_of_the_result() -> None:
    plan = plan_run(RunSpec(scheduler="LCMScheduler", steps=4))
    assert "is no part of" in sentence(plan, 0)


def test_an_inversion_has_no_shares_of_a_result() -> None:
    for name in (name for name, made in SCHEDULERS.items() if made.ascends):
        answer = Explorer(device="cpu").schedule({"scheduler": name, "steps": 5})
        assert {entry["weight_text"] for entry in answer["equations"]} == {None}
        assert not any("x̂₀ " in entry["sentence"] for entry in answer["equations"])
        assert "upward" in {chip["id"] for chip in answer["chips"]}


def test_only_a_corrector_is_called_one() -> None:
    """The second call of DPM++ 2S is asked where its step ends, and draws noise: no corrector."""
    for name in ("DPMPP2SAncestralScheduler", "ScoreSdeVeScheduler"):
        plan = plan_run(RunSpec(scheduler=name, steps=20))
        told = " ".join(sentence(plan, i) for i in range(plan.nfe))
        assert ("corrector" in told) == SCHEDULERS[name].weighs_by_norms


def test_what_is_rounding_is_not_written() -> None:
    row = Coefficients(x=(0.0, 1.0), eps=(-0.05, -2e-17))
    assert equation(row) == "x ← x[−1] − 0.05 ε̂"
    assert equation(Coefficients(x=(0.99996,), x0=(0.5,))) == "x ← x + 0.5 x̂₀"


def test_a_step_that_leads_nowhere_says_so() -> None:
    plan = plan_run(RunSpec(scheduler="PNDMScheduler", steps=20))
    assert "changes nothing" in sentence(plan, plan.nfe - 1)
    chips = chips_of(scheduler="PNDMScheduler")
    assert chips["still"].set == {"config.set_alpha_to_one": True}
    assert "still" not in chips_of(scheduler="PNDMScheduler", config={"set_alpha_to_one": True})


@pytest.mark.parametrize("name", ["ScoreSdeVeScheduler", "CosineDPMSolverMultistepScheduler"])
def test_a_single_step_from_the_smallest_level_has_its_way_out(name: str) -> None:
    chip = chips_of(scheduler=name, steps=1)["terminal-snr"]
    assert "nearly clean" in chip.text
    assert chip.set == {"config.compat": "paper"}
    assert "terminal-snr" not in chips_of(scheduler=name, steps=1, config={"compat": "paper"})


def test_the_overshoot_is_told_in_the_numbers_of_the_run() -> None:
    for steps in (20, 100):
        plan = plan_run(RunSpec(scheduler="ScoreSdeVpScheduler", steps=steps))
        times = -plan.coefficients[-1].eps[0] / plan.calls[-1].here.sigma
        why = chips_of(scheduler="ScoreSdeVpScheduler", steps=steps)["overshoot"].why
        assert why is not None and f"removes {short(times)} times" in why
    assert "overshoot" not in chips_of(scheduler="ScoreSdeVpScheduler", steps=1000)


def test_a_step_of_three_calls_is_of_order_three() -> None:
    settings = {"scheduler": "DPMSolverSinglestepScheduler", "config": {"solver_order": 3}}
    assert "order-unreached" not in chips_of(**settings, steps=12)
    assert chips_of(**settings, steps=12)["order"].text.startswith("order 3")


def test_an_adaptive_run_counts_its_steps() -> None:
    chips = chips_of(scheduler="DPMAdaptiveScheduler")
    plan = plan_run(RunSpec(scheduler="DPMAdaptiveScheduler"))
    assert chips["adaptive"].text == f"{plan.steps} steps if none is rejected"
    made = trajectory(plan.spec, device="cpu").plan
    (chip,) = (c for c in all_chips(made, 1.0) if c.id == "adaptive")
    assert chip.text.startswith(f"{made.steps} steps taken")
    assert "rtol (0.05" in (chips["adaptive"].why or "")
