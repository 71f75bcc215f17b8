"""What a schedule does, in words and numbers, computed from the schedule and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sampling import Schedule
from sampling.runner import STEPS_TO_IMAGE
from schedulers import SCHEDULERS
from schedulers.core.coefficients import Coefficients, contributions
from schedulers.core.level import Call, Level
from schedulers.facts.quirks import quirks_of
from visualize.encode import number, numbers

__all__ = [
    "CallWeights",
    "Chip",
    "Term",
    "call_weights",
    "chips",
    "columns",
    "equation",
    "equations",
    "sentence",
    "terms",
]

CHURN_CAP = math.sqrt(2.0) - 1.0
MOST_GROWTH = 4.0
"""Growth of errors from which on the emoji show specks."""
VISIBLE = 0.02
"""Noise that an eye may find in an image of range -1 to 1: two to three grey levels of 255."""


# --- columns ----------------------------------------------------------------------------------


MOST_TOLD = 4000
"""Most model calls that are told one by one."""


def told_calls(plan: Schedule) -> Sequence[int]:
    """The calls of a run that are told: all, or of a very long one some, with both ends.

    Those of every so many steps, so that what a call is within its step is told in true shares;
    where steps have too many calls for that, evenly spread calls.
    """
    nfe = plan.nfe
    if nfe <= MOST_TOLD:
        return range(nfe)
    stride = nfe // MOST_TOLD + 1
    told = [i for i, call in enumerate(plan.stages[:-1]) if call.step % stride == 0] + [nfe - 1]
    if len(told) <= MOST_TOLD:
        return told
    return [round(k * (nfe - 1) / (MOST_TOLD - 1)) for k in range(MOST_TOLD)]


def columns(plan: Schedule) -> dict[str, list[Any]]:
    """One entry per model call (of `told_calls`) for every quantity that fits on an axis.

    ``rho`` is sigma / alpha, ``snr`` is 1 / rho^2, ``logsnr`` its natural logarithm,
    ``dlogrho`` the distance |log rho - log rho_next| that the call bridges (None when the
    target is clean), ``beta`` the training beta at t (None for classes without a training
    table). What is infinite is None.
    """
    told = told_calls(plan)
    stages = [plan.stages[i] for i in told]
    here = [stage.here for stage in stages]
    target = [stage.target for stage in stages]
    rejected = plan.scheduler.rejected
    return {
        "t": numbers(stage.t for stage in stages),
        "rho": numbers(level.rho for level in here),
        "rho_next": numbers(level.rho for level in target),
        "alpha": numbers(level.alpha for level in here),
        "sigma": numbers(level.sigma for level in here),
        "alpha_next": numbers(level.alpha for level in target),
        "sigma_next": numbers(level.sigma for level in target),
        "alphas_cumprod": numbers(1.0 / (1.0 + level.rho**2) for level in here),
        "beta": _betas(plan, stages),
        "snr": numbers(_snr(level) for level in here),
        "logsnr": numbers(2.0 * level.lam for level in here),
        "dlogrho": numbers(_distance(stage.here, stage.target) for stage in stages),
        "order": [plan.orders[i] for i in told],
        "accepted": [i not in rejected for i in told],
    }


def _betas(plan: Schedule, stages: Sequence[Call]) -> list[float | None]:
    table = plan.scheduler.training
    if table is None:
        return [None] * len(stages)
    last = len(table.betas) - 1
    return numbers(float(table.betas[min(max(round(s.t), 0), last)]) for s in stages)


def _snr(level: Level) -> float:
    return math.inf if level.sigma == 0.0 else (level.alpha / level.sigma) ** 2


def _distance(here: Level, target: Level) -> float:
    return abs(here.lam - target.lam)


# --- the update as an equation ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """One product of an update: ``w`` times a symbol, seen ``lag`` model calls ago.

    Symbols are ``"x"`` (the sample shown to the model), ``"x0"``, ``"eps"`` and ``"noise"``.
    """

    w: float
    symbol: str
    lag: int = 0


GLYPHS = {"x": "x", "x0": "x̂₀", "eps": "ε̂", "noise": "z"}


def terms(row: Coefficients) -> tuple[Term, ...]:
    """The products of a row whose weight is not rounding; together they are the update."""
    listed = [
        Term(w, symbol, lag)
        for symbol, weights in (
            ("x", row.x), ("x0", row.x0), ("eps", row.eps), ("noise", (row.noise,))
        )
        for lag, w in enumerate(weights)
    ]  # fmt: skip
    least = 1e-12 * max((abs(term.w) for term in listed), default=0.0)
    return tuple(term for term in listed if abs(term.w) > least)


def factor(term: Term) -> str:
    """The size of a weight as one writes it in front of a symbol: nothing for 1."""
    size = short(abs(term.w))
    return "" if size == "1" else size


def equation(row: Coefficients) -> str:
    """The update with its numbers, as ``x ← 0.561 x + 0.611 x̂₀ − 0.172 x̂₀[−1]``."""
    written = ""
    for term in terms(row):
        glyph = GLYPHS[term.symbol] + (f"[−{term.lag}]" if term.lag else "")
        sign = "−" if term.w < 0 else "+"
        written += f" {sign} {factor(term)} {glyph}".replace("  ", " ")
    if not written:
        return "x ← 0"
    return "x ←" + (written.removeprefix(" +"))


def equations(plan: Schedule) -> list[dict[str, Any]]:
    """Per model call (of `told_calls`): the equation, its terms, its weight and a sentence."""
    weights = call_weights(plan)
    return [
        {
            "text": equation(plan.rows[i]),
            "terms": [
                {
                    "w": number(term.w, 6),
                    "size": factor(term),
                    "symbol": term.symbol,
                    "lag": term.lag,
                }
                for term in terms(plan.rows[i])
            ],
            "call_weight": None if plan.upward else number(weights.calls[i], 6),
            "weight_text": None if plan.upward else _percent(weights.calls[i]),
            "sentence": _sentence(plan, i, weights),
        }
        for i in told_calls(plan)
    ]


@dataclass(frozen=True)
class CallWeights:
    """What every call weighs where it can be seen.

    Attributes:
        calls: One weight a call.
        shown: Whether the final sample is the last call's data prediction and nothing else, as
            after most runs that end clean. Its weights would be 0, 0, ..., 1; ``calls`` then
            holds the weights in the sample that the last call is shown, as shares of its
            signal, and 1 for the last call.
    """

    calls: tuple[float, ...]
    shown: bool

    @cached_property
    def visible(self) -> tuple[float, ...]:
        """Those of the calls that have a part in what is looked at."""
        return self.calls[:-1] if self.shown else self.calls

    @cached_property
    def total(self) -> float:
        """What they make together."""
        return sum(self.visible)

    @cached_property
    def most(self) -> float:
        """The largest."""
        return max(self.visible)


def call_weights(plan: Schedule) -> CallWeights:
    """The weight of every call in the final sample, or in what decides it."""
    *early, last = plan.contributions.calls
    if not early or abs(last - 1.0) > 1e-6 or any(abs(weight) > 1e-6 for weight in early):
        return CallWeights(plan.contributions.calls, shown=False)
    before = contributions(plan.rows[:-1], plan.stages[:-1])
    signal = plan.stages[-1].here.alpha
    return CallWeights((*(weight / signal for weight in before.calls), 1.0), shown=True)


def sentence(plan: Schedule, i: int) -> str:
    """What call ``i`` does and what it weighs, from its level, order, row and contribution."""
    return _sentence(plan, i, call_weights(plan))


def _sentence(plan: Schedule, i: int, weights: CallWeights) -> str:
    stage, row = plan.stages[i], plan.rows[i]
    share = stage.here.sigma**2 / (stage.here.alpha**2 + stage.here.sigma**2)
    return (
        f"{_band(share)} (noise is {_percent(share)} of its variance): "
        f"{_move(plan, i)}{_noise(row)}."
        + ("" if plan.upward else f" {_weight(plan, weights, i)}")
    )


def _band(share: float) -> str:
    bands = ((0.99, "The sample is almost pure noise"), (0.5, "The sample is mostly noise"))
    for least, words in bands:
        if share >= least:
            return words
    return "Some noise is left" if share >= 0.01 else "The sample is almost clean"


def _move(plan: Schedule, i: int) -> str:
    stage, row = plan.stages[i], plan.rows[i]
    start, end = _place(stage.here), _place(stage.target)
    if _stirs(plan, i):
        return f"a corrector (Langevin) step that stays at {start}"
    if _still(plan, i):
        return f"a step from {start} to the same level, which changes nothing"
    if i in plan.scheduler.rejected:
        if stage.target == _rejected_start(plan, i):
            return (
                f"the last call at {start} of a rejected step: its error is too large, so it "
                f"is tried again, shorter, from {end}"
            )
        return f"a call at {start} of a step that will be rejected"
    trial = _is_trial(plan, i)
    look = _look(plan, i)
    if look > 1:
        verb = f"a {ORDINALS.get(look, 'further')} look, at {start}, "
        verb += "tries the step again" if trial else "corrects the trial step"
        return verb if stage.target.sigma or trial else f"{verb} and ends clean"
    kind = "a trial step" if trial else f"an order-{plan.orders[i]} step"
    goal = f"from {start} to {end.removeprefix('σ/α ') if stage.here.alpha else end}"
    reach = 0 if trial else row.reach
    seen = len([lag for lag in range(reach) if any(lag < len(w) and w[lag] for w in _parts(row))])
    calls = f", made of the last {reach} calls" if reach > 1 else ""
    if 1 < seen < reach:
        calls = f", made of {seen} of the last {reach} calls"
    return f"{kind} {goal}{calls}"


def _rejected_start(plan: Schedule, i: int) -> Level:
    """Where the rejected step of call ``i`` started: its last call leads back there."""
    return plan.stages[i - _look(plan, i) + 1].here


def _parts(row: Coefficients) -> tuple[tuple[float, ...], ...]:
    return (row.x, row.x0, row.eps)


ORDINALS = {2: "second", 3: "third", 4: "fourth"}


def _place(level: Level) -> str:
    """A level in words: pure noise and clean are what the ends of a run are called."""
    if level.alpha == 0.0:
        return "pure noise"
    return f"σ/α {short(level.rho)}" if level.sigma else "clean"


def _corrects(row: Coefficients) -> bool:
    """Whether the row starts again from the sample of an earlier call (a solver of many calls)."""
    return bool(row.x) and row.x[0] == 0.0 and any(weight != 0.0 for weight in row.x[1:])


def _look(plan: Schedule, i: int) -> int:
    """Which call this is among those that start from the same sample, counted from 1."""
    first = i
    while first > 0 and _corrects(plan.rows[first]):
        first -= 1
    return i - first + 1


def _stirs(plan: Schedule, i: int) -> bool:
    """Whether the call renews noise where it is (a Langevin corrector)."""
    stage = plan.stages[i]
    return (
        plan.scheduler.weighs_by_norms and stage.here == stage.target and plan.rows[i].noise > 0.0
    )


def _still(plan: Schedule, i: int) -> bool:
    """Whether the call goes nowhere."""
    stage = plan.stages[i]
    return (
        stage.here.rho == stage.target.rho
        and not _corrects(plan.rows[i])
        and not _is_trial(plan, i)
        and not _stirs(plan, i)
    )


def _is_trial(plan: Schedule, i: int) -> bool:
    """Whether the next call corrects this one."""
    return i + 1 < plan.nfe and _corrects(plan.rows[i + 1])


def step_orders(plan: Schedule) -> list[int]:
    """The order of every step; trial calls of a solver of many calls are no steps of their own.

    Such a step has the order of its number of calls, though the last of them may not combine all.
    """
    return [
        max(order, _look(plan, i))
        for i, order in enumerate(plan.orders)
        if not _is_trial(plan, i) and i not in plan.scheduler.rejected
    ]


def _noise(row: Coefficients) -> str:
    return f", with fresh noise of weight {short(row.noise)}" if row.noise else ""


def _weight(plan: Schedule, weights: CallWeights, i: int) -> str:
    """The share of a call, in words."""
    weight = weights.calls[i]
    if weights.shown and i == len(weights.calls) - 1:
        noise = plan.rows[i].noise
        return "Its x̂₀ is the result" + (f", under noise of {short(noise)}." if noise else ".")
    place = "the last call's input" if weights.shown else "the result"
    if abs(weight) < 1e-9:
        return f"Its x̂₀ is no part of {place}: it acts only through what later calls predict."
    total = _percent(weights.total)
    if weight < 0.0:
        return (
            f"Its x̂₀ counts {_percent(weight)} in {place}: the rule takes it away, to carry on "
            f"the change from it to newer predictions. All calls together make {total}."
        )
    rank = ", more than any other" if len(weights.visible) > 1 and weight == weights.most else ""
    if weight > 1.005:
        return (
            f"Its x̂₀ counts {_percent(weight)} in {place}{rank}: other calls count below zero, and all "
            f"together make {total}."
        )
    return f"Its x̂₀ makes up {_percent(weight)} of {place}{rank}."


def _percent(share: float) -> str:
    """The one way in which shares are written: 12 %, 0.55 %, < 0.01 %."""
    value = 100.0 * share
    if value != 0.0 and abs(value) < 0.005:
        return "< 0.01 %"
    digits = 0 if abs(value) >= 99.95 or value == 0.0 else 1 if abs(value) >= 0.95 else 2
    return f"{value:.{digits}f} %".replace("-", "−")


def short(value: float) -> str:
    """A number for reading: three significant digits, ∞ for infinity."""
    if not math.isfinite(value):
        return "∞"
    if 1000 <= abs(value) < 1e6:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


# --- chips ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chip:
    """A fact about the run, or a warning with its reason and its remedy.

    ``set`` holds the remedy as settings of the spec ("config.eta": 0.0), where there is one that
    a press of a button can apply.
    """

    id: str
    text: str
    level: str = "info"
    why: str | None = None
    fix: str | None = None
    set: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The chip as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the warnings look at.

    Attributes:
        plan: The schedule.
        settings: Every parameter of the class with its present value, and ``steps``.
        kind: ``"image"``, ``"plane"`` or ``"line"``.
        extent: Largest absolute coordinate that the model's data have.
    """

    plan: Schedule
    settings: Mapping[str, Any]
    kind: str
    extent: float

    @property
    def first(self) -> Level:
        """The level that the run starts from."""
        return self.plan.stages[0].here

    @property
    def last(self) -> Level:
        """The level that the run ends on."""
        return self.plan.stages[-1].target


