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
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core import prediction
from ..core.coefficients import Coefficients
from ..core.level import Call, Level
from ..core.prediction import Reading
from ..core.rule import Rule

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


def multistep_row(
    lams: Sequence[float],
    now: Level,
    target: Level,
    form: str,
    midpoint: bool = False,
    second_derivative: float = 1.0,
    half_sign_flipped: bool = False,
) -> Coefficients:
    """One step of a multistep DPM-Solver, of as many predictions as there are calls, 1 to 3.

    Args:
        lams: lam of the target, then of the calls to combine, newest first, all different.
        now: Level of the newest call.
        target: Level to reach; sigma = 0 is allowed for the data-prediction forms.
        form: "dpmsolver++", "dpmsolver", "sde-dpmsolver++" or "sde-dpmsolver".
        midpoint: At order 2, evaluate D at the midpoint (``psi_0 / 2``) instead of integrating it.
        second_derivative: Factor on D2; 1 is the mathematics, 0.5 what diffusers computes.
        half_sign_flipped: Use ``psi_2 - 1`` for psi_2, as diffusers does in sde-dpmsolver++.

    Returns:
        The row, on ``x`` and ``x0`` for the data forms, on ``x`` and ``eps`` for the noise forms.
    """
    end, *lams = lams
    order, h, data = len(lams), end - lams[0], form.endswith("++")
    c, kappa, z, total, noise = linear_part(now, target, h, data, float(form.startswith("sde")))
    if order == 1:
        weights: tuple[float, ...] = (total,)
    elif order == 2:
        slope = (0.5 * total if midpoint else kappa * psi(1, z)) * h / (lams[0] - lams[1])
        weights = total + slope, -slope
    else:
        # Slopes (D_j - D_(j+1)) / r_j over the last two intervals; of them D1 is extrapolated, and
        # D2, the true second derivative, is twice their divided difference.
        r0, r1 = (lams[0] - lams[1]) / h, (lams[1] - lams[2]) / h
        first, second = psi(1, z), (psi(2, z) - half_sign_flipped) * second_derivative
        bend = (first * r0 + 2.0 * second) / (r0 + r1)
        newer, older = kappa * (first + bend) / r0, kappa * bend / r1
        weights = total + newer, -newer - older, older
    return Coefficients((c,), weights if data else (), () if data else weights, noise)


class Linear(NamedTuple):
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


def linear_part(now: Level, target: Level, h: float, data: bool, tau: float) -> Linear:
    """The linear part of a step, which is solved exactly.

    Args:
        now: Where the step starts.
        target: Where it ends.
        h: lam there less lam here.
        data: Whether the data or the noise prediction is interpolated.
        tau: Stochasticity: 0 is the ODE, 1 the reverse SDE, anything between or beyond an SDE
            with the same marginals (Xue et al. 2023, arXiv 2309.05019, eq. 6).
    """
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
    lams: Sequence[float] = (),
) -> Coefficients:
    """One call of a singlestep DPM-Solver: from the oldest sample, with all predictions since.

    Args:
        here: Levels of the group's calls so far, newest first, 1 to 3 of them.
        target: Level to reach.
        form: As for ``multistep_row``.
        midpoint: At order 3, take the slope from the first to the newest call, and no curvature;
            at order 2 as for ``multistep_row``.
        half_sign_flipped: As for ``multistep_row``.
        lams: lam of the target, then of ``here``, where they are known.
    """
    end, *lams = lams or [level.lam for level in (target, *here)]
    first = len(here) - 1
    if end == lams[first]:
        return Coefficients((*[0.0] * first, 1.0))
    # Oldest first: the step starts there. Two calls at one level hold no slope.
    picked = [first, 0] if first == 2 and midpoint else [*range(first, -1, -1)]
    if len({lams[lag] for lag in picked}) < len(picked):
        picked = [first] if lams[0] == lams[first] else [first, 0]
    row = multistep_row(
        (end, *[lams[lag] for lag in picked]),
        here[first],
        target,
        form,
        midpoint=midpoint and first == 1,
        half_sign_flipped=half_sign_flipped,
    )
    weights = [0.0] * len(here)
    for lag, weight in zip(picked, row.x0 or row.eps, strict=True):
        weights[lag] = weight
    x = (*[0.0] * first, *row.x)
    return Coefficients(
        x, tuple(weights) if row.x0 else (), () if row.x0 else tuple(weights), row.noise
    )


def clean_row(now: Level, target: Level) -> Coefficients:
    """The noise prediction leads to a clean sample, which no slope does: its x0, rescaled."""
    on_x = target.alpha / now.alpha
    return Coefficients((on_x,), (), (-on_x * now.sigma,))


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
    return max(0.0, _fresh(here, target))


def _fresh(here: Level, target: Level) -> float:
    """The same, below 0 where the target is the noisier one."""
    return here.sigma**2 - (here.alpha / target.alpha * target.sigma) ** 2


def posterior_row(here: Level, target: Level, noise: float) -> Coefficients:
    """Mean of q(x_target | x_here, x0) plus noise (Ho et al. 2020, eq. 7)."""
    on_x0 = target.alpha * _fresh(here, target) / here.sigma**2
    on_x = here.alpha / target.alpha * (target.sigma / here.sigma) ** 2
    return Coefficients(x=(on_x,), x0=(on_x0,), noise=noise)


# --- what their rules share ---------------------------------------------------------------------


@dataclass(frozen=True)
class Exponential(Rule):
    """What interpolates predictions in lam, on variance-preserving or flow levels.

    Attributes:
        prediction_type: What the model returns.
        keeps: What is remembered of a call.
        depth: How many calls the memory holds, the present one included: one more than a row
            combines, for upstream's ``model_outputs`` shows those of the last call too.
        flow: Whether the levels are a flow's.
        v_on_circle: Whether v is read on a flow as if ``alpha^2 + sigma^2`` were 1 there too
            (``v-on-flow``).
        flow_by_ratio: Whether a flow prediction is read off the flow with sigma / alpha for sigma
            (``flow-off-flow``).
    """

    prediction_type: str
    keeps: frozenset[str] = field()  # without the base's default, which is for all its rules
    depth: int = field()
    flow: bool
    v_on_circle: bool
    flow_by_ratio: bool

    def read(self, call: Call) -> Reading:
        """How the model output of a call is read."""
        kind, here = self.prediction_type, call.here
        if self.v_on_circle and self.flow and kind == "v_prediction":
            return Reading(here.alpha, -here.sigma, here.sigma, here.alpha)
        if self.flow_by_ratio and not self.flow and kind == "flow_prediction":
            return Reading(
                1.0, -here.rho, (1.0 - here.alpha) / here.sigma, here.alpha * here.rho / here.sigma
            )
        return prediction.reading(kind, here)
