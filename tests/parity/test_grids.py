"""Where the steps go: timesteps, sigmas and initial scale equal diffusers', N from 1 to 200."""

import itertools

import pytest
import torch

from tests.laws.driver import possible, singles
from tests.parity.harness import SCHEDULERS, Case, accepts, assert_same_grid
from tests.parity.oracle import (
    DIFFUSERS,
    SchedulerLike,
    diffusers_class,
    diffusers_scheduler,
    stepped,
)

EVERY = range(1, 201)
DENSE = [*range(1, 27), 30, 37, 50, 61, 99, 100, 125, 150, 199, 200]
SPACINGS = ("linspace", "leading", "trailing")
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
GRIDDED = [name for name in DIFFUSERS if accepts(diffusers_class(name), "beta_schedule")]
SIGMA_OPTIONS = [
    (name, option)
    for name in GRIDDED
    for option in (
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "use_lu_lambdas",
        "use_flow_sigmas",
    )
    if accepts(diffusers_class(name), option)
]


def lay_out(ours: SchedulerLike, theirs: SchedulerLike, steps: int) -> bool:
    """Set both grids; whether theirs has one: some classes of theirs cannot take few steps."""
    ours.set_timesteps(steps)
    try:
        theirs.set_timesteps(steps)
    except ValueError:
        return False
    return True


def pair(name: str, **config: object) -> tuple[SchedulerLike, SchedulerLike]:
    for key in ("timestep_spacing", "steps_offset"):
        if not accepts(diffusers_class(name), key):  # the singlestep class has one spacing
            config.pop(key, None)
    if accepts(diffusers_class(name), "original_inference_steps"):
        config["original_inference_steps"] = 200
    return SCHEDULERS[name](**config), diffusers_scheduler(name, **config)


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", GRIDDED)
def test_every_number_of_steps(name: str, spacing: str, betas: str) -> None:
    for offset in (0, 1):
        ours, theirs = pair(
            name, timestep_spacing=spacing, steps_offset=offset, beta_schedule=betas
        )
        # a doubled grid has the spacings of a plain one, and theirs takes its time
        for steps in DENSE if ours.order == 2 else EVERY:
            # leading with an offset can ask for time T when N = 1; both then leave the table
            if lay_out(ours, theirs, steps):
                assert_same_grid(ours, theirs, f"{steps} steps, offset {offset}")
            else:
                assert steps < 4 or spacing == "linspace"


@pytest.mark.parametrize("name", [name for name in stepped() if name not in GRIDDED])
def test_every_number_of_steps_without_betas(name: str) -> None:
    """Also with every single option, wherever theirs answers with numbers."""
    for options in (options for options in singles(name) if possible(name, options)):
        ours, theirs = SCHEDULERS[name](**options), diffusers_scheduler(name, **options)
        compared = 0
        for steps in DENSE if options else EVERY:
            try:
                theirs.set_timesteps(steps)
            except (ValueError, IndexError, ZeroDivisionError):
                continue
            if bool(torch.as_tensor(theirs.timesteps).isfinite().all()):
                ours.set_timesteps(steps)
                assert_same_grid(ours, theirs, f"{options}, {steps} steps")
                compared += 1
        assert compared > 10, options


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize(("name", "option"), SIGMA_OPTIONS)
def test_sigma_options(name: str, option: str, betas: str) -> None:
    counts = DENSE if option != "use_beta_sigmas" else DENSE[::4]
    spacings = SPACINGS if betas == "scaled_linear" else SPACINGS[:1]
    for spacing in spacings:
        ours, theirs = pair(name, timestep_spacing=spacing, beta_schedule=betas, **{option: True})
        for steps in counts:
            ours.set_timesteps(steps)
            theirs.set_timesteps(steps)
            assert_same_grid(ours, theirs, f"{steps} steps, {spacing}")


@pytest.mark.parametrize("name", GRIDDED)
def test_before_set_timesteps(name: str) -> None:
    ours, theirs = pair(name)
    if theirs.timesteps is not None:
        assert_same_grid(ours, theirs)
    assert len(ours) == len(theirs) == 1000


