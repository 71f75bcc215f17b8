"""Wrong input is refused at the door: ValueError or TypeError that names the parameter."""

import inspect
import itertools
import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS, from_name
from schedulers.families.dpm import DpmScheduler
from tests.laws.driver import NAMES, SchedulerLike, knowing, make, strictly, torch_noise

# Steps are called here without the call that scales the model's input.
pytestmark = pytest.mark.filterwarnings("ignore:.*scale_model_input:UserWarning")

REFUSED = (ValueError, TypeError)
STEPPED = [name for name in NAMES if SCHEDULERS[name].call_form == "step"]
TRAINED = [name for name in NAMES if SCHEDULERS[name]().training is not None]
PARAMETERS = [(name, p.name) for name in NAMES for p in SCHEDULERS[name].parameters()]


def refuses(name: str, config: Mapping[str, object], parameter: str, value: object = None) -> None:
    """Construction must fail, naming the parameter and, if given, the value."""
    with pytest.raises(REFUSED) as caught:
        SCHEDULERS[name](**config)
    assert not isinstance(caught.value, NotImplementedError)
    message = str(caught.value)
    assert parameter in message, message
    if value is not None:
        assert str(value) in message, message


@pytest.mark.parametrize(
    ("name", "parameter"),
    [(n, p.name) for n in NAMES for p in SCHEDULERS[n].parameters() if p.call == "init"],
)
def test_wrong_values_of_every_constructor_parameter(name: str, parameter: str) -> None:
    p = next(p for p in SCHEDULERS[name].parameters() if p.name == parameter)
    wrong: list[object] = []
    if p.kind == "choice":
        wrong += ["no such thing", 3, 1.5, [], object()]
    elif p.kind == "bool":
        wrong += ["yes", 2.5, []]
    elif p.kind in ("float", "int"):
        wrong += [math.nan, "many", [], True if p.kind == "int" else object(), {}]
        wrong += [math.inf] if not p.range.inf else []
        if p.low is not None:
            wrong += [p.low - 1]
        if p.high is not None:
            wrong += [p.high + 1]
        if p.kind == "int":
            wrong += [2.5]
    else:
        wrong += ["betas", 3.0, [[0.1]], [0.1, math.nan], [0.1, math.inf], [-0.1]]
        wrong += [["a"], [0.0, 0.1]]
        wrong += [[0.1, 1.5]] if p.whole or not p.range.admits(1.5) else []
        wrong += [[]] if p.default != [] and not p.may_be_empty else []
    if not p.optional:
        wrong += [None]
    for value in wrong:
        refuses(name, {parameter: value}, parameter)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_parameter(name: str) -> None:
    refuses(name, {"bogus": 1}, "bogus")


@pytest.mark.parametrize("name", TRAINED)
def test_unknown_beta_schedule_lists_what_is_allowed(name: str) -> None:
    with pytest.raises(ValueError, match="beta_schedule='quadratic'.*scaled_linear"):
        SCHEDULERS[name](beta_schedule="quadratic")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "steps", [0, -1, -(10**9), 2.5, math.nan, math.inf, "20", None, [20], {}, True], ids=str
)
def test_number_of_steps(name: str, steps: object) -> None:
    scheduler = SCHEDULERS[name]()
    with pytest.raises(REFUSED, match="num_inference_steps"):
        scheduler.set_timesteps(steps)


@pytest.mark.parametrize("name", TRAINED)
def test_more_steps_than_training_steps(name: str) -> None:
    with pytest.raises(ValueError, match="num_inference_steps=1001.*1000"):
        SCHEDULERS[name]().set_timesteps(1001)
    SCHEDULERS[name](num_train_timesteps=20).set_timesteps(7)


@pytest.mark.parametrize("name", NAMES)
def test_step_before_set_timesteps(name: str) -> None:
    scheduler = SCHEDULERS[name]()
    x = torch_noise()
    if scheduler.call_form == "karras_ve":
        with pytest.raises(ValueError, match="set_timesteps"):
            scheduler.add_noise_to_input(x, 1.0)
        return
    if scheduler.call_form == "score_sde":
        for step in (lambda: scheduler.step_correct(x, x), lambda: scheduler.step_pred(x, 1.0, x)):
            with pytest.raises(ValueError, match="set_timesteps"):
                step()
        return
    t = 1.0 if scheduler.timesteps is None else scheduler.timesteps[0]
    with pytest.raises(ValueError, match="set_timesteps"):
        scheduler.step(x, t, x)


