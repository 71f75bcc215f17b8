"""Refusals: what is wrong in words for people, and which parameters are at fault as data."""

from __future__ import annotations


class ParameterError(ValueError):
    """A value that cannot be used.

    Attributes:
        parameters: Names of the parameters at fault, the one to change first; both sides of a
            conflict.
    """

    def __init__(self, message: str, *parameters: str) -> None:
        """Remember the parameters beside the message; both survive pickling."""
        super().__init__(message, *parameters)
        self.parameters = parameters

    def __str__(self) -> str:
        """The message alone, since it names the parameters itself."""
        return str(self.args[0])


class ParameterTypeError(TypeError):
    """A value of a wrong type; attributes as for ``ParameterError``."""

    def __init__(self, message: str, *parameters: str) -> None:
        """Remember the parameters beside the message; both survive pickling."""
        super().__init__(message, *parameters)
        self.parameters = parameters

    def __str__(self) -> str:
        """The message alone, since it names the parameters itself."""
        return str(self.args[0])
