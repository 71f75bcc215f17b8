"""Diffusers' own pipelines, on tiny random networks, make the same image with our schedulers.

A pipeline inspects signatures, moves timesteps, scales inputs, passes None, cuts the schedule and
copies it: what a drop-in must take. Whole networks in the loop leave more float32 rounding than the
fake model elsewhere.
"""

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity import tiny
from tests.parity.harness import SCHEDULERS
from tests.parity.oracle import DIFFUSERS, SchedulerLike, diffusers_class

CLOSE = 1e-4
STEPS = 5


def theirs_alone(name: str, config: Mapping[str, Any]) -> SchedulerLike:
    """Their class as it is, without what the oracle adds to it for other tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return diffusers_class(name)(**config)


def fitting(*needs: str) -> list[str]:
    """Classes whose originals offer what a pipeline calls."""

    def fits(cls: type[SchedulerLike]) -> bool:
        if not hasattr(cls, "step"):
            return False
        parameters = inspect.signature(cls.step).parameters.values()
        required = [p.name for p in parameters if p.default is p.empty]
        plain = required == ["self", "model_output", "timestep", "sample"]
        source = inspect.getsource(cls)
        return plain and all(f" {need}" in source or f".{need}" in source for need in needs)

    return [name for name in DIFFUSERS if fits(diffusers_class(name))]


#: Those that go down from noise, on the scale of the latent diffusion family.
LATENT = [n for n in fitting("init_noise_sigma", "scale_model_input") if "Inverse" not in n]
FROM_IMAGES = [n for n in LATENT if n in fitting("def add_noise")]
FLOW = [
    name
    for name in DIFFUSERS
    if name.startswith("FlowMatch")
    or "use_flow_sigmas" in inspect.signature(diffusers_class(name)).parameters
]


def settings(name: str, **config: object) -> dict[str, object]:
    """What the class knows of a configuration; with a seed where noise ignores the generator."""
    known = inspect.signature(diffusers_class(name)).parameters
    return {k: v for k, v in {**config, "noise_sampler_seed": 4}.items() if k in known}


def same(
    make: Callable[[SchedulerLike], tiny.Pipeline],
    name: str,
    config: Mapping[str, Any],
    **call: object,
) -> None:
    """Run the pipeline with either scheduler, and compare the images."""
    images = []
    for scheduler in (theirs_alone(name, config), SCHEDULERS[name](**config)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = make(scheduler)
            pipeline.scheduler = scheduler  # some make their own from its config
            pipeline.set_progress_bar_config(disable=True)
            torch.manual_seed(5)
            generator = torch.Generator().manual_seed(1)
            images.append(pipeline(output_type="np", generator=generator, **call).images)
    assert np.isfinite(images[0]).all() and images[0].std() > 0.01
    assert np.abs(images[0] - images[1]).max() <= CLOSE


# --- without a condition ----------------------------------------------------------------------

UNCONDITIONAL = [
    ("DDPMScheduler", "ddpm.pipeline_ddpm.DDPMPipeline", {"variance_type": "fixed_small"}, {}),
    ("DDPMScheduler", "ddpm.pipeline_ddpm.DDPMPipeline", {"variance_type": "fixed_large"}, {}),
    ("DDIMScheduler", "ddim.pipeline_ddim.DDIMPipeline", {}, {}),
    ("DDIMScheduler", "ddim.pipeline_ddim.DDIMPipeline", {}, {"eta": 0.5}),
    ("PNDMScheduler", "deprecated.pndm.pipeline_pndm.PNDMPipeline", {}, {}),
    (
        "KarrasVeScheduler",
        "deprecated.stochastic_karras_ve.pipeline_stochastic_karras_ve.KarrasVePipeline",
        {"sigma_max": 3.0},
        {},
    ),
    (
        "ScoreSdeVeScheduler",
        "deprecated.score_sde_ve.pipeline_score_sde_ve.ScoreSdeVePipeline",
        {"sigma_max": 3.0},
        {},
    ),
    (
        "CMStochasticIterativeScheduler",
        "consistency_models.pipeline_consistency_models.ConsistencyModelPipeline",
        {},
        {},
    ),
]


@pytest.mark.parametrize(
    ("name", "path", "config", "call"), [case for case in UNCONDITIONAL if case[0] in DIFFUSERS]
)
def test_unconditional(
    name: str, path: str, config: dict[str, object], call: dict[str, object]
) -> None:
    module, cls = path.rsplit(".", 1)
    pipeline = getattr(importlib.import_module(f"diffusers.pipelines.{module}"), cls)
    same(
        lambda s: pipeline(unet=tiny.unet(3, 3), scheduler=s), name, config,
        batch_size=2, num_inference_steps=STEPS, **call,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("DDIMScheduler", {"clip_sample": False, "steps_offset": 1}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}),
        ("KDPM2DiscreteScheduler", {"use_karras_sigmas": True}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
    ],
)
def test_latent_super_resolution(name: str, config: dict[str, object]) -> None:
    from diffusers.pipelines.latent_diffusion import (
        pipeline_latent_diffusion_superresolution as module,
    )

    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0155}
    same(
        lambda s: module.LDMSuperResolutionPipeline(
            vqvae=tiny.quantiser(), unet=tiny.unet(6, 3), scheduler=s
        ),
        name, {**betas, **config},
        image=torch.tanh(tiny.noise(2, 3, 8, 8)), num_inference_steps=STEPS, eta=0.3,
    )  # fmt: skip


# --- with words -------------------------------------------------------------------------------

IMAGE = torch.tanh(tiny.noise(1, 3, tiny.SIDE, tiny.SIDE))
SIZE = {"height": tiny.SIDE, "width": tiny.SIDE}


@pytest.mark.parametrize("name", LATENT)
def test_text_to_image(name: str) -> None:
    same(
        tiny.stable_diffusion, name, settings(name, steps_offset=1),
        num_inference_steps=STEPS, **SIZE, **tiny.prompt(),
    )  # fmt: skip


@pytest.mark.parametrize("strength", [0.35, 1.0])
@pytest.mark.parametrize("name", FROM_IMAGES)
def test_image_to_image(name: str, strength: float) -> None:
    """From the middle of the schedule, and from its start."""
    same(
        lambda s: tiny.stable_diffusion(s, "Img2Img"), name, settings(name),
        image=IMAGE, strength=strength, num_inference_steps=STEPS, **tiny.prompt(),
    )  # fmt: skip


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_inpainting(name: str) -> None:
    """Every step the known half is noised anew to the level of the next one."""
    mask = torch.ones(1, 1, tiny.SIDE, tiny.SIDE)
    mask[..., : tiny.SIDE // 2] = 0.0
    same(
        lambda s: tiny.stable_diffusion(s, "Inpaint"), name, settings(name),
        image=IMAGE, mask_image=mask, strength=0.8, num_inference_steps=STEPS, **SIZE,
        **tiny.prompt(),
    )  # fmt: skip


@pytest.mark.parametrize("name", LATENT)
def test_stable_diffusion_xl(name: str) -> None:
    config = settings(name, use_karras_sigmas=True, timestep_spacing="trailing")
    same(
        tiny.stable_diffusion_xl, name, config,
        num_inference_steps=STEPS, **SIZE, **tiny.prompt(pooled=True),
    )  # fmt: skip


@pytest.mark.parametrize("name", FLOW)
def test_stable_diffusion_3(name: str) -> None:
    config = settings(
        name, shift=3.0, flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    same(
        tiny.stable_diffusion_3, name, config,
        num_inference_steps=STEPS, **SIZE, **tiny.prompt(pooled=True),
    )  # fmt: skip


def test_custom_timesteps_and_sigmas_reach_the_scheduler() -> None:
    words = tiny.prompt(pooled=True)
    for name, config, given in (
        ("EulerDiscreteScheduler", {}, {"timesteps": [900, 500, 100]}),
        ("EulerDiscreteScheduler", {}, {"sigmas": [10.0, 3.0, 0.5, 0.0]}),
        ("DPMSolverMultistepScheduler", {}, {"timesteps": [900, 500, 100]}),
        ("DDPMScheduler", {}, {"timesteps": [900, 500, 100]}),
    ):
        same(tiny.stable_diffusion_xl, name, config, **given, **SIZE, **words)
    flow = {"sigmas": [1.0, 0.7, 0.2]}
    same(tiny.stable_diffusion_3, "FlowMatchEulerDiscreteScheduler", {}, **flow, **SIZE, **words)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_a_pipeline_that_keeps_one_state_for_each_view(name: str) -> None:
    """The panorama copies the scheduler's ``__dict__`` and swaps it in before every step."""
    from diffusers.pipelines.deprecated.stable_diffusion_panorama import (
        pipeline_stable_diffusion_panorama as module,
    )

    nothing = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    same(
        lambda s: module.StableDiffusionPanoramaPipeline(
            vae=tiny.autoencoder(), unet=tiny.conditional_unet(), scheduler=s,
            requires_safety_checker=False, **nothing,
        ),
        name, {}, num_inference_steps=STEPS, **SIZE, **tiny.prompt(),
    )  # fmt: skip
