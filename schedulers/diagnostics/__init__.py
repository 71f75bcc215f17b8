"""What a careful engineer would warn about, as data: needs a config or a grid, and no model."""

from __future__ import annotations

from .finding import Diagnosis, Diagnostic, Facts, Finding, diagnose
from .levels import LEVELS
from .steps import STEPS

#: Every diagnostic that a scheduler alone can have, most important first.
DIAGNOSTICS: tuple[Diagnostic[Facts], ...] = (*LEVELS, *STEPS)

__all__ = ["DIAGNOSTICS", "Diagnosis", "Diagnostic", "Facts", "Finding", "diagnose"]
