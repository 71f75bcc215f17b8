"""Rectified flow by Heun's method, two model calls a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator
from ..backend.checks import check_steps
from ..core.grid import Grid
from ..core.rule import StepArguments
from ..core.scheduler import Levels, two_call_state
from ..facts import papers
from ..families.flow import FlowScheduler
from ..grids.flow import along, doubled_grid
from ..interface import params as p
from ..interface.config import configured
from ..rules.euler import churn_idles, churn_of
from ..rules.flow import FlowHeun


class FlowMatchHeunDiscreteScheduler(FlowScheduler):
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
    order = 2

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        shift: p.FlowShift = 1.0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_flow(tensor_format, shift)

    def _make_rule(self) -> FlowHeun:
        return FlowHeun(self.follows("flow-churn"))

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps, 2 N - 1 model calls.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1.
        """
        n = check_steps(num_inference_steps, None)
        self._heed()
        self._use(doubled_grid(self._dialect(float(self.config["shift"])), n), device)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return along(held["timesteps"], held["sigmas"], self._grid.steps, 2)

    def _levels_at(self, times: np.ndarray) -> Levels:
        if self._step_index is None:
            return super()._levels_at(times)
        # Upstream noises to the present level in the middle of a run, whatever the times.
        return self._grid.levels_at([self._step_index])

    state_in_first_order = two_call_state

    def _step_arguments(self, settings: Mapping[str, Any]) -> StepArguments:
        return churn_of(settings)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without churn there is no noise to shape."""
        return churn_idles(values)

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
        self._refuse_integer(timestep)
        arguments = self._churn_arguments(s_churn, s_tmin, s_tmax, s_noise)
        return self._advance(
            model_output, timestep, sample, arguments, generator, None, None, return_dict
        )
