"""The functions behind the rules equal the integrals that define them."""

import math

import mpmath
import numpy as np
import pytest

from schedulers import DPMSolverMultistepScheduler
from schedulers.process.spacing import beta_quantiles
from schedulers.rules.adams import MAX_ORDER, lagrange_weights
from schedulers.rules.euler import ancestral_split
from schedulers.rules.exponential import psi


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_psi_to_twelve_digits(k: int, sign: int) -> None:
    """Also for tiny steps, where the closed form loses every digit."""
    for size in (1e-12, 1e-8, 1e-4, 0.01, 0.1, 0.3, 0.49, 0.5, 0.51, 1.0, 3.0, 10.0, 20.0):
        z = sign * size
        with mpmath.workdps(40):
            exact = mpmath.quad(
                lambda s, z=z: z * mpmath.exp(-z * (1 - s)) * s**k / mpmath.factorial(k), [0, 1]
            )
        assert psi(k, z) == pytest.approx(float(exact), rel=1e-12), z


@pytest.mark.parametrize("k", [0, 1, 2])
def test_psi_of_an_endless_step(k: int) -> None:
    assert psi(k, math.inf) == 1 / math.factorial(k) == pytest.approx(psi(k, 1e12))


@pytest.mark.parametrize("order", range(1, MAX_ORDER + 1))
def test_lagrange_weights_integrate_polynomials(order: int) -> None:
    """Exact for every polynomial of a degree below the order, on uneven nodes."""
    nodes = [3.0 - 0.21 * j - 0.013 * j * j for j in range(order)]
    weights = lagrange_weights(nodes, 3.0, 2.7)
    for degree in range(order):
        found = sum(w * node**degree for w, node in zip(weights, nodes, strict=True))
        exact = (2.7 ** (degree + 1) - 3.0 ** (degree + 1)) / (degree + 1)
        scale = max(abs(w) * 3.0**degree for w in weights)
        assert abs(found - exact) <= 1e-12 * max(1.0, scale)


def test_ancestral_split_adds_up() -> None:
    for sigma, after in ((10.0, 3.0), (3.0, 2.999), (1.0, 0.001), (5.0, 0.0)):
        for eta in np.linspace(0, 1, 5):
            down, up = ancestral_split(sigma, after, float(eta))
            assert math.hypot(down, up) == pytest.approx(after, abs=1e-12)
            assert 0 <= down and 0 <= up <= after


@pytest.mark.parametrize("n", [1, 2, 3, 20, 200, 1000])
def test_beta_quantiles_are_those_of_the_distribution(n: int) -> None:
    from scipy.special import betaincinv

    expected = betaincinv(0.6, 0.6, 1.0 - np.linspace(0, 1, n))
    assert np.abs(beta_quantiles(n) - expected).max() < 1e-15


@pytest.mark.parametrize("form", ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"])
@pytest.mark.parametrize("steps", [500, 1000])
def test_rows_stay_finite_where_the_first_level_lies_below_the_second(
    form: str, steps: int
) -> None:
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type=form,
        final_sigmas_type="sigma_min",
        rescale_betas_zero_snr=True,
        solver_order=3,
        tensor_format="np",
    )
    scheduler.set_timesteps(steps)
    assert scheduler.sigmas[1] > scheduler.sigmas[0]
    for i in range(steps):
        row = scheduler.row(i)
        assert np.isfinite([*row.x, *row.x0, *row.eps, row.noise]).all(), i
