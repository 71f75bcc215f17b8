"""Whatever the page is asked, it answers with numbers that JSON has, or says what is wrong."""

import json
import math
import time
from typing import Any

import numpy as np
import pytest

from models import MODELS
from sampling.spec import NOT_OURS
from schedulers import SCHEDULERS
from visualize.explore import Explorer

#: Specs that are tried: some of them, or all with --full.
SOME, ALL = 400, 10_000
#: A question that only describes answers within this; the machine may be ten times slower.
SECONDS = 20.0
EXPLORER = Explorer()


def number(rng: np.random.Generator, low: float, high: float, whole: bool) -> float:
    """One inside a range, at its ends more often than elsewhere, over all magnitudes."""
    low, high = max(low, -1e6), min(high, 1e6)
    kind = rng.integers(0, 5)
    if kind < 2:
        value = (low, high)[kind]
    elif kind == 2 or high <= 0.0:
        value = float(rng.uniform(low, high))
    else:
        least = max(low, 1e-9)
        value = math.exp(rng.uniform(math.log(least), math.log(max(high, least * 1.1))))
    return int(min(max(round(value), math.ceil(low)), math.floor(high))) if whole else value


def drawn(seed: int) -> dict[str, Any]:
    """A spec at random."""
    rng = np.random.default_rng(seed)
    scheduler = str(rng.choice(list(SCHEDULERS)))
    model = str(rng.choice(list(MODELS)))
    config: dict[str, Any] = {}
    for entry in SCHEDULERS[scheduler].parameters():
        if entry.name in NOT_OURS or rng.random() < 0.75:
            continue
        if entry.kind == "bool":
            config[entry.name] = bool(rng.integers(2))
        elif entry.kind == "choice":
            config[entry.name] = str(rng.choice(list(entry.choices)))
        elif entry.kind == "numbers":
            low, high = entry.range.low, min(entry.range.high, 1e3)
            numbers = np.sort(rng.uniform(low, high, rng.integers(1, 6)))[::-1]
            config[entry.name] = [round(float(v), 6) for v in numbers]
        else:
            ends = entry.range.low, entry.range.high
            config[entry.name] = number(rng, *ends, whole=entry.kind == "int")
    spec: dict[str, Any] = {
        "scheduler": scheduler,
        "config": config,
        "steps": int(math.exp(rng.uniform(0.0, math.log(1000.0)))),
        "model": model,
        "cond": str(rng.choice([c.id for c in MODELS[model].classes])),
        "seed": int(rng.integers(0, 1000)),
        "samples": int(rng.choice([1, 2, 64])),
    }
    if rng.random() < 0.1:
        numbers = np.unique(rng.uniform(0.0, 999.0, rng.integers(1, 6)).round(rng.integers(0, 4)))
        spec[str(rng.choice(["timesteps", "sigmas"]))] = numbers[::-1].tolist()
    return spec


def asked(seed: int) -> None:
    """Ask about one spec."""
    spec = drawn(seed)
    begun = time.perf_counter()
    answer = EXPLORER.schedule(spec)
    took = time.perf_counter() - begun
    json.dumps(answer, allow_nan=False)
    assert took < SECONDS, (spec, took)
    if not answer["ok"]:
        (message,) = set(answer["errors"].values())
        assert message and "server" not in message, (spec, answer)
        assert all(answer["errors"]), (spec, answer)  # a refusal says which controls are at fault


@pytest.mark.parametrize("tenth", range(10))
def test_every_question_is_answered_or_refused_by_name(
    tenth: int, pytestconfig: pytest.Config
) -> None:
    """Random settings over the whole ranges."""
    most = ALL if pytestconfig.getoption("--full", default=False) else SOME
    for seed in range(tenth, most, 10):
        asked(seed)
