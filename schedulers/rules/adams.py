"""Linear multistep integration with variable steps: Lagrange polynomials, integrated exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.rule import Rule, StepArguments

#: Order of the linear multistep method unless a call says otherwise.
DEFAULT_ORDER = 4

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


@dataclass(frozen=True)
class LinearMultistep(Rule):
    """The slopes of the last calls, interpolated in sigma and integrated exactly (LMS).

    Attributes:
        by_position: Whether the order follows the position in the schedule, as if all calls before
            had been made (``lms-midway``); else the slopes at hand.
    """

    prediction_type: str
    by_position: bool
    keeps: ClassVar[frozenset[str]] = frozenset({"eps"})
    depth: ClassVar[int] = DEFAULT_ORDER
    defaults: ClassVar[StepArguments] = (DEFAULT_ORDER,)

    def row(
        self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments
    ) -> Coefficients:
        """The coefficients of call ``i``; the argument is the order."""
        order = min(arguments[0], i + 1 if self.by_position else len(past))
        sigmas = [call.here.sigma for call in past[:order]]
        if len(sigmas) < order:
            sigmas = [grid.calls[i - k].here.sigma for k in range(order)]
        # Two slopes at one level (crowded grids) are one: interpolate those that differ.
        while len(set(sigmas)) < len(sigmas):
            sigmas.pop()
        weights = lagrange_weights(sigmas, past[0].here.sigma, past[0].target.sigma)
        return Coefficients((1.0,), (), weights[: len(past)])
