"""DDIM and DDPM for parallel sampling: many steps of one run at once, each at its own time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend.arrays import Array, backend_of, host_values, torch_backend
from .backend.checks import are_elsewhere, check_batch_times, check_training_steps
from .core.level import Call, Level, vp_level
from .ddim import DDIMScheduler
from .ddpm import DDPMScheduler
from .facts import papers
from .forward import batch_size
from .plan import DATA, StepKey
from .trained import VpScheduler

PAPER = papers.PARADIGMS.at("Algorithm 1; the steps are those of the sequential class.")


class ParallelSteps(VpScheduler):
    """Steps for a batch in which each sample stands at a time of its own."""

    #: alphas_cumprod of the clean end.
    _final_abar = 1.0

    def _forget(self) -> None:
        super()._forget()
        #: Weights of every training step on each device that was asked for.
        self._batch_tables: dict[Any, Array] = {}

    def _lands(self, t: int) -> Level:
        """Where a batched step from training step t leads to.

        Upstream goes T // N down, and to the clean end below 0 whatever ``set_alpha_to_one``
        says; by the paper a step goes to the next time of the grid, and ends where ``step`` does.
        """
        if self.compat == "paper" and self.num_inference_steps is not None:
            before = max((int(u) for u in self._times if u < t), default=-1)
            end = self._final_abar
        else:
            before = t - self._train_steps // (self.num_inference_steps or self._train_steps)
            end = 1.0
        return vp_level(float(before), self._abar(before) if before >= 0 else end)

    def _batch_weights(self, times: Any, key: StepKey) -> np.ndarray:
        """Weights of a step at each time: on sample and output for x0, and with x0 for the rest."""
        found = np.zeros((len(times), 5))
        for row, t in zip(found, times, strict=True):
            stage = Call(float(t), self._here(int(t)), self._lands(int(t)))
            plan = self._plan(-1, (stage,), key)
            for offset, terms in ((0, plan.x0), (2, plan.prev)):
                for weight, source in terms:
                    if source <= DATA:
                        row[offset + source] = weight
        return found

    def _batch_step(
        self, model_output: Array, timesteps: Array, sample: Array, key: StepKey
    ) -> Array:
        backend = backend_of(sample, "sample")
        model_output = self._prediction_in(model_output, sample)
        wide = self._check_pair(model_output, sample, backend)
        weights: Any
        if are_elsewhere(timesteps, batch_size(sample)):
            # Reading the times would wait for the device: look them up there, in a whole table.
            place = timesteps.device, key
            if place not in self._batch_tables:
                table = self._batch_weights(range(len(self._table)), key)
                self._batch_tables[place] = torch_backend().tensor(table, timesteps.device)
            weights = self._batch_tables[place][timesteps]
        else:
            times = check_batch_times(timesteps, batch_size(sample))
            different, index = np.unique(
                check_training_steps(times, len(self._table)), return_inverse=True
            )
            weights = self._batch_weights(different.tolist(), key)[index]
        dtype = backend.compute_dtype(wide)
        x, out = backend.cast(sample, dtype), backend.cast(model_output, dtype)
        x_x0, out_x0, x_prev, out_prev, x0_prev = (
            backend.broadcast(weights[:, i], x) for i in range(5)
        )
        x0 = x_x0 * x + out_x0 * out
        if self._alters:
            x0 = self._alter_x0(x0)
        return backend.cast(x_prev * x + out_prev * out + x0_prev * x0, wide)

    def _batch_get_variance(self, t: Array, prev_t: Array) -> Array:
        """Posterior variances between training steps; below 0 lies the clean end.

        Args:
            t: Training steps, any shape.
            prev_t: Training steps that they lead to, same shape.
        """
        bars = self.alphas_cumprod
        if hasattr(t, "data_ptr"):
            bars = torch_backend().tensor(self._table, t.device)
        elif hasattr(bars, "data_ptr"):
            t, prev_t, bars = host_values(t), host_values(prev_t), self._table
        inside = prev_t >= 0
        here, before = bars[t], bars[prev_t * inside] * inside + 1.0 * ~inside
        return (1.0 - before) / (1.0 - here) * (1.0 - here / before)


class DDIMParallelScheduler(ParallelSteps, DDIMScheduler):
    r"""DDIM, with ``batch_step_no_noise`` for pipelines that guess a whole run and refine it.

        x_next = alpha_next x0 + sqrt(sigma_next^2 - s^2) eps

    for each sample of a batch at its own time, with the ``s`` of DDIM, whose noise is left to the
    caller. A pipeline guesses the samples of a window that begins with x_a, steps all of them at
    once, and takes the sums of the changes as its next guess,

        x_i <- x_a + sum_(a <= k < i) (x_next(x_k) - x_k)

    until the first samples of the window stop changing; the window then moves on.

    References:
        Shih, Belkhale, Ermon, Sadigh, Anari 2023. Parallel Sampling of Diffusion Models.
        arXiv 2305.16317, algorithm 1.
    """

    title = "DDIM parallel"
    good_for = "DDIM over a window of steps at once: fewer rounds, more calls."
    reference = PAPER
    _is_ode_scheduler = True

    def batch_step_no_noise(
        self,
        model_output: Array,
        timesteps: Array,
        sample: Array,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
    ) -> Array:
        """Step many samples, each at its own time, without drawing noise.

        Args:
            model_output: What the model returned, shape (batch, ...).
            timesteps: Training step of each sample, shape (batch,).
            sample: The noisy samples, shape (batch, ...).
            eta: Share of fresh noise, 0 to 1; its part of the variance is left for the caller.
            use_clipped_model_output: Derive the noise again from the clipped clean sample.

        Returns:
            The samples one step on, same shape.

        Raises:
            ValueError: Before ``set_timesteps``, shapes that do not match, or a time outside the
                training steps.
        """
        self._require_timesteps("batch_step_no_noise")
        eta = self._check_step("eta", eta)
        self._check_step("use_clipped_model_output", use_clipped_model_output)
        key = (eta, use_clipped_model_output)
        return self._batch_step(model_output, timesteps, sample, key)


class DDPMParallelScheduler(ParallelSteps, DDPMScheduler):
    r"""DDPM, with ``batch_step_no_noise`` for pipelines that guess a whole run and refine it.

        x_next = alpha_next beta / sigma^2 x0 + alpha / alpha_next (sigma_next / sigma)^2 x
        beta   = 1 - (alpha / alpha_next)^2

    for each sample of a batch at its own time: the mean of DDPM's step. The noise is the caller's,
    drawn once for each time: its variance is ``_get_variance``. How a window of guesses is refined
    is told at ``DDIMParallelScheduler``.

    References:
        Shih, Belkhale, Ermon, Sadigh, Anari 2023. Parallel Sampling of Diffusion Models.
        arXiv 2305.16317, algorithm 1.
    """

    title = "DDPM parallel"
    good_for = "DDPM over a window of steps at once: fewer rounds, more calls."
    reference = PAPER
    _is_ode_scheduler = False

    def batch_step_no_noise(self, model_output: Array, timesteps: Array, sample: Array) -> Array:
        """Step many samples, each at its own time, without drawing noise.

        Before ``set_timesteps`` a step is one training step long.

        Args:
            model_output: What the model returned, shape (batch, ...); for the learned variance
                types with twice the channels, of which the second half is not looked at.
            timesteps: Training step of each sample, shape (batch,).
            sample: The noisy samples, shape (batch, ...).

        Returns:
            The posterior means, same shape.

        Raises:
            ValueError: Shapes that do not match, or a time outside the training steps.
        """
        return self._batch_step(model_output, timesteps, sample, ())
