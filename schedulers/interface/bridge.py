"""Schedulers as citizens of diffusers: one call, and its pipelines load, save and check ours.

``pipe.scheduler = ours`` works without this. What needs it is that pipelines ask for the type:
``DiffusionPipeline.from_pretrained(..., scheduler=ours)`` wants a ``SchedulerMixin``, some want
their own class, and ``pipe.save_pretrained`` writes down whose class it is. Nothing here imports
diffusers: the caller hands it over, and nothing in diffusers is changed.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..backend.errors import ParameterTypeError
from ..core.scheduler import Scheduler
from .registry import SCHEDULERS

OWN_PACKAGE = __name__.partition(".")[0]


class _Home(str):
    """The module of a class, which names the package to whom asks an object of that class.

    diffusers writes the first part of ``scheduler.__module__`` into a pipeline's index, and loads
    the class from there. The class itself keeps its module, by which pickle finds it.
    """

    package: str

    def __get__(self, instance: Any, owner: type | None = None) -> str:
        """The package for an object, the module for a class."""
        return str(self) if instance is None else self.package

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Pickled as the plain module name."""
        return str, (str(self),)


def register(diffusers: ModuleType) -> None:
    """Make our classes subclasses of diffusers', so that its pipelines take them for their own.

    Ours come first in the order of bases: every method and attribute that ours have stays ours.
    A class that diffusers has too is written into a saved pipeline as diffusers', so that plain
    diffusers loads it; one that only we have is written as ours, and loads where this package can
    be imported. Objects made before the call count as well. Calling it twice does no harm.

    Args:
        diffusers: The imported package.

    Raises:
        TypeError: ``diffusers`` is not that package.
    """
    mixin = getattr(diffusers, "SchedulerMixin", None)
    if not isinstance(diffusers, ModuleType) or not isinstance(mixin, type):
        raise ParameterTypeError(
            f"diffusers={diffusers!r} must be the package: `import diffusers` first."
        )
    if not issubclass(Scheduler, mixin):
        Scheduler.__bases__ += (mixin,)
    for name, cls in SCHEDULERS.items():
        theirs = getattr(diffusers, name, None)
        # Where a dependency is missing, theirs is a placeholder that is no scheduler.
        if isinstance(theirs, type) and issubclass(theirs, mixin) and not issubclass(cls, theirs):
            cls.__bases__ += (theirs,)
        home = _Home(cls.__module__)
        home.package = diffusers.__name__ if theirs is not None else OWN_PACKAGE
        cls.__module__ = home


def unregister() -> None:
    """Undo ``register``."""
    classes: list[type[Any]] = [Scheduler, *SCHEDULERS.values()]
    for cls in classes:
        own = (base for base in cls.__bases__ if base.__module__.split(".")[0] == OWN_PACKAGE)
        cls.__bases__ = tuple(own)
        cls.__module__ = str(cls.__module__)


__all__ = ["register", "unregister"]
