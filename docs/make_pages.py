"""Write the pages that are made of data: ``python -m docs.make_pages``.

``docs/quirks.md`` comes from ``schedulers/facts/quirks.py``, ``docs/glossary.md`` from
``docs/glossary.py``; ``docs/schedulers/`` holds a page for each class of the registry, out of its
docstrings, its parameters, its rows and a run of it. What is written depends on the code alone; ``tests/unit/test_pages.py`` fails when the text is old.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs import glossary, pictures
from docs.samples import NO_PIPELINE, samples
from schedulers import NAMES, SCHEDULERS
from schedulers.core.scheduler import Scheduler
from schedulers.facts.quirks import QUIRKS, Quirk
from schedulers.interface.params import Parameter
from visualize.about import about, own_quirks, spellings

DOCS = Path(__file__).resolve().parent
FOLDER = "schedulers"
IMAGES = "images"

OURS = {
    "switch": 'Followed; `compat="paper"` follows the mathematics.',
    "mathematics": "Not followed.",
    "upstream": "Followed.",
}


def classes(quirk: Quirk) -> str:
    """Whom a quirk concerns."""
    return ", ".join(f"[`{name}`]({FOLDER}/{name}.md)" for name in quirk.classes) or "every class"


def quirks_page() -> str:
    """All quirks: an overview, then each in its own section."""
    rows = "\n".join(
        f"| [{q.title}](#{q.slug}) | {q.where} | {q.shows} | {'yes' if q.ours == 'switch' else 'no'} |"
        for q in QUIRKS
    )
    return f"""# Where diffusers leaves the mathematics

Generated from `schedulers/facts/quirks.py` by `python -m docs.make_pages`.

A drop-in must reproduce images, so by default a scheduler does what diffusers 0.42.1 does. These
are the places where that is not what the paper says. `compat="paper"`, a keyword of every
constructor, follows the mathematics. Crashes and NaN are not reproduced. Each side has a test.

| quirk | when | how it shows | switch |
| --- | --- | --- | --- |
{rows}

{chr(10).join(quirk_section(q) for q in QUIRKS)}"""


def quirk_section(quirk: Quirk) -> str:
    """One quirk, under an anchor that is its slug."""
    ours = f"{OURS[quirk.ours]} {quirk.why}".strip()
    return f"""<a id="{quirk.slug}"></a>
## {quirk.title}

- **Who**: {classes(quirk)}
- **When**: {quirk.where}
- **diffusers**: {code(quirk.upstream)}
- **Mathematics**: {code(quirk.mathematics)}
- **How it shows**: {code(quirk.shows)}
- **Here**: {ours}
"""


# --- one page for each class ------------------------------------------------------------------


def scheduler_page(name: str) -> str:
    """Everything about one class."""
    made, told = SCHEDULERS[name], about(name)
    blocks = "\n\n".join(
        linked(block.text, name) if block.kind == "text" else f"```text\n{block.text}\n```"
        for block in told.blocks
    )
    symbols = glossary.parts("\n".join(b.text for b in told.blocks if b.kind == "math"))
    return f"""# {made.title}

`{name}` · {made.family}

{code(told.sentence)}

**Good for:** {made.good_for}

| {" | ".join(facts(name))} |
| {" | ".join("---" for _ in facts(name))} |
| {" | ".join(facts(name).values())} |

![Film of a run: prev_sample above pred_x0]({IMAGES}/{name}-film.webp)

A run of {film_steps(name)} on emoji: `prev_sample` above, `pred_original_sample` below.

## How it works

{blocks}

{glossary.table(symbols)}

All symbols: [glossary](../glossary.md).

![Weights of every call]({IMAGES}/{name}-weights.png)

Left, what each call adds up: `x` is the sample, `x̂0` and `ε̂` are the model's data and noise
prediction, `[-1]` those of the call before, `z` fresh noise. Right, how much of the sample after
each call (row) is the data prediction of each call so far (column). Orange is positive, violet
negative, white nothing; full colour is 1.2 and more. The run has {pictures.plan_of(name).nfe} calls, with the defaults.

