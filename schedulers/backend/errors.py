"""Refusals: what is wrong in words for people, and which parameters are at fault as data."""

from __future__ import annotations


class _Refusal(Exception):
    """Words, and names of parameters; both survive pickling."""

    def __init__(self, message: str, *parameters: str) -> None:
        super().__init__(message, *parameters)
        self.parameters = parameters

    def __str__(self) -> str:
        return str(self.args[0])


class ParameterError(_Refusal, ValueError):
    """A value that cannot be used.

    Attributes:
        parameters: Names of the parameters at fault, the one to change first; both sides of a
            conflict. ``str`` of the error is the message alone, which names them too.
    """


class ParameterTypeError(_Refusal, TypeError):
    """A value of a wrong type; attributes as for ``ParameterError``."""
