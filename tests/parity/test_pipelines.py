"""Diffusers' own pipelines, on tiny random networks, make the same image with our schedulers.

A pipeline inspects signatures, moves timesteps, scales inputs, passes None: what a drop-in must
take. Whole networks in the loop leave more float32 rounding than the fake model elsewhere.
"""

import warnings
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from tests.parity.oracle import diffusers_scheduler

Network: TypeAlias = Any
CLOSE = 1e-4


@cache
def unet(channels: int, out: int) -> Network:
    """A U-Net of a few thousand random weights."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, in_channels=channels, out_channels=out, layers_per_block=1,
        block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip


@cache
def decoder() -> Network:
    """A vector-quantised autoencoder, for the latent pipeline."""
    from diffusers.models.autoencoders.vq_model import VQModel

    torch.manual_seed(1)
    return VQModel(
        block_out_channels=(8,), down_block_types=("DownEncoderBlock2D",), latent_channels=3,
        up_block_types=("UpDecoderBlock2D",), norm_num_groups=4, num_vq_embeddings=16,
    ).eval()  # fmt: skip


def same(make: Any, name: str, config: dict[str, object], **call: object) -> None:  # noqa: ANN401
    """Run the pipeline with either scheduler, and compare the images."""
    images = []
    for scheduler in (diffusers_scheduler(name, **config), SCHEDULERS[name](**config)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = make(diffusers_scheduler(name, **config))
        pipeline.scheduler = scheduler
        pipeline.set_progress_bar_config(disable=True)
        torch.manual_seed(5)
        if "seed" in call:
            call["generator"] = torch.Generator().manual_seed(1)
        arguments = {key: value for key, value in call.items() if key != "seed"}
        images.append(pipeline(output_type="np", **arguments).images)
    assert np.isfinite(images[0]).all() and images[0].std() > 0.01
    assert np.abs(images[0] - images[1]).max() <= CLOSE


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm(variance: str) -> None:
    from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline

    same(
        lambda s: DDPMPipeline(unet=unet(3, 3), scheduler=s), "DDPMScheduler",
        {"variance_type": variance}, batch_size=2, num_inference_steps=10, seed=1,
    )  # fmt: skip


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim(eta: float) -> None:
    from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline

    same(
        lambda s: DDIMPipeline(unet=unet(3, 3), scheduler=s), "DDIMScheduler", {},
        batch_size=2, num_inference_steps=10, eta=eta, seed=1,
    )  # fmt: skip


def test_karras_ve() -> None:
    from diffusers.pipelines.deprecated.stochastic_karras_ve import (
        pipeline_stochastic_karras_ve as module,
    )

    same(
        lambda s: module.KarrasVePipeline(unet=unet(3, 3), scheduler=s), "KarrasVeScheduler",
        {"sigma_max": 3.0}, batch_size=2, num_inference_steps=6, seed=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("DDIMScheduler", {"clip_sample": False, "steps_offset": 1}),
        ("DDPMScheduler", {}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("LMSDiscreteScheduler", {}),
        ("KDPM2DiscreteScheduler", {"use_karras_sigmas": True}),
        ("KDPM2AncestralDiscreteScheduler", {}),
        ("DPMSolverSDEScheduler", {"noise_sampler_seed": 4}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ],
)
def test_latent_super_resolution(name: str, config: dict[str, object]) -> None:
    from diffusers.pipelines.latent_diffusion import (
        pipeline_latent_diffusion_superresolution as module,
    )

    image = torch.tanh(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)))
    same(
        lambda s: module.LDMSuperResolutionPipeline(
            vqvae=decoder(), unet=unet(6, 3), scheduler=s
        ),
        name, {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0155, **config},
        image=image, num_inference_steps=8, eta=0.3,
    )  # fmt: skip