@pytest.mark.parametrize("name", NAMES)
def test_rows_before_set_timesteps(name: str) -> None:
    for read in (lambda s: s.stages, lambda s: s.row(0), lambda s: s.effective_order(0)):
        with pytest.raises(ValueError, match="set_timesteps"):
            read(SCHEDULERS[name]())
    with pytest.raises(ValueError, match="i="):
        make(name).row(10**6)


@pytest.mark.quirk("wrong-input", "paper")
@pytest.mark.parametrize("name", STEPPED)
def test_shapes_and_kinds_of_arrays(name: str) -> None:
    x = torch_noise()
    wrong: list[tuple[object, object, str]] = [
        (x[:, :1], x, "model_output"),
        (x, x[:1], "sample"),
        (x.numpy(), x, "model_output"),
        (x, [1.0, 2.0], "sample"),
        (None, x, "model_output"),
        (x.long(), x.long(), "sample"),
        (x.numpy().astype(int), x.numpy().astype(int), "sample"),
    ]
    for output, sample, parameter in wrong:
        scheduler = make(name)
        with pytest.raises(REFUSED, match=parameter):
            scheduler.step(output, scheduler.timesteps[0], sample)


@pytest.mark.parametrize("name", STEPPED)
def test_timestep_that_is_not_on_the_grid(name: str) -> None:
    x = torch_noise()
    for t in (-5.0, 1e9, math.nan, "noon", None):
        scheduler = make(name)
        if (
            issubclass(SCHEDULERS[name], DpmScheduler)
            and isinstance(t, float)
            and math.isfinite(t)
        ):
            continue  # upstream takes any other time for the last one
        with pytest.raises(REFUSED, match="timestep"):
            scheduler.step(x, t, x)


# the others find their place by the time alone
@pytest.mark.parametrize("name", [n for n in STEPPED if hasattr(SCHEDULERS[n], "set_begin_index")])
def test_more_steps_than_the_grid_has(name: str) -> None:
    scheduler = make(name, 3, **strictly(name))
    x = torch_noise()
    for t in scheduler.timesteps:
        scheduler.step(x, t, x)
    with pytest.raises(ValueError, match="set_timesteps"):
        scheduler.step(x, scheduler.timesteps[-1], x)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [(n, p.name) for n in STEPPED for p in SCHEDULERS[n].parameters() if p.call == "step"],
)
def test_wrong_values_of_every_step_parameter(name: str, parameter: str) -> None:
    p = next(p for p in SCHEDULERS[name].parameters() if p.name == parameter and p.call == "step")
    wrong: list[object] = ["much", None, [], math.nan] if p.kind != "bool" else ["yes", 3.7, []]
    wrong += [p.low - 1] if p.low is not None else []
    for value in wrong:
        scheduler = make(name)
        x = torch_noise()
        with pytest.raises(REFUSED, match=parameter):
            scheduler.step(x, scheduler.timesteps[0], x, **{parameter: value})


@pytest.mark.parametrize("name", TRAINED)
def test_trained_betas_that_the_grid_cannot_use(name: str) -> None:
    short = SCHEDULERS[name](trained_betas=[0.1, 0.2, 0.3])  # allowed: it can be saved and loaded
    with pytest.raises(ValueError, match="trained_betas"):
        short.set_timesteps(10)
    fits = SCHEDULERS[name](trained_betas=np.linspace(0.01, 0.3, 8), num_train_timesteps=8)
    fits.set_timesteps(4)


@pytest.mark.parametrize(
    ("name", "curves"),
    [
        (name, curves)
        for curves in itertools.combinations(
            ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"), 2
        )
        for name in knowing(*curves)
    ],
    ids=str,
)
def test_at_most_one_sigma_curve(name: str, curves: tuple[str, str]) -> None:
    refuses(name, dict.fromkeys(curves, True), curves[0])


def custom(name: str, argument: str) -> bool:
    return argument in inspect.signature(SCHEDULERS[name].set_timesteps).parameters


@pytest.mark.parametrize("name", [n for n in NAMES if custom(n, "timesteps")])
@pytest.mark.parametrize(
    "times", [[0, 500], [500, 500], [], [math.nan], [2000, 1], [5, -1], "many", [[5, 1]]], ids=str
)
def test_custom_timesteps(name: str, times: object) -> None:
    with pytest.raises(REFUSED, match="timesteps"):
        SCHEDULERS[name](**strictly(name)).set_timesteps(timesteps=times)


