"""Denoisers that know the answer: exact mixtures, point sets, emoji.

    from models import MODELS, load

    model = load("emoji-local", patch=3)
    x0_hat = model.denoise(x, alpha, sigma, "faces")     # x = alpha * x0 + sigma * eps

``MODELS`` describes every model without loading any data; the first one is the page's default.
"""

from models.protocol import (
    ClassInfo,
    ImageModel,
    LineModel,
    Model,
    ModelInfo,
    Option,
    PlaneModel,
)
from models.registry import MODELS, load

__all__ = [
    "MODELS",
    "ClassInfo",
    "ImageModel",
    "LineModel",
    "Model",
    "ModelInfo",
    "Option",
    "PlaneModel",
    "load",
]
