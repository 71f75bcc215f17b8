"""The shell around every denoiser: checks at the door, limits of the noise level, dtypes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from models.protocol import ModelInfo
from schedulers.backend.checks import check_number
from schedulers.backend.errors import ParameterError, ParameterTypeError

_LARGEST = 1e12  # far beyond every noise schedule; squares stay within float32


class Denoiser(ABC):
    """Base of the models: validates, treats the limits, and asks for the posterior mean.

    Half-precision input is computed in float32; float32 and float64 stay what they are. No
    gradient is recorded. Nothing waits for the device.

    Args:
        info: The model's description.
        device: Where its data live and where ``x`` must be.
    """

    def __init__(self, info: ModelInfo, device: str | torch.device = "cpu") -> None:
        """Check that the device exists."""
        self._info = info
        self._classes = frozenset(entry.id for entry in info.classes)
        try:
            # An allocation resolves "cuda" to "cuda:0" and fails early on a missing device.
            self._device = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise ParameterError(
                f"device={device!r} cannot be used by torch: {error}", "device"
            ) from error

    @property
    def info(self) -> ModelInfo:
        """The model's description."""
        return self._info

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis."""
        return self._info.shape

    @property
    def device(self) -> torch.device:
        """Where the model's data live."""
        return self._device

    @torch.no_grad()
    def denoise(
        self, x: torch.Tensor, alpha: float, sigma: float, cond: str | None = None
    ) -> torch.Tensor:
        """Return the expected clean sample behind ``x = alpha * x0 + sigma * eps``.

        Args:
            x: Noisy samples, shape (n, *shape), any floating dtype, on the model's device.
            alpha: Signal scale, 0 to 1e12. At 0 the answer is the mean of the data.
            sigma: Noise scale, 0 to 1e12. At 0 the answer is ``x / alpha``. Point sets and
                emoji take anything below 1e-8 max(alpha, 1) for that, where the posterior is
                its nearest member to every digit.
            cond: Id of a class; None means the default class.

        Returns:
            x0_hat, same shape and dtype as ``x``; finite at every level for an ``x`` that
            belongs to it, as far as the dtype of ``x`` holds x0_hat.

        Raises:
            TypeError: ``x`` is not a floating tensor, ``alpha`` or ``sigma`` not a number,
                ``cond`` not a string.
            ValueError: Wrong shape or device, a level outside its range, an unknown
                class.
        """
        self._check_samples("x", x)
        alpha, sigma = check_level("alpha", alpha), check_level("sigma", sigma)
        name = self.class_id(cond)
        if sigma == 0.0 and alpha > 0.0:
            return x / alpha
        work = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        if alpha == 0.0:
            return self._mean(name, work.dtype).expand_as(x).to(x.dtype, copy=True)
        return self._posterior_mean(work, alpha, sigma, name).to(x.dtype)

    def class_id(self, cond: str | None) -> str:
        """Return the id that ``cond`` stands for.

        Raises:
            TypeError: ``cond`` is neither a string nor None.
            ValueError: ``cond`` is not a class of this model.
        """
        if cond is None:
            return self._info.default_class
        if not isinstance(cond, str):
            raise ParameterTypeError(f"cond={cond!r} must be the id of a class or None", "cond")
        if cond not in self._classes:
            allowed = ", ".join(entry.id for entry in self._info.classes)
            raise ParameterError(
                f"cond={cond!r} is not a class of model {self._info.id!r}; allowed: {allowed}",
                "cond",
            )
        return cond

    def _check_samples(self, name: str, x: torch.Tensor) -> None:
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
            raise ParameterTypeError(
                f"{name} must be a floating-point torch tensor, got {kind}", name
            )
        if x.shape[1:] != self.shape or x.ndim != len(self.shape) + 1:
            expected = ", ".join(map(str, ("n", *self.shape)))
            raise ParameterError(f"{name} has shape {tuple(x.shape)}; expected ({expected})", name)
        if x.device != self._device:
            raise ParameterError(
                f"{name} is on {x.device}, the model on {self._device}: move one", name
            )

    @abstractmethod
    def _posterior_mean(
        self, x: torch.Tensor, alpha: float, sigma: float, cond: str
    ) -> torch.Tensor:
        """E[x0 | x] for alpha > 0 and sigma > 0, float32 or float64."""

    @abstractmethod
    def _mean(self, cond: str, dtype: torch.dtype) -> torch.Tensor:
        """E[x0], shape (*shape)."""


def check_level(name: str, value: object) -> float:
    """Return ``value`` as a float after checking that it can be a level's alpha or sigma.

    Raises:
        TypeError: Not a number.
        ValueError: Negative, not finite, or above 1e12.
    """
    return check_number(name, value, 0.0, _LARGEST)