## Paper

{made.reference}{f" <{made.reference.url}>" if made.reference.url else ""}

{f"Sources: {code(told.sources)}" if told.sources else ""}

```bibtex
{made.reference.bibtex}
```

## Names in other programs

{names_table(name)}

## Parameters

`{name}(...)` takes, in this order:

{parameters_table([p for p in made.parameters() if p.call == "init"])}
{FORMAT_ROW if takes_format(made) else ""}
{step_parameters(made)}
## Methods

{"".join(methods(made))}
## Quirks

{quirks_of_class(name)}

## Code

{"".join(f"{title}:{chr(10)}{chr(10)}```python{chr(10)}{text}```{chr(10)}{chr(10)}" for title, text in samples(name).items())}{in_pipelines(name)}

## See also

{see_also(name)}

[All schedulers](README.md) · [glossary](../glossary.md) · [quirks](../quirks.md) ·
[adding one](../adding-a-scheduler.md)
"""


FORMAT_ROW = (
    '| `tensor_format` | None | "np" or "pt" | Whether `timesteps` and `sigmas` are NumPy arrays '
    "or torch tensors; None takes torch where it is installed. |"
)


BRIDGE = """`schedulers.bridge.register(diffusers)` makes diffusers take every class for one of its own, so that
`DiffusionPipeline.from_pretrained(..., scheduler=scheduler)` and `pipe.save_pretrained` work too: see
[pipelines and the Hub](../pipelines-and-hub.md)."""


def in_pipelines(name: str) -> str:
    """What there is to say of pipelines beside the code, or why there is no code."""
    why = NO_PIPELINE.get(name)
    return f"No pipeline drives this class: {why}." if why else BRIDGE


def code(text: str) -> str:
    """Docstring marks as Markdown's."""
    return re.sub(r"``(.+?)``", r"`\1`", text)


def linked(text: str, name: str) -> str:
    """Docstring marks as Markdown's, and names of other classes as links to their pages."""
    others = (other for other in SCHEDULERS if other != name and f"``{other}``" in text)
    for other in others:
        text = text.replace(f"``{other}``", f"[{SCHEDULERS[other].title}]({other}.md)")
    return code(text)


def see_also(name: str) -> str:
    """The relatives of a class: of its family, and from its paper."""
    made = SCHEDULERS[name]
    rows = []
    for other, cls in SCHEDULERS.items():
        same = [made.family] if cls.family == made.family else []
        same += ["same paper"] if cls.reference.arxiv == made.reference.arxiv else []
        if same and other != name:
            rows.append(f"- [{cls.title}]({other}.md) ({', '.join(same)}): {cls.good_for}")
    return "\n".join(rows)


def takes_format(made: type[Scheduler]) -> bool:
    """Whether the constructor has ``tensor_format``."""
    return "tensor_format" in inspect.signature(made.__init__).parameters


def film_steps(name: str) -> str:
    """The run on film, in words."""
    plan = pictures.plan_run(pictures.spec_of(name, pictures.STEPS))
    calls = "" if plan.nfe == plan.steps else f" ({plan.nfe} model calls)"
    return f"{plan.steps} steps{calls}"


def facts(name: str) -> dict[str, str]:
    """What the overview says of a class."""
    made = SCHEDULERS[name]
    plan = pictures.plan_run(pictures.spec_of(name, pictures.STEPS))
    draws = any(row.noise for row in plan.coefficients)
    asked = any(p.group == "stochasticity" for p in made.parameters())
    called = [f'"{label}"' for label, (cls, _) in NAMES.items() if cls == name]
    return {
        "order": str(max(plan.orders)),
        "model calls a step": f"{round(plan.nfe / plan.steps)}",
        "fresh noise": "yes" if draws else "if asked" if asked else "no",
        "names elsewhere": ", ".join(called) or "-",
    }


