"""Schedulers of models trained on a discrete process: the table, and two ways to walk it.

``VpScheduler`` keeps the sample variance-preserving and finds its place by the timestep alone.
``SigmaScheduler`` keeps it as ``x0 + sigma eps``, scales it for the model, and counts its calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, torch_backend
from .backend.checks import (
    CURVES,
    MOST_STEPS,
    are_elsewhere,
    check_batch_times,
    check_curves,
    check_one_way,
    check_sigmas,
    check_steps,
    check_times,
    check_training_steps,
    check_whole,
)
from .core.level import Call, Level, vp_level
from .counted import CountedScheduler, Scaled
from .forward import batch_size
from .process import spacing, tables
from .scheduler import KarrasDiffusionSchedulers, Scheduler
from .shelf import laid_out


class TrainedScheduler(Scheduler):
    """A scheduler with a training table of betas."""

    _compatibles = tuple(e.name for e in KarrasDiffusionSchedulers)
    bounds_steps: ClassVar[tuple[str, ...]] = ("num_train_timesteps",)
    #: Whether the last alphas_cumprod is kept off zero at zero terminal SNR.
    _zero_snr_floor: ClassVar[bool] = True
    #: Whether a run upward may start where there is no noise at all.
    _starts_clean: ClassVar[bool] = False

    betas: Array
    alphas: Array
    alphas_cumprod: Array

    def _make_table(self, tensor_format: str | None) -> None:
        """Betas and their products, from the config."""
        self._start(tensor_format)
        config = self.config
        trained = config["trained_betas"]
        made = tables.noise_table(
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
        self._betas, self._table = made.betas, made.cumulative
        self._rho_table, self._log_rho_table = made.rhos, made.log_rhos
        self._noise = made
        #: alpha and sigma of every training step, by device and dtype.
        self._device_tables: dict[Any, tuple[Array, ...]] = {}
        self._publish("betas", made.betas)
        self._publish("alphas", made.alphas)
        self._publish("alphas_cumprod", made.cumulative)

    def _values_of_constructor(self, num_inference_steps: int | None) -> Sequence[int] | None:
        """The times that the constructor's ``timestep_values`` give to every run, if any."""
        values: Sequence[int] | None = self._setting("timestep_values")
        n = num_inference_steps
        if (
            values is not None
            and n is not None
            and check_steps(n, self._train_steps) != len(values)
        ):
            raise ValueError(
                f"num_inference_steps={n}: timestep_values holds {len(values)} times, and a run "
                "takes all of them."
            )
        return values

    @property
    def training(self) -> tables.TrainingTable:
        """The discrete forward process the model was trained on."""
        return tables.TrainingTable(self._betas.astype(np.float64), self._table.astype(np.float64))

    @property
    def _train_steps(self) -> int:
        return int(self.config["num_train_timesteps"])

    def _abar(self, t: int) -> float:
        """alphas_cumprod at a training step."""
        return float(self._table[t])

    def _check_visited(self) -> None:
        """Refuse times that the table does not have, and levels at which nothing is defined."""
        table, times = len(self._table), self._lookup_times()
        last = table - 1
        # Times run down or up: those at the ends tell whether any is late.
        late = [t for t in times if t > last] if times and max(times[0], times[-1]) > last else ()
        # One time past the end is an offset that upstream's interpolation clamps; a table that is
        # too short, or an offset of many steps, is a mistake.
        if late and (table < self._train_steps or len(late) > self._late_times_allowed):
            if table < self._train_steps:
                raise ValueError(
                    f"trained_betas holds {table} betas, but the grid asks for t={late[0]:g}: give "
                    f"one for each of num_train_timesteps={self._train_steps} steps, or take "
                    "fewer steps."
                )
            raise ValueError(
                f"steps_offset={self.config['steps_offset']!r} leads to t={late[0]:g}, past the "
                f"last training step {last}: choose a smaller offset."
            )
        visited, inf = self._rhos if self.ascends else self._rhos[:-1], math.inf
        if 0.0 < math.prod(visited) < inf:
            return
        for rho in [rho for rho in visited if not 0.0 < rho < inf]:
            clean = rho == 0.0 and self._starts_clean
            if not (clean or (rho == inf and self._pure_noise_ok())):
                raise self._undefined(rho)

    def _undefined(self, rho: float) -> ValueError:
        """An error for a level at which the noise schedule has left (0, 1)."""
        config = self.config
        what = "no noise" if rho == 0.0 else "no signal" if rho == np.inf else "no variance"
        where = f"a level with {what}, where a step is not defined"
        if config["trained_betas"] is not None:
            return ValueError(f"trained_betas lead to {where}.")
        names = ["beta_start", "beta_end", "num_train_timesteps"]
        if config["beta_end"] > 1.0:
            names = names[1:]
        told = ", ".join(f"{name}={config[name]!r}" for name in names)
        return ValueError(f"{told} lead to {where}: choose betas inside (0, 1) and not too many.")

    #: How many times past the table are clamped to it rather than refused.
    _late_times_allowed: ClassVar[int] = 1

    def _pair_of_times(self, timestep: Any, prev_timestep: Any) -> tuple[int, int]:
        """A training step and the one that it leads to, which may lie below 0."""
        last = len(self._table) - 1
        here = check_whole("timestep", timestep, 0, last)
        return here, check_whole("prev_timestep", prev_timestep, -MOST_STEPS, last)

    def _lookup_times(self) -> Sequence[float]:
        """Times at which the grid reads the table."""
        return self._times

    def _pure_noise_ok(self) -> bool:
        return False

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
        backend = self._check_noising(sample, "sample", noise)
        alpha, sigma = self._velocity_levels(timesteps, sample)
        return backend.broadcast(alpha, sample) * noise - backend.broadcast(sigma, sample) * sample

    def _velocity_levels(self, timesteps: Any, sample: Array) -> tuple[Array, Array]:
        """The alpha and sigma of the velocity at given times."""
        index = self._velocity_index(check_batch_times(timesteps, batch_size(sample)))
        alpha, sigma = self._velocity_tables()
        return alpha[index], sigma[index]

    def _velocity_tables(self) -> tuple[np.ndarray, np.ndarray]:
        return np.sqrt(self._table), np.sqrt(np.float32(1.0) - self._table)

    def _velocity_index(self, times: np.ndarray) -> np.ndarray:
        return check_training_steps(times, len(self._table))


