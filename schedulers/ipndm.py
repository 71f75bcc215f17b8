"""IPNDM: Adams-Bashforth of growing order on levels of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .backend.arrays import Array
from .backend.checks import check_steps
from .core.coefficients import Coefficients
from .core.level import Call, Level
from .counted import CountedScheduler
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .process.tables import linspace32
from .rules.adams import ADAMS_BASHFORTH
from .rules.exponential import transfer_row
from .shelf import laid_out


class IPNDMScheduler(CountedScheduler):
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
    _depth = 4
    _kept = ("_times", "_rhos", "num_inference_steps", "_grid_levels")
    _keeps = frozenset({"eps"})
    #: Order of the multistep method, under upstream's name.
    pndm_order = 4

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        trained_betas: p.TrainedBetas = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._start(tensor_format)
        steps = num_train_timesteps if trained_betas is None else len(trained_betas) - 1
        self._fresh_grid(max(1, steps))

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
        given = self.config["trained_betas"]
        if given is not None and len(given) != n + 1:
            raise ValueError(
                f"trained_betas holds {len(given)} levels; num_inference_steps={n} needs {n + 1}."
            )
        self._lay_out(n, n, device)

    @laid_out
    def _fresh_grid(self, steps: int) -> None:
        self._lay_out(steps, None, None)

    def _lay_out(self, steps: int, n: int | None, device: Any) -> None:
        given = self.config["trained_betas"]
        if given is None:
            angles = linspace32(1.0, 0.0, steps + 1) * np.float32(math.pi) / np.float32(2.0)
            sigmas = np.sin(angles) ** 2
        else:
            sigmas = np.asarray(given, dtype=np.float32)
        alphas = np.sqrt(np.float32(1.0) - sigmas**2)
        times = np.arctan2(sigmas, alphas)[:-1] / np.float32(math.pi) * np.float32(2.0)
        with np.errstate(divide="ignore"):
            rhos = sigmas / alphas
        self._publish("betas", sigmas)
        self._publish("alphas", alphas)
        self._grid_levels = tuple(zip(alphas.tolist(), sigmas.tolist(), strict=True))
        self._install(times.astype(np.float32), rhos, n, device)

    def _make_stages(self) -> tuple[Call, ...]:
        times = [*self._times, 0.0]
        levels = [Level(t, *pair) for t, pair in zip(times, self._grid_levels, strict=False)]
        calls = zip(self._times, levels, levels[1:], strict=False)
        return tuple(Call(t, here, target) for t, here, target in calls)

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._require_timesteps("add_noise")
        found = [self._grid_levels[self.index_for_timestep(t)] for t in times.tolist()]
        return np.array([alpha for alpha, _ in found]), np.array([sigma for _, sigma in found])

    @property
    def prediction_type(self) -> str:
        """What the model is expected to return: the velocity."""
        return "v_prediction"

    @property
    def ets(self) -> list[Array]:
        """The noise predictions that the next step will look at, oldest first."""
        return [evaluation.eps for evaluation in self._memory][::-1]

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        here, target = past[0].here, past[0].target
        if here.alpha == 0.0:
            on_x0 = target.alpha if self.compat == "paper" else 0.0
            return Coefficients(x=(0.0,), x0=(on_x0,), eps=(target.sigma,))
        on_x, on_e = transfer_row(here, target)
        weights = ADAMS_BASHFORTH[len(past) - 1]
        return Coefficients(x=(on_x,), eps=tuple(on_e * weight for weight in weights))

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        return self._advance(model_output, timestep, sample, return_dict=return_dict)
