"""The comparison itself can fail: a rule that is wrong by a hundredth in one row is found."""

import dataclasses
from collections.abc import Sequence

import pytest

from schedulers import SCHEDULERS
from schedulers.core.grid import Grid
from schedulers.core.level import Call
from schedulers.core.rule import Rule, StepArguments, Update
from tests.parity.harness import Case, assert_same_run

WRONG_AT = 4


def mistaken(rule: Rule, factor: float) -> Rule:
    """The same rule, but for what the predictions weigh in one call."""
    made: type[Rule] = type(rule)

    class Mistaken(made):  # type: ignore[misc, valid-type]
        def update(
            self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
        ) -> Update:
            update: Update = made.update(self, grid, i, past, arguments)
            if i != WRONG_AT:
                return update
            x0, eps = (tuple(factor * w for w in part) for part in (update.row.x0, update.row.eps))
            return update._replace(row=update.row._replace(x0=x0, eps=eps))

    assert dataclasses.is_dataclass(rule)
    values = {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule) if f.init}
    wrong: Rule = Mistaken(**values)
    return wrong


@pytest.mark.parametrize("factor", [1.01, 1000.0])
@pytest.mark.parametrize(
    "case",
    [
        Case("DDIMScheduler", {"clip_sample": False}, 8),
        Case("EulerDiscreteScheduler", {}, 8),
        Case("HeunDiscreteScheduler", {}, 8),
        Case("KDPM2DiscreteScheduler", {}, 8),
        Case("LMSDiscreteScheduler", {}, 8),
        Case("DPMSolverMultistepScheduler", {"solver_order": 3}, 8),
        Case("DPMSolverMultistepInverseScheduler", {}, 8),
        Case("DEISMultistepScheduler", {"solver_order": 3}, 8),
        Case("UniPCMultistepScheduler", {"predict_x0": False}, 8),
        Case("SASolverScheduler", {"algorithm_type": "noise_prediction"}, 8),
        Case("FlowMatchEulerDiscreteScheduler", {}, 8),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_weight_is_found(
    case: Case, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large it is: limits come from the oracle alone."""
    assert_same_run(case)
    made = SCHEDULERS[case.scheduler]
    make_rule = made._make_rule
    monkeypatch.setattr(made, "_make_rule", lambda self: mistaken(make_rule(self), factor))
    with pytest.raises(AssertionError, match=f"of call {WRONG_AT} is off by"):
        assert_same_run(case)
