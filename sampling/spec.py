"""What a run is: one frozen value that is the request, the cache key and the link."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlencode

from models import MODELS, ModelInfo
from schedulers import SCHEDULERS
from schedulers.backend.checks import check_choice, check_number, check_whole, closest, shown
from schedulers.interface.params import Parameter

__all__ = ["MAX_SAMPLES", "MAX_STEPS", "NOT_OURS", "VERSION", "RunSpec", "SpecError", "Value"]

VERSION = 1
MAX_STEPS = 1000
MAX_SAMPLES = 64
MAX_SEED = 2**32 - 1
MAX_NUMBERS = 4000
MAX_QUERY = 60_000
# Parameters that decide how a library user holds arrays, that a control of the page replaces, or
# that ask for what only a program can give (a function, the mu of an image size).
NOT_OURS = frozenset(
    {"tensor_format", "timestep_values", "solver_p", "tau_func"}
    | {"use_dynamic_shifting", "time_shift_type"}
    | {"scale_factors", "upscale_mode"}  # the embedded models know one size
)

Value = bool | int | float | str | None | tuple[float, ...]
Pairs = tuple[tuple[str, Value], ...]
T = TypeVar("T")


class SpecError(ValueError):
    """A setting that cannot be used.

    Attributes:
        parameters: The controls at fault, the one to change first: ``"steps"``,
            ``"config.beta_start"``, ``"options.patch"``; both of a conflict, and none where no
            control is to blame.
    """

    def __init__(self, parameters: str | tuple[str, ...], message: str) -> None:
        """Remember the controls beside the message; both survive pickling."""
        super().__init__(parameters, message)
        named = (parameters,) if isinstance(parameters, str) else parameters
        self.parameters = tuple(name for name in named if name)
        self.message = message

    @property
    def parameter(self) -> str:
        """The control to change first, or an empty text."""
        return self.parameters[0] if self.parameters else ""

    def __str__(self) -> str:
        """The message alone, since it names the control itself."""
        return self.message


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that decides a film, and nothing else.

    Equal specs give equal films; a spec is hashable, converts to JSON and to a URL query, and
    is valid from the moment it exists: every constructor validates. Settings equal to their
    default are dropped, so two ways of saying the same thing are the same spec.

    Attributes:
        scheduler: Class name, a key of `schedulers.SCHEDULERS`.
        config: Parameters of the constructor that differ from their defaults, sorted by name.
        step: Arguments of ``step`` (eta, s_churn, ...) that differ from their defaults, likewise.
            What is passed in ``config`` by such a name goes here: the page, links and the API
            name both kinds in one list.
        model: A key of `models.MODELS`; the empty string stands for the first one.
        cond: A class of that model; the empty string stands for its default class.
        options: Options of that model that differ from their defaults, sorted by name.
        steps: Number of inference steps, 1 to 1000. With custom times it is their number.
        seed: 0 to 2**32 - 1.
        samples: How many samples, 1 to 64. For plane and line models one sample is a group of
            particles.
        timesteps: Custom training times, or None for the scheduler's own spacing.
        sigmas: Custom levels sigma/alpha, or None. At most one of the two is given.

    Raises:
        SpecError: Some setting is not allowed; ``parameter`` names it.
    """

    scheduler: str = "DPMSolverMultistepScheduler"
    config: Pairs = ()
    step: Pairs = ()
    model: str = ""
    cond: str = ""
    options: Pairs = ()
    steps: int = 20
    seed: int = 0
    samples: int = 1
    timesteps: tuple[float, ...] | None = None
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Validate every field and bring it to its one canonical form."""
        scheduler = SCHEDULERS[
            _checked("scheduler", check_choice, "scheduler", self.scheduler, SCHEDULERS)
        ]
        model_id = self.model or next(iter(MODELS))
        info = MODELS[_checked("model", check_choice, "model", model_id, MODELS)]
        classes = [entry.id for entry in info.classes]
        cond = _checked("cond", check_choice, "cond", self.cond or info.default_class, classes)
        timesteps = _numbers("timesteps", self.timesteps)
        sigmas = _numbers("sigmas", self.sigmas)
        if timesteps is not None and sigmas is not None:
            raise SpecError(
                ("sigmas", "timesteps"),
                "sigmas and timesteps are both given; give one of them, not both.",
            )
        steps = _checked("steps", check_whole, "steps", self.steps, 1, MAX_STEPS)
        custom = timesteps if timesteps is not None else sigmas
        if custom is not None:
            steps = min(len(custom), MAX_STEPS)
        given = (*_pairs("config", self.config), *_pairs("step", self.step))
        config, step = _settings(scheduler.parameters(), given)
        settings = {
            "scheduler": self.scheduler,
            "config": config,
            "step": step,
            "model": model_id,
            "cond": cond,
            "options": _options(info, self.options),
            "steps": steps,
            "seed": _checked("seed", check_whole, "seed", self.seed, 0, MAX_SEED),
            "samples": _checked("samples", check_whole, "samples", self.samples, 1, MAX_SAMPLES),
            "timesteps": timesteps,
            "sigmas": sigmas,
        }
        for name, value in settings.items():
            object.__setattr__(self, name, value)

    @classmethod
    def default(cls) -> RunSpec:
        """The run on screen when the page opens: DPM++ 2M Karras on the default model."""
        return cls(config=(("use_karras_sigmas", True),), seed=37)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> RunSpec:
        """Read a spec from plain JSON values, as the page and the API send them.

        Args:
            settings: Keys as in `to_dict`; a missing key takes its default, an unknown one is
                an error.

        Raises:
            SpecError: Something is unknown, of the wrong type, not finite or out of range.
        """
        if not isinstance(settings, Mapping):
            raise SpecError("", f"settings must be an object, got {shown(settings)}.")
        known = {field.name for field in fields(cls)}
        for key in settings:
            if key != "v" and key not in known:
                raise SpecError(_text(key), f"{shown(key)} is no setting.{closest(key, known)}")
        version = settings.get("v", VERSION)
        if isinstance(version, bool) or version != VERSION:
            raise SpecError("v", f"v must be {VERSION}, got {shown(version)}.")
        values = {key: settings[key] for key in known if key in settings}
        for key in ("config", "step", "options"):
            pairs = values.get(key)
            if pairs is None:
                values.pop(key, None)
            elif isinstance(pairs, Mapping):
                values[key] = tuple(pairs.items())
            else:
                raise SpecError(key, f"{key} must be an object, got {shown(pairs)}.")
        for key in ("model", "cond"):
            if values.get(key) is None:
                values.pop(key, None)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON values; `from_dict` reads it back to an equal spec."""
        return {
            "v": VERSION,
            "scheduler": self.scheduler,
            "config": {name: _plain(value) for name, value in sorted(self.config + self.step)},
            "steps": self.steps,
            "model": self.model,
            "cond": self.cond,
            "options": {name: _plain(value) for name, value in self.options},
            "seed": self.seed,
            "samples": self.samples,
            "timesteps": _plain(self.timesteps),
            "sigmas": _plain(self.sigmas),
        }

    def to_query(self) -> str:
        """The spec as a URL query, ``v=1&scheduler=...&steps=20&...&c.beta_start=0.00085``.

        Config keys carry the prefix ``c.``, options ``o.``; values are JSON scalars, strings
        bare, lists joined by commas.
        """
        pairs: list[tuple[str, str]] = [
            ("v", str(VERSION)),
            ("scheduler", self.scheduler),
            ("steps", str(self.steps)),
            ("model", self.model),
            ("cond", self.cond),
            ("seed", str(self.seed)),
            ("samples", str(self.samples)),
        ]
        pairs += [
            (f"c.{name}", _written(value)) for name, value in sorted(self.config + self.step)
        ]
        pairs += [(f"o.{name}", _written(value)) for name, value in self.options]
        pairs += [
            (name, _written(value))
            for name, value in (("timesteps", self.timesteps), ("sigmas", self.sigmas))
            if value is not None
        ]
        return urlencode(pairs, safe=",:")

    @classmethod
    def from_query(cls, query: str | Mapping[str, str]) -> RunSpec:
        """Read what `to_query` and the page's link write.

        Keys that are not ours (``__theme``, tracking tags) are ignored, since hosts add their
        own; an unknown ``c.`` or ``o.`` key is an error. An empty query is the default spec.

        Raises:
            SpecError: A value cannot be read or is not allowed.
        """
        if isinstance(query, str):
            if len(query) > MAX_QUERY:
                raise SpecError("", f"the link is longer than {MAX_QUERY} characters.")
            try:
                entries = dict(parse_qsl(query.lstrip("?"), keep_blank_values=True))
            except ValueError as error:
                raise SpecError("", f"the link cannot be read: {error}.") from error
        else:
            entries = {_text(key): _text(value) for key, value in query.items()}
        plain = {field.name for field in fields(cls)} - {"config", "step", "options"}
        settings: dict[str, Any] = {}
        config: dict[str, Any] = {}
        options: dict[str, Any] = {}
        for key, text in entries.items():
            if key.startswith("c."):
                config[key[2:]] = text
            elif key.startswith("o."):
                options[key[2:]] = _read(text)
            elif key in ("timesteps", "sigmas"):
                settings[key] = None if text == "" else _read_list(key, text)
            elif key in ("scheduler", "model", "cond"):
                settings[key] = text
            elif key in plain or key == "v":
                settings[key] = _read(text)
        if not settings and not config and not options:
            return cls.default()
        scheduler = settings.get("scheduler", cls().scheduler)
        described = _described(scheduler)
        settings["config"] = {
            name: _read_as(described.get(name), f"config.{name}", text)
            for name, text in config.items()
        }
        return cls.from_dict(settings | {"options": options})


