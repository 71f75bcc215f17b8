"""The symbols of all pages, each explained once; a page lists those that its equations use."""

from __future__ import annotations

import re

#: Section -> symbol -> meaning.
SECTIONS: dict[str, dict[str, str]] = {
    "The sample and what the model says of it": {
        "x": "the sample, `x = alpha x0 + sigma eps`: what `step` takes",
        "x_next": "the sample one step on: what `step` returns as `prev_sample`",
        "x0": "the data prediction, `pred_original_sample`: the clean sample that the model sees in x",
        "eps": "the noise prediction, `(x - alpha x0) / sigma`",
        "out": "what the model returned, as `prediction_type` says",
        "score": "the gradient of the log density, `(alpha x0 - x) / sigma^2`",
        "D": "the prediction that is interpolated: x0 or eps",
        "z": "fresh noise: independent normal numbers of mean 0 and variance 1",
    },
    "Where the sample stands": {
        "t": "time: a training step, or what the model is told of the level",
        "alpha": "how much of the data is left in x",
        "sigma": "how much noise x holds; with `alpha = 1` (sigma families) also that of `sigmas`",
        "rho": "`sigma / alpha`: noise over data, the entries of `sigmas`",
        "lam": "`log(alpha / sigma)`, half the logarithm of the signal-to-noise ratio; grows as noise goes",
        "h": "length of the step in lam: `lam_next - lam`",
        "N": "number of steps, `num_inference_steps`",
        "T": "number of training steps, `num_train_timesteps`",
    },
    "How one place is told from another": {
        "_next": "at the level that the step leads to: `sigma_next`, `alpha_next`, `t_next`",
        "'": "of the second call in a step, `''` of the third: `x'` is shown to it, `eps'` comes out",
        "[-1]": "of the step before, `[-2]` of the one before that; no mark: of this call",
        "_hat": "after noise was added to raise the level (churn)",
        "_mid": "at the midpoint inside a step",
        "_down": "where an ancestral step leads before noise is added; `down` for short",
        "_up": "of the noise that leads from there to the target: `up^2 + down^2 = sigma_next^2`",
    },
    "Settings and weights": {
        "eta": "share of fresh noise: 0 is deterministic, 1 as much as in DDPM",
        "tau": "stochasticity of an SDE with the same marginals: 0 is the ODE, 1 the reverse SDE",
        "gamma": "share by which churn raises sigma",
        "beta": "variance that the process adds, over a step or in unit time",
        "s": "standard deviation of the fresh noise",
        "v": "fraction of the run, 1 at its start, 0 at its end",
        "c": "weight of the sample, which solves the linear part exactly",
        "kappa": "weight of the predictions",
        "w": "length of the step in the exponent",
        "u": "fraction of the step, 0 at its start, 1 at its end",
        "psi_k": "moments of the exponential over a step: `psi_0 = 1 - exp(-w)`, `psi_k = 1 / k! - psi_(k-1) / w`",
        "D0": "the prediction; `D1`, `D2` its first and second derivative by u",
        "L_j": "Lagrange polynomial: 1 at call j, 0 at the other calls",
        "int_a^b f du": "integral of f over u from a to b",
        "<-": "takes the new value",
    },
}  # fmt: skip
SYMBOLS = {symbol: text for section in SECTIONS.values() for symbol, text in section.items()}


def parts(equation: str) -> set[str]:
    """The symbols of the glossary that an equation uses."""
    found: set[str] = set()
    for word, marks in re.findall(r"([A-Za-z][A-Za-z0-9_]*)('*)", equation):
        if marks:
            found.add("'")
        stem = word
        for suffix in ("_next", "_hat", "_mid", "_down", "_up"):
            if word.endswith(suffix) and word != "x_next":
                found.add(suffix)
                stem = word.removesuffix(suffix)
        if re.fullmatch(r"psi_\w", word):
            found.add("psi_k")
        found.add({"down": "_down", "up": "_up", "D1": "D0", "D2": "D0"}.get(stem, stem))
    found |= {"[-1]"} if re.search(r"\[-\w\]", equation) else set()
    found |= {"int_a^b f du"} if "int_" in equation else set()
    found |= {"<-"} if "<-" in equation else set()
    return found & SYMBOLS.keys()


def table(symbols: set[str]) -> str:
    """Those symbols with their meanings, in the glossary's order."""
    rows = [f"| `{symbol}` | {text} |" for symbol, text in SYMBOLS.items() if symbol in symbols]
    return "\n".join(["| symbol | meaning |", "| --- | --- |", *rows])
