"""Linear multistep: Adams-Bashforth on the uneven grid of sigmas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backend.arrays import Array
from ..backend.checks import check_times, check_whole
from ..core.rule import StepArguments
from ..facts import papers
from ..families.sigma import SigmaScheduler
from ..interface import params as p
from ..interface.config import configured
from ..rules.adams import DEFAULT_ORDER, MAX_ORDER, LinearMultistep, lagrange_weights


class LMSDiscreteScheduler(SigmaScheduler):
    r"""Linear multistep method: the slope's past is interpolated and integrated exactly.

        x_next = x + sum_j eps[-j] int_sigma^sigma_next L_j(r) dr,   j = 0 .. order - 1

    with the Lagrange polynomials ``L_j`` on the sigmas of the last ``order`` calls: 1 at call j, 0
    at the others. The first steps have fewer calls to look back on, and take lower orders.

    Upstream takes the order from the position in the schedule, but the slopes from those at hand:
    a run started midway misses the first few. ``compat="paper"`` takes both from what is at hand.

    References:
        Crowson. k-diffusion, sample_lms; Liu et al. 2022, arXiv 2202.09778 for the pseudo linear
        multistep view; Butcher, Numerical Methods for Ordinary Differential Equations, ch. 4.
    """

    title = "LMS"
    family = "Sigma (k-diffusion)"
    good_for = "Higher order from old slopes at one call a step; wants 25 steps and more."
    reference = papers.PNDM.at("Linear multistep; k-diffusion sample_lms.")
    _reads_foreign = frozenset({"sigma_min", "sigma_max"})
    _karras_takes_ends = False
    _shows_run = True

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        prediction_type: p.PredictionType = "epsilon",
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        timestep_values: p.TimestepValues = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin_sigma(tensor_format)

    def _make_rule(self) -> LinearMultistep:
        return LinearMultistep(self.prediction_type, self.follows("lms-midway"))

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run of N steps, 1..num_train_timesteps, or one over custom times or levels.

        Args:
            num_inference_steps: Number of steps N; with the constructor's ``timestep_values``
                their number or None.
            device: Where ``timesteps`` go (torch only).
            timesteps: Custom times, strictly descending, in [0, num_train_timesteps).
            sigmas: Custom noise levels, strictly descending, the final one (usually 0) included;
                taken as they are, whatever curve the config names.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, times beside a sigma
                curve, or the noise schedule is undefined on the grid.
        """
        if timesteps is None and sigmas is None:
            values = self._values_of_constructor(num_inference_steps)
            if values is not None:
                times = check_times(values, self._train_steps, True, "timestep_values")
                num_inference_steps, timesteps = None, times.tolist()
        super().set_timesteps(num_inference_steps, device, timesteps, sigmas)

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        """Weight of one past slope.

        Args:
            order: Number of slopes.
            t: Position in ``sigmas``.
            current_order: Which slope, 0 for the newest.

        Returns:
            The integral of its Lagrange polynomial over the step.

        Raises:
            TypeError: One of them is not an integer.
            ValueError: One of them is out of range.
        """
        self._heed()
        sigmas = self._grid.sigmas.tolist()
        t = check_whole("t", t, 0, len(sigmas) - 2)
        order = check_whole("order", order, 1, t + 1, " (the levels up to t)")
        current_order = check_whole("current_order", current_order, 0, order - 1)
        nodes = [sigmas[t - k] for k in range(order)]
        return lagrange_weights(nodes, sigmas[t], sigmas[t + 1])[current_order]

    def _step_arguments(self, settings: Mapping[str, Any]) -> StepArguments:
        return (settings.get("order", DEFAULT_ORDER),)

    def _reach(self, arguments: StepArguments) -> int:
        return int(arguments[0])

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        order: p.LmsOrder = DEFAULT_ORDER,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            order: How many slopes to combine, 1 (Euler) to 10; 4 is the usual choice.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or order out of range.
        """
        if type(order) is not int or order != DEFAULT_ORDER:
            order = self._check_step("order", order)
        if len(self._memory) >= order:
            self._memory = self._memory[: order - 1]
        self._warn_unscaled()
        return self._advance(model_output, timestep, sample, (order,), return_dict=return_dict)


__all__ = ["MAX_ORDER", "LMSDiscreteScheduler"]
