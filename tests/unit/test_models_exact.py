"""Every exact denoiser equals Tweedie's formula, with the score taken by autograd in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models import MODELS, load
from models.emoji import IdealEmoji
from models.mixtures import LineMixture, PlaneMixture
from models.points import PointModel
from models.posterior import PointPosterior

LEVELS = [(1.0, 0.05), (1.0, 0.7), (1.0, 14.6), (0.8, 0.6), (0.1, 0.995), (1.0, 80.0)]


def log_mixture(
    x: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Log density of a mixture from full covariance matrices, without principal axes."""
    parts = torch.distributions.MultivariateNormal(means, covariances)
    return torch.logsumexp(weights.log() + parts.log_prob(x[:, None]), -1)


def tweedie(x: torch.Tensor, log_p: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    (score,) = torch.autograd.grad(log_p.sum(), x)
    return (x.detach() + sigma**2 * score) / alpha


def noisy(clean: np.ndarray | torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x0 = torch.as_tensor(clean).to(torch.float64)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    return (alpha * x0 + sigma * noise).requires_grad_()


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
@pytest.mark.parametrize(
    ("model_id", "cond"),
    [(m, c.id) for m in ("mixture-1d", "mixture-2d") for c in MODELS[m].classes],
)
def test_mixtures_obey_tweedie(model_id: str, cond: str, alpha: float, sigma: float) -> None:
    model = load(model_id)
    assert isinstance(model, LineMixture | PlaneMixture)
    numbers = model.mixture(cond)
    covariances = numbers.axes * numbers.variances[:, None, :] @ numbers.axes.transpose(0, 2, 1)
    d = model.shape[0]
    x = noisy(model.reference(cond, 40, seed=1), alpha, sigma)
    log_p = log_mixture(
        x,
        alpha * torch.tensor(numbers.means),
        alpha**2 * torch.tensor(covariances) + sigma**2 * torch.eye(d, dtype=torch.float64),
        torch.tensor(numbers.weights),
    )
    got = model.denoise(x.detach(), alpha, sigma, cond)
    # The oracle subtracts nearly equal numbers of size sigma: its own error grows with sigma.
    tolerance = 1e-11 * max(1.0, sigma / alpha)
    torch.testing.assert_close(got, tweedie(x, log_p, alpha, sigma), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
@pytest.mark.parametrize("cond", [c.id for c in MODELS["points"].classes])
def test_points_obey_tweedie(cond: str, alpha: float, sigma: float) -> None:
    model = load("points")
    assert isinstance(model, PointModel)
    x = noisy(model.reference(cond, 40, seed=1), alpha, sigma)
    points = torch.tensor(model.points(cond))
    squared = (x[:, None] - alpha * points).square().sum(-1)
    log_p = torch.logsumexp(-squared / (2 * sigma**2), -1)
    got = model.denoise(x.detach(), alpha, sigma, cond)
    tolerance = 1e-10 * max(1.0, sigma / alpha)
    torch.testing.assert_close(got, tweedie(x, log_p, alpha, sigma), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.5), (0.6, 0.8), (1.0, 14.6), (0.1, 1.0)])
@pytest.mark.parametrize("cond", ["hearts", "clothes"])
def test_the_ideal_denoiser_obeys_tweedie(cond: str, alpha: float, sigma: float) -> None:
    model = load("emoji-ideal")
    assert isinstance(model, IdealEmoji)
    images = model.images(cond, torch.float64)
    x = noisy(images[:4], alpha, sigma)
    squared = (x[:, None] - alpha * images).square().sum((-3, -2, -1))
    log_p = torch.logsumexp(-squared / (2 * sigma**2), -1)
    got = model.denoise(x.detach(), alpha, sigma, cond)
    tolerance = 1e-10 * max(1.0, sigma / alpha)
    torch.testing.assert_close(got, tweedie(x, log_p, alpha, sigma), rtol=0, atol=tolerance)


def test_a_single_gaussian_shrinks_towards_its_mean_by_the_wiener_factor() -> None:
    model = load("mixture-1d")  # standardised: mean 0, variance 1
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    got = model.denoise(x, 0.8, 0.5, "gauss")
    torch.testing.assert_close(got, x * 0.8 / (0.64 + 0.25), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("cond", [c.id for c in MODELS["mixture-1d"].classes])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (0.6, 0.8), (0.0, 1.0), (1.0, 14.6)])
