"""What ``step`` returns: an object with attributes that is also a mapping and a sequence."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, fields
from typing import Any

Array = Any


class Output(Mapping[str, Any]):
    """A dataclass of arrays that reads as attributes, by key and by position.

    ``out.prev_sample``, ``out["prev_sample"]``, ``out[0]`` and ``out.to_tuple()`` all work. Fields
    that are None are left out of keys and positions.
    """

    __slots__ = ()

    def to_tuple(self) -> tuple[Array, ...]:
        """The fields that are not None, in order."""
        return tuple(getattr(self, name) for name in self._names())

    def _names(self) -> list[str]:
        names = (field.name for field in fields(self))  # type: ignore[arg-type]
        return [name for name in names if getattr(self, name) is not None]

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


@dataclass(slots=True, eq=False, repr=False)
class StepOutput(Output):
    """Result of a step.

    Attributes:
        prev_sample: The sample at the next noise level, shape of the sample.
        pred_original_sample: The clean sample predicted by this call, same shape.
    """

    prev_sample: Array
    pred_original_sample: Array = None


@dataclass(slots=True, eq=False, repr=False)
class DerivativeOutput(Output):
    """Result of a KarrasVe step.

    Attributes:
        prev_sample: The sample at the next noise level, shape of the sample.
        derivative: The slope ``dx / d sigma`` that the step used, same shape.
        pred_original_sample: The clean sample predicted by this call, same shape.
    """

    prev_sample: Array
    derivative: Array
    pred_original_sample: Array = None


@dataclass(slots=True, eq=False, repr=False)
class SdeOutput(Output):
    """Result of a score SDE step; ``prev_sample, prev_sample_mean = out`` unpacks it too.

    Attributes:
        prev_sample: The sample at the next noise level, shape of the sample.
        prev_sample_mean: The same without the step's own noise, same shape.
        pred_original_sample: The clean sample predicted by this call, same shape.
    """

    prev_sample: Array
    prev_sample_mean: Array
    pred_original_sample: Array = None

    def __iter__(self) -> Iterator[Any]:
        """The sample and its mean, as the tuple that upstream returns."""
        return iter((self.prev_sample, self.prev_sample_mean))


@dataclass(slots=True, eq=False, repr=False)
class DenoisedOutput(Output):
    """Result of a latent consistency step.

    Attributes:
        prev_sample: The sample at the next noise level, shape of the sample.
        pred_original_sample: The value of the consistency function, same shape.
        denoised: The same, by upstream's name.
    """

    prev_sample: Array
    pred_original_sample: Array
    denoised: Array


@dataclass(slots=True, eq=False, repr=False)
class NoisedOutput(Output):
    """Result of a trajectory consistency step.

    Attributes:
        prev_sample: The sample at the next noise level, shape of the sample.
        pred_original_sample: The clean sample predicted by this call, same shape.
        pred_noised_sample: The sample at the level s of the call, before noise, same shape.
    """

    prev_sample: Array
    pred_original_sample: Array
    pred_noised_sample: Array


#: The name that diffusers has for it.
SchedulerOutput = StepOutput
