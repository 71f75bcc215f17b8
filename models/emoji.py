"""Emoji at 32 x 32 under the ideal denoiser: exact, and therefore a perfect memory."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from models import atlas
from models.denoiser import Denoiser
from models.posterior import PointPosterior
from models.protocol import ClassInfo, ModelInfo

SIDE = 32
REMEMBERED = 64  # classes, dtypes and devices at a time; a class is about 2 MiB in float32
NOTE = (
    "Noto Color Emoji, copyright Google Inc. and Arjen Nienhuis: font SIL OFL 1.1, "
    "the rest Apache-2.0; names from the Unicode data files."
)


def classes() -> tuple[ClassInfo, ...]:
    """Return the classes of the atlas, in its order."""
    return tuple(ClassInfo(entry.id, entry.title) for entry in atlas.index().classes)


def info() -> ModelInfo:
    """Return the description of the ideal denoiser."""
    return ModelInfo(
        id="emoji-ideal",
        title="Emoji · ideal denoiser",
        kind="image",
        shape=(3, SIDE, SIDE),
        classes=classes(),
        default_class="faces",
        options=(),
        text="The exact posterior mean over a set of emoji: every run ends on one of them.",
        note=NOTE,
    )


def training_images(class_id: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return the images of a class, shape (N, 3, 32, 32), values in [-1, 1]."""
    pixels = torch.tensor(atlas.images(class_id), device=device)
    return pixels.to(dtype).div_(127.5).sub_(1.0)


@lru_cache(maxsize=REMEMBERED)
def posterior(class_id: str, dtype: torch.dtype, device: torch.device) -> PointPosterior:
    """Return the posterior over the images of a class, one for all models that ask."""
    return PointPosterior(training_images(class_id, dtype, device).flatten(1))


class EmojiModel(Denoiser):
    """Base of the emoji models: training images in [-1, 1], and the nearest of them.

    A model holds no images of its own: what a class needs is remembered once per dtype and
    device, however many models there are.
    """

    def images(self, cond: str | None = None, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the training images of a class, shape (N, 3, 32, 32), values in [-1, 1]."""
        return training_images(self.class_id(cond), dtype, self.device)

    def names(self, cond: str | None = None) -> tuple[str, ...]:
        """Return the Unicode name of every training image, in the order of ``images``."""
        return tuple(entry.name for entry in atlas.names(self.class_id(cond)))

    @torch.no_grad()
    def nearest(self, x0: torch.Tensor, cond: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest training image of every image.

        Args:
            x0: Shape (n, 3, 32, 32), on the model's device.
            cond: Id of a class; None means the default class.

        Returns:
            Index into ``images(cond)``, shape (n,), int64; root mean square difference per value,
            shape (n,), float64.
        """
        self._check_samples("x0", x0)
        flat = x0.to(torch.float32).flatten(1)
        index, squared = posterior(self.class_id(cond), torch.float32, self.device).nearest(flat)
        distance = np.sqrt(squared.cpu().numpy().astype(np.float64) / flat.shape[1])
        return index.cpu().numpy(), distance

    def _mean(self, cond: str, dtype: torch.dtype) -> torch.Tensor:
        return posterior(cond, dtype, self.device).mean.view(self.shape)


class IdealEmoji(EmojiModel):
    """The ideal denoiser: posterior mean over whole images, see :class:`PointPosterior`."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Load nothing yet."""
        super().__init__(info(), device)

    def _posterior_mean(
        self, x: torch.Tensor, alpha: float, sigma: float, cond: str
    ) -> torch.Tensor:
        over = posterior(cond, x.dtype, self.device)
        return over.posterior_mean(x.flatten(1), alpha, sigma).view_as(x)
