"""The public arrays of a scheduler as its user holds them: made when looked at, watched for writes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..backend.arrays import Array, host_view

if TYPE_CHECKING:
    from .scheduler import Scheduler


class Exports:
    """What was handed out, and how it looked then.

    Callers write into what they hold. An array on the host is compared by its bytes, for writes
    through memory shared with NumPy and under ``torch.inference_mode`` leave no other trace; a
    tensor on a device by its version counter, so that a device is read only when that moved.

    Attributes:
        arrays: What was handed out, by name.
        watched: Name, something with a ``tobytes``, and what that gave when it was handed out.
    """

    __slots__ = ("arrays", "watched")
    #: What is watched from the start: a loop over what callers hold is then never empty. What they
    #: wrote cannot be traced, and so torch.compile leaves those loops alone that go over it, with
    #: what follows from the position of a call.
    _NOTHING = "", memoryview(b""), b""

    def __init__(self, arrays: dict[str, Array] | None = None) -> None:
        """Watch these, as they look now."""
        self.arrays: dict[str, Array] = {}
        self.watched: tuple[tuple[str, Any, object], ...] = (self._NOTHING,)
        for name, array in (arrays or {}).items():
            self.hold(name, array)

    def hold(self, name: str, array: Array) -> None:
        """Hand an array out under a name."""
        self.drop((name,))
        self.arrays[name] = array
        view = host_view(array)
        if view is not None:
            self.watched = (*self.watched, (name, view, view.tobytes()))

    def drop(self, names: Any) -> None:
        """Forget some of them: a new grid has others."""
        for name in names:
            self.arrays.pop(name, None)
        self.watched = tuple(entry for entry in self.watched if entry[0] not in names)

    def written(self) -> list[str]:
        """Names of those that look otherwise than when they were handed out."""
        return [name for name, view, seen in self.watched if view.tobytes() != seen]

    def copy(self) -> Exports:
        """The same arrays, held by another object."""
        return Exports(self.arrays)

    def __deepcopy__(self, memo: dict[int, Any]) -> Exports:
        """Arrays of its own."""
        return Exports(copy.deepcopy(self.arrays, memo))

    def __reduce__(self) -> tuple[type[Exports], tuple[dict[str, Array]]]:
        """Pickled by its arrays."""
        return Exports, (self.arrays,)


class PublicArray:
    """An attribute that shows a host array in the caller's format, and heeds what is assigned.

    Args:
        text: What it is.
        heed: Method of the scheduler that takes an assigned or written array, by its name; None
            where nothing goes by it, here or upstream, so that it is only shown.
    """

    def __init__(self, text: str, heed: str | None = "_heed_grid") -> None:
        """Describe it."""
        self.__doc__ = text
        self.heed = heed

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn its own name."""
        self.name = name

    def __get__(self, scheduler: Scheduler | None, owner: type | None = None) -> Any:
        """The array, made when it is first looked at."""
        if scheduler is None:
            return self
        exports: Exports = scheduler._exports
        array = exports.arrays.get(self.name)
        return scheduler._export(self.name) if array is None else array

    def __set__(self, scheduler: Scheduler, value: Any) -> None:
        """Take an array in its place."""
        scheduler._assign(self.name, value)


class Setting:
    """An attribute that upstream copies out of the config and goes by: here it is the config's."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn its own name."""
        self.name = name

    def __get__(self, scheduler: Scheduler | None, owner: type | None = None) -> Any:
        """The value; a list as a tuple, since nothing would heed what is written into it."""
        if scheduler is None:
            return self
        value = scheduler.config[self.name]
        return tuple(value) if isinstance(value, list) else value

    def __set__(self, scheduler: Scheduler, value: Any) -> None:
        """Replace it, checked like an argument of the constructor."""
        value = list(value) if isinstance(value, tuple) else value
        known = next(p for p in scheduler.parameters() if p.name == self.name)
        scheduler.register_to_config(**{self.name: known.check(value)})


class Absent:
    """A name that a base has and a class has not: asking whether it is there says no."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn its own name."""
        self.name = name

    def __get__(self, scheduler: Any, owner: type | None = None) -> Any:
        """Nothing."""
        raise AttributeError(f"{(owner or type(scheduler)).__name__!r} has no {self.name!r}")


def public_arrays(cls: type) -> dict[str, PublicArray]:
    """The public arrays of a class, by name."""
    found: dict[str, PublicArray] = {}
    for base in reversed(cls.__mro__):
        found |= {k: v for k, v in vars(base).items() if isinstance(v, PublicArray)}
    return found
