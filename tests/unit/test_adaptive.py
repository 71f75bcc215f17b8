"""Runs whose steps are judged: made once, then known like any other run."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from models import Model, load
from sampling import RunSpec, adaptive, plan_run, run, runner, trajectory
from schedulers import DPMAdaptiveScheduler
from visualize.columns import columns, told_calls
from visualize.equations import equations
from visualize.explore import LIVE_CALLS, Explorer

SPEC = RunSpec.from_dict(
    {"scheduler": "DPMAdaptiveScheduler", "model": "points", "config": {"h_init": 3.0}}
)


def test_the_frames_of_a_callable() -> None:
    scheduler = DPMAdaptiveScheduler(h_init=3.0)
    scheduler.set_timesteps()
    x = float(scheduler.init_noise_sigma) * torch.randn(2, 3, generator=torch.Generator())
    model = lambda x, sigma: x / (1 + sigma**2) + 0.3 * math.cos(3 * math.log(sigma))  # noqa: E731
    frames = list(adaptive(model, x, scheduler))
    assert [frame.index for frame in frames] == list(range(scheduler.info["nfe"]))
    assert {frame.index for frame in frames if not frame.accepted} == scheduler.rejected != set()
    last = scheduler.sample(model, x)
    assert np.array_equal(frames[-1].sample, last.numpy())
    assert all(frame.call.target.sigma > 0 for frame in frames)


def test_a_run_tells_what_it_did() -> None:
    """Before it is made, the plan says what comes if no step makes an error; after, what came."""
    ahead, frames = plan_run(SPEC), list(run(SPEC, device="cpu"))
    assert ahead.ahead and not ahead.scheduler.rejected
    made = trajectory(SPEC, device="cpu")
    plan = made.plan
    assert not plan.ahead and plan.nfe == len(frames) > ahead.nfe and plan.scheduler.rejected
    for frame in frames:
        assert frame.accepted == (frame.index not in plan.scheduler.rejected)
        assert frame.call == plan.calls[frame.index]
        assert frame.coefficients == plan.coefficients[frame.index]
    assert [frame.accepted for frame in made] == [frame.accepted for frame in frames]
    assert np.array_equal(made[len(made) - 1].sample, frames[-1].sample)


def test_a_long_run_is_thinned_while_it_is_recorded() -> None:
    """How long it gets is not known, and what is kept stays bounded: the last frame always is."""
    whole = trajectory(SPEC, device="cpu")
    few = trajectory(SPEC, device="cpu", keep=7)
    assert len(few) <= 7 and few.indices[-1] == whole.indices[-1] and not few.complete
    for position, index in enumerate(few.indices):
        assert np.array_equal(few.samples[position], whole.samples[index])
    assert few.thinned(7) is few and few.thinned(None) is None


@pytest.mark.parametrize("config", [{"rtol": 1e-6, "atol": 1e-6}, {"pcoeff": -1.0}], ids=str)
def test_describing_a_run_makes_none(
    config: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No link makes a question that only describes ask a model, or take long."""
    explorer = Explorer(device="cpu")
    settings = {**SPEC.to_dict(), "config": config, "samples": 64}
    calls: list[float] = []

    class Counting:
        def __init__(self, model: Model) -> None:
            self.model = model

        def denoise(self, x: Any, alpha: float, sigma: float, cond: str | None) -> Any:  # noqa: ANN401
            calls.append(sigma)
            return self.model.denoise(x, alpha, sigma, cond)

    monkeypatch.setattr(runner, "load", lambda *a, **k: Counting(load(*a, **k)))
    answer = explorer.schedule(settings)
    assert not calls
    assert answer["ok"] and answer["ahead"]
    film = explorer.film({**settings, "samples": 1})
    assert film["ok"] == ("rtol" not in config) and len(calls) <= LIVE_CALLS + 3


def test_a_film_brings_the_schedule_that_the_run_found() -> None:
    explorer = Explorer(device="cpu")
    before = explorer.schedule(SPEC.to_dict())
    film = explorer.film(SPEC.to_dict())
    after = explorer.schedule(SPEC.to_dict())
    assert before["ahead"] and not after["ahead"]
    assert film["schedule"] == after and after["nfe"] == film["frames"] > before["nfe"]


def test_the_page_tells_rejected_calls() -> None:
    plan = trajectory(SPEC, device="cpu").plan
    assert columns(plan, told_calls(plan))["accepted"] == [
        i not in plan.scheduler.rejected for i in range(plan.nfe)
    ]
    told = [entry["sentence"] for entry in equations(plan, told_calls(plan))]
    for i, sentence in enumerate(told):
        assert ("rejected" in sentence) == (i in plan.scheduler.rejected)
    assert any("tried again, shorter" in sentence for sentence in told)
