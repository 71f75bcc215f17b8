"""Calls of the first versions of diffusers, beside those of today."""

import numpy as np
import pytest

from schedulers import SCHEDULERS
from tests.laws.driver import make, noise


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


@pytest.mark.parametrize("compat", ["diffusers", "paper"])
def test_ddim_on_custom_times_steps_to_the_next(compat: str) -> None:
    scheduler = SCHEDULERS["DDIMScheduler"](compat=compat)
    scheduler.set_timesteps(timesteps=[999, 700, 350, 20])
    assert scheduler.timesteps.tolist() == [999, 700, 350, 20]
    assert [stage.target.t for stage in scheduler.stages] == [700, 350, 20, -1]
    scheduler.set_timesteps(10)  # and back on the spaced grid
    assert scheduler.stages[0].target.t == 800
