"""Options in random company: up to eight at once, the same every time.

Wherever both libraries run, they agree. Where upstream refuses, ours refuses too or does the
mathematics; where ours refuses what upstream runs, it is one of the refusals named here.
"""

import random

import pytest
import torch

from schedulers.interface.params import Parameter
from tests.parity.harness import SCHEDULERS, Case, accepts, assert_same_run
from tests.parity.oracle import stepped
from tests.parity.test_runs import NO_SAMPLE

NAMES = stepped()
EACH = 50
#: Third-order differences of close sigmas cost upstream's float32 more digits than elsewhere.
TOLERANCE = 5e-5
#: Numbers worth combining; everything else that is a number keeps its default.
NUMBERS: dict[str, tuple[object, ...]] = {
    "num_train_timesteps": (1000, 1000, 100, 50),
    "beta_start": (1e-4, 8.5e-4, 1e-3),
    "beta_end": (0.02, 0.012, 0.03),
    "steps_offset": (0, 1, 2),
    "solver_order": (1, 2, 3),
    "clip_sample_range": (1.0, 0.5, 2.0),
    "dynamic_thresholding_ratio": (0.995, 0.8),
    "sample_max_value": (1.0, 1.5),
    "flow_shift": (1.0, 3.0, 0.5),
    "lambda_min_clipped": (-float("inf"), -5.1),
    "sigma_min": (None, 0.03),
    "sigma_max": (None, 10.0),
    "shift": (1.0, 3.0, 0.5),
    "shift_terminal": (None, 0.1),
    "noise_sampler_seed": (5, 17),
}
#: What only ours refuses: settings that contradict each other, and levels without an answer.
STRICTER = (
    "only one of use_",  # upstream silently prefers one curve
    "use_flow_sigmas=True cannot be combined",  # NaN
    "solver_order=3 must be an integer in [1, 2]",  # crashes
    "outside (0, 1]",  # alphas_cumprod underflows: NaN
    "where there is no noise",  # a division by zero, which a division by it later hides
    "where the signal is zero",  # x0 = infinity, which clipping would hide
)


def pick(p: Parameter, chance: random.Random) -> object:
    """A value of a parameter."""
    if p.kind == "bool":
        return chance.choice((True, False))
    if p.kind == "choice":
        return chance.choice((*p.choices, *((None,) if p.optional else ())))
    numbers = NUMBERS.get(p.name, (p.default,))
    return chance.choice([n for n in numbers if n is not None or p.optional] or [p.default])


def draw(name: str, chance: random.Random) -> Case:
    """A random configuration, with random step arguments."""
    parameters = [p for p in SCHEDULERS[name].parameters() if p.name != "compat"]
    init = [p for p in parameters if p.call == "init" and p.kind not in ("numbers", "object")]
    chosen = chance.sample(init, chance.randint(0, min(8, len(init))))
    config = {p.name: pick(p, chance) for p in chosen}
    if name in NO_SAMPLE and config.get("prediction_type") == "sample":
        del config["prediction_type"]  # NotImplementedError upstream
    if "algorithm_type" in (p.name for p in parameters) and config.get("prediction_type"):
        config.pop("variance_type", None)  # upstream cuts it off for epsilon only, else crashes
    if config.get("algorithm_type") == "dpmsolver" and "Singlestep" in name:
        config.pop("thresholding", None)  # upstream looks a level up by None, and crashes
        if config.get("prediction_type") == "flow_prediction":
            del config["prediction_type"]  # refused at the first step
    if name == "CosineDPMSolverMultistepScheduler":
        config.pop("final_sigmas_type", None)  # torchsde recurses without end
    if name == "SASolverScheduler":
        # a curve's first time is T - 1 to an ulp of torch's square root, and then cut to T - 2
        config.pop("num_train_timesteps", None)
        config.pop("variance_type", None)  # upstream draws noise for the variance too, and crashes
        if config.get("algorithm_type") == "noise_prediction":
            config.pop("thresholding", None)  # upstream looks a level up by None, and crashes
    step: dict[str, object] = {}
    if name == "DDIMScheduler":
        step = {
            "eta": chance.choice((0.0, 0.4)),
            "use_clipped_model_output": chance.random() < 0.5,
        }
    elif name == "EulerDiscreteScheduler" and chance.random() < 0.5:
        step = {"s_churn": 3.0, "s_noise": 1.003}
    elif name == "LMSDiscreteScheduler":
        step = {"order": chance.randint(1, 4)}
    begin = hasattr(SCHEDULERS[name], "set_begin_index")
    return Case(name, config, chance.choice((1, 2, 3, 5, 8, 14, 15, 20)), step=step, begin=begin)


@pytest.mark.parametrize("name", NAMES)
def test_random_company(name: str) -> None:
    chance = random.Random(name)
    agreed = 0
    seeded = accepts(SCHEDULERS[name], "noise_sampler_seed")
    each = EACH // 3 if seeded else EACH  # a tree of seeds takes its time
    for _ in range(each):
        case = draw(name, chance)
        try:
            case.theirs()
        except (ValueError, NotImplementedError):
            continue
        try:
            # these cancel up to six digits in float32: see test_deis, test_sa_solver
            cancels = name in ("DEISMultistepScheduler", "SASolverScheduler")
            levels = torch.float64 if cancels else torch.float32
            assert_same_run(case, TOLERANCE, levels)
            agreed += 1
        except ValueError as refusal:
            assert any(reason in str(refusal) for reason in STRICTER), f"{case}: {refusal}"
    assert agreed >= each // 2
