"""Schedulers of diffusion models: drop-in for diffusers, on NumPy and torch alike.

A scheduler is a grid of noise levels, plus a pure function from the levels seen so far to a row of
numbers; the next sample is that row times the arrays seen so far.

A class is loaded when it is first asked for, so that ``import schedulers`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .interface import lookup

#: Module in ``solvers`` of each scheduler, in the order in which people see them.
_SOLVERS = {
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "DDIMInverseScheduler": "ddim_inverse",
    "PNDMScheduler": "pndm",
    "IPNDMScheduler": "ipndm",
    "DDIMParallelScheduler": "parallel",
    "DDPMParallelScheduler": "parallel",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "HeunDiscreteScheduler": "heun",
    "LMSDiscreteScheduler": "lms",
    "KDPM2DiscreteScheduler": "kdpm2",
    "KDPM2AncestralDiscreteScheduler": "kdpm2_ancestral",
    "DPMSolverMultistepScheduler": "dpmsolver",
    "DPMSolverMultistepInverseScheduler": "dpmsolver_inverse",
    "DPMSolverSinglestepScheduler": "dpmsolver_singlestep",
    "DPMSolverSDEScheduler": "dpmsolver_sde",
    "DPMPP2SAncestralScheduler": "dpmpp_2s",
    "DPMFastScheduler": "dpm_fast",
    "DPMAdaptiveScheduler": "dpm_adaptive",
    "DEISMultistepScheduler": "deis",
    "UniPCMultistepScheduler": "unipc",
    "SASolverScheduler": "sasolver",
    "KarrasVeScheduler": "karras_ve",
    "EDMEulerScheduler": "edm_euler",
    "EDMDPMSolverMultistepScheduler": "edm_dpmsolver",
    "ScoreSdeVeScheduler": "score_sde_ve",
    "ScoreSdeVpScheduler": "score_sde_vp",
    "CosineDPMSolverMultistepScheduler": "cosine_dpmsolver",
    "CMStochasticIterativeScheduler": "consistency",
    "LCMScheduler": "lcm",
    "TCDScheduler": "tcd",
    "FlowMatchEulerDiscreteScheduler": "flow_match_euler",
    "FlowMatchHeunDiscreteScheduler": "flow_match_heun",
    "FlowMatchLCMScheduler": "flow_match_lcm",
    "LTXEulerAncestralRFScheduler": "ltx_euler_ancestral",
}
#: Further public names of each module.
_HOMES = {
    "backend.output": ["DerivativeOutput", "SchedulerOutput", "SdeOutput", "StepOutput"],
    "core.coefficients": ["Contributions", "Coefficients", "contributions"],
    "core.level": ["Level", "Call"],
    "core.loop": ["Moment", "drive"],
    "core.scheduler": ["KarrasDiffusionSchedulers", "Scheduler", "SchedulerMixin"],
    "facts.papers": ["Reference"],
    "interface.config": ["ConfigMixin", "FrozenDict"],
    "interface.hub": ["HubError", "PushToHubMixin"],
    "interface.registry": ["NAMES", "SCHEDULERS", "from_name"],
}
#: Modules that are public by themselves.
_MODULES = {"bridge": "interface.bridge"}
_HOME = {name: f"solvers.{module}" for name, module in _SOLVERS.items()} | {
    name: home for home, names in _HOMES.items() for name in names
}

if TYPE_CHECKING:
    from .backend.output import DerivativeOutput as DerivativeOutput
    from .backend.output import SchedulerOutput as SchedulerOutput
    from .backend.output import SdeOutput as SdeOutput
    from .backend.output import StepOutput as StepOutput
    from .core.coefficients import Coefficients as Coefficients
    from .core.coefficients import Contributions as Contributions
    from .core.coefficients import contributions as contributions
    from .core.level import Call as Call
    from .core.level import Level as Level
    from .core.loop import Moment as Moment
    from .core.loop import drive as drive
    from .core.scheduler import KarrasDiffusionSchedulers as KarrasDiffusionSchedulers
    from .core.scheduler import Scheduler as Scheduler
    from .core.scheduler import SchedulerMixin as SchedulerMixin
    from .facts.papers import Reference as Reference
    from .interface.config import ConfigMixin as ConfigMixin
    from .interface.config import FrozenDict as FrozenDict
    from .interface.hub import HubError as HubError
    from .interface.hub import PushToHubMixin as PushToHubMixin
    from .interface.registry import NAMES as NAMES
    from .interface.registry import SCHEDULERS as SCHEDULERS
    from .interface.registry import from_name as from_name
    from .solvers.consistency import (
        CMStochasticIterativeScheduler as CMStochasticIterativeScheduler,
    )
    from .solvers.cosine_dpmsolver import (
        CosineDPMSolverMultistepScheduler as CosineDPMSolverMultistepScheduler,
    )
    from .solvers.ddim import DDIMScheduler as DDIMScheduler
    from .solvers.ddim_inverse import DDIMInverseScheduler as DDIMInverseScheduler
    from .solvers.ddpm import DDPMScheduler as DDPMScheduler
    from .solvers.deis import DEISMultistepScheduler as DEISMultistepScheduler
    from .solvers.dpm_adaptive import DPMAdaptiveScheduler as DPMAdaptiveScheduler
    from .solvers.dpm_fast import DPMFastScheduler as DPMFastScheduler
    from .solvers.dpmpp_2s import DPMPP2SAncestralScheduler as DPMPP2SAncestralScheduler
    from .solvers.dpmsolver import DPMSolverMultistepScheduler as DPMSolverMultistepScheduler
    from .solvers.dpmsolver_inverse import (
        DPMSolverMultistepInverseScheduler as DPMSolverMultistepInverseScheduler,
    )
    from .solvers.dpmsolver_sde import DPMSolverSDEScheduler as DPMSolverSDEScheduler
    from .solvers.dpmsolver_singlestep import (
        DPMSolverSinglestepScheduler as DPMSolverSinglestepScheduler,
    )
    from .solvers.edm_dpmsolver import (
        EDMDPMSolverMultistepScheduler as EDMDPMSolverMultistepScheduler,
    )
    from .solvers.edm_euler import EDMEulerScheduler as EDMEulerScheduler
    from .solvers.euler import EulerDiscreteScheduler as EulerDiscreteScheduler
    from .solvers.euler_ancestral import (
        EulerAncestralDiscreteScheduler as EulerAncestralDiscreteScheduler,
    )
    from .solvers.flow_match_euler import (
        FlowMatchEulerDiscreteScheduler as FlowMatchEulerDiscreteScheduler,
    )
    from .solvers.flow_match_heun import (
        FlowMatchHeunDiscreteScheduler as FlowMatchHeunDiscreteScheduler,
    )
    from .solvers.flow_match_lcm import FlowMatchLCMScheduler as FlowMatchLCMScheduler
    from .solvers.heun import HeunDiscreteScheduler as HeunDiscreteScheduler
    from .solvers.ipndm import IPNDMScheduler as IPNDMScheduler
    from .solvers.karras_ve import KarrasVeScheduler as KarrasVeScheduler
    from .solvers.kdpm2 import KDPM2DiscreteScheduler as KDPM2DiscreteScheduler
    from .solvers.kdpm2_ancestral import (
        KDPM2AncestralDiscreteScheduler as KDPM2AncestralDiscreteScheduler,
    )
    from .solvers.lcm import LCMScheduler as LCMScheduler
    from .solvers.lms import LMSDiscreteScheduler as LMSDiscreteScheduler
    from .solvers.ltx_euler_ancestral import (
        LTXEulerAncestralRFScheduler as LTXEulerAncestralRFScheduler,
    )
    from .solvers.parallel import DDIMParallelScheduler as DDIMParallelScheduler
    from .solvers.parallel import DDPMParallelScheduler as DDPMParallelScheduler
    from .solvers.pndm import PNDMScheduler as PNDMScheduler
    from .solvers.sasolver import SASolverScheduler as SASolverScheduler
    from .solvers.score_sde_ve import ScoreSdeVeScheduler as ScoreSdeVeScheduler
    from .solvers.score_sde_vp import ScoreSdeVpScheduler as ScoreSdeVpScheduler
    from .solvers.tcd import TCDScheduler as TCDScheduler
    from .solvers.unipc import UniPCMultistepScheduler as UniPCMultistepScheduler

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    """A public name, from the module that holds it; or such a module itself."""
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{_MODULES[name]}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *_HOME})


lookup.homes = {name: f"{__name__}.{_HOME[name]}" for name in _SOLVERS}
lookup.schedulers = lambda: __getattr__("SCHEDULERS")