class VpScheduler(TrainedScheduler):
    """Variance-preserving, integer timesteps, position found by the timestep of each call."""

    _stateless = True
    _zero_snr_floor = False
    _late_times_allowed = 0
    _kept: ClassVar[tuple[str, ...]] = (
        "_times",
        "_rhos",
        "num_inference_steps",
        "_sampled",
    )

    @laid_out
    def _fresh_grid(self) -> None:
        steps = self._train_steps
        times = np.arange(steps, dtype=np.int64)[::-1].copy()
        self._install(times, np.append(self._rho_table[::-1], np.float32(0.0)), None)

    def _custom_times(
        self, num_inference_steps: int | None, timesteps: Any = None
    ) -> np.ndarray | None:
        """Custom times, of the call or else of the constructor; None for spaced ones."""
        name, values = "timesteps", None
        if timesteps is None:
            values = self._values_of_constructor(num_inference_steps)
        if values is None:
            check_one_way({"num_inference_steps": num_inference_steps, "timesteps": timesteps})
        else:
            name, timesteps = "timestep_values", values
        if timesteps is None:
            return None
        return check_times(timesteps, self._train_steps, True, name).astype(np.int64)

    def _set_run(
        self, custom: np.ndarray | None, num_inference_steps: int | None, device: Any, offset: int
    ) -> None:
        """Lay out a run over custom times, or over spaced ones."""
        if custom is None:
            self._set_spaced(num_inference_steps, device, offset)
        else:
            self._set_times(custom, len(custom), device)

    def _set_spaced(self, num_inference_steps: int | None, device: Any, offset: int = 0) -> None:
        offset = check_whole("offset", offset, 0, self._train_steps)
        config = self.config
        n = check_steps(num_inference_steps, self._train_steps)
        times = spacing.spaced_timesteps(
            config["timestep_spacing"],
            n,
            self._train_steps,
            config["steps_offset"],
            exact=self.compat == "paper",
        )
        self._set_times(times.round().astype(np.int64) + offset, n, device)

    def _set_times(self, times: np.ndarray, n: int, device: Any) -> None:
        self._sampled = n
        if times[0] >= len(self._table):
            self._times, self._rhos = times.tolist(), ()
            self._check_visited()
        final = self._target(int(times[-1]), times, len(times) - 1)
        self._install(times, spacing.ended(self._rho_table[times], final.rho), n, device)

    def _pure_noise_ok(self) -> bool:
        # At zero terminal SNR the last training level is pure noise, which v and x0 survive.
        return bool(self._setting("rescale_betas_zero_snr")) and all(
            0.0 <= float(self._table[int(t)]) <= 1.0 for t in self._times
        )

    def _target(self, t: int, times: np.ndarray, i: int) -> Level:
        """Level that the step from training step t leads to."""
        raise AttributeError("a variance-preserving class must say where a step leads")

    def _here(self, t: int) -> Level:
        return vp_level(float(t), self._abar(t))

    def _make_stages(self) -> tuple[Call, ...]:
        times = np.array(self._times)
        return tuple(
            Call(float(t), self._here(int(t)), self._target(int(t), times, i))
            for i, t in enumerate(times)
        )

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = check_training_steps(times, len(self._table))
        alpha, sigma = self._velocity_tables()
        return alpha[index], sigma[index]

    def _noise_levels(self, timesteps: Any, samples: Array) -> tuple[Array, Array]:
        if not are_elsewhere(timesteps, batch_size(samples)):
            return super()._noise_levels(timesteps, samples)
        # A training loop's times live on the device: look them up there, without waiting for it.
        place = timesteps.device, samples.dtype
        if place not in self._device_tables:
            self._device_tables[place] = tuple(
                torch_backend().tensor(table, timesteps.device).to(samples.dtype)
                for table in self._velocity_tables()
            )
        alpha, sigma = self._device_tables[place]
        return alpha[timesteps], sigma[timesteps]

    def _velocity_levels(self, timesteps: Any, sample: Array) -> tuple[Array, Array]:
        return self._noise_levels(timesteps, sample)