def names_table(name: str) -> str:
    """What other programs call the class, and the settings behind each name."""
    rows = [
        f"| {label} | {settings_text(config)} | {spelt(label)} |"
        for label, (cls, config) in NAMES.items()
        if cls == name
    ]
    if not rows:
        return "Known by its class name only."
    return "\n".join(
        ["| name | settings | spelt in code |", "| --- | --- | --- |", *rows, "",
         "`schedulers.from_name` takes every name."]
    )  # fmt: skip


def spelt(label: str) -> str:
    """How k-diffusion and ComfyUI write a name."""
    return ", ".join(f"`{word}`" for word in spellings(label) if not word.startswith("k_"))


def settings_text(config: Mapping[str, Any]) -> str:
    """Settings as they are typed."""
    return ", ".join(f"`{key}={value!r}`" for key, value in config.items()) or "-"


def parameters_table(entries: list[Parameter]) -> str:
    """One row for each parameter: default, what is allowed, what it does."""
    rows = [
        f"| `{p.name}` | {default_text(p.default)} | {allowed(p)} | {p.text} |" for p in entries
    ]
    return "\n".join(
        ["| parameter | default | allowed | effect |", "| --- | --- | --- | --- |", *rows]
    )


def default_text(value: Any) -> str:
    """A default as it is typed."""
    if isinstance(value, float) and math.isinf(value):
        return f"`{'-' if value < 0 else ''}inf`"
    return "None" if value is None else f"`{value!r}`"


def allowed(p: Parameter) -> str:
    """The values that a parameter takes, with their unit."""
    none = " or None" if p.optional else ""
    if p.choices:
        return ", ".join(f'"{choice}"' for choice in p.choices) + none
    if p.kind == "bool":
        return "True, False" + none
    if p.kind == "object":
        return "a function or None" if p.function else "None"
    kind = {"int": "integer in ", "float": "", "numbers": "list of numbers in "}[p.kind]
    return f"{kind}{p.range}{f' {p.unit}' if p.unit else ''}{none}"


def step_parameters(made: type[Scheduler]) -> str:
    """The parameters of ``step`` that shape a run."""
    entries = [p for p in made.parameters() if p.call == "step"]
    if not entries:
        return ""
    return f"\n`step` takes, of what shapes a run:\n\n{parameters_table(entries)}\n"


METHODS = (
    "set_timesteps", "set_sigmas", "scale_model_input", "step", "step_pred", "step_correct",
    "step_prk", "step_plms", "sample", "add_noise_to_input", "add_noise", "scale_noise",
    "get_velocity", "predict_x0",
)  # fmt: skip


def methods(made: type[Scheduler]) -> Iterator[str]:
    """What one calls, with the arguments explained by the docstrings."""
    for name in METHODS:
        method = getattr(made, name, None)
        if method is None:
            continue
        parameters = [
            str(p.replace(annotation=inspect.Parameter.empty))
            for p in inspect.signature(method).parameters.values()
            if p.name != "self"
        ]
        text = inspect.getdoc(method) or ""
        lead, _, _ = text.partition("\n\n")
        yield f"**`{name}({', '.join(parameters)})`**\n\n{code(' '.join(lead.split()))}\n\n"
        entries = [f"- `{key}`: {code(value)}\n" for key, value in explanations(method).items()]
        returned = section("Returns", text)
        entries += [f"- returns {code(' '.join(returned.split()))}\n"] if returned else []
        if entries:
            yield "".join(entries) + "\n"


#: Arguments that mean the same everywhere, where a docstring takes them for known.
COMMON = {
    "num_inference_steps": "Number of steps N.",
    "device": "Where ``timesteps`` go (torch only).",
    "generator": "Source of noise, or a list with one for each sample.",
    "return_dict": "Whether to return an object or a tuple.",
}


def explanations(method: Any) -> dict[str, str]:
    """Argument -> text, in the order of the signature."""
    told = COMMON | arguments(inspect.getdoc(method) or "")
    names = [name for name in inspect.signature(method).parameters if name != "self"]
    return {name: told[name] for name in names if name in told}


