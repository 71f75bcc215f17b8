"""Schedulers of diffusion models: drop-in for diffusers, on NumPy and torch alike.

A scheduler is a grid of noise levels, plus a pure function from the levels seen so far to a row of
numbers; the next sample is that row times the arrays seen so far.

A class is loaded when it is first asked for, so that ``import schedulers`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .interface import lookup

#: Module of each public name.
_HOMES = {
    "interface.config": ["ConfigMixin", "FrozenDict"],
    "cosine_dpmsolver": ["CosineDPMSolverMultistepScheduler"],
    "consistency": ["CMStochasticIterativeScheduler"],
    "lcm": ["LCMScheduler"],
    "tcd": ["TCDScheduler"],
    "ddim": ["DDIMScheduler"],
    "ddim_inverse": ["DDIMInverseScheduler"],
    "ddpm": ["DDPMScheduler"],
    "deis": ["DEISMultistepScheduler"],
    "dpm_adaptive": ["DPMAdaptiveScheduler"],
    "dpm_fast": ["DPMFastScheduler"],
    "solvers.dpmpp_2s": ["DPMPP2SAncestralScheduler"],
    "dpmsolver": ["DPMSolverMultistepScheduler"],
    "solvers.dpmsolver_sde": ["DPMSolverSDEScheduler"],
    "dpmsolver_inverse": ["DPMSolverMultistepInverseScheduler"],
    "dpmsolver_singlestep": ["DPMSolverSinglestepScheduler"],
    "edm_dpmsolver": ["EDMDPMSolverMultistepScheduler"],
    "edm_euler": ["EDMEulerScheduler"],
    "solvers.euler": ["EulerDiscreteScheduler"],
    "solvers.euler_ancestral": ["EulerAncestralDiscreteScheduler"],
    "flow_match_euler": ["FlowMatchEulerDiscreteScheduler"],
    "flow_match_heun": ["FlowMatchHeunDiscreteScheduler"],
    "solvers.heun": ["HeunDiscreteScheduler"],
    "interface.hub": ["HubError", "PushToHubMixin"],
    "ipndm": ["IPNDMScheduler"],
    "karras_ve": ["KarrasVeScheduler"],
    "solvers.kdpm2": ["KDPM2DiscreteScheduler"],
    "solvers.kdpm2_ancestral": ["KDPM2AncestralDiscreteScheduler"],
    "core.level": ["Level", "Call"],
    "solvers.lms": ["LMSDiscreteScheduler"],
    "backend.output": ["DerivativeOutput", "SchedulerOutput", "SdeOutput", "StepOutput"],
    "facts.papers": ["Reference"],
    "parallel": ["DDIMParallelScheduler", "DDPMParallelScheduler"],
    "pndm": ["PNDMScheduler"],
    "interface.registry": ["NAMES", "SCHEDULERS", "from_name"],
    "sasolver": ["SASolverScheduler"],
    "core.scheduler": ["KarrasDiffusionSchedulers", "Scheduler", "SchedulerMixin"],
    "unipc": ["UniPCMultistepScheduler"],
    "score_sde_ve": ["ScoreSdeVeScheduler"],
    "score_sde_vp": ["ScoreSdeVpScheduler"],
    "core.coefficients": ["Contributions", "Coefficients", "contributions"],
}
#: Modules that are public by themselves.
_MODULES = {"bridge": "interface.bridge"}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from .backend.output import DerivativeOutput as DerivativeOutput
    from .backend.output import SchedulerOutput as SchedulerOutput
    from .backend.output import SdeOutput as SdeOutput
    from .backend.output import StepOutput as StepOutput
    from .consistency import CMStochasticIterativeScheduler as CMStochasticIterativeScheduler
    from .core.coefficients import Coefficients as Coefficients
    from .core.coefficients import Contributions as Contributions
    from .core.coefficients import contributions as contributions
    from .core.level import Call as Call
    from .core.level import Level as Level
    from .core.scheduler import KarrasDiffusionSchedulers as KarrasDiffusionSchedulers
    from .core.scheduler import Scheduler as Scheduler
    from .core.scheduler import SchedulerMixin as SchedulerMixin
    from .cosine_dpmsolver import (
        CosineDPMSolverMultistepScheduler as CosineDPMSolverMultistepScheduler,
    )
    from .ddim import DDIMScheduler as DDIMScheduler
    from .ddim_inverse import DDIMInverseScheduler as DDIMInverseScheduler
    from .ddpm import DDPMScheduler as DDPMScheduler
    from .deis import DEISMultistepScheduler as DEISMultistepScheduler
    from .dpm_adaptive import DPMAdaptiveScheduler as DPMAdaptiveScheduler
    from .dpm_fast import DPMFastScheduler as DPMFastScheduler
    from .dpmsolver import DPMSolverMultistepScheduler as DPMSolverMultistepScheduler
    from .dpmsolver_inverse import (
        DPMSolverMultistepInverseScheduler as DPMSolverMultistepInverseScheduler,
    )
    from .dpmsolver_singlestep import DPMSolverSinglestepScheduler as DPMSolverSinglestepScheduler
    from .edm_dpmsolver import EDMDPMSolverMultistepScheduler as EDMDPMSolverMultistepScheduler
    from .edm_euler import EDMEulerScheduler as EDMEulerScheduler
    from .facts.papers import Reference as Reference
    from .flow_match_euler import (
        FlowMatchEulerDiscreteScheduler as FlowMatchEulerDiscreteScheduler,
    )
    from .flow_match_heun import FlowMatchHeunDiscreteScheduler as FlowMatchHeunDiscreteScheduler
    from .interface.config import ConfigMixin as ConfigMixin
    from .interface.config import FrozenDict as FrozenDict
    from .interface.hub import HubError as HubError
    from .interface.hub import PushToHubMixin as PushToHubMixin
    from .interface.registry import NAMES as NAMES
    from .interface.registry import SCHEDULERS as SCHEDULERS
    from .interface.registry import from_name as from_name
    from .ipndm import IPNDMScheduler as IPNDMScheduler
    from .karras_ve import KarrasVeScheduler as KarrasVeScheduler
    from .lcm import LCMScheduler as LCMScheduler
    from .parallel import DDIMParallelScheduler as DDIMParallelScheduler
    from .parallel import DDPMParallelScheduler as DDPMParallelScheduler
    from .pndm import PNDMScheduler as PNDMScheduler
    from .sasolver import SASolverScheduler as SASolverScheduler
    from .score_sde_ve import ScoreSdeVeScheduler as ScoreSdeVeScheduler
    from .score_sde_vp import ScoreSdeVpScheduler as ScoreSdeVpScheduler
    from .solvers.dpmpp_2s import DPMPP2SAncestralScheduler as DPMPP2SAncestralScheduler
    from .solvers.dpmsolver_sde import DPMSolverSDEScheduler as DPMSolverSDEScheduler
    from .solvers.euler import EulerDiscreteScheduler as EulerDiscreteScheduler
    from .solvers.euler_ancestral import (
        EulerAncestralDiscreteScheduler as EulerAncestralDiscreteScheduler,
    )
    from .solvers.heun import HeunDiscreteScheduler as HeunDiscreteScheduler
    from .solvers.kdpm2 import KDPM2DiscreteScheduler as KDPM2DiscreteScheduler
    from .solvers.kdpm2_ancestral import (
        KDPM2AncestralDiscreteScheduler as KDPM2AncestralDiscreteScheduler,
    )
    from .solvers.lms import LMSDiscreteScheduler as LMSDiscreteScheduler
    from .tcd import TCDScheduler as TCDScheduler
    from .unipc import UniPCMultistepScheduler as UniPCMultistepScheduler

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


lookup.schedulers = lambda: __getattr__("SCHEDULERS")
