"""The variance-preserving score SDE, in continuous time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator
from ..backend.checks import check_steps, shown
from ..backend.errors import ParameterError
from ..backend.output import SdeOutput
from ..core.exports import PublicArray
from ..core.grid import Grid
from ..core.level import Call, Level
from ..core.scheduler import Levels
from ..facts import papers
from ..families.own_loop import NOWHERE
from ..families.score_sde import ScoreSdeScheduler
from ..grids import score_sde as grids
from ..interface import params as p
from ..interface.config import configured
from ..process.sde import VpProcess
from ..rules.score_sde import VariancePreserving


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

    sigmas = PublicArray("sigma / alpha of each level of the run, the final one included.", None)
    discrete_sigmas = PublicArray("None, as upstream.", None)
    _rule: VariancePreserving

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
            raise ParameterError(
                f"beta_min={beta_min} must not be above beta_max={beta_max}.",
                "beta_min",
                "beta_max",
            )
        self._begin(tensor_format, NOWHERE)

    def _make_rule(self) -> VariancePreserving:
        low, high = float(self.config["beta_min"]), float(self.config["beta_max"])
        process = VpProcess(low, high, self.follows("sde-vp-cancellation"))
        return VariancePreserving(process, self.follows("sde-vp-euler"))

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.vp_along(held["timesteps"], self._rule.process)

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
        end = float(self.config["sampling_eps"])
        self._use(grids.vp_grid(end, n, self._rule.process), device)

    def _off_schedule(self, value: float) -> int:
        """A step of Euler-Maruyama follows from any time; an exact one leads to the next."""
        if not self._rule.euler or not 0.0 < value <= 1.0 or not self._level(value).sigma:
            raise ParameterError(
                f"timestep={shown(value)} (t) is not one of scheduler.timesteps: loop over them.",
                "timestep",
                "t",
            )
        # By its bits, counted down from -1.
        return -1 - int(np.float32(value).view(np.int32))

    def _level(self, t: float) -> Level:
        """The level at any time."""
        alpha, sigma = self._rule.process.levels(np.array([t]))
        return Level(t, float(alpha[0]), float(sigma[0]))

    def _other_call(self, i: int) -> Call:
        if i >= 0:
            return super()._other_call(i)
        here = self._level(float(np.int32(-1 - i).view(np.float32)))
        return Call(here.t, here, here)

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
            ValueError: Before ``set_timesteps``, shapes that do not match, or a time that is
                none of ``timesteps`` under ``compat="paper"``, else outside (0, 1].
        """
        return self._predict(score, self._single("t", t), x, generator, ("x", "score"))

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
            ValueError: Before ``set_timesteps``, shapes that do not match, or a time that is
                none of ``timesteps`` under ``compat="paper"``, else outside (0, 1].
        """
        result = self._predict(model_output, timestep, sample, generator)
        return result if return_dict else (result.prev_sample, result.pred_original_sample)

    def _levels_at(self, times: np.ndarray) -> Levels:
        """Levels of any times in [0, 1]."""
        if times.min() < 0.0 or times.max() > 1.0:
            raise ParameterError(f"timesteps={times.tolist()!r} must lie in [0, 1].", "timesteps")
        return self._rule.process.levels(times)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """The process is continuous."""
        del values
        return {"num_train_timesteps": "the process is continuous: any number of steps fits."}
