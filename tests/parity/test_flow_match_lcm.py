"""FlowMatchLCM: everything that diffusers' class takes and answers, and the quirks of that."""

import random
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from schedulers.process.resizing import AXES
from tests.laws.driver import make, noise, walk
from tests.parity.harness import SCHEDULERS, Case, assert_same_grid, assert_same_run, unit_noise
from tests.parity.oracle import SchedulerLike, diffusers_scheduler

LCM = "FlowMatchLCMScheduler"
EXACT = 1e-6  # two roundings of numbers around 4
CURVES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
CONFIGS: list[dict[str, object]] = [
    {},
    {"shift": 3.0},
    {"shift": 0.5, "shift_terminal": 0.1},
    {"invert_sigmas": True, "shift": 2.0},
    {"num_train_timesteps": 100, "shift": 3.0},
    *({curve: True, "shift": 3.0} for curve in CURVES),
]
#: What no flow means, and upstream runs all the same, beside what a flow does mean.
GRIDS: list[dict[str, object]] = [
    {"sigmas": [1.0, 0.7, 0.2, 0.01]},
    {"sigmas": [0.2, 0.9, 0.5]},
    {"sigmas": [0.8, 0.5, 0.5, 0.0, 0.3]},
    {"sigmas": [3.0, -1.0, 0.5], "num_inference_steps": 3},
    {"timesteps": [1000.0, 993.0, 725.5, 0.03]},
    {"timesteps": [5000, 10]},
    {"timesteps": [900, 500, 3], "sigmas": [0.95, 0.5, 0.1], "num_inference_steps": 3},
]


def run(
    scheduler: SchedulerLike, x: torch.Tensor, seeds: tuple[int, ...] = (3,), start: int = 0
) -> list[torch.Tensor]:
    """Every sample of a run, with a model of its own for every size."""
    made = [torch.Generator().manual_seed(seed) for seed in seeds]
    found = []
    for t in scheduler.timesteps[start:]:
        output = 0.5 * torch.tanh(x) + 0.1 * torch.cos(0.01 * t)
        generator = made[0] if len(made) == 1 else made
        x = scheduler.step(output, t, x, generator=generator, return_dict=False)[0]
        found.append(x)
    return found


def both(
    config: Mapping[str, object], grid: Mapping[str, object]
) -> tuple[SchedulerLike, SchedulerLike]:
    """Ours and theirs, laid out."""
    pair = SCHEDULERS[LCM](**config), diffusers_scheduler(LCM, **config)
    for scheduler in pair:
        scheduler.set_timesteps(**grid)
    return pair


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor], what: str = "") -> None:
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype, what
        scale = max(1.0, float(b.abs().max()))
        assert float((a - b).abs().max()) <= EXACT * scale, f"{what}, call {i}"


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_number_of_steps(config: dict[str, object]) -> None:
    ours, theirs = SCHEDULERS[LCM](**config), diffusers_scheduler(LCM, **config)
    assert_same_grid(ours, theirs, "fresh")
    assert (ours.sigma_min, ours.sigma_max) == (theirs.sigma_min, theirs.sigma_max)
    for steps in range(1, 201):
        if steps == 1 and "shift_terminal" in config:
            continue  # NaN: test_a_single_step_is_not_stretched
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        if not any(curve in config for curve in CURVES):
            assert torch.equal(ours.timesteps, theirs.timesteps), steps
            assert torch.equal(ours.sigmas, theirs.sigmas), steps
        assert_same_grid(ours, theirs, f"{steps} steps")


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_runs(config: dict[str, object]) -> None:
    for steps, seeds in ((2, (3,)), (7, (3,)), (30, (5, 6))):
        assert_same_run(Case(LCM, config, steps, seeds=seeds), EXACT)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_custom_grids(grid: dict[str, object], config: dict[str, object]) -> None:
    try:
        ours, theirs = both(config, grid)
    except ValueError as refusal:  # an exponential curve to or from a level without a logarithm
        assert "sigmas" in str(refusal) or "math domain" in str(refusal)
        return
    if not bool(theirs.sigmas.isfinite().all()):
        return
    assert_same_grid(ours, theirs)
    for scheduler in (ours, theirs):
        scheduler.set_begin_index(0)
    assert_same(run(ours, unit_noise()), run(theirs, unit_noise()), str(grid))


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_dynamic_shift(kind: str) -> None:
    config = {"use_dynamic_shifting": True, "time_shift_type": kind, "shift": 3.0}
    for mu in (0.3, 1.15):
        for more in ({"num_inference_steps": 9}, {"sigmas": [1.0, 0.6, 0.1]}):
            ours, theirs = both(config, {"mu": mu, **more})
            assert_same_grid(ours, theirs)
    for scheduler in (SCHEDULERS[LCM](**config), diffusers_scheduler(LCM, **config)):
        with pytest.raises(ValueError, match="mu"):
            scheduler.set_timesteps(4)


