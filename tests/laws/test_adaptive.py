"""What only DPM adaptive does: it judges its steps, and knows its calls when it is over."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from schedulers import DPMAdaptiveScheduler
from schedulers.core.coefficients import contributions
from schedulers.solvers.dpm_adaptive import MOST_TRIALS

X = np.random.default_rng(4).standard_normal((2, 3))


def denoise(x: Any, sigma: float) -> Any:  # noqa: ANN401
    """Smooth, with a corner on the way that makes steps fail."""
    return x / (1 + sigma**2) + 0.3 * np.cos(3 * np.log(sigma))


def made(**config: object) -> DPMAdaptiveScheduler:
    return DPMAdaptiveScheduler(h_init=1.5, tensor_format="np", **config)


@pytest.mark.parametrize("config", [{}, {"solver_order": 2}, {"eta": 1.0}], ids=str)
def test_a_run_told_by_its_rows(config: dict[str, object]) -> None:
    """Rejected calls weigh nothing; the others and the draws add up to the result."""
    scheduler = made(**config)
    scheduler.set_timesteps()
    top = X * float(scheduler.init_noise_sigma)
    drawn: dict[int, np.ndarray] = {}
    draw = scheduler._draw

    def kept(backend: object, i: int, *rest: Any) -> np.ndarray:  # noqa: ANN401
        drawn[i] = draw(backend, i, *rest)
        return drawn[i]

    scheduler._draw = kept  # type: ignore[method-assign,assignment]
    predictions: list[np.ndarray] = []

    def asked(x: np.ndarray, sigma: float) -> np.ndarray:
        predictions.append(denoise(x, sigma))
        return predictions[-1]

    last = scheduler.sample(asked, top, generator=np.random.default_rng(1))
    info = scheduler.info
    assert info["n_reject"] > 0 and info["n_accept"] + info["n_reject"] == info["steps"]
    assert info["nfe"] == len(predictions) == len(scheduler.stages) == len(scheduler.timesteps)
    parts = contributions([scheduler.row(i) for i in range(info["nfe"])], scheduler.stages)
    assert all(parts.calls[i] == 0.0 for i in scheduler.rejected)
    total = parts.initial * top + sum(parts.noise[i] * z for i, z in drawn.items())
    total = total + sum(w * p for w, p in zip(parts.calls, predictions, strict=True))
    assert np.abs(total - last).max() < 1e-9 * np.abs(top).max()


def test_the_same_steps_again_need_no_judging() -> None:
    scheduler = made()
    scheduler.set_timesteps()
    top = X * float(scheduler.init_noise_sigma)
    last = scheduler.sample(denoise, top)
    again = made()
    again.set_timesteps(attempts=scheduler.attempts)
    assert again.rejected == scheduler.rejected and again.stages == scheduler.stages
    x = top
    for stage, t in zip(again.stages, again.timesteps, strict=True):
        eps = (x - denoise(x, stage.here.sigma)) / stage.here.sigma
        x = again.step(eps, t, x).prev_sample
    assert np.abs(x - last).max() < 1e-9 * np.abs(top).max()


def test_smaller_tolerances_take_more_calls_and_err_less() -> None:
    truth, found = None, []
    for tolerance in (1e-5, 1e-3, 1e-1):
        scheduler = made(rtol=tolerance, atol=tolerance)
        scheduler.set_timesteps()
        last = scheduler.sample(denoise, X * float(scheduler.init_noise_sigma))
        truth = last if truth is None else truth
        found.append((scheduler.info["nfe"], float(np.abs(last - truth).max())))
    (many, _), (some, less), (few, more) = found
    assert many > some > few and less < more


def test_a_copy_of_a_judged_run_goes_on_alike() -> None:
    scheduler = made()
    scheduler.set_timesteps()

    def go(s: DPMAdaptiveScheduler, x: np.ndarray, i: int, stop: int) -> np.ndarray:
        while i < min(stop, len(s.timesteps)):
            sigma = s.stages[i].here.sigma
            x = s.step((x - denoise(x, sigma)) / sigma, s.timesteps[i], x).prev_sample
            i += 1
        return x

    half = go(scheduler, X * float(scheduler.init_noise_sigma), 0, 7)
    other = copy.deepcopy(scheduler)
    assert np.array_equal(go(scheduler, half, 7, 999), go(other, half, 7, 999))
    assert scheduler.attempts == other.attempts


def test_every_signature_of_a_model() -> None:
    ways = (
        denoise,
        lambda x, alpha, sigma: alpha * denoise(x, sigma),
        lambda x, alpha, sigma, cond: alpha * denoise(x, sigma),
        lambda x, alpha, sigma, cond=None: alpha * denoise(x, sigma),
    )
    scheduler = made()
    scheduler.set_timesteps()
    top = X * float(scheduler.init_noise_sigma)
    results = [scheduler.sample(way, top) for way in ways]
    assert all(np.array_equal(results[0], other) for other in results)
    same = scheduler.sample(
        lambda x, s: torch.from_numpy(denoise(x.numpy(), s)), torch.tensor(top)
    )
    assert np.allclose(same.numpy(), results[0], atol=1e-9)


def test_what_is_refused() -> None:
    scheduler = made()
    with pytest.raises(TypeError, match="denoise"):
        scheduler.sample(3, X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="model_output"):
        scheduler.sample(lambda x, sigma: x * np.nan, X)
    with pytest.raises(ValueError, match="attempts"):
        scheduler.set_timesteps(attempts=[])
    with pytest.raises(ValueError, match=r"rtol=.*atol="):
        made(rtol=1e-6, atol=1e-6).sample(
            lambda x, sigma: np.sign(np.sin(999 * np.log(sigma))) + 0 * x, X
        )
    scheduler.set_timesteps()
    with pytest.raises(ValueError, match=r"timestep=.*sample"):
        scheduler.step(X, scheduler.timesteps[0], X)
        scheduler.step(X, scheduler.timesteps[5], X)


@pytest.mark.parametrize("h_init", [0.05, 1e-4])
@pytest.mark.parametrize(
    "gains", [(-1.0, 1.0, 0.0), (0.0, 1.0, -1.0), (10.0, 0.001, 10.0), (-10.0, 10.0, -10.0)]
)
def test_no_coefficients_make_a_run_without_end(
    gains: tuple[float, float, float], h_init: float
) -> None:
    """It ends, or is refused by name, and never plans more steps than it may try."""
    names = ("pcoeff", "icoeff", "dcoeff")
    config = dict(zip(names, gains, strict=True)) | {"h_init": h_init}
    most = 0

    def watch(now: dict[str, Any]) -> None:
        nonlocal most
        most = max(most, now["nfe"])

    try:
        scheduler = DPMAdaptiveScheduler(tensor_format="np", **config)
        scheduler.set_timesteps()
        scheduler.sample(denoise, X * float(scheduler.init_noise_sigma), callback=watch)
    except ValueError as refusal:
        assert all(name in str(refusal) for name in (*names, "rtol", "h_init"))
    else:
        assert len(scheduler.attempts) <= MOST_TRIALS
    assert most <= 3 * MOST_TRIALS
