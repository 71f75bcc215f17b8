"""Networks preconditioned as EDM proposes, and the levels they are asked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, backend_of
from ..backend.checks import MOST_SIGMA, check_floats, check_pair, check_real
from ..backend.errors import ParameterError
from ..core.grid import Grid, Request
from ..core.scheduler import Scheduler, unit_variance_input
from ..grids.edm import EdmDialect, edm_grid
from ..grids.sigma import along


class EdmScheduler(Scheduler):
    r"""Samples ``x0 + sigma eps`` of data of standard deviation s, and a network F inside.

        x0 = c_skip x + c_out F(c_in x, c_noise),   c_skip = s^2 / (sigma^2 + s^2),
        c_out = sigma s / sqrt(sigma^2 + s^2),   c_in = 1 / sqrt(sigma^2 + s^2),

    and ``c_noise = log(sigma) / 4`` as the time. ``v_prediction`` means -F.

    References:
        Karras et al. 2022, arXiv 2206.00364, table 1.
    """

    #: What the network is told of a level, by the name that both array libraries give it.
    _noise_function: ClassVar[str] = "log"
    #: Then divided by the first and multiplied by the second number, in upstream's order.
    _noise_scale: ClassVar[tuple[float, float]] = 1.0, 0.25
    #: Whether upstream lays out the Karras levels in float32.
    _rounds_ramp: ClassVar[bool] = True

    scale_model_input = unit_variance_input  # type: ignore[assignment]

    def _begin_edm(self, tensor_format: str | None, n: int, final: float | None) -> None:
        """Stand on the grid of a fresh object: n levels and a final one."""
        config = self.config
        if config["sigma_min"] >= config["sigma_max"]:
            raise ParameterError(
                f"sigma_min={config['sigma_min']:g} must be below "
                f"sigma_max={config['sigma_max']:g}.",
                "sigma_min",
                "sigma_max",
            )
        self._begin(tensor_format, edm_grid(self._dialect(), Request(n), final, fresh=True))

    def _dialect(self) -> EdmDialect:
        """What the config means by a number of steps."""
        config = self.config
        return EdmDialect(
            float(config["sigma_min"]),
            float(config["sigma_max"]),
            config["sigma_schedule"],
            float(config["rho"]),
            self._rounds_ramp and self.follows("edm-rounded-ramp"),
            self.follows("edm-one-exponential"),
            self.follows("edm-sigmas-ramp"),
            self._noise_function,
            *self._noise_scale,
        )

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return along(held["timesteps"], held["sigmas"], self._grid.steps)

    @property
    def _data_std(self) -> float:
        """Standard deviation of the data."""
        return float(self.config["sigma_data"])

    def _input_variance(self, i: int) -> float:
        return float(self._grid.sigma[i]) ** 2 + self._data_std**2

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the initial noise, ``sqrt(sigma_max^2 + 1)``."""
        return math.hypot(self.config["sigma_max"], 1.0)

    # --- preconditioning ----------------------------------------------------------------------

    def precondition_inputs(self, sample: Array, sigma: Any) -> Array:
        """``c_in x``, of unit variance.

        Args:
            sample: ``x0 + sigma eps``, any shape.
            sigma: Its level, a number or an array that broadcasts.
        """
        check_floats("sample", sample)
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA, like=sample)
        return sample * (1 / (sigma**2 + self._data_std**2) ** 0.5)

    def precondition_noise(self, sigma: Any) -> Array:
        """What the network is told of a level, ``log(sigma) / 4`` for EDM.

        Args:
            sigma: A level or an array of levels, 1e-12..1e12.

        Returns:
            Same shape; shape (1,) for a number.
        """
        sigma = check_real("sigma", sigma, 1.0 / MOST_SIGMA, MOST_SIGMA)
        if isinstance(sigma, float):
            sigma = self._in_format(np.array([sigma], dtype=np.float32))
        over, factor = self._noise_scale
        return backend_of(sigma, "sigma").apply(self._noise_function, sigma) / over * factor

    def precondition_outputs(self, sample: Array, model_output: Array, sigma: Any) -> Array:
        """The data prediction ``c_skip x + c_out F``.

        Args:
            sample: ``x0 + sigma eps``, any shape.
            model_output: What the network returned, same shape.
            sigma: Its level, a number or an array that broadcasts.
        """
        check_pair(model_output, sample, check_floats("sample", sample))
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA, like=sample)
        if self.prediction_type == "sample":
            return model_output
        variance = sigma**2 + self._data_std**2
        c_skip = self._data_std**2 / variance
        sign = -1.0 if self.prediction_type == "v_prediction" else 1.0
        c_out = sign * sigma * self._data_std / variance**0.5
        return c_skip * sample + c_out * model_output

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What no run of N steps looks at."""
        reasons = super()._inert(values)
        reasons["num_train_timesteps"] = "it counts the levels before set_timesteps, no others."
        if values.get("sigma_schedule") == "exponential":
            reasons["rho"] = "only the karras schedule is curved by it."
        return reasons
