"""The local score machine: a denoiser that looks at patches, and so invents new emoji.

The ideal denoiser compares the whole noisy image with every training image and ends on one of
them. Let each pixel q decide for itself, from the P x P patch around it,

    x0_hat(q) = sum_i w_i(q) c_i(q),
    w(q) = softmax_i( -sum_{r in patch(q)} |x(r) - alpha c_i(r)|^2 / (2 sigma^2) ),

and neighbouring regions may follow different images; overlapping patches keep the seams
consistent. Patches are cut off at the image border. With a patch that covers the image this is
the ideal denoiser again. The patch shrinks with the noise, as the receptive field that trained
networks use does.

This is the local, not translation-equivariant form: a patch is compared with the same place in
the training images only.

References:
    M. Kamb and S. Ganguli, "An analytic theory of creativity in convolutional diffusion
    models", 2024, arXiv 2412.20292 (the local score machine).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from models.emoji import NOTE, REMEMBERED, SIDE, EmojiModel, classes, training_images
from models.posterior import precision_of, weights_
from models.protocol import ModelInfo, Option

FULL = 2 * SIDE - 1  # the smallest patch that covers the image from every pixel
SMALLEST = 3  # with a single pixel nothing holds the image together
DEFAULT = 3.0
RATIO = FULL / DEFAULT  # how many times larger the patch is at high noise than at low
LOW_RHO, HIGH_RHO = 0.3, 12.0  # the noise levels between which it shrinks

_GPU_ELEMENTS = 2**27  # per buffer, three of them: 1.5 GiB


def info() -> ModelInfo:
    """Return the description of the local score machine."""
    patch = Option(
        name="patch",
        title="memorise ↔ create",
        default=DEFAULT,
        low=1.0,
        high=24.0,
        step=0.5,
        text=(
            "Side in pixels of the patch each pixel looks at near the end, 21 times that at the "
            "start: small patches invent, large ones copy a training image."
        ),
    )
    return ModelInfo(
        id="emoji-local",
        title="Emoji · local score machine",
        kind="image",
        shape=(3, SIDE, SIDE),
        classes=classes(),
        default_class="faces",
        options=(patch,),
        text="Every pixel judges from the patch around it, so parts recombine into new emoji.",
        note=NOTE,
    )


def patch_side(rho: float, patch: float = DEFAULT) -> int:
    """Return the side P of the patch at noise-to-signal ratio ``rho = sigma / alpha``.

    P = patch * 21^u with u = log(rho / 0.3) / log(12 / 0.3), u clipped to [0, 1], rounded to an
    odd number and kept within 3 and 63: for ``patch = 3`` it runs from 3 to 63.

    Args:
        rho: Ratio sigma / alpha, >= 0, may be infinite.
        patch: Side at low noise, > 0, pixels.
    """
    if rho <= LOW_RHO:
        u = 0.0
    else:
        u = min(math.log(rho / LOW_RHO) / math.log(HIGH_RHO / LOW_RHO), 1.0)
    side = 2 * round((patch * RATIO**u - 1.0) / 2.0) + 1
    return min(max(side, SMALLEST), FULL)


class LocalScoreMachine:
    """The denoiser of the module docstring over one set of square images.

    A sum over patches is a box filter, and a box filter is one matrix product per axis with the
    band matrix B[q, r] = [|q - r| <= P // 2]: faster here than cumulative sums, and no running
    total that loses digits.

    Args:
        images: Training images, shape (N, 3, side, side), float32 or float64.
        together: How many noisy images to treat in one go; None chooses by the device. On a CPU
            one image's buffers (half a megabyte each) stay in cache; a GPU wants many.
    """

    def __init__(self, images: torch.Tensor, together: int | None = None) -> None:
        """Lay the images out for the loops."""
        # The training images run along the last axis, over which softmax and sums go.
        self._images = images.permute(1, 2, 3, 0).contiguous()
        self._count, self._side = len(images), images.shape[-1]
        if together is None:
            on_cpu = images.device.type == "cpu"
            together = 1 if on_cpu else max(1, _GPU_ELEMENTS // self._images[0].numel())
        self._together = together
        place = torch.arange(self._side, device=images.device)
        self._distance = (place[:, None] - place).abs().to(images.dtype)

    def posterior_mean(
        self, x: torch.Tensor, alpha: float, sigma: float, side: int
    ) -> torch.Tensor:
        """Return x0_hat.

        Args:
            x: Noisy images, shape (n, 3, side, side), dtype and device of the training images.
            alpha: Signal scale, > 0.
            sigma: Noise scale, > 0.
            side: Side P of the patch, odd, in pixels.
        """
        band = (self._distance <= side // 2).to(x.dtype)
        scaled = band * (-0.5 * precision_of(alpha, sigma))
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        for noisy, clean in zip(
            x.split(self._together), result.split(self._together), strict=True
        ):
            self._fill(clean, noisy, alpha, band, scaled)
        return result

    def _fill(
        self,
        clean: torch.Tensor,
        x: torch.Tensor,
        alpha: float,
        band: torch.Tensor,
        scaled: torch.Tensor,
    ) -> None:
        shape = (len(x), self._side, self._side, self._count)
        buffer, logits = x.new_empty(shape), x.new_empty(shape)
        for k in range(x.shape[1]):  # logits = |x - alpha c|^2, channel by channel
            torch.sub(x[:, k, :, :, None], self._images[k], alpha=alpha, out=buffer)
            if k == 0:
                torch.mul(buffer, buffer, out=logits)
            else:
                logits.addcmul_(buffer, buffer)
        flat = (len(x), self._side, self._side * self._count)
        torch.matmul(scaled, logits.view(flat), out=buffer.view(flat))  # down the columns
        torch.matmul(band, buffer, out=logits)  # along the rows
        weights = weights_(logits)
        for k in range(x.shape[1]):
            torch.mul(weights, self._images[k], out=buffer)
            torch.sum(buffer, -1, out=clean[:, k])
        clean.div_(weights.sum(-1)[:, None])


@lru_cache(maxsize=REMEMBERED)
def machine(class_id: str, dtype: torch.dtype, device: torch.device) -> LocalScoreMachine:
    """Return the machine over a class of emoji, one for every size of the patch."""
    return LocalScoreMachine(training_images(class_id, dtype, device))


class LocalEmoji(EmojiModel):
    """The local score machine over a class of emoji.

    The patch goes with the call, so a model of another patch costs nothing.

    Args:
        device: Where the images live.
        patch: Side of the patch at low noise in pixels, 1 to 24; see :func:`patch_side`.
    """

    def __init__(self, device: str | torch.device = "cpu", patch: float = DEFAULT) -> None:
        """Load nothing yet."""
        super().__init__(info(), device)
        self._patch = patch

    def _posterior_mean(
        self, x: torch.Tensor, alpha: float, sigma: float, cond: str
    ) -> torch.Tensor:
        side = patch_side(sigma / alpha, self._patch)
        return machine(cond, x.dtype, self.device).posterior_mean(x, alpha, sigma, side)
