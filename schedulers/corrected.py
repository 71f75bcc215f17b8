"""Predictor-corrector pairs: the sample is corrected as soon as its own prediction is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from .core.coefficients import Coefficients
from .core.level import Call
from .open_grid import OpenGridScheduler, apart
from .plan import StepKey
from .rules.exponential import (
    Linear,
    adams_weights,
    fractions,
    linear_part,
    log_rho_row,
    predicting,
)


class CorrectedScheduler(OpenGridScheduler):
    r"""A predictor, and a corrector that costs no further model call.

    The predictor leads to a sample that the model is shown; with the prediction D_i made of it the
    same step is taken once more, and the next step starts from its result:

        x_i = c xc_(i-1) + sum_j v_j D_(i-j),  j >= 1          predictor
        xc_i = c xc_(i-1) + sum_j w_j D_(i-j),  j >= 0         corrector

    Both share c and the noise, so that ``xc_i = x_i + sum_j (w_j - v_j) D_(i-j)``: a row again, on
    what the model was shown. ``row`` holds it multiplied out, ``corrector_row`` by itself.

    A sample that the caller changed between the steps keeps the change under ``compat="paper"``;
    upstream's corrector forgets it, as it starts from its own last sample.
    """

    #: Whether the data or the noise prediction is interpolated.
    _on_data: bool = True

    def _tau(self, t: float) -> float:
        """Stochasticity of the step from time t."""
        del t
        return 0.0

    def _corrects(self, i: int) -> bool:
        """Whether the sample of call ``i`` is corrected."""
        del i
        return True

    def _corrector_order(self, i: int, seen: int) -> int:
        """How many predictions the correction at call ``i`` combines, its own included."""
        return self._order(i - 1, seen - 1) + 1

    def _half_of(self, lin: Linear) -> float | None:
        """What upstream takes half of for the integral over a slope; None for the integral."""
        raise AttributeError("a predictor-corrector class must say how it weighs a slope")

    def _weigh(self, nodes: Sequence[float], lin: Linear) -> list[float]:
        """Weights of predictions at two nodes and more, the first of which is 0; or at one."""
        half = self._half_of(lin) if len(nodes) == 2 and self.compat == "diffusers" else None
        if half is None:
            return adams_weights(nodes, lin)
        slope = 0.5 * half / nodes[1]
        return [lin.total - slope, slope]

    def _predictor(self, i: int, past: Sequence[Call]) -> Coefficients:
        """The step of call ``i`` from a corrected sample."""
        here, target = self._distinct(i, past), past[0].target
        now = here[0]
        if target.lam == now.lam:
            return Coefficients(x=(1.0,))
        if target.sigma == 0.0 and not self._on_data:
            return log_rho_row([now], target)
        lin = linear_part(now, target, self._on_data, self._tau(past[0].t))
        nodes = fractions([level.lam for level in here], now.lam, target.lam - now.lam)
        return predicting(self._on_data, lin.c, self._weigh(nodes, lin), lin.noise)

    def _corrector(self, i: int, past: Sequence[Call]) -> Sequence[float]:
        """Weights of the corrected step to call ``i`` on D_i, D_(i-1), ...; empty for none."""
        new, base = past[0].here, past[1].here
        if not self._corrects(i) or new.lam == base.lam:
            return ()
        lin = linear_part(base, new, self._on_data, self._tau(past[1].t))
        here = apart(past[1 : self._corrector_order(i, len(past))])
        nodes = fractions([level.lam for level in here], base.lam, new.lam - base.lam)
        if not nodes:
            return self._weigh([1.0], lin)
        first, second, *others = self._weigh([nodes[0], 1.0, *nodes[1:]], lin)
        return second, first, *others

    def _correction(self, i: int, past: Sequence[Call]) -> tuple[float, ...]:
        """What the correction adds to the sample, on D_i, D_(i-1), ...; empty for nothing."""
        again = self._corrector(i, past) if len(past) > 1 else ()
        if not again:
            return ()
        first = self._predictor(i - 1, past[1:])
        pairs = zip_longest(again, (0.0, *first.x0, *first.eps), fillvalue=0.0)
        return tuple(w - v for w, v in pairs)

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        row = self._predictor(i, past)
        (c,) = row.x
        pairs = zip_longest(self._correction(i, past), (*row.x0, *row.eps), fillvalue=0.0)
        return predicting(self._on_data, c, [c * d + v for d, v in pairs], row.noise)

    def corrector_row(self, i: int) -> Coefficients:
        """What the corrector makes of the sample of call ``i`` before the step is taken.

        Args:
            i: Position, 0 to ``len(stages) - 1``.

        Returns:
            A row of weight 1 on the sample, with weights that sum to 0 on the predictions;
            without any where nothing is corrected.

        Raises:
            ValueError: Before ``set_timesteps``, or i out of range.
        """
        i = self._checked_position(i)
        past = self._past(i, None)
        return predicting(self._on_data, 1.0, self._correction(i, past))

    def _goes_on_by_itself(self, i: int, past: Sequence[Call]) -> bool:
        return self.compat == "diffusers" and bool(self._correction(i, past))
