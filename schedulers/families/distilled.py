"""Schedulers of models distilled from a solver: a run visits some of the solver's times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.checks import check_number, check_one_way, check_steps, check_times, check_whole
from ..backend.errors import ParameterError
from ..core.exports import PublicArray
from ..core.grid import Request
from ..grids import distilled as grids
from ..grids import vp
from .vp import VpScheduler, previous_timestep


class DistilledScheduler(VpScheduler):
    """A model distilled from a solver of K steps; calls are counted."""

    consistency = True
    bounds_steps: ClassVar[tuple[str, ...]] = ("num_train_timesteps", "original_inference_steps")
    _compatibles = ()
    #: Whether every training step is one of the solver's, where a call gives the number of those.
    _every_if_given: ClassVar[bool] = False

    final_alpha_cumprod = PublicArray("Signal power of the clean end.", "_heed_end")

    previous_timestep = previous_timestep

    def _begin_distilled(self, tensor_format: str | None) -> None:
        """Table and fresh grid."""
        self.custom_timesteps = False
        self._begin_vp(tensor_format, self.config["set_alpha_to_one"])

    def set_timesteps(  # type: ignore[override]
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        original_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        strength: float = 1.0,
    ) -> None:
        """Lay out a run.

        Args:
            num_inference_steps: Number of steps N, at most those of the solver.
            device: Where ``timesteps`` go (torch only).
            original_inference_steps: Steps of the solver; overrides the constructor's. More than
                there are training steps count as all of them.
            timesteps: Custom training steps, strictly descending.
            strength: Share of the way down from pure noise, in (0, 1] (image-to-image).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Both or neither given, out of range, or not descending.
        """
        self._heed()
        check_one_way({"num_inference_steps": num_inference_steps, "timesteps": timesteps})
        original, every = self.config["original_inference_steps"], False
        if original_inference_steps is not None:
            original = check_whole(
                "original_inference_steps", original_inference_steps, 1, 100_000
            )
            every = self._every_if_given
        strength = check_number("strength", strength, 1e-12, 1.0)
        if timesteps is None:
            n = check_steps(num_inference_steps, self._train_steps)
            times = grids.solver_times(self._train_steps, original, strength, n, every)
        else:
            given = check_times(timesteps, self._train_steps, whole=True).astype(np.int64).tolist()
            n = len(given)
            times = tuple(given[n - min(int(n * strength), n) :])
            if not times:
                raise ParameterError(
                    f"strength={strength!r} leaves none of the {n} timesteps.", "strength"
                )
        steps = n if self.follows("lcm-cut-custom-times") else len(times)
        request = Request(steps, times)
        self._use(vp.vp_grid(self._table, self._dialect(), request), device)
        self.custom_timesteps = timesteps is not None

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """The grid is the distillation's."""
        del values
        grid = "the times are those of the solver that the model was distilled from."
        return {
            "timestep_spacing": grid,
            "steps_offset": grid,
            "set_alpha_to_one": "no step leads below the first training level but the last.",
        }
