"""A step costs its floor of full-size operations plus at most one, and never waits for a device."""

import pytest
import torch

from benchmarks.schedulers import ROWS, Row, count, fresh
from tests.laws.driver import NAMES, make, model_output, walk


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_operations_and_waits(row: Row) -> None:
    ops, full, reads = count(fresh(row, False, "cpu"), row, "cpu")
    assert full <= row.floor + 1
    # nothing small beside the full-size work, but for the norms that weigh a Langevin step
    assert row.corrects or ops <= full + 1
    assert reads == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reads_no_array(name: str) -> None:
    """Meta tensors have no values: whatever asks for one fails."""
    scheduler = make(name)
    x = torch.empty(2, 3, 2, 2, device="meta")
    if scheduler.call_form == "karras_ve":
        hat, sigma_hat = scheduler.add_noise_to_input(x, 2.0)
        out = scheduler.step(hat, sigma_hat, 1.0, hat)
        out = scheduler.step_correct(hat, sigma_hat, 1.0, hat, out.prev_sample, out.derivative)
        assert out.prev_sample.is_meta
        return
    if scheduler.call_form == "score_sde":
        *_, last = walk(scheduler, lambda _, shown: shown, x)
        assert last.after.is_meta
        return
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(x, t)
        x = scheduler.step(model_output(scheduler, i, x, x), t, x).prev_sample
    assert x.is_meta and x.shape == (2, 3, 2, 2)
