"""DPM-Solver fast: a given number of calls shared out over third-order groups, even in log sigma."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .backend.checks import check_steps
from .core.coefficients import Coefficients
from .core.level import Call, Level, ve_level
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .process import spacing
from .rules import euler
from .rules.exponential import singlestep_row
from .several_calls import ScaledNoise
from .trained import SigmaScheduler

#: Where the calls of a group of 1, 2 or 3 stand, as fractions of its step in log sigma.
NODES: Mapping[int, tuple[float, ...]] = {1: (0.0,), 2: (0.0, 0.5), 3: (0.0, 1 / 3, 2 / 3)}


@dataclass(frozen=True, slots=True)
class Group:
    """One step of DPM-Solver: 1 to 3 calls from ``start`` down to ``down``, then noise.

    Attributes:
        start: Sigma of the first call.
        down: Sigma that the solver leads to.
        target: Sigma that fresh noise raises it to.
        order: Number of calls, which is the order of the step.
        accepted: False for a step that is tried and not taken: it leads back to ``start``.
    """

    start: float
    down: float
    target: float
    order: int
    accepted: bool = True

    @property
    def landing(self) -> float:
        """Sigma after the last call."""
        return self.target if self.accepted else self.start

    @property
    def calls(self) -> tuple[float, ...]:
        """Sigma of each call."""
        ratio = self.down / self.start
        return tuple(self.start * ratio**node for node in NODES[self.order])

    @property
    def noise(self) -> float:
        """Standard deviation of the noise between ``down`` and ``target``."""
        return math.sqrt(max(0.0, self.target**2 - self.down**2))

    def row(
        self, here: Sequence[Level], place: int, target: Level, s_noise: float
    ) -> Coefficients:
        """The weights of a call.

        Args:
            here: Levels of the group's calls so far, newest first.
            place: Number of the call in the group.
            target: Where the call leads.
            s_noise: Factor on the noise.
        """
        last = place == self.order - 1
        if last and not self.accepted:
            return Coefficients(x=(*[0.0] * (len(here) - 1), 1.0))
        end = ve_level(target.t, self.down) if last else target
        # Inside a third-order group the slope is integrated; at order 2 it is a midpoint's.
        midpoint = not (self.order == 3 and len(here) == 2)
        row = singlestep_row(here, end, "dpmsolver", midpoint)
        return row._replace(noise=self.noise * s_noise if last else 0.0)


def group(sigma: float, sigma_next: float, lowest: float, order: int, eta: float) -> Group:
    """A step with a share eta of ancestral noise, which never goes below the lowest sigma."""
    down, _ = euler.ancestral_split(sigma, sigma_next, eta)
    return Group(sigma, max(down, lowest), sigma_next, order)


class GroupScheduler(ScaledNoise):
    """Steps of DPM-Solver that are groups of calls, down to the lowest level of the training."""

    family = "Sigma (k-diffusion)"
    _depth = 3
    _keeps = frozenset({"x", "eps"})
    _kept: ClassVar[tuple[str, ...]] = (*SigmaScheduler._kept, "_places")

    def _ends(self) -> tuple[float, float]:
        """Highest and lowest sigma of the run."""
        config, table = self.config, self._rho_table
        if len(table) < self._train_steps:
            self._times, self._rhos = (float(self._train_steps - 1),), ()
            self._check_visited()
        low, high = config["sigma_min"], config["sigma_max"]
        for rho in (table[0], table[-1]):
            if not 0.0 < rho < np.inf and None in (low, high):
                raise self._undefined(float(rho))
        low = float(table[0]) if low is None else float(low)
        high = float(table[-1]) if high is None else float(high)
        if low >= high:
            raise ValueError(
                f"sigma_min={low:g} must be below sigma_max={high:g}; where one of them is not "
                "given, the noise schedule decides it."
            )
        return high, low

    def _calls(self, groups: Sequence[Group]) -> tuple[np.ndarray, np.ndarray]:
        """Times and sigmas of every call; the sigmas end on the last level."""
        self._places = tuple((g, place) for g in groups for place in range(g.order))
        sigmas = [sigma for g in groups for sigma in g.calls] + [groups[-1].landing]
        levels = np.array(sigmas)
        times = spacing.times_of(levels[:-1], self._noise.knots).astype(np.float32)
        return times, levels

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        whole, place = self._places[i]
        # A run that starts inside a group knows less of it, and takes lower orders.
        here = [stage.here for stage in past[: place + 1]]
        return whole.row(here, place, past[0].target, *key)

    def effective_order(self, i: int, settings: Mapping[str, Any] | None = None) -> int:
        """The order of the step that call ``i`` completes, or of the way to the next call."""
        combined = super().effective_order(i, settings)
        return max(combined, self._places[int(i)][1] + 1)


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
        self._make_table(tensor_format)
        self._fresh_grid()

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Share N model calls out over the run.

        Args:
            num_inference_steps: Number of model calls N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is out of range, or the noise schedule has no two levels.
        """
        n = check_steps(num_inference_steps, self._train_steps)
        high, low = self._ends()
        steps, rest = divmod(n, 3)
        orders = [3] * (steps - 1) + [2, 1] if rest == 0 else [3] * steps + [rest]
        levels = spacing.exponential_sigmas(high, low, len(orders) + 1).tolist()
        levels[0], levels[-1] = high, low
        eta = self.config["eta"]
        groups = [
            group(here, after, low, order, eta)
            for here, after, order in zip(levels, levels[1:], orders, strict=False)
        ]
        self._install(*self._calls(groups), n, device)
        self.is_scale_input_called = False

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without eta there is no noise to shape."""
        return {} if values.get("eta") else {"s_noise": "eta is 0: no noise is added."}
