"""DDIM upward: from an image to the noise that DDIM would make it of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import Array
from ..backend.checks import check_steps
from ..core.exports import PublicArray
from ..core.grid import Request
from ..facts import papers
from ..families.vp import CountedVpScheduler
from ..grids import vp as grids
from ..grids.vp import VpDialect, VpGrid
from ..interface import params as p
from ..interface.config import configured
from ..rules.vp import DdimUp


class DDIMInverseScheduler(CountedVpScheduler):
    r"""DDIM, each step taken backwards: ``timesteps`` ascend, and a run ends on noise.

        x_next = alpha_next x0 + sigma_next eps,   sigma_next above sigma

    A run starts from a clean image. Upstream tells the model the time that the step leads to, T //
    N above the one where the sample stands, because DDIM's step down uses the noise predicted
    there. ``compat="paper"`` integrates the same path from the cleanest trained level, and tells
    the model the time where the sample stands.

    References:
        Song, Meng, Ermon 2020. Denoising Diffusion Implicit Models. arXiv 2010.02502, sec. 4.3,
        eq. 14. Mokady, Hertz, Aberman, Pritch, Cohen-Or 2022. Null-text Inversion for Editing Real
        Images using Guided Diffusion Models. arXiv 2211.09794. Wallace, Gokul, Naik 2022. EDICT:
        Exact Diffusion Inversion via Coupled Transformations. arXiv 2211.12446 for its limits.
    """

    title = "DDIM inverse"
    family = "Variance preserving"
    good_for = "Finding the noise behind an image, to edit the image with it."
    reference = papers.DDIM.at(
        "Section 4.3; as inversion in Null-text Inversion, arXiv 2211.09794."
    )
    ascends = True
    _end_name = "initial_alpha_cumprod"
    _compatibles = ()
    _aliases: ClassVar[Mapping[str, str]] = {"set_alpha_to_zero": "set_alpha_to_one"}

    initial_alpha_cumprod = PublicArray("Signal power where the first step starts.", "_heed_end")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        clip_sample: p.ClipSample = True,
        set_alpha_to_one: p.SetAlphaToOneInverse = True,
        steps_offset: p.StepsOffset = 0,
        prediction_type: p.PredictionType = "epsilon",
        clip_sample_range: p.ClipSampleRange = 1.0,
        timestep_spacing: p.TimestepSpacing = "leading",
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_vp(tensor_format, set_alpha_to_one)

    def _make_rule(self) -> DdimUp:
        return DdimUp(self.prediction_type)

    def _dialect(self, custom: bool = False) -> VpDialect:
        late = self.follows("inverse-stride")
        return (
            super()
            ._dialect(custom)
            ._replace(clean=True, kind=grids.RisingGrid, layout=grids.upwards, late=late)
        )

    def set_timesteps(  # type: ignore[override]
        self, num_inference_steps: int, device: Any = None
    ) -> None:
        """Lay out a run upwards.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is out of range, or the noise schedule is undefined on the grid.
        """
        self._heed()
        self._lay_out(Request(check_steps(num_inference_steps, self._train_steps)), device)

    def _relaid(self, times: np.ndarray, steps: int | None, dialect: VpDialect) -> VpGrid:
        return grids.rising_again(self._table, dialect, times, steps, self._grid)

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one step up.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The sample, at first a clean one; any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (the noisier one: the next of the run) and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or a timestep that is
                not in the schedule.
        """
        self._follow(timestep)
        return self._advance(model_output, timestep, sample, return_dict=return_dict)