def _described(scheduler: str) -> dict[str, Parameter]:
    if scheduler not in SCHEDULERS:
        return {}
    return {entry.name: entry for entry in SCHEDULERS[scheduler].parameters()}


# --- checks -----------------------------------------------------------------------------------


def _settings(
    described: Iterable[Parameter], pairs: Iterable[tuple[str, Any]]
) -> tuple[Pairs, Pairs]:
    """Parameters of the constructor and of ``step``, without those that have their defaults."""
    known = {entry.name: entry for entry in described if entry.name not in NOT_OURS}
    kept: dict[str, dict[str, Value]] = {"init": {}, "step": {}}
    for name, value in pairs:
        if name not in known:
            hint = " It is for programs." if name in NOT_OURS else closest(name, known)
            raise SpecError(f"config.{name}", f"{shown(name)} is no parameter here.{hint}")
        entry = known[name]
        checked = _parameter(entry, value)
        if not _same(checked, _frozen(entry.default)):
            kept[entry.call][name] = checked
    return tuple(sorted(kept["init"].items())), tuple(sorted(kept["step"].items()))


def _options(info: ModelInfo, pairs: object) -> Pairs:
    known = {entry.name: entry for entry in info.options}
    kept: dict[str, Value] = {}
    for name, value in _pairs("options", pairs):
        if name not in known:
            raise SpecError(
                f"options.{name}",
                f"{shown(name)} is no option of {info.id}.{closest(name, known)}",
            )
        entry = known[name]
        checked = _checked(f"options.{name}", entry.check, value)
        if not _same(checked, _frozen(entry.default)):
            kept[name] = checked
    return tuple(sorted(kept.items()))