@pytest.mark.parametrize("train", [10, 100, 250, 1000, 4000])
@pytest.mark.parametrize("name", GRIDDED)
def test_other_training_lengths(name: str, train: int) -> None:
    for spacing in SPACINGS:
        ours, theirs = pair(name, num_train_timesteps=train, timestep_spacing=spacing)
        for steps in (1, 2, 3, 7, 9):
            if lay_out(ours, theirs, steps):
                assert_same_grid(ours, theirs, f"{steps} of {train}, {spacing}")


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    "name", [n for n in GRIDDED if accepts(diffusers_class(n), "rescale_betas_zero_snr")]
)
def test_zero_terminal_snr(name: str, spacing: str) -> None:
    ours, theirs = pair(name, rescale_betas_zero_snr=True, timestep_spacing=spacing)
    for steps in DENSE:
        if lay_out(ours, theirs, steps):
            assert_same_grid(ours, theirs, f"{steps} steps")


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("interpolation", ["linear", "log_linear"])
def test_euler_kinds(kind: str, prediction: str, interpolation: str) -> None:
    for final, karras in itertools.product(("zero", "sigma_min"), (False, True)):
        ours, theirs = pair(
            "EulerDiscreteScheduler",
            timestep_type=kind,
            prediction_type=prediction,
            interpolation_type=interpolation,
            final_sigmas_type=final,
            use_karras_sigmas=karras,
        )
        assert_same_grid(ours, theirs)
        for steps in DENSE[::3]:
            ours.set_timesteps(steps)
            theirs.set_timesteps(steps)
            assert_same_grid(ours, theirs, f"{steps} steps, {final}, karras {karras}")


@pytest.mark.parametrize(
    "option", ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
)
def test_euler_sigma_limits(option: str) -> None:
    for limits in (
        {"sigma_min": 0.1},
        {"sigma_max": 20.0},
        {"sigma_min": 0.002, "sigma_max": 80.0},
    ):
        ours, theirs = pair("EulerDiscreteScheduler", **{option: True}, **limits)
        for steps in (1, 2, 10, 31):
            ours.set_timesteps(steps)
            theirs.set_timesteps(steps)
            assert_same_grid(ours, theirs, f"{steps} steps, {limits}")


@pytest.mark.parametrize("clip", [-float("inf"), -5.1, -3.0])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_dpm_lambda_clip(spacing: str, clip: float, final: str) -> None:
    ours, theirs = pair(
        "DPMSolverMultistepScheduler",
        timestep_spacing=spacing,
        lambda_min_clipped=clip,
        final_sigmas_type=final,
        beta_schedule="squaredcos_cap_v2",
    )
    for steps in DENSE:
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert_same_grid(ours, theirs, f"{steps} steps")


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_dpm_flow_shift(shift: float) -> None:
    ours, theirs = pair("DPMSolverMultistepScheduler", use_flow_sigmas=True, flow_shift=shift)
    for steps in EVERY:
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert_same_grid(ours, theirs, f"{steps} steps")


@pytest.mark.parametrize(
    ("name", "config", "grid"),
    [
        (
            "UniPCMultistepScheduler",
            {"use_flow_sigmas": True},
            {"sigmas": [0.9, 0.5, 0.2]},
        ),
        (
            "FlowMatchEulerDiscreteScheduler",
            {"use_karras_sigmas": True},
            {"num_inference_steps": 9},
        ),
    ],
)
def test_a_curve_that_only_others_know_bends_nothing(
    name: str, config: dict[str, object], grid: dict[str, object]
) -> None:
    """The config of a DPM-Solver may name it; here it is a foreign key."""
    own = SCHEDULERS[name](**config)
    other = SCHEDULERS[name].from_config(config | {"use_lu_lambdas": True})
    for scheduler in (own, other):
        scheduler.set_timesteps(**grid)
    assert_same_grid(own, other)


SHIFTED = [n for n in GRIDDED if accepts(diffusers_class(n), "flow_shift")]


@pytest.mark.parametrize("name", SHIFTED)
def test_a_replaced_flow_shift_holds(name: str) -> None:
    """Upstream reads it out of the config whenever a grid is laid out."""
    ours, theirs = pair(name, use_flow_sigmas=True)
    for scheduler in (ours, theirs):
        scheduler.register_to_config(flow_shift=3.0)
        scheduler.set_timesteps(9)
    assert_same_grid(ours, theirs, name)


FLOWING = [
    n for n in GRIDDED if accepts(diffusers_class(n), "time_shift_type") and "Flow" not in n
]


def test_dpm_dynamic_shift() -> None:
    config = {"use_flow_sigmas": True, "use_dynamic_shifting": True}
    for mu in (0.0, 0.5, 1.15):
        case = Case(
            "DPMSolverMultistepScheduler", config, grid={"num_inference_steps": 9, "mu": mu}
        )
        assert_same_grid(case.ours(), case.theirs(), f"mu {mu}")