def chips(plan: Schedule, kind: str, extent: float) -> list[Chip]:
    """The facts that a person needs at a glance, then what a careful engineer would warn about.

    Args:
        plan: The schedule.
        kind: The model's kind, ``"image"``, ``"plane"`` or ``"line"``.
        extent: Largest absolute coordinate that the model's data have (1 for images).
    """
    entries = SCHEDULERS[plan.spec.scheduler].parameters()
    settings = {entry.name: entry.default for entry in entries} | dict(plan.spec.config)
    settings["steps"] = plan.spec.steps
    facts = Facts(plan, settings, kind, extent)
    found = list(_summary(facts))
    for look in WARNINGS:
        found.extend(look(facts))
    return found


def _summary(facts: Facts) -> Iterator[Chip]:
    plan = facts.plan
    steps, calls = _count(plan.steps, "step"), _count(plan.nfe, "model call")
    yield Chip(
        "steps",
        f"{steps} · {calls}",
        why="Model calls (NFE) are what takes time: compare schedulers at equal calls."
        + ("" if plan.nfe == plan.steps else " Some steps here ask the model more than once."),
    )
    if plan.nfe > MOST_TOLD:
        yield Chip(
            "told",
            f"{len(told_calls(plan))} of {plan.nfe} calls told",
            why="Levels, equations and weights of the others are left out: the page shows for them "
            "what it shows for the call before. All are made when the run is.",
        )
    low = f"{_ratio(plan.stages[-1].here)} → " if plan.nfe > 1 else ""
    yield Chip(
        "levels",
        f"σ/α {_ratio(facts.first)} → {low}{_ratio(facts.last)}",
        why="Noise over signal: at the first call, at the last call, and in the result. 0 is "
        "clean, ∞ is pure noise.",
    )
    yield from _order_chip(step_orders(plan))
    if plan.upward:
        yield Chip(
            "upward",
            "from clean to noise",
            why="Inversion: the run starts from a clean sample (here DDIM makes one in "
            f"{STEPS_TO_IMAGE} steps) and ends in the noise that a deterministic sampler would "
            "make it of. Edit an image by sampling from that noise with another class. Shares of "
            "the result say nothing here and are left out.",
        )
    yield from _adaptive_chip(facts)
    draws = sum(1 for row in plan.rows if row.noise)
    stirs = sum(1 for i in range(plan.nfe) if _stirs(plan, i))
    if draws:
        yield Chip(
            "noise",
            f"fresh noise in {draws} of {_count(plan.nfe, 'call')}",
            why="The seed decides every draw, not only the noise that the run starts from."
            + (
                f" {_count(stirs, 'call')} of these are corrector (Langevin) steps: they stay at "
                "their level, go a little along what the model says and add noise back. Their "
                "length follows from norms in the run; the weights shown are what it is on "
                "average."
                if stirs
                else ""
            ),
        )


