"""The variance-exploding score SDE: a predictor, and Langevin steps before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .backend.arrays import Array, Generator, backend_of, torch_backend
from .backend.checks import check_numbers, check_steps, check_training_steps, shown
from .backend.output import SdeOutput
from .core.coefficients import Coefficients
from .core.level import Call, ve_level
from .core.prediction import Reading
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .process.tables import linspace32
from .score_sde import ScoreSdeScheduler


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
    _kept = ("_times", "_rhos", "num_inference_steps", "_levels", "_visited")

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
        self._start(tensor_format)
        self._check_ends(sigma_min, sigma_max)
        self.init_noise_sigma = sigma_max
        self._lay_out(num_train_timesteps, sigma_min, sigma_max, sampling_eps, None)

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
        end = self.config["sampling_eps"] if sampling_eps is None else sampling_eps
        self.set_sigmas(num_inference_steps, sampling_eps=end)
        self._publish("timesteps", self._published["timesteps"][0], device)

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
        n = check_steps(num_inference_steps, None)
        given = {"sigma_min": sigma_min, "sigma_max": sigma_max, "sampling_eps": sampling_eps}
        checks = {q.name: q.check for q in self.parameters()}
        now = {**self.config, "sampling_eps": self._end}
        low, high, end = (
            now[name] if value is None else checks[name](value) for name, value in given.items()
        )
        self._check_ends(low, high)
        self._lay_out(n, low, high, end, n)

    @staticmethod
    def _check_ends(sigma_min: float, sigma_max: float) -> None:
        if sigma_min >= sigma_max:
            raise ValueError(f"sigma_min={sigma_min} must be below sigma_max={sigma_max}.")

    def _lay_out(self, n: int, low: float, high: float, end: float, steps: int | None) -> None:
        """Times from 1 to the end; sigma = sigma_min (sigma_max / sigma_min)^t."""
        self._end = end
        times = linspace32(1.0, end, n)
        sigmas = (low * (high / low) ** times.astype(np.float64)).astype(np.float32)
        if self.compat == "paper":
            levels, visited = sigmas[::-1].copy(), np.arange(n)[::-1]
        else:
            logs = linspace32(math.log(low), math.log(high), n)
            levels = np.exp(logs.astype(np.float64)).astype(np.float32)
            visited = (times * np.float32(n - 1)).astype(np.int64)
        self._install(times, sigmas, steps)
        self._publish("discrete_sigmas", levels)
        self._levels: tuple[float, ...] = tuple(levels.tolist())
        self._visited: tuple[int, ...] = tuple(visited.tolist())

    def _between(self, t: float, index: int) -> Call:
        """The step that leads down from an entry of ``discrete_sigmas``."""
        below = self._levels[index - 1] if index else 0.0
        return Call(t, ve_level(t, self._levels[index]), ve_level(t, below))

    def _make_stages(self) -> tuple[Call, ...]:
        stages: list[Call] = []
        for t, index in zip(self._times, self._visited, strict=True):
            step = self._between(t, index)
            corrected = Call(t, step.here, step.here)
            stages += [*[corrected] * self.config["correct_steps"], step]
        return tuple(stages)

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps, corrections included."""
        return super().calls_of(steps) * (1 + int(self.config["correct_steps"]))

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        """Rows on noise predictions, ``eps = -sigma score``; of the corrector the expected one."""
        here, target = past[0].here.sigma, past[0].target.sigma
        correct_steps, snr = self.config["correct_steps"], self.config["snr"]
        if 0 <= i and i % (1 + correct_steps) < correct_steps:
            return Coefficients(x=(1.0,), eps=(-2.0 * snr**2 * here,), noise=2.0 * snr * here)
        lost = (here - target) * (here + target)
        std = math.sqrt(lost) * (target / here if self.compat == "paper" else 1.0)
        return Coefficients(x=(1.0,), eps=(-lost / here,), noise=std)

    def _reading(self, stage: Call, key: StepKey) -> Reading:
        return Reading(1.0, stage.here.sigma**2, 0.0, -stage.here.sigma)

    def _locate(self, timestep: Any) -> int:
        """Position of the predictor's call."""
        i = self.index_for_timestep(timestep)
        each = 1 + int(self.config["correct_steps"])
        return i * each + each - 1 if i >= 0 else i

    def _off_schedule(self, value: float) -> int:
        """Any time in [0, 1] will do; its level is counted down from -1."""
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"timestep={shown(value)} must lie in [0, 1].")
        return -1 - int(np.float32(value) * np.float32(len(self._levels) - 1))

    def _stage(self, i: int) -> Call:
        return super()._stage(i) if i >= 0 else self._between(-1.0, -1 - i)

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
        indices = check_training_steps(check_numbers("timesteps", timesteps), len(self._levels))
        found = np.array([0.0, *self._levels], dtype=np.float32)[indices]
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
        self._require_timesteps("step_correct")
        backend = backend_of(sample, "sample")
        wide = self._check_pair(model_output, sample, backend)
        dtype = backend.compute_dtype(wide)
        if timestep is None:
            i = min(self._step_index or 0, len(self.stages) - 1)
        else:
            i = self._locate(self._single("timestep", timestep))
        sigma = self._stage(i).here.sigma
        score, x = backend.cast(model_output, dtype), backend.cast(sample, dtype)
        noise = backend.randn(sample, backend.float32, generator)
        each = self.compat == "paper"
        noise = backend.cast(noise, dtype)
        ratio, snr = backend.langevin_ratio(score, noise, each), self.config["snr"]
        # e = 2 (snr ratio)^2, whose sqrt(2 e) is 2 snr ratio.
        x0 = backend.weigh(((1.0, 0), (sigma**2, 1)), (x, score), dtype)
        mean = backend.add_product(x, ratio * ratio, score, 2.0 * snr * snr)
        prev = backend.add_product(mean, ratio, noise, 2.0 * snr)
        result = SdeOutput(*(backend.cast(array, wide) for array in (prev, mean, x0)))
        return result if return_dict else (result.prev_sample, result.pred_original_sample)

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

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sigma = np.array(self._levels)[check_training_steps(times, len(self._levels))]
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
