"""The update of every call as an equation with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sampling import Plan
from schedulers.core.coefficients import Coefficients
from schedulers.diagnostics.finding import percent, short
from visualize.encode import number
from visualize.sentences import sentence

__all__ = ["Term", "equation", "equations", "terms"]

GLYPHS = {"x": "x", "x0": "x̂₀", "eps": "ε̂", "noise": "z"}


@dataclass(frozen=True, slots=True)
class Term:
    """One product of an update: ``w`` times a symbol, seen ``lag`` model calls ago.

    Symbols are ``"x"`` (the sample shown to the model), ``"x0"``, ``"eps"`` and ``"noise"``.
    """

    w: float
    symbol: str
    lag: int = 0


def terms(row: Coefficients) -> tuple[Term, ...]:
    """The products of an update whose weight is not rounding; together they are the update."""
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


def equations(plan: Plan, told: Sequence[int]) -> list[dict[str, Any]]:
    """Per model call: the equation, its terms, its weight and a sentence.

    Args:
        plan: The run.
        told: The calls that are told.
    """
    shares = plan.shares.calls
    return [
        {
            "text": equation(plan.coefficients[i]),
            "terms": [
                {
                    "w": number(term.w, 6),
                    "size": factor(term),
                    "symbol": term.symbol,
                    "lag": term.lag,
                }
                for term in terms(plan.coefficients[i])
            ],
            "call_weight": None if plan.upward else number(shares[i], 6),
            "weight_text": None if plan.upward else percent(shares[i]),
            "sentence": sentence(plan, i),
        }
        for i in told
    ]
