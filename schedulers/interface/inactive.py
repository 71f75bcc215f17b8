"""Which parameters have no effect beside which others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend.checks import CURVES


def common_inactive(values: Mapping[str, Any]) -> dict[str, str]:
    """Reasons that hold for every class that has the parameters."""
    reasons: dict[str, str] = {}
    if values.get("trained_betas") is not None:
        for name in ("beta_start", "beta_end", "beta_schedule"):
            reasons[name] = "trained_betas gives every beta."
    elif values.get("beta_schedule") in ("squaredcos_cap_v2", "laplace", "exp"):
        for name in ("beta_start", "beta_end"):
            reasons[name] = f"the {values['beta_schedule']} schedule has no free end points."
    if values.get("timestep_spacing") != "leading":
        reasons["steps_offset"] = "only the leading spacing is offset."
    if not values.get("clip_sample") or values.get("thresholding"):
        reasons["clip_sample_range"] = "nothing is clipped: clip_sample is off."
    if values.get("thresholding"):
        reasons["clip_sample"] = "thresholding takes its place."
        reasons["clip_sample_range"] = "thresholding takes its place."
    else:
        for name in ("dynamic_thresholding_ratio", "sample_max_value"):
            reasons[name] = "thresholding is off."
    if "use_karras_sigmas" in values and not any(values.get(name) for name in CURVES):
        for name in ("sigma_min", "sigma_max"):
            reasons[name] = "no Karras, exponential or beta curve is chosen."
    return reasons