def _ratio(level: Level) -> str:
    return "0" if level.sigma == 0.0 else short(level.rho)


def _order_chip(orders: list[int]) -> Iterator[Chip]:
    most = max(orders)
    why = (
        f"With small steps, twice as many divide the error by about {2**most} (2 to the power of "
        "the order)."
    )
    if most > 1:
        why += (
            " Orders above 1 combine several model calls; where these are not at hand, at the "
            "start or the end, the order is lower."
        )
    yield Chip("order", _order_text(orders), why=why)


def _adaptive_chip(facts: Facts) -> Iterator[Chip]:
    """Where the scheduler chooses its steps: how many it took."""
    plan = facts.plan
    if SCHEDULERS[plan.spec.scheduler].call_form != "adaptive":
        return
    refused = sum(1 for i in plan.scheduler.rejected if not _corrects(plan.rows[i]))
    yield Chip(
        "adaptive",
        f"{plan.steps} steps if none is rejected"
        if plan.ahead
        else f"{plan.steps} steps taken, {refused} rejected",
        why="The scheduler takes every step at two orders. Where they differ by more than rtol "
        f"({short(float(facts.settings['rtol']))} of the sample) and atol "
        f"({short(float(facts.settings['atol']))}) allow, it goes back and tries a shorter one. "
        "So the number of steps cannot be set. Smaller tolerances take more calls; another seed "
        "or model may take another number.",
    )


