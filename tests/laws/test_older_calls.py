"""Calls of the first versions of diffusers, beside those of today."""

import numpy as np
import pytest

from schedulers import SCHEDULERS
from schedulers.interface.params import Parameter
from tests.laws.driver import make, noise


def names_of(name: str) -> dict[str, Parameter]:
    """The parameters of a constructor."""
    return {p.name: p for p in SCHEDULERS[name].parameters() if p.call == "init"}


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler"])
def test_offset_is_added_to_the_times(name: str) -> None:
    today = make(name, 10, steps_offset=1)
    older = SCHEDULERS[name]()
    older.set_timesteps(10, offset=1)
    assert older.timesteps.tolist() == today.timesteps.tolist()
    with pytest.raises(ValueError, match="offset"):
        older.set_timesteps(10, offset=500)
    with pytest.raises(TypeError, match="offset"):
        older.set_timesteps(10, offset=0.5)


@pytest.mark.parametrize(("told", "kind"), [(True, "epsilon"), (False, "sample")])
def test_ddpm_is_told_what_the_model_predicts(told: bool, kind: str) -> None:
    x, output = noise(1), noise(2)
    older, today = make("DDPMScheduler"), make("DDPMScheduler", prediction_type=kind)
    t = today.timesteps[2]
    a, b = (
        s.step(output, t, x, generator=np.random.default_rng(1), **more)
        for s, more in ((older, {"predict_epsilon": told}), (today, {}))
    )
    assert np.array_equal(a.prev_sample, b.prev_sample)
    with pytest.raises(TypeError, match="predict_epsilon"):
        older.step(output, t, x, predict_epsilon="yes")


@pytest.mark.parametrize("name", [n for n in SCHEDULERS if "prediction_type" in names_of(n)])
def test_the_constructor_is_told_what_the_model_predicts(name: str) -> None:
    """diffusers 0.7 and 0.8, whose configs may still say it: there, as today, it is a foreign key."""
    made = SCHEDULERS[name]
    assert made(predict_epsilon=True).prediction_type == "epsilon"
    assert made.from_config({}, predict_epsilon=True).prediction_type == "epsilon"
    with pytest.raises(TypeError, match="predict_epsilon=None must be True or False"):
        made(predict_epsilon=None)
    foreign = made.from_config({"predict_epsilon": True})
    assert foreign.config["predict_epsilon"] is True
    if "sample" not in names_of(name)["prediction_type"].choices:
        return
    for older in (made(predict_epsilon=False), made.from_config({}, predict_epsilon=False)):
        assert older.config["prediction_type"] == "sample"
        assert "predict_epsilon" not in older.config
    both = made(predict_epsilon=False, prediction_type="epsilon")
    assert both.prediction_type == "epsilon", "today's word counts"


def test_from_config_takes_its_first_argument_by_its_older_name() -> None:
    made = SCHEDULERS["DDIMScheduler"].from_config(pretrained_model_name_or_path={"beta_end": 0.5})
    assert made.config["beta_end"] == 0.5


@pytest.mark.parametrize("compat", ["diffusers", "paper"])
def test_ddim_on_custom_times_steps_to_the_next(compat: str) -> None:
    scheduler = SCHEDULERS["DDIMScheduler"](compat=compat)
    scheduler.set_timesteps(timesteps=[999, 700, 350, 20])
    assert scheduler.timesteps.tolist() == [999, 700, 350, 20]
    assert [stage.target.t for stage in scheduler.stages] == [700, 350, 20, -1]
    scheduler.set_timesteps(10)  # and back on the spaced grid
    assert scheduler.stages[0].target.t == 800


VALUES = [999, 700, 350, 20, 3]


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "LMSDiscreteScheduler"])
def test_values_of_the_constructor_are_the_times_of_every_run(name: str) -> None:
    older, today = SCHEDULERS[name](timestep_values=np.array(VALUES)), SCHEDULERS[name]()
    for ways in ({"num_inference_steps": 5}, {}):
        older.set_timesteps(**ways)
        today.set_timesteps(timesteps=VALUES)
        assert older.timesteps.tolist() == VALUES
        assert older.stages == today.stages
    older.set_timesteps(timesteps=[500, 1])  # what is said last counts
    assert older.timesteps.tolist() == [500, 1]


@pytest.mark.parametrize("settings", [{}, {"skip_prk_steps": True}])
def test_pndm_on_values_goes_by_its_grid(settings: dict[str, bool]) -> None:
    paper = make("PNDMScheduler", 10, compat="paper", **settings)
    spaced = make("DDPMScheduler", 10).timesteps.tolist()
    older = make("PNDMScheduler", 10, timestep_values=spaced, **settings)
    assert older.timesteps.tolist() == paper.timesteps.tolist()
    assert [older.row(i) for i in range(11)] == [paper.row(i) for i in range(11)]
    x = noise(1)
    for t in paper.timesteps:
        a, b = (s.step(np.tanh(x), t, x).prev_sample for s in (older, paper))
        assert np.array_equal(a, b)
        x = a


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler"]
)
def test_values_that_do_not_fit_a_run_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="num_inference_steps=50: timestep_values holds 5 times"):
        SCHEDULERS[name](timestep_values=VALUES).set_timesteps(50)
    with pytest.raises(ValueError, match="timestep_values.*descending"):
        SCHEDULERS[name](timestep_values=VALUES[::-1]).set_timesteps(5)
    with pytest.raises(ValueError, match="timestep_values run from"):
        SCHEDULERS[name](timestep_values=[1000, 1]).set_timesteps(2)


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler"]
)
def test_values_are_saved_only_where_given(name: str) -> None:
    plain, older = SCHEDULERS[name](), SCHEDULERS[name](timestep_values=VALUES)
    assert "timestep_values" not in plain.config
    assert "timestep_values" not in plain.to_json_string()
    again = SCHEDULERS["EulerDiscreteScheduler"].from_config(older.config)
    again = SCHEDULERS[name].from_config(again.config)
    again.set_timesteps(5)
    assert again.config["timestep_values"] == VALUES
    assert again.stages[0].target.t == (700 if name != "PNDMScheduler" else again.stages[1].t)
