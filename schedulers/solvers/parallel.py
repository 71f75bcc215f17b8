"""DDIM and DDPM for parallel sampling: many steps of one run at once, each at its own time."""

from __future__ import annotations

from ..backend.arrays import Array
from ..facts import papers
from ..families.parallel import batch_get_variance, batch_step
from .ddim import DDIMScheduler
from .ddpm import DDPMScheduler

PAPER = papers.PARADIGMS.at("Algorithm 1; the steps are those of the sequential class.")


class DDIMParallelScheduler(DDIMScheduler):
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
    _batch_get_variance = batch_get_variance

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
        arguments = (eta, use_clipped_model_output)
        return batch_step(self, model_output, timesteps, sample, arguments)


class DDPMParallelScheduler(DDPMScheduler):
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
    _batch_get_variance = batch_get_variance

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
        return batch_step(self, model_output, timesteps, sample, self._rule.defaults)