def section(title: str, docstring: str) -> str:
    """What stands under a heading of a docstring, or nothing."""
    found = re.search(rf"^{title}:\n((?:    .*\n?|\n)*)", docstring, re.MULTILINE)
    return found.group(1) if found else ""


def arguments(docstring: str) -> dict[str, str]:
    """Name -> text of the ``Args`` of a docstring in Google's layout."""
    entries: dict[str, str] = {}
    for line in section("Args", docstring).splitlines():
        head = re.match(r"    \*{0,2}(\w+)(?: \([^)]*\))?: (.*)", line)
        if head:
            entries[head.group(1)] = head.group(2).strip()
        elif line.strip() and entries:
            last = next(reversed(entries))
            entries[last] += " " + line.strip()
    return entries


def quirks_of_class(name: str) -> str:
    """The quirks of a class, each with a link to the page of all."""
    own = own_quirks(name)
    if not own:
        return "None: diffusers and the mathematics agree."
    return "\n".join(
        f"- [{q.title}](../quirks.md#{q.slug}), {q.where}: {q.shows}."
        f"{'' if q.ours == 'switch' else ' ' + OURS[q.ours]}"
        for q in own
    )


#: What one has or wants -> classes, best first, and a word of advice.
CHOICES = {
    "A guided text-to-image model (Stable Diffusion, SDXL)": (
        ["DPMSolverMultistepScheduler"],
        "20 steps, `use_karras_sigmas=True`: what most people use",
    ),
    "The same, in the fewest calls": (
        ["UniPCMultistepScheduler", "DEISMultistepScheduler"],
        "8 to 12 steps",
    ),
    "The same, with more variety from seed to seed": (
        ["EulerAncestralDiscreteScheduler", "DPMSolverSDEScheduler", "SASolverScheduler"],
        "fresh noise in every step; the image changes with the number of steps",
    ),
    "A rectified flow (Flux, Stable Diffusion 3)": (
        [
            "FlowMatchEulerDiscreteScheduler",
            "FlowMatchHeunDiscreteScheduler",
            "LTXEulerAncestralRFScheduler",
        ],
        "`shift` as the checkpoint says; the last adds fresh noise",
    ),
    "A distilled model": (
        [
            "LCMScheduler",
            "FlowMatchLCMScheduler",
            "TCDScheduler",
            "CMStochasticIterativeScheduler",
        ],
        "1 to 8 calls; the one that the model was distilled for",
    ),
    "A network preconditioned as in EDM": (
        [
            "EDMDPMSolverMultistepScheduler",
            "EDMEulerScheduler",
            "CosineDPMSolverMultistepScheduler",
        ],
        "Playground 2.5, cosXL; Stable Audio for the last",
    ),
    "A real image to edit": (
        ["DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler"],
        "up to the noise behind it, then down again with DDIM or DPM-Solver",
    ),
    "A lesson": (
        ["DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler"],
        "in this order: random, deterministic, in sigma, second order",
    ),
    "An accurate sample to compare others with": (
        ["DPMAdaptiveScheduler", "HeunDiscreteScheduler"],
        "small `rtol` and `atol`, or many steps",
    ),
    "A paper to reproduce": (
        ["KarrasVeScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler", "PNDMScheduler"],
        'with the defaults, and `compat="paper"` where that differs',
    ),
}


def choices_table() -> str:
    """What to take for what."""
    rows = [
        f"| {wish} | {', '.join(map(page_link, names))} | {advice} |"
        for wish, (names, advice) in CHOICES.items()
    ]
    return "\n".join(["| you have, or want | take | how |", "| --- | --- | --- |", *rows])


def all_names_table() -> str:
    """Every name of A1111, ComfyUI and k-diffusion, and the class behind it."""
    rows = [
        f"| {label} | {page_link(name)} | {settings_text(config)} |"
        for label, (name, config) in NAMES.items()
    ]
    return "\n".join(["| name | class | settings |", "| --- | --- | --- |", *rows])


def page_link(name: str) -> str:
    """A class by its title, with a link to its page beside this one."""
    return f"[{SCHEDULERS[name].title}]({name}.md)"