def _order_text(orders: list[int]) -> str:
    most = max(orders)
    parts = [f"order {most}"]
    if orders[0] != most:
        parts.append(f"first {orders[0]}")
    if len(orders) > 1 and orders[-1] != most:
        parts.append(f"last {orders[-1]}")
    return ", ".join(parts)


def _warn_terminal(facts: Facts) -> Iterator[Chip]:
    snr = _snr(facts.first)
    if facts.plan.upward or snr <= 1e-3 or facts.plan.spec.sigmas is not None:
        return
    table = facts.plan.scheduler.training
    top = None if table is None else len(table.betas) - 1
    change: dict[str, Any] | None = None
    late = top is not None and facts.plan.stages[0].t < top - 0.5
    why = (
        "SNR is signal over noise, α²/σ². The run starts from pure noise, but at its first level "
        "the model expects some signal and takes part of the noise for it: brightness and layout "
        "lean to the average."
        if snr < 1.0
        else "SNR is signal over noise, α²/σ². The run starts from pure noise, but at its first "
        "level the model expects a sample that is nearly clean, and leaves most of the noise in."
    )
    if _small_start(facts):
        fix = 'compat="paper" starts at the highest level.'
        change = {"config.compat": "paper"}
    elif late and "timestep_spacing" in facts.settings:
        why += f" The first call is at t = {short(facts.plan.stages[0].t)} of {top}."
        fix = 'timestep_spacing="trailing" starts at the last training time.'
        change = {"config.timestep_spacing": "trailing"}
    elif "rescale_betas_zero_snr" in facts.settings:
        fix = "rescale_betas_zero_snr=True with v_prediction, or a larger beta_end."
        change = {
            "config.rescale_betas_zero_snr": True,
            "config.prediction_type": "v_prediction",
        }
    elif table is not None:
        fix = "A larger beta_end."
    else:
        fix = "A larger sigma_max."
    yield Chip(
        "terminal-snr",
        f"starts at SNR {short(snr)}: {'never pure noise' if snr < 1.0 else 'nearly clean'}",
        "warn",
        why,
        fix,
        change,
    )


