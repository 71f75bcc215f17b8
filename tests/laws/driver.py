"""One way to walk every scheduler, whatever its call form, and a way to vary its settings.

Nothing here knows a class by name: settings come from the parameter descriptions, and a setting
that a class refuses (ValueError) is not a setting.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from schedulers import SCHEDULERS
from schedulers.core.loop import drive
from tests import samples

Array: TypeAlias = Any
SchedulerLike: TypeAlias = Any
#: The model: position of the call, the sample as the scheduler holds it -> data prediction.
Model: TypeAlias = Callable[[int, Array], Array]

NAMES = tuple(SCHEDULERS)
SHAPE = (2, 3, 2, 2)
STEPS = 6


def make(name: str, steps: int = STEPS, /, **config: object) -> SchedulerLike:
    """A scheduler with its grid set."""
    scheduler = SCHEDULERS[name](**config)
    lay_out(scheduler, steps)
    return scheduler


def strictly(name: str) -> dict[str, object]:
    """The setting under which a class refuses what makes no sense, though upstream takes it."""
    return {"compat": "paper"} if SCHEDULERS[name].lenient else {}


def lay_out(scheduler: SchedulerLike, steps: int) -> None:
    """Set the grid for a run."""
    scheduler.set_timesteps(steps)
    if scheduler.call_form == "adaptive":  # its plan, unjudged; tests/laws/test_adaptive.py judges
        scheduler.set_timesteps(attempts=scheduler.attempts)


def knowing(*keys: str) -> list[str]:
    """The classes whose constructor has these parameters."""
    found = [
        name
        for name, made in SCHEDULERS.items()
        if {*keys} <= {p.name for p in made.parameters() if p.call == "init"}
    ]
    assert found, keys
    return found


def split(
    name: str, settings: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """Settings of the constructor, settings of `step`."""
    calls = {p.name: p.call for p in SCHEDULERS[name].parameters()}
    init = {key: value for key, value in settings.items() if calls.get(key, "init") == "init"}
    return init, {key: value for key, value in settings.items() if key not in init}


def possible(name: str, settings: Mapping[str, object]) -> bool:
    """Whether the class accepts these settings, up to and including the first call."""
    init, step = split(name, settings)
    try:
        scheduler = make(name, STEPS, **init)
        _ = [scheduler.row(i) for i in range(len(scheduler.stages))]
        next(
            walk(
                scheduler, lambda _, x: 0 * x, noise(), generator=np.random.default_rng(0), **step
            )
        )
    except ValueError:
        return False
    return True


def choices(name: str, call: str = "init") -> dict[str, list[object]]:
    """Every value of every switch and choice that is not the default."""
    found: dict[str, list[object]] = {}
    for p in SCHEDULERS[name].parameters():
        if p.call != call or p.name == "compat":
            continue
        values = list(p.choices) if p.kind == "choice" else [True, False]
        if p.kind in ("choice", "bool"):
            found[p.name] = [value for value in values if value != p.default]
        elif p.name.endswith("_order"):
            found[p.name] = [1, 3]
    return found


def singles(name: str, call: str = "init") -> Iterator[dict[str, object]]:
    """The defaults, then one setting changed at a time."""
    yield {}
    for key, values in choices(name, call).items():
        for value in values:
            yield {key: value}


@functools.cache
def changes(name: str) -> tuple[Mapping[str, object], ...]:
    """No change of the defaults, every single change and every pair of changes."""
    table = choices(name)
    single = [{key: value} for key, values in table.items() for value in values]
    pairs = [
        {a: x, b: y}
        for a, b in itertools.combinations(table, 2)
        for x in table[a]
        for y in table[b]
    ]
    return ({}, *single, *pairs)


@functools.cache
def accepts(name: str, settings: tuple[tuple[str, object], ...]) -> bool:
    """`possible`, tried once."""
    return possible(name, dict(settings))


def settings_of(name: str, **always: object) -> list[dict[str, object]]:
    """The defaults, every single change and every pair of changes that the class accepts."""
    found = [{**always, **change} for change in changes(name)]
    return [settings for settings in found if accepts(name, tuple(settings.items()))]


def sampled(name: str, most: int, seed: int, **always: object) -> list[dict[str, object]]:
    """The defaults and a seeded sample of `settings_of`, `most` in all; with --full the whole.

    Settings with a value that none before them had come first, so that few settings show many.
    """
    if samples.full:
        return settings_of(name, **always)
    found: list[dict[str, object]] = []
    later: list[dict[str, object]] = []
    seen: set[tuple[str, object]] = set()
    for change in samples.shuffled(changes(name), f"{name} {seed}"):
        settings = {**always, **change}
        if change and seen.issuperset(change.items()):
            later.append(settings)
        elif accepts(name, tuple(settings.items())):
            found.append(settings)
            seen.update(change.items())
    more = (settings for settings in later if accepts(name, tuple(settings.items())))
    return [*found, *itertools.islice(more, max(0, most - len(found)))][:most]


def noise(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: str = "float64") -> np.ndarray:
    """Unit noise."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def torch_noise(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """The same unit noise as a float64 tensor."""
    return torch.from_numpy(noise(seed, shape))


@dataclass(frozen=True)
class Moment:
    """One model call: what the model was shown, and what came of it."""

    index: int
    shown: Array
    x0: Array
    after: Array
    pred: Array


def model_output(scheduler: SchedulerLike, index: int, x: Array, x0: Array) -> Array:
    """What a model that predicts `x0` returns to this scheduler."""
    return scheduler.model_output(index, x, x0)


def walk(
    scheduler: SchedulerLike,
    model: Model,
    x: Array,
    start: int = 0,
    generator: object = None,
    stop: int | None = None,
    resume: bool = False,
    scribble: bool = False,
    **step: object,
) -> Iterator[Moment]:
    """Run the calls from `start` up to `stop` by the library's own loop, one moment a model call.

    With `resume` the scheduler is taken as it is, in the middle of its run. With `scribble` the
    memory of every model output is overwritten after its step, as a compiled model does.
    """
    indices = itertools.count(start)
    moments = drive(
        scheduler,
        lambda shown, _: model(next(indices), shown),
        x,
        generator=generator,
        start=start,
        stop=stop,
        resume=resume,
        **step,
    )
    for now in moments:
        if scribble:
            now.output[...] = 1e3
        yield Moment(now.index, now.shown, now.x0, now.sample, now.pred_original_sample)