def test_the_density_on_the_line_is_that_of_the_noisy_draws(
    cond: str, alpha: float, sigma: float
) -> None:
    model = load("mixture-1d")
    assert isinstance(model, LineMixture)
    width = 8.0 * math.hypot(2.0 * alpha, sigma)
    grid = np.linspace(-width, width, 20_001)
    density = model.density(grid, alpha, sigma, cond)
    numbers = model.mixture(cond)
    step = grid[1] - grid[0]
    # Mass, mean and variance of a mixture under x = alpha x0 + sigma eps.
    variance = alpha**2 * (numbers.weights @ (numbers.means**2 + numbers.variances))[0] + sigma**2
    assert density.sum() * step == pytest.approx(1.0, abs=1e-9)
    assert (density * grid).sum() * step == pytest.approx(0.0, abs=1e-9 * width)
    assert (density * grid**2).sum() * step == pytest.approx(variance, rel=1e-8)


def test_the_density_agrees_with_the_denoiser_through_its_slope() -> None:
    model = load("mixture-1d")
    assert isinstance(model, LineMixture)
    alpha, sigma, h = 0.7, 0.4, 1e-5
    grid = np.linspace(-2, 2, 9)
    slope = np.log(model.density(grid + h, alpha, sigma, "uneven"))
    slope = (slope - np.log(model.density(grid - h, alpha, sigma, "uneven"))) / (2 * h)
    got = model.denoise(torch.tensor(grid)[:, None], alpha, sigma, "uneven")[:, 0].numpy()
    # Central differences: h^2 times the third derivative, and rounding over h.
    np.testing.assert_allclose(got, (grid + sigma**2 * slope) / alpha, atol=1e-7)


@pytest.mark.parametrize("model_id", ["mixture-1d", "mixture-2d", "points"])
def test_data_are_as_large_as_unit_noise(model_id: str) -> None:
    model = load(model_id)
    assert isinstance(model, LineMixture | PlaneMixture | PointModel)
    for entry in MODELS[model_id].classes:
        draws = model.reference(entry.id, 20_000, seed=5)
        assert draws.shape == (20_000, *model.shape)
        assert draws.dtype == np.float32
        np.testing.assert_allclose(draws.mean(0), 0.0, atol=0.05)  # 3 / sqrt(20000) = 0.02
        assert np.square(draws).mean() == pytest.approx(1.0, abs=0.05)
        # A Gaussian has no edge: 0.8 % of the long one's x lie beyond 3 (standard deviation 1.13).
        assert np.mean(np.abs(draws) <= model.extent) > 0.985


@pytest.mark.parametrize("model_id", ["mixture-1d", "mixture-2d", "points"])
def test_references_are_repeatable(model_id: str) -> None:
    model = load(model_id)
    assert isinstance(model, LineMixture | PlaneMixture | PointModel)
    first, again = model.reference(None, 50, seed=1), model.reference(None, 50, seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, model.reference(None, 50, seed=2))


def test_point_sets_hold_a_thousand_different_points() -> None:
    model = load("points")
    assert isinstance(model, PointModel)
    for entry in MODELS["points"].classes:
        assert len(np.unique(model.points(entry.id), axis=0)) == 1000


def test_the_checkerboard_leaves_the_light_fields_empty() -> None:
    from models.points import checkerboard

    fields = np.floor(checkerboard()).astype(int)
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (fields[:, 0], fields[:, 1]), 1)
    dark = np.add.outer(np.arange(4), np.arange(4)) % 2 == 0
    assert (counts[~dark] == 0).all()
    assert counts[dark].min() > 115  # 125 each if perfectly even


def test_chunks_of_a_large_batch_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    posterior = PointPosterior(torch.randn(30, 2, generator=generator, dtype=torch.float64))
    x = torch.randn(101, 2, generator=generator, dtype=torch.float64)
    whole = posterior.posterior_mean(x, 0.9, 0.3)
    monkeypatch.setattr("models.posterior._CHUNK", 300)
    torch.testing.assert_close(posterior.posterior_mean(x, 0.9, 0.3), whole, rtol=0, atol=1e-13)
