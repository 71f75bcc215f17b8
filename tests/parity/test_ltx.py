"""LTXEulerAncestralRF: everything that diffusers' class takes and answers, and its quirks."""

import math
import random
import warnings
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from tests.laws.driver import make
from tests.parity.harness import SCHEDULERS, Case, assert_same_grid, assert_same_run, unit_noise
from tests.parity.oracle import SchedulerLike, completed, diffusers_class, diffusers_scheduler

LTX, FLOW = "LTXEulerAncestralRFScheduler", "FlowMatchEulerDiscreteScheduler"
EXACT = 1e-6  # a few roundings; the weights are rounded as theirs
CONFIGS: list[dict[str, object]] = [
    {},
    {"eta": 0.0},
    {"eta": 0.5, "s_noise": 1.1},
    {"s_noise": 0.0},
    {"eta": 1.7, "s_noise": 0.3},
    {"eta": -0.5},
    {"s_noise": -1.0, "num_train_timesteps": 50},
]
#: Settings of another flow scheduler, which the grid is made from.
CARRIED: list[dict[str, object]] = [
    {"shift": 3.0},
    {"shift_terminal": 0.1, "shift": 0.5},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True, "shift": 2.0},
    {"use_beta_sigmas": True, "num_train_timesteps": 500},
    {"use_dynamic_shifting": True, "time_shift_type": "linear"},
]
GRIDS: list[dict[str, object]] = [
    {"sigmas": [1.0, 0.9937, 0.725, 0.42, 0.0]},
    {"sigmas": [1.0, 0.5, 0.1]},
    {"sigmas": torch.tensor([0.9, 0.3, 0.0])},
    {"sigmas": [0.2, 0.9, 0.4]},
    {"sigmas": [1.0, 1.0, 0.5, 0.5, 0.2, 0.0]},
    {"sigmas": [1.0, 1.0 - 2.0**-24, 0.99999, 0.5, 0.0]},
    {"sigmas": [0.7, -0.3, 0.2, 1e-9]},
    {"sigmas": [0.5]},
    {"timesteps": [1.0, 0.25, 0.0]},
    {"timesteps": [90.0, 50.0, 2.0]},
    {"timesteps": [0.3], "sigmas": [0.9, 0.2, 0.0]},
    {"sigmas": [0.9, 0.2, 0.0], "num_inference_steps": 77},
]


def laid_out(
    grid: Mapping[str, object], config: Mapping[str, object]
) -> tuple[SchedulerLike, SchedulerLike]:
    """Ours and theirs."""
    pair = SCHEDULERS[LTX](**config), diffusers_scheduler(LTX, **config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for scheduler in pair:
            scheduler.set_timesteps(**grid)
    return pair


def run(
    scheduler: SchedulerLike, x: torch.Tensor, seeds: tuple[int, ...] = (3,), more: int = 0
) -> list[torch.Tensor]:
    """Every sample of a run over all its times, and of further calls."""
    made = [torch.Generator().manual_seed(seed) for seed in seeds]
    found = []
    for t in [*scheduler.timesteps, *[scheduler.timesteps[-1]] * more]:
        output = 0.5 * torch.tanh(x) + 0.1 * torch.cos(0.01 * t)
        generator = made[0] if len(made) == 1 else made
        x = scheduler.step(output, t, x, generator=generator, return_dict=False)[0]
        found.append(x)
    return found


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor], what: str = "") -> None:
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.dtype == b.dtype, what
        scale = max(1.0, float(b.abs().max()))
        assert float((a - b).abs().max()) <= EXACT * scale, f"{what}, call {i}"


@pytest.mark.parametrize("train", [1000, 50])
def test_every_number_of_steps(train: int) -> None:
    ours = SCHEDULERS[LTX](num_train_timesteps=train)
    theirs = diffusers_scheduler(LTX, num_train_timesteps=train)
    for steps in range(1, 201):
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert torch.equal(ours.timesteps, theirs.timesteps), steps
        assert torch.equal(ours.sigmas, theirs.sigmas), steps


