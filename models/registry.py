"""Which models there are, and how one is made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from models import emoji, local_score, mixtures, points
from models.denoiser import Denoiser
from models.protocol import ModelInfo
from schedulers.backend.errors import ParameterError, ParameterTypeError

MODELS: Mapping[str, ModelInfo] = MappingProxyType(
    {
        info.id: info
        for info in (
            local_score.info(),
            emoji.info(),
            points.INFO,
            mixtures.PLANE,
            mixtures.LINE,
        )
    }
)


def load(model_id: str, device: str = "cpu", **options: float) -> Denoiser:
    """Return a model; the same arguments give the same object while it is remembered.

    Args:
        model_id: Key of ``MODELS``.
        device: Where it computes, as torch writes it ("cpu", "cuda", "cuda:1", "mps").
        **options: Numbers named in the model's ``info.options``; missing ones take the default.

    Raises:
        ValueError: Unknown model, option or device, or a value outside its range.
        TypeError: ``model_id`` is not a string, or a value not a number.
    """
    if not isinstance(model_id, str):
        raise ParameterTypeError(
            f"model_id={model_id!r} must be a string; allowed: {', '.join(MODELS)}", "model_id"
        )
    if model_id not in MODELS:
        raise ParameterError(
            f"model_id={model_id!r} is unknown; allowed: {', '.join(MODELS)}", "model_id"
        )
    known = {option.name: option for option in MODELS[model_id].options}
    for name, value in options.items():
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise ParameterError(
                f"{name}={value!r}: model {model_id!r} has no such option: {allowed}", name
            )
    values = {name: options.get(name, option.default) for name, option in known.items()}
    checked = tuple(float(known[name].check(value)) for name, value in values.items())
    return _build(model_id, str(device), checked)


@lru_cache(maxsize=16)
def _build(model_id: str, device: str, values: tuple[float, ...]) -> Denoiser:
    if model_id == "emoji-local":
        return local_score.LocalEmoji(device, *values)
    if model_id == "emoji-ideal":
        return emoji.IdealEmoji(device)
    if model_id == "points":
        return points.PointModel(device)
    if model_id == "mixture-2d":
        return mixtures.PlaneMixture(device)
    return mixtures.LineMixture(device)
