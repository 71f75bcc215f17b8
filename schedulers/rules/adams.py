"""Linear multistep integration with variable steps: Lagrange polynomials, integrated exactly."""

from __future__ import annotations

from collections.abc import Sequence

# Three-point Gauss-Legendre on [-1, 1] is exact up to degree 5, five points up to degree 9.
_NODES = (0.0, 0.5384693101056831, -0.5384693101056831, 0.906179845938664, -0.906179845938664)
_GAUSS = (
    0.5688888888888889,
    0.47862867049936647,
    0.47862867049936647,
    0.23692688505618908,
    0.23692688505618908,
)
#: Highest order for which the quadrature is exact (degree 9).
MAX_ORDER = 10


def lagrange_weights(nodes: Sequence[float], start: float, end: float) -> tuple[float, ...]:
    """Integrals from start to end of the Lagrange basis polynomials on ``nodes``.

    These are the coefficients of the linear multistep method (Adams-Bashforth with variable
    steps) that k-diffusion calls LMS.

    Args:
        nodes: Where the derivative is known, at most ``MAX_ORDER`` distinct numbers.
        start: Lower limit.
        end: Upper limit.

    Returns:
        One weight a node; they sum to ``end - start``.
    """
    half, centre = (end - start) / 2.0, (end + start) / 2.0
    weights = []
    for j, node in enumerate(nodes):
        total = 0.0
        for point, weight in zip(_NODES, _GAUSS, strict=True):
            tau = centre + half * point
            value = 1.0
            for k, other in enumerate(nodes):
                if k != j:
                    value *= (tau - other) / (node - other)
            total += weight * value
        weights.append(half * total)
    return tuple(weights)


#: Weights of the newest slopes for a step as long as those before it, orders 1 to 4.
ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
#: Weights of the newest slopes in the four calls of the classical Runge-Kutta method.
RUNGE_KUTTA = ((1.0,), (1.0,), (1.0,), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
