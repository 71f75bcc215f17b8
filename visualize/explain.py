"""What a schedule does, in words and numbers, computed from the schedule and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sampling import Schedule
from schedulers import SCHEDULERS
from schedulers.levels import Level, Stage
from schedulers.quirks import quirks_of
from schedulers.weights import Weights, contributions
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


# --- columns ----------------------------------------------------------------------------------


def columns(plan: Schedule) -> dict[str, list[Any]]:
    """One entry per model call for every quantity that the page can put on an axis.

    ``rho`` is sigma / alpha, ``snr`` is 1 / rho^2, ``logsnr`` its natural logarithm,
    ``dlogrho`` the distance |log rho - log rho_next| that the call bridges (None when the
    target is clean), ``beta`` the training beta at t (None for classes without a training
    table). What is infinite is None.
    """
    here = [stage.here for stage in plan.stages]
    target = [stage.target for stage in plan.stages]
    return {
        "t": numbers(stage.t for stage in plan.stages),
        "rho": numbers(level.rho for level in here),
        "rho_next": numbers(level.rho for level in target),
        "alpha": numbers(level.alpha for level in here),
        "sigma": numbers(level.sigma for level in here),
        "alpha_next": numbers(level.alpha for level in target),
        "sigma_next": numbers(level.sigma for level in target),
        "alphas_cumprod": numbers(1.0 / (1.0 + level.rho**2) for level in here),
        "beta": _betas(plan),
        "snr": numbers(_snr(level) for level in here),
        "logsnr": numbers(2.0 * level.lam for level in here),
        "dlogrho": numbers(_distance(stage.here, stage.target) for stage in plan.stages),
        "order": list(plan.orders),
        "accepted": [i not in plan.scheduler.rejected for i in range(plan.nfe)],
    }


def _betas(plan: Schedule) -> list[float | None]:
    table = plan.scheduler.training
    if table is None:
        return [None] * plan.nfe
    last = len(table.betas) - 1
    return numbers(float(table.betas[min(max(round(s.t), 0), last)]) for s in plan.stages)


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


def terms(row: Weights) -> tuple[Term, ...]:
    """The products of a row whose weight is not zero; together they are the update."""
    listed = [
        Term(w, symbol, lag)
        for symbol, weights in (("x", row.x), ("x0", row.x0), ("eps", row.eps))
        for lag, w in enumerate(weights)
        if w != 0.0
    ]
    if row.noise != 0.0:
        listed.append(Term(row.noise, "noise"))
    return tuple(listed)


def equation(row: Weights) -> str:
    """The update with its numbers, as ``x ← 0.561 x + 0.611 x̂₀ − 0.172 x̂₀[−1]``."""
    written = ""
    for term in terms(row):
        size = short(abs(term.w))
        factor = "" if size == "1" else f"{size} "
        glyph = GLYPHS[term.symbol] + (f"[−{term.lag}]" if term.lag else "")
        sign = "−" if term.w < 0 else "+"
        written += f" {sign} {factor}{glyph}"
    if not written:
        return "x ← 0"
    return "x ←" + (written.removeprefix(" +"))


def equations(plan: Schedule) -> list[dict[str, Any]]:
    """Per model call: the equation, its terms, the weight of the call and a sentence."""
    weights = call_weights(plan)
    return [
        {
            "text": equation(row),
            "terms": [
                {"w": number(term.w, 6), "symbol": term.symbol, "lag": term.lag}
                for term in terms(row)
            ],
            "call_weight": number(weights.calls[i], 6),
            "weight_text": _percent(weights.calls[i]),
            "sentence": _sentence(plan, i, weights),
        }
        for i, row in enumerate(plan.rows)
    ]


@dataclass(frozen=True, slots=True)
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
        f"{_move(plan, i)}{_noise(row)}." + ("" if plan.upward else f" {_weight(weights, i)}")
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
    if _stirs(stage, row):
        return f"a Langevin step that stays at {start}, its length set by norms"
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


def _parts(row: Weights) -> tuple[tuple[float, ...], ...]:
    return (row.x, row.x0, row.eps)


ORDINALS = {2: "second", 3: "third", 4: "fourth"}


def _place(level: Level) -> str:
    """A level in words: pure noise and clean are what the ends of a run are called."""
    if level.alpha == 0.0:
        return "pure noise"
    return f"σ/α {short(level.rho)}" if level.sigma else "clean"


def _corrects(row: Weights) -> bool:
    """Whether the row starts again from the sample of an earlier call (a solver of many calls)."""
    return bool(row.x) and row.x[0] == 0.0 and any(weight != 0.0 for weight in row.x[1:])


def _look(plan: Schedule, i: int) -> int:
    """Which call this is among those that start from the same sample, counted from 1."""
    first = i
    while first > 0 and _corrects(plan.rows[first]):
        first -= 1
    return i - first + 1


def _stirs(stage: Stage, row: Weights) -> bool:
    """Whether the call renews noise where it is (a Langevin corrector)."""
    return stage.here == stage.target and row.noise > 0.0


def _is_trial(plan: Schedule, i: int) -> bool:
    """Whether the next call corrects this one."""
    return i + 1 < plan.nfe and _corrects(plan.rows[i + 1])


def step_orders(plan: Schedule) -> list[int]:
    """The order of every step; trial calls of a two-call solver are not steps of their own."""
    return [order for i, order in enumerate(plan.orders) if not _is_trial(plan, i)]


def _noise(row: Weights) -> str:
    return f", with fresh noise of weight {short(row.noise)}" if row.noise else ""


def _weight(weights: CallWeights, i: int) -> str:
    """The share of a call, in words."""
    weight = weights.calls[i]
    if weights.shown and i == len(weights.calls) - 1:
        return "Its x̂₀ is the result."
    place = (
        "the sample that the last call turns into the result" if weights.shown else "the result"
    )
    others = _visible(weights)
    rank = ", more than any other" if len(others) > 1 and weight == max(others) else ""
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
        settings: Every parameter of the class with its present value.
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
        why="The model call is what costs time: compare schedulers at equal calls (NFE).",
    )
    low = f"{short(plan.stages[-1].here.rho)} → " if plan.nfe > 1 else ""
    end = "0" if facts.last.sigma == 0.0 else short(facts.last.rho)
    yield Chip(
        "levels",
        f"σ/α {short(facts.first.rho)} → {low}{end}",
        why="Noise-to-signal ratio of the first call, of the last call, and of the result.",
    )
    yield Chip(
        "order",
        _order_text(step_orders(plan)),
        why="Order at which the rule works: it needs earlier calls to go beyond 1.",
    )
    if plan.upward:
        yield Chip(
            "upward",
            "from clean to noise",
            why="Inversion: the run starts from clean samples and finds the noise that a sampler "
            "would make them of.",
        )
    draws = sum(1 for row in plan.rows if row.noise)
    if draws:
        yield Chip(
            "noise",
            f"fresh noise in {draws} of {_count(plan.nfe, 'call')}",
            why="The result depends on the seed through every draw, not through x_T alone.",
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
        "The run starts from pure noise, but at the first level the model expects some signal: "
        "brightness and layout drift towards the mean."
    )
    if late and "timestep_spacing" in facts.settings:
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
        "terminal-snr", f"starts at SNR {short(snr)}: never pure noise", "warn", why, fix, change
    )


def _warn_epsilon(facts: Facts) -> Iterator[Chip]:
    if facts.settings.get("prediction_type") == "epsilon" and facts.first.rho > 1000:
        yield Chip(
            "epsilon-zero-snr",
            "epsilon prediction at SNR 0",
            "warn",
            "x̂₀ = (x − σ ε̂)/α: at the first call an error of the model is multiplied by "
            f"{short(facts.first.rho)}.",
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
    if _squared(facts):
        levels = [stage.here.rho for stage in facts.plan.stages]
        high = sum(1 for rho in levels if rho > 80.0)
        low = sum(1 for rho in levels if rho < 0.004)
        why = (
            "As in diffusers, the noise levels are the squares of the ones meant. The model is "
            f"told a first level of {short(wanted)} while the sample has {short(given)}."
        )
        if high + low:
            why += (
                f" {high + low} of {len(levels)} calls are spent above 80 or below 0.004, where "
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
        "The initial noise is not what the first level says, so the model takes its own "
        "noise for signal or the reverse.",
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
            f"Order {wanted} looks at {wanted} calls; this run has {_count(len(orders), 'call')} "
            "and starts and ends at lower order.",
            f"At least {2 * wanted - 1} steps, or a lower order.",
            {"steps": 2 * wanted - 1},
        )
    elif max(orders) > 1 and 2 * orders.count(max(orders)) < len(orders):
        yield Chip(
            "order-short",
            f"only {orders.count(max(orders))} of {len(orders)} steps at order {max(orders)}",
            "warn",
            "The steps at lower order dominate the error, so the higher order buys little.",
            "More steps.",
        )


def _warn_amplified(facts: Facts) -> Iterator[Chip]:
    if facts.plan.upward:
        return
    total = sum(abs(weight) for weight in _visible(call_weights(facts.plan)))
    if total > 10.0 and _overshoots(facts):
        yield Chip(
            "overshoot",
            f"{facts.plan.steps} steps overshoot",
            "warn",
            "diffusers takes every step as 1/N long. The last levels lie closer together than that, "
            "so below about 500 steps the result is noise.",
            'compat="paper" takes the exact transition between two levels.',
            {"config.compat": "paper"},
        )
    elif total > 10.0:
        yield Chip(
            "amplified",
            f"errors of the model enlarged up to ×{short(total)}",
            "warn",
            "The weights of the calls have both signs and add up to this much in size: the steps "
            "are too long for the rule, and what the model gets wrong is multiplied.",
            "More steps, a lower order, or a spacing without long last steps.",
        )


def _overshoots(facts: Facts) -> bool:
    """Whether steps are longer than the way between their levels, the quirk of the VP score SDE."""
    name = facts.plan.spec.scheduler
    return any(
        quirk.slug == "sde-vp-euler" and quirk.active(facts.settings) for quirk in quirks_of(name)
    )


def _visible(weights: CallWeights) -> tuple[float, ...]:
    return weights.calls[:-1] if weights.shown else weights.calls


def _warn_final_order(facts: Facts) -> Iterator[Chip]:
    if facts.settings.get("lower_order_final") is not False:
        return
    if facts.plan.orders[-1] > 1 and facts.plan.steps < 15:
        yield Chip(
            "final-order",
            f"order {facts.plan.orders[-1]} in the last of few steps",
            "warn",
            "Below 15 steps the last one extrapolates over a long way in log σ, which can leave "
            "artefacts.",
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
    fix = "eta=0, or 20 calls and more." if eta else "20 calls and more."
    yield Chip(
        "noise-few",
        f"{name} with {_count(plan.nfe, 'call')}",
        "warn",
        "What a step adds the later steps must remove: with few of them a stochastic rule makes "
        "larger errors than a deterministic one.",
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
            "No visited level gets fresh noise: none lies between the bounds, or s_noise is 0.",
            "A smaller lower bound, a larger upper bound, or s_churn=0.",
            {"config.s_churn": 0.0},
        )
    elif churn > cap:
        yield Chip(
            "churn-cap",
            f"s_churn beyond its cap of {short(cap)}",
            "warn",
            f"gamma = s_churn / {facts.plan.steps} is cut at √2 − 1 = 0.414 in every step: more "
            "changes nothing.",
            f"s_churn up to {short(cap)}, or more steps.",
            {"config.s_churn": math.floor(cap * 100.0) / 100.0},
        )


def _warn_clipping(facts: Facts) -> Iterator[Chip]:
    if facts.settings.get("thresholding") and facts.kind != "image":
        yield Chip(
            "thresholding",
            "thresholding on what are no pixels",
            "warn",
            "Dynamic thresholding squeezes x̂₀ into ±1, which is right for pixels only: points "
            "and latents are bent.",
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
            f"clip_sample is made for pixels in ±1; the data of this model reach "
            f"±{short(facts.extent)}, and what lies beyond is cut.",
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
        "Above 80 a sample cannot be told from noise and every model answers with the mean of "
        "its data."
    ] * bool(high)
    whys += ["Below 0.004 a call moves less than one grey level of 255."] * bool(low)
    ends = " and ".join(
        ["a smaller sigma_max or beta_end"] * bool(high) + ["a larger sigma_min"] * bool(low)
    )
    fix = f"{ends.capitalize()}, or another spacing."
    yield Chip(
        "wasted", f"of {len(levels)} calls {' and '.join(parts)}", "warn", " ".join(whys), fix
    )


def _warn_end(facts: Facts) -> Iterator[Chip]:
    start = facts.plan.stages[-1].here.rho
    left = facts.last.rho
    if facts.plan.upward:
        return
    if facts.last.sigma > 0.0 and left > 0.01:
        yield Chip(
            "noise-left",
            f"ends at σ/α {short(left)}",
            "warn",
            "The run stops before the clean level, so this much noise stays in the result.",
            *_remedy_end(facts),
        )
    elif facts.last.sigma == 0.0 and start > 0.5 and facts.plan.nfe > 1:
        yield Chip(
            "last-jump",
            f"the last call jumps from σ/α {short(start)} to clean",
            "warn",
            "The result is in effect x̂₀ of that level: an average over what is still possible, "
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
    return "A spacing that ends lower.", None


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
            f"It runs from {short(float(values.max()))} to {short(float(values.min()))}: betas of "
            "1 and more turn the signal off or around.",
            "A beta_end below 1.",
        )


def _warn_stand_in(facts: Facts) -> Iterator[Chip]:
    if not SCHEDULERS[facts.plan.spec.scheduler].consistency:
        return
    yield Chip(
        "stand-in",
        "a denoiser stands in",
        "info",
        "This scheduler is made for consistency models. The models here return the mean of all clean samples that fit, which is blurred while "
        "noise is high; a consistency model returns one of them. The levels, the weights and the "
        "noise are the scheduler's own.",
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
        "and rounding lets one too many through: no model has been trained at it.",
        'compat="paper" leaves it out; other numbers of steps do not have it.',
        {"config.compat": "paper"},
    )


def _warn_grid(facts: Facts) -> Iterator[Chip]:
    plan = facts.plan
    still = sum(
        1
        for stage, row in zip(plan.stages, plan.rows, strict=True)
        if stage.here.rho == stage.target.rho and not _corrects(row) and not _stirs(stage, row)
    )
    if still:
        yield Chip(
            "still",
            f"{_count(still, 'call')} without a move",
            "warn",
            "Neighbouring entries of the grid are equal, so those calls go nowhere.",
            "Fewer steps, or another spacing.",
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
            "A step ends on another level than the one where the model is asked next, as in "
            "diffusers: the error adds up.",
            'compat="paper", or a number of steps that divides the training steps.',
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