@pytest.mark.parametrize("config", CARRIED, ids=str)
def test_settings_of_another_flow(config: dict[str, object]) -> None:
    """Upstream hands its config to the other class, and takes the grid of that."""
    ours = SCHEDULERS[LTX].from_config(SCHEDULERS[FLOW](**config).config)
    theirs = completed(
        diffusers_class(LTX).from_config(diffusers_scheduler(FLOW, **config).config)
    )
    for steps in range(2, 201, 1 if len(config) < 2 else 7):
        for scheduler in (ours, theirs):
            scheduler.set_timesteps(steps, mu=0.8)
        assert_same_grid(ours, theirs, f"{steps} steps")
    ours.set_timesteps(9, mu=1.15)
    theirs.set_timesteps(9, mu=1.15)
    assert_same(run(ours, unit_noise()), run(theirs, unit_noise()), str(config))
    back = SCHEDULERS[FLOW].from_config(ours.config)
    assert all(back.config[key] == value for key, value in config.items())
    assert FLOW in {cls.__name__ for cls in ours.compatibles}


def test_what_the_other_flow_refuses_is_refused_by_name() -> None:
    ours = SCHEDULERS[LTX].from_config({"use_karras_sigmas": True, "use_beta_sigmas": True})
    with pytest.raises(ValueError, match="only one of use_karras_sigmas"):
        ours.set_timesteps(5)
    ours = SCHEDULERS[LTX].from_config({"use_dynamic_shifting": True})
    with pytest.raises(ValueError, match="mu=None"):
        ours.set_timesteps(5)
    ours = SCHEDULERS[LTX].from_config({"invert_sigmas": True})
    ours.set_timesteps(5)
    with pytest.raises(ValueError, match="no step is defined from alpha=1, sigma=0"):
        ours.step(unit_noise(), ours.timesteps[0], unit_noise())  # theirs divides by 0


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_runs(config: dict[str, object]) -> None:
    for steps, seeds in ((1, (3,)), (7, (3,)), (30, (5, 6))):
        assert_same_run(Case(LTX, config, steps, seeds=seeds), EXACT)
    assert_same_run(Case(LTX, config, 10, start=4), EXACT)
    assert_same_run(Case(LTX, config, 10, start=7, begin=True), EXACT)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_custom_levels(grid: dict[str, object], config: dict[str, object]) -> None:
    """To the end and beyond, whatever the levels are."""
    ours, theirs = laid_out(grid, config)
    assert torch.equal(ours.sigmas, theirs.sigmas)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    assert ours.num_inference_steps == theirs.num_inference_steps
    assert_same(run(ours, unit_noise(), more=2), run(theirs, unit_noise(), more=2), str(grid))
    assert ours.step_index == theirs.step_index


def test_options_in_random_company() -> None:
    chance = random.Random(LTX)
    for _ in range(80):
        config = {
            "eta": chance.choice((0.0, 0.05, 0.5, 1.0, 1.2)),
            "s_noise": chance.choice((0.0, 0.5, 1.0, 1.01)),
            "num_train_timesteps": chance.choice((1000, 50)),
        }
        levels = sorted({chance.random() for _ in range(chance.randint(2, 9))}, reverse=True)
        ours, theirs = laid_out({"sigmas": [*levels, 0.0]}, config)
        begin = chance.randrange(len(levels))
        results = []
        for scheduler in (ours, theirs):
            scheduler.set_begin_index(begin)
            results.append(run(scheduler, unit_noise(), (3, 4)))
        assert_same(*results, f"{config} {levels}")


