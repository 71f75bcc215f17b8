"""Rectified flow by Heun's method, two model calls a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .backend.arrays import Array, Generator
from .backend.checks import check_steps, refuse_integer
from .churn import Churning, checked_churn
from .core.coefficients import Coefficients
from .core.level import Call
from .counted import TwoCalls
from .facts import papers
from .flow_match import FlowScheduler
from .interface import params as p
from .interface.config import configured
from .plan import Plan, StepKey
from .process import spacing
from .rules import flow


class FlowMatchHeunDiscreteScheduler(Churning, TwoCalls, FlowScheduler):
    r"""Heun's second-order method on ``dx / d sigma = eps - x0``; two model calls a step.

        first call:   x'     = x + (sigma_next - sigma) out
        second call:  x_next = x + (sigma_next - sigma) (out + out') / 2

    The model returns the slope ``out = eps - x0``, ``out'`` that of ``x'`` at sigma_next. The last
    step, to sigma = 0, has no second call. Upstream's churn adds noise without weighing the data
    down, which leaves the path; under ``compat="paper"`` it moves along the path.

    References:
        Karras, Aittala, Aila, Laine 2022. Elucidating the Design Space of Diffusion-Based
        Generative Models. arXiv 2206.00364, algorithm 2, for the slope of a rectified flow. Liu,
        Gong, Liu 2022. Flow Straight and Fast: Learning to Generate and Transfer Data with
        Rectified Flow. arXiv 2209.03003.
    """

    title = "Flow match Heun"
    family = "Flow matching"
    good_for = "Rectified flows, second order: accurate, at twice the calls."
    reference = papers.EDM.at("Algorithm 2, for the slope of a rectified flow (arXiv 2209.03003).")
    _keeps = frozenset({"x", "x0"})
    _kept = ("_times", "_rhos", "num_inference_steps")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        shift: p.FlowShift = 1.0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._make_fresh(tensor_format, shift)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps, 2 N - 1 model calls.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1.
        """
        n = check_steps(num_inference_steps, None)
        levels = spacing.shifted(self._ramp(n), self.config["shift"]).astype(np.float32)
        sigmas = np.append(np.repeat(levels, 2)[1:], np.float32(0.0))
        self._install(sigmas[:-1] * np.float32(len(self)), sigmas, n, device)

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._step_index is None:
            return super()._levels_at(times)
        # Upstream noises to the present level in the middle of a run, whatever the times.
        level = self._level(0.0, self._rhos[self._step_index])
        return np.array([level.alpha]), np.array([level.sigma])

    def _raised(self, stage: Call, key: StepKey) -> tuple[float, float | None, float]:
        """``(sigma_hat, keep, weight of the noise)`` of a step that starts at a stage."""
        sigma_hat, noise = self._churned(stage, key)
        if self.compat == "diffusers" or sigma_hat == stage.here.sigma:
            return sigma_hat, None, noise
        sigma_hat = min(sigma_hat, 1.0)
        keep, std = flow.churn(stage.here, sigma_hat)
        return sigma_hat, keep, std * key[3]

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        here, target = past[0].here, past[0].target
        if i % 2 == 0:
            return flow.heun_row(here, target, *self._raised(past[0], key))
        if len(past) < 2:
            # A run that starts here has no step to close: it stays where it is.
            return Coefficients(x=(1.0,))
        sigma_hat, keep, _ = self._raised(past[1], key)
        return flow.heun_correction_row(past[1].here, here, sigma_hat, keep)

    def _plan(self, i: int, past: Sequence[Call], key: StepKey) -> Plan:
        plan = super()._plan(i, past, key)
        closes = i % 2 == 1 and len(past) > 1
        if self.compat == "diffusers" and closes and self._churned(past[1], key)[1]:
            # Upstream draws for the second call too, where the noise cancels.
            return replace(plan, draws=True)
        return plan

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        s_churn: p.SChurn = 0.0,
        s_tmin: p.STmin = 0.0,
        s_tmax: p.STmax = float("inf"),
        s_noise: p.SNoise = 1.0,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one of the two calls of a step.

        Args:
            model_output: The flow ``eps - x0``, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``(1 - sigma) x0 + sigma eps``, any shape.
            s_churn: Total churn over the run, 0 for none; the same in both calls of a step.
            s_tmin: Churn only at or above this sigma.
            s_tmax: Churn only at or below this sigma.
            s_noise: Factor on the churned noise.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (after the first call the provisional one) and
            ``pred_original_sample``, in the dtype of the model output; the closing call looks at
            it again: copy it before changing it in place.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, an integer timestep, shapes that do not match,
                or a churn argument out of range.
        """
        refuse_integer(timestep, "FlowMatchHeunDiscreteScheduler.step")
        key = checked_churn(self, s_churn, s_tmin, s_tmax, s_noise)
        return self._advance(
            model_output, timestep, sample, generator, key=key, return_dict=return_dict
        )
