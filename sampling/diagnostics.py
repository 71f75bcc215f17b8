"""What a careful engineer would warn about a run: of its scheduler, and of what its model wants."""

from __future__ import annotations

from dataclasses import dataclass

from models import MODELS
from sampling.plan import Plan
from schedulers.diagnostics import DIAGNOSTICS, Diagnosis, Diagnostic, Facts, Finding, diagnose
from schedulers.diagnostics.finding import count, settings_of, short
from schedulers.diagnostics.levels import LOWEST_USEFUL, larger, wasted

__all__ = ["MODEL_DIAGNOSTICS", "ModelFacts", "diagnose_run", "facts_of"]


@dataclass(frozen=True, eq=False)
class ModelFacts(Facts):
    """What diagnostics of a run look at.

    Attributes:
        image: Whether the model draws images; else its samples are points.
        extent: Largest absolute coordinate that the model's data have (1 for images).
    """

    image: bool
    extent: float


def facts_of(plan: Plan, extent: float) -> ModelFacts:
    """The facts of a run.

    Args:
        plan: The run.
        extent: Largest absolute coordinate that the model's data have (1 for images).
    """
    spec, image = plan.spec, MODELS[plan.spec.model].kind == "image"
    settings = settings_of(plan.scheduler, dict(spec.step), spec.steps, spec.sigmas)
    return ModelFacts(plan, settings, image, extent)


def diagnose_run(facts: ModelFacts) -> list[Diagnosis]:
    """Everything that holds, of the scheduler first."""
    return [*diagnose(DIAGNOSTICS, facts), *diagnose(MODEL_DIAGNOSTICS, facts)]


def _thresholding(facts: ModelFacts) -> Finding | None:
    if not facts.settings.get("thresholding") or facts.image:
        return None
    return Finding(
        facts.extent,
        "thresholding is for pixels",
        "Dynamic thresholding squeezes x̂₀ into ±1. Pixels lie there; these points do not, and are "
        "bent.",
        "thresholding=False.",
        {"thresholding": False},
    )


def _clipping(facts: ModelFacts) -> Finding | None:
    bound = float(facts.settings.get("clip_sample_range") or 1.0)
    clips = facts.settings.get("clip_sample") and not facts.settings.get("thresholding")
    if not clips or facts.extent <= bound * 1.001:
        return None
    return Finding(
        facts.extent,
        f"x̂₀ clipped at ±{short(bound)}",
        f"clip_sample cuts x̂₀ at ±{short(bound)}, which suits pixels in ±1. The data of this model "
        f"reach ±{short(facts.extent)}: what lies beyond is lost.",
        "clip_sample=False, or a larger clip_sample_range.",
        {"clip_sample": False},
    )


def _wasted_low(facts: ModelFacts) -> Finding | None:
    low = sum(1 for call in facts.plan.calls if call.here.rho < LOWEST_USEFUL)
    if not facts.image or not wasted(facts, low) or facts.meets("karras-ve-squared"):
        return None
    return Finding(
        low,
        f"{low} of {count(facts.plan.nfe, 'call')} below σ/α 0.004",
        "Below 0.004 a call moves less than one grey level of 255. These calls are nearly wasted.",
        larger("A larger", facts.acts("sigma_min", "beta_start")),
    )


def _stand_in(facts: ModelFacts) -> Finding | None:
    if not facts.plan.scheduler.consistency:
        return None
    return Finding(
        facts.plan.nfe,
        "made for other models",
        "This scheduler belongs to consistency models, which jump from any noise to one clean "
        "sample. The models here are denoisers: they return the average of all clean samples that "
        "fit, which is blurred while noise is high. Levels, weights and noise are the "
        "scheduler's own; only the predictions are not.",
        "Take more steps than such a model needs, and read x̂₀ as what is known so far.",
    )


MODEL_DIAGNOSTICS: tuple[Diagnostic[ModelFacts], ...] = (
    Diagnostic("thresholding", "warning", "thresholding of points", _thresholding),
    Diagnostic("clipping", "warning", "data beyond the bound of clip_sample", _clipping),
    Diagnostic("wasted-low", "warning", "many calls below sigma / alpha = 0.004", _wasted_low),
    Diagnostic("stand-in", "note", "a scheduler of consistency models on a denoiser", _stand_in),
)
