"""Schedulers of models that were trained on a discrete process: a table of betas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, host_values
from ..backend.checks import (
    CURVES,
    check_batch_times,
    check_noising,
    check_steps,
    check_training_steps,
)
from ..backend.errors import ParameterError
from ..core.exports import PublicArray
from ..core.scheduler import KarrasDiffusionSchedulers, Levels, Scheduler, batch_size
from ..process import tables


class DiscreteScheduler(Scheduler):
    """A scheduler with a training table of betas."""

    _compatibles = tuple(e.name for e in KarrasDiffusionSchedulers)
    bounds_steps: ClassVar[tuple[str, ...]] = ("num_train_timesteps",)
    #: Whether the last alphas_cumprod is kept off zero at zero terminal SNR.
    _zero_snr_floor: ClassVar[bool] = True
    #: Whether a Karras curve heeds the ends of a config, as the other curves do; upstream is split.
    _karras_takes_ends: ClassVar[bool] = True

    betas = PublicArray("Noise variance that each training step adds, shape (T,).", None)
    alphas = PublicArray("One minus each beta, shape (T,).", None)
    alphas_cumprod = PublicArray("Signal power after each training step.", "_heed_cumprod")

    _table: tables.NoiseTable

    def _make_table(self) -> None:
        """Betas and their products, from the config."""
        config = self.config
        trained = config["trained_betas"]
        self._table = tables.noise_table(
            tables.Source(
                config["beta_schedule"],
                config["beta_start"],
                config["beta_end"],
                config["num_train_timesteps"],
                None if trained is None else tuple(np.asarray(trained, np.float64).tolist()),
                bool(self._setting("rescale_betas_zero_snr")),
                self._zero_snr_floor,
            )
        )

    def _host(self, name: str) -> np.ndarray | None:
        table = self._table
        known = {"betas": table.betas, "alphas": table.alphas, "alphas_cumprod": table.cumulative}
        return known[name] if name in known else super()._host(name)

    def _heed_cumprod(self, name: str, value: Any) -> None:
        """Go by other alphas_cumprod: at once where they are looked up, else from the next grid."""
        self._table = self._table.with_cumulative(host_values(value))

    @property
    def training(self) -> tables.TrainingTable:
        """The discrete forward process the model was trained on."""
        self._heed()
        betas, bars = self._table.betas, self._table.cumulative
        return tables.TrainingTable(betas.astype(np.float64), bars.astype(np.float64))

    @property
    def _train_steps(self) -> int:
        return int(self.config["num_train_timesteps"])

    @property
    def _chosen_curve(self) -> str | None:
        """The name of the sigma curve, if there is one."""
        return next((name for name in CURVES if self._settings.get(name)), None)

    def _curve_ends(self) -> tuple[float | None, float | None]:
        """Ends of the curve that the config gives."""
        if self._setting("use_karras_sigmas") and not self._karras_takes_ends:
            return None, None
        return self._setting("sigma_min"), self._setting("sigma_max")

    def _values_of_constructor(self, num_inference_steps: int | None) -> Sequence[int] | None:
        """The times that the constructor's ``timestep_values`` give to every run, if any."""
        values: Sequence[int] | None = self._setting("timestep_values")
        n = num_inference_steps
        if (
            values is not None
            and n is not None
            and check_steps(n, self._train_steps) != len(values)
        ):
            raise ParameterError(
                f"num_inference_steps={n}: timestep_values holds {len(values)} times, and a run "
                "takes all of them.",
                "num_inference_steps",
            )
        return values

    # --- the process --------------------------------------------------------------------------

    def get_velocity(self, sample: Array, noise: Array, timesteps: Array) -> Array:
        """The v-prediction target ``alpha eps - sigma x0`` (Salimans and Ho 2022, appendix D).

        Args:
            sample: Clean samples x0, shape (batch, ...).
            noise: Noise eps, same shape.
            timesteps: One time for each sample, or one for all.

        Returns:
            Same shape.

        Raises:
            ValueError: Shapes that do not match, or a time outside the schedule.
        """
        backend = check_noising(sample, "sample", noise)
        self._heed()
        alpha, sigma = self._velocity_levels(timesteps, sample)
        return backend.broadcast(alpha, sample) * noise - backend.broadcast(sigma, sample) * sample

    def _velocity_levels(self, timesteps: Any, sample: Array) -> tuple[Array, Array]:
        """The alpha and sigma of the velocity at given times."""
        index = self._velocity_index(check_batch_times(timesteps, batch_size(sample)))
        alpha, sigma = self._trained_levels()
        return alpha[index], sigma[index]

    def _trained_levels(self) -> Levels:
        """Alpha and sigma of every training step."""
        return np.sqrt(self._table.cumulative), np.sqrt(np.float32(1.0) - self._table.cumulative)

    def _velocity_index(self, times: np.ndarray) -> np.ndarray:
        return check_training_steps(times, len(self._table))