def _small_start(facts: Facts) -> bool:
    """Whether the run starts from the smallest level, as diffusers does with a single step."""
    return any(_meets(facts, slug) for slug in ("edm-one-exponential", "sde-ve-truncated-index"))


def _meets(facts: Facts, slug: str) -> bool:
    """Whether the run meets a quirk."""
    known = quirks_of(facts.plan.spec.scheduler)
    return any(quirk.slug == slug and quirk.active(facts.settings) for quirk in known)


def _warn_epsilon(facts: Facts) -> Iterator[Chip]:
    if facts.settings.get("prediction_type") == "epsilon" and facts.first.rho > 1000:
        rho = facts.first.rho
        yield Chip(
            "epsilon-zero-snr",
            "epsilon prediction from pure noise",
            "warn",
            "x̂₀ = (x − σ ε̂)/α. At the first call "
            + (
                f"an error in ε̂ is {short(rho)} times as large in x̂₀."
                if math.isfinite(rho)
                else "α is 0, so that ε̂ says nothing about x̂₀."
            ),
            'prediction_type="v_prediction" or "sample".',
            {"config.prediction_type": "v_prediction"},
        )


def _warn_start(facts: Facts) -> Iterator[Chip]:
    if facts.plan.upward:
        return
    given = float(facts.plan.scheduler.init_noise_sigma)
    wanted = facts.first.scale
    if 0.9 < given / wanted < 1.1:
        return
    if facts.first.rho < 1.0 and facts.plan.spec.sigmas is None:
        return  # that the run starts nearly clean says it
    if _squared(facts):
        levels = [stage.here.rho for stage in facts.plan.stages]
        idle = sum(1 for rho in levels if not 0.004 <= rho <= 80.0)
        why = (
            "As in diffusers, the noise levels are the squares of the ones meant. The model is "
            f"told a first level of {short(wanted)} while the sample has {short(given)}."
        )
        if idle:
            why += (
                f" {idle} of {_count(len(levels), 'call')} fall above 80 or below 0.004, where "
                "they change next to nothing."
            )
        yield Chip(
            "start",
            "noise levels are squared",
            "warn",
            why,
            'compat="paper" uses the levels as they are meant.',
            {"config.compat": "paper"},
        )
        return
    yield Chip(
        "start",
        f"starts with noise {short(given)} instead of {short(wanted)}",
        "warn",
        f"The first level says that the sample has a standard deviation of {short(wanted)}; the "
        f"initial noise has {short(given)}. The model takes noise for signal, or signal for noise.",
        "Another spacing, or other sigmas.",
    )


