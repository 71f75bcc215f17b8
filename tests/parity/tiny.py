"""Networks of a few thousand random weights, and diffusers' own pipelines around them.

Text encoders are left out: prompts are passed as embeddings, as the pipelines allow.
"""

from functools import cache
from typing import Any, TypeAlias

import torch

Network: TypeAlias = Any
Pipeline: TypeAlias = Any
SIDE, WORDS, WIDTH = 8, 5, 8


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@cache
def unet(channels: int, out: int) -> Network:
    """A U-Net without a condition."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=SIDE, in_channels=channels, out_channels=out, layers_per_block=1,
        block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip


@cache
def conditional_unet(*, sizes: bool = False) -> Network:
    """A U-Net that attends to words; with SDXL's sizes as a further condition if asked."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    more: dict[str, Any] = {}
    if sizes:
        more = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 6 * 4 + WIDTH,
        }
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=SIDE, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(8,), norm_num_groups=4, cross_attention_dim=WIDTH,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",), **more,
    ).eval()  # fmt: skip


@cache
def transformer() -> Network:
    """The network of Stable Diffusion 3, which predicts a flow."""
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

    torch.manual_seed(0)
    return SD3Transformer2DModel(
        sample_size=SIDE, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=4,
        num_attention_heads=2, joint_attention_dim=WIDTH, caption_projection_dim=8,
        pooled_projection_dim=WIDTH, out_channels=4, pos_embed_max_size=SIDE,
    ).eval()  # fmt: skip


@cache
def autoencoder() -> Network:
    """An autoencoder that keeps the resolution."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8,), down_block_types=("DownEncoderBlock2D",), latent_channels=4, shift_factor=0.1,
        up_block_types=("UpDecoderBlock2D",), norm_num_groups=4, sample_size=SIDE,
    ).eval()  # fmt: skip


@cache
def quantiser() -> Network:
    """A vector-quantised autoencoder."""
    from diffusers.models.autoencoders.vq_model import VQModel

    torch.manual_seed(1)
    return VQModel(
        block_out_channels=(8,), down_block_types=("DownEncoderBlock2D",), latent_channels=3,
        up_block_types=("UpDecoderBlock2D",), norm_num_groups=4, num_vq_embeddings=16,
    ).eval()  # fmt: skip


def stable_diffusion(scheduler: object, task: str = "") -> Pipeline:
    """Text to image, or ``task`` "Img2Img" or "Inpaint"."""
    import diffusers

    nothing = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    return getattr(diffusers, f"StableDiffusion{task}Pipeline")(
        vae=autoencoder(), unet=conditional_unet(), scheduler=scheduler,
        requires_safety_checker=False, **nothing,
    )  # fmt: skip


def stable_diffusion_xl(scheduler: object) -> Pipeline:
    from diffusers import StableDiffusionXLPipeline

    nothing = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return StableDiffusionXLPipeline(
        vae=autoencoder(), unet=conditional_unet(sizes=True), scheduler=scheduler,
        add_watermarker=False, **nothing,
    )  # fmt: skip


def stable_diffusion_3(scheduler: object) -> Pipeline:
    from diffusers import StableDiffusion3Pipeline

    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    nothing = dict.fromkeys((*encoders, "tokenizer", "tokenizer_2", "tokenizer_3"))
    return StableDiffusion3Pipeline(
        vae=autoencoder(), transformer=transformer(), scheduler=scheduler, **nothing
    )


def prompt(*, pooled: bool = False) -> dict[str, torch.Tensor]:
    """A prompt and a negative prompt, as embeddings."""
    words = {
        "prompt_embeds": noise(1, WORDS, WIDTH),
        "negative_prompt_embeds": -noise(1, WORDS, WIDTH),
    }
    if pooled:
        words["pooled_prompt_embeds"] = noise(1, WIDTH)
        words["negative_pooled_prompt_embeds"] = -noise(1, WIDTH)
    return words
