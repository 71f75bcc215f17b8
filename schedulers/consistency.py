"""Consistency models: one call leads to the data, and noise leads back to the next level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, Generator, backend_of
from .backend.checks import (
    MOST_SIGMA,
    check_one_way,
    check_real,
    check_steps,
    check_table,
    check_times,
    refuse_integer,
)
from .core.coefficients import Coefficients
from .core.level import Call, ve_level
from .core.prediction import Reading
from .counted import Scaled
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey

#: What the network is told of a level: this times log sigma.
LOG_FACTOR = 250.0
_ENDS = ("sigma_min", "sigma_max")


class CMStochasticIterativeScheduler(Scaled):
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
    _kept = ("_times", "_rhos", "num_inference_steps", "custom_timesteps")

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
            raise ValueError(f"sigma_min={sigma_min} must be below sigma_max={sigma_max}.")
        self._start(tensor_format)
        self.init_noise_sigma = sigma_max
        self.custom_timesteps = False
        self._lay_out(np.arange(num_train_timesteps), None, None)

    @property
    def _data_std(self) -> float:
        return float(self.config["sigma_data"])

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
            places = np.arange(n) * (train // n)
        else:
            places = check_times(timesteps, train, whole=True)[::-1]
        self.custom_timesteps = timesteps is not None
        self._lay_out(places, len(places), device)

    def _lay_out(self, places: np.ndarray, n: int | None, device: Any) -> None:
        config = self.config
        ramp = places / max(1, config["num_train_timesteps"] - 1)
        low, high = (float(config[name]) ** (1.0 / config["rho"]) for name in _ENDS)
        sigmas = (high + ramp * (low - high)) ** config["rho"]
        levels = np.append(sigmas, config["sigma_min"]).astype(np.float32)
        self._install(self.sigma_to_t(sigmas), levels, n, device)

    def sigma_to_t(self, sigmas: float | np.ndarray) -> np.ndarray:
        """What the network is told of noise levels, ``250 log sigma``."""
        levels = check_table("sigmas", sigmas, 0.0, MOST_SIGMA)
        return np.asarray(LOG_FACTOR * np.log(levels + 1e-44))

    def _make_stages(self) -> tuple[Call, ...]:
        floor = float(np.float32(self.config["sigma_min"]))
        above = [math.sqrt(max(0.0, (rho - floor) * (rho + floor))) for rho in self._rhos]
        times = [*self._times, self._times[-1]]
        # At sigma_min nothing is left to remove; a model is still asked there.
        return tuple(
            Call(t, ve_level(t, here or floor), ve_level(after, target))
            for t, after, here, target in zip(
                self._times, times[1:], above, above[1:], strict=False
            )
        )

    def get_scalings(self, sigma: Any) -> tuple[Any, Any]:
        """``(c_skip, c_out)`` of EDM at a noise level, a number or an array (Karras et al. 2022)."""
        sigma, data = check_real("sigma", sigma, 0.0, MOST_SIGMA), self._data_std
        total = sigma**2 + data**2
        return data**2 / total, sigma * data / total**0.5

    def get_scalings_for_boundary_condition(self, sigma: Any) -> tuple[Any, Any]:
        """``(c_skip, c_out)`` that make f the identity at sigma_min, for a number or an array."""
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA)
        data, above = self._data_std, sigma - self.config["sigma_min"]
        return data**2 / (above**2 + data**2), above * data / (sigma**2 + data**2) ** 0.5

    def _reading(self, stage: Call, key: StepKey) -> Reading:
        sigma = max(math.exp(stage.here.t / LOG_FACTOR), float(self.config["sigma_min"]))
        if math.isclose(sigma, self.config["sigma_min"], rel_tol=1e-9):
            return Reading(1.0, 0.0, 0.0, 0.0)
        c_skip, c_out = self.get_scalings_for_boundary_condition(sigma)
        s = stage.here.sigma
        return Reading(c_skip, c_out, (1.0 - c_skip) / s, -c_out / s)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i``: ``(x0 - c_skip x) / c_out``.

        At sigma_min, where f is the identity whatever the model returns: 0.
        """
        read = self._reading(self.stages[self._checked_position(i)], ())
        return super().output_weights(i) if read.x0_out else (0.0, 0.0)

    def _alter_x0(self, x0: Array) -> Array:
        return backend_of(x0, "model_output").clamp(x0, 1.0)

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        return Coefficients((0.0,), (1.0,), noise=self.config["s_noise"] * past[0].target.sigma)

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
        refuse_integer(timestep, type(self).__name__)
        self._require_timesteps("step")
        self._warn_unscaled()
        return self._advance(
            model_output, timestep, sample, generator, return_dict=return_dict
        )  # fmt: skip

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """A run of one step ends without noise."""
        if values.get("steps") != 1:
            return {}
        return {"s_noise": "a single step adds no noise.", "rho": "a single step is at sigma_max."}
