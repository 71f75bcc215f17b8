"""Whole runs and single steps equal diffusers' within 1e-5, for every option of every class."""

import itertools

import numpy as np
import pytest
import torch

from tests.parity.harness import (
    ROOM,
    SHAKES,
    SHAPE,
    TOLERANCE,
    Case,
    Oracle,
    assert_same_run,
    take_step,
    unit_noise,
)
from tests.parity.oracle import diffusers_class
from tests.samples import sample

PREDICTIONS = ("epsilon", "sample", "v_prediction")
SPACINGS = ("linspace", "leading", "trailing")
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
PLAIN = (
    "DDPMScheduler",
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverMultistepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
)
#: theirs do not know how to read a data prediction; tests/laws hold ours to it
NO_SAMPLE = (
    "EDMDPMSolverMultistepScheduler",
    "CosineDPMSolverMultistepScheduler",
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
)
VARIANCES = (
    "fixed_small",
    "fixed_small_log",
    "fixed_large",
    "fixed_large_log",
    "learned",
    "learned_range",
)
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def ids(case: object) -> str:
    return str(case)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PLAIN)
def test_predictions_and_spacings(name: str, spacing: str, prediction: str) -> None:
    if name in NO_SAMPLE and prediction == "sample":
        prediction = "epsilon"
    for betas, offset, steps in zip(BETAS, (0, 1, 1), (6, 10, 17), strict=True):
        config = {
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "beta_schedule": betas,
            "steps_offset": offset,
        }
        assert_same_run(Case(name, config, steps))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 14, 15, 16, 50])
@pytest.mark.parametrize("name", PLAIN)
def test_number_of_steps(name: str, steps: int) -> None:
    assert_same_run(Case(name, steps=steps))


@pytest.mark.parametrize("name", PLAIN)
def test_start_in_the_middle(name: str) -> None:
    order = diffusers_class(name).order
    for start in (1, 4, 9):
        assert_same_run(Case(name, {}, 10, start=start * order))


@pytest.mark.parametrize("seeds", [(5,), (5, 6)])
@pytest.mark.parametrize(
    "case",
    [
        Case("DDPMScheduler"),
        Case("DDIMScheduler", step={"eta": 1.0}),
        Case("EulerDiscreteScheduler", step={"s_churn": 4.0}),
        Case("EulerAncestralDiscreteScheduler"),
        Case("KDPM2AncestralDiscreteScheduler"),
        Case("KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": True}),
        *(
            Case(
                "DPMSolverMultistepScheduler",
                {"algorithm_type": kind, "final_sigmas_type": "sigma_min"},
            )
            for kind in ("sde-dpmsolver", "sde-dpmsolver++")
        ),
    ],
    ids=ids,
)
def test_same_generators_same_draws(case: Case, seeds: tuple[int, ...]) -> None:
    assert_same_run(Case(case.scheduler, case.config, 6, step=case.step, seeds=seeds))


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddpm_variances(variance: str, prediction: str) -> None:
    for spacing, clip in itertools.product(SPACINGS, (True, False)):
        config = {
            "variance_type": variance,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "clip_sample": clip,
        }
        assert_same_run(Case("DDPMScheduler", config, 9))


def test_ddpm_without_set_timesteps_walks_the_training_grid() -> None:
    case = Case("DDPMScheduler", {"num_train_timesteps": 20}, 20)
    assert_same_run(case)


