"""Law 3: on Gaussian data, whose path is known in closed form, the observed order is the declared.

Grids are refined so that the first and the last nonzero level stay where they are; the step into
sigma = 0 is left out, because there every method ends at its last data prediction. What counts is
the largest error along the path: at a single level errors of opposite sign may cancel.
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from schedulers import SCHEDULERS
from schedulers.core.level import Level
from tests.laws.driver import NAMES, SchedulerLike, make, walk

MEAN, SPREAD = 0.3, 0.7
START = np.array([[[[-1.3, 0.4, 1.1, 0.2]]]])


def closed_form(x: np.ndarray, a: Level, b: Level) -> np.ndarray:
    """The probability-flow path of N(MEAN, SPREAD^2) from level a to level b."""
    ratio = math.hypot(b.alpha * SPREAD, b.sigma) / math.hypot(a.alpha * SPREAD, a.sigma)
    path: np.ndarray = b.alpha * MEAN + ratio * (x - a.alpha * MEAN)
    return path


def posterior_mean(x: np.ndarray, level: Level) -> np.ndarray:
    """E[x0 | x] of the same data."""
    gain = level.alpha * SPREAD**2 / ((level.alpha * SPREAD) ** 2 + level.sigma**2)
    mean: np.ndarray = MEAN + gain * (x - level.alpha * MEAN)
    return mean


def path_error(
    scheduler: SchedulerLike, above: float = 0.0, first: int = 0, **step: object
) -> float:
    """Largest error at any level above a sigma, relative to the standard deviation there.

    Args:
        scheduler: At the start of a run.
        above: Levels down to this sigma count.
        first: Calls from this one on count.
        **step: Arguments of `step`.
    """
    stages = scheduler.stages
    x = START * stages[0].here.scale
    moments = walk(scheduler, lambda i, shown: posterior_mean(shown, stages[i].here), x, **step)
    worst = 0.0
    orders = [scheduler.effective_order(i, step) for i in range(len(stages))]
    for moment in moments:
        target = stages[moment.index].target
        closing = orders[moment.index + 1 :][:1] <= [orders[moment.index]]
        whole_step = closing if scheduler.order == 1 else moment.index % 2 == 1
        if whole_step and target.sigma > above and moment.index >= first:
            exact = closed_form(x, stages[0].here, target)
            spread = math.hypot(target.alpha * SPREAD, target.sigma)
            worst = max(worst, float(np.abs(moment.after - exact).max()) / spread)
    return worst


def slope(name: str, counts: tuple[int, ...], config: dict[str, object], **step: object) -> float:
    """Least-squares slope of log error over log step size."""
    errors = [path_error(make(name, n, **config), **step) for n in counts]
    sizes = [-math.log(n) for n in counts]
    return float(np.polyfit(sizes, np.log(errors), 1)[0])


def exponential(**more: object) -> dict[str, object]:
    """A smooth grid, even in log sigma."""
    return {"use_exponential_sigmas": True, "compat": "paper", **more}


SOLVERS = [
    ("DDIMScheduler", {"clip_sample": False, "compat": "paper"}, {}, 1),
    ("EulerDiscreteScheduler", exponential(), {}, 1),
    ("HeunDiscreteScheduler", exponential(), {}, 2),
    ("KDPM2DiscreteScheduler", exponential(), {}, 2),
    ("DPMPP2SAncestralScheduler", exponential(eta=0.0), {}, 2),
    *(("LMSDiscreteScheduler", exponential(), {"order": order}, order) for order in (1, 2, 3, 4)),
    ("DPMSolverMultistepScheduler", exponential(solver_order=1), {}, 1),
    *(
        (
            "DPMSolverMultistepScheduler",
            exponential(solver_order=2, solver_type=kind, lower_order_final=False),
            {},
            2,
        )
        for kind in ("midpoint", "heun")
    ),
    *(
        (
            "DPMSolverMultistepScheduler",
            exponential(
                solver_order=order,
                algorithm_type="dpmsolver",
                final_sigmas_type="sigma_min",
                lower_order_final=False,
            ),
            {},
            order,
        )
        for order in (1, 2)
    ),
    (
        "DPMSolverMultistepScheduler",
        exponential(solver_order=3, lower_order_final=False),
        {},
        3,
    ),
    *(
        (
            "DPMSolverMultistepInverseScheduler",
            exponential(solver_order=order, lower_order_final=False),
            {},
            order,
        )
        for order in (1, 2, 3)
    ),
    *(
        (
            "DPMSolverSinglestepScheduler",
            exponential(solver_order=order, solver_type=kind),
            {},
            order,
        )
        for order, kind in ((1, "midpoint"), (2, "midpoint"), (2, "heun"), (3, "heun"))
    ),
    ("DPMFastScheduler", {}, {}, 3),
    *(
        (
            "DEISMultistepScheduler",
            exponential(solver_order=order, lower_order_final=False),
            {},
            order,
        )
        for order in (1, 2, 3)
    ),
    ("EDMEulerScheduler", {"sigma_schedule": "exponential", "compat": "paper"}, {}, 1),
    *(
        (
            "EDMDPMSolverMultistepScheduler",
            {
                "solver_order": order,
                "sigma_schedule": "exponential",
                "compat": "paper",
                "lower_order_final": False,
            },
            {},
            order,
        )
        for order in (2, 3)
    ),
    *(
        (
            "SASolverScheduler",
            exponential(
                predictor_order=predictor,
                corrector_order=corrector,
                algorithm_type=form,
                tau_func=lambda t: 0.0,
                lower_order_final=False,
            ),
            {},
            order,
        )
        for predictor, corrector, form, order in (
            (1, 1, "data_prediction", 1),
            (2, 1, "noise_prediction", 1),
            (1, 2, "data_prediction", 2),
            (2, 3, "data_prediction", 3),
            (2, 3, "noise_prediction", 3),
        )
    ),
    *(
        (
            "UniPCMultistepScheduler",
            exponential(
                solver_order=order,
                predict_x0=on_data,
                lower_order_final=False,
                final_sigmas_type="zero" if on_data else "sigma_min",
            ),
            {},
            order + 1,
        )
        for order, on_data in ((1, True), (2, True), (2, False), (3, True))
    ),
    *(
        (
            "UniPCMultistepScheduler",
            exponential(
                solver_order=2,
                solver_type=kind,
                compat="diffusers",
                lower_order_final=False,
                disable_corrector=list(range(400)),
            ),
            {},
            2,
        )
        for kind in ("bh1", "bh2")
    ),
    ("IPNDMScheduler", {"compat": "paper"}, {}, 2),
    ("KarrasVeScheduler", {"s_churn": 0.0, "compat": "paper"}, {}, 2),
]


#: Settings under which a class walks its path as exactly as it can, where it has the parameter.
PLAIN = {
    "use_exponential_sigmas": True,
    "lower_order_final": False,
    "clip_sample": False,
    "eta": 0.0,
    "compat": "paper",
}


def others() -> Iterator[tuple[str, dict[str, object], dict[str, object], int]]:
    """Every further class that goes from noise to data without noise, at the order it declares."""
    for name in set(NAMES) - {solver[0] for solver in SOLVERS} - {"PNDMScheduler"}:
        made = SCHEDULERS[name]
        config = {key: PLAIN[key] for key in PLAIN if key in made._init_keys()}
        if made.call_form != "step" or made.ascends:
            continue
        rows = make(name, 40, **config).rows()
        if not any(row.noise for row in rows):
            yield name, config, {}, max(make(name, 40, **config).orders(rows))


SOLVERS += sorted(others(), key=lambda solver: NAMES.index(solver[0]))


@pytest.mark.parametrize(
    ("name", "config", "step", "order"),
    SOLVERS,
    ids=[f"{s[0]}-{s[3]}-{i}" for i, s in enumerate(SOLVERS)],
)
def test_observed_order(
    name: str, config: dict[str, object], step: dict[str, object], order: int
) -> None:
    # DDIM lives on the integer times: counts that divide the training length
    # and the first steps of a multistep method, of lower order, fade slowly at order 4
    counts = (50, 100, 200, 500) if name.startswith("DDIM") else (40, 57, 80, 113, 160)
    counts = (160, 226, 320) if order == 4 else counts
    if name == "DPMFastScheduler":  # one step of order 2 at the end, none of order 1
        counts = (41, 59, 80, 113, 161)
    assert slope(name, counts, config, **step) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("skip", [False, True])
def test_observed_order_of_pndm(skip: bool) -> None:
    """Second order (Liu et al. 2022, theorem 3.2), where the levels are smooth in time.

    At the clean end sigma goes with the root of t, in which steps even in time have no high order.
    """
    config = {"skip_prk_steps": skip, "compat": "paper"}
    counts = (50, 100, 200, 500)
    made = [make("PNDMScheduler", n, **config) for n in counts]
    errors = [path_error(s, above=0.1, first=len(s.prk_timesteps)) for s in made]
    found = np.polyfit([-math.log(n) for n in counts], np.log(errors), 1)[0]
    assert found == pytest.approx(2, abs=0.3)
