"""Constructors and methods begin with diffusers' own parameters, in order, with the same defaults."""

import inspect

import pytest

from tests.parity.harness import SCHEDULERS
from tests.parity.oracle import DIFFUSERS, diffusers_class

METHODS = [
    (name, method)
    for name in DIFFUSERS
    for method, value in inspect.getmembers(diffusers_class(name), inspect.isfunction)
    if not method.startswith("_") or method == "__init__"
]
# Names that only serve diffusers' own machinery, or that its multistep class inherits from versions
# in which the caller passed time explicitly.
INTERNAL = {
    "register_to_config",
    "convert_model_output",
    "singlestep_dpm_solver_update",
    "singlestep_dpm_solver_second_order_update",
    "singlestep_dpm_solver_third_order_update",
    "deis_first_order_update",
    "multistep_deis_second_order_update",
    "multistep_deis_third_order_update",
    "get_coefficients_exponential_negative",
    "get_coefficients_exponential_positive",
    "get_coefficients_fn",
    "lagrange_polynomial_coefficient",
    "stochastic_adams_bashforth_update",
    "stochastic_adams_moulton_update",
    "multistep_uni_p_bh_update",
    "multistep_uni_c_bh_update",
    "dpm_solver_first_order_update",
    "multistep_dpm_solver_second_order_update",
    "multistep_dpm_solver_third_order_update",
}


@pytest.mark.parametrize(("name", "method"), [m for m in METHODS if m[1] not in INTERNAL])
def test_signature_begins_with_theirs(name: str, method: str) -> None:
    theirs = [
        p
        for p in inspect.signature(getattr(diffusers_class(name), method)).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    ours = list(inspect.signature(getattr(SCHEDULERS[name], method)).parameters.values())
    assert [p.name for p in ours[: len(theirs)]] == [p.name for p in theirs]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in ours[: len(theirs)])
    for a, b in zip(ours, theirs, strict=False):
        if b.default is not b.empty:
            assert a.default == b.default, a.name
        # theirs says None for arguments that it needs: ours may then have no default


@pytest.mark.parametrize("name", DIFFUSERS)
def test_class_attributes(name: str) -> None:
    ours, theirs = SCHEDULERS[name], diffusers_class(name)
    assert ours.order == theirs.order
    assert ours.config_name == theirs.config_name
    assert sorted(ours._compatibles) == sorted(theirs._compatibles)