class CountedVpScheduler(VpScheduler, CountedScheduler):
    """Variance-preserving, integer timesteps of which some occur twice: counted."""

    _stateless = False

    def _locate(self, timestep: Any) -> int:
        # Slices of timesteps may start inside a pair: the time tells, where it disagrees.
        i = super()._locate(timestep)
        if i < len(self._times) and self._value(timestep) != self._times[i]:
            i = self._step_index = self.index_for_timestep(timestep)
        return i


class LevelScheduler(CountedScheduler, TrainedScheduler):
    """A counted position, and sigma curves on the table's levels."""

    #: Whether a Karras curve heeds the ends of a config, as the other curves do; upstream is split.
    _karras_takes_ends: ClassVar[bool] = True

    @property
    def _chosen_curve(self) -> str | None:
        """The name of the sigma curve, if there is one."""
        for name in CURVES:
            if self._settings.get(name):
                return name
        return None

    def _curve(self, curve: str, low: float, high: float, n: int) -> np.ndarray:
        """A sigma curve.

        Args:
            curve: Its name in the config.
            low: Its lower end where the config does not give one.
            high: Its upper end, likewise.
            n: Number of sigmas.
        """
        given_low, given_high = self._curve_ends()
        for rho in (low, high):
            if not 0.0 < rho < math.inf:
                raise self._undefined(rho)
        low = low if given_low is None else float(given_low)
        high = high if given_high is None else float(given_high)
        if n > 1 and low >= high and given_low is None and given_high is None:
            config = self.config
            raise ValueError(
                f"beta_start={config['beta_start']!r}, beta_end={config['beta_end']!r} over "
                f"{len(self._table)} steps hold one noise level only, sigma={low:g}: {curve}=True "
                "needs a range."
            )
        if n > 1 and low >= high:
            raise ValueError(
                f"sigma_min={low:g} must be below sigma_max={high:g}; where one of them is not "
                "given, the noise schedule decides it."
            )
        if curve == "use_lu_lambdas":
            return np.exp(np.linspace(self._log_rho_table[-1], self._log_rho_table[0], n))
        return spacing.CURVES[curve](high, low, n)

    def _curve_ends(self) -> tuple[float | None, float | None]:
        """Ends of the curve that the config gives."""
        if self._setting("use_karras_sigmas") and not self._karras_takes_ends:
            return None, None
        return self._setting("sigma_min"), self._setting("sigma_max")


