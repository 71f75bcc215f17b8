"""Batched steps of the parallel classes beside diffusers, and beside steps one by one."""

import pytest
import torch

from schedulers import SCHEDULERS
from tests.parity.harness import SHAPE, Case, assert_same_run, error, fake_model, unit_noise

PARALLEL = ("DDIMParallelScheduler", "DDPMParallelScheduler")
BATCH = (6, *SHAPE[1:])


@pytest.mark.parametrize("name", PARALLEL)
def test_steps_are_those_of_the_sequential_class(name: str) -> None:
    for spacing in ("leading", "linspace"):
        assert_same_run(Case(name, {"timestep_spacing": spacing}, 9))


@pytest.mark.quirk("parallel-end", "diffusers")
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", PARALLEL)
def test_batched_steps(name: str, prediction: str) -> None:
    """Each sample at its own time, on the grid and off it."""
    configs: list[dict[str, object]] = [
        {}, {"clip_sample": False}, {"thresholding": True, "sample_max_value": 1.5},
        {"timestep_spacing": "linspace"},
    ]  # fmt: skip
    if name == "DDIMParallelScheduler":
        configs.append({"set_alpha_to_one": False})
    else:
        configs.append({"variance_type": "learned_range"})
    times = torch.tensor([900, 0, 300, 300, 7, 501])
    x = unit_noise(3, BATCH)
    for config in configs:
        case = Case(name, {"prediction_type": prediction, **config}, 10)
        output = fake_model(x, 5.0, doubled="variance_type" in config)
        a = case.ours().batch_step_no_noise(output, times, x)
        b = case.theirs().batch_step_no_noise(output, times, x)
        assert error(a, b) <= 1e-5


def test_batched_steps_with_the_clipped_output() -> None:
    case = Case("DDIMParallelScheduler", {}, 10)
    x, times = unit_noise(3, BATCH), torch.tensor([900, 0, 300, 300, 700, 500])
    output = fake_model(x, 5.0)
    arguments = (output, times, x, 0.0, True)
    a = case.ours().batch_step_no_noise(*arguments)
    assert error(a, case.theirs().batch_step_no_noise(*arguments)) <= 1e-5


def test_one_training_step_before_set_timesteps() -> None:
    from tests.parity.oracle import diffusers_scheduler

    x, times = unit_noise(3, BATCH), torch.arange(6)
    output = fake_model(x, 5.0)
    pair = SCHEDULERS["DDPMParallelScheduler"](), diffusers_scheduler("DDPMParallelScheduler")
    a, b = (s.batch_step_no_noise(output, times, x) for s in pair)
    assert error(a, b) <= 1e-4  # theirs takes betas of 1e-4 as differences of float32 numbers
    with pytest.raises(ValueError, match="set_timesteps"):
        SCHEDULERS["DDIMParallelScheduler"]().batch_step_no_noise(output, times, x)


@pytest.mark.quirk("parallel-end", "paper")
@pytest.mark.parametrize("kind", ["np", "pt"])
@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_by_the_paper_a_batch_lands_where_steps_land(spacing: str, kind: str) -> None:
    made = SCHEDULERS["DDIMParallelScheduler"](
        timestep_spacing=spacing, set_alpha_to_one=False, compat="paper", tensor_format=kind
    )
    made.set_timesteps(6)
    x = unit_noise(3, BATCH).double()
    output = fake_model(x, 5.0)
    if kind == "np":
        x, output = x.numpy(), output.numpy()
    whole = made.batch_step_no_noise(output, made.timesteps, x)
    for i, t in enumerate(made.timesteps):
        alone = made.step(output[i : i + 1], t, x[i : i + 1]).prev_sample
        assert abs(whole[i : i + 1] - alone).max() <= 1e-12


@pytest.mark.parametrize("name", PARALLEL)
def test_variances_that_the_pipeline_asks_for(name: str) -> None:
    case = Case(name, {}, 10)
    ours, theirs = case.ours(), case.theirs()
    for t in theirs.timesteps:
        assert float(ours._get_variance(t)) == pytest.approx(
            float(theirs._get_variance(t)), rel=1e-3, abs=1e-9
        )
    if hasattr(theirs, "_batch_get_variance"):
        times = torch.tensor([900, 0, 7])
        a = ours._batch_get_variance(times, times - 100)
        torch.testing.assert_close(a, theirs._batch_get_variance(times, times - 100))


@pytest.mark.parametrize("name", PARALLEL)
def test_a_batched_step_reads_no_device_value(name: str) -> None:
    x = torch.empty(BATCH, device="meta", dtype=torch.float16)
    times = torch.empty(6, dtype=torch.int64, device="meta")
    scheduler = Case(name, {}, 10).ours()
    for several in (times, times[:1], times[0]):  # one for all is not read either
        out = scheduler.batch_step_no_noise(x, several, x)
        assert out.shape == x.shape and out.dtype == x.dtype


@pytest.mark.parametrize("name", PARALLEL)
def test_wrong_batches_are_refused(name: str) -> None:
    scheduler = Case(name, {}, 10).ours()
    x = unit_noise(3, BATCH)
    for times in (torch.tensor([1, 2]), torch.tensor([1000] * 6), torch.tensor([-1] * 6)):
        with pytest.raises(ValueError, match="timesteps"):
            scheduler.batch_step_no_noise(x, times, x)
    with pytest.raises(ValueError, match="model_output"):
        scheduler.batch_step_no_noise(x[:2], torch.tensor([1] * 6), x)
