"""What every comparison with an oracle needs."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def roots_as_ieee_754_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round float32 square roots correctly while upstream makes its tables.

    torch's vectorised root is off by an ulp in up to a fifth of all arguments, in others on every
    kind of CPU. A zero-SNR rescale or an ancestral split turns that into parts in 1e6, so that
    what upstream answers would depend on the machine that runs the tests.
    """
    power, root = torch.Tensor.pow, torch.Tensor.sqrt

    def sqrt(x: torch.Tensor) -> torch.Tensor:
        exact = x.dtype == torch.float32 and x.device.type == "cpu"
        return root(x.double()).float() if exact else root(x)

    def pow(x: torch.Tensor, exponent: object) -> torch.Tensor:
        return sqrt(x) if exponent == 0.5 else power(x, exponent)

    for place, name, function in (
        (torch, "sqrt", sqrt),
        (torch.Tensor, "sqrt", sqrt),
        (torch.Tensor, "pow", pow),
        (torch.Tensor, "__pow__", pow),
    ):
        monkeypatch.setattr(place, name, function)