class SigmaScheduler(Scaled, LevelScheduler):
    """``x0 + sigma eps``, float timesteps, position counted from the first call."""

    #: dtype of ``timesteps`` before ``set_timesteps``.
    _fresh_dtype: ClassVar[Any] = np.float32
    #: dtype in which a grid is made, before times and sigmas are rounded to what is shown.
    _spacing_dtype: ClassVar[Any] = np.float32

    @property
    def _times_dtype(self) -> Any:
        """Dtype of ``timesteps`` after ``set_timesteps``."""
        return np.float32

    _kept: ClassVar[tuple[str, ...]] = (
        "_times",
        "_rhos",
        "num_inference_steps",
    )

    # --- the grid -----------------------------------------------------------------------------

    @laid_out
    def _fresh_grid(self) -> None:
        """The whole training schedule, which a fresh object shows."""
        times = np.arange(self._train_steps, dtype=self._fresh_dtype)[::-1].copy()
        self._install(times, np.append(self._rho_table[::-1], np.float32(0.0)), None)

    @property
    def init_noise_sigma(self) -> Any:
        """Standard deviation of the noise that a run starts from."""
        largest = np.float32(max(self._rhos))
        if self._setting("timestep_spacing") == "leading":
            largest = np.sqrt(largest * largest + np.float32(1.0))
        if self.tensor_format == "np":
            return float(largest)
        return torch_backend().tensor(np.asarray(largest))

    def _make_grid(
        self,
        num_inference_steps: int | None,
        device: Any,
        timesteps: Any = None,
        sigmas: Any = None,
    ) -> None:
        """Times and sigmas of a run, from a number of steps, custom times or custom sigmas."""
        given = {"num_inference_steps": num_inference_steps, "timesteps": timesteps}
        check_one_way(given | {"sigmas": sigmas})
        check_curves(self._settings, timesteps)
        if sigmas is not None:
            levels = check_sigmas(sigmas)
            times = spacing.times_of(levels[:-1], self._noise.knots)
        else:
            times, levels = self._spaced_grid(num_inference_steps, timesteps)
        self._lay_out(times.astype(self._times_dtype), levels, len(times), device)

    def _spaced_grid(
        self,
        num_inference_steps: int | None,
        timesteps: Any,
        check: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        config = self.config
        if timesteps is not None:
            times = check_times(timesteps, self._train_steps, whole=False)
            n = len(times)
        else:
            n = check_steps(num_inference_steps, self._train_steps)
            times = spacing.spaced_timesteps(
                config["timestep_spacing"],
                n,
                self._train_steps,
                config["steps_offset"],
                exact=self.compat == "paper",
            )
        times = times.astype(self._spacing_dtype)
        if check and times[0] > len(self._rho_table) - 1:
            self._times, self._rhos = times.tolist(), ()
            self._check_visited()
        curve = self._chosen_curve
        if curve is None:
            levels = self._interpolate(times, n)
        else:
            ends = self._interpolate(times[:: len(times) - 1 or 1], n).tolist()
            levels = self._curve(curve, ends[-1], ends[0], n)
            times = spacing.times_of(levels, self._noise.knots)
        final = self._rho_table[0] if self._setting("final_sigmas_type") == "sigma_min" else 0.0
        return times, spacing.ended(levels, final, self._spacing_dtype)

    def _interpolate(self, times: np.ndarray, n: int) -> np.ndarray:
        """Sigmas at fractional times: linear in sigma between training steps."""
        del n
        return np.asarray(np.interp(times, self._noise.steps, self._noise.exact_rhos))

    @laid_out
    def _show_whole_run(self) -> None:
        """Show the run over every training step, as upstream's constructor of these classes."""
        self._fresh_grid()
        usable = np.isfinite(self._rho_table).all() and (self._rho_table > 0.0).all()
        config = self.config
        # With a larger offset the whole run would pile up at the last level.
        fits = config["timestep_spacing"] != "leading" or config["steps_offset"] <= 1
        if len(self._table) == self._train_steps and usable and fits:
            times, levels = self._spaced_grid(self._train_steps, None, check=False)
            self._lay_out(times.astype(self._times_dtype), levels, None, None)

    def _lay_out(
        self,
        times: np.ndarray,
        levels: np.ndarray,
        n: int | None,
        device: Any,
    ) -> None:
        """Install a grid with one call for each time."""
        self._install(times, levels, n, device)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What a sigma curve or the kind of prediction makes idle."""
        reasons = {}
        if values.get("prediction_type") != "v_prediction":
            reasons["timestep_type"] = "only v_prediction knows continuous times."
        if (
            values.get("sigma_min") is not None
            and values.get("sigma_max") is not None
            and any(values.get(name) for name in CURVES)
        ):
            reasons["interpolation_type"] = "the curve runs from sigma_max to sigma_min."
        return reasons