@pytest.mark.parametrize("name", [n for n in NAMES if custom(n, "sigmas")])
@pytest.mark.parametrize(
    "sigmas",
    [[0.0, 5.0], [5.0], [], [math.nan, 0.0], [math.inf, 0.0], [5.0, -1.0], "many"],
    ids=str,
)
def test_custom_sigmas(name: str, sigmas: object) -> None:
    with pytest.raises(REFUSED, match="sigmas"):
        SCHEDULERS[name](**strictly(name)).set_timesteps(sigmas=sigmas)


@pytest.mark.parametrize("name", [n for n in NAMES if custom(n, "timesteps")])
def test_one_way_to_say_where_the_steps_go(name: str) -> None:
    with pytest.raises(ValueError, match="timesteps"):
        SCHEDULERS[name](**strictly(name)).set_timesteps(5, timesteps=[5, 1])
    with pytest.raises(REFUSED, match="num_inference_steps"):
        SCHEDULERS[name]().set_timesteps()


@pytest.mark.parametrize("name", [n for n in STEPPED if n in TRAINED])
def test_add_noise(name: str) -> None:
    scheduler: SchedulerLike = make(name)
    x = torch_noise()
    with pytest.raises(REFUSED, match="noise"):
        scheduler.add_noise(x, x[:1], scheduler.timesteps[:1])
    with pytest.raises(REFUSED, match="timesteps"):
        scheduler.add_noise(x, x, torch.tensor([10**6, 3]))
    with pytest.raises(REFUSED, match="timesteps"):
        scheduler.add_noise(x, x, scheduler.timesteps[[0, 1, 2]])


@pytest.mark.parametrize("name", NAMES)
def test_formats_and_modes(name: str) -> None:
    refuses(name, {"tensor_format": "jax"}, "tensor_format", "jax")
    refuses(name, {"compat": "mine"}, "compat", "mine")
    with pytest.raises(ValueError, match="tensor_format"):
        SCHEDULERS[name]().set_format("tf")


def as_sde(name: str) -> SchedulerLike:
    """A scheduler that draws noise, where the class has a way to."""
    sde = {p.name: c for p in SCHEDULERS[name].parameters() for c in p.choices if c[:4] == "sde-"}
    return make(name, **sde)


@pytest.mark.parametrize("name", [n for n in STEPPED if as_sde(n).row(0).noise])
def test_generators(name: str) -> None:
    scheduler = as_sde(name)
    x = torch_noise()
    for generator in ("dice", 7, [torch.Generator()] * 3):
        with pytest.raises(REFUSED, match="generator"):
            scheduler.step(x, scheduler.timesteps[0], x, generator=generator)


@pytest.mark.parametrize(
    "curve", ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
)
def test_flow_sigmas_beside_a_curve(curve: str) -> None:
    """The curves run over the table's sigmas, up to 157: no flow has such a level (NaN upstream)."""
    with pytest.raises(ValueError, match="use_flow_sigmas"):
        make("DPMSolverMultistepScheduler", **{"use_flow_sigmas": True, curve: True})


def test_dpm_solver_forms_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="final_sigmas_type"):
        SCHEDULERS["DPMSolverMultistepScheduler"](algorithm_type="dpmsolver")


def test_registry_names_the_closest() -> None:
    from schedulers import from_name

    with pytest.raises(ValueError, match=r"DPM\+\+ 2M Karras"):
        from_name("DPM++ 2M Karas")


@pytest.mark.parametrize(
    ("name", "config", "steps", "culprit"),
    [
        ("DDIMScheduler", {"steps_offset": 500}, 4, "steps_offset"),
        ("LMSDiscreteScheduler", {"steps_offset": 500, "timestep_spacing": "leading"}, 4, "steps_offset"),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "sigma_min": 1e3}, 4, "sigma_min"),
        ("KarrasVeScheduler", {"sigma_max": 1e300}, 4, "sigma_max"),
        ("DDIMScheduler", {"num_train_timesteps": 100_000}, 4, "num_train_timesteps"),
        ("DDPMScheduler", {"beta_start": 0.0}, 10, "beta_start"),
        ("EulerDiscreteScheduler", {"trained_betas": [1e-12] * 1000}, 10, "trained_betas"),
        ("DDPMScheduler", {"num_train_timesteps": 10**400}, 4, "num_train_timesteps"),
        ("DDIMScheduler", {}, 10**400, "num_inference_steps"),
        ("KarrasVeScheduler", {}, 10**12, "num_inference_steps"),
    ],
)  # fmt: skip
def test_the_culprit_is_named(
    name: str, config: dict[str, object], steps: int, culprit: str
) -> None:
    with pytest.raises(ValueError, match=culprit):
        SCHEDULERS[name](**config).set_timesteps(steps)


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_lambda_clipped_beyond_the_table(spacing: str) -> None:
    scheduler = SCHEDULERS["DPMSolverMultistepScheduler"](
        lambda_min_clipped=9.2, timestep_spacing=spacing
    )
    with pytest.raises(ValueError, match="lambda_min_clipped"):
        scheduler.set_timesteps(4)


