"""Schedulers of diffusion models: drop-in for diffusers, on NumPy and torch alike.

A scheduler is a grid of noise levels, plus a pure function from the levels seen so far to a row of
numbers; the next sample is that row times the arrays seen so far.
"""

from .config import ConfigMixin, FrozenDict
from .ddim import DDIMScheduler
from .ddpm import DDPMScheduler
from .deis import DEISMultistepScheduler
from .dpmsolver import DPMSolverMultistepScheduler
from .dpmsolver_singlestep import DPMSolverSinglestepScheduler
from .euler import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from .heun import HeunDiscreteScheduler
from .hub import HubError, PushToHubMixin
from .karras_ve import KarrasVeScheduler
from .kdpm2 import KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler
from .levels import Level, Stage
from .lms import LMSDiscreteScheduler
from .output import DerivativeOutput, StepOutput
from .output import StepOutput as SchedulerOutput
from .registry import NAMES, SCHEDULERS, from_name
from .scheduler import KarrasDiffusionSchedulers, Reference, Scheduler
from .scheduler import Scheduler as SchedulerMixin
from .weights import Contributions, Weights, contributions

__all__ = [
    "NAMES",
    "SCHEDULERS",
    "ConfigMixin",
    "Contributions",
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DerivativeOutput",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FrozenDict",
    "HeunDiscreteScheduler",
    "HubError",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KarrasDiffusionSchedulers",
    "KarrasVeScheduler",
    "LMSDiscreteScheduler",
    "Level",
    "PushToHubMixin",
    "Reference",
    "Scheduler",
    "SchedulerMixin",
    "SchedulerOutput",
    "Stage",
    "StepOutput",
    "Weights",
    "contributions",
    "from_name",
]
