"""The Explore tab's questions and answers: plain JSON values in, plain JSON values out.

Nothing here knows of gradio. A question is answered with ``{"ok": True, ...}`` or with
``{"ok": False, "errors": {control: message}}``; an answer never holds NaN, and a question never
raises. The two for the API, `Explorer.api_schedule` and `Explorer.api_run`, raise `SpecError`
instead.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from models import MODELS, Model, ModelInfo, load
from sampling import (
    PARTICLES,
    Plan,
    Recorder,
    RunSpec,
    SpecError,
    Trajectory,
    TrajectoryCache,
    choose_device,
    devices,
    plan_run,
    run,
)
from sampling.spec import MAX_SAMPLES, MAX_STEPS, NOT_OURS
from schedulers import NAMES, SCHEDULERS
from schedulers.facts.quirks import Quirk
from schedulers.grids.groups import Group
from schedulers.interface.params import Parameter
from schedulers.solvers.dpm_adaptive import DPMAdaptiveScheduler
from visualize.about import about, active_quirks, grids, own_quirks, spellings
from visualize.chips import chips
from visualize.columns import columns, told_calls
from visualize.encode import b64, numbers
from visualize.equations import equations
from visualize.films import film as film_of
from visualize.films import frames_to_keep, moment

__all__ = ["Explorer", "is_live"]

LOG = logging.getLogger(__name__)

LIVE_SAMPLES = 4
LIVE_CALLS = 120
LIVE_WORK = 160
LIVE_MS = 150
LIVE_SECONDS = 120.0
FILM_SECONDS = 30.0
API_SECONDS = 60.0
QUEUE_SECONDS = 3.0
MESSAGE_SECONDS = 1 / 60
MAX_JSON = 60_000
REMEMBERED = 64
"""Runs with adaptive steps whose steps are remembered: a few hundred numbers each."""


class Explorer:
    """Answers the page's questions; holds the one thing that visitors share, a bounded cache.

    Safe to use from many threads. At most ``workers`` runs compute at a time, whoever asks.

    Attributes:
        device: Where it computes unless a question says otherwise.
        cache: The trajectories of the films made so far.
        api_schedule: `schedule` with the arguments of `asking`, for programs.
        api_run: A run with the arguments of `asking`, for programs: ``{"spec", "nfe", "film",
            "final"}``, the film as the page gets it (frames thinned out where the run is long)
            and the final samples as ``b64f32`` of the model's shape. A run may take a minute.
    """

    def __init__(
        self, *, device: str | None = None, cache_bytes: int = 256 * 2**20, workers: int = 2
    ) -> None:
        """Prepare an explorer.

        Args:
            device: Where to compute, None for the choice of `sampling.choose_device`.
            cache_bytes: Budget of the trajectory cache.
            workers: How many runs may compute at the same time, at least 1.

        Raises:
            ValueError: The device does not exist here, or ``workers`` is below 1.
        """
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}.")
        self.device = choose_device(device)
        self.cache = TrajectoryCache(cache_bytes)
        self._slots = threading.BoundedSemaphore(workers)
        self._plans = functools.lru_cache(maxsize=64)(plan_run)
        self._attempts: OrderedDict[RunSpec, tuple[Group, ...]] = OrderedDict()
        self._lock = threading.Lock()
        self._reach = functools.lru_cache(maxsize=64)(_reach)
        self.api_schedule = asking(self._told)
        self.api_run = asking(self._run)

    # --- questions ---------------------------------------------------------------------------

    def schema(self) -> dict[str, Any]:
        """Everything the page needs to know before the first question."""
        return {
            "version": 1,
            "default": RunSpec.default().to_dict(),
            "schedulers": [_scheduler_entry(name) for name in SCHEDULERS],
            "names": [
                {
                    "name": name,
                    "scheduler": scheduler,
                    "config": _json(config),
                    "also": list(spellings(name)),
                }
                for name, (scheduler, config) in NAMES.items()
            ],
            "models": [_model_entry(info) for info in MODELS.values()],
            "devices": [{"id": place.id, "title": place.title} for place in devices()],
            "device": self.device,
            "limits": {
                "live_ms_budget": LIVE_MS,
                "live_samples": LIVE_SAMPLES,
                "live_calls": LIVE_CALLS,
                "live_work": LIVE_WORK,
                "steps": MAX_STEPS,
                "samples": MAX_SAMPLES,
                "particles_per_sample": PARTICLES,
            },
        }

    def schedule(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Levels, weights, chips, equations of a run; asks no model, takes milliseconds.

        Of a run whose error decides its steps it tells those that the run found, if it was made
        before; else, with ``"ahead": True``, those to come if no step makes an error. Of a run of
        more calls than `MOST_TOLD` it tells some, and in ``"told"`` which (None is all).
        """
        return _answer(lambda: self._schedule(RunSpec.from_dict(settings)))

    def film(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The whole film of a run that is small enough for a drag; larger ones are refused.

        Beside the spec, ``settings`` may name the ``device`` to compute on; it is no part of the
        link, because the film is the same on every device up to rounding. A film that *Run live*
        has already made is handed out whatever its size.
        """
        return _answer(lambda: self._film(*self._placed(settings)))

    def live(
        self,
        settings: Mapping[str, Any],
        *,
        stop: threading.Event | None = None,
        seconds: float = LIVE_SECONDS,
    ) -> Iterator[dict[str, Any]]:
        """A run of any size, shown while it is computed.

        Live runs are not counted among ``workers``: the page's queue bounds how many there are.

        Args:
            settings: The spec, and the ``device`` if it is not to be the usual one.
            stop: Ends the run before its next model call.
            seconds: Longest time that the run may take.

        Yields:
            ``{"index", "frames", "kind", "prev", "x0", ...}`` for the steps (some are left out
            where more than sixty a second come), then ``{"done": True, "film": ...}``, or
            ``{"done": True, "stopped": True, "reason": ...}``, or ``{"ok": False, ...}``.
        """
        try:
            spec, device = self._placed(settings)
            plan = self._plan(spec)
            model = self._model(spec, device)
            found = self.cache.find(spec, device, _kept(spec))
            if found is not None:
                yield {"done": True, "film": self._film_of(found, device, True)}
                return
            yield from self._stream(plan, model, device, stop, seconds)
        except SpecError as error:
            yield _failure(error)
        except Exception:  # the page shows a state for it, the log the reason
            LOG.exception("live run failed")
            yield _failure(SpecError("", "The run failed; the server's log says why."))

    # --- answers -----------------------------------------------------------------------------

    def _schedule(self, spec: RunSpec) -> dict[str, Any]:
        plan = self._plan(spec)
        contributions, told = plan.contributions, told_calls(plan)
        return {
            "ok": True,
            "spec": spec.to_dict(),
            "query": spec.to_query(),
            "live": is_live(plan),
            "ahead": plan.ahead,
            "steps": plan.steps,
            "nfe": plan.nfe,
            "told": None if len(told) == plan.nfe else list(told),
            "columns": columns(plan, told),
            "training": _training(plan),
            "inert": _inert(spec),
            "quirks": active_quirks(
                spec.scheduler, dict(spec.config + spec.step) | {"steps": spec.steps}
            ),
            "chips": [chip.to_dict() for chip in chips(plan, self._extent(spec))],
            "equations": equations(plan, told),
            "contributions": {
                "initial": numbers([contributions.initial])[0],
                "calls": numbers(contributions.calls[i] for i in told),
                "noise": numbers(contributions.noise[i] for i in told),
            },
            "errors": {},
        }

    def _plan(self, spec: RunSpec) -> Plan:
        """What a run will do; of one with adaptive steps what it did, where it was made before."""
        with self._lock:
            attempts = self._attempts.get(spec)
        return self._plans(spec, attempts)

    def _found(self, made: Trajectory) -> None:
        """Remember the steps that a run with adaptive steps found."""
        scheduler = made.plan.scheduler
        if not isinstance(scheduler, DPMAdaptiveScheduler):
            return
        with self._lock:
            self._attempts[made.spec] = scheduler.attempts
            while len(self._attempts) > REMEMBERED:
                self._attempts.popitem(last=False)

    def _film_of(self, made: Trajectory, device: str, cached: bool) -> dict[str, Any]:
        """A film as JSON; with what the run did, where the page could not know it before."""
        film = film_of(made, self._model(made.spec, device)) | {"cached": cached}
        if SCHEDULERS[made.spec.scheduler].call_form != "adaptive":
            return film
        self._found(made)
        return film | {"schedule": self._schedule(made.spec)}

    def _placed(self, settings: Mapping[str, Any]) -> tuple[RunSpec, str]:
        """The spec and the device that a question names."""
        if not isinstance(settings, Mapping) or "device" not in settings:
            return RunSpec.from_dict(settings), self.device
        rest = {key: value for key, value in settings.items() if key != "device"}
        return RunSpec.from_dict(rest), self._device(settings["device"])

    def _device(self, wanted: object) -> str:
        """The device to compute on; None or empty is the one chosen at the start."""
        if wanted is None or wanted == "":
            return self.device
        offered = [place.id for place in devices()]
        if wanted not in offered:
            raise SpecError(
                "device", f"device={wanted!r} must be one of {', '.join(offered)} on this machine."
            )
        return str(wanted)

    def _film(self, spec: RunSpec, device: str) -> dict[str, Any]:
        found = self.cache.find(spec, device, _kept(spec))
        if found is not None:
            return self._film_of(found, device, True)
        plan = self._plan(spec)
        if not is_live(plan):
            control = "samples" if spec.samples > LIVE_SAMPLES else "steps"
            raise SpecError(
                control,
                f"{plan.nfe} model calls for {_samples(spec)} are more than a drag re-runs "
                f"(at most {LIVE_CALLS} calls, {LIVE_SAMPLES} samples and {LIVE_WORK} calls times "
                "samples): use Run live.",
            )
        made, cached = self._made(plan, device, FILM_SECONDS, LIVE_CALLS)
        return self._film_of(made, device, cached)

    def _told(self, spec: RunSpec, device: str) -> dict[str, Any]:
        self._device(device)  # refused as by a run, though nothing is computed there
        return self._schedule(spec)

    def _run(self, spec: RunSpec, device: str) -> dict[str, Any]:
        place = self._device(device)
        plan = self._plan(spec)
        made, cached = self._made(plan, place, API_SECONDS)
        return {
            "ok": True,
            "spec": spec.to_dict(),
            "nfe": made.plan.nfe,
            "film": self._film_of(made, place, cached),
            "final": b64(np.nan_to_num(made.samples[-1])),
        }

    def _made(
        self, plan: Plan, device: str, seconds: float, most: int | None = None
    ) -> tuple[Trajectory, bool]:
        """The run, and whether the cache had it.

        Args:
            plan: The run.
            device: Where to compute.
            seconds: How long it may take.
            most: How many calls it may make, where its error decides that; None for any number.
        """
        spec = plan.spec
        return self.cache.get(
            spec, device, lambda: self._compute(plan, device, seconds, most), _kept(spec)
        )

    def _compute(
        self, plan: Plan, device: str, seconds: float, most: int | None = None
    ) -> Trajectory:
        if not self._slots.acquire(timeout=QUEUE_SECONDS):
            raise SpecError("", "The server is busy with other runs: try again in a moment.")
        try:
            recorder = Recorder(plan, device, keep=_kept(plan.spec))
            for frame in run(plan.spec, plan=plan, device=device, seconds=seconds):
                recorder.add(frame)
                if plan.ahead and most is not None and frame.index >= most:
                    raise SpecError(
                        "config.rtol",
                        f"rtol, atol: the error asks for more than {most} model calls, which is "
                        "more than a drag re-runs: choose larger ones, or use Run live.",
                    )
            if not recorder.complete:
                raise SpecError("steps", f"steps: the run took more than {seconds:g} seconds.")
            return recorder.finish()
        finally:
            self._slots.release()

    def _stream(
        self,
        plan: Plan,
        model: Model,
        device: str,
        stop: threading.Event | None,
        seconds: float,
    ) -> Iterator[dict[str, Any]]:
        recorder = Recorder(plan, device, keep=_kept(plan.spec))
        end = time.monotonic() + seconds
        shown = 0.0
        for frame in run(plan.spec, plan=plan, device=device, stop=stop, seconds=seconds):
            recorder.add(frame)
            now = time.monotonic()
            if plan.nfe <= LIVE_CALLS or now - shown >= MESSAGE_SECONDS:
                shown = now
                yield moment(frame, plan, model)
        if not recorder.complete:
            late = time.monotonic() >= end
            reason = f"stopped after {seconds:g} seconds" if late else "stopped"
            yield {"done": True, "stopped": True, "reason": reason, "frames": plan.nfe}
            return
        made = recorder.finish()
        self.cache.store(made)
        yield {"done": True, "film": self._film_of(made, device, False)}

    def _model(self, spec: RunSpec, device: str) -> Model:
        options: dict[str, Any] = dict(spec.options)
        return load(spec.model, device=device, **options)

    def _extent(self, spec: RunSpec) -> float:
        return self._reach(spec.model, spec.cond, spec.options)


def is_live(plan: Plan) -> bool:
    """Whether a run is small enough to be computed again on every move of a control."""
    samples = plan.spec.samples
    return samples <= LIVE_SAMPLES and plan.nfe <= LIVE_CALLS and plan.nfe * samples <= LIVE_WORK


def asking(answer: Callable[[RunSpec, str], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A question with the API's arguments, out of one about a spec and a device.

    Args:
        answer: Answers with ``{"ok": ...}``; a `SpecError` is a refusal.
    """

    def ask(
        scheduler: str,
        config: str = "{}",
        steps: float = 20,
        model: str = "",
        cond: str = "",
        seed: float = 0,
        samples: float = 1,
        device: str = "",
    ) -> dict[str, Any]:
        """Ask about one run.

        Args:
            scheduler: Class name ("EulerDiscreteScheduler") or a name people know ("Euler a").
            config: Parameters by name, as JSON text of an object.
            steps: Number of inference steps, 1 to 1000.
            model: Model id; empty for the first.
            cond: Class id; empty for the model's default.
            seed: 0 to 2**32 - 1.
            samples: 1 to 64.
            device: "cuda", "mps" or "cpu", if this machine has it; empty for its own choice.

        Raises:
            SpecError: A setting is not allowed, or the run takes too long; the message names it.
        """
        chosen = _config_of(config)
        if isinstance(scheduler, str) and scheduler in NAMES:
            scheduler, named = NAMES[scheduler]
            chosen = {**named, **chosen}
        spec = RunSpec.from_dict(
            {
                "scheduler": scheduler,
                "config": chosen,
                "steps": steps,
                "model": model,
                "cond": cond,
                "seed": seed,
                "samples": samples,
            }
        )
        reply = _answer(lambda: answer(spec, device))
        if reply["ok"]:
            return reply
        controls, (message, *_) = tuple(reply["errors"]), reply["errors"].values()
        raise SpecError(controls, message)

    return ask


# --- pieces -----------------------------------------------------------------------------------


def _answer(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return ask()
    except SpecError as error:
        return _failure(error)
    except Exception:
        LOG.exception("a question of the page failed")
        return _failure(SpecError("", "The server failed on this; its log says why."))


def _failure(error: SpecError) -> dict[str, Any]:
    """One message, at every control that it concerns."""
    return {"ok": False, "errors": dict.fromkeys(error.parameters or ("",), error.message)}


def _config_of(config: Any) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(config, str):
        if len(config) > MAX_JSON:
            raise SpecError("config", f"config must be at most {MAX_JSON} characters.")
        try:
            config = json.loads(config or "{}")
        except (ValueError, RecursionError) as error:
            raise SpecError("config", f"config must be the JSON of an object: {error}.") from error
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise SpecError("config", f"config must be an object, got {type(config).__name__}.")
    return dict(config)


def _scheduler_entry(name: str) -> dict[str, Any]:
    made = SCHEDULERS[name]
    reference, told = made.reference, about(name)
    return {
        "id": name,
        "title": made.title,
        "family": made.family,
        "good_for": made.good_for,
        "bounds_steps": list(made.bounds_steps),
        "grids": grids(name),
        "about": {
            "sentence": told.sentence,
            "blocks": [asdict(block) for block in told.blocks],
            "sources": told.sources,
        },
        "quirks": [_quirk_entry(quirk) for quirk in own_quirks(name)],
        "reference": {
            "title": reference.title,
            "authors": reference.surnames,
            "year": reference.year,
            "url": reference.url or None,
            "note": reference.note,
            "bibtex": reference.bibtex,
        },
        "parameters": [
            _parameter_entry(entry) for entry in made.parameters() if entry.name not in NOT_OURS
        ],
    }


def _quirk_entry(quirk: Quirk) -> dict[str, Any]:
    return {
        "slug": quirk.slug,
        "title": quirk.title,
        "where": quirk.where,
        "upstream": quirk.upstream,
        "mathematics": quirk.mathematics,
        "shows": quirk.shows,
        "ours": quirk.ours,
        "why": quirk.why,
    }


def _parameter_entry(entry: Parameter) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "default": _json(entry.default),
        "optional": entry.optional,
        "low": entry.low,
        "high": entry.high,
        "slider_low": entry.slider_low,
        "slider_high": entry.slider_high,
        "slider_step": entry.slider_step,
        "log": entry.log,
        "choices": list(entry.choices),
        "unit": entry.unit,
        "text": entry.text,
        "group": entry.group,
        "advanced": entry.advanced,
        "call": entry.call,
    }


def _model_entry(info: ModelInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "title": info.title,
        "kind": info.kind,
        "shape": list(info.shape),
        "text": info.text,
        "note": info.note,
        "classes": [asdict(entry) for entry in info.classes],
        "default_class": info.default_class,
        "options": [_json(asdict(option)) for option in info.options],
    }


def _json(value: Any) -> Any:  # noqa: ANN401
    """The value with lists for tuples and None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _training(plan: Plan) -> dict[str, Any] | None:
    table = plan.scheduler.training
    if table is None:
        return None
    count = len(table.betas)
    kept = np.unique(np.linspace(0, count - 1, min(count, 1000)).round().astype(int))
    return {
        "t": b64(kept.astype(np.float32)),
        "alphas_cumprod": b64(_floats(table.alphas_cumprod, kept)),
        "betas": b64(_floats(table.betas, kept)),
    }


def _floats(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(values)[kept].astype(np.float32))


def _inert(spec: RunSpec) -> dict[str, str]:
    settings = dict(spec.config + spec.step) | {"steps": spec.steps}
    made = SCHEDULERS[spec.scheduler]
    reasons = made.inert(settings)
    if made.call_form == "adaptive":
        reasons["steps"] = "the scheduler chooses the steps, as exact as rtol and atol ask."
    return {name: reason for name, reason in reasons.items() if name not in NOT_OURS}


def _kept(spec: RunSpec) -> int:
    """How many frames of a run the page gets; never fewer than a run small enough for a drag has."""
    return frames_to_keep(spec, 1 if MODELS[spec.model].kind == "image" else PARTICLES)


def _samples(spec: RunSpec) -> str:
    return f"{spec.samples} sample" + ("" if spec.samples == 1 else "s")


def _reach(model_id: str, cond: str, options: tuple[tuple[str, Any], ...]) -> float:
    """Largest absolute coordinate that the model's data have."""
    info = MODELS[model_id]
    if info.kind == "image":
        return 1.0
    model: Any = load(model_id, **dict(options))
    if info.kind == "plane":
        return float(np.abs(model.reference(cond, 512)).max())
    grid = np.linspace(-model.extent, model.extent, 401)
    density = model.density(grid, 1.0, 0.02, cond)
    return float(np.abs(grid[density > 1e-2 * density.max()]).max())