@pytest.mark.parametrize("output", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("sample", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision(sample: torch.dtype, output: torch.dtype) -> None:
    """The same draws, in the dtype of the sample; theirs computes in float32 throughout."""
    ours, theirs = laid_out({"num_inference_steps": 6}, {})
    made = [torch.Generator().manual_seed(3) for _ in range(2)]
    x = unit_noise().to(sample)
    ulp = max(float(torch.finfo(sample).eps), EXACT)
    for t in theirs.timesteps:
        out = torch.tanh(unit_noise(int(t))).to(output)
        a, b = (
            s.step(out, t, x, generator=g).prev_sample
            for s, g in zip((ours, theirs), made, strict=True)
        )
        assert a.dtype == b.dtype == sample
        assert float((a - b).abs().max()) <= ulp * max(1.0, float(b.abs().max()))
        x = b


def test_numpy_steps_are_those_of_torch() -> None:
    x, ends = unit_noise(), []
    for start in (x, x.numpy()):
        scheduler = make(LTX, 6)
        for i, t in enumerate(scheduler.timesteps):
            generator = np.random.default_rng(i)
            start = scheduler.step(0.3 * start, t, start, generator=generator).prev_sample
        ends.append(np.asarray(start))
    assert ends[1].dtype == np.float32
    assert np.abs(ends[0] - ends[1]).max() <= 1e-6


def test_what_is_not_used_is_said() -> None:
    """Upstream takes any further word in silence, and logs a number that does not fit."""
    ours = SCHEDULERS[LTX]()
    with pytest.warns(UserWarning, match="no argument original: ignored"):
        ours.set_timesteps(5, original=3)
    with pytest.warns(UserWarning, match="num_inference_steps=7 and the 2 steps of custom sigmas"):
        ours.set_timesteps(7, sigmas=[1.0, 0.5, 0.0])
    strict = SCHEDULERS[LTX](compat="paper")
    with pytest.raises(ValueError, match="num_inference_steps=7 and the 2 steps"):
        strict.set_timesteps(7, sigmas=[1.0, 0.5, 0.0])
    for sigmas in ([0.5, 0.9], [0.5, 0.5], [1.5, 0.1], [0.5, -0.1]):
        with pytest.raises(ValueError, match="sigmas"):
            strict.set_timesteps(sigmas=sigmas)


# --- the quirks -------------------------------------------------------------------------------


@pytest.mark.quirk("ltx-late-start", "diffusers", "paper")
def test_a_first_level_that_occurs_twice() -> None:
    for compat, reached in (("diffusers", 2), ("paper", 1)):
        scheduler = SCHEDULERS[LTX](compat=compat)
        if compat == "paper":  # refuses such levels; a caller may still assign them
            scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
            scheduler.sigmas[1], scheduler.timesteps[1] = 1.0, 1000.0
        else:
            scheduler.set_timesteps(sigmas=[1.0, 1.0, 0.5, 0.0])
        scheduler.step(unit_noise(), scheduler.timesteps[0], unit_noise())
        assert scheduler.step_index == reached


@pytest.mark.quirk("ltx-silent-step", "diffusers", "paper")
def test_a_step_without_noise() -> None:
    def signal(compat: str) -> tuple[float, float]:
        """What the third step leaves of the data, and what its target holds of them."""
        scheduler = make(LTX, 5, s_noise=0.0, compat=compat)
        row, stage = scheduler.row(2), scheduler.stages[2]
        return row.x[0] * stage.here.alpha + row.x0[0], stage.target.alpha

    assert signal("diffusers") == pytest.approx((0.874, 0.749), abs=1e-3)
    found, wanted = signal("paper")
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.quirk("ltx-guard", "diffusers", "paper")
def test_next_to_pure_noise() -> None:
    def variance(compat: str) -> float:
        scheduler = SCHEDULERS[LTX](compat=compat)
        scheduler.set_timesteps(sigmas=[1.0, 1.0 - 2.0**-24, 0.5, 0.0])
        return scheduler.row(0).noise ** 2

    assert variance("diffusers") == pytest.approx(1.0, abs=4e-3)
    assert variance("paper") == pytest.approx(0.75, abs=1e-6)


@pytest.mark.quirk("ltx-times-are-levels", "diffusers", "paper")
@pytest.mark.quirk("ltx-one-more-time", "diffusers", "paper")
def test_given_times() -> None:
    scheduler = SCHEDULERS[LTX]()
    scheduler.set_timesteps(timesteps=[1.0, 0.5, 0.0])
    assert scheduler.timesteps.tolist() == [1000.0, 500.0, 0.0]
    x = unit_noise()
    for t in scheduler.timesteps:
        last, x = x, scheduler.step(torch.tanh(x), t, x).prev_sample
    assert torch.equal(x, last) and len(scheduler.stages) == scheduler.step_index == 2
    paper = SCHEDULERS[LTX](compat="paper")
    paper.set_timesteps(timesteps=[1000.0, 500.0])
    assert paper.timesteps.tolist() == [1000.0, 500.0]
    assert paper.sigmas.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.quirk("flow-shift-twice", "diffusers", "paper")
def test_a_carried_shift() -> None:
    for compat, last in (("diffusers", 0.0089), ("paper", 3 / 1002)):
        scheduler = SCHEDULERS[LTX].from_config({"shift": 3.0, "compat": compat})
        scheduler.set_timesteps(10)
        assert float(scheduler.sigmas[-2]) == pytest.approx(last, abs=1e-4)


def test_noise_adds_up_to_the_level() -> None:
    """For every eta the step carries a point mass to its target."""
    for eta in (0.0, 0.3, 1.0):
        scheduler = make(LTX, 9, eta=eta, compat="paper")
        for i, (_, here, target, *_) in enumerate(scheduler.stages):
            row = scheduler.row(i)
            assert row.x[0] * here.alpha + row.x0[0] == pytest.approx(target.alpha, abs=1e-12)
            spread = math.hypot(row.x[0] * here.sigma, row.noise)
            assert spread == pytest.approx(target.sigma, abs=1e-12)
