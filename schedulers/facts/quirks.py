"""Every place where diffusers leaves the mathematics, as data.

The page shows them, ``docs/quirks.md`` lists them, and ``tests/`` shows each side: a test marked
``@pytest.mark.quirk(slug, "diffusers")`` holds what upstream does, one marked ``"paper"`` what the
mathematics says, and both where ``compat`` switches between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..backend.checks import check_choice

Settings = Mapping[str, Any]
Applies = Callable[[Settings], bool]


def always(settings: Settings) -> bool:
    """Under every setting."""
    del settings
    return True


@dataclass(frozen=True, slots=True)
class Quirk:
    """One place where upstream is not the mathematics.

    Attributes:
        slug: Its name in tests and links.
        title: What it is, in a few words.
        classes: Class names that it concerns; empty for all.
        where: The settings or the situation in which it shows.
        upstream: What diffusers does, in a sentence.
        mathematics: What the paper says, in a sentence.
        shows: How it shows, with a number.
        applies: Whether a run with these settings (every parameter of the class, and ``steps``)
            meets it; None for what no run from the start to the end in one precision meets.
        ours: "switch" if ``compat`` chooses: the code asks ``follows(slug)``; "mathematics" if we
            never follow upstream (crashes and NaN are not reproduced); "upstream" if there is no
            mathematics to follow.
        why: Why there is no switch; empty where there is one.
    """

    slug: str
    title: str
    classes: tuple[str, ...]
    where: str
    upstream: str
    mathematics: str
    shows: str
    applies: Applies | None = always
    ours: Literal["switch", "mathematics", "upstream"] = "switch"
    why: str = ""

    def concerns(self, name: str) -> bool:
        """Whether the class of this name has the quirk."""
        return not self.classes or name in self.classes

    def active(self, settings: Settings) -> bool:
        """Whether a run of ours with these settings does as upstream does here.

        Args:
            settings: Every parameter with its value, and ``steps``.
        """
        if self.ours == "mathematics" or self.applies is None:
            return False
        if self.ours == "switch" and not followed(self.slug, settings):
            return False
        return self.applies(settings)


# --- when they apply --------------------------------------------------------------------------


def _order(order: int, *algorithms: str, solver_type: str | None = None) -> Applies:
    """A solver order, with one of the algorithm types if any is named."""

    def applies(settings: Settings) -> bool:
        return (
            settings.get("solver_order") == order
            and (not algorithms or settings.get("algorithm_type") in algorithms)
            and (solver_type is None or settings.get("solver_type") == solver_type)
        )

    return applies


def _prediction(kind: str, flow: bool) -> Applies:
    """A prediction type on, or off, the flow path."""

    def applies(settings: Settings) -> bool:
        return settings.get("prediction_type") == kind and (
            bool(settings.get("use_flow_sigmas")) == flow
        )

    return applies


def _strides(settings: Settings) -> bool:
    """A spacing whose steps are not T // N long."""
    spacing, n = settings.get("timestep_spacing"), int(settings.get("steps", 1))
    uneven = int(settings.get("num_train_timesteps", 1000)) % n != 0
    return spacing == "linspace" or (spacing == "trailing" and uneven)


def _odd_halves(settings: Settings) -> bool:
    """Runge-Kutta steps of odd length, whose middle is no training step."""
    total, n = int(settings.get("num_train_timesteps", 1000)), int(settings.get("steps", 1))
    return not settings.get("skip_prk_steps") and n > 1 and total // n % 2 == 1


def _one_too_many(settings: Settings) -> bool:
    """A number of trailing steps for which the float stride lets t = -1 through."""
    total, n = int(settings.get("num_train_timesteps", 1000)), int(settings.get("steps", 1))
    return (
        settings.get("timestep_spacing") == "trailing" and len(np.arange(total, 0, -total / n)) > n
    )


def _shifts_twice(settings: Settings) -> bool:
    """A fixed shift, of the scheduler's own grid."""
    return settings.get("shift", 1.0) != 1.0 and not settings.get("use_dynamic_shifting")


def _inverted_noise(settings: Settings) -> bool:
    """Fresh noise on a flow that counts from data."""
    return bool(settings.get("invert_sigmas") and settings.get("stochastic_sampling", True))


def _no_signal(settings: Settings) -> bool:
    """A noise prediction, on a schedule that ends in nothing but noise."""
    return bool(settings.get("rescale_betas_zero_snr")) and (
        settings.get("prediction_type") == "epsilon"
    )


def _ends_twice(settings: Settings) -> bool:
    """A curve to sigma_min, then a step to sigma_min, of order 3."""
    curved = "sigma_schedule" in settings or any(
        settings.get(f"use_{c}")
        for c in ("karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas")
    )
    return bool(
        curved
        and settings.get("final_sigmas_type") == "sigma_min"
        and settings.get("solver_order") == 3
    )


# --- the table --------------------------------------------------------------------------------
# In the order of the registry, what concerns many classes last. Sentences say who does what.

_OPEN_GRID = (
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
)

_MIDPOINTS = (
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
    "DPMPP2SAncestralScheduler",
)

