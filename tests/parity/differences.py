"""What remains different from diffusers, class by class, with numbers.

    python -m tests.parity.differences

For every class: whether the times of 1 to 200 steps are identical, the largest relative difference
of any array of any step over whole runs in several settings, names that only upstream has (each
with the reason), and the named quirks whose mathematics ``compat="paper"`` switches to.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping

import torch

from schedulers import SCHEDULERS
from schedulers.facts.quirks import QUIRKS
from tests.parity.harness import Case, accepts, error, take_step, unit_noise
from tests.parity.oracle import (
    DIFFUSERS,
    SchedulerLike,
    diffusers_class,
    diffusers_scheduler,
    stepped,
)

#: Private names that callers of diffusers use all the same.
CALLED = ("_get_variance", "_sigma_to_t", "__len__", "_compatibles", "_internal_dict")
#: Names that ours do without, by the reason.
ABSENT: Mapping[str, tuple[str, ...]] = {
    "how upstream keeps the memory of a run; ours is private, and a copy continues identically": (
        "cur_model_output",
        "derivatives",
        "dt",
        "last_sample",
        "mid_point_sigma",
        "noise_sampler",
        "order_list",
        "prev_derivative",
        "sample",
        "timestep_list",
    ),
    "parts of upstream's step; ours has rows of weights: row(i), and predict_x0": (
        "convert_model_output",
        "deis_first_order_update",
        "dpm_solver_first_order_update",
        "get_coefficients_exponential_negative",
        "get_coefficients_exponential_positive",
        "get_coefficients_fn",
        "lagrange_polynomial_coefficient",
        "multistep_deis_second_order_update",
        "multistep_deis_third_order_update",
        "multistep_dpm_solver_second_order_update",
        "multistep_dpm_solver_third_order_update",
        "multistep_uni_c_bh_update",
        "multistep_uni_p_bh_update",
        "noisiest_timestep",
        "singlestep_dpm_solver_second_order_update",
        "singlestep_dpm_solver_third_order_update",
        "singlestep_dpm_solver_update",
        "stochastic_adams_bashforth_update",
        "stochastic_adams_moulton_update",
    ),
    "machinery of diffusers' own configs": (
        "extract_init_dict",
        "ignore_for_config",
        "register_for_auto_class",
    ),
}
REASONS = {name: reason for reason, names in ABSENT.items() for name in names}

SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"timestep_spacing": "trailing", "beta_schedule": "squaredcos_cap_v2"},
    {"use_karras_sigmas": True, "prediction_type": "v_prediction"},
    {"use_beta_sigmas": True},
)
STEPS = (4, 10, 20)


def ready(name: str) -> tuple[SchedulerLike, SchedulerLike]:
    """Ours and theirs with a grid."""
    pair = SCHEDULERS[name](), diffusers_scheduler(name)
    for scheduler in pair:
        if hasattr(scheduler, "set_timesteps"):
            scheduler.set_timesteps(6)
    return pair


def missing(name: str) -> list[str]:
    """Public names, and private ones that people call, which only upstream has."""
    ours, theirs = ready(name)
    names = {n for n in (*dir(type(theirs)), *vars(theirs)) if not n.startswith("_")}
    names |= {n for n in CALLED if n in dir(type(theirs))}
    return sorted(n for n in names if not hasattr(ours, n))


def settings(name: str) -> Iterator[Mapping[str, object]]:
    """The settings that both classes take."""
    for config in SETTINGS:
        if all(accepts(diffusers_class(name), key) for key in config):
            yield config


def unequal_grids(name: str) -> list[int]:
    """Numbers of steps, 1 to 200, whose times differ: integers at all, floats by 1e-4."""
    ours, theirs = SCHEDULERS[name](), diffusers_scheduler(name)
    found = []
    for n in range(1, 201):
        try:
            theirs.set_timesteps(n)
        except (ValueError, IndexError, ZeroDivisionError):
            continue
        ours.set_timesteps(n)
        theirs.timesteps = torch.as_tensor(theirs.timesteps).nan_to_num()
        a, b = torch.as_tensor(ours.timesteps), torch.as_tensor(theirs.timesteps)
        same = a.shape == b.shape and a.dtype == b.dtype
        limit = 1e-4 + 1e-6 * b.abs() if b.is_floating_point() else 0 * b
        if not same or bool(((a - b).abs() > limit).any()):
            found.append(n)
    return found


def largest_difference(name: str) -> str:
    """Of whole runs: the largest difference and where, how many runs, how often theirs was NaN."""
    worst, where, runs, broken = 0.0, "", 0, 0
    for config in settings(name):
        for steps in STEPS:
            case = Case(name, config, steps, begin=hasattr(SCHEDULERS[name], "set_begin_index"))
            ours, theirs = case.ours(), case.theirs()
            draws = case.generators(), case.generators()
            a = b = unit_noise() * theirs.init_noise_sigma
            runs += 1
            for index in range(len(theirs.timesteps)):
                found = take_step(ours, index, a, case, draws[0])
                expected = take_step(theirs, index, b, case, draws[1])
                if not all(bool(value.isfinite().all()) for value in expected.values()):
                    broken += 1
                    break
                off = max(error(found[key], value) for key, value in expected.items())
                if off > worst:
                    worst, where = off, f"{steps} steps, {dict(config)}"
                a, b = found["prev_sample"], expected["prev_sample"]
    told = f" ({where})" if worst > 1e-5 else ""
    return f"{worst:.1e} in {runs} runs{told}" + f", {broken} NaN upstream" * bool(broken)


def main() -> int:
    """Print the report."""
    warnings.simplefilter("ignore")
    print("| class | times of N = 1..200 | largest difference over runs | only upstream's |")
    print("| --- | --- | --- | --- |")
    used: set[str] = set()
    for name in DIFFUSERS:
        absent = missing(name)
        used |= set(absent)
        times, numbers = "own call form", "own call form"
        if name in stepped():
            unequal = unequal_grids(name)
            times = f"differ at {unequal}" if unequal else "identical"
            numbers = largest_difference(name)
        print(f"| {name} | {times} | {numbers} | {len(absent)} names |")
    for reason, names in ABSENT.items():
        print(f"\n{reason}: {', '.join(n for n in names if n in used)}.")
    print("\nOnly ours: " + ", ".join(name for name in SCHEDULERS if name not in DIFFUSERS) + ".")
    print("\nWhere upstream leaves the mathematics:\n")
    for quirk in QUIRKS:
        whom = ", ".join(n.removesuffix("Scheduler") for n in quirk.classes) or "all"
        print(f"- {quirk.title} ({whom}; {quirk.where}): {quirk.shows}. Ours: {quirk.ours}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
