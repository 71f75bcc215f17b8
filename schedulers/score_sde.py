"""Score SDEs: reverse-time samplers of Song et al., with their own call forms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import papers, spacing
from . import params as p
from .arrays import Array, Generator, backend_of, torch_backend
from .checks import check_numbers, check_steps, check_training_steps, shown
from .config import configured
from .levels import Level, Stage, ve_level
from .output import SdeOutput
from .plan import NOISE, StepKey
from .prediction import Reading
from .rules.exponential import posterior_row, posterior_std
from .scheduler import Scheduler
from .tables import linspace32
from .weights import Weights


class ScoreSdeScheduler(Scheduler):
    """A predictor whose result is a mean and fresh noise, kept apart."""

    _stateless = True

    def _single(self, name: str, value: Any) -> Any:
        """One time out of a batch of equal ones."""
        if getattr(value, "ndim", None) == 0:
            return value
        times = check_numbers(name, value)
        if (times != times[0]).any():
            raise ValueError(f"{name} holds several times; all samples of a batch must share one.")
        return float(times[0])

    def _predict(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator,
        names: tuple[str, str] = ("model_output", "sample"),
    ) -> SdeOutput:
        """One reverse step."""
        self._require_timesteps("step_pred")
        backend = backend_of(sample, names[1])
        wide = self._check_pair(model_output, sample, backend, names)
        dtype = backend.compute_dtype(wide)
        i, plan = self._current_plan(timestep, ())
        x0 = backend.weigh(plan.x0, (sample, model_output), dtype)
        # The noise, last by its place, is told from the mean.
        mean = backend.weigh(
            [term for term in plan.prev if term[1] != NOISE], (sample, model_output, x0), dtype
        )
        fresh = [
            (w, backend.randn(sample, wide, generator)) for w, kind in plan.prev if kind == NOISE
        ]
        prev = backend.combine([(1.0, mean), *fresh], sample, dtype)
        if i >= 0:
            self._step_index = i + 1
        return SdeOutput(*(backend.cast(array, wide) for array in (prev, mean, x0)))


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
    _kept = ("_times", "_rhos", "num_inference_steps", "_alters", "_levels", "_visited")

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

    def _between(self, t: float, index: int) -> Stage:
        """The step that leads down from an entry of ``discrete_sigmas``."""
        below = self._levels[index - 1] if index else 0.0
        return Stage(t, ve_level(t, self._levels[index]), ve_level(t, below))

    def _make_stages(self) -> tuple[Stage, ...]:
        stages: list[Stage] = []
        for t, index in zip(self._times, self._visited, strict=True):
            step = self._between(t, index)
            corrected = Stage(t, step.here, step.here)
            stages += [*[corrected] * self.config["correct_steps"], step]
        return tuple(stages)

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps, corrections included."""
        return super().calls_of(steps) * (1 + int(self.config["correct_steps"]))

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        """Rows on noise predictions, ``eps = -sigma score``; of the corrector the expected one."""
        here, target = past[0].here.sigma, past[0].target.sigma
        correct_steps, snr = self.config["correct_steps"], self.config["snr"]
        if 0 <= i and i % (1 + correct_steps) < correct_steps:
            return Weights(x=(1.0,), eps=(-2.0 * snr**2 * here,), noise=2.0 * snr * here)
        lost = (here - target) * (here + target)
        std = math.sqrt(lost) * (target / here if self.compat == "paper" else 1.0)
        return Weights(x=(1.0,), eps=(-lost / here,), noise=std)

    def _reading(self, stage: Stage, key: StepKey) -> Reading:
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

    def _stage(self, i: int) -> Stage:
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


