"""Law 12, compiled alike: a step under ``torch.compile`` gives what the plain step gives.

The backend "eager" needs no compiler: what is tested is that tracing follows the state. Runs are
longer than the number of recompilations that dynamo allows, and hitting that limit is an error: it
would fall back to plain Python, and hide what it compiled wrongly before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo

from schedulers import SCHEDULERS
from schedulers.core.loop import drive
from tests.laws.driver import NAMES, SchedulerLike, lay_out

#: Methods that make a step, whatever the call form.
METHODS = ("step", "step_pred", "step_correct", "add_noise_to_input")
STEPS = torch._dynamo.config.recompile_limit + 5


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    """Every limit is an error, and nothing is left of other tests."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


def run(name: str, compiled: bool, steps: int, settings: dict[str, object]) -> list[torch.Tensor]:
    """Every sample of a run with the global noise."""
    torch.manual_seed(0)
    scheduler: SchedulerLike = SCHEDULERS[name](**settings)
    lay_out(scheduler, steps)
    if compiled:
        for method in METHODS:
            if hasattr(scheduler, method):
                function: Callable[..., Any] = getattr(scheduler, method)
                setattr(scheduler, method, torch.compile(function, backend="eager"))
    x = torch.randn(2, 3, 4, 4) * scheduler.stages[0].here.scale
    return [moment.sample for moment in drive(scheduler, lambda x, _: torch.tanh(x), x)]


SETTINGS: list[tuple[str, dict[str, object]]] = [(name, {}) for name in NAMES] + [
    ("DDIMScheduler", {"clip_sample": False}),
    ("DDIMScheduler", {"thresholding": True}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
    ("UniPCMultistepScheduler", {"solver_order": 3}),
    ("PNDMScheduler", {"skip_prk_steps": True}),
    ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_a_compiled_step_is_the_plain_step(name: str, settings: dict[str, object]) -> None:
    steps = min(STEPS, 40)
    plain, compiled = (run(name, flag, steps, settings) for flag in (False, True))
    assert len(plain) == len(compiled) >= STEPS - 1
    for i, (a, b) in enumerate(zip(plain, compiled, strict=True)):
        assert torch.equal(a, b), f"call {i} is off by {(a - b).abs().max():.1e}"


def test_the_limit_is_an_error() -> None:
    """The test above can fail: a function that is compiled anew each time hits the limit."""

    class Counted:
        at = 0

        def step(self, x: torch.Tensor) -> torch.Tensor:
            factor = {i: 1.0 + i for i in range(STEPS)}[self.at]
            self.at += 1
            return x * factor

    step = torch.compile(Counted().step, backend="eager")
    with pytest.raises(Exception, match="recompile_limit"):
        for _ in range(STEPS):
            step(torch.ones(2))