@pytest.mark.parametrize(
    "case",
    [
        Case("DDPMScheduler", grid={"timesteps": [999, 500, 499, 30, 2]}),
        Case("DDPMScheduler", {"clip_sample_range": 0.4}),
        Case("DDPMScheduler", {"thresholding": True, "sample_max_value": 1.5}),
        Case("DDPMScheduler", {"thresholding": True, "dynamic_thresholding_ratio": 0.7}),
        *(Case("DDPMScheduler", {**ZERO_SNR, "prediction_type": p}) for p in PREDICTIONS[1:]),
    ],
    ids=ids,
)
def test_ddpm_options(case: Case) -> None:
    assert_same_run(case)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddim_eta_and_clipping(eta: float, clipped: bool, prediction: str) -> None:
    step = {"eta": eta, "use_clipped_model_output": clipped}
    for config in (
        {},
        {"clip_sample": False},
        {"clip_sample_range": 0.5, "set_alpha_to_one": False},
        {"thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.8},
        {"timestep_spacing": "trailing", "steps_offset": 1},
    ):
        config = {"prediction_type": prediction, **config}
        assert_same_run(Case("DDIMScheduler", config, 9, step=step))
    if prediction != "epsilon" and eta < 1:
        # at eta = 1 upstream takes the root of a rounding error in the first step
        config = {"prediction_type": prediction, "clip_sample": False, **ZERO_SNR}
        assert_same_run(Case("DDIMScheduler", config, 9, step=step))


def test_ddim_off_the_grid() -> None:
    """Step counts that do not divide the training length: upstream's own stride is kept."""
    for spacing, steps in itertools.product(SPACINGS, (3, 7, 13, 30)):
        config = {"timestep_spacing": spacing, "set_alpha_to_one": False}
        assert_same_run(Case("DDIMScheduler", config, steps))


def test_given_noise_is_used() -> None:
    noise = unit_noise(5)
    assert_same_run(Case("DDIMScheduler", step={"eta": 0.7, "variance_noise": noise}))
    config = {"algorithm_type": "sde-dpmsolver++"}
    assert_same_run(Case("DPMSolverMultistepScheduler", config, step={"variance_noise": noise}))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_euler_churn_includes_its_limits(prediction: str) -> None:
    grid = {"sigmas": [10.0, 5.0, 2.0, 1.0, 0.0]}
    step = {"s_churn": 2.0, "s_tmin": 2.0, "s_tmax": 5.0}
    config = {"prediction_type": prediction}
    assert_same_run(Case("EulerDiscreteScheduler", config, grid=grid, step=step))


@pytest.mark.parametrize(
    "step",
    [
        {"s_churn": 2.0},
        {"s_churn": 50.0, "s_noise": 1.007},
        {"s_churn": 5.0, "s_tmin": 0.5, "s_tmax": 5.0},
    ],
    ids=ids,
)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_euler_churn(step: dict[str, float], prediction: str) -> None:
    for karras in (False, True):
        config = {"prediction_type": prediction, "use_karras_sigmas": karras}
        assert_same_run(Case("EulerDiscreteScheduler", config, 9, step=step))


@pytest.mark.parametrize(
    "case",
    [
        Case("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}),
        Case("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"}),
        Case(
            "EulerDiscreteScheduler",
            {
                "timestep_type": "continuous",
                "prediction_type": "v_prediction",
                "use_karras_sigmas": True,
            },
        ),
        Case(
            "EulerDiscreteScheduler",
            {"use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0},
            begin=True,  # several levels lie above the table and share its last time
        ),
        Case("EulerDiscreteScheduler", grid={"timesteps": [999, 850, 333, 24, 3]}),
        Case("EulerDiscreteScheduler", grid={"sigmas": [14.615, 6.475, 1.0, 0.152, 0.0]}),
        Case("EulerDiscreteScheduler", grid={"sigmas": [14.615, 6.475, 1.0, 0.152]}),
        Case("EulerDiscreteScheduler", {**ZERO_SNR, "prediction_type": "v_prediction"}),
        Case("EulerDiscreteScheduler", {**ZERO_SNR}),
        Case("EulerAncestralDiscreteScheduler", {**ZERO_SNR, "prediction_type": "v_prediction"}),
        Case("HeunDiscreteScheduler", {"beta_schedule": "exp"}),
        Case("HeunDiscreteScheduler", {"clip_sample": True, "clip_sample_range": 0.5}),
        Case("HeunDiscreteScheduler", grid={"timesteps": [999, 850, 333, 24, 3]}),
        *(Case("LMSDiscreteScheduler", {}, 9, step={"order": order}) for order in (1, 2, 3, 4)),
        *(
            Case(name, {option: True, "prediction_type": prediction}, 9)
            for name in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler")
            for option in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
            for prediction in PREDICTIONS
        ),
        *(
            Case(name, {option: True, "prediction_type": prediction}, 9)
            for name in (
                "KDPM2DiscreteScheduler",
                "KDPM2AncestralDiscreteScheduler",
                "DPMSolverSDEScheduler",
            )
            for option in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
            for prediction in ("epsilon", "v_prediction")
        ),
        Case("DPMSolverSDEScheduler", step={"s_noise": 1.01}),
        *(
            Case(name, grid={"num_inference_steps": 6, "num_train_timesteps": 400})
            for name in ("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
        ),
    ],
    ids=ids,
)
def test_ve_options(case: Case) -> None:
    assert_same_run(case)


SIGMAS = (
    {},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
    {"use_lu_lambdas": True},
    {"use_flow_sigmas": True, "flow_shift": 3.0},
)
ALGORITHMS = ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")
#: Upstream crashes on the missing one.
RUNNABLE = [
    (order, algorithm)
    for order in (1, 2, 3)
    for algorithm in ALGORITHMS
    if (order, algorithm) != (3, "sde-dpmsolver")
]


def dpm_possible(config: dict[str, object]) -> bool:
    """Whether upstream can step to the last level: it refuses a zero, or crashes."""
    plain = config["algorithm_type"] in ("dpmsolver", "sde-dpmsolver")
    return not (plain and config.get("final_sigmas_type", "zero") == "zero")


@pytest.mark.parametrize("sigmas", SIGMAS, ids=ids)
@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@pytest.mark.parametrize(("order", "algorithm"), RUNNABLE)
def test_dpm_solver(order: int, algorithm: str, solver: str, sigmas: dict[str, object]) -> None:
    cases = []
    for final, euler, lower in itertools.product(
        ("zero", "sigma_min"), (False, True), (True, False)
    ):
        config = {
            "solver_order": order,
            "algorithm_type": algorithm,
            "solver_type": solver,
            "final_sigmas_type": final,
            "euler_at_final": euler,
            "lower_order_final": lower,
            **sigmas,
        }
        # 14 and 15 are the longest short run and the shortest long one
        lengths = (5, 14, 15) if lower else (5,)
        if dpm_possible(config):
            cases += [Case("DPMSolverMultistepScheduler", config, steps) for steps in lengths]
    for case in sample(cases, 6, f"{order} {algorithm} {solver} {sigmas}"):
        assert_same_run(case)


@pytest.mark.parametrize(
    ("algorithm", "prediction"),
    [
        *itertools.product(ALGORITHMS, PREDICTIONS),
        *((kind, "flow_prediction") for kind in ALGORITHMS if "++" in kind),  # others are refused
    ],
)
def test_dpm_predictions(algorithm: str, prediction: str) -> None:
    flow = prediction == "flow_prediction"
    extras: list[dict[str, object]] = [
        {"use_flow_sigmas": flow},
        {"thresholding": True, "sample_max_value": 1.5, "use_flow_sigmas": flow},
    ]
    if not flow:
        extras += [
            {"lambda_min_clipped": -5.1, "beta_schedule": "squaredcos_cap_v2"},
            {"steps_offset": 1, "timestep_spacing": "leading"},
            {"use_karras_sigmas": True, "beta_schedule": "squaredcos_cap_v2"},
            {"use_flow_sigmas": True},
        ]
    if not flow and "++" in algorithm:
        extras += [dict(ZERO_SNR)]
    for extra in extras:
        config = {
            "algorithm_type": algorithm,
            "prediction_type": prediction,
            "final_sigmas_type": "zero" if "++" in algorithm else "sigma_min",
            **extra,
        }
        # cosine times are truncated to integers and repeat: the index then has to be given
        assert_same_run(Case("DPMSolverMultistepScheduler", config, 8, begin=True))


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_dpm_learned_variance_is_cut_off(algorithm: str, variance: str) -> None:
    final = "zero" if "++" in algorithm else "sigma_min"
    config = {"algorithm_type": algorithm, "variance_type": variance, "final_sigmas_type": final}
    assert SHAPE[1] == 3  # upstream keeps the first three channels
    assert_same_run(Case("DPMSolverMultistepScheduler", config))


@pytest.mark.parametrize(
    "case",
    [
        Case("DPMSolverMultistepScheduler", grid={"timesteps": [999, 850, 333, 24, 3]}),
        Case(
            "DPMSolverMultistepScheduler",
            {
                "use_flow_sigmas": True,
                "prediction_type": "flow_prediction",
                "use_dynamic_shifting": True,
            },
            grid={"num_inference_steps": 8, "mu": 1.15},
        ),
        Case("DPMSolverMultistepScheduler", {"solver_order": 3, "steps_offset": 1}, 25),
        Case(
            "DPMSolverMultistepScheduler",
            {"algorithm_type": "deis", "final_sigmas_type": "sigma_min"},
        ),
        Case("DPMSolverMultistepScheduler", {"solver_type": "bh2"}),
    ],
    ids=ids,
)
def test_dpm_options(case: Case) -> None:
    assert_same_run(case)


@pytest.mark.parametrize("sigmas", [s for s in SIGMAS if "use_lu_lambdas" not in s], ids=ids)
@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@pytest.mark.parametrize("algorithm", ["dpmsolver", "dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_singlestep(order: int, algorithm: str, solver: str, sigmas: dict[str, object]) -> None:
    """Every case of the list of orders."""
    # the curvature over one step of lam = 9 takes float32 to 1.1e-5
    tolerance = 2e-5 if "use_beta_sigmas" in sigmas and order == 3 else TOLERANCE
    cases = []
    for final, lower in itertools.product(("zero", "sigma_min"), (True, False)):
        config = {
            "solver_order": order,
            "algorithm_type": algorithm,
            "solver_type": solver,
            "final_sigmas_type": final,
            "lower_order_final": lower,
            **sigmas,
        }
        lengths = (1, 2, 3, 4, 5, 6) if dpm_possible(config) else ()
        cases += [Case("DPMSolverSinglestepScheduler", config, steps) for steps in lengths]
    for case in sample(cases, 8, f"{order} {algorithm} {solver} {sigmas}"):
        assert_same_run(case, tolerance)


@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@pytest.mark.parametrize("algorithm", ["dpmsolver", "dpmsolver++"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_inverse(order: int, algorithm: str, solver: str) -> None:
    extras: tuple[dict[str, object], ...] = (
        {"timestep_spacing": "leading", "steps_offset": 1},
        {"timestep_spacing": "trailing", "euler_at_final": True},
        {"use_karras_sigmas": True, "lower_order_final": False},
        {"use_flow_sigmas": True},
        {"prediction_type": "v_prediction", "thresholding": True, "sample_max_value": 1.5},
        {"prediction_type": "sample", "lambda_min_clipped": -3.0},
    )
    for extra, steps in itertools.product(extras, (6, 15)):
        form = {"solver_order": order, "algorithm_type": algorithm, "solver_type": solver}
        assert_same_run(Case("DPMSolverMultistepInverseScheduler", {**form, **extra}, steps))


@pytest.mark.parametrize("start", [1, 2, 3, 4])
@pytest.mark.parametrize("prediction", [*PREDICTIONS, "flow_prediction"])
def test_singlestep_started_midway(prediction: str, start: int) -> None:
    for threshold in (False, True):
        config = {"solver_order": 3, "prediction_type": prediction, "thresholding": threshold}
        case = Case("DPMSolverSinglestepScheduler", config, 8, start=start, begin=True)
        assert_same_run(case)


DEIS_THIRD = 5e-5  # theirs computes the integrals of order 3 in float32, where they cancel


@pytest.mark.parametrize("sigmas", [s for s in SIGMAS if "use_lu_lambdas" not in s], ids=ids)
@pytest.mark.parametrize("prediction", [*PREDICTIONS, "flow_prediction"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order: int, prediction: str, sigmas: dict[str, object]) -> None:
    settings = list(
        itertools.product((True, False), ((True, 5), (True, 14), (True, 15), (False, 5)))
    )
    for threshold, (lower, steps) in sample(settings, 4, f"{order} {prediction} {sigmas}"):
        config = {
            "solver_order": order,
            "prediction_type": prediction,
            "lower_order_final": lower,
            "thresholding": threshold,
            "sample_max_value": 1.5,
            **sigmas,
        }
        case = Case("DEISMultistepScheduler", config, steps)
        if order == 3:
            assert_same_run(case, DEIS_THIRD, levels=torch.float64)
        if order < 3 or "use_beta_sigmas" not in sigmas:  # whose last step cancels six digits
            assert_same_run(case, DEIS_THIRD if order == 3 else TOLERANCE)


@pytest.mark.parametrize(
    "case",
    [
        *(
            Case("DEISMultistepScheduler", {"solver_type": kind, "algorithm_type": form}, 6)
            for kind in ("midpoint", "heun", "bh1", "bh2")
            for form in ("dpmsolver", "dpmsolver++")
        ),
        *(
            Case(
                "DEISMultistepScheduler",
                {"use_karras_sigmas": True, "beta_schedule": betas},
                8,
                begin=True,
            )
            for betas in BETAS
        ),
        Case(
            "DEISMultistepScheduler",
            {
                "use_flow_sigmas": True,
                "prediction_type": "flow_prediction",
                "use_dynamic_shifting": True,
            },
            grid={"num_inference_steps": 8, "mu": 1.15},
        ),
    ],
    ids=ids,
)
def test_deis_options(case: Case) -> None:
    assert_same_run(case)


def finite_in_theirs(config: dict[str, object]) -> bool:
    """Whether upstream can take the step to sigma = 0: it is NaN or a singular matrix otherwise."""
    return config["final_sigmas_type"] == "sigma_min" or bool(
        config["predict_x0"] and config["solver_type"] == "bh2" and config["lower_order_final"]
    )


UNIPC_SIGMAS = (
    *(s for s in SIGMAS if "use_lu_lambdas" not in s),
    {"use_flow_sigmas": True, "use_karras_sigmas": True},
    {"use_flow_sigmas": True, "shift_terminal": 0.1},
)


@pytest.mark.parametrize("sigmas", UNIPC_SIGMAS, ids=ids)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(order: int, sigmas: dict[str, object]) -> None:
    """Predictor and corrector of every order, on either prediction, from either end."""
    # the last step of a beta curve, of lam = 8, takes their float32 linear solve to 3e-5
    steep = order == 3 and "use_beta_sigmas" in sigmas
    for kind, on_data, lower, final, steps in (
        ("bh2", True, True, "zero", 8),
        ("bh2", True, True, "zero", 16),
        ("bh2", True, False, "sigma_min", 5),
        ("bh1", True, True, "sigma_min", 5),
        ("bh1", True, False, "zero", 5),
        ("bh2", False, True, "sigma_min", 5),
        ("bh1", False, False, "sigma_min", 5),
        ("bh1", False, True, "zero", 4),
    ):
        config = {
            "solver_order": order,
            "solver_type": kind,
            "predict_x0": on_data,
            "lower_order_final": lower,
            "final_sigmas_type": final,
            **sigmas,
        }
        case = Case("UniPCMultistepScheduler", config, steps)
        if order < 3 or finite_in_theirs(config):
            assert_same_run(case, 4e-5 if steep else TOLERANCE)


@pytest.mark.parametrize(
    ("prediction", "on_data"),
    # upstream refuses a flow prediction on the noise
    [*itertools.product(PREDICTIONS, (True, False)), ("flow_prediction", True)],
)
def test_unipc_predictions(prediction: str, on_data: bool) -> None:
    for extra, start in itertools.product(
        (
            {"thresholding": True, "sample_max_value": 1.5},
            {"use_flow_sigmas": on_data},
            {"disable_corrector": [0, 1, 4]},
            {"use_karras_sigmas": True, "beta_schedule": "squaredcos_cap_v2"},
            {"timestep_spacing": "leading", "steps_offset": 1},
            dict(ZERO_SNR),
        ),
        (0, 3),
    ):
        config = {
            "solver_order": 3,
            "prediction_type": prediction,
            "predict_x0": on_data,
            "final_sigmas_type": "zero" if on_data else "sigma_min",
            **extra,
        }
        assert_same_run(Case("UniPCMultistepScheduler", config, 8, start=start, begin=True))


@pytest.mark.parametrize(
    ("predictor", "corrector", "sigmas"),
    [
        (*orders, sigmas)
        for orders in itertools.product((1, 2, 3, 4), repeat=2)
        for sigmas in SIGMAS
        # over the last step of a beta curve, of lam = 8, their closed forms cancel all digits
        if "use_lu_lambdas" not in sigmas and not ("use_beta_sigmas" in sigmas and max(orders) > 2)
    ],
    ids=ids,
)
def test_sa_solver(predictor: int, corrector: int, sigmas: dict[str, object]) -> None:
    """Each pair of orders, with noise in the middle of the run, drawn in upstream's order."""
    highest = max(predictor, corrector)
    # theirs integrates powers of lam, which cancel in float32
    levels = torch.float32 if highest < 3 else torch.float64
    for form, lower in (
        ("data_prediction", True),
        ("noise_prediction", True),
        ("data_prediction", False),
    ):
        config = {
            "predictor_order": predictor,
            "corrector_order": corrector,
            "algorithm_type": form,
            "lower_order_final": lower,
            **sigmas,
        }
        assert_same_run(Case("SASolverScheduler", config, 8), DEIS_THIRD, levels=levels)


@pytest.mark.parametrize(
    "case",
    [
        *(
            Case("SASolverScheduler", {"prediction_type": kind, "thresholding": True}, 8)
            for kind in (*PREDICTIONS, "flow_prediction")
        ),
        Case("SASolverScheduler", {"prediction_type": "v_prediction", "use_flow_sigmas": True}),
        Case("SASolverScheduler", {"timestep_spacing": "leading", "steps_offset": 1}, 9, start=3),
        Case("SASolverScheduler", {"tau_func": lambda t: 0.7 * t / 1000}, 8),
        Case("SASolverScheduler", {"tau_func": lambda t: 0}, 8, seeds=(3, 4)),
        Case("SASolverScheduler", {"lambda_min_clipped": -3.0}, 8),
    ],
    ids=ids,
)
def test_sa_solver_options(case: Case) -> None:
    assert_same_run(case)


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


@pytest.mark.parametrize(
    "case",
    [
        Case("UniPCMultistepScheduler", FLOW, grid={"sigmas": np.linspace(1.0, 0.1, 6)}),
        Case(
            "UniPCMultistepScheduler",
            {**FLOW, "flow_shift": 3.0, "shift_terminal": 0.1},
            grid={"sigmas": np.array([1.0, 0.8, 0.29, 0.1])},
        ),
        Case(
            "UniPCMultistepScheduler",
            {**FLOW, "use_dynamic_shifting": True},
            grid={"num_inference_steps": 8, "mu": 1.15},
        ),
        Case("UniPCMultistepScheduler", {"solver_type": "logrho"}),
        Case("UniPCMultistepScheduler", {"use_karras_sigmas": True, "sigma_max": 20.0}),
    ],
    ids=ids,
)
def test_unipc_options(case: Case) -> None:
    assert_same_run(case)


def test_unipc_goes_on_from_its_own_sample() -> None:
    """What a caller changes between the steps (inpainting) reaches the prediction only."""
    case = Case("UniPCMultistepScheduler", {"solver_order": 3}, 8)
    ours, theirs = case.ours(), case.theirs()
    x = y = unit_noise()
    for index in range(8):
        a = take_step(ours, index, x, case, case.generators())["prev_sample"]
        b = take_step(theirs, index, y, case, case.generators())["prev_sample"]
        torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=TOLERANCE)
        x, y = (torch.where(unit_noise(2) > 0, 0.3, part) for part in (a, b))
        a.zero_()  # nor does writing into what was returned


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "case",
    [
        Case("DDPMScheduler", {"beta_schedule": "scaled_linear"}),
        Case("DDIMScheduler", {"clip_sample": False}, step={"eta": 0.5}),
        Case("EulerDiscreteScheduler", {"use_karras_sigmas": True}, step={"s_churn": 3.0}),
        Case("EulerAncestralDiscreteScheduler"),
        Case("KDPM2DiscreteScheduler", {"use_karras_sigmas": True}),
        Case("KDPM2AncestralDiscreteScheduler"),
        Case("DPMSolverSDEScheduler"),
        Case("DPMSolverMultistepScheduler"),
        Case("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        Case("DEISMultistepScheduler"),
        Case("UniPCMultistepScheduler"),
        Case("SASolverScheduler"),
    ],
    ids=ids,
)
def test_half_precision_draws_the_same_noise(case: Case, dtype: torch.dtype) -> None:
    """Same generator, same draws, same type out; the digits are held to float64 in tests/laws."""
    ours, oracle = case.ours(), Oracle(case, torch.float32)
    shaken = [Oracle(case, torch.float32, seed) for seed in range(SHAKES)]
    generator = case.generators()
    x = (unit_noise() * min(float(oracle.scheduler.init_noise_sigma), 20.0)).to(dtype)
    for index in range(len(oracle.scheduler.timesteps)):
        a = take_step(ours, index, x, case, generator)["prev_sample"]
        b = oracle.step(index, x)["prev_sample"]
        assert a.dtype == dtype
        open_here = max(
            float((other.step(index, x)["prev_sample"] - b).abs().max()) for other in shaken
        )
        off = float((a - b).abs().max())
        assert off <= ROOM * open_here, f"call {index}"
        x = b