def _squared(facts: Facts) -> bool:
    """Whether the levels are squared, the quirk of diffusers' Karras VE."""
    made = SCHEDULERS[facts.plan.spec.scheduler]
    return facts.settings.get("compat") == "diffusers" and made.call_form == "karras_ve"


def _warn_order(facts: Facts) -> Iterator[Chip]:
    orders = step_orders(facts.plan)
    wanted = int(facts.settings.get("solver_order") or facts.settings.get("order") or 1)
    if wanted > max(orders):
        yield Chip(
            "order-unreached",
            f"order {wanted} is never reached",
            "warn",
            f"Order {wanted} needs {wanted} calls in a row. This run has "
            f"{_count(len(orders), 'step')}, of order {', '.join(str(order) for order in orders)}.",
            f"At least {2 * wanted - 1} steps, or a lower order.",
            {"steps": 2 * wanted - 1},
        )
    elif max(orders) > 1 and 2 * orders.count(max(orders)) < len(orders):
        yield Chip(
            "order-short",
            f"order {max(orders)} in only {orders.count(max(orders))} of {len(orders)} steps",
            "warn",
            "The steps of lower order make most of the error, so the higher order gains little.",
            "More steps.",
        )


def _warn_amplified(facts: Facts) -> Iterator[Chip]:
    if facts.plan.upward:
        return
    last, row = facts.plan.stages[-1].here, facts.plan.rows[-1]
    removed = sum(-weight for weight in row.eps) / last.sigma if last.sigma else 0.0
    growth = amplification(facts.plan)
    if removed > 2.0 and _meets(facts, "sde-vp-euler"):
        yield Chip(
            "overshoot",
            f"{_count(facts.plan.steps, 'step')} overshoot",
            "warn",
            "diffusers takes every step as 1/N of the time, though the times lie closer together. "
            f"The last step removes {short(removed)} times the noise that is there: what should "
            "be taken away is put in with the opposite sign.",
            'compat="paper" takes the exact transition between two levels; many more steps help, '
            "too.",
            {"config.compat": "paper"},
        )
    elif growth > MOST_GROWTH:
        yield Chip(
            "amplified",
            f"errors of the model may grow ×{short(growth)}",
            "warn",
            "Predictions are added and subtracted with large weights. If each x̂₀ were wrong by "
            "its level's share of noise, σ/√(α²+σ²), these errors could add up to "
            f"{short(growth)}; without subtraction they stay below 1. The steps are too long for "
            "the rule: expect specks and wrong colours.",
            "More steps, a lower order, or a spacing without long last steps.",
        )


def amplification(plan: Schedule) -> float:
    """Largest error of the result if every data prediction is wrong by its share of noise.

    A model cannot be wrong by more than what is hidden: near the clean end by little. So each
    weight counts times sigma / sqrt(alpha^2 + sigma^2). Rules whose weights are all positive
    stay below 1.
    """
    weights = call_weights(plan).visible
    levels = [stage.here for stage in plan.stages]
    return sum(
        abs(weight) * level.sigma / math.hypot(level.alpha, level.sigma)
        for weight, level in zip(weights, levels, strict=False)
    )


def _warn_final_order(facts: Facts) -> Iterator[Chip]:
    if facts.settings.get("lower_order_final") is not False:
        return
    if facts.plan.orders[-1] > 1 and facts.plan.steps < 15:
        yield Chip(
            "final-order",
            f"order {facts.plan.orders[-1]} in the last of few steps",
            "warn",
            f"With {_count(facts.plan.steps, 'step')} the last one is long, and at this order it "
            "extrapolates: specks and halos may stay.",
            "lower_order_final=True or euler_at_final=True.",
            {"config.lower_order_final": True},
        )


def _warn_noise(facts: Facts) -> Iterator[Chip]:
    plan = facts.plan
    if not any(row.noise for row in plan.rows) or plan.nfe >= 20:
        return
    if SCHEDULERS[plan.spec.scheduler].family == "Consistency":
        return  # made for few calls: each noises its prediction anew
    eta = facts.settings.get("eta")
    name = f"eta {short(float(eta))}" if eta else "fresh noise"
    fix = "eta=0, or more steps." if eta else "More steps, or a scheduler without fresh noise."
    yield Chip(
        "noise-few",
        f"{name} with {_count(plan.nfe, 'call')}",
        "warn",
        "Noise that one step adds must be removed by later ones. With few calls that leaves "
        "larger errors than a rule without fresh noise makes.",
        fix,
        {"config.eta": 0.0} if eta else None,
    )


