"""Every scheduler by class name, and by the names people know."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from ..backend.checks import shown
from ..backend.errors import ParameterError, ParameterTypeError
from ..core.scheduler import Scheduler
from . import lookup

#: Every scheduler by its name, in the order of the package's table.
SCHEDULERS: Mapping[str, type[Scheduler]] = MappingProxyType(
    {name: getattr(import_module(home), name) for name, home in lookup.homes.items()}
)

_KARRAS = {"use_karras_sigmas": True}

#: Names from A1111, ComfyUI and k-diffusion: the class behind each, and its settings. For DPM++ SDE
#: older documents of diffusers name DPMSolverSinglestepScheduler, its ODE, as an alternative.
NAMES: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
        "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", _KARRAS),
        "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        "DPM++ 2M SDE Karras": (
            "DPMSolverMultistepScheduler",
            {"algorithm_type": "sde-dpmsolver++", **_KARRAS},
        ),
        "Euler": ("EulerDiscreteScheduler", {}),
        "Euler Karras": ("EulerDiscreteScheduler", _KARRAS),
        "Euler a": ("EulerAncestralDiscreteScheduler", {}),
        "Heun": ("HeunDiscreteScheduler", {}),
        "Heun Karras": ("HeunDiscreteScheduler", _KARRAS),
        "LMS": ("LMSDiscreteScheduler", {}),
        "LMS Karras": ("LMSDiscreteScheduler", _KARRAS),
        "DPM2": ("KDPM2DiscreteScheduler", {}),
        "DPM2 Karras": ("KDPM2DiscreteScheduler", _KARRAS),
        "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
        "DPM2 a Karras": ("KDPM2AncestralDiscreteScheduler", _KARRAS),
        "DPM++ 2S a": ("DPMPP2SAncestralScheduler", {}),
        "DPM++ 2S a Karras": ("DPMPP2SAncestralScheduler", _KARRAS),
        "DPM++ SDE": ("DPMSolverSDEScheduler", {}),
        "DPM++ SDE Karras": ("DPMSolverSDEScheduler", _KARRAS),
        "DPM fast": ("DPMFastScheduler", {}),
        "DPM adaptive": ("DPMAdaptiveScheduler", {}),
        "DDIM": ("DDIMScheduler", {}),
        "PNDM": ("PNDMScheduler", {}),
        "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}),
        "DEIS": ("DEISMultistepScheduler", {}),
        "UniPC": ("UniPCMultistepScheduler", {}),
        "UniPC Karras": ("UniPCMultistepScheduler", _KARRAS),
        "DDPM": ("DDPMScheduler", {}),
    }
)


#: What other programs write for the same thing, after case and punctuation are gone.
_SPELLINGS = (
    (r"^sample", ""),
    (r"dpm(solver)?(pp|plusplus|\+\+)", "dpm++"),
    (r"ancestral", "a"),
    (r"gpu$", ""),
)
#: Curves that any class with the parameter can be asked for by a last word.
_CURVES = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
}


def _plain(name: str) -> str:
    """A name without case, spaces and punctuation but its plus signs, in one spelling."""
    plain = re.sub(r"[^a-z0-9+]", "", name.lower())
    for pattern, replacement in _SPELLINGS:
        plain = re.sub(pattern, replacement, plain)
    return plain


def _find(wanted: str) -> tuple[str, Mapping[str, Any]] | None:
    """The class and settings behind a plain name."""
    known: dict[str, tuple[str, Mapping[str, Any]]] = {
        **{_plain(cls): (cls, {}) for cls in SCHEDULERS},
        **{_plain(cls.removesuffix("Scheduler")): (cls, {}) for cls in SCHEDULERS},
        **{_plain(label): entry for label, entry in NAMES.items()},
    }
    for plain in (wanted, wanted.removeprefix("k")):
        if plain in known:
            return known[plain]
        for word, option in _CURVES.items():
            base = known.get(plain.removesuffix(word))
            if base is not None and plain.endswith(word):
                class_name, settings = base
                if any(p.name == option for p in SCHEDULERS[class_name].parameters()):
                    return class_name, {**settings, option: True}
    return None


def from_name(name: str, **config: Any) -> Scheduler:
    """A scheduler by class name or by a name people know.

    Args:
        name: "DPM++ 2M Karras", "Euler a", "DDIMScheduler", "LCM", "dpmpp_2s_ancestral", "k_euler_a",
            "sample_dpmpp_2m", ...; case and punctuation do not matter. A last word Karras,
            exponential or beta asks for that curve.
        **config: Constructor keywords; they win over the settings behind the name.

    Returns:
        The scheduler.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: Nobody is called that; the message lists the closest names.
    """
    if not isinstance(name, str):
        raise ParameterTypeError(
            f"name={name!r} must be a string such as 'DPM++ 2M Karras'.", "name"
        )
    wanted = _plain(name)
    found = _find(wanted)
    if found is None:
        labels = {_plain(label): label for label in (*SCHEDULERS, *NAMES)}
        close = difflib.get_close_matches(wanted, labels, n=4, cutoff=0.3)
        listed = ", ".join(labels[c] for c in close) or ", ".join(NAMES)
        raise ParameterError(
            f"name={shown(name)} is not a scheduler; the closest are: {listed}.", "name"
        )
    class_name, settings = found
    return SCHEDULERS[class_name](**{**settings, **config})
