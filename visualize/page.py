"""The page Explore: layout and wiring, nothing else.

Everything a visitor sees is drawn in the browser by the modules in ``assets/web``; this file
puts them on a Gradio page, hands them the questions of an `Explorer`, and offers the same
questions as named API endpoints.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from sampling import SpecError
from visualize.explore import Explorer

__all__ = ["CSS", "build", "head", "theme"]

P = ParamSpec("P")
T = TypeVar("T")

WEB = Path(__file__).resolve().parent.parent / "assets" / "web"
CSS = [WEB / "explore.css"]

# Lists of a scheduler's entry in the schema whose items many schedulers have in common.
PACKED = ("parameters", "quirks")

# Sampling shares one queue lane, so that visitors wait for the machine and not for each other.
LANE = "gpu"
LANE_WIDTH = 2

_MOUNT = """
const address = new URL(props.src, document.baseURI);
import(address).then((module) => module.mount(element, props, server, trigger));
// Events of this component, named here so that Gradio knows them: 'live' 'stop'
"""
_STREAM = """
const address = new URL(props.src, document.baseURI);
const module = import(address);
watch("value", () => module.then((loaded) => loaded.receive(props.value)));
"""
_PLACEHOLDER = '<div data-sigmascope class="ss-boot" aria-busy="true"></div>'


def _file(path: Path) -> str:
    return f"gradio_api/file={path.as_posix()}"


def packed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with what many schedulers list written once, and listed by position.

    35 classes have 600 parameters, but 100 different ones: the first view travels faster.
    """
    shared: list[Any] = []
    places: dict[str, int] = {}

    def place(entry: Any) -> int:  # noqa: ANN401
        text = json.dumps(entry, sort_keys=True)
        if text not in places:
            places[text] = len(shared)
            shared.append(entry)
        return places[text]

    schedulers = [
        {**entry, **{key: [place(part) for part in entry[key]] for key in PACKED}}
        for entry in schema["schedulers"]
    ]
    return {**schema, "schedulers": schedulers, "packed": list(PACKED), "shared": shared}


class Stage(gr.HTML):
    """The whole page in one component: settings, timeline, film.

    The template is constant, since a changing one would make Gradio rewrite the canvases.
    """

    def __init__(self, explorer: Explorer) -> None:
        """Mount ``assets/web/main.js`` with the first view, on screen without a round trip.

        Args:
            explorer: Answers the page's questions.
        """
        schema = explorer.schema()
        first = schema["default"]
        boot = {
            "schema": packed(schema),
            "schedule": explorer.schedule(first),
            "film": explorer.film(first),
        }
        super().__init__(
            html_template=_PLACEHOLDER,
            js_on_load=_MOUNT,
            apply_default_css=False,
            elem_id="sigmascope",
            server_functions=[_function(explorer.schedule), _function(explorer.film)],
            src=_file(WEB / "main.js"),
            boot=json.dumps(boot, allow_nan=False, ensure_ascii=False, separators=(",", ":")),
        )

    def get_block_name(self) -> str:
        """Rendered by the HTML component of the frontend."""
        return "html"


class Stream(gr.HTML):
    """Carries the messages of a live run to the page; shows nothing itself."""

    def __init__(self) -> None:
        """Hand every new value to ``assets/web/main.js``."""
        super().__init__(
            html_template="",
            js_on_load=_STREAM,
            apply_default_css=False,
            elem_id="sigmascope-stream",
            src=_file(WEB / "main.js"),
        )

    def postprocess(self, value: str | dict[str, Any] | None) -> str | None:
        """Send one message as JSON text, which the frontend passes on untouched."""
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, allow_nan=False, separators=(",", ":"))

    def get_block_name(self) -> str:
        """Rendered by the HTML component of the frontend."""
        return "html"


def _stream_of(explorer: Explorer) -> Callable[[gr.EventData], Iterator[dict[str, Any]]]:
    """The listener of *Run live*."""

    def stream(event: gr.EventData) -> Iterator[dict[str, Any]]:
        """Yield the messages of one live run, each marked with the run it belongs to.

        The finished film stays behind: Gradio sends an event's last value twice and keeps it for
        the session, so the page fetches the film itself, once.
        """
        request = event._data if isinstance(event._data, dict) else {}
        run = str(request.get("id", ""))[:40]
        for message in explorer.live(request.get("spec", {})):
            made = message.get("film")
            if made is not None:
                message = {"done": True, "cached": bool(made.get("cached"))}
            yield {**message, "id": run}

    return stream


def _function(question: Callable[P, T]) -> Callable[P, T]:
    """A question of the explorer as Gradio wants it.

    Gradio marks its functions with attributes, which a bound method does not take, reads their
    signature and docstring, and shows a program the message of a `gr.Error` without a traceback.
    """

    @functools.wraps(question)
    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return question(*args, **kwargs)
        except SpecError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return ask


def build() -> gr.Blocks:
    """The page as Gradio blocks, ready for ``launch``."""
    explorer = Explorer()
    gr.set_static_paths([WEB])
    with gr.Blocks(
        title="Sigmascope",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, 3600),
    ) as page:
        stage = Stage(explorer)
        stream = Stream()
        started = stage.live(
            _stream_of(explorer),
            outputs=stream,
            show_progress="hidden",
            concurrency_id=LANE,
            concurrency_limit=LANE_WIDTH,
            trigger_mode="multiple",
            api_visibility="private",
        )
        stage.stop(None, cancels=[started], queue=False, api_visibility="private")
        gr.api(
            _function(explorer.api_schedule),
            api_name="schedule",
            api_description="Noise levels, weights and remarks for every model call of a run.",
            queue=False,
        )
        gr.api(
            _function(explorer.api_run),
            api_name="run",
            api_description="The film of every step of a run on an embedded model.",
            concurrency_id=LANE,
            concurrency_limit=LANE_WIDTH,
        )
    return page


def theme() -> gr.themes.Base:
    """Plain theme: fonts that ship with Gradio, the page's ground in both modes."""
    plain = gr.themes.Base(
        primary_hue="violet",
        neutral_hue="slate",
        font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    )
    return plain.set(
        body_background_fill="#fbfbfd",
        body_background_fill_dark="#101117",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
    )


def head() -> str:
    """Tags for the document's head: the modules are fetched while Gradio starts."""
    modules = "".join(
        f'<link rel="modulepreload" href="{_file(path)}">' for path in sorted(WEB.glob("*.js"))
    )
    return f'<meta name="color-scheme" content="light dark">{modules}'
