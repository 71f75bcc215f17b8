"""Schedulers whose runs are loops of their own: several methods a step, each told its level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import BACKENDS, Array, Backend, backend_of, host_values
from ..backend.checks import check_pair
from ..core.exports import Absent
from ..core.grid import Grid
from ..core.scheduler import MOST_KERNELS, Scheduler
from ..interface.config import FrozenDict

_NONE = np.zeros(0)
#: Where an object stands before it is told a number of steps: no calls.
NOWHERE = Grid(_NONE, _NONE, None, _NONE, _NONE, _NONE, _NONE)


def alike(array: Any, like: Array) -> bool:
    """Whether an array is of the kind, dtype and shape of another."""
    if type(array) is not type(like):
        return False
    return array.dtype is like.dtype and bool(array.shape == like.shape)


def widened(backend: Backend, dtype: Any, *arrays: Array) -> list[Array]:
    """Arrays in the dtype in which they are summed up."""
    return [a if a.dtype is dtype else backend.cast(a, dtype) for a in arrays]


class OwnLoopScheduler(Scheduler):
    """A scheduler that counts no calls; an array that it does not have is None."""

    _by_timestep = True
    step_index = begin_index = set_begin_index = Absent()

    def _host(self, name: str) -> np.ndarray | None:
        host = super()._host(name)
        return None if host is None or not len(host) else host

    def _heed_grid(self, name: str, value: Any) -> None:
        """Stand on the grid along an assigned array; None takes it away."""
        self._relay({name: _NONE if value is None else np.array(host_values(value))})

    def _relay(self, changed: Mapping[str, np.ndarray]) -> None:
        """Stand on the grid along what is shown, with changes."""
        before = self._grid
        shown = {**before.shown, "timesteps": before.times, "sigmas": before.sigmas}
        self._grid = self._along({**shown, **changed})
        self._kernels = self._grid.kernels_of((self._rule, self._bounds_x0))
        self.num_inference_steps = self._grid.steps
        if self._grid.sigmas is not before.sigmas:
            self._exports.drop(("sigmas",))

    def _stand_on(self, config: FrozenDict) -> None:
        """Take a config; what of a run follows from it does so at once."""
        before = self.__dict__.get("_rule")
        super()._stand_on(config)
        if before is not None and before != self._rule:
            self._relay({})

    def _door(
        self, model_output: Array, sample: Array, name: str, output_name: str = "model_output"
    ) -> tuple[Backend, Any, Any]:
        """The backend of a pair of arrays, the wider of their dtypes, and that of their sums."""
        if self.num_inference_steps is None:
            self._require_timesteps("step")
        backend = BACKENDS.get(type(sample)) or backend_of(sample, name)
        wide = sample.dtype
        dtype = backend.computed.get(wide)
        if dtype is None or not alike(model_output, sample):
            wide = check_pair(model_output, sample, backend, (output_name, name))
            dtype = backend.compute_dtype(wide)
        return backend, wide, dtype

    def _keep(self, key: Any, kernel: Any) -> None:
        """Keep a kernel for all who stand on an equal grid."""
        if len(self._kernels) >= MOST_KERNELS:
            self._kernels.clear()
        self._kernels[key] = kernel
