"""Law 5: NumPy and torch agree. Half precision is as good as the format allows."""

import copy

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from tests.laws.driver import NAMES, SHAPE, make, model_output, noise, sampled, walk


def source() -> np.random.Generator:
    """Both backends draw from NumPy's generator, so that they draw the same."""
    return np.random.default_rng(7)


def ulps(a: np.ndarray, b: torch.Tensor, largest: float) -> float:
    """Difference in units of the last place of the largest term that enters."""
    assert a.dtype == np.float32 and b.dtype == torch.float32
    return float(np.abs(a - b.numpy()).max() / np.spacing(np.float32(largest)))


@pytest.mark.parametrize("name", [n for n in NAMES if SCHEDULERS[n].call_form == "step"])
def test_numpy_and_torch_agree_to_an_ulp(name: str) -> None:
    """In float32, each step from the same arrays: a fused multiply-add is all the difference."""
    for settings in sampled(name, 80, seed=1):
        ours = make(name, tensor_format="np", **settings)
        tensors = make(name, tensor_format="pt", **settings)
        x = (noise(1) * ours.stages[0].here.scale).astype(np.float32)
        for scheduler in (ours, tensors):
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(0)
        before = 0.0
        for i, stage in enumerate(ours.stages):
            output = np.float32(model_output(ours, i, x, np.tanh(noise(20 + i, dtype="float32"))))
            given = {"generator": source()} if ours.row(i).noise else {}
            again = {"generator": source()} if ours.row(i).noise else {}
            shown = ours.scale_model_input(x, ours.timesteps[i])
            same = tensors.scale_model_input(torch.from_numpy(x), tensors.timesteps[i])
            a = ours.step(output, ours.timesteps[i], x, **given)
            b = tensors.step(
                torch.from_numpy(output), tensors.timesteps[i], torch.from_numpy(x), **again
            )
            here = stage.here
            term = max(float(np.abs(x).max()), here.sigma * float(np.abs(output[:, :3]).max()))
            lens = 1 / here.alpha if here.alpha else 1.0
            what = f"{settings}, call {i}"
            assert ulps(shown, same, float(np.abs(shown).max())) <= 1, what
            assert ulps(a.pred_original_sample, b.pred_original_sample, term * lens) <= 1, what
            # what is remembered of the calls before differs by as much
            term = max(term * max(1.0, stage.target.alpha * lens), before)
            assert ulps(a.prev_sample, b.prev_sample, term) <= 2, what
            before, x = term, a.prev_sample


def test_numpy_and_torch_agree_in_karras_ve() -> None:
    a, b = (make("KarrasVeScheduler", tensor_format=kind) for kind in ("np", "pt"))
    x, out = noise(1, dtype="float32"), noise(2, dtype="float32")
    hat, sigma_hat = a.add_noise_to_input(x, 20.0, source())
    same, same_sigma = b.add_noise_to_input(torch.from_numpy(x), 20.0, source())
    assert sigma_hat == same_sigma
    assert ulps(hat, same, float(np.abs(hat).max())) <= 1
    first = a.step(out, sigma_hat, 10.0, hat)
    second = b.step(torch.from_numpy(out), sigma_hat, 10.0, torch.from_numpy(hat))
    for key in ("prev_sample", "derivative", "pred_original_sample"):
        assert ulps(first[key], second[key], 20 * float(np.abs(out).max())) <= 1
    arrays = (hat, first.prev_sample, first.derivative)
    tensors = [torch.from_numpy(array) for array in arrays]
    first = a.step_correct(out, sigma_hat, 10.0, *arrays)
    second = b.step_correct(torch.from_numpy(out), sigma_hat, 10.0, *tensors)
    for key in ("prev_sample", "derivative", "pred_original_sample"):
        assert ulps(first[key], second[key], 20 * float(np.abs(out).max())) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_format_of_the_grid(name: str) -> None:
    scheduler = make(name, tensor_format="np")
    assert isinstance(scheduler.timesteps, np.ndarray)
    same = make(name, tensor_format="pt")
    assert torch.is_tensor(same.timesteps)
    assert same.timesteps.tolist() == scheduler.timesteps.tolist()
    switched = same.set_format("np")
    assert switched is same and isinstance(same.timesteps, np.ndarray)
    assert same.timesteps.dtype == scheduler.timesteps.dtype
    assert torch.is_tensor(same.set_format("pt").timesteps)


