"""Schedulers whose steps are groups of calls, down to the lowest level of the training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..backend.errors import ParameterError
from ..core.grid import Grid
from ..grids import groups as grids
from ..rules.groups import Groups
from .sigma import SigmaScheduler, noise_scale, noise_scaled_step


class GroupScheduler(SigmaScheduler):
    """Steps of DPM-Solver that are groups of calls."""

    family = "Sigma (k-diffusion)"
    _step_arguments = noise_scale
    step = noise_scaled_step

    def _make_rule(self) -> Groups:
        return Groups(self.prediction_type)

    def _levels_asked(self) -> tuple[float | None, float | None]:
        """Lowest and highest sigma that the config gives."""
        return self.config["sigma_min"], self.config["sigma_max"]

    @property
    def _groups(self) -> tuple[grids.Group, ...]:
        """The steps of the run."""
        grid = self._grid
        return grid.groups if isinstance(grid, grids.GroupGrid) else ()

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        changed = [name for name in ("timesteps", "sigmas") if held[name] is not self._host(name)]
        raise ParameterError(
            f"{changed[0]} of {type(self).__name__} cannot be assigned: its steps are groups of "
            "calls, whose levels belong together; use set_timesteps.",
            *changed,
        )
