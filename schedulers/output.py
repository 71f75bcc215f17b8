"""What ``step`` returns: an object with attributes that is also a mapping and a sequence."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

Array = Any


class StepOutput(Mapping[str, Any]):
    """Result of a step.

    Reads as attributes (``out.prev_sample``), by key (``out["prev_sample"]``) and by position
    (``out[0]``, ``out.to_tuple()``). Fields that are None are left out of keys and positions.

    Attributes:
        prev_sample: The sample at the next noise level, shape of the sample.
        pred_original_sample: The clean sample predicted by this call, same shape.
    """

    __slots__ = ("pred_original_sample", "prev_sample")
    _fields: tuple[str, ...] = ("prev_sample", "pred_original_sample")

    def __init__(self, prev_sample: Array, pred_original_sample: Array = None) -> None:
        """Keep the two arrays."""
        self.prev_sample = prev_sample
        self.pred_original_sample = pred_original_sample

    def to_tuple(self) -> tuple[Array, ...]:
        """The fields that are not None, in order."""
        values = (getattr(self, name) for name in self._fields)
        return tuple(value for value in values if value is not None)

    def _names(self) -> list[str]:
        return [name for name in self._fields if getattr(self, name) is not None]

    def __getitem__(self, key: str | int | slice) -> Any:
        """By name or by position."""
        if isinstance(key, str):
            if key not in self._names():
                raise KeyError(key)
            return getattr(self, key)
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        """Names, as a mapping has it."""
        return iter(self._names())

    def __len__(self) -> int:
        """Number of fields present."""
        return len(self._names())

    def keys(self) -> KeysView[str]:
        """Names of the fields present."""
        return dict.fromkeys(self._names()).keys()

    def values(self) -> ValuesView[Any]:
        """The fields present."""
        return {name: getattr(self, name) for name in self._names()}.values()

    def items(self) -> ItemsView[str, Any]:
        """Names and fields."""
        return {name: getattr(self, name) for name in self._names()}.items()

    def __repr__(self) -> str:
        """Names and fields."""
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names())
        return f"{type(self).__name__}({inner})"


class DerivativeOutput(StepOutput):
    """Result of a KarrasVe step: also the slope ``dx / d sigma`` it used."""

    __slots__ = ("derivative",)
    _fields = ("prev_sample", "derivative", "pred_original_sample")

    def __init__(
        self, prev_sample: Array, derivative: Array, pred_original_sample: Array = None
    ) -> None:
        """Keep the three arrays."""
        super().__init__(prev_sample, pred_original_sample)
        self.derivative = derivative
