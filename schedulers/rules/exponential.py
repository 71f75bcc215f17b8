r"""Exponential integrators: DDIM and the multistep DPM-Solver family are one formula.

In ``lam = log(alpha / sigma)`` both the probability-flow ODE and the reverse SDE have a linear part
that is solved exactly and a prediction D (of the data or of the noise) that is interpolated by a
polynomial in ``s``, the fraction of the step:

    x_target = c x + kappa * (psi_0(z) D0 + psi_1(z) D1 + psi_2(z) D2),
    psi_k(z) = int_0^1 z exp(-z (1 - s)) s^k / k! ds.

What the four published forms call by different names is (c, kappa, z):

=================  ============================  ============  ====
form               c                             kappa         z
=================  ============================  ============  ====
dpmsolver++        sigma_t / sigma_s             alpha_t       h
dpmsolver          alpha_t / alpha_s             sigma_t       -h
sde-dpmsolver++    sigma_t / sigma_s * exp(-h)   alpha_t       2 h
sde-dpmsolver      alpha_t / alpha_s             2 sigma_t     -h
=================  ============================  ============  ====

References:
    Lu et al. 2022, DPM-Solver, arXiv 2206.00927; Lu et al. 2022, DPM-Solver++, arXiv 2211.01095,
    eq. 8 to 18 and appendix for the SDE forms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.coefficients import Coefficients
from ..core.level import Level

#: Below this the closed forms of psi_1 and psi_2 lose digits; the series has none to lose.
SERIES_BELOW = 0.5
#: Terms of the series: 0.5**18 / 18! is below 1e-20.
SERIES_TERMS = 18


def psi(k: int, z: float) -> float:
    """``int_0^1 z exp(-z (1 - s)) s^k / k! ds`` ; z may be infinite."""
    if k == 0:
        return -math.expm1(-z)
    if math.isinf(z):
        return 1.0 / math.factorial(k)
    if abs(z) < SERIES_BELOW:
        # psi_k(z) = sum_m (-1)^m z^(m+1) / (m + k + 1)!
        total, term = 0.0, z / math.factorial(k + 1)
        for m in range(SERIES_TERMS):
            total += term
            term *= -z / (m + k + 2)
        return total
    return 1.0 / math.factorial(k) - psi(k - 1, z) / z


def differences(lams: Sequence[float], h: float, order: int) -> list[tuple[float, ...]]:
    """Rows that turn predictions (newest first) into scaled derivatives D0, D1, D2.

    Args:
        lams: lam of the ``order`` newest calls, newest first.
        h: lam of the target less lam here; D_k carries ``h^k``.
        order: 1, 2 or 3.

    Returns:
        ``order`` rows: row k holds the weights of D_k on the predictions; D2 is the true second
        derivative times ``h^2`` (twice the divided difference).
    """
    rows: list[tuple[float, ...]] = [(1.0,)]
    if order == 1:
        return rows
    r0 = (lams[0] - lams[1]) / h
    if order == 2:
        return [*rows, (1.0 / r0, -1.0 / r0)]
    r1 = (lams[1] - lams[2]) / h
    newer = (1.0 / r0, -1.0 / r0, 0.0)
    older = (0.0, 1.0 / r1, -1.0 / r1)
    blend = r0 / (r0 + r1)
    d1 = tuple(a + blend * (a - b) for a, b in zip(newer, older, strict=True))
    d2 = tuple(2.0 / (r0 + r1) * (a - b) for a, b in zip(newer, older, strict=True))
    return [*rows, d1, d2]


def multistep_row(
    here: Sequence[Level],
    target: Level,
    form: str,
    order: int,
    midpoint: bool,
    second_derivative: float = 1.0,
    half_sign_flipped: bool = False,
) -> Coefficients:
    """One step of a multistep DPM-Solver.

    Args:
        here: Levels of the newest calls, newest first; at least ``order`` of them.
        target: Level to reach; sigma = 0 is allowed for the data-prediction forms.
        form: "dpmsolver++", "dpmsolver", "sde-dpmsolver++" or "sde-dpmsolver".
        order: 1, 2 or 3.
        midpoint: At order 2, evaluate D at the midpoint (``psi_0 / 2``) instead of integrating it.
        second_derivative: Factor on D2; 1 is the mathematics, 0.5 what diffusers computes.
        half_sign_flipped: Use ``psi_2 - 1`` for psi_2, as diffusers does in sde-dpmsolver++.

    Returns:
        The row, on ``x`` and ``x0`` for the data forms, on ``x`` and ``eps`` for the noise forms.
    """
    now = here[0]
    h, data = target.lam - now.lam, form.endswith("++")
    lin = linear_part(now, target, data, float(form.startswith("sde")))
    kappa, z = lin.kappa, lin.z
    factors = [psi(0, z)]
    if order == 2:
        factors.append(0.5 * psi(0, z) if midpoint else psi(1, z))
    elif order == 3:
        factors += [psi(1, z), (psi(2, z) - half_sign_flipped) * second_derivative]
    weights = [0.0] * order
    rows = differences([level.lam for level in here], h, order)
    for factor, row in zip(factors, rows, strict=True):
        for j, d in enumerate(row):
            weights[j] += kappa * factor * d
    return predicting(data, lin.c, weights, lin.noise)


def predicting(data: bool, c: float, weights: Sequence[float], noise: float = 0.0) -> Coefficients:
    """The row ``c x + sum_j weights[j] D_j + noise z``, D being x0 (data) or eps."""
    if data:
        return Coefficients(x=(c,), x0=tuple(weights), noise=noise)
    return Coefficients(x=(c,), eps=tuple(weights), noise=noise)


@dataclass(frozen=True, slots=True)
class Linear:
    """What a step does beside interpolating: c, kappa and z of the table above, and more.

    Attributes:
        c: Weight on the sample.
        kappa: Factor on the integrals.
        z: Length of the step in the exponent.
        total: Sum of all weights on predictions, ``kappa psi(0, z)``, without its cancellation.
        noise: Weight of fresh noise.
    """

    c: float
    kappa: float
    z: float
    total: float
    noise: float = 0.0


def linear_part(now: Level, target: Level, data: bool, tau: float) -> Linear:
    """The linear part of a step, which is solved exactly.

    Args:
        now: Where the step starts.
        target: Where it ends.
        data: Whether the data or the noise prediction is interpolated.
        tau: Stochasticity: 0 is the ODE, 1 the reverse SDE, anything between or beyond an SDE
            with the same marginals (Xue et al. 2023, arXiv 2309.05019, eq. 6).
    """
    h = target.lam - now.lam
    # A step up in noise (the floor that zero terminal SNR puts under the last level can lie below
    # its neighbour) cannot be taken by removing and renewing noise: it follows the ODE.
    tau2 = tau * tau if h > 0.0 else 0.0
    noise = 0.0
    if data:
        if tau2:
            noise = target.sigma * math.sqrt(-math.expm1(-2.0 * tau2 * h))
        c = target.sigma / now.sigma * (math.exp(-tau2 * h) if tau2 else 1.0)
        return Linear(c, target.alpha, (1.0 + tau2) * h, target.alpha - c * now.alpha, noise)
    if tau2:
        noise = tau * target.sigma * math.sqrt(math.expm1(2.0 * h))
    c, total = target.alpha / now.alpha, target.sigma - target.alpha / now.alpha * now.sigma
    return Linear(c, (1.0 + tau2) * target.sigma, -h, (1.0 + tau2) * total, noise)


def adams_weights(nodes: Sequence[float], lin: Linear) -> list[float]:
    """``kappa int_0^1 z exp(-z (1 - s)) L_j(s) ds`` of the Lagrange polynomials on ``nodes``.

    Integrates Newton's form, whose terms need not cancel.

    Args:
        nodes: Where predictions are known, as fractions of the step; all different.
        lin: Linear part of the step; z is finite, or infinite with a single node.

    Returns:
        One weight a node; they sum to ``lin.total``.
    """
    moments = [lin.total]
    moments += [math.factorial(k) * lin.kappa * psi(k, lin.z) for k in range(1, len(nodes))]
    weights = [0.0] * len(nodes)
    newton = [1.0]  # coefficients of prod_m (s - r_m), lowest power first
    for k, node in enumerate(nodes):
        integral = sum(c * m for c, m in zip(newton, moments, strict=False))
        for j in range(k + 1):
            gaps = (nodes[j] - nodes[m] for m in range(k + 1) if m != j)
            weights[j] += integral / math.prod(gaps)
        shifted = [0.0, *newton]
        newton = [a - node * b for a, b in zip(shifted, [*newton, 0.0], strict=True)]
    return weights


def fractions(lams: Sequence[float], base: float, h: float) -> list[float]:
    """Half log-SNRs as fractions of a step of length ``h`` from ``base``."""
    return [(lam - base) / h for lam in lams]


def singlestep_row(
    here: Sequence[Level],
    target: Level,
    form: str,
    midpoint: bool,
    half_sign_flipped: bool = False,
) -> Coefficients:
    """One call of a singlestep DPM-Solver: from the oldest sample, with all predictions since.

    Args:
        here: Levels of the group's calls so far, newest first, 1 to 3 of them.
        target: Level to reach.
        form: As for ``multistep_row``.
        midpoint: At order 3, take the slope from the first to the newest call, and no curvature;
            at order 2 as for ``multistep_row``.
        half_sign_flipped: As for ``multistep_row``.
    """
    order = len(here)
    base, newest = here[-1], here[0]
    picked = [0, order - 1] if order == 3 and midpoint else list(range(order))
    picked.sort(key=lambda lag: -lag)
    if len({here[lag].lam for lag in picked}) < len(picked):
        # Two calls at one level hold no slope.
        picked = [order - 1] if newest.lam == base.lam else [order - 1, 0]
    if target.lam == base.lam:
        return Coefficients(x=(*[0.0] * (order - 1), 1.0))
    row = multistep_row(
        [here[lag] for lag in picked],
        target,
        form,
        len(picked),
        midpoint=midpoint and order == 2,
        half_sign_flipped=half_sign_flipped,
    )

    def placed(weights: Sequence[float]) -> tuple[float, ...]:
        found = [0.0] * order
        for lag, weight in zip(picked, weights, strict=False):
            found[lag] = weight
        return tuple(found) if weights else ()

    return Coefficients(placed(row.x), placed(row.x0), placed(row.eps), row.noise)


def log_rho_row(here: Sequence[Level], target: Level) -> Coefficients:
    r"""Noise predictions as a polynomial in log rho, integrated over rho (Zhang and Chen 2022).

    Since ``log rho = -lam``, the integral is that of the noise form with nothing approximated, and
    psi takes it without the cancellation of its primitive.

    Args:
        here: Levels of the calls to combine, newest first, 1 to 3 of them, all different.
        target: Level to reach; at sigma = 0 the newest prediction alone leads there.
    """
    now = here[0]
    if target.lam == now.lam:
        return Coefficients(x=(1.0,))
    if target.sigma == 0.0:
        on_x = target.alpha / now.alpha
        return Coefficients(x=(on_x,), eps=(-on_x * now.sigma,))
    return multistep_row(here, target, "dpmsolver", len(here), midpoint=False)


def ddim_row(here: Level, target: Level, eta: float) -> Coefficients:
    """DDIM with stochasticity eta (Song et al. 2020, arXiv 2010.02502, eq. 12 and 16)."""
    std = eta * posterior_std(here, target)
    direction = math.sqrt(max(0.0, target.sigma**2 - std**2))
    return Coefficients(x=(0.0,), x0=(target.alpha,), eps=(direction,), noise=std)


def transfer_row(here: Level, target: Level) -> tuple[float, float]:
    """Weights of sample and noise prediction in the transfer phi (Liu et al. 2022, eq. 9)."""
    on_x = target.alpha / here.alpha
    return on_x, target.sigma - on_x * here.sigma


def posterior_std(here: Level, target: Level) -> float:
    """Standard deviation of the posterior q(x_target | x_here, x0) (Ho et al. 2020, eq. 7)."""
    return math.sqrt(posterior_variance(here, target))


def posterior_variance(here: Level, target: Level) -> float:
    """``(sigma_t / sigma_s)^2`` of the fresh variance (Ho et al. 2020, eq. 7)."""
    return (target.sigma / here.sigma) ** 2 * fresh_variance(here, target)


def fresh_variance(here: Level, target: Level) -> float:
    """Noise that diffusing from target to here adds: beta, for one training step.

    ``sigma_s^2 - (alpha_s / alpha_t)^2 sigma_t^2``, which is ``1 - (alpha_s / alpha_t)^2`` on a
    variance-preserving path, without its cancellation near the clean end.
    """
    return max(0.0, here.sigma**2 - (here.alpha / target.alpha * target.sigma) ** 2)


def posterior_row(here: Level, target: Level, noise: float) -> Coefficients:
    """Mean of q(x_target | x_here, x0) plus noise (Ho et al. 2020, eq. 7)."""
    on_x0 = target.alpha * fresh_variance(here, target) / here.sigma**2
    on_x = here.alpha / target.alpha * (target.sigma / here.sigma) ** 2
    return Coefficients(x=(on_x,), x0=(on_x0,), noise=noise)
