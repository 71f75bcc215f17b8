"""What every layer shares: one thread per worker, and whether samples are taken whole."""

import pytest
import torch

from tests import samples

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``tests/all --full``: every combination of settings, where a seeded sample is the rule."""
    parser.addoption("--full", action="store_true", help="take whole what is else sampled")


def pytest_configure(config: pytest.Config) -> None:
    """Before the tests are collected, since some lists are sampled by parametrisation."""
    samples.full = config.getoption("--full")
