"""IPNDM: Adams-Bashforth of growing order on levels of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..backend.checks import check_steps
from ..backend.errors import ParameterError
from ..core.exports import PublicArray
from ..core.grid import Grid
from ..core.scheduler import Levels, Scheduler, plain_step
from ..facts import papers
from ..grids import ipndm as grids
from ..interface import params as p
from ..interface.config import configured
from ..rules.pseudo import PseudoMultistep


class IPNDMScheduler(Scheduler):
    r"""Improved pseudo linear multistep, orders 1 to 4, for v-predictions of continuous time.

        e      = (55 eps - 59 eps[-1] + 37 eps[-2] - 9 eps[-3]) / 24
        x_next = (alpha_next / alpha) x + (sigma_next - alpha_next sigma / alpha) e
        sigma  = sin(pi v / 2)^2,   alpha = sqrt(1 - sigma^2),   v = 1 .. 0 in N steps

    The first three steps take the same formula of orders 1, 2 and 3. The model is told
    ``t = 2 atan2(sigma, alpha) / pi`` in (0, 1] and returns ``out = alpha eps - sigma x0``.

    The first level is pure noise, alpha = 0. Upstream divides by 1e-8 there and loses the data
    prediction; ``compat="paper"`` uses it.

    References:
        Liu, Ren, Lin, Zhao 2022. Pseudo Numerical Methods for Diffusion Models on Manifolds.
        arXiv 2202.09778, eq. 12; Crowson. v-diffusion, iplms_sample.
    """

    title = "IPNDM"
    family = "Variance preserving"
    good_for = "v-prediction models of continuous time, as in v-diffusion."
    reference = papers.PNDM.at("Eq. 12 with growing order; v-diffusion iplms_sample.")
    #: Order of the multistep method, under upstream's name.
    pndm_order = 4

    sigmas = PublicArray("sigma / alpha of each level of the run, the final one included.", None)
    betas = PublicArray("Noise weight of each level, the final one included, by upstream's name.")
    alphas = PublicArray("Signal weight of each level, the final one included.")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        trained_betas: p.TrainedBetas = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        levels = self._given_levels
        steps = num_train_timesteps if levels is None else len(levels) - 1
        self._begin(tensor_format, grids.ipndm_grid(levels, max(1, steps), fresh=True))

    @property
    def _given_levels(self) -> tuple[float, ...] | None:
        """The levels that the config gives, if any."""
        given = self.config["trained_betas"]
        return None if given is None else tuple(np.asarray(given, np.float64).tolist())

    def _make_rule(self) -> PseudoMultistep:
        return PseudoMultistep(self.prediction_type, self.follows("ipndm-first-step"))

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run of N steps.

        Args:
            num_inference_steps: Number of steps N; with ``trained_betas`` one less than those.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is out of range, or does not fit ``trained_betas``.
        """
        n = check_steps(num_inference_steps, None)
        levels = self._given_levels
        if levels is not None and len(levels) != n + 1:
            raise ParameterError(
                f"trained_betas holds {len(levels)} levels; num_inference_steps={n} needs {n + 1}.",
                "trained_betas",
                "num_inference_steps",
            )
        self._use(grids.ipndm_grid(levels, n), device)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.along(held, self._grid.steps)

    def _levels_at(self, times: np.ndarray) -> Levels:
        self._require_timesteps("add_noise")
        return self._grid.levels_at([self._index_of(t) for t in times.tolist()])

    @property
    def prediction_type(self) -> str:
        """What the model is expected to return: the velocity."""
        return "v_prediction"

    @property
    def ets(self) -> list[Array]:
        """The noise predictions that the next step will look at, oldest first."""
        return [eps for _, _, eps, _ in self._memory[::-1]]

    step = plain_step
