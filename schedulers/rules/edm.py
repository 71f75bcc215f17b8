"""Rules for networks preconditioned as EDM proposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core.coefficients import Coefficients
from ..core.grid import Grid
from ..core.level import Call
from ..core.prediction import Reading
from ..core.rule import Rule, StepArguments, Update
from .euler import NO_CHURN, churned
from .multistep import Multistep


def network_reading(prediction_type: str, sigma: float, data: float) -> Reading:
    """How a preconditioned network's answer is read at a level.

    Args:
        prediction_type: "epsilon" (F), "v_prediction" (-F) or "sample" (x0 itself).
        sigma: The level.
        data: Standard deviation of the data.

    References: Karras et al. 2022, arXiv 2206.00364, table 1.
    """
    if prediction_type == "sample":
        return Reading(0.0, 1.0, 1.0 / sigma, -1.0 / sigma)
    sign = -1.0 if prediction_type == "v_prediction" else 1.0
    c_skip = data**2 / (sigma**2 + data**2)
    c_out = sign * sigma * data / math.hypot(sigma, data)
    return Reading(c_skip, c_out, (1.0 - c_skip) / sigma, -c_out / sigma)


@dataclass(frozen=True)
class EdmEuler(Rule):
    """Euler's step, after churn; the network is asked before it, at ``sigma``.

    Attributes:
        data: Standard deviation of the data.
        at_hat: Whether its answer is read at sigma_hat, as one for the churned sample, instead of
            at ``sigma`` (``edm-churn-reading``).
    """

    prediction_type: str
    data: float
    at_hat: bool
    defaults: ClassVar[StepArguments] = NO_CHURN

    def update(self, grid: Grid, i: int, past: Sequence[Call], arguments: StepArguments) -> Update:
        """What call ``i`` does."""
        sigma, target = past[0].here.sigma, past[0].target.sigma
        sigma_hat, noise = churned(grid, sigma, arguments)
        asked = sigma_hat if self.at_hat else sigma
        read = network_reading(self.prediction_type, asked, self.data)
        share = noise * read.x0_x if self.at_hat else 0.0
        keep = target / sigma_hat
        on_noise = keep * noise + (1.0 - keep) * share
        return Update(read, Coefficients((keep,), (1.0 - keep,), (), on_noise), share)


@dataclass(frozen=True)
class EdmMultistep(Multistep):
    """DPM-Solver++ on a preconditioned network's data predictions.

    Attributes:
        data: Standard deviation of the data.
    """

    data: float = 1.0

    def read(self, call: Call) -> Reading:
        """How the network's answer is read."""
        return network_reading(self.prediction_type, call.here.sigma, self.data)
