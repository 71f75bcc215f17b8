"""Parallel sampling: steps for a batch in which each sample stands at a time of its own.

References:
    Shih, Belkhale, Ermon, Sadigh, Anari 2023. Parallel Sampling of Diffusion Models.
    arXiv 2305.16317, algorithm 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array, backend_of, host_values, torch_backend
from ..backend.checks import are_elsewhere, check_batch_times, check_pair, check_training_steps
from ..core.kernel import DATA, fold, terms_of
from ..core.level import Call, vp_level
from ..core.rule import StepArguments
from ..core.scheduler import batch_size
from ..grids import vp as grids
from .vp import VpScheduler


def lands(grid: grids.VpGrid, times: np.ndarray, strides: bool) -> np.ndarray:
    """Where batched steps from training steps lead to.

    Args:
        grid: Where the scheduler stands.
        times: The training steps.
        strides: Whether T // N down, instead of to the next time of the grid.
    """
    if strides:
        return grids.stride_down(times, grid.steps, grid.dialect)
    there = np.unique(grid.times.astype(np.int64))
    below = there.searchsorted(times)
    return np.where(below > 0, there[below - 1], -1)


def batch_weights(
    scheduler: VpScheduler, times: np.ndarray, arguments: StepArguments
) -> np.ndarray:
    """Weights of a step at each time: on sample and output for x0, and with x0 for the rest."""
    grid, rule = scheduler._grid, scheduler._rule
    apart = scheduler.follows("parallel-end") or grid.steps is None
    found = np.zeros((len(times), 5))
    aims = lands(grid, times, apart)
    for row, t, aim in zip(found, times.tolist(), aims.tolist(), strict=True):
        # Apart from its own steps, a batch ends clean whatever set_alpha_to_one says.
        target = vp_level(float(aim), 1.0) if apart and aim < 0 else grid.level(aim)
        call = Call(float(t), grid.level(t), target)
        update = rule.update(grid, -1, (call,), arguments)
        kernel = fold(update, call, 0, scheduler._bounds_x0, False, 0, terms_of)
        for offset, terms in ((0, kernel.x0), (2, kernel.prev)):
            for weight, source in terms:
                if source <= DATA:
                    row[offset + source] = weight
    return found


def batch_step(
    scheduler: VpScheduler,
    model_output: Array,
    timesteps: Array,
    sample: Array,
    arguments: StepArguments,
) -> Array:
    """Step many samples, each at its own time, without noise."""
    scheduler._heed()
    backend = backend_of(sample, "sample")
    model_output = scheduler._prediction_in(model_output, sample)
    wide = check_pair(model_output, sample, backend)
    steps = len(scheduler._table)
    weights: Any
    if are_elsewhere(timesteps, batch_size(sample)):
        # Reading the times would wait for the device: look them up there, in a whole table.
        every = np.arange(steps)
        weights = scheduler._held_on(
            timesteps.device,
            lambda: batch_weights(scheduler, every, arguments),
            torch_backend().torch.float64,
            arguments,
        )[timesteps.reshape(-1).long()]
    else:
        times = check_batch_times(timesteps, batch_size(sample))
        different, index = np.unique(check_training_steps(times, steps), return_inverse=True)
        weights = batch_weights(scheduler, different, arguments)[index]
    dtype = backend.compute_dtype(wide)
    x, out = backend.cast(sample, dtype), backend.cast(model_output, dtype)
    x_x0, out_x0, x_prev, out_prev, x0_prev = (
        backend.broadcast(weights[:, i], x) for i in range(5)
    )
    x0 = x_x0 * x + out_x0 * out
    if scheduler._bounds_x0:
        x0 = scheduler._bounded(backend, x0)
    return backend.cast(x_prev * x + out_prev * out + x0_prev * x0, wide)


def batch_get_variance(self: VpScheduler, t: Array, prev_t: Array) -> Array:
    """Posterior variances between training steps; below 0 lies the clean end.

    Args:
        self: The scheduler.
        t: Training steps, any shape.
        prev_t: Training steps that they lead to, same shape.
    """
    bars = self.alphas_cumprod
    self._heed()
    if hasattr(t, "data_ptr"):
        bars = torch_backend().tensor(self._table.cumulative, t.device)
    elif hasattr(bars, "data_ptr"):
        t, prev_t, bars = host_values(t), host_values(prev_t), self._table.cumulative
    inside = prev_t >= 0
    here, before = bars[t], bars[prev_t * inside] * inside + 1.0 * ~inside
    return (1.0 - before) / (1.0 - here) * (1.0 - here / before)
