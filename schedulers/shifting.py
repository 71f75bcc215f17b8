"""How flow sigmas are moved towards noise, and stretched to a given end."""

from __future__ import annotations

import math

from .arrays import Array
from .config import ConfigMixin


class ShiftMixin(ConfigMixin):
    """The two ways in which pipelines bend a flow's levels, as methods that upstream has too."""

    def time_shift(self, mu: float, sigma: float, t: Array) -> Array:
        """``m / (m + (1 / t - 1)^sigma)`` with ``m = exp(mu)``, or ``mu`` if the type is linear.

        Args:
            mu: Strength of the shift.
            sigma: Exponent, 1 for the shift of rectified flows.
            t: Levels in (0, 1], a number or an array.

        Returns:
            The shifted levels.
        """
        m = math.exp(mu) if self.config["time_shift_type"] == "exponential" else mu
        return m / (m + (1 / t - 1) ** sigma)

    def stretch_shift_to_terminal(self, t: Array) -> Array:
        """Stretch descending levels from 1 down so that the last becomes ``shift_terminal``.

        Args:
            t: Levels in (0, 1], an array.

        Returns:
            The stretched levels; as given where the last is 1, or without ``shift_terminal``.
        """
        terminal, left = self.config["shift_terminal"], 1 - t
        if not terminal or left[-1] == 0:
            return t
        return 1 - left / (left[-1] / (1 - terminal))
