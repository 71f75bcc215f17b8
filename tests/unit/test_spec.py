"""RunSpec: always valid, one form per meaning, and lossless as JSON and as a link."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from models import MODELS
from sampling import RunSpec, SpecError, plan_run
from sampling.spec import NOT_OURS
from schedulers import NAMES, SCHEDULERS
from schedulers.interface.params import Parameter

PARAMETERS = [
    pytest.param(name, entry, id=f"{name}-{entry.name}")
    for name, made in SCHEDULERS.items()
    for entry in made.parameters()
    if entry.name not in NOT_OURS
]
DIGITS_4500 = int("9" * 4000) * 10**500


def another_value(entry: Parameter) -> object:
    """A value that is allowed and is not the default."""
    if entry.kind == "bool":
        return not entry.default
    if entry.kind == "choice":
        return next((choice for choice in entry.choices if choice != entry.default), None)
    if entry.kind == "numbers":
        return [1, 2, 3] if entry.whole else [0.01, 0.02, 0.03]
    low = entry.low if entry.low is not None else 0.0
    high = entry.high if entry.high is not None else low + 10.0
    if entry.kind == "int":
        value = int(low) + 1 if int(low) + 1 != entry.default else int(low)
        return min(value, int(high))
    value = low + 0.37 * (min(high, low + 10.0) - low)
    return value


@pytest.mark.parametrize(
    ("name", "entry"), [p for p in PARAMETERS if another_value(p.values[1]) is not None]
)
def test_every_parameter_survives_json_and_link(name: str, entry: Parameter) -> None:
    value = another_value(entry)
    spec = RunSpec(scheduler=name, config=((entry.name, value),))
    assert [key for key, _ in spec.config + spec.step] == [entry.name]
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False))) == spec
    assert RunSpec.from_query(spec.to_query()) == spec
    assert hash(RunSpec.from_query("?" + spec.to_query())) == hash(spec)


@pytest.mark.parametrize(("name", "entry"), PARAMETERS)
def test_a_default_said_aloud_is_the_same_spec(name: str, entry: Parameter) -> None:
    assert RunSpec(scheduler=name, config=((entry.name, entry.default),)) == RunSpec(
        scheduler=name
    )


NONSENSE: tuple[object, ...] = (
    math.nan,
    "abc",
    "",
    {},
    {"a": 1},
    [[1.0]],
    ["x"],
    [math.nan],
    [math.inf],
    1e400,
    DIGITS_4500,
    -DIGITS_4500,
    b"x",
    object(),
)


@pytest.mark.parametrize(("name", "entry"), PARAMETERS)
def test_nonsense_is_blamed_on_its_control(name: str, entry: Parameter) -> None:
    # no upper end is the default of s_tmax
    for value in (value for value in NONSENSE if value != entry.default):
        with pytest.raises(SpecError) as caught:
            RunSpec.from_dict({"scheduler": name, "config": {entry.name: value}})
        assert caught.value.parameter == f"config.{entry.name}"
        assert entry.name in str(caught.value)
        assert len(str(caught.value)) <= 500


@pytest.mark.parametrize(("name", "entry"), PARAMETERS)
def test_booleans_are_no_numbers_and_numbers_no_booleans(name: str, entry: Parameter) -> None:
    wrong: Any = 1 if entry.kind == "bool" else True
    with pytest.raises(SpecError, match=entry.name):
        RunSpec(scheduler=name, config=((entry.name, wrong),))


@pytest.mark.parametrize(("name", "entry"), PARAMETERS)
def test_hard_bounds_hold(name: str, entry: Parameter) -> None:
    for bound, outward in ((entry.low, -1.0), (entry.high, 1.0)):
        if bound is not None and entry.kind in ("int", "float"):
            with pytest.raises(SpecError, match=entry.name):
                RunSpec(scheduler=name, config=((entry.name, bound + outward),))


@pytest.mark.parametrize(
    ("settings", "control"),
    [
        ({"scheduler": "NoSuchScheduler"}, "scheduler"),
        ({"scheduler": None}, "scheduler"),
        ({"scheduler": ["DDIMScheduler"]}, "scheduler"),
        ({"model": "no-model"}, "model"),
        ({"model": 3}, "model"),
        ({"cond": "no-class"}, "cond"),
        ({"steps": 0}, "steps"),
        ({"steps": -1}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": "20"}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": None}, "steps"),
        ({"steps": math.nan}, "steps"),
        ({"steps": math.inf}, "steps"),
        ({"steps": 1e300}, "steps"),
        ({"steps": DIGITS_4500}, "steps"),
        ({"samples": 0}, "samples"),
        ({"samples": 65}, "samples"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"config": 3}, "config"),
        ({"config": [1, 2]}, "config"),
        ({"config": {"beta_strat": 0.1}}, "config.beta_strat"),
        ({"config": {"tensor_format": "np"}}, "config.tensor_format"),
        ({"options": {"nothing": 1}}, "options.nothing"),
        ({"options": []}, "options"),
        ({"timesteps": "1,2"}, "timesteps"),
        ({"timesteps": []}, "timesteps"),
        ({"timesteps": [1, math.nan]}, "timesteps"),
        ({"timesteps": [-1]}, "timesteps"),
        ({"sigmas": [1, True]}, "sigmas"),
        ({"sigmas": [1, 0], "timesteps": [1]}, "sigmas"),
        ({"sigmas": [1.0] * 5000}, "sigmas"),
        ({"v": 2}, "v"),
        ({"v": True}, "v"),
        ({"stepss": 20}, "stepss"),
        ({3: 4}, "3"),
    ],
)
def test_every_other_control_is_checked(settings: dict[Any, Any], control: str) -> None:
    with pytest.raises(SpecError) as caught:
        RunSpec.from_dict(settings)
    assert caught.value.parameter == control
    assert caught.value.message


@pytest.mark.parametrize("settings", [None, 3, "x", [], [("steps", 3)]])
def test_a_spec_is_an_object(settings: object) -> None:
    with pytest.raises(SpecError, match="object"):
        RunSpec.from_dict(settings)


def test_a_typing_error_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(SpecError, match="beta_start"):
        RunSpec.from_dict({"scheduler": "DDIMScheduler", "config": {"beta_strat": 0.1}})
    with pytest.raises(SpecError, match="DDIMScheduler"):
        RunSpec.from_dict({"scheduler": "DDIMSheduler"})


@pytest.mark.parametrize("model", MODELS)
def test_options_survive_and_are_bounded(model: str) -> None:
    for option in MODELS[model].options:
        value = option.choices[-1] if option.choices else option.high
        spec = RunSpec(model=model, options=((option.name, value),))
        assert RunSpec.from_query(spec.to_query()) == spec
        assert RunSpec.from_dict(spec.to_dict()) == spec
        for wrong in (option.low - 1, option.high + 1, math.nan, "x", True, None, []):
            with pytest.raises(SpecError) as caught:
                RunSpec(model=model, options=((option.name, wrong),))
            assert caught.value.parameter == f"options.{option.name}"


@pytest.mark.parametrize("model", MODELS)
def test_every_class_survives(model: str) -> None:
    for entry in MODELS[model].classes:
        spec = RunSpec(model=model, cond=entry.id)
        assert RunSpec.from_query(spec.to_query()) == spec


def test_the_link_reads_as_agreed() -> None:
    spec = RunSpec(
        scheduler="DDIMScheduler",
        config=(("eta", 0.5), ("beta_start", 0.00085), ("clip_sample", False)),
        steps=12,
        seed=3,
    )
    query = spec.to_query()
    assert query.startswith("v=1&scheduler=DDIMScheduler&steps=12&model=emoji-local&cond=")
    assert "&c.beta_start=0.00085&c.clip_sample=false&c.eta=0.5" in query


def test_the_link_of_a_browser_is_read_too() -> None:
    """JavaScript writes 1 for 1.0 and 1e-5 for 1e-05."""
    spec = RunSpec.from_query("v=1&scheduler=DDIMScheduler&c.eta=1&c.beta_start=1e-5&steps=10")
    assert spec == RunSpec(
        scheduler="DDIMScheduler", config=(("eta", 1.0), ("beta_start", 1e-5)), steps=10
    )


def test_a_plus_that_nobody_escaped_is_still_a_plus() -> None:
    spec = RunSpec.from_query("steps=9&c.algorithm_type=sde-dpmsolver++")
    assert dict(spec.config) == {"algorithm_type": "sde-dpmsolver++"}


def test_lists_in_the_link() -> None:
    spec = RunSpec(scheduler="EulerDiscreteScheduler", timesteps=(900.0, 500.5, 1.0))
    assert "timesteps=900,500.5,1" in spec.to_query()
    assert RunSpec.from_query(spec.to_query()) == spec
    assert spec.steps == 3


def test_foreign_keys_of_a_host_are_ignored_and_ours_are_not() -> None:
    assert RunSpec.from_query("__theme=dark&utm_source=x") == RunSpec.default()
    assert RunSpec.from_query("") == RunSpec.default()
    assert RunSpec.from_query({"steps": "7", "__theme": "dark"}).steps == 7
    with pytest.raises(SpecError) as caught:
        RunSpec.from_query("c.nothing=1")
    assert caught.value.parameter == "config.nothing"


@pytest.mark.parametrize(
    "query",
    ["steps=abc", "steps=", "steps=nan", "steps=1e999", "seed=true", "sigmas=1,,2", "v=7",
     "timesteps=" + "1," * 5000, "x=" + "y" * 70_000, "scheduler=%00", "cond=%F0%9F", "steps=9" * 9],
)  # fmt: skip
def test_a_broken_link_is_an_error_with_a_reason(query: str) -> None:
    with pytest.raises(SpecError) as caught:
        RunSpec.from_query(query)
    assert str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_people_know_is_a_spec(name: str) -> None:
    scheduler, config = NAMES[name]
    spec = RunSpec(scheduler=scheduler, config=tuple(config.items()))
    assert RunSpec.from_query(spec.to_query()) == spec


def test_frozen_hashable_picklable() -> None:
    spec = RunSpec.default()
    with pytest.raises(FrozenInstanceError):
        spec.steps = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert len({spec, RunSpec.from_dict(spec.to_dict())}) == 1


def test_the_order_of_settings_does_not_matter() -> None:
    pairs = (("eta", 0.5), ("beta_start", 0.001))
    assert RunSpec(scheduler="DDIMScheduler", config=pairs) == RunSpec(
        scheduler="DDIMScheduler", config=pairs[::-1]
    )


def test_the_error_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(SpecError("steps", "steps must be 1.")))
    assert (error.parameter, str(error)) == ("steps", "steps must be 1.")


LINKS = [
    line
    for line in (Path(__file__).parent / "links.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def test_links_of_every_release_open() -> None:
    """What was shared once means the same run, and is written the same way."""
    assert len(LINKS) > 90
    for link in LINKS:
        spec = RunSpec.from_query(link)
        assert spec.to_query() == link
        assert RunSpec.from_dict(spec.to_dict()) == spec
        plan_run(spec)


def test_constructor_and_step_arguments_are_kept_apart() -> None:
    """However they come."""
    both = (("s_churn", 5.0), ("beta_end", 0.03))
    name = "EulerDiscreteScheduler"
    spec = RunSpec(scheduler=name, config=both)
    assert spec == RunSpec(scheduler=name, config=both[1:], step=both[:1])
    assert (spec.config, spec.step) == (both[1:], both[:1])
    assert spec == RunSpec.from_dict({"scheduler": name, "config": dict(both)})
    assert spec.to_dict()["config"] == dict(both)
    with pytest.raises(SpecError):
        RunSpec(scheduler=name, step=(("nothing", 1),))