def _warn_churn(facts: Facts) -> Iterator[Chip]:
    churn = float(facts.settings.get("s_churn") or 0.0)
    if churn <= 0.0:
        return
    cap = CHURN_CAP * facts.plan.steps
    if not any(row.noise for row in facts.plan.rows):
        yield Chip(
            "churn-nothing",
            "s_churn adds nothing here",
            "warn",
            "Churn lifts the noise of levels between its lower and upper bound, times s_noise. "
            "Here no level lies between them, or s_noise is 0.",
            "A smaller lower bound, a larger upper bound, or s_churn=0.",
            {"config.s_churn": 0.0},
        )
    elif churn > cap:
        yield Chip(
            "churn-cap",
            f"s_churn beyond its cap of {short(cap)}",
            "warn",
            f"Churn lifts the noise level of each step by the factor 1 + s_churn / "
            f"{facts.plan.steps}, but at most by √2. A larger s_churn changes nothing.",
            f"s_churn up to {short(cap)}, or more steps.",
            {"config.s_churn": math.floor(cap * 100.0) / 100.0},
        )


def _warn_clipping(facts: Facts) -> Iterator[Chip]:
    if facts.settings.get("thresholding") and facts.kind != "image":
        yield Chip(
            "thresholding",
            "thresholding is for pixels",
            "warn",
            "Dynamic thresholding squeezes x̂₀ into ±1. Pixels lie there; these points do not, "
            "and are bent.",
            "thresholding=False.",
            {"config.thresholding": False},
        )
        return
    reach = float(facts.settings.get("clip_sample_range") or 1.0)
    if not facts.settings.get("clip_sample") or facts.settings.get("thresholding"):
        return
    if facts.extent > reach * 1.001:
        yield Chip(
            "clipping",
            f"x̂₀ clipped at ±{short(reach)}",
            "warn",
            f"clip_sample cuts x̂₀ at ±{short(reach)}, which suits pixels in ±1. The data of this "
            f"model reach ±{short(facts.extent)}: what lies beyond is lost.",
            "clip_sample=False, or a larger clip_sample_range.",
            {"config.clip_sample": False},
        )


def _warn_range(facts: Facts) -> Iterator[Chip]:
    levels = [stage.here.rho for stage in facts.plan.stages]
    high = sum(1 for rho in levels if rho > 80.0)
    low = sum(1 for rho in levels if rho < 0.004) if facts.kind == "image" else 0
    high, low = (n if n >= 2 and n > 0.15 * len(levels) else 0 for n in (high, low))
    parts = [f"{high} above σ/α 80"] * bool(high) + [f"{low} below 0.004"] * bool(low)
    if not parts or _squared(facts):
        return
    whys = [
        "Above 80 a sample cannot be told from noise, and every model answers with the mean of "
        "its data."
    ] * bool(high)
    whys += ["Below 0.004 a call moves less than one grey level of 255."] * bool(low)
    ends = [f"a smaller {_known(facts, 'sigma_max', 'beta_end')}"] * bool(high)
    ends += [f"a larger {_known(facts, 'sigma_min', 'beta_start')}"] * bool(low)
    fix = f"{' and '.join(ends).capitalize()}, or another spacing."
    yield Chip(
        "wasted",
        f"of {_count(len(levels), 'call')} {' and '.join(parts)}",
        "warn",
        f"{' '.join(whys)} These calls are nearly wasted.",
        fix,
    )


def _known(facts: Facts, *names: str) -> str:
    """The first of these parameters that the class has and that acts."""
    inert = SCHEDULERS[facts.plan.spec.scheduler].inert(facts.settings)
    return next((n for n in names if n in facts.settings and n not in inert), names[-1])


def _warn_end(facts: Facts) -> Iterator[Chip]:
    start = facts.plan.stages[-1].here.rho
    left = facts.last.rho
    if facts.plan.upward:
        return
    if facts.last.sigma > 0.0 and left > VISIBLE:
        grey = 127.5 * facts.last.sigma / facts.last.alpha
        size = f" It is {short(grey)} grey levels of 255." if facts.kind == "image" else ""
        fix, change = _remedy_end(facts)
        yield Chip(
            "noise-left",
            f"ends at σ/α {short(left)}",
            "warn",
            f"The run stops before the clean level, so this much noise stays in the result.{size}",
            fix,
            change,
        )
    elif facts.last.sigma == 0.0 and facts.plan.rows[-1].noise > VISIBLE:
        added = facts.plan.rows[-1].noise
        yield Chip(
            "noise-left",
            f"noise of {short(added)} on the result",
            "warn",
            "As in diffusers, the last step adds noise after its prediction. Pipelines take "
            "prev_sample_mean there, which is without it.",
            'x̂₀ of the last call is clean; compat="paper" adds no noise at the end.',
            {"config.compat": "paper"},
        )
    elif facts.last.sigma == 0.0 and start > 0.5 and facts.plan.nfe > 1:
        yield Chip(
            "last-jump",
            f"the last call jumps from σ/α {short(start)} to clean",
            "warn",
            "The result is x̂₀ of that level: the average of all clean samples that still fit, "
            "hence blurred.",
            "More steps, or a spacing that ends lower.",
        )


