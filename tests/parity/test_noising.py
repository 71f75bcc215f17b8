"""add_noise, get_velocity and the step index, as training, image-to-image and inpainting use them."""

import pytest
import torch

from tests.parity.harness import Case, accepts, assert_same_run, error, unit_noise
from tests.parity.oracle import SchedulerLike, diffusers_class, stepped

NAMES = stepped()
DISCRETE = ("DDPMScheduler", "DDIMScheduler")
INDEXED = [name for name in NAMES if hasattr(diffusers_class(name), "set_begin_index")]
NOISING = [name for name in NAMES if hasattr(diffusers_class(name), "add_noise")]
EXACT = 1e-6  # one multiply-add in float32


def some_times(scheduler: SchedulerLike, *indices: int) -> torch.Tensor:
    """Times of a scheduler's own grid, one per sample."""
    times: torch.Tensor = scheduler.timesteps[list(indices)]
    return times


@pytest.mark.parametrize("name", NOISING)
def test_add_noise_per_sample(name: str) -> None:
    case = Case(name, steps=10)
    clean, noise = unit_noise(1), unit_noise(2)
    ours, theirs = case.ours(), case.theirs()
    for indices in ((0, 0), (0, 9), (5, 2)):
        a = ours.add_noise(clean, noise, some_times(ours, *indices))
        b = theirs.add_noise(clean, noise, some_times(theirs, *indices))
        assert error(a, b) <= EXACT


@pytest.mark.parametrize("name", NOISING)
def test_one_time_serves_a_batch(name: str) -> None:
    case = Case(name, steps=10)
    clean, noise = unit_noise(1), unit_noise(2)
    ours, theirs = case.ours(), case.theirs()
    a = ours.add_noise(clean, noise, some_times(ours, 4))
    b = theirs.add_noise(clean, noise, some_times(theirs, 4))
    assert error(a, b) <= EXACT


@pytest.mark.parametrize("name", NOISING)
def test_add_noise_before_set_timesteps(name: str) -> None:
    """As training does: every integer time of the table."""
    from tests.parity.test_grids import pair

    ours, theirs = pair(name)
    clean, noise = unit_noise(1), unit_noise(2)
    found = ours.add_noise(clean, noise, ours.timesteps[[7, -7]])
    # PNDM of theirs shows no times before set_timesteps
    shown = ours if theirs.timesteps is None else theirs
    times = shown.timesteps[[7, -7]]
    if bool((times % 1 == 0).all()):
        times = times.long()  # SA-Solver of theirs looks its table up by them
    expected = theirs.add_noise(clean, noise, times)
    assert error(found, expected) <= EXACT


@pytest.mark.parametrize("name", [n for n in INDEXED if n in NOISING])
def test_add_noise_with_begin_index_then_step_index(name: str) -> None:
    """Image-to-image noises at the begin index, inpainting at the step index."""
    case = Case(name, steps=10, start=4, begin=True)
    clean, noise = unit_noise(1), unit_noise(2)
    ours, theirs = case.ours(), case.theirs()
    assert ours.begin_index == theirs.begin_index == 4
    for _ in range(2):
        a = ours.add_noise(clean, noise, some_times(ours, 4, 4))
        b = theirs.add_noise(clean, noise, some_times(theirs, 4, 4))
        assert error(a, b) <= EXACT
        for scheduler in (ours, theirs):
            t = scheduler.timesteps[4]
            scheduler.scale_model_input(clean, t)
            scheduler.step(noise, t, clean)
        assert ours.step_index == theirs.step_index


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(diffusers_class(n), "get_velocity")])
def test_get_velocity(name: str) -> None:
    case = Case(name, steps=10)
    sample, noise = unit_noise(1), unit_noise(2)
    ours, theirs = case.ours(), case.theirs()
    for indices in ((0, 0), (9, 3)):
        a = ours.get_velocity(sample, noise, some_times(ours, *indices))
        b = theirs.get_velocity(sample, noise, some_times(theirs, *indices))
        assert error(a, b) <= EXACT


@pytest.mark.parametrize("name", DISCRETE)
def test_noising_in_half_precision_keeps_the_type(name: str) -> None:
    case = Case(name)
    clean, noise = unit_noise(1).half(), unit_noise(2).half()
    times = torch.tensor([3, 700])
    a = case.ours().add_noise(clean, noise, times)
    exact = case.ours().add_noise(clean.double(), noise.double(), times)
    assert a.dtype == torch.float16
    assert float((a - exact).abs().max()) <= 4e-3  # half an ulp of float16 at 4, and one rounding


@pytest.mark.parametrize("name", INDEXED)
def test_step_index_counts(name: str) -> None:
    case = Case(name, steps=4)
    ours, theirs = case.ours(), case.theirs()
    assert ours.step_index is None and ours.begin_index is None
    x = unit_noise()
    for t in theirs.timesteps:
        for scheduler in (ours, theirs):
            scheduler.scale_model_input(x, t)
        assert ours.step_index == theirs.step_index
        for scheduler in (ours, theirs):
            scheduler.step(x, t, x)
        assert ours.step_index == theirs.step_index
    ours.set_timesteps(4)
    assert ours.step_index is None


@pytest.mark.parametrize("name", INDEXED)
def test_index_for_timestep(name: str) -> None:
    case = Case(name, steps=6)
    ours, theirs = case.ours(), case.theirs()
    for a, b in zip(ours.timesteps, theirs.timesteps, strict=True):
        assert ours.index_for_timestep(a) == theirs.index_for_timestep(b)
    own = torch.tensor([9.0, 7.0, 7.0, 1.0])
    for t in (9.0, 7.0, 1.0):
        assert ours.index_for_timestep(t, own) == theirs.index_for_timestep(t, own)


@pytest.mark.parametrize("name", NAMES)
def test_image_to_image_slice(name: str) -> None:
    """`timesteps[start * order:]` with the begin index set, as image-to-image pipelines run."""
    order = diffusers_class(name).order
    for start in (2, 7):
        begin = accepts(diffusers_class(name), "set_begin_index") or name in INDEXED
        assert_same_run(Case(name, {}, 10, start=start * order, begin=begin))


def test_previous_timestep_of_ddpm() -> None:
    for case in (Case("DDPMScheduler"), Case("DDPMScheduler", grid={"timesteps": [900, 30, 4]})):
        ours, theirs = case.ours(), case.theirs()
        for t in theirs.timesteps:
            assert int(ours.previous_timestep(t)) == int(theirs.previous_timestep(t))


def test_private_variance_that_people_call() -> None:
    case = Case("DDPMScheduler")
    ours, theirs = case.ours(), case.theirs()
    for t in theirs.timesteps:
        assert abs(float(ours._get_variance(t)) - float(theirs._get_variance(t))) <= 1e-6
    case = Case("DDIMScheduler", steps=10)
    ours, theirs = case.ours(), case.theirs()
    for t in theirs.timesteps:
        a, b = ours._get_variance(t, t - 100), theirs._get_variance(t, t - 100)
        assert abs(float(a) - float(b)) <= 1e-6


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_coefficient(order: int) -> None:
    """Theirs by quadrature to 1e-4 relative, ours exact."""
    case = Case("LMSDiscreteScheduler", steps=8)
    ours, theirs = case.ours(), case.theirs()
    for t in range(order - 1, 8):
        for k in range(order):
            a, b = ours.get_lms_coefficient(order, t, k), theirs.get_lms_coefficient(order, t, k)
            assert abs(a - b) <= 1e-5 * max(1.0, abs(b))
