"""Every public name of upstream's classes, and the private ones people call, is ours too."""

import numpy as np
import pytest

from tests.parity.differences import REASONS, missing, ready
from tests.parity.harness import accepts
from tests.parity.oracle import DIFFUSERS, diffusers_class


@pytest.mark.parametrize("name", DIFFUSERS)
def test_no_name_is_missing_without_a_reason(name: str) -> None:
    assert [n for n in missing(name) if n not in REASONS] == []


@pytest.mark.parametrize("name", [n for n in DIFFUSERS if hasattr(diffusers_class(n), "__len__")])
def test_length_is_the_number_of_training_steps(name: str) -> None:
    ours, theirs = ready(name)
    assert len(ours) == len(theirs)


@pytest.mark.parametrize(
    "name", [n for n in DIFFUSERS if hasattr(diffusers_class(n), "_sigma_to_t")]
)
def test_the_time_of_a_sigma(name: str) -> None:
    """Which callers of diffusers look up by a private name."""
    ours, theirs = ready(name)
    table = np.linspace(-4.0, 5.0, 1000, dtype=np.float32)
    more = (table,) if accepts(theirs._sigma_to_t, "log_sigmas") else ()
    for sigma in (0.05, 0.4, 0.97):
        expected = theirs._sigma_to_t(np.float64(sigma), *more)
        assert float(ours._sigma_to_t(sigma, *more)) == pytest.approx(float(expected), abs=1e-4)
