"""What callers assign or write is heeded as upstream heeds it: DPM-Solver and its kin."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from tests.parity.harness import accepts, error, unit_noise
from tests.parity.oracle import SchedulerLike, diffusers_scheduler

STEPS = 8
CLIPPED = {"lambda_min_clipped": -3.0}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
STILL = {"tau_func": lambda t: 0.0}
MULTI, SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
UNIPC, DEIS, SA = "UniPCMultistepScheduler", "DEISMultistepScheduler", "SASolverScheduler"
EDM = "EDMDPMSolverMultistepScheduler"
CASES: tuple[tuple[str, Mapping[str, object]], ...] = (
    (MULTI, {"solver_order": 3, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    (MULTI, {"algorithm_type": "sde-dpmsolver++", **CLIPPED}),
    (MULTI, FLOW),
    ("DPMSolverMultistepInverseScheduler", CLIPPED),
    (SINGLE, {"solver_order": 3, **CLIPPED}),
    (DEIS, {"solver_order": 3}),
    (UNIPC, {}),
    (UNIPC, {"predict_x0": False, "final_sigmas_type": "sigma_min"}),
    (SA, {**STILL, **CLIPPED}),
)
IDS = [f"{name}-{k}" for k, (name, _) in enumerate(CASES)]
Change = Callable[[SchedulerLike], None]


def shrunk(s: SchedulerLike) -> None:
    """Other levels, by assignment."""
    s.sigmas = s.sigmas * 0.9


def written(s: SchedulerLike) -> None:
    """The same, written into the array."""
    s.sigmas.mul_(0.8)


def shorter(s: SchedulerLike) -> None:
    """Fewer times, on the levels that there are."""
    s.timesteps = s.timesteps[:-2]


def powers(s: SchedulerLike) -> None:
    """Other signal powers, which the next grid is read from."""
    s.alphas_cumprod = s.alphas_cumprod * 0.9


def shown_only(s: SchedulerLike) -> None:
    """Arrays that nothing goes by."""
    s.alpha_t, s.sigma_t, s.betas = (0.5 * a for a in (s.alpha_t, s.sigma_t, s.betas))


def lams(s: SchedulerLike) -> None:
    """Half log-SNRs, by which the next grid is clipped."""
    s.lambda_t = s.lambda_t - 1.0


def lams_written(s: SchedulerLike) -> None:
    """The same, written into the array."""
    s.lambda_t.sub_(1.0)


def halved(s: SchedulerLike) -> None:
    """Other predictions, by assignment."""
    s.model_outputs = [None if m is None else 0.5 * m for m in s.model_outputs]


def rewritten(s: SchedulerLike) -> None:
    """Another last prediction, written into the list."""
    s.model_outputs[-1] = 0.3 * s.model_outputs[-1]


def forgotten(s: SchedulerLike) -> None:
    """No predictions, as pipelines start over."""
    s.model_outputs, s.lower_order_nums = [None] * len(s.model_outputs), 0


def fewer(s: SchedulerLike) -> None:
    """One prediction that counts."""
    s.lower_order_nums = 1


def laid_out(name: str, **config: object) -> SchedulerLike:
    """Ours, with a grid."""
    scheduler: SchedulerLike = SCHEDULERS[name](**{"tensor_format": "np", **config})
    scheduler.set_timesteps(STEPS)
    return scheduler


def assert_alike(
    name: str, config: Mapping[str, object], change: Change, when: int | None
) -> None:
    """Whole runs of both, changed before ``set_timesteps`` (None) or before that step."""
    pair: tuple[SchedulerLike, ...] = (
        SCHEDULERS[name](**config),
        diffusers_scheduler(name, **config),
    )
    draws = tuple(torch.Generator().manual_seed(5) for _ in pair)
    for s in pair:
        if when is None:
            change(s)
        s.set_timesteps(STEPS)
    x, steps = 0.7 * unit_noise(), len(pair[1].timesteps)
    for k, t in enumerate(pair[1].timesteps.clone()):
        if k == when:
            for s in pair:
                change(s)
            steps = max(k, len(pair[1].timesteps))
        if k >= steps:
            break
        outputs = []
        for s, generator in zip(pair, draws, strict=True):
            more = {"generator": generator} if accepts(s.step, "generator") else {}
            shown = s.scale_model_input(x, t)
            outputs.append(s.step(0.7 * torch.tanh(shown), t, x, **more).prev_sample)
        assert torch.isfinite(outputs[1]).all()
        assert error(*outputs) < (2e-4 if name == DEIS else 2e-5), f"step {k}"
        x = outputs[1]


@pytest.mark.parametrize("change", [powers, shown_only, lams, lams_written])
@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
def test_tables_before_the_grid(name: str, config: Mapping[str, object], change: Change) -> None:
    assert_alike(name, config, change, None)


@pytest.mark.parametrize("when", [0, 3])
@pytest.mark.parametrize("change", [shrunk, written, shorter, powers])
@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
def test_a_grid_in_the_middle_of_a_run(
    name: str, config: Mapping[str, object], change: Change, when: int
) -> None:
    """Also under a corrector, which takes the last step again on the new levels."""
    assert_alike(name, config, change, when)


@pytest.mark.parametrize(
    ("name", "config", "change"),
    [
        pytest.param(name, config, change, id=f"{label}-{change.__name__}")
        for label, (name, config) in zip(
            (*IDS, "edm"), (*CASES, (EDM, {"solver_order": 3})), strict=True
        )
        for change in (halved, rewritten, forgotten, fewer)
        # theirs goes on from these, or fails, by memory that it keeps under other names
        if change not in (forgotten, fewer) or name not in (SINGLE, UNIPC, SA)
    ],
)
def test_predictions_that_pipelines_go_on_from(
    name: str, config: Mapping[str, object], change: Change
) -> None:
    assert_alike(name, config, change, 4)


def test_predictions_of_another_form_are_refused() -> None:
    scheduler = laid_out(MULTI)
    for wrong in ([None], [None] * 3, 3, "x"):
        with pytest.raises(ValueError, match="model_outputs=.* must be a list of 2"):
            scheduler.model_outputs = wrong
    with pytest.raises(TypeError, match="model_outputs is a int"):
        scheduler.model_outputs = [None, 3]
    with pytest.raises(TypeError, match="model_outputs has a fixed length"):
        scheduler.model_outputs.append(np.zeros(2))
    with pytest.raises(ValueError, match=r"lower_order_nums=1 must lie in 0\.\.0"):
        scheduler.lower_order_nums = 1
    corrected = laid_out(UNIPC)
    corrected.model_outputs[-1] = np.zeros(2)
    with pytest.raises(ValueError, match="lower_order_nums=1"):  # of no sample of ours
        corrected.lower_order_nums = 1


def test_settings_that_upstream_copies_out_of_the_config() -> None:
    unipc = laid_out(UNIPC)
    assert any(unipc.corrector_row(1).x0) and unipc.disable_corrector == ()
    unipc.disable_corrector = [0]
    assert not any(unipc.corrector_row(1).x0) and any(unipc.corrector_row(2).x0)
    with pytest.raises(TypeError, match="solver_p=3 must be None"):
        unipc.solver_p = 3
    solver = laid_out(SA, **STILL)
    assert solver.row(1).noise == 0.0
    solver.tau_func = lambda t: 1.0
    assert solver.row(1).noise > 0.0
    with pytest.raises(TypeError, match="tau_func=3 must be a function"):
        solver.tau_func = 3
