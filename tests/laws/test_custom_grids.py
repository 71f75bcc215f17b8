"""Custom times and levels on every class whose `set_timesteps` takes them, and times off the grid."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from tests.laws.driver import NAMES, SchedulerLike, make, noise, strictly, walk

NOTHING: Mapping[str, object] = MappingProxyType({})
#: Where upstream takes something else for sigmas, or takes them on a flow only.
WAYS = (NOTHING, {"compat": "paper"}, {"use_flow_sigmas": True})


def taking(parameter: str) -> list[str]:
    """Classes with this parameter of `set_timesteps`."""
    return [
        name
        for name in NAMES
        if parameter in inspect.signature(SCHEDULERS[name].set_timesteps).parameters
    ]


def fresh(name: str, /, config: Mapping[str, object] = NOTHING, **grid: object) -> SchedulerLike:
    """A scheduler on a custom grid."""
    scheduler = SCHEDULERS[name](**config)
    scheduler.set_timesteps(**grid)
    return scheduler


def arrives(scheduler: SchedulerLike) -> None:
    """Every call reads the data prediction that the model meant, and the run ends on it."""
    top, x0 = noise(1) * scheduler.stages[0].here.scale, np.tanh(noise(2))
    moments = walk(scheduler, lambda *_: x0, top, generator=np.random.default_rng(0))
    *_, last = moments
    assert np.abs(last.pred - x0).max() <= 1e-9 * max(1.0, float(np.abs(last.shown).max()))
    if scheduler.stages[-1].target.sigma == 0.0:
        assert np.abs(last.after - x0).max() <= 1e-6


TIMES = [900, 510, 122, 7]


def on_training_steps() -> list[str]:
    """Classes that take times and whose own times are training steps, not functions of them."""
    return [n for n in taking("timesteps") if all(0 <= s.t <= 1000 for s in make(n, 4).stages)]


@pytest.mark.parametrize("name", on_training_steps())
def test_custom_times_are_visited(name: str) -> None:
    for given in (TIMES, np.array(TIMES), torch.tensor(TIMES)):
        scheduler = fresh(name, strictly(name), timesteps=given)
        asked = [stage.t for stage in scheduler.stages]
        assert [t for t in asked if t in TIMES][:1] == [900.0]
        assert set(TIMES) <= {round(t) for t in asked}
        assert scheduler.num_inference_steps == len(TIMES)
    arrives(scheduler)


@pytest.mark.parametrize("name", on_training_steps())
def test_its_own_times_give_its_own_run(name: str) -> None:
    """Times that the class would choose itself lead through the same levels."""
    own = make(name, 4)
    times = [own.stages[i].t for i in range(0, len(own.stages), own.order)]
    again = fresh(name, strictly(name), timesteps=times)
    for a, b in zip(own.stages, again.stages, strict=True):
        assert a.here.sigma == pytest.approx(b.here.sigma, rel=1e-4)


@pytest.mark.parametrize("name", sorted({*taking("timesteps")} - {*on_training_steps()}))
def test_custom_places_are_visited(name: str) -> None:
    """Times that stand for places on a schedule: as many steps as places, ending where it ends."""
    scheduler = fresh(name, timesteps=[30, 9, 2])
    assert len(scheduler.stages) == scheduler.num_inference_steps == 3
    arrives(scheduler)


def levels_of(scheduler: SchedulerLike) -> list[float]:
    """The levels that `sigmas` spells out, each once, descending."""
    return sorted({float(s) for s in scheduler.sigmas}, reverse=True)


def on_levels(name: str, every: int, until: int) -> tuple[SchedulerLike, list[float]]:
    """A scheduler on every so many of its own levels, and these; the last may end the run."""
    refusals = []
    for config in ({**strictly(name), **way} for way in WAYS):
        if not set(config) <= {p.name for p in SCHEDULERS[name].parameters()}:
            continue
        levels = levels_of(make(name, 8, **config))
        chosen = [*levels[: until - 1 : every], levels[until - 1]]
        for given in (chosen, chosen[:-1]):
            try:
                return fresh(name, config, sigmas=given), given
            except ValueError as refusal:
                refusals.append(str(refusal))
    raise AssertionError(refusals)


@pytest.mark.parametrize("name", taking("sigmas"))
def test_custom_levels_are_visited(name: str) -> None:
    """The class's own, every second one left out; some classes add the final level themselves."""
    scheduler, chosen = on_levels(name, 2, 9)
    assert levels_of(scheduler)[: len(chosen)] == pytest.approx(chosen, rel=1e-6)
    assert levels_of(scheduler)[len(chosen) :] in ([], [0.0])
    starts = scheduler.stages[:: scheduler.order]
    assert len(starts) == scheduler.num_inference_steps == len(levels_of(scheduler)) - 1
    arrives(scheduler)


@pytest.mark.parametrize("name", taking("sigmas"))
def test_levels_may_end_above_zero(name: str) -> None:
    """Where the final level is given, it is where the run ends."""
    scheduler, levels = on_levels(name, 1, 5)
    followed = len(levels_of(scheduler)) == len(levels) + 1
    end = scheduler.stages[-1].target.rho
    assert end < levels[-1] if followed else end == pytest.approx(levels[-1], rel=1e-6)
    arrives(scheduler)


@pytest.mark.parametrize("parameter", ["timesteps", "sigmas"])
@pytest.mark.parametrize("name", NAMES)
def test_wrong_grids_are_refused_by_name(name: str, parameter: str) -> None:
    if name not in taking(parameter):
        with pytest.raises(TypeError, match=parameter):
            fresh(name, **{parameter: [3.0, 2.0]})
        return
    top = 0.9 if parameter == "sigmas" else 900
    wrong: list[object] = [[top / 3, top], [top, top], [], [float("nan"), 0.1], "ab", [[top]]]
    for value in wrong:
        with pytest.raises((ValueError, TypeError), match=parameter):
            fresh(name, {"compat": "paper"}, **{parameter: value})
    if parameter == "timesteps":
        with pytest.raises(ValueError, match=parameter):
            fresh(name, strictly(name), timesteps=[5000, 10])
    with pytest.raises(ValueError, match=parameter):
        fresh(name, strictly(name), **{parameter: [top, top / 3], "num_inference_steps": 7})


STEPPED = [
    name
    for name in NAMES
    if hasattr(SCHEDULERS[name], "step")
    and "timestep" in inspect.signature(SCHEDULERS[name].step).parameters
]


@pytest.mark.parametrize("name", STEPPED)
def test_a_time_off_the_grid(name: str) -> None:
    """It is refused by its name, or it is a training step that the class can place."""
    for value in (123.456, 1e9, -5.0):
        scheduler = make(name)
        x = noise(1)
        try:
            scheduler.scale_model_input(x, value)
            out = scheduler.step(x, value, x)
        except ValueError as refusal:
            assert "timestep" in str(refusal)
        else:
            assert np.isfinite(out.prev_sample).all()
