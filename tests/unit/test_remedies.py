"""The remedies that warnings offer, and how shares are written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_explore import WARNED, asked, chips_of
from visualize.explore import Explorer


@pytest.mark.parametrize(("chip", "earned", "_"), WARNED, ids=lambda v: str(v)[:20])
def test_a_remedy_that_can_be_applied_ends_its_warning(
    chip: str, earned: dict[str, Any], _: dict[str, Any]
) -> None:
    change = chips_of(**{**earned, "config": dict(earned.get("config", {}))})[chip].set
    if change is None:
        return
    config, rest = dict(earned.get("config", {})), dict(earned)
    for key, value in change.items():
        if key.startswith("config."):
            config[key.removeprefix("config.")] = value
        else:
            rest[key] = value
    assert chip not in chips_of(**{**rest, "config": config})


def test_squared_levels_are_one_warning_with_its_way_out() -> None:
    chips = chips_of(scheduler="KarrasVeScheduler", steps=18)
    assert "wasted" not in chips
    assert chips["squared"].set == {"config.compat": "paper"}
    assert "squares" in (chips["squared"].why or "")


def test_shares_are_written_in_one_way() -> None:
    explorer = Explorer(device="cpu")
    answer = explorer.schedule(asked(scheduler="DDIMScheduler", steps=50))
    texts = [entry["weight_text"] for entry in answer["equations"]]
    assert "< 0.01 %" in texts
    assert texts[-1] == "100 %"
    for entry in answer["equations"][:-1]:
        assert f"makes up {entry['weight_text']} of the last call's input" in entry["sentence"]
    assert chips_of(scheduler="DDIMScheduler", steps=1)["levels"].text.count("→") == 1
