"""The variance-exploding score SDE: a predictor, and Langevin steps before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator, backend_of, torch_backend
from ..backend.checks import check_numbers, check_steps, check_training_steps, shown
from ..backend.errors import ParameterError
from ..backend.output import SdeOutput
from ..core.exports import PublicArray
from ..core.grid import Grid
from ..core.level import Call, ve_level
from ..core.scheduler import Levels
from ..facts import papers
from ..families.own_loop import widened
from ..families.score_sde import ScoreSdeScheduler
from ..grids import score_sde as grids
from ..interface import params as p
from ..interface.config import configured
from ..rules.score_sde import VarianceExploding


class ScoreSdeVeScheduler(ScoreSdeScheduler):
    r"""The variance-exploding SDE: a reverse step, after Langevin steps that hold the level.

        step_correct:  x     <- x + e score + sqrt(2 e) z,   e = 2 (snr |z| / |score|)^2
        step_pred:     x_next = x + (sigma^2 - sigma_next^2) score + s z

    The model returns the score, ``(x0 - x) / sigma^2``. At each level ``step_correct`` is called
    ``correct_steps`` times, then ``step_pred``; every one of them is a model call. Norms are means
    over the batch. Upstream adds noise of ``s^2 = sigma^2 - sigma_next^2`` (reverse diffusion),
    more than the level holds; ``compat="paper"`` adds
    ``s = sigma_next / sigma sqrt(sigma^2 - sigma_next^2)`` (ancestral sampling).

    References:
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole 2020. Score-Based Generative Modeling
        through Stochastic Differential Equations. arXiv 2011.13456, eq. 46 and 47, algorithms 2
        and 4.
    """

    title = "Score SDE VE"
    family = "Score SDE"
    good_for = "Predictor and Langevin corrector of the score SDE paper; thousands of calls."
    call_form = "score_sde"
    weighs_by_norms = True
    reference = papers.SCORE_SDE.at("Equations 46 and 47, algorithms 2 and 4.")
    _compatibles = ()

    discrete_sigmas = PublicArray("The noise levels of the run, ascending: steps go by them.")
    sigmas = PublicArray("The noise level of each time: models are told it.")
    _rule: VarianceExploding

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 2000,
        snr: p.Snr = 0.15,
        sigma_min: p.VeSigmaMin = 0.01,
        sigma_max: p.SdeSigmaMax = 1348.0,
        sampling_eps: p.SamplingEps = 1e-5,
        correct_steps: p.CorrectSteps = 1,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._check_ends(sigma_min, sigma_max)
        self.init_noise_sigma = sigma_max
        self._end = sampling_eps
        ends = sigma_min, sigma_max, None
        self._begin(tensor_format, self._over(num_train_timesteps, sampling_eps, *ends))

    @property
    def _layout(self) -> tuple[int, bool]:
        """Langevin steps at each level, and whether levels are read at rounded positions."""
        return self.config["correct_steps"], self.follows("sde-ve-truncated-index")

    def _over(self, n: int, end: float, low: float, high: float, steps: int | None) -> Grid:
        return grids.ve_grid(n, end, low, high, steps, *self._layout)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        times, grid = held["timesteps"], self._grid
        # Assigned times can be run at once; those of a fresh object are only shown.
        steps = grid.steps if times is grid.times else len(times) or None
        return grids.ve_along(times, held["sigmas"], held["discrete_sigmas"], steps, *self._layout)

    def _make_rule(self) -> VarianceExploding:
        return VarianceExploding(
            self.config["snr"],
            self.config["correct_steps"],
            self.follows("sde-ve-noise"),
            self.follows("sde-ve-batch-norm"),
        )

    def set_timesteps(
        self, num_inference_steps: int, sampling_eps: float | None = None, device: Any = None
    ) -> None:
        """Lay out a run, its sigmas included.

        Args:
            num_inference_steps: Number of steps N >= 1, each of ``1 + correct_steps`` calls.
            sampling_eps: The last time, in (0, 1); overrides the constructor's.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1, or ``sampling_eps`` is out of range.
        """
        n, config = check_steps(num_inference_steps, None), self.config
        end = config["sampling_eps"]
        if sampling_eps is not None:
            end = next(q for q in self.parameters() if q.name == "sampling_eps").check(
                sampling_eps
            )
        self._use(self._over(n, end, config["sigma_min"], config["sigma_max"], n), device)
        self._end = end

    def set_sigmas(
        self,
        num_inference_steps: int,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        sampling_eps: float | None = None,
    ) -> None:
        """Lay out a run between other noise levels than the constructor's.

        Args:
            num_inference_steps: Number of steps N >= 1.
            sigma_min: Smallest noise level.
            sigma_max: Largest noise level; start from noise of this standard deviation.
            sampling_eps: The last time, in (0, 1); left out, it stays as it is.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: A value is out of range, or sigma_min is not below sigma_max.
        """
        self._heed()
        n = check_steps(num_inference_steps, None)
        given = {"sigma_min": sigma_min, "sigma_max": sigma_max, "sampling_eps": sampling_eps}
        checks = {q.name: q.check for q in self.parameters()}
        now = {**self.config, "sampling_eps": self._end}
        low, high, end = (
            now[name] if value is None else checks[name](value) for name, value in given.items()
        )
        self._check_ends(low, high)
        grid, times = self._over(n, end, low, high, n), self._grid.times
        if sampling_eps is None and len(times) == n and (times != grid.times).any():
            # Assigned times stay, and their levels follow.
            grid = grids.ve_over(times, low, high, n, *self._layout)
        self._use(grid, self._device)
        self._end = end

    @staticmethod
    def _check_ends(sigma_min: float, sigma_max: float) -> None:
        if sigma_min >= sigma_max:
            raise ParameterError(
                f"sigma_min={sigma_min} must be below sigma_max={sigma_max}.",
                "sigma_min",
                "sigma_max",
            )

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps, corrections included."""
        return super().calls_of(steps) * (1 + int(self.config["correct_steps"]))

    def _locate(self, timestep: Any) -> int:
        """Position of the predictor's call."""
        i, each = self._index_of(timestep), 1 + self._rule.correct_steps
        return i * each + each - 1 if i >= 0 else i

    def _off_schedule(self, value: float) -> int:
        """Any time in [0, 1] will do; its level is counted down from -1."""
        if not 0.0 <= value <= 1.0:
            raise ParameterError(f"timestep={shown(value)} must lie in [0, 1].", "timestep")
        return -1 - int(grids.ve_places(np.array(value), len(self._grid.times)))

    def _other_call(self, i: int) -> Call:
        if i >= 0:
            return super()._other_call(i)
        at, under = grids.ve_levels(self._grid.shown["discrete_sigmas"], np.array([-1 - i]))
        here, below = float(at[0]), float(under[0])
        return Call(-1.0, ve_level(-1.0, here), ve_level(-1.0, below), 0, self._rule.correct_steps)

    def get_adjacent_sigma(self, timesteps: Array, t: Array) -> Array:
        """The noise level below each entry of ``discrete_sigmas``; 0 below the lowest.

        Args:
            timesteps: Indices into ``discrete_sigmas``, shape (batch,).
            t: The times they belong to; they are not needed.

        Returns:
            float32, shape (batch,).

        Raises:
            ValueError: An index out of range.
        """
        del t
        self._heed()
        levels = self._grid.shown["discrete_sigmas"]
        indices = check_training_steps(check_numbers("timesteps", timesteps), len(levels))
        found = np.append(np.float32(0.0), levels)[indices]
        if not hasattr(timesteps, "data_ptr"):
            return found
        return torch_backend().tensor(found, timesteps.device)

    def step_pred(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Predict: a step of the reverse SDE to the next lower level.

        Args:
            model_output: The score ``(x0 - x) / sigma^2``, shape of the sample.
            timestep: The current entry of ``timesteps``; other times in [0, 1] work too.
            sample: ``x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, prev_sample_mean)``.

        Returns:
            ``prev_sample``, ``prev_sample_mean`` (without the noise: take it at the end of a run)
            and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or a time out of range.
        """
        timestep = self._single("timestep", timestep)
        result = self._predict(model_output, timestep, sample, generator)
        return result if return_dict else tuple(result)

    def step_correct(
        self,
        model_output: Array,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
        timestep: Any = None,
    ) -> Any:
        """Correct: a Langevin step that holds the level, as long as the norms ask for.

        The norms are the mean over the batch, as upstream, or of each sample under
        ``compat="paper"``. A score of zero moves nothing.

        Args:
            model_output: The score ``(x0 - x) / sigma^2``, shape of the sample.
            sample: ``x0 + sigma eps``, any shape; the first axis is the batch.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.
            timestep: The current entry of ``timesteps``; by default the one after that of the last
                ``step_pred``. Only ``pred_original_sample`` depends on it.

        Returns:
            ``prev_sample``, ``prev_sample_mean`` (without the noise), ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        for _, view, seen in self._exports.watched:
            if view.tobytes() != seen:
                self._heed()
                break
        backend, wide, dtype = self._door(model_output, sample, "sample")
        if timestep is None:
            i = min(self._step_index or 0, len(self._grid) - 1)
        else:
            i = self._locate(self._single("timestep", timestep))
        kernel = self._sde_kernel(i, backend, dtype)
        noise = backend.randn(sample, backend.float32, generator)
        x, score, noise = widened(backend, dtype, sample, model_output, noise)
        ratio = backend.langevin_ratio(score, noise, not self._rule.batch_norms)
        snr = self._rule.snr
        # e = 2 (snr ratio)^2, whose sqrt(2 e) is 2 snr ratio.
        x0 = backend.total(kernel.x0, (x, score))
        mean = backend.add_product(x, ratio * ratio, score, 2.0 * snr * snr)
        prev = backend.add_product(mean, ratio, noise, 2.0 * snr)
        if wide is not dtype:
            prev, mean, x0 = (backend.cast(array, wide) for array in (prev, mean, x0))
        result = SdeOutput(prev, mean, x0)
        return result if return_dict else (prev, x0)

    def add_noise(self, original_samples: Array, noise: Array, timesteps: Array) -> Array:
        """Diffuse: ``x0 + sigma eps`` with sigma an entry of ``discrete_sigmas``.

        Args:
            original_samples: Clean samples, shape (batch, ...).
            noise: Unit noise of the same shape; None draws it.
            timesteps: Indices into ``discrete_sigmas``, one for each sample or one for all.

        Returns:
            Noisy samples, same shape and dtype.

        Raises:
            ValueError: Shapes that do not match, or an index out of range.
        """
        if noise is None:
            backend = backend_of(original_samples, "original_samples")
            noise = backend.randn(original_samples, original_samples.dtype, None)
        return super().add_noise(original_samples, noise, timesteps)

    def _levels_at(self, times: np.ndarray) -> Levels:
        levels = self._grid.shown["discrete_sigmas"].astype(np.float64)
        sigma = levels[check_training_steps(times, len(levels))]
        return np.ones_like(sigma), sigma

    def predict_x0(self, model_output: Array, timestep: Any, sample: Array) -> Array:
        """The clean sample ``x + sigma^2 score``.

        Args:
            model_output: The score, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample.
        """
        return super().predict_x0(model_output, self._single("timestep", timestep), sample)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """The process is continuous, and snr is the corrector's."""
        reasons = {"num_train_timesteps": "the process is continuous: any number of steps fits."}
        if not values.get("correct_steps"):
            reasons["snr"] = "correct_steps is 0: nothing is corrected."
        return reasons
