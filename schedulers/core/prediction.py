r"""What a model predicts, and how that becomes a data and a noise prediction.

Every kind is linear in the sample and the model's output: two numbers each way. With
``x = alpha x0 + sigma eps`` and ``s = sqrt(alpha^2 + sigma^2)``:

============== ============================ =====================================
prediction     the output is                x0 from it
============== ============================ =====================================
epsilon        eps                          ``(x - sigma out) / alpha``
sample         x0                           ``out``
v_prediction   ``(alpha eps - sigma x0)/s`` ``(alpha x - sigma s out) / s^2``
flow_prediction eps - x0                    ``(x - sigma out) / (alpha + sigma)``
============== ============================ =====================================

References:
    Ho et al. 2020, arXiv 2006.11239 (epsilon); Salimans and Ho 2022, arXiv 2202.00512,
    appendix D (v); Liu et al. 2022, arXiv 2209.03003 (flow).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..backend.errors import ParameterError
from .level import Level

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction", "flow_prediction")


class Reading(NamedTuple):
    """How to read a model output at one level: ``x0 = x0_x x + x0_out out``, same for eps."""

    x0_x: float
    x0_out: float
    eps_x: float
    eps_out: float


def reading(prediction_type: str, level: Level) -> Reading:
    """Weights that turn sample and model output into data and noise prediction.

    Args:
        prediction_type: One of ``PREDICTION_TYPES``.
        level: Where the model was asked, in the scheduler's own space.

    Returns:
        The four numbers.

    Raises:
        ValueError: An epsilon prediction where nothing but noise is left (alpha = 0): it says
            nothing about the data.
    """
    alpha, sigma = level.alpha, level.sigma
    if prediction_type == "epsilon":
        if alpha == 0.0:
            raise ParameterError(
                f"prediction_type='epsilon' cannot be used at t={level.t:g}, where the signal is "
                "zero (rescale_betas_zero_snr): use 'v_prediction' or 'sample'.",
                "prediction_type",
            )
        return Reading(1.0 / alpha, -sigma / alpha, 0.0, 1.0)
    if prediction_type == "sample":
        if sigma == 0.0:
            raise ParameterError(
                f"prediction_type='sample' cannot be used at t={level.t:g}, where there is no "
                "noise (set_alpha_to_one): use 'epsilon' or 'v_prediction', or "
                "set_alpha_to_one=False.",
                "prediction_type",
                "set_alpha_to_one",
            )
        return Reading(0.0, 1.0, 1.0 / sigma, -alpha / sigma)
    if prediction_type == "v_prediction":
        s = level.scale
        return Reading(alpha / s**2, -sigma / s, sigma / s**2, alpha / s)
    if prediction_type == "flow_prediction":
        total = alpha + sigma
        return Reading(1.0 / total, -sigma / total, 1.0 / total, alpha / total)
    raise ParameterError(
        f"prediction_type={prediction_type!r} is not one of {', '.join(PREDICTION_TYPES)}.",
        "prediction_type",
    )


def inverse(read: Reading, level: Level) -> tuple[float, float]:
    """Weights ``(on_x, on_x0)`` of the output that ``read`` turns into a given x0.

    Solved through whichever of x0 and eps the output weighs on, so that pure noise (alpha = 0)
    and epsilon need no infinite number.
    """
    if level.sigma == 0.0:
        # Nothing is known of the noise of a clean sample: its mean, 0, is what a model returns.
        return 0.0, 0.0
    # out = (eps - eps_x x) / eps_out with eps = (x - alpha x0) / sigma, or from x0 directly.
    if read.x0_out != 0.0 and math.isfinite(read.x0_out):
        return -read.x0_x / read.x0_out, 1.0 / read.x0_out
    scale = level.sigma * read.eps_out
    return (1.0 - level.sigma * read.eps_x) / scale, -level.alpha / scale
