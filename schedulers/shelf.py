"""Grids that equal schedulers share: laid out once, kept on a bounded shelf, never changed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .interface.config import FrozenDict

#: Configs that have a shelf, and grids on each.
MOST_SHELVES, MOST_GRIDS = 64, 64
#: Arguments of these kinds compare by value.
PLAIN = frozenset({int, float, str, type(None)})


class Grid(NamedTuple):
    """What laying a grid out leaves behind; nothing in it is ever changed.

    Attributes:
        attributes: Private attributes with their values.
        published: Public arrays, each with the device it goes to.
    """

    attributes: Mapping[str, Any]
    published: Mapping[str, tuple[np.ndarray, Any]]


class Shelf:
    """The grids of one class and config, by what was asked for."""

    __slots__ = ("_grids",)

    def __init__(self) -> None:
        """An empty shelf."""
        self._grids: dict[Any, Grid] = {}

    def find(self, wanted: Any) -> Grid | None:
        """A grid that was kept."""
        return self._grids.get(wanted)

    def keep(self, wanted: Any, grid: Grid) -> None:
        """Keep a grid; a full shelf is cleared first."""
        if len(self._grids) >= MOST_GRIDS:
            self._grids.clear()
        self._grids[wanted] = grid

    def __deepcopy__(self, memo: dict[int, Any]) -> Shelf:
        """Itself: copies of a scheduler share it like any other of equal config."""
        return self

    def __reduce__(self) -> tuple[type[Shelf], tuple[()]]:
        """Stays behind when a scheduler is pickled."""
        return Shelf, ()


@functools.lru_cache(maxsize=MOST_SHELVES)
def _shelf(
    cls: type, made: tuple[tuple[str, Any], ...], now: tuple[tuple[str, Any], ...]
) -> Shelf:
    del cls, made, now
    return Shelf()


def _items(config: FrozenDict) -> tuple[tuple[str, Any], ...]:
    items = ((k, tuple(v) if type(v) is list else v) for k, v in config.items() if k[0] != "_")
    return tuple(items)


def shelf_for(cls: type, made: FrozenDict, now: FrozenDict) -> Shelf | None:
    """The shelf of a class and config; None where a config holds an array.

    Args:
        cls: The class.
        made: The config that an object was made with: its table stays that one's.
        now: The config that it has since it was replaced, which its grids heed.
    """
    try:
        return _shelf(cls, _items(made), _items(now))
    except TypeError:
        return None


def _plain(values: Iterable[Any]) -> bool:
    """Whether all are of those kinds, or devices, which compare by value too."""
    kinds = set(map(type, values)) - PLAIN
    return all(kind.__name__ == "device" for kind in kinds)


def laid_out(lay_out: Callable[..., None]) -> Callable[..., None]:
    """Wrap a method that lays out a grid: all or nothing, and once for all equal objects.

    A refused call leaves the object as it was. Grids are shared where ``_kept`` names every
    private attribute that the method sets; they must then follow from config, arguments and
    ``_beside_config`` alone.
    """

    @functools.wraps(lay_out)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        shelf = self._shelf() if self._kept else None
        if shelf is not None and _plain((*args, *kwargs.values())):
            # The format is told, for NumPy's takes any device and torch's only one that is there.
            beside = self.tensor_format, self._beside_config()
            wanted = lay_out, beside, args, tuple(kwargs.items())
            grid = shelf.find(wanted)
            if grid is not None:
                self._take_over(grid)
                return
        else:
            shelf = None
        before, published = self.__dict__.copy(), self._published
        self._published = published.copy()
        try:
            # A level that is not a number is refused by name: NumPy need not warn of it too.
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                lay_out(self, *args, **kwargs)
        except Exception:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        if shelf is not None and self._config is before["_config"]:
            new = {k: v for k, v in self._published.items() if published.get(k) is not v}
            values = {name: self.__dict__[name] for name in self._kept if name in self.__dict__}
            shelf.keep(wanted, Grid(values, new))

    return wrapper
