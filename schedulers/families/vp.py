"""Schedulers that keep the variance and step between whole training steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array, host_values, torch_backend
from ..backend.checks import (
    MOST_STEPS,
    are_elsewhere,
    check_number,
    check_numbers,
    check_one_way,
    check_steps,
    check_times,
    check_training_steps,
    check_whole,
    shown,
)
from ..backend.errors import ParameterError
from ..core.exports import PublicArray
from ..core.grid import Grid, Request
from ..core.level import Call, Level
from ..core.scheduler import Levels, batch_size
from ..grids import vp as grids
from ..grids.vp import VpDialect, VpGrid
from .discrete import DiscreteScheduler


class VpScheduler(DiscreteScheduler):
    """Variance-preserving, on integer timesteps; every call looks its levels up in the table.

    What upstream looks up at each step is heeded at once: ``alphas_cumprod``, the power at the
    clean end, ``timesteps`` and ``num_inference_steps`` may be assigned or written at any time.
    """

    _zero_snr_floor = False
    #: Name of the public array that holds alphas_cumprod of the clean end.
    _end_name: ClassVar[str] = "final_alpha_cumprod"

    sigmas = PublicArray(
        "sigma / alpha of each level of the run, the final one included; follows from the table.",
        None,
    )

    _grid: VpGrid
    #: alphas_cumprod of the clean end.
    _end: float
    #: Whether that is the table's first entry, whatever is written there.
    _end_is_first: bool

    def _begin_vp(self, tensor_format: str | None, clean: bool = True) -> None:
        """Table and fresh grid.

        Args:
            tensor_format: As for the constructor.
            clean: Whether a run ends (or starts) where there is no noise, instead of at the first
                training step.
        """
        self._make_table()
        self._end, self._end_is_first = 1.0 if clean else self._table.abar(0), not clean
        self._begin(tensor_format, grids.fresh_grid(self._table, self._dialect()))

    def _dialect(self, custom: bool = False) -> VpDialect:
        """What the config means by a number of steps.

        Args:
            custom: Whether the times are a caller's.
        """
        del custom
        config = self.config
        return VpDialect(
            self._train_steps,
            config["timestep_spacing"],
            config["steps_offset"],
            self.follows("trailing-extra"),
            grids.next_entry,
            self._end,
            bool(self._setting("rescale_betas_zero_snr")),
        )

    # --- the grid -----------------------------------------------------------------------------

    def _requested(self, n: int | None, timesteps: Any = None) -> Request:
        """A number of steps, or custom times: of the call, or else of the constructor."""
        name, values = "timesteps", None
        if timesteps is None:
            values = self._values_of_constructor(n)
        if values is None:
            check_one_way({"num_inference_steps": n, "timesteps": timesteps})
        else:
            name, timesteps = "timestep_values", values
        if timesteps is None:
            return Request(check_steps(n, self._train_steps))
        times = check_times(timesteps, self._train_steps, True, name)
        return Request(timesteps=tuple(times.astype(np.int64).tolist()))

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[int] | None = None,
        offset: int = 0,
    ) -> None:
        """Lay out a run, from a number of steps or from the timesteps themselves.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps; with the constructor's
                ``timestep_values`` their number or None.
            device: Where ``timesteps`` go (torch only).
            timesteps: Custom training steps, strictly descending; a step then leads to the next
                of them, whatever ``compat`` says, since there is no stride.
            offset: Added to spaced times, as the first versions of diffusers had it; in the
                config it is ``steps_offset``.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Both or neither given, out of range, not descending, or the noise schedule
                is undefined on the grid.
        """
        self._heed()
        self._lay_out(self._requested(num_inference_steps, timesteps), device, offset)

    def _lay_out(self, request: Request, device: Any = None, offset: int = 0) -> None:
        """Stand on the grid of a request."""
        dialect = self._dialect(request.timesteps is not None)
        if request.timesteps is None and (type(offset) is not int or offset):
            shift = check_whole("offset", offset, 0, self._train_steps)
            dialect = dialect._replace(shift=shift)
        self._use(grids.vp_grid(self._table, dialect, request), device)

    # --- what a caller assigns ----------------------------------------------------------------

    @property
    def num_inference_steps(self) -> int | None:
        """Number of steps; where a step is T // N long, assigning it changes where it leads."""
        return self._grid.steps

    @num_inference_steps.setter
    def num_inference_steps(self, steps: int | None) -> None:
        if steps != self._grid.steps:
            if steps is not None:
                steps = check_whole("num_inference_steps", steps, 1, MOST_STEPS)
            self._stand(self._relaid(self._grid.times, steps, self._grid.dialect))

    def _stand(self, grid: VpGrid) -> None:
        """Go on, on another grid."""
        self._grid = grid
        self._exports.drop(("sigmas",))
        self._bind()

    def _relaid(self, times: np.ndarray, steps: int | None, dialect: VpDialect) -> VpGrid:
        """The grid whose calls are made at these times."""
        return grids.along(self._table, dialect, times, steps)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        times = held["timesteps"]
        if times.ndim != 1 or times.dtype.kind not in "iuf" or (times % 1 != 0).any():
            raise ParameterError(
                f"timesteps={shown(times.tolist())} must be whole training steps.", "timesteps"
            )
        self._exports.drop(("sigmas",))
        return self._relaid(times, self._grid.steps, self._grid.dialect)

    def _heed_cumprod(self, name: str, value: Any) -> None:
        check_numbers(name, value)
        # Upstream's end may be a view of the first entry, and sees what is written there.
        self._end_is_first = self._end_is_first and value is self._exports.arrays.get(name)
        super()._heed_cumprod(name, value)
        if self._end_is_first:
            self._end = self._table.abar(0)
            self._exports.drop((self._end_name,))
        grid = self._grid
        dialect = grid.dialect._replace(end=self._end)
        self._stand(self._relaid(grid.times, grid.steps, dialect))

    def _heed_end(self, name: str, value: Any) -> None:
        """Go by another alphas_cumprod of the clean end."""
        end = check_number(name, np.squeeze(host_values(value)), 0.0, 1.0)
        grid = self._grid
        self._stand(self._relaid(grid.times, grid.steps, grid.dialect._replace(end=end)))
        self._end, self._end_is_first = end, False

    def _host(self, name: str) -> np.ndarray | None:
        return np.array(self._end, np.float32) if name == self._end_name else super()._host(name)

    # --- the calls ----------------------------------------------------------------------------

    def _undefined(self, call: Call) -> ValueError:
        # Only what was assigned can lead here: set_timesteps refuses the rest.
        self._table.check_times([call.t], self._train_steps, 0, self._grid.dialect.offset)
        if call.here.sigma > 0.0 and call.target.alpha == 0.0:
            return ParameterError(
                f"timesteps lead from t={call.t:g} to t={call.target.t:g}, where no signal is left "
                "(rescale_betas_zero_snr): no step is defined there.",
                "timesteps",
            )
        return self._table.undefined(call.here.rho)

    def _pair_of_times(self, timestep: Any, prev_timestep: Any) -> tuple[Level, Level]:
        """Levels of a training step and of the one it leads to, below 0 the clean end."""
        self._heed()
        last = len(self._table) - 1
        here = check_whole("timestep", timestep, 0, last)
        before = check_whole("prev_timestep", prev_timestep, -MOST_STEPS, last)
        return self._grid.level(here), self._grid.level(before)

    # --- the forward process ------------------------------------------------------------------

    def _levels_at(self, times: np.ndarray) -> Levels:
        index = check_training_steps(times, len(self._table))
        alpha, sigma = self._trained_levels()
        return alpha[index], sigma[index]

    def _noise_levels(self, timesteps: Any, samples: Array) -> tuple[Array, Array]:
        if not are_elsewhere(timesteps, batch_size(samples)):
            return super()._noise_levels(timesteps, samples)
        # A training loop's times live on the device: look them up there, without waiting for it.
        # As an array, for the index of a single time would be read.
        index, dtype = timesteps.reshape(-1).long(), samples.dtype
        make = lambda: np.stack(self._trained_levels())  # noqa: E731
        alpha, sigma = self._held_on(timesteps.device, make, dtype)
        return alpha[index], sigma[index]

    def _held_on(self, device: Any, make: Callable[[], np.ndarray], *key: Any) -> Array:
        """An array of this grid and rule on a device (torch), made once for all who stand there.

        Args:
            device: The device.
            make: Makes it on the host.
            key: The dtype that it is to have there, and what else it depends on.
        """
        held = self._kernels.get((device, *key))
        if held is None:
            torch = torch_backend().torch
            with torch.inference_mode(False):
                held = torch_backend().tensor(make()).to(device, key[0])
            # Inside a mode that makes other tensors than plain ones, what is kept must not be one.
            if type(held) is torch.Tensor:
                self._kernels[(device, *key)] = held
        return held

    def _velocity_levels(self, timesteps: Any, sample: Array) -> tuple[Array, Array]:
        return self._noise_levels(timesteps, sample)


class CountedVpScheduler(VpScheduler):
    """Timesteps of which some occur twice: counted."""

    def _locate(self, timestep: Any) -> int:
        # Slices of timesteps may start inside a pair: the time tells, where it disagrees.
        i = super()._locate(timestep)
        try:  # which also keeps torch.compile from tracing this anew for every position
            agrees = self._value(timestep) == self._grid.times.item(i)
        except IndexError:
            return i
        if not agrees:
            i = self._step_index = self._index_of(timestep)
        return i

    def _follow(self, timestep: Any) -> None:
        """Before a step: go where its time says, if that is not where the count is."""
        if self._step_index is not None:
            self._heed()
            self._locate(self._value(timestep))  # a number, as in ``_advance``


def previous_timestep(self: VpScheduler, timestep: int) -> int:
    """The training step that a step from ``timestep`` leads to; -1 is the clean end.

    A method of the classes whose steps lead to the next entry of ``timesteps``.
    """
    if self.num_inference_steps is None:
        return check_whole("timestep", timestep, 0, self._train_steps - 1) - 1
    i, times = self.index_for_timestep(timestep), self._grid.times
    return int(times[i + 1]) if i < len(times) - 1 else -1