def test_options_in_random_company() -> None:
    chance = random.Random(LCM)
    for _ in range(60):
        config = {
            "shift": chance.choice((1.0, 3.0, 0.3)),
            "shift_terminal": chance.choice((None, 0.1, 0.02)),
            "invert_sigmas": chance.random() < 0.3,
            "num_train_timesteps": chance.choice((1000, 50)),
            **chance.choice(({}, {}, *({curve: True} for curve in CURVES))),
        }
        steps = chance.randint(2, 12)
        case = Case(LCM, config, steps, start=chance.randrange(steps), begin=True)
        assert_same_run(case, EXACT)


def test_noising_and_image_to_image() -> None:
    for config in ({}, {"shift": 3.0}, {"invert_sigmas": True}):
        ours, theirs = both(config, {"num_inference_steps": 8})
        clean, z = unit_noise(1), unit_noise(2)
        for t in (theirs.timesteps[:1], theirs.timesteps[[2, 5]]):
            assert_same([ours.scale_noise(clean, t, z)], [theirs.scale_noise(clean, t, z)])
        starts = []
        for scheduler in (ours, theirs):
            scheduler.set_begin_index(3)
            starts.append(scheduler.scale_noise(clean, scheduler.timesteps[3:4], z))
        assert_same(starts[:1], starts[1:])
        assert_same(run(ours, starts[0], start=3), run(theirs, starts[1], start=3), str(config))
        assert ours.step_index == theirs.step_index == 8


