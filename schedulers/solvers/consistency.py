"""Consistency models: one call leads to the data, and noise leads back to the next level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, Backend, Generator
from ..backend.checks import (
    MOST_SIGMA,
    check_one_way,
    check_real,
    check_steps,
    check_table,
    check_times,
)
from ..backend.errors import ParameterError
from ..core.grid import Grid
from ..core.scheduler import Levels, Scheduler, unit_variance_input
from ..facts import papers
from ..grids import consistency as grids
from ..interface import params as p
from ..interface.config import configured
from ..rules.consistency import Consistency, boundary_scalings


class CMStochasticIterativeScheduler(Scheduler):
    r"""Multistep consistency sampling: to the data in one call, then noise up to the next level.

        x0     = clip(c_skip x + c_out F)
        x_next = x0 + s_noise sqrt(sigma_next^2 - sigma_min^2) z
        c_skip = sigma_data^2 / ((sigma - sigma_min)^2 + sigma_data^2)
        c_out  = (sigma - sigma_min) sigma_data / sqrt(sigma^2 + sigma_data^2)

    F is the network, sigma_data the deviation of the data; it is told ``250 log(sigma)`` of the
    level. x0 is x itself at sigma_min, which the model takes for the data: what is above it, of
    variance ``sigma^2 - sigma_min^2``, is the noise of a level here.

    References:
        Song, Dhariwal, Chen, Sutskever 2023. Consistency Models. arXiv 2303.01469, algorithm 1 and
        appendix C.
    """

    title = "Consistency model"
    family = "Consistency"
    good_for = "One or two calls of a consistency model; each further call refines."
    reference = papers.CONSISTENCY.at("Algorithm 1 and appendix C.")
    consistency = True
    bounds_steps: ClassVar[tuple[str, ...]] = ("num_train_timesteps",)
    _bounding = ("clip_denoised",)
    _compatibles = ()
    scale_model_input = unit_variance_input  # type: ignore[assignment]

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 40,
        sigma_min: p.VeSigmaMin = 0.002,
        sigma_max: p.VeSigmaMax = 80.0,
        sigma_data: p.SigmaData = 0.5,
        s_noise: p.SNoise = 1.0,
        rho: p.Rho = 7.0,
        clip_denoised: p.ClipDenoised = True,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        if sigma_min >= sigma_max:
            raise ParameterError(
                f"sigma_min={sigma_min} must be below sigma_max={sigma_max}.",
                "sigma_min",
                "sigma_max",
            )
        self.init_noise_sigma = sigma_max
        self.custom_timesteps = False
        self._begin(tensor_format, self._over(range(num_train_timesteps), fresh=True))

    def _make_rule(self) -> Consistency:
        data, low, noise = (self.config[k] for k in ("sigma_data", "sigma_min", "s_noise"))
        return Consistency(float(data), float(low), float(noise))

    def _over(self, places: Sequence[int], fresh: bool = False) -> Grid:
        """The grid over places on the Karras schedule."""
        config = self.config
        low, high, rho = (float(config[name]) for name in ("sigma_min", "sigma_max", "rho"))
        train = int(config["num_train_timesteps"])
        return grids.consistency_grid(tuple(places), train, low, high, rho, fresh)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        low, high = (float(self.config[name]) for name in ("sigma_min", "sigma_max"))
        return grids.along(held["timesteps"], held["sigmas"], self._grid.steps, low, high)

    @property
    def _data_std(self) -> float:
        """Standard deviation of the data."""
        return float(self.config["sigma_data"])

    def _input_variance(self, i: int) -> float:
        return float(self._grid.sigmas[i]) ** 2 + self._data_std**2

    def _noised_to(self, indices: Sequence[int]) -> Levels:
        sigma = self._grid.sigmas[indices].astype(np.float64)
        return np.ones_like(sigma), sigma

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps or from training steps.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            timesteps: Places on the Karras schedule of ``num_train_timesteps`` levels, whole,
                strictly descending, 0 being the noisiest; they come out as times.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Both or neither given, out of range, or not descending.
        """
        check_one_way({"num_inference_steps": num_inference_steps, "timesteps": timesteps})
        train = int(self.config["num_train_timesteps"])
        if timesteps is None:
            n = check_steps(num_inference_steps, train)
            places: Sequence[int] = range(0, n * (train // n), train // n)
        else:
            places = check_times(timesteps, train, whole=True)[::-1].astype(int).tolist()
        self._use(self._over(places), device)
        self.custom_timesteps = timesteps is not None

    def sigma_to_t(self, sigmas: float | np.ndarray) -> np.ndarray:
        """What the network is told of noise levels, ``250 log sigma``."""
        return grids.told(check_table("sigmas", sigmas, 0.0, MOST_SIGMA))

    def get_scalings(self, sigma: Any) -> tuple[Any, Any]:
        """``(c_skip, c_out)`` of EDM at a noise level, a number or an array (Karras et al. 2022)."""
        sigma, data = check_real("sigma", sigma, 0.0, MOST_SIGMA), self._data_std
        total = sigma**2 + data**2
        return data**2 / total, sigma * data / total**0.5

    def get_scalings_for_boundary_condition(self, sigma: Any) -> tuple[Any, Any]:
        """``(c_skip, c_out)`` that make f the identity at sigma_min, for a number or an array."""
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA)
        return boundary_scalings(sigma, self._data_std, self.config["sigma_min"])

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i``: ``(x0 - c_skip x) / c_out``.

        At sigma_min, where f is the identity whatever the model returns: 0.
        """
        read = self._update(self._checked_position(i), 0, ()).reading
        return super().output_weights(i) if read.x0_out else (0.0, 0.0)

    def _bounded(self, backend: Backend, x0: Array) -> Array:
        return backend.clamp(x0, 1.0)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the network F returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, the value of f.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or an integer index.
        """
        self._refuse_integer(timestep)
        self._require_timesteps("step")
        self._warn_unscaled()
        return self._advance(
            model_output, timestep, sample, generator=generator, return_dict=return_dict
        )

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """A run of one step ends without noise."""
        if values.get("steps") != 1:
            return {}
        return {"s_noise": "a single step adds no noise.", "rho": "a single step is at sigma_max."}
