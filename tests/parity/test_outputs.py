"""What step returns: an object, a mapping and a tuple at once; a plain tuple when asked."""

from collections.abc import Mapping

import pytest
import torch

from tests.parity.harness import Case, unit_noise
from tests.parity.oracle import stepped

NAMES = stepped()


@pytest.mark.parametrize("name", NAMES)
def test_output_access(name: str) -> None:
    x = unit_noise()
    results = []
    for scheduler in (Case(name).ours(), Case(name).theirs()):
        t = scheduler.timesteps[0]
        scheduler.scale_model_input(x, t)
        results.append(scheduler.step(x, t, x))
    ours, theirs = results
    assert ours["prev_sample"] is ours.prev_sample is ours[0] is ours.to_tuple()[0]
    assert ours["pred_original_sample"] is ours.pred_original_sample is ours[1]
    assert set(theirs.keys()) <= set(ours.keys())
    assert isinstance(ours, Mapping)
    assert len(ours[:1]) == 1
    assert next(iter(ours.items()))[0] == "prev_sample"
    with pytest.raises(TypeError):  # theirs raises a bare Exception here
        del ours["prev_sample"]


@pytest.mark.parametrize("name", NAMES)
def test_plain_tuple(name: str) -> None:
    scheduler = Case(name).ours()
    x = unit_noise()
    t = scheduler.timesteps[0]
    scheduler.scale_model_input(x, t)
    result = scheduler.step(x, t, x, return_dict=False)
    assert type(result) is tuple
    assert all(isinstance(part, torch.Tensor) for part in result)