class ScoreSdeVpScheduler(ScoreSdeScheduler):
    r"""The variance-preserving SDE in continuous time, t from 1 down to ``sampling_eps``.

        x_next  = (1 + beta / (2 N)) x - beta / (N sigma) out + sqrt(beta / N) z
        beta    = beta_min + t (beta_max - beta_min)
        alpha   = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2),   sigma = sqrt(1 - alpha^2)

    A step of Euler-Maruyama in t. What the model returns, ``-sigma score``, is the noise eps.
    Upstream takes dt = 1/N whatever the distance between its times; ``compat="paper"`` samples the
    reverse transition exactly, from one level to the next and, at last, to the clean end
    (ancestral sampling).

    References:
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole 2020. Score-Based Generative Modeling
        through Stochastic Differential Equations. arXiv 2011.13456, eq. 11, 33 and appendix F.
    """

    title = "Score SDE VP"
    family = "Score SDE"
    in_diffusers = False
    good_for = (
        "The reverse SDE of a variance-preserving process; a thousand steps, fewer by the paper."
    )
    reference = papers.SCORE_SDE.at("Equations 11 and 33, appendix F.")
    _compatibles = ()
    _kept = ("_times", "_rhos", "num_inference_steps", "_alters")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 2000,
        beta_min: p.BetaMin = 0.1,
        beta_max: p.BetaMax = 20,
        sampling_eps: p.SamplingEps = 1e-3,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        if beta_min > beta_max:
            raise ValueError(f"beta_min={beta_min} must not be above beta_max={beta_max}.")
        self._start(tensor_format)
        self.sigmas = self.timesteps = self.discrete_sigmas = None

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps, at even times.

        Args:
            num_inference_steps: Number of steps N.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1, or the last time is too early for any noise.
        """
        n = check_steps(num_inference_steps, None)
        times = linspace32(1.0, self.config["sampling_eps"], n)
        alphas, sigmas = self._process(times.astype(np.float64))
        if sigmas[-1] == 0.0:
            raise ValueError(
                f"sampling_eps={self.config['sampling_eps']!r} is a time without noise: choose a "
                "larger one."
            )
        self._install(times, spacing.ended(sigmas / alphas, 0.0), n, device)

    def _process(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The alpha and sigma of times; rounded to float32 as upstream, whose sigma shows it."""
        low, high = float(self.config["beta_min"]), float(self.config["beta_max"])
        if self.compat == "paper":
            log = -0.25 * t**2 * (high - low) - 0.5 * t * low
            return np.exp(log), np.sqrt(-np.expm1(2.0 * log))
        f, t = np.float32, t.astype(np.float32)
        log = f(-0.25) * (t * t) * f(high - low) - f(0.5) * t * f(low)
        power = np.exp(2.0 * log.astype(np.float64)).astype(f).astype(np.float64)
        return np.sqrt(power), np.sqrt(1.0 - power)

    def _make_stages(self) -> tuple[Stage, ...]:
        parts = (part.tolist() for part in self._process(np.array(self._times)))
        levels = [*map(Level, self._times, *parts), Level(0.0, 1.0, 0.0)]
        return tuple(Stage(a.t, a, b) for a, b in itertools.pairwise(levels))

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        here, target = past[0].here, past[0].target
        if self.compat == "paper":
            return posterior_row(here, target, posterior_std(here, target))
        low, high = self.config["beta_min"], self.config["beta_max"]
        each = (low + here.t * (high - low)) / len(self._times)
        return Weights(x=(1.0 + 0.5 * each,), eps=(-each / here.sigma,), noise=math.sqrt(each))

    def _off_schedule(self, value: float) -> int:
        raise ValueError(
            f"timestep={shown(value)} (t) is not one of scheduler.timesteps: loop over them."
        )

    def step_pred(self, score: Array, x: Array, t: Any, generator: Generator = None) -> SdeOutput:
        """Predict: a step of the reverse SDE.

        Args:
            score: What the model returned, the noise ``-sigma score``; shape of the sample.
            x: The noisy sample ``alpha x0 + sigma eps``, any shape.
            t: The current entry of ``timesteps``, or a batch of it.
            generator: Source of noise, or a list with one for each sample.

        Returns:
            ``prev_sample``, ``prev_sample_mean`` (without the noise: take it at the end of a run)
            and ``pred_original_sample``; ``x, x_mean = out`` unpacks it too.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or another time.
        """
        return self._predict(score, self._single("t", t), x, generator, ("score", "x"))

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """``step_pred`` in the form of the other classes.

        Args:
            model_output: What the model returned, the noise; shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample``, ``prev_sample_mean`` and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or another time.
        """
        result = self._predict(model_output, timestep, sample, generator)
        return result if return_dict else (result.prev_sample, result.pred_original_sample)

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Levels of any times in [0, 1]."""
        if times.min() < 0.0 or times.max() > 1.0:
            raise ValueError(f"timesteps={times.tolist()!r} must lie in [0, 1].")
        return self._process(times)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """The process is continuous."""
        del values
        return {"num_train_timesteps": "the process is continuous: any number of steps fits."}
