"""What ``torch.compile`` leaves alone: functions whose answer follows from where a run is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
#: Marked before torch was there to be told.
_WAITING: list[CodeType] = []


def untraced(function: Function) -> Function:
    """Have ``torch.compile`` run a function, and all that it calls, as they are.

    Such a function looks up or makes floats by position, level or seed. Traced, it would be traced
    anew for every call of a run, until the compiler gives up; its caller's arithmetic, which takes
    the floats as they come, is traced once.
    """
    setattr(function, "_torchdynamo_disable", True)  # noqa: B010  (where others call it)
    _WAITING.append(function.__code__)
    if "torch" in sys.modules:
        settle()
    return function


def settle() -> None:
    """Tell torch, which knows functions that are not called by traced ones by their code."""
    try:
        from torch._C._dynamo import eval_frame
    except ImportError:  # another torch: it may trace in vain
        return
    skip = eval_frame._FrameAction.SKIP
    while _WAITING:
        eval_frame.set_code_exec_strategy(
            _WAITING.pop(), eval_frame._FrameExecStrategy(skip, skip)
        )
