"""Networks preconditioned as EDM proposes, and the levels they are asked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, backend_of
from .backend.checks import MOST_SIGMA, check_floats, check_real
from .core.level import Call
from .core.prediction import Reading
from .counted import Scaled
from .plan import StepKey
from .process.tables import linspace32
from .shelf import laid_out


class EdmScheduler(Scaled):
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
    _kept: ClassVar[tuple[str, ...]] = ("_times", "_rhos", "num_inference_steps")
    #: Precision in which upstream lays out the Karras levels.
    _ramp_dtype: ClassVar[Any] = np.float32

    def _make_fresh(self, tensor_format: str | None, n: int, final: float) -> None:
        """The grid of a fresh object: n levels and a final one."""
        config = self.config
        if config["sigma_min"] >= config["sigma_max"]:
            raise ValueError(
                f"sigma_min={config['sigma_min']:g} must be below "
                f"sigma_max={config['sigma_max']:g}."
            )
        self._start(tensor_format)
        self._fresh_grid(n, final)

    @laid_out
    def _fresh_grid(self, n: int, final: float) -> None:
        self._lay_out(self._curve(self._ramp(n)), final, None)

    @property
    def _data_std(self) -> float:
        return float(self.config["sigma_data"])

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the initial noise, ``sqrt(sigma_max^2 + 1)``."""
        return math.hypot(self.config["sigma_max"], 1.0)

    # --- the grid -----------------------------------------------------------------------------

    def _ramp(self, n: int) -> np.ndarray:
        """N numbers from 0 to 1."""
        if self.compat == "paper" or self._ramp_dtype != np.float32:
            return np.linspace(0.0, 1.0, n)
        return linspace32(0.0, 1.0, n)

    def _curve(self, ramp: np.ndarray) -> np.ndarray:
        """Levels at the places of a ramp: 0 is sigma_max, 1 is sigma_min (eq. 5)."""
        config = self.config
        low, high = float(config["sigma_min"]), float(config["sigma_max"])
        if config["sigma_schedule"] == "karras":
            power = 1.0 / config["rho"]
            roots = high**power + ramp * (low**power - high**power)
            with np.errstate(invalid="ignore"):
                return np.asarray(roots.astype(np.float64) ** config["rho"])
        # Upstream counts the entries of a ramp and takes even steps in log sigma.
        if self.compat == "paper":
            return np.exp(math.log(high) + ramp * (math.log(low) - math.log(high)))
        logs = linspace32(math.log(low), math.log(high), len(ramp))
        return np.exp(logs.astype(np.float64))[::-1]

    def _lay_out(
        self, levels: np.ndarray, final: float, n: int | None, device: Any = None
    ) -> None:
        """Install levels, with the times that the network is told of them."""
        sigmas = levels.astype(np.float32)
        if not (sigmas > 0.0).all():
            config = self.config
            raise ValueError(
                f"sigma_min={config['sigma_min']:g}, sigma_max={config['sigma_max']:g}, "
                f"rho={config.get('rho'):g} lead to levels that float32 cannot tell from 0."
            )
        over, factor = self._noise_scale
        # Rounded from float64, which comes closest to the float32 of either library.
        told = getattr(np, self._noise_function)(sigmas.astype(np.float64)).astype(np.float32)
        times = told / over * factor
        self._install(times, np.append(sigmas, np.float32(final)), n, device)

    # --- preconditioning ----------------------------------------------------------------------

    def _sign(self) -> float:
        """Sign of F in the output."""
        return -1.0 if self.prediction_type == "v_prediction" else 1.0

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
        self._check_pair(model_output, sample, check_floats("sample", sample))
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA, like=sample)
        if self.prediction_type == "sample":
            return model_output
        variance = sigma**2 + self._data_std**2
        c_skip = self._data_std**2 / variance
        c_out = self._sign() * sigma * self._data_std / variance**0.5
        return c_skip * sample + c_out * model_output

    def _read_at(self, sigma: float) -> Reading:
        """How the network's answer is read at a level."""
        if self.prediction_type == "sample":
            return Reading(0.0, 1.0, 1.0 / sigma, -1.0 / sigma)
        s = self._data_std
        c_skip = s**2 / (sigma**2 + s**2)
        c_out = self._sign() * sigma * s / math.hypot(sigma, s)
        return Reading(c_skip, c_out, (1.0 - c_skip) / sigma, -c_out / sigma)

    def _reading(self, stage: Call, key: StepKey) -> Reading:
        return self._read_at(stage.here.sigma)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What no run of N steps looks at."""
        reasons = super()._inert(values)
        reasons["num_train_timesteps"] = "it counts the levels before set_timesteps, no others."
        if values.get("sigma_schedule") == "exponential":
            reasons["rho"] = "only the karras schedule is curved by it."
        return reasons
