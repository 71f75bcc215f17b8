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
        ours: "switch" if ``compat`` chooses; "mathematics" if we never follow upstream (crashes
            and NaN are not reproduced); "upstream" if there is no mathematics to follow.
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
        if self.ours == "switch" and settings.get("compat") == "paper":
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
    return settings.get("shift") != 1.0 and not settings.get("use_dynamic_shifting")


def _inverted_noise(settings: Settings) -> bool:
    """Fresh noise on a flow that counts from data."""
    return bool(settings.get("invert_sigmas") and settings.get("stochastic_sampling"))


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
)

_EDM = (
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "CosineDPMSolverMultistepScheduler",
)

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
        "Steps that miss the next grid point",
        ("DDIMScheduler", "DDIMParallelScheduler"),
        "timestep_spacing linspace, or trailing where N does not divide T",
        "A step leads to t - T // N, whatever the next time of the grid is.",
        "A step leads to the next time of the grid.",
        "sigma is off by up to 0.03 where the model is asked next",
        _strides,
    ),
    # --- DDIM inverse ---
    Quirk(
        "inverse-stride",
        "Times shifted by one stride",
        ("DDIMInverseScheduler",),
        "every run",
        "The model is told the time that a step leads to, not the one where the sample stands.",
        "The model is told the time where the sample stands.",
        "off by T // N: the sample at t = 0 is shown as if it stood at t = 50, with 20 steps",
    ),
    # --- PNDM ---
    Quirk(
        "pndm-midway",
        "Calls counted instead of placed",
        ("PNDMScheduler",),
        "a run started midway (image-to-image)",
        "The second call of a PLMS run is taken for the repeated one, and Runge-Kutta steps "
        "start at the first times of the grid, wherever the run starts.",
        "What a call does follows from its place in timesteps.",
        "a point mass is missed by 0.4, started at call 18 of 21; with Runge-Kutta steps by any number",
        None,
    ),
    Quirk(
        "pndm-stride",
        "Steps that miss the next grid point",
        ("PNDMScheduler",),
        "linspace; trailing where N does not divide T; Runge-Kutta steps where T // N is odd",
        "A step leads to t - T // N, its middle to t - T // N // 2, wherever the model is asked.",
        "A step leads to the time that the model is asked at next.",
        "a point mass is missed by 8e-4 for 8 steps, by 0.03 for 30 linspace steps",
        lambda s: _strides(s) or _odd_halves(s),
    ),
    Quirk(
        "pndm-mixed-v",
        "Velocities combined before they are read",
        ("PNDMScheduler",),
        "v_prediction",
        "Outputs of several calls are summed, and the sum read at one of their levels.",
        "Each output is read at its own level, and the noise predictions are summed.",
        "a point mass is missed by 0.08 for 20 steps",
        lambda s: s.get("prediction_type") == "v_prediction",
    ),
    Quirk(
        "pndm-few-steps",
        "No grid for fewer than four steps",
        ("PNDMScheduler",),
        "1 to 3 steps without skip_prk_steps",
        "set_timesteps crashes.",
        "All steps but the last are Runge-Kutta steps.",
        "an exception about array shapes",
        lambda s: not s.get("skip_prk_steps") and int(s.get("steps", 50)) < 4,
        "mathematics",
        "Crashes are not reproduced.",
    ),
    # --- IPNDM ---
    Quirk(
        "ipndm-first-step",
        "The first data prediction is lost",
        ("IPNDMScheduler",),
        "the first step of every run",
        "At alpha = 0 it divides by 1e-8, and what is left of the data prediction is 0.",
        "The data prediction is -v, and the step uses it.",
        "a point mass is missed by 0.2 of it after the first of 10 steps",
    ),
    # --- parallel ---
    Quirk(
        "parallel-end",
        "Batched steps that land elsewhere",
        ("DDIMParallelScheduler", "DDPMParallelScheduler"),
        "batch_step_no_noise with set_alpha_to_one=False, or on uneven grids",
        "Steps lead to t - T // N, and the last one to the clean end.",
        "Batched steps lead where step leads.",
        "sigma 0 instead of 0.01 at the end; off by up to 0.03 on linspace grids",
        None,
    ),
    # --- Euler ---
    Quirk(
        "euler-late-churn",
        "The model is asked before the churn",
        ("EulerDiscreteScheduler",),
        "s_churn above 0",
        "The model is asked at sigma, then noise lifts the sample to sigma_hat.",
        "Noise lifts the sample to sigma_hat, and the model is asked there.",
        "noise of 1.94 times the next level's variance, at call 11 of 20 with s_churn 20",
        lambda s: float(s.get("s_churn") or 0.0) > 0.0,
        "upstream",
        "A step that is handed the model's answer cannot ask again; KarrasVeScheduler can.",
    ),
    Quirk(
        "euler-velocity",
        "get_velocity reads the wrong level",
        ("EulerDiscreteScheduler",),
        "training with get_velocity after set_timesteps",
        "Alphas are looked up at the position in the schedule.",
        "Alphas are looked up at the training step.",
        "the velocity of a unit image at t = 999 is -0.01 instead of -1",
        None,
    ),
    Quirk(
        "half-data-prediction",
        "pred_original_sample in another precision",
        ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        "float16 or bfloat16 samples",
        "pred_original_sample stays float32 while prev_sample is half.",
        "Both have the dtype of the input.",
        "twice the memory for one of the two outputs",
        None,
        "mathematics",
        "The dtype is a slip; the values are the same.",
    ),
    # --- LMS ---
    Quirk(
        "lms-midway",
        "Order counted from the wrong end",
        ("LMSDiscreteScheduler",),
        "a run started midway (image-to-image)",
        "The order follows the position in the schedule, the slopes those at hand.",
        "Order and slopes both follow the calls made so far.",
        "a point mass is missed by 0.3, started at step 10 of 20",
        None,
    ),
    # --- DPM2 ---
    Quirk(
        "dpm2-midpoint-noise",
        "Noise for a midpoint goes one level too far",
        _MIDPOINTS,
        "add_noise at the time of a midpoint",
        "Noise of the level after the midpoint is added.",
        "Noise of the midpoint is added.",
        "sigma 7.50 instead of 9.99 at the second midpoint of 10 steps",
        None,
    ),
    Quirk(
        "dpm2-midpoint-start",
        "A run cannot start at a midpoint",
        _MIDPOINTS,
        "a run started at a midpoint (image-to-image)",
        "The midpoint is taken for the level after it.",
        "The run goes on from the midpoint with an ordinary step.",
        "a point mass is missed by the difference of the two levels",
        None,
        "mathematics",
        "Upstream's step mixes two levels; there is no image to reproduce.",
    ),
    Quirk(
        "dpm2a-cancellation",
        "Midpoints of long ancestral steps",
        ("KDPM2AncestralDiscreteScheduler",),
        "few steps, or a steep noise schedule",
        "sigma_down is a float32 difference, which cancels in long steps, down to NaN.",
        "sigma_down is sigma_next^2 / sigma.",
        "midpoint times off by up to 2.5; NaN for 2 steps over 4000 training steps, never here",
    ),
    Quirk(
        "ancestral-cancellation",
        "Long ancestral steps",
        ("EulerAncestralDiscreteScheduler", "DPMPP2SAncestralScheduler"),
        "few steps, or a steep noise schedule",
        "sigma_down is a float32 difference, which cancels in long steps, down to NaN; "
        "k-diffusion's too.",
        "sigma_down is sigma_next^2 / sigma.",
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
        "The tree of noise loses its place: the copy's next step crashes, and pickle at once.",
        "The copy goes on with the same noise.",
        "a KeyError in the next step of the copy",
        None,
        "mathematics",
        "Crashes are not reproduced.",
    ),
    Quirk(
        "dpm-sde-generator",
        "Noise that no generator decides",
        ("DPMSolverSDEScheduler",),
        "noise_sampler_seed None",
        "step takes no generator: the seed of the path comes from the global random state.",
        "The generator of step draws the path; without one it is upstream's.",
        "a pipeline with the same generator makes another image every time",
        None,
        "mathematics",
        "Whoever passes a generator wants its numbers; noise_sampler_seed gives upstream's.",
    ),
    # --- DPM-Solver ---
    Quirk(
        "dpm-third-order",
        "Third order is second order",
        ("DPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler"),
        "solver_order 3",
        "The second derivative lacks a factor 2.",
        "The second derivative of the interpolation, whole.",
        "observed order 2 instead of 3; errors 6 to 130 times larger",
        _order(3),
    ),
    Quirk(
        "sde-half-sign",
        "A flipped sign in the third-order SDE",
        ("DPMSolverMultistepScheduler",),
        "sde-dpmsolver++ with solver_order 3",
        "The 0.5 in the weight of the second derivative has the wrong sign.",
        "The weight is the integral, which vanishes with the step.",
        "the oldest prediction weighs more than 3 times too much on a fine grid",
        _order(3, "sde-dpmsolver++"),
    ),
    Quirk(
        "sde-half-sign-singlestep",
        "A flipped sign in the third-order SDE",
        ("DPMSolverSinglestepScheduler",),
        "sde-dpmsolver++ with solver_order 3 and solver_type heun",
        "The 0.5 in the weight of the second derivative has the wrong sign.",
        "The weight is the integral, which vanishes with the step.",
        "the middle prediction weighs more than 3 times too much on a fine grid",
        _order(3, "sde-dpmsolver++", solver_type="heun"),
    ),
    Quirk(
        "sde-third-order-crash",
        "Third order of the plain SDE",
        ("DPMSolverMultistepScheduler",),
        "sde-dpmsolver with solver_order 3",
        "The step crashes.",
        "The row of third order exists and is finite.",
        "an exception instead of a sample",
        _order(3, "sde-dpmsolver"),
        "mathematics",
        "Crashes are not reproduced.",
    ),
    Quirk(
        "sde-variance",
        "The plain SDE form adds too much noise",
        ("DPMSolverMultistepScheduler", "SASolverScheduler"),
        "sde-dpmsolver; noise_prediction where tau is 1",
        "Noise and noise prediction together have variance sigma^2 (1 + 2 (e^h - 1)^2).",
        "An exact step would leave variance sigma^2.",
        "at h = 0.5 the variance is 1.84 times what the level says; it vanishes with the step",
        lambda s: s.get("algorithm_type") in ("sde-dpmsolver", "noise_prediction"),
        "upstream",
        "The paper's own first-order form has it; sde-dpmsolver++ has not.",
    ),
    Quirk(
        "still-step",
        "A step of no length",
        (
            "DPMSolverMultistepScheduler",
            "UniPCMultistepScheduler",
            "EDMDPMSolverMultistepScheduler",
        ),
        "solver_order 3, a sigma curve that ends at sigma_min, and final_sigmas_type sigma_min; "
        "UniPC without lower_order_final",
        "0 / 0: the last sample is NaN.",
        "A step of no length changes nothing.",
        "NaN instead of the sample",
        _ends_twice,
        "mathematics",
        "NaN is not reproduced.",
    ),
    Quirk(
        "inverse-dropped-times",
        "Times are dropped, their sigmas stay",
        ("DPMSolverMultistepInverseScheduler",),
        "times that repeat: use_karras_sigmas in long runs, above about 60 of 1000 steps",
        "A repeated time is dropped, its sigma is not, and the rest of the run is told wrong times.",
        "Times and sigmas stay together.",
        "200 Karras steps: 193 times for 201 sigmas; the run ends at sigma 134 instead of 157",
        lambda s: bool(s.get("use_karras_sigmas")) and int(s.get("steps", 1)) > 60,
    ),
    Quirk(
        "inverse-flow-down",
        "The inverse of a flow runs down",
        ("DPMSolverMultistepInverseScheduler",),
        "use_flow_sigmas",
        "The grid of the forward sampler is taken, from noise to data.",
        "The grid is ascending, from data to noise.",
        "the first call of 10 is made at sigma 0.9 instead of 0.09",
        lambda s: bool(s.get("use_flow_sigmas")),
    ),
    Quirk(
        "inverse-sde",
        "No number for the SDE run upward",
        ("DPMSolverMultistepInverseScheduler",),
        "sde-dpmsolver or sde-dpmsolver++",
        "The variance of the noise is negative, its root NaN.",
        "Noise that is removed and renewed does not grow: the step follows the ODE.",
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
        "Coefficients lost in float32",
        ("DEISMultistepScheduler",),
        "solver_order 3",
        "The integrals of the coefficients cancel in float32.",
        "The integrals are taken in float64.",
        "observed order 0.3 instead of 3.0",
        _order(3),
        "mathematics",
        "Rounding errors are not reproduced; on usual grids both agree to 5e-5.",
    ),
    Quirk(
        "deis-flow-noise",
        "The noise read with the wrong level",
        ("DEISMultistepScheduler",),
        "flow_prediction without use_flow_sigmas",
        "The noise prediction is divided by sigma / alpha.",
        "The noise prediction is divided by sigma.",
        "a point mass is missed by more than 0.1, started at step 10 of 20",
        _prediction("flow_prediction", flow=False),
    ),
    # --- UniPC ---
    Quirk(
        "unipc-half",
        "A half in place of an integral",
        ("UniPCMultistepScheduler", "SASolverScheduler"),
        "two predictions: UniPC's predictor of order 2, its corrector of order 1; SA-Solver on data",
        "The slope weighs B(h) / 2, of the same order as its integral.",
        "The slope weighs its integral.",
        "at h = 1 (bh2) the newest prediction weighs 0.32 in the corrector instead of 0.37",
    ),
    Quirk(
        "unipc-last-step",
        "No number for a step to no noise",
        ("UniPCMultistepScheduler",),
        "final_sigmas_type zero with bh1, predict_x0 off or lower_order_final off",
        "h is infinite: the last sample is NaN, or the linear system singular.",
        "The step is of order 1, and removes the noise that is left.",
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
        "What is changed between the steps is forgotten",
        ("UniPCMultistepScheduler", "SASolverScheduler"),
        "a sample that the caller changed between the steps (inpainting)",
        "The corrector starts over from its own last sample.",
        "The correction is added to the sample that the model was shown.",
        "a masked pixel set to 0.3 goes on from where the solver had left it",
        None,
    ),
    Quirk(
        "unipc-dimensions",
        "Samples need two dimensions",
        ("UniPCMultistepScheduler",),
        "a sample of shape (n,)",
        "The step crashes: its sums are written for a batch of channels.",
        "A row of weights fits any shape.",
        "an exception instead of a sample",
        None,
        "mathematics",
        "Crashes are not reproduced.",
    ),
    # --- SA-Solver ---
    Quirk(
        "sa-idle-noise",
        "Noise is drawn where tau is 0",
        ("SASolverScheduler",),
        "steps where tau is 0: by default those from t < 200 or t > 800",
        "Every step draws noise, and may multiply it by 0.",
        "Noise that weighs nothing is not drawn.",
        "the generator stands elsewhere after each such step",
    ),
    # --- Karras VE ---
    Quirk(
        "karras-ve-squared",
        "Noise levels are squared",
        ("KarrasVeScheduler",),
        "every run",
        "schedule holds sigma squared, and the pipeline takes it for sigma.",
        "schedule holds sigma.",
        "the first level is 1e4 while the initial noise has 100",
    ),
    Quirk(
        "karras-ve-idle-noise",
        "Noise is drawn and thrown away",
        ("KarrasVeScheduler",),
        "levels outside s_min..s_max, or s_churn 0",
        "add_noise_to_input draws noise and multiplies it by 0.",
        "Noise that weighs nothing is not drawn.",
        "the generator stands elsewhere after each such step",
    ),
    # --- EDM ---
    Quirk(
        "edm-churn-reading",
        "An answer read at a level it was not asked for",
        ("EDMEulerScheduler",),
        "s_churn above 0",
        "The network, asked at sigma, is read as if it had been asked at sigma_hat.",
        "Its answer is read with the weights of the level it was asked at.",
        "the data prediction is off by up to 0.17 of it for an exact network",
        lambda settings: bool(settings.get("s_churn")),
    ),
    Quirk(
        "edm-sigmas-ramp",
        "Custom sigmas are no sigmas",
        ("EDMEulerScheduler",),
        "set_timesteps(sigmas=...)",
        "The list is a ramp from 0 to 1 of places on the schedule.",
        "The list holds noise levels.",
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
        "noise of 80 is shown as if its level were 0.002",
        lambda s: s.get("sigma_schedule") == "exponential" and s.get("steps") == 1,
    ),
    Quirk(
        "edm-sde-third-order",
        "Third order of the stochastic form",
        ("EDMDPMSolverMultistepScheduler",),
        "sde-dpmsolver++ with solver_order 3",
        "The third step crashes.",
        "The row of third order exists and is finite.",
        "an exception instead of a sample",
        _order(3, "sde-dpmsolver++"),
        "mathematics",
        "Crashes are not reproduced.",
    ),
    Quirk(
        "cosine-still-step",
        "A Brownian path over no interval",
        ("CosineDPMSolverMultistepScheduler",),
        "final_sigmas_type sigma_min",
        "The last step, from sigma_min to sigma_min, asks the path for an increment over an "
        "interval of no length and recurses without end.",
        "A step of no length changes nothing and draws nothing.",
        "an exception instead of the sample",
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
        "The predictor adds noise of variance sigma^2 - sigma'^2 (reverse diffusion).",
        "Ancestral sampling adds (sigma'/sigma)^2 of it, so that the variance comes out.",
        "at 10 steps a sample lands with 3.6 times the noise of its level",
    ),
    Quirk(
        "sde-ve-truncated-index",
        "Levels are found by truncating a product",
        ("ScoreSdeVeScheduler",),
        "a large sampling_eps, or one step",
        "The level is entry t (N - 1), cut off, of a table that knows nothing of sampling_eps.",
        "The level is sigma(t), and each step leads to the next one.",
        "sampling_eps=0.3 visits a level twice in 6 steps; one step starts from sigma_min",
        lambda values: values["sampling_eps"] * values.get("steps", 2000) >= 1.0,
    ),
    Quirk(
        "sde-ve-batch-norm",
        "A corrector step depends on the rest of the batch",
        ("ScoreSdeVeScheduler",),
        "correct_steps of 1 or more, several samples",
        "The Langevin step takes the mean of the norms over the batch.",
        "Each sample has a step of its own norms.",
        "a sample changes with its company",
        lambda values: values["correct_steps"] > 0,
    ),
    Quirk(
        "sde-vp-euler",
        "A step is as long as 1/N, whatever the times",
        ("ScoreSdeVpScheduler",),
        "every run",
        "Euler-Maruyama over dt = 1/N, though the times lie (1 - sampling_eps)/(N - 1) apart.",
        "The reverse transition between two levels is known exactly (ancestral sampling).",
        "below about 500 steps the last step overshoots, and the result is noise",
    ),
    # --- consistency ---
    Quirk(
        "lcm-cut-custom-times",
        "A shortened list of times ends noisy",
        ("LCMScheduler",),
        "custom timesteps together with strength below 1",
        "The last step is looked for at the length of the whole list, and is not found.",
        "The last step ends at the prediction.",
        "the result keeps the noise of its last level, 0.13 at t = 19",
        None,
    ),
    # --- flow matching ---
    Quirk(
        "flow-shift-twice",
        "The shift is applied twice",
        _FLOW,
        "shift other than 1 without dynamic shifting, and no custom sigmas",
        "The grid runs between ends that are shifted already, and is shifted again.",
        "The grid runs from 1 to 1/T and is shifted once.",
        "the last sigma of 10 steps at shift 3 is 0.0089 instead of 0.0030",
        _shifts_twice,
    ),
    Quirk(
        "flow-churn",
        "Churn leaves the flow",
        _FLOW[1:],
        "s_churn above 0",
        "Noise is added without weighing the data down, and drawn again, unused, for the second "
        "call of a step.",
        "The churned sample is (1 - sigma_hat) x0 + sigma_hat eps, and is drawn once.",
        "alpha + sigma is up to 1.25 instead of 1 after the churn of a step from sigma = 0.6",
        lambda settings: bool(settings.get("s_churn")),
    ),
    Quirk(
        "flow-custom-times",
        "Custom times and their levels differ",
        _FLOW[:1],
        "set_timesteps(timesteps=...) without sigmas, under a shift",
        "The model is told the times as given, while the levels made of them are shifted.",
        "A time is T times its level.",
        "at shift 3 the model is told 500 at the level 0.75",
        None,
    ),
    Quirk(
        "flow-inverted-noise",
        "Signal and noise change places",
        _FLOW[:1],
        "invert_sigmas with scale_noise or stochastic_sampling",
        "An inverted sigma, the share of data, is used as the share of noise.",
        "An inverted sigma weighs the data.",
        "a stochastic run ends on noise; scale_noise at the first time returns the clean sample",
        _inverted_noise,
    ),
    Quirk(
        "flow-token-sign",
        "Minus the flow for tokens with a time of their own",
        _FLOW[:1],
        "step(per_token_timesteps=...)",
        "The output is added where a step of the whole sample subtracts it: callers negate it.",
        "The output is the flow, whoever has a time of its own.",
        "a step away from the data for callers that do not negate it",
        None,
    ),
    Quirk(
        "flow-stretch-one",
        "A single step cannot be stretched",
        _FLOW[:1],
        "shift_terminal with one step",
        "The only level, 1, is stretched by 0 / 0.",
        "A run of one step starts at 1.",
        "NaN",
        None,
        "mathematics",
        "Crashes and NaN are not reproduced.",
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
            "FlowMatchEulerDiscreteScheduler",
        ),
        "the last step of a stochastic run, which leads to no noise",
        "Noise is drawn and multiplied by 0; consistency models multiply it by the root of a "
        "rounding error.",
        "Noise that weighs nothing is not drawn.",
        "the generator stands elsewhere after the run: a second run with it has other noise; 9e-5 "
        "of noise is left by a consistency model with sigma_min 0.1",
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
        "v read as if the path were a circle",
        _OPEN_GRID,
        "v_prediction with use_flow_sigmas",
        "v is read as if alpha^2 + sigma^2 were 1.",
        "v is read with the norm sqrt(alpha^2 + sigma^2) of the path.",
        "halfway, at sigma 0.5, the model's answer weighs 0.71 of what it should",
        _prediction("v_prediction", flow=True),
    ),
    Quirk(
        "flow-off-flow",
        "A flow prediction read with the wrong level",
        _OPEN_GRID,
        "flow_prediction without use_flow_sigmas",
        "It is read as x - (sigma / alpha) out, as if on the flow path.",
        "It is read as (x - sigma out) / (alpha + sigma).",
        "at sigma / alpha = 10 the model's answer weighs 11 times too much",
        _prediction("flow_prediction", flow=False),
    ),
    Quirk(
        "trailing-extra",
        "One time too many",
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
            "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            *_OPEN_GRID,
        ),
        "timestep_spacing trailing with N = 61, 103, 121, ... of 1000",
        "The times are counted with a float stride, and t = -1 slips in.",
        "There are N times.",
        "62 model calls for 61 steps, the last at t = -1",
        _one_too_many,
    ),
    Quirk(
        "frozen-config",
        "A frozen config that is not",
        (),
        "assignment to an entry of config",
        "FrozenDict lets entries be changed, without an effect on the run.",
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


def quirks_of(name: str) -> tuple[Quirk, ...]:
    """The quirks that concern a class, its own before those it shares with all.

    Args:
        name: Class name.
    """
    return tuple(quirk for quirk in QUIRKS if quirk.concerns(name))