def _pairs(control: str, pairs: object) -> list[tuple[str, Any]]:
    try:
        listed = [(name, value) for name, value in cast("Iterable[Any]", pairs)]
    except (TypeError, ValueError):
        raise SpecError(
            control, f"{control} must be (name, value) pairs, got {shown(pairs)}."
        ) from None
    for name, _ in listed:
        if not isinstance(name, str):
            raise SpecError(control, f"{control} needs names as text, got {shown(name)}.")
    return listed


def _parameter(entry: Parameter, value: object) -> Value:
    """The scheduler's own check, plus what a link can and cannot carry."""
    control = f"config.{entry.name}"
    default = _frozen(entry.default)
    unset = isinstance(default, float) and not math.isfinite(default)
    if unset and (value is None or value in (default, _written(default))):
        return default  # JSON has no infinity: null stands for it
    if isinstance(value, list | tuple) and value:
        _limited(control, value)
    checked = _checked(control, entry.check, list(value) if isinstance(value, tuple) else value)
    if entry.kind == "numbers" and checked is not None:
        return tuple(float(number) for number in checked)
    if entry.kind == "float" and checked is not None:
        return _checked(control, check_number, entry.name, checked)
    return _frozen(checked)


def _checked(control: str, check: Callable[..., T], *arguments: Any) -> T:
    """What the library's own check makes of a value, or its refusal as one of a control."""
    try:
        return check(*arguments)
    except (TypeError, ValueError) as error:
        raise SpecError(control, _cut(str(error), 400)) from error


def _numbers(control: str, value: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise SpecError(control, f"{control}={shown(value)} must be a list of numbers.")
    _limited(control, value)
    return tuple(
        _checked(control, check_number, f"{control}[{i}]", number, 0.0)
        for i, number in enumerate(value)
    )


def _limited(control: str, numbers: Sequence[object]) -> None:
    """Refuse a list that no link can carry."""
    if not 1 <= len(numbers) <= MAX_NUMBERS:
        name = control.rpartition(".")[2]
        raise SpecError(
            control, f"{name} holds {len(numbers)} numbers; it must hold 1 to {MAX_NUMBERS}."
        )


def _frozen(value: Any) -> Value:  # noqa: ANN401
    return tuple(value) if isinstance(value, list | tuple) else value


def _same(a: object, b: object) -> bool:
    """Equality that does not take True for 1 (but takes 1 for 1.0)."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _finite(value: Value) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


# --- text -------------------------------------------------------------------------------------


def _written(value: Value) -> str:
    """A value as the link writes it: JSON scalars, bare strings, lists joined by commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return ",".join(_written(number) for number in value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return json.dumps(value)


def _read(text: str) -> bool | int | float | str | None:
    constants: dict[str, bool | None] = {"true": True, "false": False, "null": None}
    if text in constants:
        return constants[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _read_list(control: str, text: str) -> tuple[Any, ...]:
    parts = text.split(",")
    _limited(control, parts)
    return tuple(_read(part.strip()) for part in parts)


def _read_as(entry: Parameter | None, control: str, text: str) -> object:
    """Read a link's text by the kind of its parameter, so that a choice stays text."""
    if entry is not None and entry.kind == "choice":
        if text == "null" and entry.optional:
            return None
        # A plus sign that was not escaped arrives as a space; no choice has one.
        return text.replace(" ", "+")
    if entry is not None and entry.kind == "numbers" and text != "null":
        return _read_list(control, text)
    return _read(text)


def _plain(value: Value) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return [_plain(number) for number in value]
    return value if _finite(value) else None


def _text(value: object) -> str:
    return str(value)[:200]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
