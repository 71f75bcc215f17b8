"""Runs whose steps are judged: made once, then known like any other run."""

import math

import numpy as np
import torch

from sampling import RunSpec, adaptive, run, schedule, trajectory
from schedulers import DPMAdaptiveScheduler
from visualize.explain import columns, equations

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
    assert all(frame.stage.target.sigma > 0 for frame in frames)


def test_a_run_is_known_before_it_is_made() -> None:
    plan, frames = schedule(SPEC), list(run(SPEC, device="cpu"))
    assert plan.nfe == len(frames) and plan.scheduler.rejected
    for frame in frames:
        assert frame.accepted == (frame.index not in plan.scheduler.rejected)
        assert frame.stage == plan.stages[frame.index]
    kept = trajectory(SPEC, device="cpu")
    assert [frame.accepted for frame in kept] == [frame.accepted for frame in frames]
    assert np.array_equal(kept[len(kept) - 1].sample, frames[-1].sample)


def test_the_page_tells_rejected_calls() -> None:
    plan = schedule(SPEC)
    assert columns(plan)["accepted"] == [i not in plan.scheduler.rejected for i in range(plan.nfe)]
    told = [entry["sentence"] for entry in equations(plan)]
    for i, sentence in enumerate(told):
        assert ("rejected" in sentence) == (i in plan.scheduler.rejected)
    assert any("tried again, shorter" in sentence for sentence in told)