def index_page() -> str:
    """Which to choose, every class by family, and the names people know."""
    families: dict[str, list[str]] = {}
    for name, made in SCHEDULERS.items():
        families.setdefault(made.family, []).append(name)
    parts = []
    for family, members in families.items():
        rows = [
            f"| {page_link(name)} | {' | '.join(facts(name).values())} "
            f"| {SCHEDULERS[name].good_for} |"
            for name in members
        ]
        head = " | ".join(["scheduler", *facts(members[0]), "good for"])
        line = " | ".join("---" for _ in head.split(" | "))
        parts.append("\n".join([f"## {family}", "", f"| {head} |", f"| {line} |", *rows]))
    return f"""# Schedulers

{len(SCHEDULERS)} classes, generated by `python -m docs.make_pages`. All symbols are in the
[glossary](../glossary.md); where diffusers leaves the mathematics is told [in one place](../quirks.md).

## Which one

{choices_table()}

If in doubt, stay with the scheduler that comes with the checkpoint, and compare at equal *model
calls*, not steps: a step of Heun or DPM2 costs two.

*Order*, below, is that of the rule with the class's defaults: the error falls like the step length to
that power. *If asked* means that a parameter turns fresh noise on.

{(chr(10) * 2).join(parts)}

## Names in other programs

`schedulers.from_name("DPM++ 2M Karras")` takes every one of these, however it is spelt.

{all_names_table()}
"""


def glossary_page() -> str:
    """Every symbol, by section."""
    parts = [
        f"## {title}\n\n{glossary.table(set(symbols))}"
        for title, symbols in glossary.SECTIONS.items()
    ]
    return f"""# Glossary

The symbols of all equations, generated from `docs/glossary.py` by `python -m docs.make_pages`. *Here*
is the level where the sample stands and the model is asked; the *target* is where the step leads.

A noisy sample is `x = alpha x0 + sigma eps`. The families differ in how alpha and sigma belong
together:

| family | relation | noise runs from |
| --- | --- | --- |
| variance preserving | `alpha^2 + sigma^2 = 1` | sigma 0 to almost 1 |
| sigma (variance exploding), EDM | `alpha = 1` | sigma 0 to 15 or more; the model is shown `x / sqrt(1 + sigma^2)` |
| flow matching | `alpha + sigma = 1` | sigma 0 to 1 |

What the model returns (`prediction_type`) is linear in x0 and eps, so each can be had from x and out:

| prediction_type | out | x0 from it |
| --- | --- | --- |
| `epsilon` | `eps` | `(x - sigma out) / alpha` |
| `sample` | `x0` | `out` |
| `v_prediction` | `alpha eps - sigma x0` | `alpha x - sigma out`, if `alpha^2 + sigma^2 = 1` |
| `flow_prediction` | `eps - x0` | `x - sigma out`, if `alpha + sigma = 1` |

{(chr(10) * 2).join(parts)}

[All schedulers](schedulers/README.md)
"""


def pages() -> dict[str, str]:
    """Path below ``docs/`` -> text."""
    found = {
        "quirks.md": quirks_page(),
        "glossary.md": glossary_page(),
        f"{FOLDER}/README.md": index_page(),
    }
    for name in SCHEDULERS:
        found[f"{FOLDER}/{name}.md"] = re.sub(r"\n{3,}", "\n\n", scheduler_page(name))
    return found


def main() -> None:
    """Write every page and every picture that has changed; remove those of no class."""
    made = pages()
    for name, text in made.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"docs/{name}")
    for name in SCHEDULERS:
        for path in pictures.draw(DOCS / FOLDER / IMAGES, name):
            print(path.relative_to(DOCS.parent))
    for path in (DOCS / FOLDER).rglob("*"):
        owner = re.match(r"[A-Za-z0-9]+", path.name)
        if path.is_file() and owner and owner.group() not in {*SCHEDULERS, "README"}:
            path.unlink()
            print(f"removed {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