@pytest.mark.parametrize("name", FLOWING)
def test_configs_of_flows_may_say_linear(name: str) -> None:
    """Both take it; it forbids mu, which theirs meets with an assertion."""
    flow = SCHEDULERS["FlowMatchEulerDiscreteScheduler"](time_shift_type="linear")
    ours = SCHEDULERS[name].from_config(flow.config, use_flow_sigmas=True)
    theirs = diffusers_class(name).from_config(dict(flow.config), use_flow_sigmas=True)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(7)
    assert_same_grid(ours, theirs)
    ours.register_to_config(use_dynamic_shifting=True)
    with pytest.raises(ValueError, match="time_shift_type='linear'"):
        ours.set_timesteps(7, mu=1.0)


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("DDPMScheduler", {"timesteps": [999, 700, 350, 20, 0]}),
        ("EulerDiscreteScheduler", {"timesteps": [999, 700, 350, 20, 0]}),
        ("EulerDiscreteScheduler", {"timesteps": [850.5, 333.25, 2.0]}),
        ("EulerDiscreteScheduler", {"sigmas": [14.615, 6.475, 3.861, 1.0, 0.152, 0.0]}),
        ("EulerDiscreteScheduler", {"sigmas": [80.0, 1.0, 0.02, 0.001]}),
        ("HeunDiscreteScheduler", {"timesteps": [999, 700, 350, 20, 0]}),
        ("DPMSolverMultistepScheduler", {"timesteps": [999, 700, 350, 20, 0]}),
        ("DPMSolverMultistepScheduler", {"timesteps": [999, 850, 736, 645, 545, 455, 343, 24]}),
    ],
)
def test_custom_grids(name: str, grid: dict[str, object]) -> None:
    case = Case(name, grid=grid)
    assert_same_grid(case.ours(), case.theirs())


@pytest.mark.parametrize("name", GRIDDED)
def test_training_table(name: str) -> None:
    trained = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
    tables = [{"beta_schedule": betas} for betas in BETAS]
    tables += [{"trained_betas": trained, "num_train_timesteps": 8}, {"beta_end": 0.3}]
    if name == "DDPMScheduler":
        tables += [{"beta_schedule": "sigmoid"}, {"beta_schedule": "laplace"}]
    if name == "HeunDiscreteScheduler":
        tables += [{"beta_schedule": "exp"}]
    if accepts(diffusers_class(name), "rescale_betas_zero_snr"):
        tables += [{"rescale_betas_zero_snr": True, **table} for table in tables[:4]]
    for table in tables:
        ours, theirs = pair(name, **table)
        for attribute in ("betas", "alphas", "alphas_cumprod"):
            expected = getattr(theirs, attribute)
            found = getattr(ours, attribute)
            assert found.dtype == expected.dtype
            # torch's exp and square root in float32 are not always the nearest number: a few ulps
            if table.get("beta_schedule") == "sigmoid" or "rescale_betas_zero_snr" in table:
                # and the smaller the betas, the more of such an ulp is left of their differences
                atol = 3e-7 if theirs.config.beta_end > 0.012 else 4e-6
                torch.testing.assert_close(found, expected, rtol=1e-6, atol=atol)
            else:
                assert found.tolist() == expected.tolist(), f"{attribute} of {table}"


@pytest.mark.parametrize("name", ["KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"])
def test_intermediate_results_of_dpm2(name: str) -> None:
    """What callers of diffusers look at beside the sigmas, to what float32 leaves of theirs."""
    ours, theirs = pair(name, use_karras_sigmas=True)
    for steps in (1, 2, 10):
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        for key in ("log_sigmas", "sigmas_interpol", "sigmas_up", "sigmas_down"):
            assert hasattr(ours, key) == hasattr(theirs, key)
            if hasattr(theirs, key):
                a, b = getattr(ours, key), getattr(theirs, key).nan_to_num()
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=f"{key}, {steps} steps")


@pytest.mark.parametrize("curve", ["use_lu_lambdas", "use_karras_sigmas", "use_beta_sigmas"])
def test_a_curve_over_a_table_whose_last_level_is_a_floor(curve: str) -> None:
    """Zero terminal SNR: the last step of training is less noisy than the one before it."""
    config = {curve: True, "rescale_betas_zero_snr": True}
    for steps in (1, 2, 5, 20, 57):
        case = Case("DPMSolverMultistepScheduler", config, steps)
        assert_same_grid(case.ours(), case.theirs(), str(case))
