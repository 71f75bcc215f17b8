"""Diagnostics of the levels: where a run starts, what it visits, and where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..core.level import Call
from ..core.plan import RunPlan
from .finding import Diagnostic, Facts, Finding, count, percent, short

#: Highest signal-to-noise ratio at which a start passes for pure noise.
PURE_NOISE_SNR = 1e-3
#: Levels (sigma / alpha) beyond which a model tells nothing, and below which nobody sees a change.
HIGHEST_USEFUL, LOWEST_USEFUL = 80.0, 0.004
#: Noise that an eye may find in an image of range -1 to 1: two to three grey levels of 255.
VISIBLE = 0.02
#: Share by which a step may miss the level of the next call.
MOST_OFF_GRID = 1e-3


def _terminal(facts: Facts) -> Finding | None:
    snr = facts.first.snr
    if facts.plan.upward or snr <= PURE_NOISE_SNR or facts.settings.get("sigmas") is not None:
        return None
    why = (
        "SNR is signal over noise, α²/σ². The run starts from pure noise, but at its first level "
    )
    why += (
        "the model expects some signal and takes part of the noise for it: brightness and layout "
        "lean to the average."
        if snr < 1.0
        else "the model expects a sample that is nearly clean, and leaves most of the noise in."
    )
    table = facts.plan.scheduler.training
    top, first = 0 if table is None else len(table.betas) - 1, facts.plan.calls[0].t
    change: Mapping[str, Any] | None = None
    if facts.meets("edm-one-exponential", "sde-ve-truncated-index"):
        fix, change = 'compat="paper" starts at the highest level.', {"compat": "paper"}
    elif first < top - 0.5 and facts.acts("timestep_spacing") and _noisy_table(facts):
        why += f" The first call is at t = {short(first)} of {top}."
        fix = 'timestep_spacing="trailing" starts at the last training time.'
        change = {"timestep_spacing": "trailing"}
    elif "rescale_betas_zero_snr" in facts.settings:
        fix = "rescale_betas_zero_snr=True with v_prediction, or a larger beta_end."
        change = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    else:
        fix = "A larger beta_end." if table is not None else "A larger sigma_max."
    kind = "never pure noise" if snr < 1.0 else "nearly clean"
    return Finding(snr, f"starts at SNR {short(snr)}: {kind}", why, fix, change)


def _noisy_table(facts: Facts) -> bool:
    """Whether the last training step passes for pure noise."""
    table = facts.plan.scheduler.training
    power = 1.0 if table is None else float(table.alphas_cumprod[-1])
    return power <= PURE_NOISE_SNR * (1.0 - power)


def _outside(facts: Facts) -> Finding | None:
    levels = [level for call in facts.plan.calls for level in (call.here, call.target)]
    alpha, sigma = (min(level[k] for level in levels) for k in (1, 2))
    if alpha >= 0.0 and sigma >= 0.0:
        return None
    share = "noise" if sigma < 0.0 else "signal"
    given = facts.settings.get("sigmas") is not None or facts.acts("shift") is None
    return Finding(
        min(alpha, sigma),
        f"a level holds less than no {share}",
        f"The share of {share} falls to {short(min(alpha, sigma))}: the model is asked for what "
        "does not exist."
        + ("" if given else " float32 rounds the ends, and a strong shift enlarges that."),
        "Levels from 1 down to 0." if given else "A shift closer to 1.",
    )


def _noise_of_start(facts: Facts) -> tuple[float, float] | None:
    """Standard deviation of the initial noise and of the first level, where they differ."""
    if facts.plan.upward:
        return None
    noise, level = float(facts.plan.scheduler.init_noise_sigma), facts.first.scale
    if 0.9 < noise / level < 1.1:
        return None
    if facts.first.snr > 1.0 and facts.settings.get("sigmas") is None:
        return None  # that the run starts nearly clean says it
    return noise, level


def _squared(facts: Facts) -> Finding | None:
    differs = _noise_of_start(facts)
    if differs is None or not facts.meets("karras-ve-squared"):
        return None
    noise, level = differs
    ratios = [call.here.rho for call in facts.plan.calls]
    useless = sum(1 for ratio in ratios if not LOWEST_USEFUL <= ratio <= HIGHEST_USEFUL)
    why = (
        "As in diffusers, the noise levels are the squares of the ones meant. The model is told "
        f"a first level of {short(level)} while the sample has {short(noise)}."
    )
    if useless:
        why += (
            f" {useless} of {count(len(ratios), 'call')} fall above 80 or below 0.004, where they "
            "change next to nothing."
        )
    return Finding(
        level / noise,
        "noise levels are squared",
        why,
        'compat="paper" uses the levels as they are meant.',
        {"compat": "paper"},
    )


def _start(facts: Facts) -> Finding | None:
    differs = _noise_of_start(facts)
    if differs is None or facts.meets("karras-ve-squared"):
        return None
    noise, level = differs
    return Finding(
        noise / level,
        f"starts with noise {short(noise)} instead of {short(level)}",
        f"The first level says that the sample has a standard deviation of {short(level)}; the "
        f"initial noise has {short(noise)}. The model takes noise for signal, or signal for noise.",
        "Another spacing, or other sigmas.",
    )


def _epsilon(facts: Facts) -> Finding | None:
    ratio = facts.first.rho
    if facts.settings.get("prediction_type") != "epsilon" or ratio <= 1000:
        return None
    error = (
        f"an error in ε̂ is {short(ratio)} times as large in x̂₀."
        if math.isfinite(ratio)
        else "α is 0, so that ε̂ says nothing about x̂₀."
    )
    return Finding(
        ratio,
        "epsilon prediction from pure noise",
        f"x̂₀ = (x − σ ε̂)/α. At the first call {error}",
        'prediction_type="v_prediction" or "sample".',
        {"prediction_type": "v_prediction"},
    )


def wasted(facts: Facts, calls: int) -> bool:
    """Whether so many calls in vain are worth a word."""
    return calls >= 2 and calls > 0.15 * facts.plan.nfe


def larger(change: str, name: str | None) -> str:
    """What helps: a change of a parameter, if there is one that acts, or of the spacing."""
    return f"{change} {name}, or another spacing." if name else "Another spacing."


def _wasted(facts: Facts) -> Finding | None:
    high = sum(1 for call in facts.plan.calls if call.here.rho > HIGHEST_USEFUL)
    if not wasted(facts, high) or facts.meets("karras-ve-squared"):
        return None
    return Finding(
        high,
        f"{high} of {count(facts.plan.nfe, 'call')} above σ/α 80",
        "Above 80 a sample cannot be told from noise, and every model answers with the mean of "
        "its data. These calls are nearly wasted.",
        larger("A smaller", facts.acts("sigma_max", "beta_end")),
    )


def _noise_left(facts: Facts) -> Finding | None:
    last = facts.last
    if facts.plan.upward or last.sigma == 0.0 or last.rho <= VISIBLE:
        return None
    fix: tuple[str, Mapping[str, Any] | None]
    levels = facts.settings.get("sigmas")
    if levels is not None:
        fix = "End the list of sigmas with 0.", {"sigmas": [*levels, 0.0]}
    elif facts.settings.get("final_sigmas_type") == "sigma_min":
        fix = 'final_sigmas_type="zero".', {"final_sigmas_type": "zero"}
    elif facts.settings.get("set_alpha_to_one") is False and facts.plan.calls[-1].target.t <= 0.0:
        fix = "set_alpha_to_one=True.", {"set_alpha_to_one": True}
    else:
        fix = (
            "This class has no setting that ends clean: take x̂₀ of the last call "
            "(pred_original_sample).",
            None,
        )
    return Finding(
        last.rho,
        f"ends at σ/α {short(last.rho)}",
        "The run stops before the clean level, so this much noise stays in the result. In an "
        f"image it is {short(127.5 * last.rho)} grey levels of 255.",
        *fix,
    )


def _noise_added(facts: Facts) -> Finding | None:
    added = facts.plan.coefficients[-1].noise
    if facts.plan.upward or facts.last.sigma > 0.0 or added <= VISIBLE:
        return None
    why, fix = "The last step adds noise after its prediction.", "x̂₀ of the last call is clean"
    if not facts.meets("sde-ve-noise"):
        return Finding(added, f"noise of {short(added)} on the result", why, f"{fix}.")
    return Finding(
        added,
        f"noise of {short(added)} on the result",
        f"{why} So does diffusers; pipelines take prev_sample_mean there, which is without it.",
        f'{fix}; compat="paper" adds no noise at the end.',
        {"compat": "paper"},
    )


def _last_jump(facts: Facts) -> Finding | None:
    start = facts.plan.calls[-1].here.rho
    ends_clean = facts.last.sigma == 0.0 and facts.plan.coefficients[-1].noise <= VISIBLE
    if facts.plan.upward or not ends_clean or start <= 0.5 or facts.plan.nfe == 1:
        return None
    return Finding(
        start,
        f"the last call jumps from σ/α {short(start)} to clean",
        "The result is x̂₀ of that level: the average of all clean samples that still fit, hence "
        "blurred.",
        "More steps, or a spacing that ends lower.",
    )


def _alphas_range(facts: Facts) -> Finding | None:
    table = facts.plan.scheduler.training
    if table is None:
        return None
    low, high = float(table.alphas_cumprod.min()), float(table.alphas_cumprod.max())
    if low > 0.0 and high <= 1.0:
        return None
    return Finding(
        low,
        "alphas_cumprod leaves (0, 1]",
        "alphas_cumprod (α²) is the signal's share of the variance. Here it runs from "
        f"{short(high)} to {short(low)}: a beta of 1 turns the signal off, a larger one turns its "
        "sign.",
        "A beta_end below 1.",
    )


def _before_zero(facts: Facts) -> Finding | None:
    table, last = facts.plan.scheduler.training, facts.plan.calls[-1].t
    if table is None or last >= 0 or facts.settings.get("timestep_spacing") != "trailing":
        return None
    return Finding(
        last,
        f"the last call is at t = {short(last)}, before the first training time",
        f"As in diffusers, times are counted down in strides of {len(table.betas)}/"
        f"{facts.settings['steps']}, and rounding lets one time too many through. No model has "
        "been trained at it.",
        'compat="paper" leaves it out; other numbers of steps do not have it.',
        {"compat": "paper"},
    )


def stays(plan: RunPlan, i: int) -> bool:
    """Whether call ``i`` goes nowhere, and is for nothing."""
    call = plan.calls[i]
    if call.here.rho != call.target.rho or plan.is_trial(i):
        return False
    if plan.holds_level(i):
        return plan.coefficients[i].noise == 0.0
    return call.part == 0 or plan.scheduler.weighs_by_norms


def _still(facts: Facts) -> Finding | None:
    still = [i for i in range(facts.plan.nfe) if stays(facts.plan, i)]
    if not still:
        return None
    ends = still == [facts.plan.nfe - 1] and facts.settings.get("set_alpha_to_one") is False
    return Finding(
        len(still),
        f"{count(len(still), 'call')} without a move",
        "A step from a level to the same level changes nothing: the call is wasted.",
        "set_alpha_to_one=True." if ends else "Fewer steps, or another spacing.",
        {"set_alpha_to_one": True} if ends else None,
    )


def _gap(left: Call, right: Call) -> float:
    """How far in log-SNR a step lands from where the next call is made."""
    if left.target.sigma == 0.0 or right.here.sigma == 0.0:
        return 0.0
    gap = abs(left.target.lam - right.here.lam)
    return gap if math.isfinite(gap) else 0.0


def _off_grid(facts: Facts) -> Finding | None:
    if facts.plan.scheduler.call_form != "step":
        return None
    calls = facts.plan.calls
    widest = max(map(_gap, calls, calls[1:]), default=0.0)
    if widest <= MOST_OFF_GRID:
        return None
    # e^700 is the last that a float holds.
    share, switch = math.expm1(min(widest, 700.0)), "compat" in facts.settings
    return Finding(
        share,
        f"steps land up to {percent(share)} off the grid",
        "As in diffusers, steps end on another level than the one where the model is asked next, "
        f"by up to {percent(share)} in σ/α. The model then misjudges how much noise there is.",
        'compat="paper" steps to the next level.' if switch else "Another spacing.",
        {"compat": "paper"} if switch else None,
    )


LEVELS: tuple[Diagnostic[Facts], ...] = (
    Diagnostic("outside", "error", "a level has a negative alpha or sigma", _outside),
    Diagnostic("terminal-snr", "warning", "the first level keeps an SNR above 0.001", _terminal),
    Diagnostic("squared", "warning", "levels are squared, as upstream's Karras VE", _squared),
    Diagnostic(
        "start", "warning", "the initial noise is not as large as the first level says", _start
    ),
    Diagnostic(
        "epsilon-zero-snr", "warning", "epsilon prediction above sigma / alpha = 1000", _epsilon
    ),
    Diagnostic("wasted", "warning", "many calls above sigma / alpha = 80", _wasted),
    Diagnostic("noise-left", "warning", "the run ends above sigma / alpha = 0.02", _noise_left),
    Diagnostic("noise-added", "warning", "the last step adds noise to the result", _noise_added),
    Diagnostic(
        "last-jump",
        "warning",
        "the last step ends clean from above sigma / alpha = 0.5",
        _last_jump,
    ),
    Diagnostic("alphas-range", "warning", "alphas_cumprod leaves (0, 1]", _alphas_range),
    Diagnostic("before-zero", "warning", "a call is made before time 0", _before_zero),
    Diagnostic("still", "warning", "a step leads to its own level", _still),
    Diagnostic(
        "off-grid", "warning", "a step lands over 0.1 % off the level of the next", _off_grid
    ),
)
