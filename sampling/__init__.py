"""One run: from a frozen description of it to frames, trajectories and measurements."""

from sampling.adaptive import adaptive
from sampling.device import choose_device, devices
from sampling.plan import PARTICLES, Plan, plan_run
from sampling.recording import Recorder, Trajectory, TrajectoryCache, trajectory
from sampling.runner import Frame, initial_sample, run
from sampling.spec import RunSpec, SpecError

__all__ = [
    "PARTICLES",
    "Frame",
    "Recorder",
    "RunSpec",
    "Plan",
    "SpecError",
    "Trajectory",
    "TrajectoryCache",
    "adaptive",
    "choose_device",
    "devices",
    "initial_sample",
    "plan_run",
    "run",
    "trajectory",
]