@pytest.mark.parametrize("output", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("sample", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision(sample: torch.dtype, output: torch.dtype) -> None:
    """The same draws and dtypes; in half precision upstream rounds a product that ours does not."""
    ours, theirs = both({"shift": 3.0}, {"num_inference_steps": 6})
    made = [torch.Generator().manual_seed(3) for _ in range(2)]
    x = unit_noise().to(sample)
    ulp = max(float(torch.finfo(output).eps), float(torch.finfo(torch.float32).eps))
    for t in theirs.timesteps:
        out = torch.tanh(unit_noise(int(t))).to(output)
        a, b = (
            s.step(out, t, x, generator=g).prev_sample
            for s, g in zip((ours, theirs), made, strict=True)
        )
        assert a.dtype == b.dtype == output
        assert float((a - b).abs().max()) <= 2 * ulp * float(b.abs().max())
        x = b.to(sample)


# --- samples that grow ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", AXES)
@pytest.mark.parametrize("inverted", [False, True])
def test_samples_that_grow(mode: str, inverted: bool) -> None:
    for axes in AXES[mode]:
        shape = (2, 3, *(4, 6, 5)[:axes])
        factors = [0.5, 1.0, 1.7, 2.5]
        config = {"scale_factors": factors, "upscale_mode": mode, "invert_sigmas": inverted}
        ours, theirs = both(config, {"num_inference_steps": 5})
        for seeds in ((3,), (5, 6)):
            for scheduler in (ours, theirs):
                scheduler.set_timesteps(5)
            x = unit_noise(1, shape)
            assert_same(run(ours, x, seeds), run(theirs, x, seeds), f"{mode}, {shape}")


def test_factors_that_are_set_later() -> None:
    ours, theirs = both({}, {"num_inference_steps": 4})
    x = unit_noise(1, (1, 2, 4, 4))
    for factors in ([0.5, 1.5, 2.0], [], [2.0, 2.0, 3.0]):
        for scheduler in (ours, theirs):
            scheduler.set_scale_factors(factors, "bilinear")
            scheduler.set_timesteps(4)
        assert_same(run(ours, x), run(theirs, x), str(factors))


@pytest.mark.parametrize("mode", AXES)
def test_numpy_interpolates_as_torch(mode: str) -> None:
    for axes in AXES[mode]:
        x = unit_noise(1, (2, 2, *(5, 7, 4)[:axes]))
        config = {"scale_factors": [0.6, 1.9], "upscale_mode": mode}
        ends = []
        for start in (x, x.numpy()):
            scheduler = make(LCM, 3, **config)
            for i, t in enumerate(scheduler.timesteps):
                generator = np.random.default_rng(i)
                start = scheduler.step(0.3 * start, t, start, generator=generator).prev_sample
            ends.append(np.asarray(start))
        assert ends[0].shape == ends[1].shape
        assert np.abs(ends[0] - ends[1]).max() <= 5e-6


def test_predict_x0_tells_the_size_too() -> None:
    scheduler = make(LCM, 3, scale_factors=[1.0, 2.0])
    x = unit_noise()
    for t in scheduler.timesteps:
        told = scheduler.predict_x0(torch.tanh(x), t, x)
        out = scheduler.step(torch.tanh(x), t, x)
        assert torch.equal(told, out.pred_original_sample)
        x = out.prev_sample
    assert x.shape == (2, 3, 8, 8)


def test_what_cannot_grow_is_refused_by_name() -> None:
    x = unit_noise()
    for factors, mode, shape, named in (
        ([1.0], "bicubic", x.shape, r"scale_factors=\[1.0\] must be one fewer than the 3 steps"),
        ([1.0, 2.0], "trilinear", x.shape, "upscale_mode='trilinear' wants .* 3 more axes"),
        ([0.1, 2.0], "nearest", x.shape, r"scale_factors\[0\]=0.1 leaves nothing"),
    ):
        scheduler = make(LCM, 3, scale_factors=factors, upscale_mode=mode)
        with pytest.raises(ValueError, match=named):
            scheduler.step(x.reshape(shape), scheduler.timesteps[0], x.reshape(shape))
    with pytest.raises(ValueError, match="upscale_mode='lanczos' must be one of 'nearest'"):
        scheduler.set_scale_factors([1.0], "lanczos")
    with pytest.raises(ValueError, match=r"scale_factors\[0\]=-1 must lie in"):
        scheduler.set_scale_factors([-1.0], "area")


# --- the quirks -------------------------------------------------------------------------------


@pytest.mark.quirk("flow-shift-twice", "diffusers", "paper")
@pytest.mark.quirk("flow-custom-times", "diffusers", "paper")
def test_shifts_and_times() -> None:
    for compat, last, level in (("diffusers", 0.0089, 0.75), ("paper", 3 / 1002, 0.5)):
        scheduler = make(LCM, 10, shift=3.0, compat=compat)
        assert float(scheduler.sigmas[-2]) == pytest.approx(last, abs=1e-4)
        scheduler.set_timesteps(timesteps=[1000.0, 500.0])
        assert scheduler.stages[1].here.sigma == pytest.approx(level)


@pytest.mark.quirk("flow-inverted-noise", "diffusers", "paper")
def test_an_inverted_run_ends_on_noise() -> None:
    def left(compat: str) -> float:
        scheduler = make(LCM, invert_sigmas=True, compat=compat)
        x0 = np.tanh(noise(1))
        *_, last = walk(scheduler, lambda *_: x0, noise(2), generator=np.random.default_rng(1))
        return float((last.after - x0).std())

    assert left("diffusers") > 0.5
    assert left("paper") < 1e-9


@pytest.mark.quirk("flow-any-levels", "diffusers", "paper")
@pytest.mark.parametrize("name", ["FlowMatchLCMScheduler", "LTXEulerAncestralRFScheduler"])
@pytest.mark.parametrize("levels", [[0.5, 0.9, 0.2], [0.9, 0.9, 0.2], [1.5, 0.5, 0.25]])
def test_levels_need_not_descend_inside_the_path(name: str, levels: list[float]) -> None:
    """Upstream takes rising, repeated and outlying levels; by the paper they are refused."""
    theirs, ours = diffusers_scheduler(name), SCHEDULERS[name]()
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(sigmas=levels)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="^sigmas="):
        SCHEDULERS[name](compat="paper").set_timesteps(sigmas=levels)


@pytest.mark.quirk("flow-stretch-one", "paper")
def test_a_single_step_is_not_stretched() -> None:
    assert make(LCM, 1, shift_terminal=0.1).stages[0].here.sigma == 1.0


@pytest.mark.quirk("flow-lcm-late-start", "paper")
def test_a_first_level_that_occurs_twice() -> None:
    theirs = diffusers_scheduler(LCM)
    theirs.set_timesteps(sigmas=[0.8, 0.8, 0.5])
    with pytest.raises(IndexError):
        run(theirs, unit_noise())
    ours = SCHEDULERS[LCM]()
    ours.set_timesteps(sigmas=[0.8, 0.8, 0.5])
    assert len(run(ours, unit_noise())) == ours.step_index == 3
