"""DPM-Solver fast: a given number of calls shared out over third-order groups, even in log sigma."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend.checks import check_steps
from ..facts import papers
from ..families.groups import GroupScheduler
from ..grids.groups import fast_grid
from ..interface import params as p
from ..interface.config import configured


class DPMFastScheduler(GroupScheduler):
    r"""DPM-Solver fast: N model calls in steps of order 3, the rest in steps of order 2 or 1.

    Over ``N // 3 + 1`` steps even in log sigma; one of order 3, with ``h = log(sigma / down)``:

        first call:   x'     = x - sigma_1 (exp(h/3) - 1) eps
        second call:  x''    = x - sigma_2 ((exp(2h/3) - 1) eps + 2 q(2h/3) (eps' - eps))
        third call:   x_next = x - down ((exp(h) - 1) eps + 3/2 q(h) (eps'' - eps)) + up z

    with ``sigma_1 = sigma exp(-h/3)``, ``sigma_2 = sigma exp(-2h/3)`` and
    ``q(h) = (exp(h) - 1) / h - 1``. Order 2 takes the slope of the midpoint for the whole step,
    order 1 is Euler's. ``down^2 + up^2 = sigma_next^2``, ``up`` a share eta of the ancestral Euler
    step's noise; for eta = 0 down is sigma_next, and nothing is random. The run ends at the lowest
    sigma of the training, not at 0, as k-diffusion's.

    References:
        Lu et al. 2022. DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in
        Around 10 Steps. arXiv 2206.00927, algorithms 1 and 2, and section 3.4 for the orders;
        Crowson. k-diffusion, sample_dpm_fast.
    """

    title = "DPM fast"
    good_for = "Third order without guidance in 10 to 20 calls; ends at the lowest training noise."
    in_diffusers = False
    reference = papers.DPM_SOLVER.at(
        "Algorithms 1 and 2, orders as in section 3.4; k-diffusion sample_dpm_fast."
    )

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        prediction_type: p.PredictionType = "epsilon",
        sigma_min: p.SigmaMin = None,
        sigma_max: p.SigmaMax = None,
        eta: p.AncestralEta = 0.0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """See ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def set_timesteps(  # type: ignore[override]
        self, num_inference_steps: int, device: Any = None
    ) -> None:
        """Share N model calls out over the run.

        Args:
            num_inference_steps: Number of model calls N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is out of range, or the noise schedule has no two levels.
        """
        n = check_steps(num_inference_steps, self._train_steps)
        self._heed()
        eta = float(self.config["eta"])
        ends = self._levels_asked()
        self._use(fast_grid(self._table, self._train_steps, *ends, eta, n), device)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without eta there is no noise to shape."""
        return {} if values.get("eta") else {"s_noise": "eta is 0: no noise is added."}