@pytest.mark.parametrize("name", NAMES)
def test_default_format_is_torch_where_it_is_installed(name: str) -> None:
    assert torch.is_tensor(make(name).timesteps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
# noise is drawn in the model's own dtype: there is no exact counterpart
@pytest.mark.parametrize("name", [n for n in NAMES if not make(n).row(0).noise])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """Each step, from inputs that the format holds exactly: half an ulp from the float64 answer."""
    scheduler, exact = make(name), make(name)
    if scheduler.call_form == "karras_ve":
        x = torch.from_numpy(noise(1)).to(dtype)
        out = scheduler.step(x, 2.0, 1.0, x)
        wide = exact.step(x.double(), 2.0, 1.0, x.double())
        close_in_half(out.prev_sample, wide.prev_sample, dtype)
        return
    x = torch.from_numpy(noise(1) * min(scheduler.stages[0].here.scale, 100.0)).to(dtype)
    for i, t in enumerate(scheduler.timesteps):
        if scheduler.row(i).noise:
            break
        output = torch.from_numpy(np.tanh(noise(30 + i))).to(dtype)
        for s in (scheduler, exact):
            s.scale_model_input(x, t)
        out = scheduler.step(output, t, x)
        wide = exact.step(output.double(), t, x.double())
        close_in_half(out.prev_sample, wide.prev_sample, dtype)
        close_in_half(out.pred_original_sample, wide.pred_original_sample, dtype)
        x = out.prev_sample


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_in_half_out_over_a_run(name: str, dtype: torch.dtype) -> None:
    scheduler = make(name)
    top = torch.from_numpy(noise(1) * scheduler.stages[0].here.scale).to(dtype)
    # one answer throughout: a flow read at sigma = 1e-3 would magnify a change past float16
    x0 = torch.from_numpy(np.tanh(noise(2))).to(dtype)
    for moment in walk(scheduler, lambda *_: x0, top, generator=torch.Generator()):
        assert moment.after.dtype == moment.pred.dtype == dtype
        assert bool(moment.after.isfinite().all())


def close_in_half(found: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    eps = torch.finfo(dtype).eps
    worst = (found.double() - exact).abs() / exact.abs().clamp(min=1e-2)
    assert float(worst.max()) <= 0.51 * eps


@pytest.mark.parametrize("name", NAMES)
def test_float64_stays_float64(name: str) -> None:
    scheduler = make(name)
    *_, last = walk(scheduler, lambda i, x: np.tanh(noise(i)), noise(1), generator=source())
    assert last.after.dtype == last.pred.dtype == np.float64


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_axes(name: str) -> None:
    """Points in a plane, images, videos: the same numbers in another shape."""
    flat = []
    no_batch = () if SCHEDULERS[name].weighs_by_norms else ((24,),)
    for shape in (*no_batch, (2, 12), (2, 3, 4), SHAPE, (2, 3, 2, 1, 2)):
        scheduler = make(name)
        x = noise(1).reshape(shape)
        run = walk(
            scheduler, lambda i, _, s=shape: np.tanh(noise(i)).reshape(s), x, generator=source()
        )
        *_, last = run
        assert last.after.shape == shape
        flat.append(last.after.reshape(-1))
    assert all(np.array_equal(flat[0], other) for other in flat)


def test_model_output_is_exact() -> None:
    """The driver's own inverse: what it feeds a scheduler is read back as the x0 it meant."""
    for name in NAMES:
        if make(name).call_form == "karras_ve":
            continue
        scheduler = make(name)
        x, x0 = noise(1), np.tanh(noise(2))
        # where a noise prediction says most of x0: an inversion begins on a clean sample
        top = int(np.argmax([stage.here.sigma for stage in scheduler.stages]))
        output = model_output(scheduler, top, x, x0)
        scheduler.scale_model_input(x, scheduler.timesteps[top])
        read = scheduler.predict_x0(output, scheduler.timesteps[top], x)
        assert np.allclose(read, x0, atol=1e-9)


@pytest.mark.parametrize(
    "name", ["PNDMScheduler", "EulerDiscreteScheduler", "LMSDiscreteScheduler"]
)
def test_a_step_can_be_differentiated_forward(name: str) -> None:
    """Its weights are made inside `torch.func` here, where tensors have no memory to write into."""
    scheduler = SCHEDULERS[name](beta_end=0.0123)  # an equal grid was made by nobody
    scheduler.set_timesteps(7)
    t, x = scheduler.timesteps[3], torch.ones(1, 2, dtype=torch.float64)

    def run(sample: torch.Tensor) -> torch.Tensor:
        own = copy.copy(scheduler)
        shown = own.scale_model_input(sample, t)
        return own.step(shown * 0.5, t, sample, return_dict=False)[0]

    value, slope = torch.func.jvp(run, (x,), (x,))
    torch.testing.assert_close(value, slope)  # a step is linear in what it is shown
    torch.testing.assert_close(run(x), value)
