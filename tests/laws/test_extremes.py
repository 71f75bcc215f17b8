"""Extreme values of every parameter end in finite rows, or in a refusal that names its culprit."""

import math
import random
from typing import Any

import pytest

from schedulers import SCHEDULERS
from schedulers.interface.params import Parameter

NAMED_ANYWAY = ("num_inference_steps", "timesteps")


def extreme(parameter: Parameter, dice: random.Random) -> Any:  # noqa: ANN401
    """A value at an edge of what the parameter admits, or in its middle."""
    if parameter.kind == "bool":
        return dice.choice([True, False])
    if parameter.kind == "choice":
        return dice.choice([*parameter.choices, *([None] if parameter.optional else [])])
    if parameter.kind in ("numbers", "object"):
        return parameter.default
    low = parameter.low if parameter.low is not None else -20.0
    high = parameter.high if parameter.high is not None else 1e6
    values = [low, high, parameter.slider_low, parameter.slider_high, low + 1e-9, 1.0, 0.5, 2.0]
    value = dice.choice([v for v in values if v is not None])
    return int(value) if parameter.kind == "int" else value


def finite(name: str, seed: int) -> bool:
    """Whether all numbers of a run with random edges are finite; False where it is refused."""
    dice = random.Random(f"{name} {seed}")
    parameters = [p for p in SCHEDULERS[name].parameters() if p.call == "init"]
    chosen = dice.sample(parameters, min(len(parameters), dice.choice([1, 2, 3, 5])))
    config = {p.name: extreme(p, dice) for p in chosen}
    names = (*(p.name for p in parameters), *NAMED_ANYWAY)
    try:
        scheduler = SCHEDULERS[name](tensor_format="np", **config)
        scheduler.set_timesteps(dice.choice([1, 2, 3, 10, 61, 250, 1000]))
        calls = range(len(scheduler.stages))
        rows = [(scheduler.row(i), scheduler.output_weights(i)) for i in calls]
    except (ValueError, TypeError) as refusal:
        assert any(known in str(refusal) for known in names), f"{config}: {refusal}"
        return False
    assert all(map(math.isfinite, scheduler.timesteps)), config
    for i, (row, output) in enumerate(rows):
        numbers = (*row.x, *row.x0, *row.eps, row.noise, *output)
        assert all(map(math.isfinite, numbers)), f"{config}: call {i}, {row}, {output}"
    return True


@pytest.mark.parametrize("name", SCHEDULERS)
def test_extremes(name: str) -> None:
    made = sum(finite(name, seed) for seed in range(60))
    assert made >= 10, "random edges are refused too often to show anything"