def _remedy_end(facts: Facts) -> tuple[str, dict[str, Any] | None]:
    given = facts.plan.spec.sigmas
    if given is not None:
        return "End the list of sigmas with 0.", {"sigmas": [*given, 0.0]}
    if facts.settings.get("final_sigmas_type") == "sigma_min":
        return 'final_sigmas_type="zero".', {"config.final_sigmas_type": "zero"}
    if facts.settings.get("set_alpha_to_one") is False:
        return "set_alpha_to_one=True.", {"config.set_alpha_to_one": True}
    return (
        "This class has no setting that ends clean: take x̂₀ of the last call "
        "(pred_original_sample).",
        None,
    )


def _warn_table(facts: Facts) -> Iterator[Chip]:
    table = facts.plan.scheduler.training
    if table is None:
        return
    values = table.alphas_cumprod
    if float(values.min()) <= 0.0 or float(values.max()) > 1.0:
        yield Chip(
            "alphas-range",
            "alphas_cumprod leaves (0, 1]",
            "warn",
            "alphas_cumprod (α²) is the signal's share of the variance. Here it runs from "
            f"{short(float(values.max()))} to {short(float(values.min()))}: a beta of 1 turns the "
            "signal off, a larger one turns its sign.",
            "A beta_end below 1.",
        )


def _warn_stand_in(facts: Facts) -> Iterator[Chip]:
    if not SCHEDULERS[facts.plan.spec.scheduler].consistency:
        return
    yield Chip(
        "stand-in",
        "made for other models",
        why="This scheduler belongs to consistency models, which jump from any noise to one clean "
        "sample. The models here are denoisers: they return the average of all clean samples that "
        "fit, which is blurred while noise is high. Levels, weights and noise are the "
        "scheduler's own; only the predictions are not.",
        fix="Take more steps than such a model needs, and read x̂₀ as what is known so far.",
    )


def _warn_before(facts: Facts) -> Iterator[Chip]:
    table, last = facts.plan.scheduler.training, facts.plan.stages[-1].t
    if table is None or last >= 0 or facts.settings.get("timestep_spacing") != "trailing":
        return
    total = len(table.betas)
    yield Chip(
        "before-zero",
        f"the last call is at t = {short(float(last))}, before the first training time",
        "warn",
        f"As in diffusers, times are counted down in strides of {total}/{facts.plan.spec.steps}, "
        "and rounding lets one time too many through. No model has been trained at it.",
        'compat="paper" leaves it out; other numbers of steps do not have it.',
        {"config.compat": "paper"},
    )


def _warn_grid(facts: Facts) -> Iterator[Chip]:
    plan = facts.plan
    still = [i for i in range(plan.nfe) if _still(plan, i)]
    if still:
        ends = still == [plan.nfe - 1] and facts.settings.get("set_alpha_to_one") is False
        yield Chip(
            "still",
            f"{_count(len(still), 'call')} without a move",
            "warn",
            "A step from a level to the same level changes nothing: the call is wasted.",
            "set_alpha_to_one=True." if ends else "Fewer steps, or another spacing.",
            {"config.set_alpha_to_one": True} if ends else None,
        )
    if SCHEDULERS[plan.spec.scheduler].call_form != "step":
        return
    gaps = [
        _distance(left.target, right.here)
        for left, right in zip(plan.stages, plan.stages[1:], strict=False)
        if left.target.sigma > 0.0 and right.here.sigma > 0.0
    ]
    widest = max((gap for gap in gaps if math.isfinite(gap)), default=0.0)
    if widest > 1e-3:
        yield Chip(
            "off-grid",
            f"steps land up to {_percent(math.expm1(widest))} off the grid",
            "warn",
            "As in diffusers, steps end on another level than the one where the model is asked "
            f"next, by up to {_percent(math.expm1(widest))} in σ/α. The model then misjudges how "
            "much noise there is.",
            'compat="paper" steps to the next level.'
            if "compat" in facts.settings
            else "Another spacing.",
            {"config.compat": "paper"} if "compat" in facts.settings else None,
        )


WARNINGS = (
    _warn_terminal,
    _warn_start,
    _warn_epsilon,
    _warn_order,
    _warn_amplified,
    _warn_final_order,
    _warn_noise,
    _warn_churn,
    _warn_clipping,
    _warn_range,
    _warn_end,
    _warn_table,
    _warn_before,
    _warn_stand_in,
    _warn_grid,
)


def _count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}" + ("" if number_of == 1 else "s")
