"""Whatever is passed to whatever method: an answer, or an error that names the parameter.

Nothing here knows a class or a method by name: the arguments of every public method are told apart
by what they are called, and each is replaced in turn by what makes code trip that trusts it.
"""

import inspect
import math
import re
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from schedulers.backend.errors import ParameterError, ParameterTypeError
from tests.laws.driver import NAMES, STEPS, SchedulerLike, make, torch_noise

#: Beyond what floats hold, what C integers hold, and what is no number at all.
WRONG = (math.nan, math.inf, 1e300, 10**30, 10**400, "1", [], {}, object(), 1j,
         np.array([math.nan, 1.0]))  # fmt: skip
LISTS = (
    ["a"],
    [math.nan],
    [10**400],
    [[1.0], [2.0, 3.0]],
    {},
    torch.ones(2, device="meta"),
    object(),
)
ARRAYS = (1.0, [1.0], {}, *(torch.ones(2, 3, 2, 2).to(kind) for kind in
          (torch.cfloat, torch.bool, torch.int64, torch.float8_e4m3fn)))  # fmt: skip
DEVICES = ("no such device", 1e300, 10**30, [], "cuda:99" if not torch.cuda.is_available() else -7)
#: Arrays, lists, and what has a meaning for any value or is documented to have none.
IS_ARRAY = {"model_output", "sample", "sample_hat", "sample_prev", "derivative", "score", "x",
            "noise", "original_samples", "x0"}  # fmt: skip
IS_LIST = {"timesteps", "sigmas", "schedule_timesteps", "values", "scale_factors"}
FREE = {"return_dict", "generator", "variance_noise", "pred_original_sample", "attempts",
        "per_token_timesteps", "broadcast_array", "denoise", "callback", "rows"}  # fmt: skip
#: Words for the Hub and for files, which have laws of their own.
ABOUT_FILES = re.compile("pretrained|config|hub|json|parameters|inert|set_format")


def usual(scheduler: SchedulerLike, method: str) -> dict[str, object]:
    """Arguments that the methods take."""
    x, times = torch_noise(), scheduler.timesteps
    karras, score = (scheduler.call_form == form for form in ("karras_ve", "score_sde"))
    values: dict[str, object] = dict.fromkeys(IS_ARRAY, x)
    values |= {"timestep": 1.0 if karras else times[0], "t": times[0], "i": 0, "steps": STEPS}
    values |= {"sigma": 2.0, "sigma_hat": 2.0, "sigma_prev": 1.0, "mu": 0.5, "shift": 2.0}
    values |= {"num_inference_steps": STEPS, "order": 1, "current_order": 0, "sigmas": 2.0}
    values |= {"timesteps": [0] if karras or score else times[:1], "values": [1.0, 2.0]}
    if "shift" in method:
        values["t"] = np.linspace(1.0, 0.1, 5)
    if method == "get_lms_coefficient":
        values["t"] = 0
    if method == "batch_step_no_noise":
        values["timesteps"] = times[:2]
    values["broadcast_array"], values["rows"] = x, ()
    values["scale_factors"] = [0.5] * (STEPS - 1)
    values["slug"] = "trailing-extra"
    values["denoise"] = lambda x, sigma: 0.1 * x
    return values


def calls(name: str) -> Iterator[tuple[str, dict[str, inspect.Parameter]]]:
    """Public methods with their parameters."""
    for method in dir(SCHEDULERS[name]):
        function = getattr(SCHEDULERS[name], method, None)
        if method[0] == "_" or ABOUT_FILES.search(method) or not callable(function):
            continue
        found = dict(inspect.signature(function).parameters)
        found = {k: p for k, p in found.items() if k != "self" and p.kind is not p.VAR_KEYWORD}
        yield method, found


def wrong_for(method: str, parameter: inspect.Parameter) -> tuple[object, ...]:
    """What must be refused for a parameter."""
    name, optional = parameter.name, parameter.default is not parameter.empty
    if name == "device":
        return DEVICES
    if name in IS_ARRAY:
        return () if method == "scale_model_input" else ARRAYS
    if name in IS_LIST:
        return LISTS
    if name == "settings":
        return 5, "eta", [1], {"no such argument": 1}, {1: 2}
    if name in FREE or (method, name) in {("scale_model_input", "timestep"),
                                          ("get_adjacent_sigma", "t")}:  # fmt: skip
        return ()
    # infinity is the default of s_tmax: no bound
    wrong = [w for w in WRONG if name not in ("s_tmin", "s_tmax") or isinstance(w, (str, complex))]
    return tuple(wrong) if optional else (None, *wrong)


def ask(name: str, method: str, changed: dict[str, object]) -> object:
    """Call a method of a scheduler that was just laid out, warnings being errors."""
    scheduler = make(name, tensor_format="pt")
    parameters, have = inspect.signature(getattr(scheduler, method)).parameters, {}
    for key, value in usual(scheduler, method).items():
        needed = key in parameters and parameters[key].default is inspect.Parameter.empty
        if needed or (key in parameters and key in ("num_inference_steps", "noise")):
            have[key] = value
    if method == "set_timesteps" and changed.keys() & IS_LIST:
        have.pop("num_inference_steps", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*scale_model_input")
        return getattr(scheduler, method)(**{**have, **changed})


def begins(name: str, method: str) -> bool:
    """Whether the method can be called at the start of a run (Adams-Bashforth steps cannot)."""
    try:
        ask(name, method, {})
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_every_door(name: str) -> None:
    tried = 0
    for method, parameters in calls(name):
        if not begins(name, method):
            continue
        for parameter in parameters.values():
            for value in wrong_for(method, parameter):
                with pytest.raises((ParameterError, ParameterTypeError)) as caught:
                    ask(name, method, {parameter.name: value})
                said = str(caught.value)
                assert re.search(rf"\b{parameter.name}\b", said), (method, value, said)
                assert parameter.name in caught.value.parameters, (method, value, said)
                tried += 1
    assert tried > 100
