"""Schedulers of diffusion models: drop-in for diffusers, on NumPy and torch alike.

A scheduler is a grid of noise levels, plus a pure function from the levels seen so far to a row of
numbers; the next sample is that row times the arrays seen so far.

A class is loaded when it is first asked for, so that ``import schedulers`` costs next to nothing.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

#: Module of each public name.
_HOMES = {
    "config": ["ConfigMixin", "FrozenDict"],
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
    "dpmpp_2s": ["DPMPP2SAncestralScheduler"],
    "dpmsolver": ["DPMSolverMultistepScheduler"],
    "dpmsolver_sde": ["DPMSolverSDEScheduler"],
    "dpmsolver_inverse": ["DPMSolverMultistepInverseScheduler"],
    "dpmsolver_singlestep": ["DPMSolverSinglestepScheduler"],
    "edm_dpmsolver": ["EDMDPMSolverMultistepScheduler"],
    "edm_euler": ["EDMEulerScheduler"],
    "euler": ["EulerDiscreteScheduler"],
    "euler_ancestral": ["EulerAncestralDiscreteScheduler"],
    "flow_match_euler": ["FlowMatchEulerDiscreteScheduler"],
    "flow_match_heun": ["FlowMatchHeunDiscreteScheduler"],
    "heun": ["HeunDiscreteScheduler"],
    "hub": ["HubError", "PushToHubMixin"],
    "ipndm": ["IPNDMScheduler"],
    "karras_ve": ["KarrasVeScheduler"],
    "kdpm2": ["KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler"],
    "levels": ["Level", "Stage"],
    "lms": ["LMSDiscreteScheduler"],
    "output": ["DerivativeOutput", "SchedulerOutput", "SdeOutput", "StepOutput"],
    "papers": ["Reference"],
    "parallel": ["DDIMParallelScheduler", "DDPMParallelScheduler"],
    "pndm": ["PNDMScheduler"],
    "registry": ["NAMES", "SCHEDULERS", "from_name"],
    "sasolver": ["SASolverScheduler"],
    "scheduler": ["KarrasDiffusionSchedulers", "Scheduler", "SchedulerMixin"],
    "unipc": ["UniPCMultistepScheduler"],
    "score_sde_ve": ["ScoreSdeVeScheduler"],
    "score_sde_vp": ["ScoreSdeVpScheduler"],
    "weights": ["Contributions", "Weights", "contributions"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from .config import ConfigMixin as ConfigMixin
    from .config import FrozenDict as FrozenDict
    from .consistency import CMStochasticIterativeScheduler as CMStochasticIterativeScheduler
    from .cosine_dpmsolver import (
        CosineDPMSolverMultistepScheduler as CosineDPMSolverMultistepScheduler,
    )
    from .ddim import DDIMScheduler as DDIMScheduler
    from .ddim_inverse import DDIMInverseScheduler as DDIMInverseScheduler
    from .ddpm import DDPMScheduler as DDPMScheduler
    from .deis import DEISMultistepScheduler as DEISMultistepScheduler
    from .dpm_adaptive import DPMAdaptiveScheduler as DPMAdaptiveScheduler
    from .dpm_fast import DPMFastScheduler as DPMFastScheduler
    from .dpmpp_2s import DPMPP2SAncestralScheduler as DPMPP2SAncestralScheduler
    from .dpmsolver import DPMSolverMultistepScheduler as DPMSolverMultistepScheduler
    from .dpmsolver_inverse import (
        DPMSolverMultistepInverseScheduler as DPMSolverMultistepInverseScheduler,
    )
    from .dpmsolver_sde import DPMSolverSDEScheduler as DPMSolverSDEScheduler
    from .dpmsolver_singlestep import DPMSolverSinglestepScheduler as DPMSolverSinglestepScheduler
    from .edm_dpmsolver import EDMDPMSolverMultistepScheduler as EDMDPMSolverMultistepScheduler
    from .edm_euler import EDMEulerScheduler as EDMEulerScheduler
    from .euler import EulerDiscreteScheduler as EulerDiscreteScheduler
    from .euler_ancestral import EulerAncestralDiscreteScheduler as EulerAncestralDiscreteScheduler
    from .flow_match_euler import (
        FlowMatchEulerDiscreteScheduler as FlowMatchEulerDiscreteScheduler,
    )
    from .flow_match_heun import FlowMatchHeunDiscreteScheduler as FlowMatchHeunDiscreteScheduler
    from .heun import HeunDiscreteScheduler as HeunDiscreteScheduler
    from .hub import HubError as HubError
    from .hub import PushToHubMixin as PushToHubMixin
    from .ipndm import IPNDMScheduler as IPNDMScheduler
    from .karras_ve import KarrasVeScheduler as KarrasVeScheduler
    from .kdpm2 import KDPM2AncestralDiscreteScheduler as KDPM2AncestralDiscreteScheduler
    from .kdpm2 import KDPM2DiscreteScheduler as KDPM2DiscreteScheduler
    from .lcm import LCMScheduler as LCMScheduler
    from .levels import Level as Level
    from .levels import Stage as Stage
    from .lms import LMSDiscreteScheduler as LMSDiscreteScheduler
    from .output import DerivativeOutput as DerivativeOutput
    from .output import SchedulerOutput as SchedulerOutput
    from .output import SdeOutput as SdeOutput
    from .output import StepOutput as StepOutput
    from .papers import Reference as Reference
    from .parallel import DDIMParallelScheduler as DDIMParallelScheduler
    from .parallel import DDPMParallelScheduler as DDPMParallelScheduler
    from .pndm import PNDMScheduler as PNDMScheduler
    from .registry import NAMES as NAMES
    from .registry import SCHEDULERS as SCHEDULERS
    from .registry import from_name as from_name
    from .sasolver import SASolverScheduler as SASolverScheduler
    from .scheduler import KarrasDiffusionSchedulers as KarrasDiffusionSchedulers
    from .scheduler import Scheduler as Scheduler
    from .scheduler import SchedulerMixin as SchedulerMixin
    from .score_sde_ve import ScoreSdeVeScheduler as ScoreSdeVeScheduler
    from .score_sde_vp import ScoreSdeVpScheduler as ScoreSdeVpScheduler
    from .tcd import TCDScheduler as TCDScheduler
    from .unipc import UniPCMultistepScheduler as UniPCMultistepScheduler
    from .weights import Contributions as Contributions
    from .weights import Weights as Weights
    from .weights import contributions as contributions

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    """A public name, from the module that holds it; or such a module itself."""
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif not name.startswith("_") and importlib.util.find_spec(f".{name}", __name__):
        return importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *_HOME})