_EDM = (
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "CosineDPMSolverMultistepScheduler",
)

_SHIFTED_FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler")
_LTX = ("LTXEulerAncestralRFScheduler",)
_FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")

QUIRKS: tuple[Quirk, ...] = (
    # --- DDPM ---
    Quirk(
        "ddpm-log-root",
        "The root of a logarithm",
        ("DDPMScheduler", "DDPMParallelScheduler"),
        "variance_type fixed_large_log",
        "The logarithm of the variance is taken for the variance, and its root is NaN.",
        "The variance is that of fixed_large.",
        "NaN instead of the sample",
        lambda s: s.get("variance_type") == "fixed_large_log",
        "mathematics",
        "NaN is not reproduced.",
    ),
    # --- DDIM ---
    Quirk(
        "ddim-stride",
        "Steps that miss the next level",
        ("DDIMScheduler", "DDIMParallelScheduler"),
        "timestep_spacing linspace, or trailing where N does not divide T",
        "Every step is T // N training steps long, even where the next time of the grid is "
        "nearer or farther.",
        "A step leads to the next time of the grid.",
        "the model is told a noise level up to 0.03 (in sigma) off what the sample has",
        _strides,
    ),
    # --- DDIM inverse ---
    Quirk(
        "inverse-stride",
        "The model is told a time too late",
        ("DDIMInverseScheduler",),
        "every run",
        "The model is told the time that the step leads to.",
        "The model is told the time where the sample stands.",
        "times are T // N too high: with 20 steps the clean sample, t = 0, is shown as t = 50",
    ),
    # --- PNDM ---
    Quirk(
        "pndm-midway",
        "A run from the middle starts with the wrong steps",
        ("PNDMScheduler",),
        "a run started midway (image-to-image)",
        "Calls are counted. In PLMS the second call is always taken for the repeated one, and "
        "Runge-Kutta steps use the first times of the grid, wherever the run starts.",
        "What a call does follows from its place in timesteps.",
        "if the data are one point, a run from call 18 of 21 ends 0.4 away from it; with "
        "Runge-Kutta steps it may end anywhere",
        None,
    ),
    Quirk(
        "pndm-stride",
        "Steps that miss the next level",
        ("PNDMScheduler",),
        "linspace; trailing where N does not divide T; Runge-Kutta steps where T // N is odd",
        "A step is T // N training steps long and its middle T // N // 2, wherever the model is "
        "asked next.",
        "A step leads to the time at which the model is asked next.",
        "if the data are one point, the run ends 8e-4 away from it with 8 steps, 0.03 with 30 "
        "linspace steps",
        lambda s: _strides(s) or _odd_halves(s),
    ),
    Quirk(
        "pndm-mixed-v",
        "Velocities are summed before they are turned into noise",
        ("PNDMScheduler",),
        "v_prediction",
        "The outputs of several calls are summed, and the sum is turned into a noise prediction "
        "at one level.",
        "Each output is turned into a noise prediction at its own level; these are summed.",
        "if the data are one point, a run of 20 steps ends 0.08 away from it",
        lambda s: s.get("prediction_type") == "v_prediction",
    ),
    Quirk(
        "pndm-few-steps",
        "No run of fewer than four steps",
        ("PNDMScheduler",),
        "1 to 3 steps without skip_prk_steps",
        "set_timesteps stops with an error.",
        "All steps but the last are Runge-Kutta steps.",
        "an error about array shapes",
        lambda s: not s.get("skip_prk_steps") and int(s.get("steps", 50)) < 4,
        "mathematics",
        "Crashes are not reproduced.",
    ),
    # --- IPNDM ---
    Quirk(
        "ipndm-first-step",
        "The first prediction is lost",
        ("IPNDMScheduler",),
        "the first step of every run",
        "The first level is pure noise (alpha = 0). There it divides by 1e-8, and the clean "
        "prediction drops out.",
        "At pure noise the clean prediction is minus the velocity, and the step uses it.",
        "if the data are one point, the first of 10 steps lacks 0.2 of it; a run of one step "
        "returns 0",
    ),
    # --- parallel ---
    Quirk(
        "parallel-end",
        "Steps in a batch lead elsewhere than single ones",
        ("DDIMParallelScheduler", "DDPMParallelScheduler"),
        "batch_step_no_noise with set_alpha_to_one=False, or on uneven grids",
        "Steps in a batch are T // N long, and the last one ends clean.",
        "A step in a batch leads where the same step alone leads.",
        "the last level is 0 instead of 0.01; on linspace grids levels are off by up to 0.03",
        None,
    ),
    # --- Euler ---
    Quirk(
        "euler-late-churn",
        "Noise is added after the model was asked",
        ("EulerDiscreteScheduler",),
        "s_churn above 0",
        "The model is asked at sigma; then noise lifts the sample to sigma_hat.",
        "Noise lifts the sample to sigma_hat; then the model is asked there.",
        "the sample has 1.94 times the variance of its level, at call 11 of 20 with s_churn 20",
        lambda s: float(s.get("s_churn") or 0.0) > 0.0,
        "upstream",
        "step is handed the model's answer and cannot ask again. KarrasVeScheduler can.",
    ),
    Quirk(
        "euler-velocity",
        "get_velocity reads the wrong level",
        ("EulerDiscreteScheduler",),
        "training with get_velocity after set_timesteps",
        "The level is looked up by the position in the run.",
        "The level is looked up by the training time.",
        "the velocity of an image of ones at t = 999 is -0.01 instead of -1",
        None,
    ),
    Quirk(
        "half-data-prediction",
        "The two outputs differ in precision",
        ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        "float16 or bfloat16 samples",
        "pred_original_sample stays float32 while prev_sample is half precision.",
        "Both have the precision of the input.",
        "one of the two outputs takes twice the memory",
        None,
        "mathematics",
        "It is a slip; the values are the same.",
    ),
    # --- LMS ---
    Quirk(
        "lms-midway",
        "A run from the middle counts its order wrongly",
        ("LMSDiscreteScheduler",),
        "a run started midway (image-to-image)",
        "The order follows the position in the run, though the first calls were never made.",
        "The order follows the calls made so far.",
        "if the data are one point, a run from step 10 of 20 ends 0.3 away from it",
        None,
    ),
    # --- DPM2 ---
    Quirk(
        "dpm2-midpoint-noise",
        "add_noise goes one level too far",
        _MIDPOINTS,
        "add_noise at the time of a midpoint",
        "Noise of the level after the midpoint is added.",
        "Noise of the midpoint itself is added.",
        "sigma is 7.50 instead of 9.99 at the second midpoint of 10 steps",
        None,
    ),
    Quirk(
        "dpm2-midpoint-start",
        "A run cannot start at a midpoint",
        _MIDPOINTS[:3],
        "a run started at a midpoint (image-to-image)",
        "The midpoint is taken for the level after it.",
        "The run goes on from the midpoint with an ordinary step.",
        "if the data are one point, the run ends as far away as the two levels differ",
        None,
        "mathematics",
        "Upstream's step mixes two levels: there is no image to reproduce.",
    ),
    Quirk(
        "dpm2a-cancellation",
        "Midpoints lose their digits",
        ("KDPM2AncestralDiscreteScheduler",),
        "few steps, or a steep noise schedule",
        "sigma_down comes from a difference in float32 that loses its digits in long steps, "
        "sometimes all of them.",
        "sigma_down is ``sigma_next^2 / sigma``, which loses nothing.",
        "the model is told times up to 2.5 off; upstream's 2 steps over 4000 training steps "
        "give NaN, never here",
    ),
    Quirk(
        "ancestral-cancellation",
        "Long ancestral steps",
        ("EulerAncestralDiscreteScheduler", "DPMPP2SAncestralScheduler"),
        "few steps, or a steep noise schedule",
        "sigma_down comes from a difference in float32 that loses its digits in long steps, down "
        "to NaN; k-diffusion's too.",
        "sigma_down is ``sigma_next^2 / sigma``, which loses nothing.",
        "NaN for 4 cosine steps of Euler a; 2 steps of DPM++ 2S a leave k-diffusion's by 3e-4",
        always,
        "mathematics",
        "Rounding errors and NaN are not reproduced; on usual grids both agree to 1e-5.",
    ),
    # --- DPM++ SDE ---
    Quirk(
        "dpm-sde-copy",
        "A scheduler that cannot be copied",
        ("DPMSolverSDEScheduler",),
        "copy.deepcopy or pickle in the middle of a run",
        "The copy loses its noise: its next step fails. pickle fails at once.",
        "The copy goes on with the same noise.",
        "a KeyError in the next step of the copy",
        None,
        "mathematics",
        "Crashes are not reproduced.",
    ),
    Quirk(
        "dpm-sde-generator",
        "The generator does not decide the noise",
        ("DPMSolverSDEScheduler",),
        "noise_sampler_seed None",
        "step takes no generator. The noise is seeded from the program's global random state.",
        "The generator of step decides the noise; without one the global state does.",
        "a pipeline makes another image every time, though it is given the same generator",
        None,
        "mathematics",
        "Whoever passes a generator wants its numbers; noise_sampler_seed gives upstream's.",
    ),
    # --- DPM-Solver ---
    Quirk(
        "dpm-third-order",
        "Third order is second order",
        (
            "DPMSolverMultistepScheduler",
            "DPMSolverMultistepInverseScheduler",
            "EDMDPMSolverMultistepScheduler",
        ),
        "solver_order 3",
        "The term for the curvature (second derivative) is half of what it should be.",
        "The curvature of the interpolated predictions counts in full.",
        "twice the steps divide the error by 4 instead of 8; errors are 6 to 130 times larger",
        _order(3),
    ),
    Quirk(
        "sde-half-sign",
        "A flipped sign at third order",
        ("DPMSolverMultistepScheduler",),
        "sde-dpmsolver++ with solver_order 3",
        "In the weight of the curvature (second derivative), 0.5 has the wrong sign.",
        "The weight is an integral that goes to 0 with the length of the step.",
        "with many steps the oldest prediction weighs more than 3 times too much",
        _order(3, "sde-dpmsolver++"),
    ),
    Quirk(
        "sde-half-sign-singlestep",
        "A flipped sign at third order",
        ("DPMSolverSinglestepScheduler",),
        "sde-dpmsolver++ with solver_order 3 and solver_type heun",
        "In the weight of the curvature (second derivative), 0.5 has the wrong sign.",
        "The weight is an integral that goes to 0 with the length of the step.",
        "with many steps the middle prediction weighs more than 3 times too much",
        _order(3, "sde-dpmsolver++", solver_type="heun"),
    ),
    Quirk(
        "sde-third-order-crash",
        "Third order of the plain SDE fails",
        ("DPMSolverMultistepScheduler",),
        "sde-dpmsolver with solver_order 3",
        "The step stops with an error.",
        "The step of third order exists: its weights are finite.",
        "an error instead of a sample",
        _order(3, "sde-dpmsolver"),
        "mathematics",
        "Crashes are not reproduced.",
    ),
    Quirk(
        "sde-variance",
        "The plain SDE adds too much noise",
        ("DPMSolverMultistepScheduler", "SASolverScheduler"),
        "sde-dpmsolver; noise_prediction where tau is 1",
        "After a step of length h, in ``log(alpha / sigma)``, the noise has the variance "
        "``sigma^2 (1 + 2 (e^h - 1)^2)``.",
        "An exact step leaves the variance ``sigma^2``.",
        "at h = 0.5 the variance is 1.84 times that of the level; the shorter the steps, the less",
        lambda s: s.get("algorithm_type") in ("sde-dpmsolver", "noise_prediction"),
        "upstream",
        "The paper's own first-order form has it. sde-dpmsolver++ has not.",
    ),
    Quirk(
        "still-step",
        "A last step of no length",
        (
            "DPMSolverMultistepScheduler",
            "UniPCMultistepScheduler",
            "EDMDPMSolverMultistepScheduler",
        ),
        "solver_order 3, a sigma curve that ends at sigma_min, and final_sigmas_type sigma_min; "
        "UniPC without lower_order_final",
        "The last step leads from sigma_min to sigma_min and computes 0 / 0.",
        "A step of no length changes nothing.",
        "NaN instead of the sample",
        _ends_twice,
        "mathematics",
        "NaN is not reproduced.",
    ),
    Quirk(
        "inverse-dropped-times",
        "Times are dropped, their sigmas are not",
        ("DPMSolverMultistepInverseScheduler",),
        "times that repeat: use_karras_sigmas in long runs, above about 60 of 1000 steps, and with "
        "the cosine schedule",
        "A repeated time is dropped but its sigma is kept: from there on the model is told the "
        "times of other levels.",
        "Times and sigmas stay together.",
        "200 Karras steps have 193 times for 201 sigmas; the run ends at sigma 134 instead of 157",
        lambda s: (
            bool(s.get("use_karras_sigmas"))
            and (int(s.get("steps", 1)) > 60 or s.get("beta_schedule") == "squaredcos_cap_v2")
        ),
    ),
    Quirk(
        "inverse-flow-down",
        "The inverse of a flow runs downward",
        ("DPMSolverMultistepInverseScheduler",),
        "use_flow_sigmas",
        "The grid is that of the sampler, from noise to data.",
        "An inversion runs upward, from data to noise.",
        "the first of 10 calls is made at sigma 0.9 instead of 0.09",
        lambda s: bool(s.get("use_flow_sigmas")),
    ),
    Quirk(
        "inverse-swapped-ends",
        "The ends of a curve change places",
        ("DPMSolverMultistepInverseScheduler",),
        "from_config of a config that holds sigma_min or sigma_max, with a sigma curve",
        "A curve starts at sigma_max and ends at sigma_min, also on the way up.",
        "An inversion runs upward: it starts at sigma_min and ends at sigma_max.",
        "between 0.1 and 10, an inversion starts at sigma 10 and removes noise",
        None,
    ),
    Quirk(
        "inverse-sde",
        "A stochastic inversion has no numbers",
        ("DPMSolverMultistepInverseScheduler",),
        "sde-dpmsolver or sde-dpmsolver++",
        "The variance of the added noise comes out negative, its root NaN.",
        "Going up, no noise is removed that could be renewed: the step is the one without fresh "
        "noise.",
        "NaN instead of the sample",
        lambda s: str(s.get("algorithm_type")).startswith("sde"),
        "mathematics",
        "NaN is not reproduced.",
    ),
    Quirk(
        "given-flow-times",
        "Given times are passed over",
        ("DPMSolverSinglestepScheduler", "DPMSolverMultistepScheduler"),
        "set_timesteps(timesteps=...) with use_flow_sigmas",
        "The scheduler's own grid of as many steps is taken; DPMSolverMultistep crashes.",
        "A time is T times its level.",
        "times 900, 600, 300 become 999, 666, 332",
        None,
        "mathematics",
        "Whoever gives times wants them.",
    ),
    # --- DEIS ---
    Quirk(
        "deis-cancellation",
        "Weights lose their digits",
        ("DEISMultistepScheduler",),
        "solver_order 3",
        "The integrals behind the weights are computed in float32 and lose most digits in short "
        "steps.",
        "The integrals are computed in float64.",
        "twice the steps divide the error by 1.2 instead of 8 on fine grids",
        _order(3),
        "mathematics",
        "Rounding errors are not reproduced. On usual grids both agree to 5e-5.",
    ),
    Quirk(
        "deis-flow-noise",
        "The noise prediction has the wrong size",
        ("DEISMultistepScheduler",),
        "flow_prediction without use_flow_sigmas",
        "The noise prediction is divided by sigma / alpha.",
        "The noise prediction is divided by sigma.",
        "if the data are one point, a run from step 10 of 20 ends more than 0.1 away from it",
        _prediction("flow_prediction", flow=False),
    ),
    # --- UniPC ---
    Quirk(
        "unipc-half",
        "A weight replaced by an estimate",
        ("UniPCMultistepScheduler", "SASolverScheduler"),
        "two predictions: UniPC's predictor of order 2, its corrector of order 1; SA-Solver on "
        "data",
        "The change between two predictions is weighed by half the step's length (of ``h`` or "
        "``exp(h) - 1``) instead of an integral.",
        "The change is weighed by its integral over the step.",
        "in a long step (h = 1, bh2) the newest prediction weighs 0.32 in the corrector instead "
        "of 0.37; in short steps the two agree",
    ),
    Quirk(
        "unipc-last-step",
        "A last step without numbers",
        ("UniPCMultistepScheduler",),
        "final_sigmas_type zero with bh1, predict_x0 off or lower_order_final off",
        "The step to no noise is infinitely long in log sigma: the result is NaN, or an error.",
        "The last step is of order 1 and removes the noise that is left.",
        "NaN instead of the sample",
        lambda s: (
            s.get("final_sigmas_type") == "zero"
            and (
                s.get("solver_type") == "bh1"
                or not s.get("predict_x0")
                or (not s.get("lower_order_final") and s.get("solver_order", 2) > 1)
            )
        ),
        "mathematics",
        "NaN and crashes are not reproduced.",
    ),
    Quirk(
        "corrector-forgets",
        "Changes between the steps are undone",
        ("UniPCMultistepScheduler", "SASolverScheduler"),
        "a sample that the caller changed between the steps (inpainting)",
        "The corrector starts over from the sample that its own last step returned.",
        "The correction is added to the sample that the model was shown.",
        "a masked pixel that the caller set to 0.3 goes on from its old value",
        None,
    ),
    Quirk(
        "unipc-dimensions",
        "Samples need two dimensions",
        ("UniPCMultistepScheduler",),
        "a sample of shape (n,)",
        "The step stops with an error: its sums are written for a batch of channels.",
        "The step is a weighted sum, which fits any shape.",
        "an error instead of a sample",
        None,
        "mathematics",
        "Crashes are not reproduced.",
    ),
    # --- SA-Solver ---
    Quirk(
        "sa-idle-noise",
        "Noise is drawn where none is used",
        ("SASolverScheduler",),
        "steps where tau is 0: by default those from t < 200 or t > 800",
        "Every step draws noise, and may multiply it by 0.",
        "Noise that weighs nothing is not drawn.",
        "with the same seed, the next draw has other numbers: another image, equally good",
    ),
    # --- Karras VE ---
    Quirk(
        "karras-ve-squared",
        "Noise levels are squared",
        ("KarrasVeScheduler",),
        "every run",
        "schedule holds sigma squared, and the pipeline takes it for sigma.",
        "schedule holds sigma.",
        "the first level is 10000, while the initial noise has a standard deviation of 100",
    ),
    Quirk(
        "karras-ve-idle-noise",
        "Noise is drawn where none is used",
        ("KarrasVeScheduler",),
        "levels outside s_min..s_max, or s_churn 0",
        "add_noise_to_input draws noise and multiplies it by 0.",
        "Noise that weighs nothing is not drawn.",
        "with the same seed, the next draw has other numbers: another image, equally good",
    ),
    # --- EDM ---
    Quirk(
        "edm-rounded-ramp",
        "Levels come from rounded places",
        ("EDMDPMSolverMultistepScheduler", "CosineDPMSolverMultistepScheduler"),
        "the karras schedule",
        "The places of the levels on the schedule are rounded to float32.",
        "The places are exact.",
        "levels are off by up to 1.3e-6 of their size, weights of 200 steps by up to 4e-5",
        lambda s: s.get("sigma_schedule") == "karras",
    ),
    Quirk(
        "edm-churn-reading",
        "An answer is read at another level than it was asked for",
        ("EDMEulerScheduler",),
        "s_churn above 0",
        "The network is asked at sigma, and its answer is scaled as if it had been asked at "
        "sigma_hat.",
        "The answer is scaled by the level that it was asked for.",
        "with an exact network the clean prediction is off by up to 0.17 of its size",
        lambda settings: bool(settings.get("s_churn")),
    ),
    Quirk(
        "edm-sigmas-ramp",
        "Custom sigmas are not noise levels",
        ("EDMEulerScheduler",),
        "set_timesteps(sigmas=...)",
        "The list holds places on the schedule, rising from 0 (sigma_max) to 1 (sigma_min).",
        "The list holds noise levels, falling.",
        "sigmas [0, 1] lead to the levels 80 and 0.002",
        None,
    ),
    Quirk(
        "edm-one-exponential",
        "A single step starts at the smallest level",
        _EDM,
        "one step of the exponential schedule",
        "The only level is sigma_min.",
        "The only level is sigma_max, where a run starts.",
        "pure noise is shown to the model as if it were nearly clean: it comes out as it went in",
        lambda s: s.get("sigma_schedule") == "exponential" and s.get("steps") == 1,
    ),
    Quirk(
        "edm-sde-third-order",
        "Third order with fresh noise fails",
        ("EDMDPMSolverMultistepScheduler",),
        "sde-dpmsolver++ with solver_order 3",
        "The third step stops with an error.",
        "The step of third order exists: its weights are finite.",
        "an error instead of a sample",
        _order(3, "sde-dpmsolver++"),
        "mathematics",
        "Crashes are not reproduced.",
    ),
    Quirk(
        "cosine-still-step",
        "A last step of no length",
        ("CosineDPMSolverMultistepScheduler",),
        "final_sigmas_type sigma_min",
        "The last step leads from sigma_min to sigma_min, asks for the noise of an interval of "
        "no length, and never ends.",
        "A step of no length changes nothing and draws nothing.",
        "an error instead of the sample",
        lambda s: s.get("final_sigmas_type") == "sigma_min",
        "mathematics",
        "Crashes are not reproduced.",
    ),
    # --- score SDEs ---
    Quirk(
        "sde-ve-noise",
        "More noise is added than the level holds",
        ("ScoreSdeVeScheduler",),
        "every run, most of all the last step",
        "A step from sigma to sigma' adds noise of variance ``sigma^2 - sigma'^2``.",
        "A step adds ``(sigma'/sigma)^2`` of that, so that the sample has the noise of its new "
        "level (ancestral sampling).",
        "at 10 steps a sample lands with 3.6 times the noise of its level",
    ),
    Quirk(
        "sde-ve-truncated-index",
        "Levels come from a rounded position",
        ("ScoreSdeVeScheduler",),
        "a large sampling_eps, or one step",
        "The level is read from a table at position t (N - 1), rounded down; the table does not "
        "know sampling_eps.",
        "The level is sigma(t), and each step leads to the next one.",
        "sampling_eps=0.3 visits a level twice in 6 steps; a single step starts from sigma_min",
        lambda values: (
            values["sampling_eps"] * values.get("steps", 2000) >= 1.0 or values.get("steps") == 1
        ),
    ),
    Quirk(
        "sde-ve-batch-norm",
        "A sample depends on the others of its batch",
        ("ScoreSdeVeScheduler",),
        "correct_steps of 1 or more, several samples",
        "The length of a corrector step follows from norms averaged over the batch.",
        "Each sample has a step of its own length.",
        "a sample changes when others are computed beside it",
        lambda values: values["correct_steps"] > 0,
    ),
    Quirk(
        "sde-vp-euler",
        "Steps are longer than the way they go",
        ("ScoreSdeVpScheduler",),
        "every run",
        "Every step takes 1/N of the time, though the times of a run lie (1 - sampling_eps)/(N "
        "- 1) apart and the last levels closer together.",
        "The step from one level to the next is known exactly (ancestral sampling).",
        "below about 500 steps the last step overshoots, and the result is noise",
    ),
    Quirk(
        "sde-vp-cancellation",
        "Levels lose their digits",
        ("ScoreSdeVpScheduler",),
        "every run, most of all the last levels",
        "sigma is the root of ``1 - exp(...)`` in float32, which cancels near the data.",
        "sigma is computed without the difference, by expm1 in float64.",
        "the last level is 1.2e-4 of its size off",
    ),
    # --- consistency ---
    Quirk(
        "lcm-cut-custom-times",
        "A shortened list of times ends noisy",
        ("LCMScheduler",),
        "custom timesteps together with strength below 1",
        "The last step is recognised by the length of the whole list, and so never found.",
        "The last step ends at the clean prediction.",
        "the result keeps the noise of its last level, 0.13 at t = 19",
        None,
    ),
    # --- flow matching ---
    Quirk(
        "flow-shift-twice",
        "The shift is applied twice",
        (*_FLOW, "FlowMatchLCMScheduler", *_LTX),
        "shift other than 1 without dynamic shifting, and no custom sigmas",
        "The grid runs between ends that are shifted already, and is then shifted again.",
        "The grid runs from 1 to 1/T and is shifted once.",
        "the last sigma of 10 steps at shift 3 is 0.0089 instead of 0.0030",
        _shifts_twice,
    ),
    Quirk(
        "flow-churn",
        "Churn leaves the straight path",
        _FLOW[1:],
        "s_churn above 0",
        "Noise is added but the data are not scaled down; more noise is drawn for the second "
        "call of a step and not used.",
        "The churned sample is ``(1 - sigma_hat) x0 + sigma_hat eps``, with noise drawn once.",
        "signal and noise add up to 1.25 instead of 1, after the churn of a step from sigma = 0.6",
        lambda settings: bool(settings.get("s_churn")),
    ),
    Quirk(
        "flow-custom-times",
        "Custom times and their levels differ",
        _SHIFTED_FLOW,
        "set_timesteps(timesteps=...) without sigmas, under a shift",
        "The model is told the times as given, while the levels made of them are shifted.",
        "A time is T times its level.",
        "at shift 3 the model is told 500 while the level is 0.75",
        None,
    ),
    Quirk(
        "flow-inverted-noise",
        "Signal and noise change places",
        _SHIFTED_FLOW,
        "invert_sigmas with scale_noise or stochastic_sampling",
        "With invert_sigmas a sigma is the share of data, but it is used as the share of noise.",
        "An inverted sigma weighs the data.",
        "a stochastic run ends on noise; scale_noise at the first time returns the clean sample",
        _inverted_noise,
    ),
    Quirk(
        "flow-token-sign",
        "The flow of tokens has the other sign",
        _FLOW[:1],
        "step(per_token_timesteps=...)",
        "With a time for each token the model's output is added; a step of the whole sample "
        "subtracts it. Callers negate it.",
        "The output has the same meaning in both.",
        "callers that do not negate it step away from the data",
        None,
    ),
    Quirk(
        "flow-stretch-one",
        "A single step cannot be stretched",
        _SHIFTED_FLOW,
        "shift_terminal with one step",
        "The only level, 1, is stretched by 0 / 0.",
        "A run of one step starts at 1.",
        "NaN instead of the sample",
        None,
        "mathematics",
        "Crashes and NaN are not reproduced.",
    ),
    Quirk(
        "flow-lcm-late-start",
        "A run that starts late",
        ("FlowMatchLCMScheduler",),
        "custom sigmas or timesteps whose first occurs twice, without set_begin_index",
        "The run starts at the second place of its first time, and its last call is past the end.",
        "A run from the start starts at the start.",
        "an IndexError in the last call",
        None,
        "mathematics",
        "Crashes and NaN are not reproduced.",
    ),
    Quirk(
        "flow-any-levels",
        "Custom levels may be anything",
        ("FlowMatchLCMScheduler", *_LTX),
        "set_timesteps(sigmas=...) or (timesteps=...)",
        "Levels may rise, repeat, be 0 or lie outside (0, 1].",
        "Levels descend inside (0, 1].",
        "sigmas 2 and -1 make a run, in which alpha is -1 and 2",
        None,
    ),
    Quirk(
        "ltx-late-start",
        "A run that starts late",
        _LTX,
        "custom sigmas whose first occurs twice, without set_begin_index",
        "The run starts at the second place of its first time, and its last call does nothing.",
        "A run from the start starts at the start.",
        "of the sigmas 1, 1, 0.5 the first call leads to 0.5",
        None,
    ),
    Quirk(
        "ltx-silent-step",
        "Without noise the data weigh too much",
        _LTX,
        "s_noise 0 and eta above 0",
        "The sample is left at sigma_down, and taken for one at sigma_next.",
        "It shrinks to what the target holds of the data, whether noise is added or not.",
        "with 5 steps the third ends with 0.87 of the data, where the level holds 0.75",
        lambda s: s.get("eta", 1.0) > 0.0 >= s.get("s_noise", 1.0),
    ),
    Quirk(
        "ltx-guard",
        "A divisor is not the signal",
        _LTX,
        "eta above 0 and levels within 1e-5 of pure noise",
        "1e-12 is added to the signal at sigma_down, and to its power, before division by them, "
        "in float32.",
        "Nothing is added, or rounded; from noise to noise the weights have a limit.",
        "from sigma 1 to 1 - 6e-8 the added noise has a variance of 1.00 instead of 0.75",
        None,
    ),
    Quirk(
        "ltx-times-are-levels",
        "Times are taken for levels",
        _LTX,
        "set_timesteps(timesteps=...)",
        "The times are used as sigmas.",
        "A time is T times its level.",
        "timesteps 500 means sigma 500 and is shown as 500000",
        None,
    ),
    Quirk(
        "ltx-one-more-time",
        "A time without a step",
        _LTX,
        "set_timesteps(sigmas=...)",
        "The final level has a time too, and a call past the end returns the sample as it is.",
        "A run of N steps has N times.",
        "4 sigmas make 3 steps and 4 calls of the model, the last of which counts for nothing",
        None,
    ),
    # --- many classes ---
    Quirk(
        "idle-last-draw",
        "Noise is drawn that weighs nothing",
        (
            "DDIMScheduler",
            "DDIMParallelScheduler",
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "EDMDPMSolverMultistepScheduler",
            "CMStochasticIterativeScheduler",
            "TCDScheduler",
            *_SHIFTED_FLOW,
        ),
        "the last step of a stochastic run, which leads to no noise",
        "Noise is drawn and multiplied by 0; consistency models multiply it by the root of a "
        "rounding error.",
        "Noise that weighs nothing is not drawn.",
        "a second run with the same generator has other noise; a consistency model with sigma_min "
        "0.1 leaves 9e-5 of noise",
        None,
        "mathematics",
        "Within a run every draw is upstream's; seed a generator for each run.",
    ),
    Quirk(
        "zero-signal",
        "A noise prediction where no signal is left",
        (
            "DDPMScheduler",
            "DDIMScheduler",
            "DDIMParallelScheduler",
            "DDPMParallelScheduler",
            "LCMScheduler",
            "TCDScheduler",
        ),
        "rescale_betas_zero_snr with epsilon, at the last training step",
        "The data prediction is divided by 0: infinite, or -1 and 1 where it is clipped.",
        "At pure noise a noise prediction says nothing about the data.",
        "a ValueError that names prediction_type, instead of a sample of signs",
        _no_signal,
        "mathematics",
        "There is no data prediction to return.",
    ),
    Quirk(
        "first-time-twice",
        "A run that starts late",
        (
            "EulerDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            *(name for name in _OPEN_GRID if "Inverse" not in name),
        ),
        "a first time that occurs twice, as under use_karras_sigmas with the cosine schedule, "
        "without set_begin_index",
        "The run starts at the second place of its first time, and its last call is past the end.",
        "A run from the start starts at the start.",
        "an IndexError in the last call; NaN with KDPM2",
        lambda s: (
            bool(s.get("use_karras_sigmas")) and (s.get("beta_schedule") == "squaredcos_cap_v2")
        ),
        "mathematics",
        "Crashes and NaN are not reproduced.",
    ),
    Quirk(
        "v-on-flow",
        "v is read as on another path",
        _OPEN_GRID,
        "v_prediction with use_flow_sigmas",
        "v is turned into a clean prediction as if ``alpha^2 + sigma^2`` were 1, which holds for "
        "diffusion.",
        "On a flow alpha + sigma is 1; the length ``sqrt(alpha^2 + sigma^2)`` counts.",
        "halfway, at sigma 0.5, the model's answer weighs 0.71 of what it should",
        _prediction("v_prediction", flow=True),
    ),
    Quirk(
        "flow-off-flow",
        "A flow prediction is read with the wrong level",
        _OPEN_GRID,
        "flow_prediction without use_flow_sigmas",
        "The clean prediction is ``x - (sigma / alpha) out``, as if alpha + sigma were 1.",
        "The clean prediction is ``(x - sigma out) / (alpha + sigma)``.",
        "at sigma / alpha = 10 the model's answer weighs 11 times too much",
        _prediction("flow_prediction", flow=False),
    ),
    Quirk(
        "trailing-extra",
        "One call too many",
        (
            "DDPMScheduler",
            "DDIMScheduler",
            "DDIMInverseScheduler",
            "PNDMScheduler",
            "DDIMParallelScheduler",
            "DDPMParallelScheduler",
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "HeunDiscreteScheduler",
            "LMSDiscreteScheduler",
            *_MIDPOINTS,
            *(name for name in _OPEN_GRID if "Singlestep" not in name),  # which has linspace alone
        ),
        "timestep_spacing trailing with N = 61, 103, 121, ... of 1000",
        "Times are counted down in strides that are not whole numbers; by rounding, t = -1 "
        "slips in at the end.",
        "There are N times.",
        "62 model calls for 61 steps, the last at t = -1, which no model has seen",
        _one_too_many,
    ),
    Quirk(
        "frozen-config",
        "A frozen config that can be changed",
        (),
        "assignment to an entry of config",
        "Entries can be changed, without an effect on the run.",
        "Assignment is refused.",
        "a setting that seems to hold and does not",
        None,
        "mathematics",
        "What does nothing must say so.",
    ),
    Quirk(
        "wrong-input",
        "Wrong input passes in silence",
        (),
        "negative steps, unknown names, arrays of the wrong shape",
        "0 to 2 of about 12 kinds of wrong input are refused.",
        "Each is refused with a message that names the parameter.",
        "an image of noise, or a crash somewhere else, instead of an error",
        None,
        "mathematics",
        "No image depends on it.",
    ),
)


#: Slugs of the quirks that ``compat`` chooses in.
SWITCHES = frozenset(quirk.slug for quirk in QUIRKS if quirk.ours == "switch")


def followed(slug: str, settings: Settings) -> bool:
    """Whether upstream is followed where one of its quirks leaves the mathematics.

    Args:
        slug: A quirk that ``compat`` switches.
        settings: Parameters with their values; upstream is followed unless ``compat`` is "paper".

    Raises:
        TypeError: The slug is no text.
        ValueError: ``compat`` switches no quirk of that name.
    """
    check_choice("slug", slug, sorted(SWITCHES))
    return bool(settings.get("compat") != "paper")


def quirks_of(name: str) -> tuple[Quirk, ...]:
    """The quirks that concern a class, its own before those it shares with all.

    Args:
        name: Class name.
    """
    return tuple(quirk for quirk in QUIRKS if quirk.concerns(name))