@pytest.mark.parametrize("times", [[3.9, 3.1], ["30", "2"]], ids=str)
@pytest.mark.parametrize("name", ["DDPMScheduler", "DPMSolverMultistepScheduler"])
def test_training_steps_are_whole_numbers(name: str, times: list[object]) -> None:
    with pytest.raises(REFUSED, match="timesteps"):
        SCHEDULERS[name]().set_timesteps(timesteps=times)


@pytest.mark.parametrize("method", ["add_noise", "get_velocity"])
@pytest.mark.parametrize("times", [[-1], [5000], [5.5], [1, 2, 3], [math.nan], "soon"], ids=str)
def test_times_of_the_forward_process(method: str, times: object) -> None:
    x = torch_noise()
    with pytest.raises(REFUSED, match="timesteps"):
        getattr(SCHEDULERS["DDIMScheduler"](), method)(x, x, times)


@pytest.mark.parametrize("method", ["add_noise", "get_velocity"])
def test_integers_cannot_be_noised(method: str) -> None:
    x = torch_noise().to(int)
    with pytest.raises(TypeError, match="floating point"):
        getattr(SCHEDULERS["DDIMScheduler"](), method)(x, x, [5, 5])


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: make("LMSDiscreteScheduler").get_lms_coefficient(1, 99, 0), "t=99"),
        (lambda: make("LMSDiscreteScheduler").get_lms_coefficient(3, 1, 0), "order=3"),
        (lambda: make("LMSDiscreteScheduler").get_lms_coefficient(2, 1, 2), "current_order=2"),
        (lambda: SCHEDULERS["DPMAdaptiveScheduler"]().set_timesteps(attempts=[1]), "attempts"),
        (lambda: SCHEDULERS["DPMAdaptiveScheduler"]().calls_of(5), "num_inference_steps"),
        (lambda: make("DPMAdaptiveScheduler").completes(10**6), "i=1000000"),
        (lambda: SCHEDULERS["KarrasVeScheduler"]().index_for_timestep(1), "num_inference_steps"),
        (lambda: SCHEDULERS["DDIMScheduler"]().set_format(np.ones(2)), "tensor_format"),
        (lambda: SCHEDULERS["DDIMScheduler"]().push_to_hub(None), "repo_id"),
    ],
)
def test_methods_name_what_is_wrong(call: Callable[[], object], culprit: str) -> None:
    with pytest.raises(REFUSED, match=re.escape(culprit)):
        call()


def test_no_generator_for_a_batch() -> None:
    name = "CosineDPMSolverMultistepScheduler"
    scheduler, x = make(name), torch_noise(1)
    with pytest.raises(ValueError, match="generator"):
        scheduler.step(x, scheduler.timesteps[0], x, generator=[])


@pytest.mark.parametrize("derivative", [None, np.ones((2, 3, 2, 2)), torch.ones(2, 2)])
def test_a_slope_that_does_not_fit(derivative: object) -> None:
    scheduler, x = make("KarrasVeScheduler"), torch_noise(1)
    with pytest.raises(REFUSED, match="derivative"):
        scheduler.step_correct(x, 2.0, 1.0, x, x, derivative)


def test_a_class_is_known_without_its_last_word() -> None:
    for name, cls in SCHEDULERS.items():
        label = name.removesuffix("Scheduler")
        assert isinstance(from_name(label), cls)


def test_a_config_may_hold_any_word() -> None:
    scheduler = SCHEDULERS["DDIMScheduler"].from_config({"self": 1, "beta_end": 0.03})
    assert scheduler.config["self"] == 1


@pytest.mark.parametrize("array", [np.ones, torch.ones])
@pytest.mark.parametrize("shape", [(), (0, 3, 2, 2)])
def test_thresholding_needs_values(array: Callable[..., object], shape: tuple[int, ...]) -> None:
    scheduler, x = make("DDIMScheduler", thresholding=True), array(shape)
    with pytest.raises(ValueError, match="sample has shape"):
        scheduler.step(x, scheduler.timesteps[0], x)
